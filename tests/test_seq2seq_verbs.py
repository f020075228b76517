"""Sequence-to-sequence from raw text to an export, by the verbs."""

import json
import pathlib
import signal
from typing import Any

import numpy as np
import pytest

import tfllm
from tests import verbs
from tests.conftest import WORDS
from tests.serving.serve_process import ServeProcess
from tfllm.data.vocabularies.train import train
from tfllm.models import FAMILIES

pytestmark = [pytest.mark.dist, pytest.mark.slow]

STEPS = 16
FAMILY = "t5"


class Workplace(verbs.Workplace):
    """A corpus, a vocabulary with sentinels, and a model of one layer."""

    def __init__(self, folder: pathlib.Path) -> None:
        super().__init__(folder)
        rng = np.random.default_rng(0)
        for name, count in (("train", 120), ("heldout", 20)):
            documents = [
                "\n".join(
                    " ".join(rng.choice(WORDS, 9)) + "." for _ in range(3)
                )
                for _ in range(count)
            ]
            path = folder / f"{name}.txt"
            path.write_text("\n\n".join(documents) + "\n")
        spec = FAMILIES[FAMILY].tokenizer
        self.vocab_size = train(
            self.path("train.txt"), self.path("tokens"), spec, vocab_size=440
        )
        self.write_config(
            "config.json",
            **{
                "model_type": FAMILY,
                "d_model": 32,
                "d_kv": 16,
                "d_ff": 64,
                "num_heads": 2,
                "num_layers": 1,
                "vocab_size": self.vocab_size,
            },
        )

    def flags(self, model_dir: str | None, **changes: Any) -> list[str]:
        settings = {
            "task": "seq2seq_lm",
            "tokenizer": self.path("tokens"),
            "dupe_factor": None,
            "train_steps": STEPS,
            "mean_span_length": 2.0,
            "eval_every": 8,
            "checkpoint_every": 4,
            "log_every": 2,
        }
        return super().flags(model_dir, **{**settings, **changes})


@pytest.fixture(name="work", scope="module")
def _work(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    return Workplace(tmp_path_factory.mktemp("seq2seq"))


@pytest.fixture(name="trained", scope="module")
def _trained(work: Workplace) -> verbs.Finished:
    done = work.train("trained")
    assert done.status == 0, done.stderr
    return done


def test_a_run_learns(work: Workplace, trained: verbs.Finished) -> None:
    assert f"Trained {STEPS} steps." in trained.stdout
    log = work.log("trained")
    losses = [line["loss"] for line in log if "loss" in line]
    assert losses[-1] < losses[0] - 0.5
    record = work.json("trained/run.json")
    assert record["denoising"]["denoising"] == "span_corruption"
    assert record["denoising"]["mean_span_length"] == 2.0
    assert work.json("trained/config.json")["architectures"] == [
        "T5ForConditionalGeneration"
    ]
    card = (work.folder / "trained/README.md").read_text()
    assert "sequence-to-sequence language modelling" in card
    assert "text2text-generation" in card


# The default run kills other tasks.
@pytest.mark.wide
def test_killed_it_ends_with_the_same_weights(
    work: Workplace, trained: verbs.Finished
) -> None:
    step = int(np.random.default_rng().integers(5, STEPS))
    during = verbs.signal_at(work, "killed", step, signal.SIGKILL)
    assert work.train("killed", during=during).status == -signal.SIGKILL
    again = work.train("killed")
    assert again.status == 0, again.stderr
    assert work.weights("killed") == work.weights("trained")


def test_evaluate_gives_the_figures_of_the_run(
    work: Workplace, trained: verbs.Finished
) -> None:
    done = verbs.run("evaluate", f"--model_dir={work.path('trained')}")
    assert done.status == 0, done.stderr
    assert "perplexity" in done.stdout
    assert "seq2seq_accuracy" in done.stdout
    results = work.json("trained/eval_results.json")
    last = work.log("trained")[-1]
    for name in ("loss", "perplexity", "seq2seq_accuracy"):
        assert results[name] == pytest.approx(last[f"eval_{name}"], rel=1e-5)
    assert results["main_figures"][0] == "perplexity"


def test_generate_and_pipeline_write_texts(
    work: Workplace, trained: verbs.Finished
) -> None:
    folder = work.path("trained")
    source = "the river <extra_id_0> long."
    task = tfllm.load(folder)
    (text,) = task.generate([source], max_new_tokens=5, min_new_tokens=5)
    flags = [f"--model_dir={folder}", "--max_new_tokens=5"]
    flags += ["--min_new_tokens=5"]
    done = verbs.run("generate", *flags, f"--prompt={source}")
    assert done.status == 0, done.stderr
    # The source is not part of the text.
    assert done.stdout == f"{text}\n"
    assert "5 tokens" in done.stderr
    for options in (
        {"num_beams": 3},
        {"do_sample": True, "temperature": 2.0, "seed": 7},
    ):
        (other,) = task.generate(
            [source], max_new_tokens=5, min_new_tokens=5, **options
        )
        more = [f"--{name}={value}" for name, value in options.items()]
        done = verbs.run("generate", *flags, *more, f"--prompt={source}")
        assert done.status == 0, done.stderr
        assert done.stdout == f"{other}\n"
    prompts = work.folder / "prompts.txt"
    prompts.write_text(f"{source}\nanother one\n")
    output = work.folder / "written.jsonl"
    done = verbs.run(
        "generate",
        *flags,
        f"--prompt_file={prompts}",
        f"--output_file={output}",
    )
    assert done.status == 0, done.stderr
    lines = [json.loads(line) for line in output.read_text().splitlines()]
    assert [line["prompt"] for line in lines] == [source, "another one"]
    assert lines[0]["text"] == text
    pipe = tfllm.pipeline("text2text-generation", model=folder)
    written = pipe(source, max_new_tokens=5, min_new_tokens=5)
    assert written == [{"generated_text": text}]
    with pytest.raises(ValueError, match="'causal_lm'.*text2text-generation"):
        tfllm.pipeline("text-generation", model=folder)


def test_the_server_writes_as_the_folder(
    work: Workplace, trained: verbs.Finished
) -> None:
    folder, base = work.path("trained"), work.path("exports")
    done = verbs.run(
        "export",
        f"--model_dir={folder}",
        f"--export_dir={base}",
        "--max_new_tokens=6",
    )
    assert done.status == 0, done.stderr
    assert "seq2seq_lm" in done.stdout
    assert "signatures: sample, serving_default, token_ids" in done.stdout
    texts = ["the river was long.", "", "été " * 40]
    draw = {"seed": 5, "temperature": 2.0}
    with ServeProcess(
        work.folder / "log", f"--model_base_path={base}", "--model_name=m"
    ) as server:
        server.wait_for("m", 1, "AVAILABLE")
        greedy = server.predict("m", texts)
        drawn = server.predict(
            "m",
            [{"text": text, **draw} for text in texts],
            signature_name="sample",
        )
    assert (greedy.status, drawn.status) == (200, 200), greedy.body
    task = tfllm.load(folder)
    for answer, options in ((greedy, {}), (drawn, {"do_sample": True, **draw})):
        rows = answer.json["predictions"]
        for text, row in zip(texts[:2], rows, strict=False):
            ((expected,),) = task.text([text], max_new_tokens=6, **options)
            assert row["token_ids"][: row["lengths"]] == expected.token_ids
            assert row["text"] == expected.text
            assert row["finish_reasons"] == expected.finish_reason
        # A source fills at most the rows of the training.
        assert [row["num_prompt_tokens"] for row in rows[1:]] == [1, 32]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mask_rate": 0.2}, "`mask_rate` goes with --task=masked_lm"),
        (
            {"denoising": "text_infilling"},
            "text_infilling needs a mask token",
        ),
        (
            {"task": "causal_lm", "mean_span_length": None},
            "`task` must be 'seq2seq_lm' for `model`",
        ),
    ],
)
def test_bad_flags(
    work: Workplace, changes: dict[str, Any], message: str
) -> None:
    done = work.train("bad", **changes)
    assert done.status == 1
    assert any(line.startswith("error: ") for line in done.errors)
    assert message in done.stderr
