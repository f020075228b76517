"""From a model folder to BASE/<version>/, which a phone loads.

Beside the file lies what a program needs to make rows of text: the
vocabulary, the labels, how rows are laid out, and examples to try its own
tokenizer with.
"""

import dataclasses
import json
import pathlib
import time
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import tfllm
from tfllm.data.labelled.batches import LabelledData
from tfllm.data.labelled.rows import row_layout
from tfllm.evaluation.labelled import ForwardElsewhere, predict
from tfllm.evaluation.predictions import Predictions
from tfllm.evaluation.results import Result, results
from tfllm.serving import artefacts, litert, probes, signatures, versions
from tfllm.serving.accuracy import AccuracyReport, labelled_accuracy
from tfllm.serving.export import ExportConfig, load
from tfllm.serving.litert import LiteRTModel
from tfllm.serving.python_answers import labelled_data
from tfllm.serving.saved_model_file import SAVED_MODEL_FILE
from tfllm.serving.served_task import ExportSettings

EXAMPLES_FILE = "examples.jsonl"
MANIFEST_FILE = "manifest.json"
# How far an output may lie from that of Python, by how weights are stored, in
# parts of the usual size of outputs, the root of the mean of their squares.
TOLERANCES = {"float32": 1e-4, "float16": 1e-2, "int8": 0.3}
_LONGEST_EXAMPLE = 100


@dataclasses.dataclass(frozen=True)
class LiteRTGateReport:
    """What the interpreter answered.

    Attributes:
        rows: Texts.
        unchanged: Those with the labels of Python.
        largest_difference: Of an output, in parts of the usual size.
        seconds: Of all texts.
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
    """What was exported.

    Attributes:
        folder: The version.
        weight_bytes: Bytes of the weights in float32.
        file_bytes: Bytes of the file.
        gate: What the gate saw.
        accuracy: Its figures on held-out files, None without any.
        manifest: As written.
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
    """Writes a version with a LiteRT file, or nothing.

    Args:
        config: What to export; `min_server` does not count.
        fixed_length: Whether rows must have `seq_length` ids, as hardware
            with one program per shape asks for, and not any number up to it.

    Raises:
        ValueError: The folder does not hold a task of `litert.OUTPUTS`, the
            settings do not fit it, or the interpreter answers otherwise than
            the task in Python.
    """
    check_storage(config.precision, config.quantize)
    version = config.version or versions.next_version(config.export_dir)
    base = pathlib.Path(config.export_dir)
    versions.check_format(base, SAVED_MODEL_FILE)
    task, tokenizer, run = load(config.model_dir)
    if task.kind not in litert.OUTPUTS:
        raise ValueError(
            f"`model_dir` must hold a task of {sorted(litert.OUTPUTS)} to be "
            f"exported for LiteRT. Received: {task.kind!r}"
        )
    settings = signatures.as_in_run(task, config.settings, run)
    files = config.held_out.files_of(run, config.is_smaller)
    values = {**run, **config.held_out.settings}
    layout = row_layout.layout_of(tokenizer)
    with versions.new_version(config.export_dir, version) as folder:
        content = litert.convert(
            task,
            layout.has_segments,
            settings.seq_length if fixed_length else None,
            config.precision,
            config.quantize,
        )
        (folder / artefacts.LITERT_FILE).write_bytes(content)
        model = LiteRTModel(content)
        data = probe_data(task, tokenizer, settings)
        seen, found = check(
            task, data, model, how_stored(config.precision, config.quantize)
        )
        measured = None
        if files:
            measured = labelled_accuracy(
                task, tokenizer, files, values, settings
            ).of_forward(forward_of(task, model))
        labels = getattr(task, "labels", ())
        artefacts.write_vocabulary(folder, tokenizer, labels)
        write_examples(folder, data, found)
        manifest = {
            **_facts(config, task, model),
            "file_bytes": len(content),
            "row": {
                "seq_length": settings.seq_length,
                "stride": settings.stride,
                "pairs": settings.pairs,
                **dataclasses.asdict(layout),
            },
            "gate": dataclasses.asdict(seen),
            "accuracy": measured and measured.as_json(),
            "sha256": artefacts.hash_of(folder),
        }
        text = json.dumps(manifest, indent=2) + "\n"
        (folder / MANIFEST_FILE).write_text(text)
    return LiteRTReport(
        str(base / str(version)),
        4 * task.count_params(),
        len(content),
        seen,
        measured,
        manifest,
    )


def check_storage(precision: str, quantize: str) -> None:
    """Raises ValueError for what no LiteRT file can hold."""
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
    task: Any, tokenizer: Any, settings: ExportSettings
) -> LabelledData:
    """Returns the texts of the gate as rows."""
    groups = probes.groups(probes.texts(settings.seq_length), settings.pairs)
    return labelled_data(
        task, tokenizer, groups, settings.seq_length, settings.stride
    )


def forward_of(task: Any, model: LiteRTModel) -> ForwardElsewhere:
    """Returns the forward pass of a task, in the interpreter."""
    main = litert.OUTPUTS[task.kind].main

    def run(x: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        # Texts to embed may come in pairs.
        shape = x["token_ids"].shape
        rows = {name: part.reshape(-1, shape[-1]) for name, part in x.items()}
        found = model.rows(rows, main)
        if len(shape) == 3:
            found = found.reshape(*shape[:2], -1)
        return {task.kind: found}

    return ForwardElsewhere(task, run)


def check(
    task: Any, data: LabelledData, model: LiteRTModel, stored: str
) -> tuple[LiteRTGateReport, Predictions]:
    """Compares the interpreter with the task in Python.

    Args:
        task: The task.
        data: Texts.
        model: The file.
        stored: A key of TOLERANCES.

    Returns:
        What it saw, and the interpreter's predictions.

    Raises:
        ValueError: An output lies too far from that of Python.
    """
    expected = predict(task, data)
    start = time.perf_counter()
    found = predict(task, data, forward=forward_of(task, model))
    seconds = time.perf_counter() - start
    # Words behind the end of a text were not read, here and there.
    pairs = [
        (np.nan_to_num(np.asarray(one)), np.nan_to_num(np.asarray(other)))
        if task.kind == "tagging"
        else (np.asarray(one), np.asarray(other))
        for one, other in zip(found.outputs, expected.outputs, strict=True)
    ]
    everything = np.concatenate([other.ravel() for _, other in pairs])
    usual = max(float(np.sqrt(np.mean(np.square(everything)))), 1e-6)
    gaps = [float(np.abs(a - b).max(initial=0.0)) / usual for a, b in pairs]
    wrong = [
        f"text {number} ({data.records[number].texts[0]!r:.60}) gives "
        f"{pairs[number][0].ravel()[:4]}, in Python "
        f"{pairs[number][1].ravel()[:4]}"
        for number, gap in enumerate(gaps)
        # Not a number is not less than anything.
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
        _labels_of(one) == _labels_of(other)
        for one, other in zip(results(found), results(expected), strict=True)
    )
    return LiteRTGateReport(len(gaps), same, max(gaps), seconds), found


def write_examples(
    folder: pathlib.Path, data: LabelledData, found: Predictions
) -> None:
    """Writes short texts with their rows and what the file says about them.

    Args:
        folder: The version.
        data: Texts.
        found: The interpreter's predictions.
    """
    lines = []
    rows: dict[int, dict[str, list[int]]] = {}
    for x, _, _, numbers, _ in data.evaluation_rows():
        for place, number in enumerate(numbers.tolist()):
            real = int(x["padding_mask"][place].sum())
            # Of a text of several windows there is no one row.
            rows[number] = (
                {}
                if number in rows
                else {
                    name: part[place, :real].tolist()
                    for name, part in x.items()
                }
            )
    for number, result in enumerate(results(found)):
        texts = data.records[number].texts
        if rows[number] and max(map(len, texts)) <= _LONGEST_EXAMPLE:
            line = {"texts": texts, "inputs": rows[number], "result": result}
            lines.append(json.dumps(line) + "\n")
    text = "".join(lines)
    (folder / EXAMPLES_FILE).write_text(text, encoding="utf-8")


def _facts(
    config: ExportConfig, task: Any, model: LiteRTModel
) -> dict[str, Any]:
    """Returns what a file is, for its manifest."""
    shape = f"int32 [1, {model.length or 'T'}]"
    return {
        "tfllm": tfllm.__version__,
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "task": task.kind,
        "family": task.config.family,
        "precision": config.precision,
        "quantize": config.quantize,
        "signature": litert.SIGNATURE,
        "inputs": dict.fromkeys(model.inputs, shape),
        "outputs": litert.OUTPUTS[task.kind].outputs,
    }


def _labels_of(result: Result) -> Any:
    """Returns what a result decides; of numbers and vectors nothing."""
    if "words" in result:
        return [word["label"] for word in result["words"]]
    return result.get("label", result.get("labels"))
