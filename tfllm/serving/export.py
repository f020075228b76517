"""Exports a model folder to BASE/<version>/, which a server loads."""

import dataclasses
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfllm import file_access, run_record
from tfllm.interop import model_folder
from tfllm.serving import archive, artefacts, gate, storage, versions
from tfllm.serving.accuracy import AccuracyReport, open_accuracy
from tfllm.serving.export_config import ExportConfig
from tfllm.serving.gate import GateReport
from tfllm.serving.signatures import signatures
from tfllm.serving.signatures.served_task import Check
from tfllm.tasks import Task
from tfllm.tokenizers import Tokenizer


@dataclasses.dataclass(frozen=True)
class StorageChange:
    """How smaller weights changed the answers to the gate's texts.

    Attributes:
        rows: Number of texts, over all signatures.
        unchanged: Number of texts with the same labels, tokens and texts.
        largest_difference: Largest difference of their scores.
    """

    rows: int
    unchanged: int
    largest_difference: float

    def __str__(self) -> str:
        """Returns one line."""
        return (
            f"{self.unchanged} of {self.rows} answers as in float32, their "
            f"scores within {self.largest_difference:.1e}"
        )


@dataclasses.dataclass(frozen=True)
class ExportReport:
    """Result of an export.

    Attributes:
        folder: Folder of the version.
        weight_bytes: Bytes of the weights in float32.
        stored_bytes: Bytes of the weights on disk.
        change: How storage changed the answers; None for float32.
        accuracy: Figures on held-out files; None without files.
        gate: Report of the gate.
        manifest: Manifest as written.
    """

    folder: str
    weight_bytes: int
    stored_bytes: int
    change: StorageChange | None
    accuracy: AccuracyReport | None
    gate: GateReport
    manifest: dict[str, Any]


def export(config: ExportConfig) -> ExportReport:
    """Exports a task as a new version, or nothing if a check fails.

    Args:
        config: Config of the export.

    Raises:
        ValueError: The task cannot be served, the settings do not fit it, or
            the gate refuses the export.
    """
    file_access.check_plain(config.export_dir, "export_dir")
    version = config.version or versions.next_version(config.export_dir)
    base = pathlib.Path(config.export_dir)
    versions.check_format(base, artefacts.LITERT_FILE)
    model_name = os.path.basename(os.path.abspath(base))
    task, tokenizer, run = load(config.model_dir)
    served = signatures.serve(task, tokenizer, config.settings, run)
    # Measured now: below, the task gets the weights as stored.
    accuracy = open_accuracy(
        served,
        config.held_out.files_of(run, config.is_smaller),
        {**run, **config.held_out.settings},
        signatures.as_in_run(task, config.settings, run),
    )
    with versions.new_version(config.export_dir, version) as folder:
        weights = list({id(w): w for w in task.weights}.values())
        before = served.checks() if config.is_smaller else []
        stored = storage.store_all(weights, config.precision, config.quantize)
        checks = served.checks()
        change = compare(before, checks) if config.is_smaller else None
        archive.write(served, weights, stored, str(folder / "written"))
        # Moved, so that the gate fails if the graph holds the old path.
        moved = folder / "moved"
        os.rename(folder / "written", moved)
        warm_up = served.warm_up()
        artefacts.write(moved, model_name, warm_up, tokenizer, task.labels)
        stored_bytes = sum(weight.num_bytes for weight in stored)
        gate_report = gate.check(
            moved, checks, warm_up, config.min_server, stored_bytes
        )
        accuracy_report = None
        if accuracy is not None:
            accuracy_report = accuracy.of_served(served, str(moved))
        manifest = artefacts.write_manifest(
            moved,
            served.functions,
            task=task.kind,
            family=task.config.family,
            settings=dataclasses.asdict(config.settings),
            min_server=config.min_server,
            precision=config.precision,
            quantize=config.quantize,
            weight_bytes=stored_bytes,
            accuracy=accuracy_report and accuracy_report.as_json(),
        )
        _move_up(moved)
    artefacts.write_configs(base, model_name)
    return ExportReport(
        str(base / str(version)),
        sum(4 * int(np.prod(w.shape)) for w in weights),
        stored_bytes,
        change,
        accuracy_report,
        gate_report,
        manifest,
    )


def load(model_dir: str) -> tuple[Task, Tokenizer, dict[str, Any]]:
    """Loads a task, its tokenizer, and the settings of its run."""
    task = model_folder.load(model_dir)
    with model_folder.local_folder(model_dir) as folder:
        run = run_record.read_if_whole(str(folder / run_record.RUN_FILE))
        # In text, only the mask is read as a special token.
        tokenizer = model_folder.read_tokenizer(
            folder, task.config, mask_in_text=task.fills_masks
        )
    return task, tokenizer, run or {}


def compare(before: Sequence[Check], after: Sequence[Check]) -> StorageChange:
    """Compares the answers of the Python task before and after storage."""
    rows = unchanged = 0
    largest = 0.0
    for first, second in zip(before, after, strict=True):
        for old, new in zip(first.expected, second.expected, strict=True):
            rows += 1
            if any(
                old[name].shape != new[name].shape
                or not np.all(old[name] == new[name])
                for name in old
                if old[name].dtype.kind != "f"
            ):
                continue
            unchanged += 1
            gaps = [
                np.abs(old[name] - new[name]).max(initial=0.0)
                for name in old
                if old[name].dtype.kind == "f"
            ]
            largest = max(largest, *map(float, gaps)) if gaps else largest
    return StorageChange(rows, unchanged, largest)


def _move_up(folder: pathlib.Path) -> None:
    """Moves the contents of a folder to its parent; removes the folder."""
    for path in folder.iterdir():
        os.rename(path, folder.parent / path.name)
    folder.rmdir()
