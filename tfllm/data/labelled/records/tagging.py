"""Records of tagging: words, their place in a text, and their tags.

Words come from CoNLL files, from lists in JSON, or from texts. In texts with
tags, words and tags are separated by spaces, tabs and line ends only, not by
other Unicode spaces. Texts without tags are split by `word_spans`, finer than
many corpora: give lists where the words are known. Lists are joined by spaces.
"""

import itertools
import logging
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from tfllm import file_access
from tfllm.data.bad_records import BadRecord, BadRecords
from tfllm.data.labelled.config import LabelledDataConfig
from tfllm.data.labelled.labels import label_name
from tfllm.data.labelled.records.record import Record, columns_of
from tfllm.data.labelled.records.word_spans import word_spans
from tfllm.data.labelled.tag_schemes import NO_SCHEME, TagScheme, find_scheme
from tfllm.data.tables.conll import Sentence, read_sentences
from tfllm.data.tables.row import Row, is_tfds
from tfllm.data.tables.rows import SUFFIXES, read_rows, suffix_of

logger = logging.getLogger(__name__)

_NO_PREDICATE = ("", "-", "_", "0", "O", "*")
_SPACES = " \t\r\n"
_WORD = re.compile(f"[^{_SPACES}]+")
Spans = tuple[tuple[int, int], ...]


class _Tagged(NamedTuple):
    """A sentence of a file, before its tags are checked."""

    record: Record
    path: str
    lines: tuple[int, ...]  # of each word; empty if all share one

    def where(self, word: int | None) -> str:
        """Returns file and line of a word, or of the sentence for None."""
        if word is None or not self.lines:
            return self.record.where
        return f"{self.path}, line {self.lines[word]}"


def read_tagging_records(
    files: str,
    config: LabelledDataConfig,
    bad: BadRecords,
    flag: str = "train_files",
) -> Iterator[Record]:
    """Yields the records of files; see `read.read_records`.

    Files with tags are read to the end before the first record: all of them
    decide the scheme and the spelling of tags.
    """
    sentences: Iterator[_Tagged] = _from_files(files, config, bad, flag)
    scheme = TagScheme(NO_SCHEME)
    if config.label_column:
        kept = list(sentences)
        scheme = find_scheme((t.record.gold for t in kept), config.tag_scheme)
        if scheme.name == "iob1":
            logger.info("The tags of `%s` are IOB1, and become BIO.", flag)
        sentences = iter(kept)
    number = itertools.count()
    for tagged in sentences:
        record = tagged.record
        tags = record.gold
        if tags is not None:
            try:
                tags = scheme.read(tags)
            except BadRecord as error:
                bad.add(tagged.where(error.word), tagged.path, error)
                continue
        yield Record(
            record.id or str(next(number)),
            record.where,
            record.texts,
            tags,
            record.words,
            record.predicate,
        )


def tagging_record(
    words: Sequence[str],
    tags: Sequence[str] | None = None,
    predicate: int | None = None,
    id: str = "",
    where: str = "",
) -> Record:
    """Returns the record of a list of words, joined by spaces."""
    text, spans = join_words(words)
    gold = None if tags is None else tuple(tags)
    return Record(id, where, (text,), gold, spans, predicate)


def join_words(words: Sequence[str]) -> tuple[str, Spans]:
    """Joins words to a text; returns it and (start, end) of each word."""
    ends = list(itertools.accumulate(len(word) + 1 for word in words))
    spans = tuple(
        (end - 1 - len(word), end - 1)
        for word, end in zip(words, ends, strict=True)
    )
    return " ".join(words), spans


def _from_files(
    files: str, config: LabelledDataConfig, bad: BadRecords, flag: str
) -> Iterator[_Tagged]:
    """Yields the sentences of all files."""
    if _are_conll(files, config):
        columns, has_tags, has_predicate = _conll_columns(config)
        for sentence in read_sentences(files, columns, config.table, bad, flag):
            try:
                yield _from_conll(sentence, has_tags, has_predicate)
            except BadRecord as error:
                bad.add(sentence.where, sentence.path, error)
        return
    for row in read_rows(files, columns_of(config), config.table, bad, flag):
        try:
            record = _from_row(row, config)
        except BadRecord as error:
            bad.add(row.where, row.path, error)
            continue
        yield _Tagged(record, row.path, ())


def _are_conll(files: str, config: LabelledDataConfig) -> bool:
    """Returns whether files are CoNLL, by `format` or by their names."""
    if config.table.format != "auto" or is_tfds(files):
        return config.table.format == "conll"
    suffixes = {suffix_of(path) for path in file_access.split(files)}
    tables = {suffix for suffix in suffixes if suffix in SUFFIXES}
    if tables and tables != suffixes:
        raise ValueError(
            "`format` must be given for tables beside CoNLL files, and the "
            f"files must be of one kind. Received: {files}."
        )
    if tables:
        return False
    # Running text has no tags: without them, .txt is not CoNLL.
    return bool(config.label_column) or suffixes != {".txt"}


def _conll_columns(config: LabelledDataConfig) -> tuple[list[int], bool, bool]:
    """Returns numbers of the columns, and whether tags and predicate exist."""
    columns = [_column_number(config.text_column, "text_column", 0)]
    if config.label_column:
        columns.append(_column_number(config.label_column, "label_column", -1))
    if config.predicate_column:
        columns.append(
            _column_number(config.predicate_column, "predicate_column", 1)
        )
    return columns, bool(config.label_column), bool(config.predicate_column)


def _column_number(column: str, flag: str, default: int) -> int:
    """Returns the number of a column; `default` for its default name."""
    if column == flag.removesuffix("_column"):
        return default
    if not re.fullmatch(r"-?\d+", column):
        raise ValueError(
            f"`{flag}` of a CoNLL file must be a number, from 0, or from -1 "
            f"backwards. Received: {column!r}."
        )
    return int(column)


def _from_conll(
    sentence: Sentence, has_tags: bool, has_predicate: bool
) -> _Tagged:
    """Returns a sentence of a CoNLL file."""
    words, *others = sentence.columns
    tags = _tags(list(others[0])) if has_tags else None
    predicate = _marked_word(others[-1]) if has_predicate else None
    record = tagging_record(words, tags, predicate, "", sentence.where)
    return _Tagged(record, sentence.path, sentence.lines)


def _marked_word(marks: Sequence[str]) -> int:
    """Returns the number of the word that is marked as predicate."""
    places = [i for i, mark in enumerate(marks) if mark not in _NO_PREDICATE]
    if len(places) != 1:
        raise BadRecord(
            f"{len(places)} words are marked as predicates; a sentence with "
            "several is repeated for each"
        )
    return places[0]


def _from_row(row: Row, config: LabelledDataConfig) -> Record:
    """Returns the record of a row; its tags are not checked yet."""
    text, spans = _words(row, config)
    tags = None
    if config.label_column:
        tags = _tags(row.get(config.label_column))
        if len(tags) != len(spans):
            raise BadRecord(f"{len(tags)} tags for {len(spans)} words")
    predicate = None
    if config.predicate_column:
        predicate = row.get(config.predicate_column)
        if str(predicate).isdecimal():
            predicate = int(predicate)
        if not isinstance(predicate, int) or not 0 <= predicate < len(spans):
            raise BadRecord(
                f"the predicate must be the number of a word, from 0, not "
                f"{predicate!r}"
            )
    id = str(row.get(config.id_column)) if config.id_column else ""
    return Record(id, row.where, (text,), tags, spans, predicate)


def _words(row: Row, config: LabelledDataConfig) -> tuple[str, Spans]:
    """Returns the text of a row, and (start, end) of each word."""
    value = row.get(config.text_column)
    if isinstance(value, list) and all(
        isinstance(word, str) and word.strip(_SPACES) for word in value
    ):
        text, spans = join_words(value)
    elif isinstance(value, str):
        text = value
        spans = (
            tuple(match.span() for match in _WORD.finditer(text))
            if config.label_column
            else word_spans(text)
        )
    else:
        raise BadRecord(
            f"column {config.text_column!r} must be text or a list of words, "
            f"not {value!r}"
        )
    if not spans:
        raise BadRecord(f"column {config.text_column!r} holds no word")
    return text, spans


def _tags(value: Any) -> tuple[str, ...]:
    """Returns the tags of a list, or of a text with spaces between them."""
    if isinstance(value, str):
        value = _WORD.findall(value)
    if not isinstance(value, list):
        raise BadRecord(f"the tags must be a list or text, not {value!r}")
    return tuple(label_name(item) for item in value)
