"""What the predict verb predicts, by the kind of model: from input to JSON."""

import dataclasses
import functools
import itertools
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from tfllm.data.bad_records import BadRecords
from tfllm.data.labelled import named_settings
from tfllm.data.labelled.batches import LabelledData
from tfllm.data.labelled.config import LabelledDataConfig
from tfllm.data.labelled.records.read import read_records
from tfllm.data.labelled.records.record import Record
from tfllm.data.text_files import open_bytes
from tfllm.evaluation.labelled import predict
from tfllm.evaluation.pooling import AnswerPool
from tfllm.evaluation.results import results
from tfllm.file_access import STANDARD_INPUT
from tfllm.interop import model_folder
from tfllm.tasks import MaskedLM, Task
from tfllm.tasks.fill_mask import MASK, FillMask
from tfllm.tokenizers import WordPieceTokenizer, load_tokenizer

Result = dict[str, Any]


# How lines without a header are read.
_LINES: dict[str, dict[str, Any]] = {
    "text": {"format": "text", "text_column": "text", "text_pair_column": ""},
    "pair": {
        "format": "tsv",
        "delimiter": "tab",
        "has_header": False,
        "text_column": "0",
        "text_pair_column": "1",
    },
    "json": {"format": "jsonl"},
    "predicate": {
        "format": "jsonl",
        "text_column": "text",
        "predicate_column": "predicate",
    },
}


@dataclasses.dataclass(frozen=True)
class Job:
    """What is predicted from what.

    Attributes:
        items: Texts or records, in order.
        predict: Some of them -> a JSON value for each.
        is_of: Whether a JSON value is that of an item.
        show: A JSON value -> what people read; None: the JSON itself.
    """

    items: Iterator[Any]
    predict: Callable[[list[Any]], list[Result]]
    is_of: Callable[[Result, Any], bool]
    show: Callable[[Result], str] | None = None


def fill_mask_job(
    task: MaskedLM, model_dir: str, files: list[str], top_k: int
) -> Job:
    """Returns how the masks of lines are filled.

    Args:
        task: The task.
        model_dir: Its folder.
        files: Paths; none: standard input.
        top_k: Candidates per mask.
    """
    with model_folder.local_folder(model_dir) as folder:
        tokenizer = WordPieceTokenizer.from_file(
            str(folder), special_tokens_in_text=(MASK,)
        )
    predictor = FillMask(task, tokenizer, top_k)

    def fill(texts: list[str]) -> list[Result]:
        return [
            {"text": text, "masks": slots}
            for text, slots in zip(texts, predictor(texts), strict=True)
        ]

    return Job(
        read_lines(files),
        fill,
        lambda result, text: result.get("text") == text,
        _shown,
    )


def labelled_job(
    task: Task,
    model_dir: str,
    files: str,
    config: LabelledDataConfig,
    top_k: int,
) -> Job:
    """Returns how records get labels, tags, answers or vectors.

    Args:
        task: Of a kind in `evaluation.labelled.FIGURES`.
        model_dir: Its folder.
        files: Paths and globs, `-` for standard input.
        config: How they become batches, without gold labels.
        top_k: Answers per question.
    """
    with model_folder.local_folder(model_dir) as folder:
        tokenizer = load_tokenizer(str(folder))

    make_pool = None
    if task.kind == "question_answering":
        make_pool = functools.partial(AnswerPool, n_best=top_k)

    def label(records: list[Record]) -> list[Result]:
        data = LabelledData(records, tokenizer, config)
        return results(predict(task, data, make_pool=make_pool), top_k)

    return Job(_records(files, config), label, _is_of)


def labelled_config(
    task: Task, run: dict[str, Any], given: dict[str, Any], as_lines: bool
) -> LabelledDataConfig:
    """Returns how input is read and cut for a task.

    Args:
        task: The task.
        run: Settings of its run.
        given: Those that take their place.
        as_lines: Whether there is a text per line, or two with a tab between
            them, and nothing else; an object of JSON for choices, and for
            a text with the number of its predicate. Their encoding is not
            that of the run's files.
    """
    settings = {**run, **given, "label_column": ""}
    if as_lines:
        settings |= {"line_pattern": "", "id_column": ""}
        settings |= {"encoding": given.get("encoding", "")}
        settings |= _LINES[_kind_of_lines(task, settings)]
    elif settings.get("has_header") is None and _named_columns(run, given):
        settings["has_header"] = True
    return named_settings.task_config(task, settings)


def _named_columns(run: dict[str, Any], given: dict[str, Any]) -> bool:
    """Whether a run knew by names of columns that its files have a header.

    The label's name counts, though labels are not read here. Not if a call
    has columns of its own, which say it themselves.
    """
    flags = ("text_column", "text_pair_column", "id_column", "label_column")
    if any(flag in given for flag in flags):
        return False
    columns = (run.get(flag) or "0" for flag in flags)
    return not all(column.isdecimal() for column in columns)


def check_tagged_files(
    run: dict[str, Any], given: dict[str, Any], files: list[str]
) -> None:
    """Raises ValueError where nothing says whether files are CoNLL.

    Args:
        run: Settings of a run of tagging.
        given: Those that take their place.
        files: What is read.
    """
    learnt = [p.strip() for p in (run.get("train_files") or "").split(",")]
    unclear = [path for path in files if path.endswith(".txt")]
    if (
        unclear
        and {**run, **given}.get("format", "auto") == "auto"
        and all(path.endswith(".txt") for path in learnt)
    ):
        raise ValueError(
            "`format` is needed: the run read .txt files as CoNLL, and these "
            f"may be running text. Received: {unclear[0]}. Add --format=conll "
            "or --format=text."
        )


def _kind_of_lines(task: Task, values: dict[str, Any]) -> str:
    """Returns which of _LINES a task reads."""
    if task.kind == "multiple_choice":
        return "json"
    if getattr(task, "with_predicates", False):
        return "predicate"
    if task.kind == "question_answering":
        return "pair"
    is_pair = bool(values.get("text_pair_column"))
    # Texts are embedded one by one, though trained in pairs.
    return "pair" if is_pair and task.kind != "embedding" else "text"


def _records(files: str, config: LabelledDataConfig) -> Iterator[Record]:
    """Yields the records of files or of standard input.

    Raises:
        ValueError: There is none, or one is bad and is not to be skipped.
    """
    bad = BadRecords(config.table.on_bad_record)
    records = read_records(files, config, bad, "input_files")
    count = 0
    for count, record in enumerate(records, 1):  # noqa: B007
        yield record
    if not count:
        raise ValueError(
            "`input_files` must hold at least one record. Received: none in "
            f"{files}, {bad.counts.total()} bad ones"
        )
    for path, skipped in sorted(bad.counts.items()):
        print(f"{path}: {skipped} bad records skipped", file=sys.stderr)


def _is_of(result: Result, record: Record) -> bool:
    """Returns whether a result is that of a record."""
    text = result.get("question", result.get("text"))
    return result.get("id") == record.id and text == record.texts[0]


def read_lines(paths: list[str]) -> Iterator[str]:
    """Yields the lines that are not blank, of files or standard input.

    Raises:
        ValueError: A line is not UTF-8; or there is none.
    """
    count = 0
    for _, line in numbered_lines(paths):
        if text := line.strip():
            count += 1
            yield text
    if not count:
        raise ValueError(
            "`input_files` must hold at least one line of text. Received: "
            f"only blank text in {', '.join(paths) or STANDARD_INPUT}"
        )


def numbered_lines(paths: list[str]) -> Iterator[tuple[str, str]]:
    """Yields where each line stands, and the line without its end.

    Args:
        paths: Files; none: standard input.

    Raises:
        ValueError: A line is not UTF-8.
    """
    for path in paths or [STANDARD_INPUT]:
        with open_bytes(path) as file:
            for number, line in enumerate(file, 1):
                place = f"{path}, line {number}"
                try:
                    # Of the first line without the mark of the byte order.
                    text = line.decode("utf-8-sig" if number == 1 else "utf-8")
                except UnicodeDecodeError as error:
                    raise ValueError(
                        f"{place} is not UTF-8: {error.reason}"
                    ) from error
                yield place, text.removesuffix("\n").removesuffix("\r")


def in_batches(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Yields lists of `size` items; the last may be shorter."""
    items = iter(items)
    while batch := list(itertools.islice(items, size)):
        yield batch


def _shown(result: Result) -> str:
    """Returns the candidates of one text for people."""
    lines = [result["text"]]
    for slot in result["masks"]:
        shown = "  ".join(f"{c['token']} {c['score']:.3f}" for c in slot)
        lines.append(f"    {MASK}: {shown}")
    return "\n".join(lines)
