"""Records of one or two texts as rows: classification and regression."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tfllm.data import row_layout
from tfllm.data.bad_records import BadRecord, BadRecords
from tfllm.data.labelled_config import LabelledDataConfig
from tfllm.data.labelled_rows import Rows
from tfllm.data.labels import Labels
from tfllm.data.records import Record
from tfllm.data.row_layout import RowLayout, Spans
from tfllm.data.token_table import TokenTable, tokenize


def text_rows(
    records: Sequence[Record],
    tokenizer: Any,
    config: LabelledDataConfig,
    labels: Labels,
) -> Rows:
    """Lays out records, a row per window.

    Args:
        records: The records; with a gold label each, or none.
        tokenizer: The tokenizer of the run.
        config: How they become rows.
        labels: The labels of the task.

    Raises:
        ValueError: `seq_length` or `stride` leave no room.
    """
    layout = row_layout.layout_of(tokenizer)
    num_texts = max((len(record.texts) for record in records), default=1)
    texts = [text for record in records for text in record.texts]
    table = tokenize(texts, tokenizer)
    owners, spans = windows(
        layout, table, num_texts, config.seq_length, config.stride
    )
    counts = np.bincount(owners, minlength=len(records))
    return Rows(
        tokens=row_layout.lay_out(layout, table, spans),
        firsts=row_layout.first_lengths(layout, spans).astype(np.int32),
        records=owners.astype(np.int32),
        labels={
            name: values[owners]
            for name, values in gold_arrays(records, config, labels).items()
        },
        weights=(1.0 / counts[owners]).astype(np.float32),
        has_segments=layout.has_segments,
        pad_id=tokenizer.pad_id,
    )


def windows(
    layout: RowLayout,
    table: TokenTable,
    num_texts: int,
    seq_length: int,
    stride: int | None,
) -> tuple[np.ndarray, Spans]:
    """Cuts texts to rows, or lays windows over them.

    Of a pair, windows slide over the second text if it does not fit, and
    else over the first. If both are longer than half a row, the first is cut
    to half of it.

    Args:
        layout: The special tokens.
        table: The tokens of all texts, those of a pair side by side.
        num_texts: 1, or 2 for pairs.
        seq_length: Longest row.
        stride: Tokens from one window to the next; None cuts.

    Returns:
        int64 [N], the text or pair of each row, and what it holds.
    """
    budget = room(layout, num_texts, seq_length, stride)
    lengths = table.lengths.reshape(-1, num_texts)
    starts = table.splits[:-1].reshape(-1, num_texts)
    if num_texts == 1:
        kept = np.minimum(lengths, budget)
    else:
        kept = np.stack(
            row_layout.cut_pairs(lengths[:, 0], lengths[:, 1], budget), axis=1
        )
    if stride is None or not (kept < lengths).any():
        return np.arange(len(lengths)), Spans(starts, kept)
    rows = np.arange(len(lengths))
    moving = np.zeros(len(lengths), np.int64)
    if num_texts == 2:
        moving = (kept[:, 1] < lengths[:, 1]).astype(np.int64)
    owners, firsts, sizes = row_layout.slide(
        lengths[rows, moving], kept[rows, moving], stride
    )
    spans = Spans(starts, kept).take(owners)
    place = np.arange(len(owners)), moving[owners]
    spans.starts[place] += firsts
    spans.lengths[place] = sizes
    return owners, spans


def room(
    layout: RowLayout, num_texts: int, seq_length: int, stride: int | None
) -> int:
    """Returns the tokens of text in a row.

    Raises:
        ValueError: There is no token for each text, or windows would leave
            tokens out.
    """
    budget = seq_length - layout.num_special(num_texts)
    if budget < num_texts:
        raise ValueError(
            "`seq_length` must leave room for a token of each text beside "
            f"the special tokens. Received: {seq_length}. Use at least "
            f"{num_texts + layout.num_special(num_texts)}."
        )
    if stride is not None and stride > budget:
        raise ValueError(
            "`stride` must be at most the tokens of text in a row, "
            f"{budget} with seq_length={seq_length}, so that no token is "
            f"left out. Received: {stride}."
        )
    return budget


def gold_arrays(
    records: Sequence[Record], config: LabelledDataConfig, labels: Labels
) -> dict[str, np.ndarray]:
    """Returns the gold labels, [records, ...]; empty if there are none."""
    if not records or records[0].gold is None:
        return {}
    if config.task == "classification":
        ids = [labels.id_of(record.gold) for record in records]
        return {"classification": np.array(ids, np.int32)}
    if config.task == "regression":
        values = [record.gold for record in records]
        return {"regression": np.array(values, np.float32)}
    table = np.zeros((len(records), len(labels.names)), np.float32)
    for row, record in zip(table, records, strict=True):
        row[[labels.id_of(name) for name in record.gold]] = 1.0
    return {"multi_label": table}


def check_gold(
    records: Sequence[Record], labels: Labels, bad: BadRecords
) -> list[Record]:
    """Returns the records whose labels are known.

    Raises:
        ValueError: One is not, and bad records are not to be skipped.
    """
    kept = []
    for record in records:
        gold = record.gold
        names = (gold,) if isinstance(gold, str) else gold or ()
        try:
            for name in names:
                labels.id_of(name)
        except BadRecord as error:
            bad.add(record.where, record.where.rsplit(", ", 1)[0], error)
            continue
        kept.append(record)
    return kept
