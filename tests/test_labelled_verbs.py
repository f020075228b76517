"""The predict and evaluate verbs on a folder that labels texts."""

import contextlib
import csv
import json
import os
import pathlib
import random
import shutil
import signal
import time
from collections.abc import Callable

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests import verbs
from tests.conftest import Run
from tests.verbs import Finished
from tfllm import predict as predict_verb
from tfllm import tasks
from tfllm.interop import model_folder
from tfllm.models import FAMILIES
from tfllm.tokenizers import WordPieceTokenizer

pytestmark = pytest.mark.slow

LABELS = ("ham", "späm", "eggs")
LENGTH = 16
COUNT = 150


def text(rng: random.Random, words: int) -> str:
    return " ".join(2 * rng.choice(verbs.SYLLABLES) for _ in range(words))


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A model of random weights, and a table of texts of many lengths."""
    folder = tmp_path_factory.mktemp("labelled")
    (folder / "vocab.txt").write_text("\n".join(verbs.vocabulary()) + "\n")
    tokenizer = WordPieceTokenizer.from_file(str(folder / "vocab.txt"))
    config = FAMILIES["bert"].config(
        num_layers=1,
        hidden_size=16,
        num_heads=2,
        vocab_size=tokenizer.vocab_size,
        max_position_embeddings=LENGTH,
    )
    keras.utils.set_random_seed(2)
    task = tasks.create(
        "classification", config.with_initializer_range(0.5), labels=LABELS
    )
    model_folder.save(task, folder / "model", tokenizer)
    run = {
        "task": "classification",
        "eval_files": str(folder / "heldout.csv"),
        "text_column": "sentence",
        "label_column": "class",
        "id_column": "key",
        "seq_length": LENGTH,
        "batch_size": 8,
        "seed": 1,
    }
    (folder / "model" / "run.json").write_text(json.dumps(run))
    rng = random.Random(0)
    with open(folder / "heldout.csv", "w", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["key", "class", "sentence"])
        for i in range(COUNT):
            # One in four is longer than a window.
            words = rng.randint(1, 8) if i % 4 else rng.randint(20, 40)
            rows.writerow([f"k{i}", rng.choice(LABELS), text(rng, words)])
    return folder


def predict(work: pathlib.Path, output: str, *argv: str, **options) -> Finished:
    return verbs.run(
        "predict",
        f"--model_dir={work / 'model'}",
        f"--output_file={work / output}",
        *argv,
        **options,
    )


def lines_of(path: pathlib.Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def rows_of(path: pathlib.Path) -> list[dict]:
    return list(csv.DictReader(path.read_text().splitlines()))


@pytest.fixture(scope="module")
def whole(work: pathlib.Path) -> pathlib.Path:
    """The predictions of all rows, in blocks of a batch of 1."""
    done = predict(
        work,
        "whole.jsonl",
        f"--input_files={work / 'heldout.csv'}",
        "--batch_size=1",
    )
    assert done.status == 0, done.stderr
    return work / "whole.jsonl"


def test_results_are_those_of_the_task(
    work: pathlib.Path, whole: pathlib.Path
) -> None:
    found = lines_of(whole)
    rows = rows_of(work / "heldout.csv")
    assert [(r["id"], r["text"]) for r in found] == [
        (row["key"], row["sentence"]) for row in rows
    ]
    task = model_folder.load(work / "model")
    tokenizer = WordPieceTokenizer.from_file(str(work / "model"))
    for result in found[1:20]:
        tokens = tokenizer.tokenize(tf.constant([result["text"]]))
        if tokens.flat_values.shape[0] > LENGTH - 2:
            continue
        x = tokenizer([result["text"]], padding="max_length", max_length=LENGTH)
        logits = task(x, training=False)["classification"].numpy()[0]
        powers = np.exp(logits.astype("float64"))
        expected = dict(zip(LABELS, powers / powers.sum(), strict=True))
        assert result["scores"] == pytest.approx(expected, abs=1e-5)
        assert result["label"] == max(expected, key=lambda n: expected[n])
        assert result["score"] == max(result["scores"].values())
        assert list(result["scores"].values()) == sorted(
            result["scores"].values(), reverse=True
        )


def test_batches_make_no_difference(
    work: pathlib.Path, whole: pathlib.Path
) -> None:
    done = predict(
        work, "batches.jsonl", f"--input_files={work / 'heldout.csv'}"
    )
    assert done.status == 0, done.stderr
    for ours, theirs in zip(
        lines_of(work / "batches.jsonl"), lines_of(whole), strict=True
    ):
        assert ours["id"] == theirs["id"]
        assert ours["scores"] == pytest.approx(theirs["scores"], abs=1e-5)


def kill_at(path: pathlib.Path, lines: int) -> Callable[[int], None]:
    """Kills a process when a file has some lines."""

    def during(pid: int) -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                if path.read_bytes().count(b"\n") >= lines:
                    break
            time.sleep(0.001)
        os.kill(pid, signal.SIGKILL)

    return during


def test_a_kill_loses_and_repeats_nothing(
    work: pathlib.Path, whole: pathlib.Path
) -> None:
    argv = [f"--input_files={work / 'heldout.csv'}", "--batch_size=1"]
    partial = work / "killed.jsonl.partial"
    found = []
    for lines in (1, 80):
        done = predict(
            work, "killed.jsonl", *argv, during=kill_at(partial, lines)
        )
        assert done.status == -signal.SIGKILL
        assert not (work / "killed.jsonl").exists()
        found.append(partial.read_bytes().count(b"\n"))
        assert lines <= found[-1] < COUNT
        # As if it had been killed in the middle of a write.
        with open(partial, "ab") as file:
            file.write(b'{"id": "k')
    assert found == sorted(found)
    done = predict(work, "killed.jsonl", *argv)
    assert done.status == 0, done.stderr
    assert (work / "killed.jsonl").read_bytes() == whole.read_bytes()
    assert not list(work.glob("killed.jsonl.*"))


def test_another_command_is_refused(
    work: pathlib.Path, whole: pathlib.Path
) -> None:
    argv = [f"--input_files={work / 'heldout.csv'}", "--batch_size=1"]
    partial = work / "other.jsonl.partial"
    predict(work, "other.jsonl", *argv, during=kill_at(partial, 20))
    kept = partial.read_bytes()
    done = predict(work, "other.jsonl", argv[0], "--batch_size=2")
    assert done.status == 1
    (line,) = done.errors
    assert "batch_size was 1, is 2" in line
    assert "give another file" in line
    assert partial.read_bytes() == kept
    done = predict(work, "other.jsonl", argv[0], "--overwrite")
    assert done.status == 0, done.stderr
    assert len(lines_of(work / "other.jsonl")) == COUNT


def test_standard_input_goes_on_with_the_same_lines_only(
    work: pathlib.Path, whole: pathlib.Path
) -> None:
    texts = [record["text"] for record in lines_of(whole)]
    partial = work / "stdin.jsonl.partial"
    predict(
        work,
        "stdin.jsonl",
        "--batch_size=2",
        stdin="\n".join(texts),
        during=kill_at(partial, 20),
    )
    done = predict(
        work, "stdin.jsonl", "--batch_size=2", stdin="\n".join(texts[::-1])
    )
    assert done.status == 1
    assert "begun with another input: its line" in done.errors[0]
    done = predict(
        work, "stdin.jsonl", "--batch_size=2", stdin="\n".join(texts)
    )
    assert done.status == 0, done.stderr
    found = lines_of(work / "stdin.jsonl")
    assert [(r["id"], r["text"]) for r in found] == [
        (str(i), text) for i, text in enumerate(texts)
    ]


def test_standard_input_to_standard_output(
    work: pathlib.Path, whole: pathlib.Path
) -> None:
    done = verbs.run(
        "predict", f"--model_dir={work / 'model'}", stdin="ba de\n\nki lo\n"
    )
    assert done.status == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [r["text"] for r in found] == ["ba de", "ki lo"]
    assert {r["label"] for r in found} <= set(LABELS)


def test_standard_input_is_not_encoded_as_the_files_of_the_run(
    work: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    shutil.copytree(work / "model", tmp_path / "model")
    run = json.loads((tmp_path / "model" / "run.json").read_text())
    run["encoding"] = "latin-1"
    (tmp_path / "model" / "run.json").write_text(json.dumps(run))
    for flags, text in ((), "Zoë"), (("--encoding=latin-1",), "ZoÃ«"):
        done = verbs.run(
            "predict",
            f"--model_dir={tmp_path / 'model'}",
            *flags,
            stdin="Zoë\n",
        )
        assert done.status == 0, done.stderr
        assert json.loads(done.stdout)["text"] == text


def test_a_dash_is_standard_input(
    work: pathlib.Path, whole: pathlib.Path
) -> None:
    # A tab would make a table of what is not read as lines.
    stdin = "ba\tde\nki\tlo\n"
    plain = verbs.run("predict", f"--model_dir={work / 'model'}", stdin=stdin)
    done = predict(work, "dash.jsonl", "--input_files=-", stdin=stdin)
    assert done.status == 0, done.stderr
    assert (work / "dash.jsonl").read_text() == plain.stdout
    mixed = predict(
        work,
        "mixed.jsonl",
        f"--input_files={work / 'heldout.csv'},-",
        "--format=csv",
        stdin="key,class,sentence\nlast,ham,ba de\n",
    )
    assert mixed.status == 0, mixed.stderr
    assert len(lines_of(work / "mixed.jsonl")) == COUNT + 1


def test_what_is_no_file_has_no_stamp(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("ba de")
    assert predict_verb.stamp("tfds:glue/sst2/train") == ()
    assert predict_verb.stamp("standard input") == ()
    assert predict_verb.stamp(str(path)) == (5, path.stat().st_mtime_ns)


def test_a_bad_record(work: pathlib.Path) -> None:
    (work / "bad.csv").write_text("key,sentence\n1,ba de\n2\n3,ki\n")
    argv = [f"--input_files={work / 'bad.csv'}", "--batch_size=1"]
    done = predict(work, "bad.jsonl", *argv)
    assert done.status == 1
    assert "bad.csv, line 3" in done.errors[-1]
    assert not list(work.glob("bad.jsonl*"))
    done = predict(work, "bad.jsonl", *argv, "--on_bad_record=skip")
    assert done.status == 0, done.stderr
    assert [r["id"] for r in lines_of(work / "bad.jsonl")] == ["1", "3"]
    assert f"{work / 'bad.csv'}: 1 bad records skipped" in done.stderr


def test_a_bad_record_after_many_good_ones(
    work: pathlib.Path, whole: pathlib.Path
) -> None:
    text = (work / "heldout.csv").read_text()
    (work / "late.csv").write_text(text + "k\n" + "end,ham,ba de\n")
    argv = [f"--input_files={work / 'late.csv'}", "--batch_size=1"]
    for _ in range(2):
        done = predict(work, "late.jsonl", *argv)
        assert done.status == 1
        assert "1 columns, but the header has 3" in done.errors[-1]
        kept = (work / "late.jsonl.partial").read_bytes()
        # Whole blocks of 16.
        assert kept.count(b"\n") == COUNT // 16 * 16
        assert whole.read_bytes().startswith(kept)
    inode = (work / "late.jsonl.partial").stat().st_ino
    done = predict(work, "late.jsonl", *argv, "--on_bad_record=skip")
    assert done.status == 0, done.stderr
    assert (work / "late.jsonl").stat().st_ino == inode
    found = (work / "late.jsonl").read_bytes()
    assert found.startswith(whole.read_bytes())
    assert [r["id"] for r in lines_of(work / "late.jsonl")][COUNT:] == ["end"]


def test_half_a_surrogate_pair(work: pathlib.Path) -> None:
    rows = [{"sentence": f"ba {text}"} for text in ("\xe9", "\ud83d")]
    (work / "half.jsonl").write_text("\n".join(map(json.dumps, rows)))
    argv = [f"--input_files={work / 'half.jsonl'}", "--id_column="]
    done = predict(work, "halves.jsonl", *argv)
    assert done.status == 1
    (line,) = done.errors
    assert "half.jsonl, line 2: column 'sentence' has half of a surr" in line
    done = predict(work, "skipped.jsonl", *argv, "--on_bad_record=skip")
    assert done.status == 0, done.stderr
    assert [r["text"] for r in lines_of(work / "skipped.jsonl")] == ["ba \xe9"]
    assert "ba \xe9" in (work / "skipped.jsonl").read_text()


def test_a_threshold_of_no_question(work: pathlib.Path) -> None:
    done = predict(work, "none.jsonl", "--null_threshold=0.5", stdin="ba")
    assert done.status == 1
    (line,) = done.errors
    assert "`null_threshold` goes with a model that answers" in line
    assert "Received: 0.5" in line
    assert not list(work.glob("none.jsonl*"))


def test_evaluation_of_nothing(
    work: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    files = f"--eval_files={work / 'heldout.csv'}"
    for argv, message in (
        (["--model_dir=nobody/typo"], "`output_dir` is needed"),
        (["--model_dir=./typo", "--output_dir=results"], "Received: './typo'"),
        (
            [f"--model_dir={work / 'model'}", "--label_column="],
            "`label_column` is needed for the task classification",
        ),
    ):
        done = verbs.run("evaluate", *argv, files, folder=tmp_path)
        assert done.status == 1
        (line,) = done.errors
        assert message in line
    assert not list(tmp_path.iterdir())


@pytest.mark.wide
def test_evaluation_of_a_model_of_the_hub(
    work: pathlib.Path, tmp_path: pathlib.Path, run_command: Run
) -> None:
    # As huggingface_hub keeps what it has fetched.
    stored = tmp_path / "hub" / "models--somebody--model"
    shutil.copytree(work / "model", stored / "snapshots" / "1")
    (stored / "refs").mkdir()
    (stored / "refs" / "main").write_text("1")
    done = run_command(
        [
            *("python", "-m", "tfllm.evaluate", "--model_dir=somebody/model"),
            f"--eval_files={work / 'heldout.csv'}",
            *("--text_column=sentence", "--label_column=class"),
            *("--output_dir=results", "--bootstrap_samples=0"),
        ],
        tmp_path,
        {"HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "results/eval_results.json").read_text())
    assert found["examples"] == COUNT


def test_evaluation_with_intervals_tables_and_charts(
    work: pathlib.Path, whole: pathlib.Path
) -> None:
    argv = [f"--model_dir={work / 'model'}", "--bootstrap_samples=200"]
    results = []
    for name in ("first", "second"):
        done = verbs.run("evaluate", *argv, f"--output_dir={work / name}")
        assert done.status == 0, done.stderr
        results.append(
            json.loads((work / name / "eval_results.json").read_text())
        )
        results[-1].pop("date")
    first, second = results
    assert first == second
    rows = rows_of(work / "heldout.csv")
    right = [
        row["class"] == result["label"]
        for row, result in zip(rows, lines_of(whole), strict=True)
    ]
    assert first["accuracy"] == pytest.approx(np.mean(right), abs=0.01)
    low, high = first["intervals"]["accuracy"]
    assert low < first["accuracy"] < high
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["figure", "value", "95", "%", "interval"]
    shown = f"accuracy {first['accuracy']:.4f} {low:.4f} to {high:.4f}"
    assert lines[1].split() == shown.split()
    # The rest is in the file.
    assert len(lines) < 10 < len(first)
    assert lines[-1] == f"Results: {work / 'second' / 'eval_results.json'}"
    assert first["examples"] == COUNT
    assert sum(v["support"] for v in first["labels"].values()) == COUNT
    assert np.sum(first["confusion"]) == COUNT
    assert first["charts"] == ["eval_confusion.png", "eval_calibration.png"]
    for name in first["charts"]:
        data = (work / "first" / name).read_bytes()
        assert data.startswith(b"\x89PNG")
        assert data == (work / "second" / name).read_bytes()


@pytest.fixture(scope="module")
def trained(work: pathlib.Path) -> pathlib.Path:
    """A run with two held-out records that cannot be used, of twelve."""
    train = "".join(f"{2 * s},{i % 2}\n" for i, s in enumerate(verbs.SYLLABLES))
    (work / "train.csv").write_text(f"text,label\n{train}")
    (work / "some.csv").write_text(f"text,label\n{train}ba\nba,7\n")
    shutil.copy(work / "model" / "config.json", work / "fresh.json")
    done = verbs.run(
        "train",
        "--task=classification",
        f"--model={work / 'fresh.json'}",
        f"--tokenizer={work / 'vocab.txt'}",
        f"--train_files={work / 'train.csv'}",
        f"--eval_files={work / 'some.csv'}",
        f"--model_dir={work / 'trained'}",
        "--on_bad_record=skip",
        f"--seq_length={LENGTH}",
        "--batch_size=4",
        "--train_steps=2",
    )
    assert done.status == 0, done.stderr
    assert f"Skipped 2 bad records of {work / 'some.csv'}." in done.stderr
    return work / "trained"


def test_skipped_records_are_counted(
    work: pathlib.Path, trained: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    before = json.loads((trained / "eval_results.json").read_text())
    assert before["skipped_records"] == {str(work / "some.csv"): 2}
    done = verbs.run(
        "evaluate", f"--model_dir={trained}", f"--output_dir={tmp_path}"
    )
    assert done.status == 0, done.stderr
    assert f"{work / 'some.csv'}: 2 bad records skipped" in done.stderr
    after = json.loads((tmp_path / "eval_results.json").read_text())
    assert after["examples"] == len(verbs.SYLLABLES)
    # The same figures, of the same records.
    same = {n: v for n, v in before.items() if n not in ("date", "steps")}
    assert {n: after[n] for n in same} == same


def test_figures_of_other_settings_leave_those_of_the_run(
    trained: pathlib.Path,
) -> None:
    before = (trained / "eval_results.json").read_text()
    argv = [f"--model_dir={trained}", "--bootstrap_samples=0"]
    other = trained / "eval_other" / "eval_results.json"
    done = verbs.run("evaluate", *argv, "--seq_length=4")
    assert done.status == 0, done.stderr
    assert f"Results: {other}" in done.stdout
    assert (trained / "eval_results.json").read_text() == before
    # Given, but the run's.
    same = [f"--seq_length={LENGTH}", "--batch_size=4", "--label_column=label"]
    done = verbs.run("evaluate", *argv, *same)
    assert done.status == 0, done.stderr
    assert f"Results: {trained / 'eval_results.json'}" in done.stdout
    again = json.loads((trained / "eval_results.json").read_text())
    assert again["loss"] == json.loads(before)["loss"]


def test_an_evaluation_that_cannot_be_written(work: pathlib.Path) -> None:
    argv = [f"--model_dir={work / 'model'}", "--bootstrap_samples=0"]
    (work / "results" / "eval_results.json").mkdir(parents=True)
    for place in (work / "results", work / "heldout.csv"):
        done = verbs.run("evaluate", *argv, f"--output_dir={place}")
        assert done.status == 1
        (line,) = done.errors
        assert f"{place}/eval_results.json cannot be written" in line
        assert "--output_dir" in line
    # What only shows when charts are written costs no figure.
    (work / "charts" / "eval_confusion.png").mkdir(parents=True)
    done = verbs.run("evaluate", *argv, f"--output_dir={work / 'charts'}")
    assert done.status == 1
    assert "macro_f1 " in done.stdout
    assert "Results: " not in done.stdout


def test_a_damaged_record_of_the_run(
    work: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """What does not need it goes on, says so, and leaves the run alone."""
    shutil.copytree(work / "model", tmp_path / "model")
    (tmp_path / "model" / "run.json").write_text('{"seed": 3,')
    (tmp_path / "model" / "eval_results.json").write_text("{}")
    argv = [
        f"--model_dir={tmp_path / 'model'}",
        "--text_column=sentence",
    ]
    done = verbs.run("predict", *argv, f"--input_files={work / 'heldout.csv'}")
    assert done.status == 0, done.stderr
    assert len(done.stdout.splitlines()) == COUNT
    assert "run.json is damaged" in done.stderr
    argv += ["--label_column=class", "--bootstrap_samples=0"]
    done = verbs.run("evaluate", *argv)
    assert done.status == 1
    assert "`eval_files` is needed" in done.stderr
    done = verbs.run("evaluate", *argv, f"--eval_files={work / 'heldout.csv'}")
    assert done.status == 0, done.stderr
    assert "Going on without it" in done.stderr
    assert (tmp_path / "model" / "eval_results.json").read_text() == "{}"
    assert (tmp_path / "model" / "eval_other" / "eval_results.json").exists()
