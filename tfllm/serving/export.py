"""From a model folder to BASE/<version>/, which a server loads."""

import dataclasses
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfllm.interop import model_folder
from tfllm.interop.config_file import read_json
from tfllm.serving import (
    archive,
    artefacts,
    gate,
    servers,
    signatures,
    storage,
    versions,
)
from tfllm.serving.accuracy import AccuracyReport, HeldOut, open_accuracy
from tfllm.serving.gate import GateReport
from tfllm.serving.served_task import Check, ExportSettings
from tfllm.serving.storage import Precision, Quantization
from tfllm.tasks import MaskedLM
from tfllm.tokenizers import WordPieceTokenizer, load_tokenizer

# Where the train verb wrote down its settings.
_RUN_FILE = "run.json"


@dataclasses.dataclass(frozen=True)
class ExportConfig:
    """What to export, and for whom.

    Attributes:
        model_dir: Model folder, or hub id.
        export_dir: Folder of the served model, BASE.
        version: Its version; 0 for the one after the last.
        min_server: Oldest TensorFlow Serving that must load it.
        precision: Dtype of the weights on disk.
        quantize: "int8" for matrices and tables on disk, or "none".
        settings: What the functions do.
        held_out: Labelled files, or texts, that it is measured on.
    """

    model_dir: str
    export_dir: str
    version: int = 0
    min_server: str = servers.OLDEST
    precision: Precision = "float32"
    quantize: Quantization = "none"
    settings: ExportSettings = ExportSettings()
    held_out: HeldOut = HeldOut()

    @property
    def is_smaller(self) -> bool:
        """Whether weights lose precision."""
        return (self.precision, self.quantize) != ("float32", "none")

    def __post_init__(self) -> None:
        """Checks the values."""
        for name in ("model_dir", "export_dir"):
            if not getattr(self, name):
                raise ValueError(f"`{name}` is needed. Received: nothing")
        servers.parse(self.min_server)
        for name, values in (
            ("precision", storage.PRECISIONS),
            ("quantize", storage.QUANTIZATIONS),
        ):
            if getattr(self, name) not in values:
                raise ValueError(
                    f"`{name}` must be one of {', '.join(values)}. "
                    f"Received: {getattr(self, name)!r}"
                )


@dataclasses.dataclass(frozen=True)
class StorageChange:
    """What a smaller file did to the answers to the gate's texts.

    Attributes:
        rows: Texts, over all signatures.
        unchanged: Texts whose labels, tokens and texts are the same.
        largest_difference: Between two scores of those.
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
    """What was exported.

    Attributes:
        folder: The version.
        weight_bytes: Bytes of the weights in float32.
        stored_bytes: Bytes of the weights on disk.
        change: What that did to the answers; None for float32.
        accuracy: Its figures on held-out files, None without any.
        gate: What the gate saw.
        manifest: As written.
    """

    folder: str
    weight_bytes: int
    stored_bytes: int
    change: StorageChange | None
    accuracy: AccuracyReport | None
    gate: GateReport
    manifest: dict[str, Any]


def export(config: ExportConfig) -> ExportReport:
    """Writes a version that a server may load, or nothing.

    Args:
        config: What to export.

    Raises:
        ValueError: The folder does not hold a task that can be served, the
            settings do not fit it, or the gate refuses the export.
    """
    version = config.version or versions.next_version(config.export_dir)
    base = pathlib.Path(config.export_dir)
    versions.check_format(base, artefacts.LITERT_FILE)
    model_name = os.path.basename(os.path.abspath(base))
    task, tokenizer, run = load(config.model_dir)
    served = signatures.serve(task, tokenizer, config.settings, run)
    # Now: the task is about to get the weights that are stored.
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
        # Moved, so that a path of the place where it was written would show.
        moved = folder / "moved"
        os.rename(folder / "written", moved)
        warm_up = served.warm_up()
        labels = getattr(task, "labels", ())
        artefacts.write(moved, model_name, warm_up, tokenizer, labels)
        stored_bytes = sum(weight.num_bytes for weight in stored)
        seen = gate.check(
            moved, checks, warm_up, config.min_server, stored_bytes
        )
        measured = None
        if accuracy is not None:
            measured = accuracy.of_served(served, str(moved))
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
            accuracy=measured and measured.as_json(),
        )
        _lift(moved, folder)
    artefacts.write_configs(base, model_name)
    return ExportReport(
        str(base / str(version)),
        sum(4 * int(np.prod(w.shape)) for w in weights),
        stored_bytes,
        change,
        measured,
        seen,
        manifest,
    )


def load(model_dir: str) -> tuple[Any, Any, dict[str, Any]]:
    """Returns a folder's task, its tokenizer, and the settings of its run."""
    task = model_folder.load(model_dir)
    with model_folder.local_folder(model_dir) as folder:
        file = folder / _RUN_FILE
        run = read_json(file) if file.is_file() else {}
        tokenizer = load_tokenizer(str(folder))
        if isinstance(task, MaskedLM) and isinstance(
            tokenizer, WordPieceTokenizer
        ):
            # Text may spell the mask, and nothing else.
            tokenizer = WordPieceTokenizer.from_file(
                str(folder),
                special_tokens_in_text=(tokenizer.special_tokens.mask,),
            )
    model_folder.check_vocabulary(tokenizer, task.config)
    return task, tokenizer, run


def compare(before: Sequence[Check], after: Sequence[Check]) -> StorageChange:
    """Returns how answers of the Python task changed."""
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


def _lift(inner: pathlib.Path, outer: pathlib.Path) -> None:
    """Moves what is in a folder to the one that it lies in."""
    for path in inner.iterdir():
        os.rename(path, outer / path.name)
    inner.rmdir()
