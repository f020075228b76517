"""Figures of exports on held-out files."""

import json
import pathlib
import random
from typing import Any

import numpy as np
import pytest

from tests import labelled_files
from tests.serving import small_models
from tfllm import export as verb
from tfllm.interop import model_folder
from tfllm.prediction.forward import Forward
from tfllm.serving import accuracy, archive, storage
from tfllm.serving import export as exports
from tfllm.serving.accuracy import (
    AccuracyReport,
    LabelledAccuracy,
    TextAccuracy,
    open_accuracy,
)
from tfllm.serving.export import ExportReport
from tfllm.serving.export_config import ExportConfig, ExportSettings, HeldOut
from tfllm.serving.gate import GateReport
from tfllm.serving.litert_export import export_litert
from tfllm.serving.signatures import signatures
from tfllm.tokenizers import load_tokenizer

LENGTH, STRIDE, COUNT = 24, 8, 18


def lines(kind: str) -> str:
    """Labelled texts as lines of JSON."""
    rng = random.Random(0)
    rows: list[dict[str, Any]] = []
    for i in range(COUNT):
        row: dict[str, Any] = {"text": labelled_files.sentence(rng, 2 + i)}
        if kind == "classification":
            row["label"] = small_models.LABELS[i % 3]
        elif kind == "multi_label":
            row["label"] = list(small_models.LABELS[: 1 + i % 3])
        elif kind == "multiple_choice":
            row["choices"] = [
                labelled_files.sentence(rng) for _ in range(2 + i % 3)
            ]
            row["label"] = i % 2
        else:
            row["other"] = labelled_files.sentence(rng)
            row["label"] = i / COUNT
        rows.append(row)
    return "".join(json.dumps(row) + "\n" for row in rows)


def conll() -> str:
    rng = random.Random(0)
    return "".join(
        "".join(f"{word}\t{rng.choice(small_models.TAGS[::2])}\n" for word in s)
        + "\n"
        for s in (labelled_files.sentence(rng, 9).split() for _ in range(COUNT))
    )


def write_held_out(kind: str, folder: pathlib.Path) -> str:
    """Writes a file for a kind of task; returns its path."""
    if kind == "tagging":
        path, text = folder / "held_out.conll", conll()
    elif kind == "question_answering":
        path = folder / "held_out.json"
        text = labelled_files.squad(COUNT, random.Random(0))
    else:
        path, text = folder / "held_out.jsonl", lines(kind)
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(
    ("kind", "figure", "family"),
    [
        ("classification", "macro_f1", "bert"),
        ("question_answering", "f1", "gpt2"),
        *(
            pytest.param(*case, marks=pytest.mark.wide)
            for case in (
                ("tagging", "f1", "bert"),
                ("embedding", "spearman", "bert"),
                ("multiple_choice", "accuracy", "bert"),
            )
        ),
    ],
)
def test_figures_are_those_of_the_stored_weights(
    kind: str, figure: str, family: str, tmp_path: pathlib.Path
) -> None:
    folder = small_models.labelled(kind, family)
    task, tokenizer = model_folder.load(folder), load_tokenizer(folder)
    run = {"text_pair_column": "other"} if kind == "embedding" else {}
    settings = signatures.as_in_run(task, ExportSettings(LENGTH), run)
    served = signatures.serve(task, tokenizer, ExportSettings(LENGTH), run)
    files = write_held_out(kind, tmp_path)
    found = open_accuracy(served, files, run, settings)
    assert isinstance(found, LabelledAccuracy)
    stored = storage.store_all(task.weights, "bfloat16", "int8")
    archive.write(served, task.weights, stored, str(tmp_path / "1"))
    report = found.of_served(served, str(tmp_path / "1"))
    # The task has the weights that were stored by now.
    again = open_accuracy(served, files, run, settings)
    assert isinstance(again, LabelledAccuracy)
    expected = again.of_forward(Forward.of(task)).float32
    assert set(report.exported) == set(report.float32) == set(expected)
    for name, value in expected.items():
        assert report.exported[name] == pytest.approx(value, abs=1e-4), name
    assert report.float32["loss"] != report.exported["loss"]
    assert figure in report.float32
    assert report.records == COUNT


@pytest.mark.parametrize(
    "kind", ["masked_lm", pytest.param("causal_lm", marks=pytest.mark.wide)]
)
def test_language_models_answer_as_before(
    kind: str, tmp_path: pathlib.Path
) -> None:
    task, tokenizer, _ = exports.load(getattr(small_models, kind)())
    settings = ExportSettings(max_new_tokens=4)
    served = signatures.serve(task, tokenizer, settings, {})
    path = tmp_path / "lines.txt"
    path.write_text("it was\n\nthe best of times\nx\nthe 自然 worst\n")
    found = open_accuracy(served, str(path), {}, settings)
    assert isinstance(found, TextAccuracy)
    stored = [
        storage.StoredWeight(weight.path, np.asarray(weight.value))
        for weight in task.weights
    ]
    archive.write(served, task.weights, stored, str(tmp_path / "1"))
    report = found.of_served(served, str(tmp_path / "1"))
    assert (report.records, report.exported) == (4, {"unchanged": 1.0})
    # With other weights it says something else.
    for weight in stored:
        np.copyto(weight.value, weight.value[..., ::-1].copy())
    archive.write(served, task.weights, stored, str(tmp_path / "2"))
    report = found.of_served(served, str(tmp_path / "2"))
    assert report.change["unchanged"] <= -0.5
    path.write_text("\n \n")
    with pytest.raises(ValueError, match="must hold lines of text"):
        open_accuracy(served, str(path), {}, settings)


def test_litert_files_have_figures(tmp_path: pathlib.Path) -> None:
    pytest.importorskip(
        "ai_edge_litert.interpreter",
        reason="ai-edge-litert is not installed (extra `litert`)",
    )
    files = write_held_out("classification", tmp_path)
    report = export_litert(
        ExportConfig(
            small_models.labelled("classification"),
            str(tmp_path / "base"),
            quantize="int8",
            settings=ExportSettings(LENGTH, STRIDE),
            held_out=HeldOut(files),
        )
    )
    assert report.accuracy is not None
    change = report.accuracy.change["loss"]
    assert 0.0 < abs(change) < 0.1
    assert report.manifest["accuracy"]["change"]["loss"] == change
    assert report.manifest["accuracy"]["records"] == COUNT
    assert f"{change:+9.4f}" in verb.litert_summary(report)


def test_files_of_the_run(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "test.csv"
    run = {"eval_files": f"{path}, {path}"}
    # Only what is still there, and only if it could change anything.
    assert HeldOut().files_of(run, True) == ""
    path.touch()
    assert HeldOut().files_of(run, True) == run["eval_files"]
    globs = {"eval_files": str(tmp_path / "*.*")}
    assert HeldOut().files_of(globs, True) == globs["eval_files"]
    assert HeldOut().files_of(run, False) == ""
    assert HeldOut().files_of({}, True) == ""
    assert HeldOut("other.csv").files_of(run, False) == "other.csv"


def test_what_people_read() -> None:
    measured = AccuracyReport(
        "test.csv",
        500,
        {"loss": 0.25, "accuracy": 0.9},
        {"loss": 0.5, "accuracy": 0.875},
    )
    assert str(measured).splitlines() == [
        "figures of 500 records of test.csv:",
        "             float32  exported    change",
        "  accuracy    0.9000    0.8750   -0.0250",
        "  loss        0.2500    0.5000   +0.2500",
    ]
    change = measured.as_json()["change"]
    assert change == pytest.approx({"loss": 0.25, "accuracy": -0.025})
    manifest = {"task": "t", "min_server": "2.12.1", "signatures": {}}
    gate = GateReport(1, 0.0, 0.0, 0.0, 0)
    report = ExportReport("f", 4, 1, None, measured, gate, manifest)
    assert str(measured) in verb.summary(report)


def test_files_are_read_as_in_the_run(tmp_path: pathlib.Path) -> None:
    folder = small_models.labelled("classification")
    task, tokenizer = model_folder.load(folder), load_tokenizer(folder)
    path = tmp_path / "test.tsv"
    path.write_text("good\tit was\nbad\tthe dog\n")
    run = {"has_header": False, "text_column": "1", "label_column": "0"}
    settings = ExportSettings(LENGTH, STRIDE, question_length=LENGTH)
    found = accuracy.labelled_accuracy(
        task, tokenizer, str(path), {**run, "batch_size": 1}, settings
    )
    assert isinstance(found, LabelledAccuracy)
    with pytest.raises(ValueError, match="label"):
        accuracy.labelled_accuracy(
            task, tokenizer, str(path), {**run, "label_column": "1"}, settings
        )
