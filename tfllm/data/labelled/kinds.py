"""Kinds of labelled data: readers, rows and flags of each kind of task.

LABELLED_KINDS has an entry for each labelled task in `tfllm.tasks.TASKS`.
Importing this does not load TensorFlow, so that flags are checked quickly.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

from tfllm.data.deferred import deferred

# Tokens from one window of a context to the next, as in the code of Devlin et
# al., 2019.
QUESTION_STRIDE = 128


def _half(seq_length: int) -> int | None:
    """Returns the stride of windows that overlap by about half."""
    return max(1, seq_length // 2)


def _cut(seq_length: int) -> int | None:
    """Returns no stride: long texts are cut."""
    return None


@dataclasses.dataclass(frozen=True)
class LabelledKind:
    """How the records of a kind of task are read and become rows.

    Attributes:
        rows: (records, tokenizer, LabelledDataConfig, Labels) -> Rows.
        read: (files, LabelledDataConfig, BadRecords, flag) -> records.
        gold: (value of the label column, LabelledDataConfig) -> gold label;
            only for `read_text_records`.
        encode: (gold labels, Labels) -> labels y, [N, ...]; only for
            `text_rows`.
        label_form: Form of a gold label: "one" name, "several" names, a name
            for each of the "words", or "" without names.
        flags: Flags of the train verb for this kind of task, apart from those
            of all labelled tasks.
        columns: Fields of LabelledDataConfig with more columns to read.
        formats: File formats that only this kind of task reads.
        needs_label: Whether training needs a label column.
        needs_pair: Whether training needs pairs of texts.
        has_windows: Whether a long text may become several rows.
        evaluation_stride: `seq_length` -> tokens from one window of a
            held-out text to the next; None cuts texts.
    """

    rows: Callable[..., Any] = deferred("labelled.rows.texts", "text_rows")
    read: Callable[..., Any] = deferred(
        "labelled.records.record", "read_text_records"
    )
    gold: Callable[..., Any] | None = None
    encode: Callable[..., Any] | None = None
    label_form: Literal["", "one", "several", "words"] = ""
    flags: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    formats: tuple[str, ...] = ()
    needs_label: bool = True
    needs_pair: bool = False
    has_windows: bool = True
    evaluation_stride: Callable[[int], int | None] = _half

    def names_in(self, gold: Any) -> tuple[str, ...]:
        """Returns the label names in a gold label."""
        if not self.label_form or gold is None:
            return ()
        return (gold,) if self.label_form == "one" else gold


LABELLED_KINDS: dict[str, LabelledKind] = {
    "classification": LabelledKind(
        gold=deferred("labelled.gold", "class_gold"),
        encode=deferred("labelled.gold", "class_ids"),
        label_form="one",
        flags=("class_weights", "class_balanced", "labels", "label_smoothing"),
    ),
    "multi_label": LabelledKind(
        gold=deferred("labelled.gold", "names_gold"),
        encode=deferred("labelled.gold", "label_table"),
        label_form="several",
        flags=("labels", "label_smoothing", "label_separator"),
    ),
    "regression": LabelledKind(
        gold=deferred("labelled.gold", "number_gold"),
        encode=deferred("labelled.gold", "numbers"),
    ),
    "tagging": LabelledKind(
        rows=deferred("labelled.rows.tagging", "tagging_rows"),
        read=deferred("labelled.records.tagging", "read_tagging_records"),
        label_form="words",
        flags=("labels", "label_smoothing", "predicate_column", "tag_scheme"),
        columns=("predicate_column",),
        formats=("conll",),
    ),
    "question_answering": LabelledKind(
        rows=deferred("labelled.rows.questions", "question_rows"),
        read=deferred("labelled.records.questions", "read_question_records"),
        flags=("question_length",),
        formats=("squad",),
        evaluation_stride=lambda _: QUESTION_STRIDE,
    ),
    "embedding": LabelledKind(
        rows=deferred("labelled.rows.groups", "embedding_rows"),
        gold=deferred("labelled.gold", "number_gold"),
        flags=("label_scale", "pooling", "temperature"),
        needs_label=False,
        needs_pair=True,
        # Texts of pairs are cut.
        evaluation_stride=_cut,
    ),
    "multiple_choice": LabelledKind(
        rows=deferred("labelled.rows.groups", "choice_rows"),
        read=deferred("labelled.records.choices", "read_choice_records"),
        flags=("label_smoothing", "choice_columns"),
        columns=("choice_columns",),
        has_windows=False,
        evaluation_stride=_cut,
    ),
}


def kinds_with(flag: str) -> tuple[str, ...]:
    """Returns the kinds with a flag; empty if it goes with all kinds."""
    return tuple(k for k, kind in LABELLED_KINDS.items() if flag in kind.flags)


def check_stride(task: str, stride: int | None) -> None:
    """Raises ValueError for a stride if texts are one row each.

    Args:
        task: One of LABELLED_KINDS.
        stride: Tokens from one window to the next; 0 or None: no windows.
    """
    if stride and not LABELLED_KINDS[task].has_windows:
        raise ValueError(
            f"`stride` does not go with {task}. Received: {stride}. Leave it "
            "out: texts that are too long are cut."
        )
