"""How labelled files become batches."""

import dataclasses

from tfllm.data.labelled.tag_schemes import TAG_SCHEMES
from tfllm.data.tables.config import TableConfig

LABELLED_TASKS = (
    "classification",
    "multi_label",
    "regression",
    "tagging",
    "question_answering",
    "embedding",
    "multiple_choice",
)

# Tokens from one window of a context to the next: those of the code of Devlin
# et al., 2019.
QUESTION_STRIDE = 128

# Formats of one task only.
FORMAT_TASKS = {"conll": "tagging", "squad": "question_answering"}


@dataclasses.dataclass(frozen=True)
class LabelledDataConfig:
    """How labelled files become batches.

    Columns that have the names they have by default are those that a format
    has anyway: in CoNLL the first one and the last; of questions `question`,
    `context` and `answers`.

    Args:
        task: One of LABELLED_TASKS.
        seq_length: Longest row, T.
        batch_size: Rows per global batch.
        text_column: Name or number (from 0) of the column of the text.
        text_pair_column: That of its second text; empty: there is none.
        label_column: That of the label; empty: there is none to read.
        id_column: That of an id; empty: records are numbered.
        predicate_column: tagging: that of the predicate: in CoNLL marked in
            its line, elsewhere its number from 0; empty: there is none.
        tag_scheme: tagging: one of TAG_SCHEMES; "auto" finds out.
        choice_columns: multiple_choice: those of the choices, of which the last
            may be blank, or one that holds a list of two or more.
        question_length: question_answering: tokens of a question at most.
        table: How files become rows.
        label_scale: embedding: gold similarities are divided by it, so that
            they are cosines.
        labels: Names of the labels in the order of their ids; empty: those
            found, sorted.
        label_separator: Between the labels of a text, for multi_label.
        stride: Tokens from one window of a long text to the next; None cuts
            the text, but for tagging, where it is half the room, and for
            question_answering, where it is QUESTION_STRIDE.
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
        if self.task not in LABELLED_TASKS:
            raise ValueError(
                f"`task` must be one of {', '.join(LABELLED_TASKS)}. "
                f"Received: {self.task!r}."
            )
        if self.tag_scheme not in TAG_SCHEMES:
            raise ValueError(
                f"`tag_scheme` must be one of {', '.join(TAG_SCHEMES)}. "
                f"Received: {self.tag_scheme!r}."
            )
        for name in (
            "seq_length",
            "batch_size",
            "max_widths",
            "question_length",
        ):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"`{name}` must be at least 1. "
                    f"Received: {getattr(self, name)}."
                )
        if self.stride is not None and self.stride < 1:
            raise ValueError(
                f"`stride` must be at least 1. Received: {self.stride}."
            )
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
        for name, task in (
            ("class_weights", "classification"),
            ("class_balanced", "classification"),
            ("predicate_column", "tagging"),
        ):
            if getattr(self, name) and self.task != task:
                raise ValueError(
                    f"`{name}` goes with the task {task}. Received: "
                    f"{getattr(self, name)!r} with {self.task!r}."
                )
        for name, task in FORMAT_TASKS.items():
            if self.table.format == name and self.task != task:
                raise ValueError(
                    f"`format` {name} goes with the task {task}. Received: "
                    f"it with {self.task!r}."
                )
