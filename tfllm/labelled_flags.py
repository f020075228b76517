"""The flags that say how labelled files are read, for every verb.

Their names are those of the fields of LabelledDataConfig and TableConfig.
"""

import dataclasses
from typing import Any

from absl import flags as absl_flags

from tfllm.data.bad_records import ON_BAD_RECORD
from tfllm.data.labelled.config import LabelledDataConfig
from tfllm.data.labelled.tag_schemes import TAG_SCHEMES
from tfllm.data.tables.config import FORMATS, TableConfig
from tfllm.flags import Group

FLAGS = absl_flags.FLAGS

# Name -> what it says. Those with values to choose from or of a type other
# than text are told apart below.
_HELP = {
    "format": "Of labelled files; auto: by name and content.",
    "text_column": "Column of the text: a name, or a number from 0.",
    "text_pair_column": "Column of a second text.",
    "label_column": "Column of the label.",
    "id_column": "Column of an id.",
    "predicate_column": "Column of the predicate, for tagging.",
    "tag_scheme": "Of the tags, for tagging; auto: found out.",
    "choice_columns": "Columns of the choices, or one with lists of them; "
    "the last columns may be blank.",
    "label_scale": "Similarities are divided by it, for embedding.",
    "question_length": "Tokens of a question, at most.",
    "label_separator": "Between the labels of a text, for multi_label.",
    "delimiter": "Between columns: a character, tab, comma, space, ...",
    "quotes": 'Whether " may hide delimiters and line ends.',
    "has_header": "Whether the first row names the columns.",
    "encoding": "Of the files; empty: found out.",
    "line_pattern": "Regular expression with named groups that a line matches.",
    "on_bad_record": "Stop at a record that is bad, or skip and count it.",
    "stride": "Tokens from one window of a long text to the next.",
    "pad_to_max": "Pad all rows to --seq_length.",
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
        group: Title of the help they stand under.
        as_in_run: Whether a flag that is not given means what the record of
            the run says, and not a default.
    """
    defaults = {
        field.name: field.default
        for config in (LabelledDataConfig, TableConfig)
        for field in dataclasses.fields(config)  # type: ignore[arg-type]
    }
    for name, text in _HELP.items():
        default: Any = None if as_in_run else defaults[name]
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


def given() -> dict[str, Any]:
    """Returns the flags that have a value."""
    values = {name: FLAGS[name].value for name in _HELP}
    return {k: value for k, value in values.items() if value is not None}
