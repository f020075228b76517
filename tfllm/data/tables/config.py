"""Settings that turn files into rows of a table."""

import dataclasses
import re

from tfllm.data.bad_records import ON_BAD_RECORD

# `conll` reads CoNLL, `labelled.records.questions` SQuAD; `rows` the others.
FORMATS = ("auto", "csv", "tsv", "jsonl", "text", "conll", "squad")
DELIMITERS = {
    "tab": "\t",
    "comma": ",",
    "semicolon": ";",
    "pipe": "|",
    "space": " ",
}


@dataclasses.dataclass(frozen=True)
class TableConfig:
    """Settings that turn files into rows of a table.

    Args:
        format: One of FORMATS; "auto" detects it by the name of the file, and
            for other names by its first lines.
        delimiter: Separator of columns: a character or a name of DELIMITERS.
            Empty: a tab if each line has one, else a comma, or a semicolon if
            the first line has more of those.
        quotes: Whether `"` around a field may enclose delimiters and line
            ends; None: unless the delimiter is a tab.
        has_header: Whether the first row names the columns; None: if a column
            is asked for by name.
        encoding: Encoding of the files; empty: detected, see `text_files`.
        line_pattern: Regular expression for the lines of plain text; its
            named groups are the columns.
        on_bad_record: "fail", or "skip" to skip and count bad records.
    """

    format: str = "auto"
    delimiter: str = ""
    quotes: bool | None = None
    has_header: bool | None = None
    encoding: str = ""
    line_pattern: str = ""
    on_bad_record: str = "fail"

    def __post_init__(self) -> None:
        """Checks the values."""
        for name, choices in (
            ("format", FORMATS),
            ("on_bad_record", ON_BAD_RECORD),
        ):
            if getattr(self, name) not in choices:
                raise ValueError(
                    f"`{name}` must be one of {', '.join(choices)}. "
                    f"Received: {getattr(self, name)!r}."
                )
        if self.delimiter and len(self.separator) != 1:
            raise ValueError(
                "`delimiter` must be one character, or one of "
                f"{', '.join(DELIMITERS)}. Received: {self.delimiter!r}."
            )
        if self.line_pattern:
            try:
                pattern = re.compile(self.line_pattern)
            except re.error as error:
                raise ValueError(
                    "`line_pattern` must be a regular expression. Received: "
                    f"{self.line_pattern!r} ({error})."
                ) from None
            if not pattern.groupindex:
                raise ValueError(
                    "`line_pattern` must name its groups, as in "
                    "(?P<label>\\w+) (?P<text>.*). Received: "
                    f"{self.line_pattern!r}."
                )

    @property
    def separator(self) -> str:
        """The delimiter as a character, or empty."""
        if self.delimiter == "\\t":  # as in a flag file
            return "\t"
        return DELIMITERS.get(self.delimiter, self.delimiter)
