"""Settings that turn labelled files into batches."""

import dataclasses

from tfllm.data.labelled.kinds import (
    LABELLED_KINDS,
    LabelledKind,
    kinds_with,
)
from tfllm.data.labelled.tag_schemes import TAG_SCHEMES
from tfllm.data.positive import check_positive
from tfllm.data.tables.config import TableConfig


@dataclasses.dataclass(frozen=True)
class LabelledDataConfig:
    """Settings that turn labelled files into batches.

    Default column names stand for the usual columns of a format: the first
    and the last one in CoNLL; `question`, `context` and `answers` for
    questions.

    Args:
        task: One of LABELLED_KINDS.
        seq_length: Longest row, T.
        batch_size: Rows per global batch.
        text_column: Name or number (from 0) of the column of the text.
        text_pair_column: Column of the second text; empty: none.
        label_column: Column of the label; empty: none. For multi_label also
            several columns, comma-separated, each with 0 or 1 for a label.
        id_column: Column of the id; empty: records are numbered.
        predicate_column: tagging: column of the predicate: in CoNLL a mark in
            its line, elsewhere its number from 0; empty: none.
        tag_scheme: tagging: one of TAG_SCHEMES; "auto" detects it.
        choice_columns: multiple_choice: columns of the choices, the last of
            which may be blank, or a single column with a list of choices.
        question_length: question_answering: tokens of a question at most.
        table: How files become rows.
        label_scale: embedding: divisor that makes gold similarities cosines.
        prompt: embedding: text to put before every text.
        labels: Names of the labels in the order of their ids, and of the
            numbers in label vectors; empty: the names in the files, sorted,
            or the columns of `label_column`.
        label_separator: multi_label: separator between the labels of a text.
        stride: Tokens from one window of a long text to the next; None cuts
            the text. Tagging then uses half a window, question_answering
            QUESTION_STRIDE.
        pad_to_max: Pad each row to `seq_length`, for hardware that compiles
            each shape.
        max_widths: Different widths of batches at most.
        class_weights: Weights of labels; see `labels.class_weights`.
        class_balanced: Draw each label equally often.
        seed: Seed of the order.
    """

    task: str = "classification"
    seq_length: int = 128
    batch_size: int = 32
    text_column: str = "text"
    text_pair_column: str = ""
    label_column: str = "label"
    id_column: str = ""
    predicate_column: str = ""
    tag_scheme: str = "auto"
    choice_columns: tuple[str, ...] = ("choices",)
    question_length: int = 64
    table: TableConfig = dataclasses.field(default_factory=TableConfig)
    label_scale: float = 1.0
    prompt: str = ""
    labels: tuple[str, ...] = ()
    label_separator: str = ","
    stride: int | None = None
    pad_to_max: bool = False
    max_widths: int = 6
    class_weights: str = ""
    class_balanced: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        """Checks the values."""
        if self.task not in LABELLED_KINDS:
            raise ValueError(
                f"`task` must be one of {', '.join(LABELLED_KINDS)}. "
                f"Received: {self.task!r}."
            )
        if self.tag_scheme not in TAG_SCHEMES:
            raise ValueError(
                f"`tag_scheme` must be one of {', '.join(TAG_SCHEMES)}. "
                f"Received: {self.tag_scheme!r}."
            )
        check_positive(
            self, "seq_length", "batch_size", "max_widths", "question_length"
        )
        if self.stride is not None:
            check_positive(self, "stride")
        if not self.label_scale > 0.0:
            raise ValueError(
                f"`label_scale` must be positive. Received: {self.label_scale}."
            )
        if not self.text_column:
            raise ValueError("`text_column` is needed. Received: ''.")
        if not self.label_separator:
            raise ValueError("`label_separator` is needed. Received: ''.")
        if not self.choice_columns:
            raise ValueError("`choice_columns` is needed. Received: ().")
        self._check_label_columns()
        self._check_kind()

    def _check_kind(self) -> None:
        """Raises ValueError for settings of other kinds of tasks."""
        for name in ("class_weights", "class_balanced", "predicate_column"):
            if getattr(self, name) and name not in self.kind.flags:
                raise ValueError(
                    f"`{name}` goes with the task "
                    f"{' or '.join(kinds_with(name))}. Received: "
                    f"{getattr(self, name)!r} with {self.task!r}."
                )
        kinds = [
            name
            for name, kind in LABELLED_KINDS.items()
            if self.table.format in kind.formats
        ]
        if kinds and self.task not in kinds:
            raise ValueError(
                f"`format` {self.table.format} goes with the task "
                f"{' or '.join(kinds)}. Received: it with {self.task!r}."
            )

    @property
    def kind(self) -> LabelledKind:
        """Entry of LABELLED_KINDS for the task."""
        return LABELLED_KINDS[self.task]

    @property
    def label_columns(self) -> tuple[str, ...]:
        """Columns of labels: none, one, or for multi_label several."""
        if self.kind.label_form != "several":
            return (self.label_column,) if self.label_column else ()
        parts = (part.strip() for part in self.label_column.split(","))
        return tuple(filter(None, parts))

    @property
    def column_labels(self) -> tuple[str, ...]:
        """Names of the labels if each has a column; else empty."""
        columns = self.label_columns
        if len(columns) < 2:
            return ()
        return self.labels if _are_numbers(columns) else columns

    def _check_label_columns(self) -> None:
        """Raises ValueError if label columns do not match label names."""
        columns = self.label_columns
        if len(columns) < 2:
            return
        if _are_numbers(columns):
            if len(columns) != len(self.labels):
                raise ValueError(
                    "`labels` must name the label of each column where "
                    "`label_column` lists numbers. Received: "
                    f"{len(self.labels)} names for {len(columns)} columns."
                )
        elif self.labels and {*self.labels} != {*columns}:
            raise ValueError(
                "`label_column` must list the column of each label. Received: "
                f"columns {', '.join(columns)} for the labels "
                f"{', '.join(self.labels)}."
            )
        if len({*columns}) < len(columns):
            raise ValueError(
                "`label_column` must list different columns. Received: "
                f"{self.label_column!r}."
            )


def _are_numbers(columns: tuple[str, ...]) -> bool:
    """Returns whether columns are given by numbers."""
    return all(column.isdecimal() for column in columns)
