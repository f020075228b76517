"""The flags for reading labelled files, shared by all verbs.

They are named after the fields of LabelledDataConfig and TableConfig.
"""

import dataclasses
from typing import Any

from absl import flags as absl_flags

from tfllm.data.bad_records import ON_BAD_RECORD
from tfllm.data.labelled.config import LabelledDataConfig
from tfllm.data.labelled.tag_schemes import TAG_SCHEMES
from tfllm.data.tables.config import FORMATS, TableConfig
from tfllm.runs.flags import Group

FLAGS = absl_flags.FLAGS

# Flag -> help text, and its default in words if the default is not a value.
# Flags that are not texts are listed below.
_HELP = {
    "format": (
        "Format of the labelled files; auto reads it from the name of a file, "
        "or else from its lines.",
        "",
    ),
    "text_column": (
        "Column of the text: its name, or its number from 0.",
        "",
    ),
    "text_pair_column": (
        "Column of a second text that belongs to the first: its name, or its "
        "number from 0.",
        "none",
    ),
    "label_column": (
        "Column of the label: its name, or its number from 0. For multi_label "
        "also several, comma-separated, each with 0 or 1 for one label.",
        "",
    ),
    "id_column": (
        "Column of the id of a record, which results repeat: its name, or its "
        "number from 0.",
        "none, records are numbered",
    ),
    "has_header": (
        "Whether the first row of a table holds the names of the columns.",
        "yes if a column is asked for by name",
    ),
    "delimiter": (
        "Separator of columns: one character, or tab, comma, semicolon, pipe "
        "or space.",
        "a tab if each line has one, else a comma, or a semicolon if the first "
        "line has more of those",
    ),
    "quotes": (
        'Whether " around a field may hide delimiters and line ends.',
        "yes unless the delimiter is a tab",
    ),
    "encoding": (
        "Encoding of the files, such as utf-8 or latin-1.",
        "detected from their bytes",
    ),
    "line_pattern": (
        "Regular expression that each line of plain text matches; its named "
        "groups are the columns, as in (?P<label>\\w+) (?P<text>.*).",
        "none",
    ),
    "on_bad_record": (
        "What to do with a record that cannot be read: fail stops at it, "
        "skip counts it and goes on.",
        "",
    ),
    "stride": (
        "Number of tokens from one window of a long text to the next; 0 cuts "
        "the text off instead.",
        "0, but for tagging half of --seq_length, and for question_answering "
        "128",
    ),
    "pad_to_max": (
        "Pad every row to --seq_length instead of to the longest of its "
        "batch, for hardware that compiles each shape.",
        "",
    ),
    "label_separator": (
        "Separator of the labels of one text, for multi_label.",
        "",
    ),
    "predicate_column": (
        "Column of the predicate's number from 0, or in CoNLL of its mark, "
        "for tagging.",
        "none",
    ),
    "tag_scheme": (
        "Scheme of the tags, for tagging; auto takes the one that the files "
        "follow, none takes any tags, unchecked, such as parts of speech.",
        "",
    ),
    "question_length": (
        "Largest number of tokens of a question, for question_answering; "
        "longer questions are cut.",
        "",
    ),
    "choice_columns": (
        "Columns of the choices, comma-separated; the last ones may be blank. "
        "Or one column with a list. For multiple_choice.",
        "",
    ),
    "label_scale": (
        "Divisor of the labels, their largest similarity, to make them "
        "cosines; for embedding.",
        "",
    ),
}
_CHOICES = {
    "format": FORMATS,
    "on_bad_record": ON_BAD_RECORD,
    "tag_scheme": TAG_SCHEMES,
}
_BOOLEANS = ("quotes", "has_header", "pad_to_max")


def names() -> tuple[str, ...]:
    """Returns the names of the flags."""
    return tuple(_HELP)


def define(group: Group, as_in_run: bool = False) -> None:
    """Defines the flags.

    Args:
        group: Group of the help.
        as_in_run: Whether the defaults are those of the run, not values.
    """
    defaults = {
        field.name: field.default
        for config in (LabelledDataConfig, TableConfig)
        for field in dataclasses.fields(config)  # type: ignore[arg-type]
    }
    for name, (text, missing) in _HELP.items():
        default: Any = None if as_in_run else defaults[name]
        if as_in_run:
            text += " Default: that of the run."
        elif missing:
            text += f" Default: {missing}."
        if name in _CHOICES:
            group.choice(name, default, _CHOICES[name], text)
        elif name in _BOOLEANS:
            group.boolean(name, default, text)
        elif name in ("stride", "question_length"):
            group.integer(name, default, text)
        elif name == "label_scale":
            group.number(name, default, text)
        elif name == "choice_columns":
            group.string(name, default and ",".join(default), text)
        else:
            group.string(name, default, text)


def set_flags() -> dict[str, Any]:
    """Returns the flags that have a value."""
    flags = {name: FLAGS[name].value for name in _HELP}
    return {name: value for name, value in flags.items() if value is not None}
