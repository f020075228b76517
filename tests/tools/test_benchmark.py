"""The benchmark's arithmetic, its workers, and what it does with failures.

Nothing here measures time, installs anything or imports a peer.
"""

import json
import pathlib
import struct
import sys

import numpy as np
import pytest

from tools import benchmark
from tools.peers import (
    batch,
    data_preparation,
    environments,
    fine_tuning,
    imports,
    loading,
    tables,
    texts,
    turns,
)
from tools.peers.protocol import Work
from tools.peers.sides import REPOSITORY, SIDES, SideSpec
from tools.peers.worker import SideError, Worker, last_lines

FAKE_SIDE = """
import sys
from tools.peers import protocol

class FakeSide:
    def load(self):
        print("noise on standard output")
        return {"fake": "1.0"}

    def build(self, work, variant):
        if variant == "broken":
            print("the reason", file=sys.stderr)
            raise RuntimeError("cannot build")
        if variant == "killed":
            sys.exit(3)
        self.loss = float(work.hidden_size)
        self.fails_at = 25 if variant == "late" else None
        return "variant " + variant

    def step(self):
        self.loss -= 1.0
        if self.fails_at is not None:
            self.fails_at -= 1
            if not self.fails_at:
                raise ValueError("ran out of luck")
        return self.loss

    def products(self):
        return 0.25

protocol.serve(FakeSide)
"""

WORK = Work(name="toy", hidden_size=16, vocab_size=2000, batch_size=3)
CONFIG = turns.TurnsConfig(
    rounds=3, seconds_per_turn=0.0, threads=1, timeout=60.0
)


def fake_spec(folder, name, variants):
    """A side whose module is the fake script."""
    (folder / f"{name}_fake_side.py").write_text(FAKE_SIDE)
    return SideSpec(name, f"{name}_fake_side", (), variants)


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """Workers find the fake modules beside the project."""
    monkeypatch.setattr(
        environments,
        "child_environment",
        lambda threads: {"PYTHONPATH": f"{tmp_path}:{REPOSITORY}"},
    )
    return tmp_path


def compare(specs, interpreter=sys.executable):
    """Runs a comparison and returns its two tables."""
    interpreters = dict.fromkeys((s.name for s in specs), interpreter)
    with turns.Comparison(WORK, specs, interpreters, CONFIG) as comparison:
        return comparison.starts(), comparison.steps()


def by_side(table):
    """Rows by side, of a table with one row per side."""
    return {row.side: row for row in table.rows}


class TestTables:
    def test_lower_is_better(self):
        ratios = tables.advantage({"tfllm": 2.0, "a": 3.0, "b": 5.0}, "lower")
        assert ratios == {"a": 1.5, "b": 2.5, "best_peer": 1.5}

    def test_higher_is_better(self):
        ratios = tables.advantage({"tfllm": 8.0, "a": 2.0, "b": 4.0}, "higher")
        assert ratios == {"a": 4.0, "b": 2.0, "best_peer": 2.0}

    @pytest.mark.parametrize("values", [{"a": 1.0}, {"tfllm": 1.0}, {}])
    def test_nothing_to_compare(self, values):
        assert tables.advantage(values, "lower") == {}

    def test_unknown_direction(self):
        with pytest.raises(ValueError, match="'sideways'"):
            tables.advantage({}, "sideways")

    def test_median_not_mean(self):
        assert tables.summary([1.0, 9.0, 2.0]) == {
            "median": 2.0,
            "least": 1.0,
            "greatest": 9.0,
        }

    def test_peer_at_its_best_variant_and_ours_at_one(self):
        table = tables.Table(
            "t",
            [
                tables.Row("tfllm", {"s": 4.0}, "chosen"),
                tables.Row("tfllm", {"s": 1.0}, "other"),
                tables.Row("a", {"s": 10.0}, "slow"),
                tables.Row("a", {"s": 6.0}, "fast"),
                tables.Row("b", error="did not start"),
            ],
            {"s": "lower"},
        )
        assert table.best("s") == {"tfllm": 4.0, "a": 6.0}
        assert table.as_json()["ratios"] == {"s": {"a": 1.5, "best_peer": 1.5}}

    def test_render_shows_figures_ratio_and_failure(self):
        text = tables.Table(
            "Title",
            [
                tables.Row("tfllm", {"ms": 1234.5, "count": 3}),
                tables.Row("a", {"ms": 2469.0, "count": 3}, notes="x | y"),
                tables.Row("b", error="broke"),
            ],
            {"ms": "lower"},
        ).render()
        assert "1,234" in text
        assert "x / y" in text
        assert "FAILED: broke" in text
        assert "ms: tfllm is 2.00x as good as the best peer (2.00x a)" in text
        rules = [line for line in text.splitlines() if line.startswith("|")]
        assert {line.count("|") for line in rules} == {6}


class TestBatch:
    def test_every_slot_is_a_masked_word(self):
        made = batch.make_batch(WORK)
        assert made["token_ids"].shape == (3, 128)
        assert made["masked_positions"].shape == (3, 20)
        assert {array.dtype.name for array in made.values()} == {"int32"}
        assert (made["padding_mask"] == 1).all()
        assert (np.diff(made["masked_positions"]) > 0).all()
        assert (made["mlm"] >= batch.FIRST_WORD_ID).all()
        at_slots = np.take_along_axis(
            made["token_ids"], made["masked_positions"], axis=1
        )
        masked = at_slots == batch.MASK_ID
        assert (at_slots[~masked] == made["mlm"][~masked]).all()
        assert (made["token_ids"] == batch.MASK_ID).sum() == masked.sum()
        assert 0.6 < masked.mean() < 0.95

    def test_same_seed_same_batch(self):
        first, second = batch.make_batch(WORK), batch.make_batch(WORK)
        for name, array in first.items():
            np.testing.assert_array_equal(array, second[name])


class TestWorker:
    def start(self, folder):
        spec = fake_spec(folder, "a", ())
        env = environments.child_environment(1)
        return Worker([sys.executable, "-m", spec.module], env, str(folder))

    def test_round_trip(self, workplace):
        worker = self.start(workplace)
        fields = {"work": vars(WORK), "warmup_steps": 3, "variant": "x"}
        started = worker.ask("start", 60, **fields)
        assert started["losses"] == [15.0, 14.0, 13.0]
        assert started["versions"] == {"fake": "1.0"}
        assert started["notes"] == "variant x"
        assert len(started["warmup_seconds"]) == 2
        assert started["peak_rss_bytes"] > 2**20
        answer = worker.ask("steps", 60, count=2)
        assert answer["losses"] == [12.0, 11.0]
        assert len(answer["seconds"]) == len(answer["cpu_seconds"]) == 2
        worker.close()
        worker.close()

    def test_time_limit(self, workplace):
        script = "import time; time.sleep(60)"
        command = [sys.executable, "-c", script]
        worker = Worker(command, {}, str(workplace))
        with pytest.raises(SideError, match="no answer to `steps` within 0 s"):
            worker.ask("steps", 0.1, count=1)

    def test_noise_instead_of_an_answer(self, workplace):
        script = "print('hello'); input()"
        command = [sys.executable, "-c", script]
        worker = Worker(command, {}, str(workplace))
        with pytest.raises(SideError, match="answered 'hello"):
            worker.ask("steps", 60, count=1)

    def test_last_lines(self):
        assert last_lines("a\n\n b \nc\n", 2) == "b | c"


class TestComparison:
    def test_sides_take_turns(self, workplace):
        specs = [
            fake_spec(workplace, "tfllm", ("x",)),
            fake_spec(workplace, "a", ("y", "z")),
        ]
        starts, steps = compare(specs)
        assert [row.variant for row in starts.rows] == ["x", "y", "z"]
        rows = by_side(steps)
        assert not any(row.error for row in steps.rows)
        assert rows["tfllm"].figures["steps"] == CONFIG.rounds
        # Three warm-up steps, the trial, then one per round.
        trial = turns._MAX_TRIAL_STEPS
        assert rows["tfllm"].figures["loss of step 1"] == 15.0
        assert rows["tfllm"].figures["of the last"] == 10.0 - trial
        assert rows["tfllm"].figures["products ms"] == 250.0
        assert "of a step" in rows["tfllm"].notes
        assert set(steps.ratios()["step ms"]) == {"a", "best_peer"}
        json.dumps(steps.as_json())

    def test_failing_sides_are_rows(self, workplace):
        specs = [
            fake_spec(workplace, "tfllm", ("x",)),
            fake_spec(workplace, "a", ("broken",)),
            fake_spec(workplace, "b", ("killed",)),
            fake_spec(workplace, "c", ("late",)),
        ]
        _, steps = compare(specs)
        rows = by_side(steps)
        assert not rows["tfllm"].error
        assert "RuntimeError: cannot build" in rows["a"].error
        assert "exited with 3" in rows["b"].error
        assert "ran out of luck" in rows["c"].error
        assert rows["c"].figures == {}
        assert "FAILED" in steps.render()
        assert steps.ratios() == {"step ms": {}}

    def test_a_variant_that_fails_leaves_the_others(self, workplace):
        spec = fake_spec(workplace, "a", ("broken", "fine", "killed"))
        starts, steps = compare([spec])
        assert [row.variant for row in steps.rows] == ["fine"]
        assert not steps.rows[0].error
        assert [bool(row.error) for row in starts.rows] == [True, False, True]

    def test_no_environment(self, workplace):
        spec = fake_spec(workplace, "a", ("x", "y"))
        _, steps = compare([spec], SideError("no environment: pip failed"))
        assert steps.rows[0].error == "no environment: pip failed"


class TestImports:
    def test_forbidden_module_is_named(self, monkeypatch):
        def fake(interpreter, statement, threads, timeout):
            ours = statement != imports.BASELINE
            return {
                "seconds": 3.5 if ours else 3.0,
                "loaded": ["torch"] if ours else [],
            }

        monkeypatch.setattr(imports, "_import", fake)
        table = imports.measure("python", 2, 1, 1.0)
        assert table.rows[1].figures["above the baseline"] == 0.5
        assert "loads torch" in table.rows[1].notes

    def test_failure_is_reported(self):
        table = imports.measure(SideError("no environment"), 1, 1, 1.0)
        assert [row.error for row in table.rows] == ["no environment"] * 3


class TestLoading:
    def test_memory_is_a_share_of_the_folder(self):
        answers = [
            {"seconds": 2.0, "bytes": 3 * 2**20},
            {"seconds": 1.0, "bytes": 2**20},
            {"seconds": 9.0, "bytes": 2 * 2**20},
        ]
        figures = loading._figures(answers, 2**22)
        assert figures["load s"] == 2.0
        assert figures["memory MiB"] == 2.0
        assert figures["memory / size"] == 0.5

    def test_failure_is_reported(self):
        interpreters = {
            "tfllm": SideError("no environment"),
            "official": "python",
        }
        table = loading.measure(interpreters, 1, 1, 1.0)
        assert [row.error for row in table.rows] == ["no environment"]

    def test_sides_load_the_folder_in_turns(self, monkeypatch):
        calls = []

        def fake(interpreter, code, folder, threads, timeout):
            calls.append(interpreter)
            if "tfllm.save" in code:
                path = pathlib.Path(folder) / "model.safetensors"
                path.write_bytes(b"12345678")
                return ""
            return json.dumps({"seconds": len(calls), "bytes": 16})

        monkeypatch.setattr(loading, "_run", fake)
        interpreters = {"tfllm": "a", "transformers": "b"}
        table = loading.measure(interpreters, 2, 1, 1.0)
        assert calls == ["a"] + ["a", "b"] * 3
        rows = by_side(table)
        assert rows["tfllm"].figures["load s"] == 5.0
        assert rows["transformers"].figures["load s"] == 6.0
        assert rows["tfllm"].figures["memory / size"] == 2.0
        assert table.ratios()["load s"] == {
            "transformers": 1.2,
            "best_peer": 1.2,
        }


class TestWorks:
    def test_each_side_has_the_models_it_claims(self):
        for work in turns.WORKS.values():
            sides = {s.name for s in SIDES.values() if s.supports(work)}
            assert {"tfllm", "transformers"} <= sides, work.name
        only = {s.name for s in SIDES.values() if s.supports(turns._MARIAN)}
        assert only == {"tfllm", "transformers"}

    def test_pairs(self):
        work = Work("toy", kind="seq2seq", vocab_size=9, seq_length=5)
        source_ids, target_ids = batch.make_pairs(work)
        assert source_ids.shape == target_ids.shape == (8, 5)
        assert source_ids.min() > 0
        assert target_ids.min() > 0
        assert (source_ids != target_ids).any()


class TestDataPreparation:
    def test_count_records(self, tmp_path):
        path = tmp_path / "x.tfrecord"
        records = [b"one", b"", b"three" * 100]
        path.write_bytes(
            b"".join(
                struct.pack("<Q", len(r)) + b"\0" * 4 + r + b"\0" * 4
                for r in records
            )
        )
        assert data_preparation.count_records(path) == 3

    def test_documents_are_one_sentence_per_line(self):
        text = 'Dr. who?\r\nNo one. "Oh." She\nleft.\n\n\nThe end.'
        assert list(data_preparation.split_documents(text)) == [
            ["Dr. who?", "No one.", '"Oh."', "She left.", "The end."]
        ]

    def test_rate_leaves_start_up_out(self, tmp_path):
        text = tmp_path / "text"
        text.write_text("x" * 1000)
        run = {"cpu_seconds": 7.0, "seconds": 6.0, "examples": 10}
        small = {**run, "peak_rss_bytes": 2**20}
        large = {
            "cpu_seconds": 9.0,
            "seconds": 7.0,
            "examples": 110,
            "peak_rss_bytes": 2**21,
        }
        figures = data_preparation._figures([text, text], [small, large])
        assert figures["examples/s/core"] == 50.0
        assert figures["examples/s"] == 100.0
        assert figures["memory MiB 10x"] == 2.0

    def test_no_text(self):
        config = data_preparation.MaskedDataConfig(("/nowhere/*",), "", 1, 1.0)
        table = data_preparation.measure(
            {"tfllm": "python", "official": "python"}, config
        )
        assert ["/nowhere/*" in row.error for row in table.rows] == [True] * 2


class TestFineTuning:
    def measure(self, folder, specs, text="ham\ta b\nspam\tc d\n"):
        (folder / "sms.tsv").write_text(text)
        (folder / "vocab.txt").write_text("[PAD]\n")
        return fine_tuning.measure(
            specs,
            dict.fromkeys((s.name for s in specs), sys.executable),
            fine_tuning.TextConfig(str(folder / "sms.tsv"), str(folder)),
            CONFIG,
        )

    def test_the_rate_is_that_of_all_steps(self, workplace):
        specs = [
            fake_spec(workplace, "tfllm", ("no_jit", "broken")),
            fake_spec(workplace, "transformers", ("sdpa",)),
        ]
        table = self.measure(workplace, specs)
        rows = by_side(table)
        assert list(rows) == ["tfllm", "transformers", "grouped"]
        assert rows["grouped"].variant == "sdpa+grouped"
        assert not any(row.error for row in table.rows)
        seconds = table.details["raw"]["tfllm"]["seconds"]
        assert rows["tfllm"].figures["examples/s"] == pytest.approx(
            32 * CONFIG.rounds / sum(seconds)
        )
        assert set(table.ratios()) == {"examples/s"}
        work = table.details["work"]
        assert work["text"] == str(workplace / "sms.tsv")
        assert work["vocabulary"] == str(workplace / "vocab.txt")

    def test_lines_without_a_label(self, workplace):
        specs = [fake_spec(workplace, "tfllm", ("no_jit",))]
        table = self.measure(workplace, specs, "ham\ta\n\nspam b\n")
        assert "sms.tsv, line 3" in table.rows[0].error

    def test_no_texts(self, tmp_path):
        with pytest.raises(ValueError, match=r"labelled_text.*none.tsv \(No"):
            texts.read(str(tmp_path / "none.tsv"))

    def test_labels_by_name(self, tmp_path):
        (tmp_path / "a").write_text("x\tone\ttwo\nb\t\x85\nx\t\n")
        assert texts.read(str(tmp_path / "a")) == (
            ["one\ttwo", "\x85", ""],
            [1, 0, 1],
        )


class TestCommandLine:
    def test_choose_keeps_order(self):
        assert benchmark._choose("work", ["c", "a"], ("a", "b", "c")) == (
            "a",
            "c",
        )
        assert benchmark._choose("work", ["all"], ("a", "b")) == ("a", "b")

    def test_unknown_name(self):
        with pytest.raises(ValueError, match=r"`--side`.*Received: jaxbert"):
            benchmark._choose("side", ["jaxbert"], ("tfllm",))

    def test_python_of_a_side(self):
        given = [f"tfllm={sys.executable}"]
        assert benchmark._parse_pythons(given) == {
            "tfllm": str(pathlib.Path(sys.executable).absolute())
        }
        with pytest.raises(ValueError, match="Received: tfllm=/no/python"):
            benchmark._parse_pythons(["tfllm=/no/python"])

    def test_variants_asked_for(self):
        specs = [benchmark.SIDES["tfllm"], benchmark.SIDES["official"]]
        ours, theirs = benchmark._with_variants(specs, ["tfllm=jit"])
        assert ours.variants == ("jit",)
        assert theirs == specs[1]
        with pytest.raises(ValueError, match="Received: tfllm=fast"):
            benchmark._with_variants(specs, ["tfllm=fast"])

    def test_failed_installation_is_a_side_error(self, tmp_path, monkeypatch):
        calls = []

        def fail(spec, command):
            calls.append(command)
            raise SideError("pip failed")

        monkeypatch.setattr(environments, "_run", fail)
        spec = SideSpec("a", "m", ("x==1",), ())
        with pytest.raises(SideError, match="pip failed"):
            environments.ensure(spec, tmp_path)
        assert len(calls) == 1

    def test_finished_environment_is_used_again(self, tmp_path, monkeypatch):
        def install(spec, command):
            python = tmp_path / "a" / "bin" / "python"
            python.parent.mkdir(parents=True, exist_ok=True)
            python.touch()
            commands.append(command)

        commands = []
        monkeypatch.setattr(environments, "_run", install)
        spec = SideSpec("a", "m", ("x==1",), ())
        first = environments.ensure(spec, tmp_path)
        assert environments.ensure(spec, tmp_path) == first
        assert len(commands) == 2
        changed = SideSpec("a", "m", ("x==2",), ())
        environments.ensure(changed, tmp_path)
        assert len(commands) == 4
