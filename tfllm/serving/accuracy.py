"""What smaller weights cost: figures of held-out files, before and after.

The same rows go through the task in Python, with its float32 weights, and
through what was exported. A task of labelled data has its own figures there,
those of `tfllm.evaluate`; a language model the share of texts that it answers
as before.
"""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfllm import file_access
from tfllm.data.labelled import named_settings
from tfllm.data.labelled.batches import LabelledData, open_labelled_data
from tfllm.evaluation.labelled import (
    FIGURES,
    ForwardElsewhere,
    ForwardPass,
    measure,
)
from tfllm.serving.c_loader import SavedModel
from tfllm.serving.served_task import (
    DEFAULT,
    TOKEN_IDS,
    Arrays,
    ExportSettings,
)

Values = dict[str, float]

FLAG = "evaluation_files"
# Lines of text that a language model answers, at most.
MAX_TEXTS = 100
_TEXTS_PER_REQUEST = 20
UNCHANGED = "unchanged"


@dataclasses.dataclass(frozen=True)
class HeldOut:
    """Files that an export is measured on.

    Attributes:
        files: Globs, comma-separated; empty: those of the run, if weights
            get smaller and they are still there.
        settings: How they are read, where it is not as in the run.
    """

    files: str = ""
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def files_of(self, run: Mapping[str, Any], is_smaller: bool) -> str:
        """Returns the files to read, empty for none.

        Args:
            run: Settings of the run that trained the task.
            is_smaller: Whether weights lose precision.
        """
        if self.files or not is_smaller:
            return self.files
        files = run.get("eval_files") or ""
        try:
            file_access.match_files(files, FLAG)
        except ValueError:  # they are no longer there
            return ""
        return files


@dataclasses.dataclass(frozen=True)
class AccuracyReport:
    """What an export is worth beside the task with float32 weights.

    Attributes:
        files: What was read.
        records: Records or lines in them.
        float32: Figures of the task in Python, by name.
        exported: Those of the export.
    """

    files: str
    records: int
    float32: Values
    exported: Values

    @property
    def change(self) -> Values:
        """What the export gained or lost."""
        return {k: self.exported[k] - v for k, v in self.float32.items()}

    def as_json(self) -> dict[str, Any]:
        """Returns what goes into the manifest."""
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
    """A task of labelled data on held-out files.

    Args:
        task: The task.
        data: The files.
        files: Their names.
        max_steps: Batches at most; None: all.
    """

    def __init__(
        self,
        task: Any,
        data: LabelledData,
        files: str,
        max_steps: int | None = None,
    ) -> None:
        """See the class; measures the task as it is now."""
        self._task, self._data, self._files = task, data, files
        self._max_steps = max_steps
        self._before = self._figures(None)

    def of_served(self, served: Any, folder: str) -> AccuracyReport:
        """Returns the figures of a SavedModel, in the C++ runtime.

        Args:
            served: Its functions, a LabelledServing.
            folder: The version.
        """
        with SavedModel(folder, disable_xla=False) as model:

            def run(x: Arrays) -> Arrays:
                answer = model.run(TOKEN_IDS, served.id_request(x))
                return served.task_outputs(x, answer)

            return self.of_forward(ForwardElsewhere(self._task, run))

    def of_forward(self, forward: ForwardPass) -> AccuracyReport:
        """Returns the figures of what an export computes."""
        after = self._figures(forward)
        records = len(self._data.records)
        return AccuracyReport(self._files, records, self._before, after)

    def _figures(self, forward: ForwardPass | None) -> Values:
        return measure(
            self._task,
            self._data,
            self._max_steps,
            tune=False,
            forward=forward,
        ).values


class TextAccuracy:
    """A language model on the lines of text files.

    Args:
        served: Its functions, with `decisions`.
        texts: The lines.
        files: Names of the files.
    """

    def __init__(self, served: Any, texts: Sequence[bytes], files: str) -> None:
        """See the class; asks the task as it is now."""
        self._texts, self._files = texts, files
        self._before = served.python_decisions(texts)

    def of_served(self, served: Any, folder: str) -> AccuracyReport:
        """Returns the share of lines that a SavedModel answers as before."""
        after: list[np.ndarray] = []
        with SavedModel(folder, disable_xla=False) as model:
            for start in range(0, len(self._texts), _TEXTS_PER_REQUEST):
                part = self._texts[start : start + _TEXTS_PER_REQUEST]
                request = served.decision_request(part)
                after += served.decisions(model.run(DEFAULT, request))
        same = [
            np.array_equal(one, other)
            for one, other in zip(self._before, after, strict=True)
        ]
        figures = {UNCHANGED: float(np.mean(same))}
        return AccuracyReport(self._files, len(same), {UNCHANGED: 1.0}, figures)


def open_accuracy(
    served: Any,
    files: str,
    values: Mapping[str, Any],
    settings: ExportSettings,
) -> LabelledAccuracy | TextAccuracy | None:
    """Reads held-out files, and asks the task in Python about them.

    Args:
        served: The functions of the task.
        files: Globs, comma-separated; empty: nothing is done.
        values: Settings of the run, and those that take their place.
        settings: Of the export.

    Raises:
        ValueError: The files cannot be read as the task needs them.
    """
    if not files:
        return None
    if served.task.kind in FIGURES:
        return labelled_accuracy(
            served.task, served.tokenizer, files, values, settings
        )
    return TextAccuracy(served, _lines(files), files)


def labelled_accuracy(
    task: Any,
    tokenizer: Any,
    files: str,
    values: Mapping[str, Any],
    settings: ExportSettings,
) -> LabelledAccuracy:
    """Reads labelled files, and asks the task in Python about them.

    Args:
        task: Of labelled data.
        tokenizer: Its tokenizer.
        files: Globs, comma-separated.
        values: Settings of the run, and those that take their place.
        settings: Of the export: its rows are those of the evaluation.
    """
    rows = {
        "seq_length": settings.seq_length,
        # Texts to embed come in pairs here, which are cut.
        "stride": None if task.kind == "embedding" else settings.stride,
        "question_length": settings.question_length,
    }
    config = named_settings.task_config(task, {**values, **rows})
    named_settings.check_label_column(task.kind, config.label_column)
    data = open_labelled_data(files, tokenizer, config, FLAG)
    steps = values.get("eval_steps") or None
    return LabelledAccuracy(task, data, files, steps)


def _lines(files: str) -> list[bytes]:
    """Returns the first lines that are not blank."""
    found: list[bytes] = []
    for path in file_access.match_files(files, FLAG):
        with file_access.open_binary(path) as file:
            lines = (line.strip() for line in file)
            wanted = MAX_TEXTS - len(found)
            found += itertools.islice(filter(None, lines), wanted)
    if not found:
        raise ValueError(
            f"`{FLAG}` must hold lines of text for a language model. "
            f"Received: only blank ones in {files}"
        )
    return found
