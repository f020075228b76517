"""Exports a model folder to BASE/<version>/ as a LiteRT file.

Beside the file lie the vocabulary, the labels, the layout of rows, and examples
to test the program's tokenizer with.
"""

import dataclasses
import json
import pathlib
import time
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfllm.data.labelled.batches import LabelledData
from tfllm.data.labelled.kinds import LABELLED_KINDS
from tfllm.outputs.predictions import Predictions
from tfllm.prediction.forward import (
    ForwardElsewhere,
    predict,
)
from tfllm.prediction.python_answers import labelled_data
from tfllm.prediction.record_results import Result
from tfllm.prediction.results import results
from tfllm.runtime.saved_model_file import SAVED_MODEL_FILE
from tfllm.serving import artefacts, litert, probes, versions
from tfllm.serving.accuracy import AccuracyReport, labelled_accuracy
from tfllm.serving.export import load
from tfllm.serving.export_config import ExportConfig, ExportSettings
from tfllm.serving.litert import LiteRTModel
from tfllm.serving.signatures import signatures
from tfllm.serving.signatures.signatures import litert_output
from tfllm.tasks import Task
from tfllm.tokenizers import Tokenizer
from tfllm.version import __version__

EXAMPLES_FILE = "examples.jsonl"
MANIFEST_FILE = "manifest.json"
# Largest difference from the task in Python, by how weights are stored, as a
# share of the root mean square of the outputs.
TOLERANCES = {"float32": 1e-4, "float16": 1e-2, "int8": 0.3}
_LONGEST_EXAMPLE = 100


@dataclasses.dataclass(frozen=True)
class LiteRTGateReport:
    """Report of the gate: the interpreter beside the task in Python.

    Attributes:
        rows: Number of texts.
        unchanged: Number of texts with the same labels.
        largest_difference: Largest difference of an output, as a share of the
            root mean square of the outputs.
        seconds: Seconds for all texts.
    """

    rows: int
    unchanged: int
    largest_difference: float
    seconds: float

    def __str__(self) -> str:
        """Returns one line."""
        return (
            f"{self.unchanged} of {self.rows} texts labelled as in Python, "
            f"outputs within {self.largest_difference:.1e} of their usual "
            f"size, answered in {self.seconds:.1f} s"
        )


@dataclasses.dataclass(frozen=True)
class LiteRTReport:
    """Result of an export to LiteRT.

    Attributes:
        folder: Folder of the version.
        weight_bytes: Bytes of the weights in float32.
        file_bytes: Bytes of the file.
        gate: Report of the gate.
        accuracy: Figures on held-out files; None without files.
        manifest: Manifest as written.
    """

    folder: str
    weight_bytes: int
    file_bytes: int
    gate: LiteRTGateReport
    accuracy: AccuracyReport | None
    manifest: dict[str, Any]


def export_litert(
    config: ExportConfig, fixed_length: bool = False
) -> LiteRTReport:
    """Exports a task as a LiteRT file; writes nothing if a check fails.

    Args:
        config: Config of the export; `min_server` is ignored.
        fixed_length: Whether rows must have exactly `seq_length` ids, for
            hardware that compiles a program per shape.

    Raises:
        ValueError: The task has no LiteRT form, the settings do not fit it, or
            the outputs of the interpreter differ from those of Python.
    """
    check_storage(config.precision, config.quantize)
    version = config.version or versions.next_version(config.export_dir)
    base = pathlib.Path(config.export_dir)
    versions.check_format(base, SAVED_MODEL_FILE)
    task, tokenizer, run = load(config.model_dir)
    output = litert_output(task)
    settings = signatures.as_in_run(task, config.settings, run)
    files = config.held_out.files_of(run, config.is_smaller)
    run_settings = {**run, **config.held_out.settings}
    layout = tokenizer.row_template
    with versions.new_version(config.export_dir, version) as folder:
        content = litert.convert(
            task,
            output,
            layout.has_segments,
            settings.seq_length if fixed_length else None,
            config.precision,
            config.quantize,
        )
        (folder / artefacts.LITERT_FILE).write_bytes(content)
        model = LiteRTModel(content)
        data = probe_data(task, tokenizer, settings)
        gate_report, predictions = check(
            task, data, model, how_stored(config.precision, config.quantize)
        )
        accuracy_report = None
        if files:
            accuracy_report = labelled_accuracy(
                task, tokenizer, files, run_settings, settings
            ).of_forward(forward_of(task, model))
        labels = task.labels
        artefacts.write_vocabulary(folder, tokenizer, labels)
        write_examples(folder, data, predictions)
        manifest = {
            **_facts(config, task, model),
            "file_bytes": len(content),
            "row": {
                "seq_length": settings.seq_length,
                "stride": settings.stride,
                "pairs": settings.pairs,
                "prompt": task.prompt,
                **dataclasses.asdict(layout),
            },
            "gate": dataclasses.asdict(gate_report),
            "accuracy": accuracy_report and accuracy_report.as_json(),
            "sha256": artefacts.hash_of(folder),
        }
        text = json.dumps(manifest, indent=2) + "\n"
        (folder / MANIFEST_FILE).write_text(text)
    return LiteRTReport(
        str(base / str(version)),
        4 * task.count_params(),
        len(content),
        gate_report,
        accuracy_report,
        manifest,
    )


def check_storage(precision: str, quantize: str) -> None:
    """Raises ValueError for a storage that LiteRT files do not support."""
    if precision not in litert.PRECISIONS:
        raise ValueError(
            f"`precision` must be one of {', '.join(litert.PRECISIONS)} in a "
            f"LiteRT file. Received: {precision!r}"
        )
    if quantize != "none" and precision != "float32":
        raise ValueError(
            "`quantize` and `precision` exclude each other in a LiteRT file. "
            f"Received: {quantize!r} and {precision!r}"
        )


def how_stored(precision: str, quantize: str) -> str:
    """Returns the key of TOLERANCES."""
    return precision if quantize == "none" else quantize


def probe_data(
    task: Task, tokenizer: Tokenizer, settings: ExportSettings
) -> LabelledData:
    """Returns the texts of the gate as rows."""
    groups = probes.groups(probes.texts(settings.seq_length), settings.pairs)
    return labelled_data(
        task, tokenizer, groups, settings.seq_length, settings.stride
    )


def forward_of(task: Task, model: LiteRTModel) -> ForwardElsewhere:
    """Returns a task's forward pass that runs in the interpreter."""
    main = litert_output(task).main

    def run(x: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        # Embedding data may hold pairs: [B, 2, T] -> [2 * B, T]
        shape = x["token_ids"].shape
        rows = {name: part.reshape(-1, shape[-1]) for name, part in x.items()}
        output = model.rows(rows, main)
        if len(shape) == 3:
            output = output.reshape(*shape[:2], -1)  # [B, 2, D]
        return {task.kind: output}

    return ForwardElsewhere(task, run)


def check(
    task: Task, data: LabelledData, model: LiteRTModel, stored: str
) -> tuple[LiteRTGateReport, Predictions]:
    """Compares the interpreter with the task in Python.

    Args:
        task: The task.
        data: Texts as rows.
        model: The file in the interpreter.
        stored: Key of TOLERANCES.

    Returns:
        Report, and predictions of the interpreter.

    Raises:
        ValueError: An output differs too much from that of Python.
    """
    expected = predict(task, data)
    start = time.perf_counter()
    predictions = predict(task, data, forward=forward_of(task, model))
    seconds = time.perf_counter() - start
    by_word = LABELLED_KINDS[task.kind].label_form == "words"
    pairs = [
        (np.asarray(ours), np.asarray(theirs))
        for ours, theirs in zip(
            predictions.outputs, expected.outputs, strict=True
        )
    ]
    if by_word:
        # Words that no row holds are NaN in both.
        pairs = [(np.nan_to_num(a), np.nan_to_num(b)) for a, b in pairs]
    everything = np.concatenate([theirs.ravel() for _, theirs in pairs])
    usual = max(float(np.sqrt(np.mean(np.square(everything)))), 1e-6)
    gaps = [float(np.abs(a - b).max(initial=0.0)) / usual for a, b in pairs]
    wrong = [
        f"text {number} ({data.records[number].texts[0]!r:.60}) gives "
        f"{pairs[number][0].ravel()[:4]}, in Python "
        f"{pairs[number][1].ravel()[:4]}"
        for number, gap in enumerate(gaps)
        # `not <=` is also true for NaN.
        if not gap <= TOLERANCES[stored]
    ]
    if wrong:
        more = f"; and {len(wrong) - 3} more" if wrong[3:] else ""
        raise ValueError(
            "a LiteRT file must give the outputs of the task in Python within "
            f"{TOLERANCES[stored]:g} of their usual size, {usual:.3g}. "
            f"Received: {'; '.join(wrong[:3])}{more}. Nothing was exported."
        )
    same = sum(
        _labels_of(ours) == _labels_of(theirs)
        for ours, theirs in zip(
            results(predictions), results(expected), strict=True
        )
    )
    report = LiteRTGateReport(len(gaps), same, max(gaps), seconds)
    return report, predictions


def write_examples(
    folder: pathlib.Path, data: LabelledData, predictions: Predictions
) -> None:
    """Writes short texts with their rows and the results of the file.

    Args:
        folder: Folder of the version.
        data: Texts as rows.
        predictions: Predictions of the interpreter.
    """
    lines = []
    rows: dict[int, dict[str, list[int]]] = {}
    for x, _, _, numbers, _ in data.evaluation_rows():
        for place, number in enumerate(numbers.tolist()):
            real = int(x["padding_mask"][place].sum())
            # A text of several windows has no single row.
            rows[number] = (
                {}
                if number in rows
                else {
                    name: part[place, :real].tolist()
                    for name, part in x.items()
                }
            )
    for number, result in enumerate(results(predictions)):
        texts = data.records[number].texts
        if rows[number] and max(map(len, texts)) <= _LONGEST_EXAMPLE:
            line = {"texts": texts, "inputs": rows[number], "result": result}
            lines.append(json.dumps(line) + "\n")
    text = "".join(lines)
    (folder / EXAMPLES_FILE).write_text(text, encoding="utf-8")


def _facts(
    config: ExportConfig, task: Task, model: LiteRTModel
) -> dict[str, Any]:
    """Returns versions, task, storage and tensors for the manifest."""
    shape = f"int32 [1, {model.length or 'T'}]"
    return {
        "tfllm": __version__,
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "task": task.kind,
        "family": task.config.family,
        "precision": config.precision,
        "quantize": config.quantize,
        "signature": litert.SIGNATURE,
        "inputs": dict.fromkeys(model.inputs, shape),
        "outputs": litert_output(task).outputs,
    }


def _labels_of(result: Result) -> Any:
    """Returns the label or labels of a result; None for numbers and vectors."""
    if "words" in result:
        return [word["label"] for word in result["words"]]
    return result.get("label", result.get("labels"))
