"""Measures an export on held-out files, before and after weights shrink.

The same rows go through the task in Python with float32 weights and through
the export. A labelled task is measured with the figures of `tfllm.evaluate`, a
language model with the share of texts that it answers as before.
"""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np

from tfllm import file_access
from tfllm.data.labelled import named_settings
from tfllm.data.labelled.batches import LabelledData, open_labelled_data
from tfllm.prediction.forward import (
    ForwardElsewhere,
    ForwardPass,
)
from tfllm.prediction.measure import measure
from tfllm.runtime.c_loader import SavedModel
from tfllm.serving.export_config import FLAG, ExportSettings
from tfllm.serving.signatures.labelled_serving import LabelledServing
from tfllm.serving.signatures.served_task import (
    DEFAULT,
    TOKEN_IDS,
    Arrays,
    ServedLanguage,
    ServedTask,
)
from tfllm.tasks import Task
from tfllm.tokenizers import Tokenizer

Figures = dict[str, float]

# Most lines of text that a language model answers.
MAX_TEXTS = 100
_TEXTS_PER_REQUEST = 20
UNCHANGED = "unchanged"


@dataclasses.dataclass(frozen=True)
class AccuracyReport:
    """Figures of an export beside those of the task with float32 weights.

    Attributes:
        files: Files that were read.
        records: Number of records or lines in the files.
        float32: Figures of the task in Python, by name.
        exported: Figures of the export, by name.
    """

    files: str
    records: int
    float32: Figures
    exported: Figures

    @property
    def change(self) -> Figures:
        """Differences, export minus float32, by name."""
        return {k: self.exported[k] - v for k, v in self.float32.items()}

    def as_json(self) -> dict[str, Any]:
        """Returns the report for the manifest."""
        return {**dataclasses.asdict(self), "change": self.change}

    def __str__(self) -> str:
        """Returns a table."""
        width = max(map(len, self.float32))
        lines = [
            f"figures of {self.records} records of {self.files}:",
            f"  {'':{width}} {'float32':>9} {'exported':>9} {'change':>9}",
        ]
        change = self.change
        for name in sorted(self.float32):
            figures = f"{self.float32[name]:9.4f} {self.exported[name]:9.4f}"
            lines.append(f"  {name:{width}} {figures} {change[name]:+9.4f}")
        return "\n".join(lines)


class LabelledAccuracy:
    """Measures a labelled task on held-out files.

    The task is measured on creation: create it before weights change.

    Args:
        task: The task.
        data: Opened files.
        files: Names of the files.
        max_steps: Most batches; None for all.
    """

    def __init__(
        self,
        task: Task,
        data: LabelledData,
        files: str,
        max_steps: int | None = None,
    ) -> None:
        self._task, self._data, self._files = task, data, files
        self._max_steps = max_steps
        self._before = self._figures(None)

    def of_served(self, served: ServedTask, folder: str) -> AccuracyReport:
        """Measures a SavedModel in the C++ runtime.

        Args:
            served: Functions of the SavedModel.
            folder: Folder of the version.
        """
        functions = cast(LabelledServing, served)
        with SavedModel(folder, disable_xla=False) as model:

            def run(x: Arrays) -> Arrays:
                answer = model.run(TOKEN_IDS, functions.id_request(x))
                return functions.task_outputs(x, answer)

            return self.of_forward(ForwardElsewhere(self._task, run))

    def of_forward(self, forward: ForwardPass) -> AccuracyReport:
        """Measures the forward pass of an export."""
        after = self._figures(forward)
        records = len(self._data.records)
        return AccuracyReport(self._files, records, self._before, after)

    def _figures(self, forward: ForwardPass | None) -> Figures:
        """Measures a forward pass; None for that of the task in Python."""
        return measure(
            self._task,
            self._data,
            self._max_steps,
            tune=False,
            forward=forward,
        ).values


class TextAccuracy:
    """Measures a language model on the lines of text files.

    The task answers on creation: create it before weights change.

    Args:
        served: Functions of the model.
        texts: Lines of the files.
        files: Names of the files.
    """

    def __init__(
        self, served: ServedLanguage, texts: Sequence[bytes], files: str
    ) -> None:
        self._texts, self._files = texts, files
        self._before = served.python_decisions(texts)

    def of_served(self, served: ServedTask, folder: str) -> AccuracyReport:
        """Returns the share of lines that a SavedModel answers as before."""
        functions = cast(ServedLanguage, served)
        after: list[np.ndarray] = []
        with SavedModel(folder, disable_xla=False) as model:
            for start in range(0, len(self._texts), _TEXTS_PER_REQUEST):
                part = self._texts[start : start + _TEXTS_PER_REQUEST]
                request = functions.decision_request(part)
                after += functions.decisions(model.run(DEFAULT, request))
        same = [
            np.array_equal(old, new)
            for old, new in zip(self._before, after, strict=True)
        ]
        figures = {UNCHANGED: float(np.mean(same))}
        return AccuracyReport(self._files, len(same), {UNCHANGED: 1.0}, figures)


def open_accuracy(
    served: ServedTask,
    files: str,
    run_settings: Mapping[str, Any],
    settings: ExportSettings,
) -> LabelledAccuracy | TextAccuracy | None:
    """Reads held-out files and measures the task in Python on them.

    Args:
        served: Functions of the task.
        files: Comma-separated globs; returns None if empty.
        run_settings: Settings of the run, with those that replace them.
        settings: Settings of the export.

    Raises:
        ValueError: The files do not hold data for the task.
    """
    if not files:
        return None
    if served.task.is_labelled:
        return labelled_accuracy(
            served.task, served.tokenizer, files, run_settings, settings
        )
    return TextAccuracy(cast(ServedLanguage, served), _lines(files), files)


def labelled_accuracy(
    task: Task,
    tokenizer: Tokenizer,
    files: str,
    run_settings: Mapping[str, Any],
    settings: ExportSettings,
) -> LabelledAccuracy:
    """Reads labelled files and measures the task in Python on them.

    Args:
        task: A labelled task.
        tokenizer: Tokenizer of the task.
        files: Comma-separated globs.
        run_settings: Settings of the run, with those that replace them.
        settings: Settings of the export, which give the lengths of rows.
    """
    rows = {
        "seq_length": settings.seq_length,
        # Embedding data hold pairs, whose texts are cut.
        "stride": None if task.embeds else settings.stride,
        "question_length": settings.question_length,
    }
    config = named_settings.task_config(task, {**run_settings, **rows})
    named_settings.check_label_column(task.kind, config.label_column)
    data = open_labelled_data(files, tokenizer, config, flag=FLAG)
    steps = run_settings.get("eval_steps") or None
    return LabelledAccuracy(task, data, files, steps)


def _lines(files: str) -> list[bytes]:
    """Returns the first `MAX_TEXTS` lines that are not blank."""
    texts: list[bytes] = []
    for path in file_access.match_files(files, FLAG):
        with file_access.open_binary(path) as file:
            lines = (line.strip() for line in file)
            missing = MAX_TEXTS - len(texts)
            texts += itertools.islice(filter(None, lines), missing)
    if not texts:
        raise ValueError(
            f"`{FLAG}` must hold lines of text for a language model. "
            f"Received: only blank ones in {files}"
        )
    return texts
