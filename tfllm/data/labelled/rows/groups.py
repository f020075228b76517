"""Records whose texts are rows of their own: embedding, multiple choice."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tfllm.data.labelled.config import LabelledDataConfig
from tfllm.data.labelled.gold import has_gold
from tfllm.data.labelled.labels import Labels
from tfllm.data.labelled.records.record import Record
from tfllm.data.labelled.rows import row_layout
from tfllm.data.labelled.rows.batch import Arrays, Rows
from tfllm.data.labelled.rows.token_table import tokenize
from tfllm.data.labelled.rows.windows import windows


def embedding_rows(
    records: Sequence[Record],
    tokenizer: Any,
    config: LabelledDataConfig,
    labels: Labels,
) -> Rows:
    """Lays out records of single texts or pairs, each text a row.

    A single text may be several windows, each an example; of pairs, texts
    that are too long are cut.

    Args:
        records: The records. Gold: how similar a pair is, of all or none.
        tokenizer: The tokenizer of the run.
        config: How they become rows.
        labels: Not used.

    Raises:
        ValueError: `seq_length` or `stride` leave no room, or windows are
            asked for where there are pairs.
    """
    layout = row_layout.layout_of(tokenizer)
    size = _group_size(records)
    if size > 1 and config.stride:
        raise ValueError(
            "`stride` goes with single texts to embed. Received: "
            f"{config.stride} for pairs. Leave it out to cut them."
        )
    table = tokenize([t for r in records for t in r.texts], tokenizer)
    texts = np.arange(len(records) * size).reshape(-1, 1)
    found = windows(layout, table, texts, config.seq_length, config.stride)
    gold: Arrays = {}
    if has_gold(records):
        values = np.array([record.gold for record in records], np.float32)
        values /= config.label_scale
        _check_cosines(records, values, config.label_scale)
        gold = {config.task: values[found.owners[::size] // size]}
    return Rows(
        layout=layout,
        table=table,
        windows=found,
        records=(found.owners[::size] // size).astype(np.int32),
        labels=gold,
        weights=found.shares[::size],
        group_size=size,
        # Each anchor has its own positive; the others are its negatives.
        numbered=config.task if size > 1 and not gold else "",
    )


def _check_cosines(
    records: Sequence[Record], values: np.ndarray, scale: float
) -> None:
    """Raises ValueError where a value can be no cosine."""
    wrong = np.flatnonzero(np.abs(values) > 1.0)
    if len(wrong):
        record = records[wrong[0]]
        raise ValueError(
            "`label_scale` must bring labels to between -1 and 1. Received: "
            f"label_scale={scale:g} and {record.gold:g} in {record.where}."
        )


def choice_rows(
    records: Sequence[Record],
    tokenizer: Any,
    config: LabelledDataConfig,
    labels: Labels,
) -> Rows:
    """Lays out records, a row per choice: what comes before, and the choice.

    Records with fewer choices than others have rows without one behind them,
    and `choice_mask` says so.

    Args:
        records: The records; all with gold, or none.
        tokenizer: The tokenizer of the run.
        config: How they become rows.
        labels: Not used.

    Raises:
        ValueError: `seq_length` leaves no room.
    """
    layout = row_layout.layout_of(tokenizer)
    counts = np.array([len(record.texts) - 1 for record in records])
    size = int(counts.max())
    if config.stride:
        raise ValueError(
            "`stride` does not go with multiple_choice. Received: "
            f"{config.stride}. Leave it out: texts that are too long are cut."
        )
    filled = [
        [*record.texts, *[""] * (size - count)]
        for record, count in zip(records, counts.tolist(), strict=True)
    ]
    table = tokenize([t for own in filled for t in own], tokenizer)
    firsts = np.arange(len(records)) * (size + 1)
    texts = np.stack(
        [
            np.repeat(firsts, size),
            (firsts[:, np.newaxis] + 1 + np.arange(size)).ravel(),
        ],
        axis=1,
    )
    found = windows(layout, table, texts, config.seq_length, None)
    inputs = {}
    if counts.min() < size:
        mask = np.arange(size) < counts[:, np.newaxis]
        inputs["choice_mask"] = mask.astype(np.int32)
    gold = {}
    if has_gold(records):
        values = [record.gold for record in records]
        gold = {config.task: np.array(values, np.int32)}
    return Rows(
        layout=layout,
        table=table,
        windows=found,
        records=np.arange(len(records), dtype=np.int32),
        labels=gold,
        weights=np.ones(len(records), np.float32),
        group_size=size,
        inputs=inputs,
    )


def _group_size(records: Sequence[Record]) -> int:
    """Returns the number of texts of each record.

    Raises:
        ValueError: They differ.
    """
    sizes = {len(record.texts) for record in records}
    if len(sizes) > 1:
        raise ValueError(
            "`records` must have the same number of texts. Received: "
            f"{sorted(sizes)}."
        )
    return sizes.pop()
