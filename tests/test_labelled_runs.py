"""Tasks by the verbs: trained, evaluated again, and predicted with.

Of encoders those whose outputs are read in a way of their own;
test_labelled_verbs.py has one label per text, test_configs.py trains each flag
file. Decoders start from a folder that a run from nothing left.
"""

import json
import math
import pathlib
import random
from typing import Any

import pytest

from tests import labelled_files, verbs
from tfllm.data.vocabularies.train import train as train_vocabulary
from tfllm.models import FAMILIES

pytestmark = pytest.mark.slow

WORDS = labelled_files.WORDS
COUNT = 24


def choices(count: int, rng: random.Random) -> str:
    lines = [
        {
            "text": labelled_files.sentence(rng),
            "choices": [
                labelled_files.sentence(rng, 2) for _ in range(2 + i % 3)
            ],
            "label": i % 2,
        }
        for i in range(count)
    ]
    return "".join(json.dumps(line) + "\n" for line in lines)


def several(count: int, rng: random.Random) -> str:
    lines = [
        {
            "id": f"n{i}",
            "text": labelled_files.sentence(rng, 40 if i % 3 else 4),
            "label": ["a", "b", "c"][: i % 4],
        }
        for i in range(count)
    ]
    return "".join(json.dumps(line) + "\n" for line in lines)


def rated(count: int, rng: random.Random) -> str:
    lines = [
        {"text": labelled_files.sentence(rng), "label": rng.random()}
        for _ in range(count)
    ]
    return "".join(json.dumps(line) + "\n" for line in lines)


# Task -> what its files hold, their suffix, and its flags.
RUNS: dict[str, tuple[Any, str, dict[str, Any]]] = {
    "classification": (
        labelled_files.trec,
        ".txt",
        {"line_pattern": r"(?P<label>\w+):(?P<text>.+)"},
    ),
    "multi_label": (several, ".jsonl", {"id_column": "id"}),
    "regression": (rated, ".jsonl", {}),
    "tagging": (labelled_files.wnut17, ".conll", {}),
    "question_answering": (
        labelled_files.squad,
        ".json",
        {"stride": 4, "question_length": 10},
    ),
    "embedding": (
        labelled_files.stsb,
        ".csv",
        {
            "delimiter": "tab",
            "text_column": 5,
            "text_pair_column": 6,
            "label_column": "",
        },
    ),
    "multiple_choice": (choices, ".jsonl", {}),
}


CHARTS = {
    "classification": ["confusion", "calibration"],
    "multi_label": ["decisions", "calibration"],
    "regression": [],
    "tagging": ["confusion", "calibration"],
    "question_answering": ["calibration", "confusion"],
    "embedding": [],
    "multiple_choice": ["calibration"],
}
# Family -> the tasks that the default run trains, and those of the wide one.
# Classification, by BERT and by a decoder, is in test_train_labelled.py.
# Decoders differ in their rows, which tags show.
TRAINED: dict[str, tuple[set[str], set[str]]] = {
    "bert": (set(RUNS) - {"classification"}, set()),
    "roberta": (set(), set(RUNS)),
    "albert": (set(), set(RUNS)),
    "distilbert": (set(), set(RUNS)),
    "electra": (set(), set(RUNS)),
    "xlm-roberta": (set(), {"tagging", "question_answering"}),
    "xlnet": (set(), set(RUNS)),
    "gpt2": ({"tagging"}, set(RUNS)),
    "llama": (set(), {"classification"}),
    "mistral": (set(), {"classification", "tagging"}),
    "openai-gpt": (set(), {"classification", "tagging"}),
    "opt": (set(), {"classification", "question_answering"}),
    "qwen2": (set(), {"classification", "tagging"}),
    # Their encoders.
    "t5": (set(), {"classification", "tagging"}),
    "mt5": (set(), {"tagging"}),
}
CASES = [
    pytest.param(
        (family, task), marks=[pytest.mark.wide] * (task not in always)
    )
    for family, (always, others) in TRAINED.items()
    for task in RUNS
    if task in always | others
]


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def run(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, pathlib.Path, pathlib.Path]:
    """A task, the folder of its run, and its held-out file."""
    family, task = request.param
    make, suffix, flags = RUNS[task]
    root = tmp_path_factory.mktemp(task)
    for seed, name in enumerate(("train", "heldout")):
        content = make(COUNT, random.Random(seed))
        (root / f"{name}{suffix}").write_text(content)
    settings = {
        "task": task,
        "train_files": root / f"train{suffix}",
        "eval_files": root / f"heldout{suffix}",
        "model_dir": root / "run",
        "seq_length": 32,
        "batch_size": 8,
        "train_steps": 3,
        "learning_rate": 1e-2,
        "eval_every": 2,
        "seed": 1,
        **flags,
    }
    fresh = fresh_words(root) if family == "bert" else fresh_bytes(root, family)
    if FAMILIES[family].config().generates:
        train(settings | fresh | {"model_dir": root / "first"})
        fresh = {"init_from": root / "first"}
    train(settings | fresh)
    return task, root / "run", root / f"heldout{suffix}"


def train(flags: dict[str, Any]) -> None:
    done = verbs.run("train", *(f"--{k}={v}" for k, v in flags.items()))
    assert done.status == 0, done.stderr


def fresh_words(root: pathlib.Path) -> dict[str, Any]:
    vocabulary = [*verbs.vocabulary(), *WORDS, "?", "abbr", "hum"]
    (root / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    config = verbs.workplace().write_config(
        f"{root.name}/config.json",
        vocab_size=len(vocabulary),
        num_hidden_layers=1,
    )
    return {"model": config, "tokenizer": root / "vocab.txt"}


def fresh_bytes(root: pathlib.Path, family: str) -> dict[str, Any]:
    (root / "text.txt").write_text(f"{' '.join(WORDS)}\n" * 9)
    train_vocabulary(
        str(root / "text.txt"),
        str(root / "bytes"),
        FAMILIES[family].tokenizer,
        vocab_size=290,
    )
    return {"model": f"{family}:tiny", "tokenizer": root / "bytes"}


def test_the_figures_of_training_come_out_again(
    run: tuple[str, pathlib.Path, pathlib.Path], tmp_path: pathlib.Path
) -> None:
    task, folder, _ = run
    done = verbs.run(
        "evaluate",
        f"--model_dir={folder}",
        f"--output_dir={tmp_path}",
        "--bootstrap_samples=20",
    )
    assert done.status == 0, done.stderr
    before = json.loads((folder / "eval_results.json").read_text())
    after = json.loads((tmp_path / "eval_results.json").read_text())
    figures = {n: v for n, v in before.items() if isinstance(v, float)}
    assert len(figures) > 3
    assert {n: after[n] for n in figures} == figures
    assert after["examples"] == COUNT
    for name, (low, high) in after["intervals"].items():
        assert low <= high
        assert name in figures
    assert after["charts"] == [f"eval_{name}.png" for name in CHARTS[task]]
    for name in after["charts"]:
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def test_every_record_has_a_result(
    run: tuple[str, pathlib.Path, pathlib.Path], tmp_path: pathlib.Path
) -> None:
    task, folder, heldout = run
    output = tmp_path / "out.jsonl"
    done = verbs.run(
        "predict",
        f"--model_dir={folder}",
        f"--input_files={heldout}",
        f"--output_file={output}",
        "--batch_size=5",
    )
    assert done.status == 0, done.stderr
    found = [json.loads(line) for line in output.read_text().splitlines()]
    assert len(found) == COUNT
    assert len({result["id"] for result in found}) == COUNT
    for result in found:
        CHECKS[task](result)


def test_standard_input(run: tuple[str, pathlib.Path, pathlib.Path]) -> None:
    task, folder, _ = run
    text = "the old river"
    if task == "question_answering":
        text = "the river\told tree house"
    if task == "multiple_choice":
        text = json.dumps({"text": "the", "choices": ["old", "man", "a"]})
    done = verbs.run(
        "predict", f"--model_dir={folder}", stdin=f"{text}\n{text}\n"
    )
    assert done.status == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [result["id"] for result in found] == ["0", "1"]
    for result in found:
        CHECKS[task](result)


def check_label(result: dict[str, Any]) -> None:
    assert set(result["scores"]) == set(labelled_files.LABELS)
    assert sum(result["scores"].values()) == pytest.approx(1.0, abs=1e-5)
    assert result["score"] == result["scores"][result["label"]]
    assert result["score"] == max(result["scores"].values())


def check_labels(result: dict[str, Any]) -> None:
    assert result["labels"] == [
        name for name, score in result["scores"].items() if score >= 0.5
    ]


def check_value(result: dict[str, Any]) -> None:
    assert math.isfinite(result["value"])


def check_tags(result: dict[str, Any]) -> None:
    text = result["text"]
    assert [w["word"] for w in result["words"]] == text.split()
    for part in (*result["words"], *result["entities"]):
        assert text[part["start"] : part["end"]] == part["word"]
    assert {e["entity_group"] for e in result["entities"]} <= {
        "person",
        "place",
    }


def check_answer(result: dict[str, Any]) -> None:
    assert 1 <= len(result["answers"]) <= 5
    first = result["answers"][0]
    assert {k: result[k] for k in first} == first
    # Some questions have no answer: it is one of the choices.
    assert "null_difference" in result
    for answer in result["answers"]:
        assert answer["end"] - answer["start"] == len(answer["answer"])


def check_vectors(result: dict[str, Any]) -> None:
    vectors = result.get("embeddings") or [result["embedding"]]
    assert len(vectors) == 1 + ("text_pair" in result)
    for vector in vectors:
        assert sum(x * x for x in vector) == pytest.approx(1.0, abs=1e-4)


def check_choice(result: dict[str, Any]) -> None:
    assert result["scores"][result["choice"]] == max(result["scores"])
    assert 2 <= len(result["scores"]) <= 4
    assert sum(result["scores"]) == pytest.approx(1.0)


CHECKS = {
    "classification": check_label,
    "multi_label": check_labels,
    "regression": check_value,
    "tagging": check_tags,
    "question_answering": check_answer,
    "embedding": check_vectors,
    "multiple_choice": check_choice,
}


def test_pairs_are_needed_to_embed(
    run: tuple[str, pathlib.Path, pathlib.Path],
) -> None:
    task, folder, _ = run
    if task != "embedding":
        pytest.skip("others need no pairs")
    before = (folder / "eval_results.json").read_text()
    done = verbs.run("evaluate", f"--model_dir={folder}", "--text_pair_column=")
    assert done.status == 1
    assert (
        "`text_pair_column` is needed for the task embedding" in done.errors[-1]
    )
    assert (folder / "eval_results.json").read_text() == before
