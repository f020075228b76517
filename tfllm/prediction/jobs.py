"""Jobs of the predict verb: input files to JSON values."""

import dataclasses
import functools
import itertools
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from tfllm import file_access
from tfllm.data.bad_records import BadRecords
from tfllm.data.labelled import named_settings
from tfllm.data.labelled.batches import LabelledData
from tfllm.data.labelled.config import LabelledDataConfig
from tfllm.data.labelled.kinds import LABELLED_KINDS
from tfllm.data.labelled.records.read import read_records
from tfllm.data.labelled.records.record import Record
from tfllm.data.text_files import open_bytes
from tfllm.file_access import STANDARD_INPUT
from tfllm.interop import model_folder
from tfllm.prediction.forward import predict
from tfllm.prediction.kinds import labelled_kind
from tfllm.prediction.results import results
from tfllm.tasks import Task
from tfllm.tasks.fill_mask import FillMask

Result = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Job:
    """The inputs of a prediction, and how they become results.

    Attributes:
        items: Texts or records, in order.
        predict: Batch of items -> a JSON value for each.
        is_of: Returns whether a JSON value belongs to an item.
        show: JSON value -> text for the terminal; None: the JSON itself.
    """

    items: Iterator[Any]
    predict: Callable[[list[Any]], list[Result]]
    is_of: Callable[[Result, Any], bool]
    show: Callable[[Result], str] | None = None


def fill_mask_job(
    task: Task, model_dir: str, files: list[str], top_k: int
) -> Job:
    """Returns the job that fills the masks in lines of text.

    Args:
        task: The task.
        model_dir: Folder of its model.
        files: Paths; empty: standard input.
        top_k: Candidates per mask.
    """
    with model_folder.local_folder(model_dir) as folder:
        tokenizer = model_folder.read_tokenizer(
            folder, task.config, mask_in_text=True
        )
    (mask,) = tokenizer.special_tokens.spell(["mask"])
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
        functools.partial(_shown_candidates, mask=mask),
    )


def labelled_job(
    task: Task,
    model_dir: str,
    files: str,
    config: LabelledDataConfig,
    top_k: int,
) -> Job:
    """Returns the job that predicts labels, tags, answers or vectors.

    Args:
        task: A task of labelled data.
        model_dir: Folder of its model.
        files: Paths and globs, `-` for standard input.
        config: How files become batches, without gold labels.
        top_k: Answers per question.
    """
    with model_folder.local_folder(model_dir) as folder:
        tokenizer = model_folder.read_tokenizer(folder, task.config)

    def label(records: list[Record]) -> list[Result]:
        data = LabelledData(records, tokenizer, config)
        return results(predict(task, data, n_best=top_k), top_k)

    return Job(_records(files, config), label, _is_result_of)


def labelled_config(
    task: Task, run: dict[str, Any], overrides: dict[str, Any], as_lines: bool
) -> LabelledDataConfig:
    """Returns how input files become batches for a task.

    Args:
        task: The task.
        run: Settings of its run.
        overrides: Settings of the call, which replace those of the run.
        as_lines: Whether each line is a text, or two with a tab between
            them; for choices, and for a text with its predicate, a JSON
            object. The encoding of the run's files does not apply.
    """
    settings = {**run, **overrides, "label_column": ""}
    if as_lines:
        settings |= {"line_pattern": "", "id_column": ""}
        settings |= {"encoding": overrides.get("encoding", "")}
        settings |= labelled_kind(task).lines(task, settings)
    elif settings.get("has_header") is None and _has_named_columns(
        run, overrides
    ):
        settings["has_header"] = True
    return named_settings.task_config(task, settings)


def _has_named_columns(run: dict[str, Any], overrides: dict[str, Any]) -> bool:
    """Returns whether a run named columns, so that its files have a header.

    The label column counts, though labels are not read here. If the call
    names columns, those of the run do not count.
    """
    flags = ("text_column", "text_pair_column", "id_column", "label_column")
    if any(flag in overrides for flag in flags):
        return False
    columns = ",".join(run.get(flag) or "0" for flag in flags).split(",")
    return not all(column.strip().isdecimal() for column in columns)


def check_tagged_files(
    task: Task,
    run: dict[str, Any],
    overrides: dict[str, Any],
    files: list[str],
) -> None:
    """Raises ValueError if .txt files may be CoNLL or running text.

    Args:
        task: The task; only one that reads CoNLL is checked.
        run: Settings of its run.
        overrides: Settings of the call, which replace those of the run.
        files: Input files.
    """
    if "conll" not in LABELLED_KINDS[task.kind].formats:
        return
    train_files = file_access.split(run.get("train_files") or "") or [""]
    unclear = [path for path in files if path.endswith(".txt")]
    if (
        unclear
        and {**run, **overrides}.get("format", "auto") == "auto"
        and all(path.endswith(".txt") for path in train_files)
    ):
        raise ValueError(
            "`format` is needed: the run read .txt files as CoNLL, and these "
            f"may be running text. Received: {unclear[0]}. Add --format=conll "
            "or --format=text."
        )


def _records(files: str, config: LabelledDataConfig) -> Iterator[Record]:
    """Yields the records of files or of standard input.

    Raises:
        ValueError: There is no record, or a bad one that may not be skipped.
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


def _is_result_of(result: Result, record: Record) -> bool:
    """Returns whether a result belongs to a record."""
    text = result.get("question", result.get("text"))
    return result.get("id") == record.id and text == record.texts[0]


def read_lines(paths: list[str]) -> Iterator[str]:
    """Yields the lines of files or standard input, without blank ones.

    Raises:
        ValueError: A line is not UTF-8, or all are blank.
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
    """Yields the place of each line, for messages, and the line itself.

    Args:
        paths: Files; empty: standard input.

    Raises:
        ValueError: A line is not UTF-8.
    """
    for path in paths or [STANDARD_INPUT]:
        with open_bytes(path) as file:
            for number, line in enumerate(file, 1):
                place = f"{path}, line {number}"
                try:
                    # The first line may begin with a byte order mark.
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


def _shown_candidates(result: Result, mask: str) -> str:
    """Returns the candidates for the masks of a text, as lines to print."""
    lines = [result["text"]]
    for slot in result["masks"]:
        shown = "  ".join(f"{c['token']} {c['score']:.3f}" for c in slot)
        lines.append(f"    {mask}: {shown}")
    return "\n".join(lines)
