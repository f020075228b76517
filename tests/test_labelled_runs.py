"""Tasks by the verbs: trained, evaluated again, and predicted with.

Those whose outputs are read in a way of their own; test_labelled_verbs.py has
one label per text, test_configs.py trains each flag file.
"""

import json
import pathlib
import random
from typing import Any

import pytest

from tests import labelled_files, verbs

pytestmark = pytest.mark.slow

WORDS = labelled_files.WORDS
COUNT = 24


def choices(count: int, rng: random.Random) -> str:
    lines = [
        {
            "text": labelled_files.sentence(rng),
            "choices": [labelled_files.sentence(rng, 2) for _ in range(3)],
            "label": i % 3,
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


# Task -> what its files hold, their suffix, and its flags.
RUNS: dict[str, tuple[Any, str, dict[str, Any]]] = {
    "multi_label": (several, ".jsonl", {"id_column": "id"}),
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


@pytest.fixture(scope="module", params=RUNS)
def run(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, pathlib.Path, pathlib.Path]:
    """A task, the folder of its run, and its held-out file."""
    task = request.param
    make, suffix, flags = RUNS[task]
    root = tmp_path_factory.mktemp(task)
    vocabulary = [*verbs.vocabulary(), *WORDS, "?", "abbr", "hum"]
    (root / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    for seed, name in enumerate(("train", "heldout")):
        content = make(COUNT, random.Random(seed))
        (root / f"{name}{suffix}").write_text(content)
    work = verbs.workplace()
    settings = {
        "task": task,
        "model": work.write_config(
            f"{task}/config.json",
            vocab_size=len(vocabulary),
            num_hidden_layers=1,
        ),
        "tokenizer": root / "vocab.txt",
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
    done = verbs.run("train", *(f"--{k}={v}" for k, v in settings.items()))
    assert done.status == 0, done.stderr
    return task, root / "run", root / f"heldout{suffix}"


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


def check_labels(result: dict[str, Any]) -> None:
    assert result["labels"] == [
        name for name, score in result["scores"].items() if score >= 0.5
    ]


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
    assert len(result["scores"]) == 3


CHECKS = {
    "multi_label": check_labels,
    "tagging": check_tags,
    "question_answering": check_answer,
    "embedding": check_vectors,
    "multiple_choice": check_choice,
}
