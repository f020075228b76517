"""Rows of records with a row per text: embedding and multiple choice."""

from collections.abc import Sequence

import numpy as np

from tfllm.data.labelled.config import LabelledDataConfig
from tfllm.data.labelled.gold import has_gold
from tfllm.data.labelled.labels import Labels
from tfllm.data.labelled.records.record import Record
from tfllm.data.labelled.rows.batch import Arrays, Rows
from tfllm.data.labelled.rows.token_table import tokenize
from tfllm.data.labelled.rows.windows import windows
from tfllm.tokenizers.text_tokenizer import Tokenizer


def embedding_rows(
    records: Sequence[Record],
    tokenizer: Tokenizer,
    config: LabelledDataConfig,
    labels: Labels,
) -> Rows:
    """Returns the rows of single texts or pairs to embed, a row per text.

    A long single text may have several windows, each an example. Long texts
    of pairs are cut.

    Args:
        records: The records, with or without the similarity of each pair.
        tokenizer: The tokenizer of the run.
        config: How records become rows.
        labels: Not used.

    Raises:
        ValueError: `seq_length` or `stride` leave no room, or pairs have a
            `stride`.
    """
    layout = tokenizer.row_template
    size = _group_size(records)
    if size > 1 and config.stride:
        raise ValueError(
            "`stride` goes with single texts to embed. Received: "
            f"{config.stride} for pairs. Leave it out to cut them."
        )
    prompted = [f"{config.prompt}{t}" for r in records for t in r.texts]
    table = tokenize(prompted, tokenizer)
    texts = np.arange(len(records) * size).reshape(-1, 1)
    rows = windows(layout, table, texts, config.seq_length, config.stride)
    owners = rows.owners[::size] // size  # [E]
    gold: Arrays = {}
    if has_gold(records):
        cosines = np.array([record.gold for record in records], np.float32)
        cosines /= config.label_scale
        _check_cosines(records, cosines, config.label_scale)
        gold = {config.task: cosines[owners]}
    return Rows(
        layout=layout,
        table=table,
        windows=rows,
        records=owners.astype(np.int32),
        labels=gold,
        weights=rows.shares[::size],
        group_size=size,
        # Row i of a batch matches row i; the others are its negatives.
        numbered=config.task if size > 1 and not gold else "",
    )


def _check_cosines(
    records: Sequence[Record], cosines: np.ndarray, scale: float
) -> None:
    """Raises ValueError if a value lies outside [-1, 1]."""
    wrong = np.flatnonzero(np.abs(cosines) > 1.0)
    if len(wrong):
        record = records[wrong[0]]
        raise ValueError(
            "`label_scale` must bring labels to between -1 and 1. Received: "
            f"label_scale={scale:g} and {record.gold:g} in {record.where}."
        )


def choice_rows(
    records: Sequence[Record],
    tokenizer: Tokenizer,
    config: LabelledDataConfig,
    labels: Labels,
) -> Rows:
    """Returns the rows of multiple choice: the text and a choice in each.

    Records with fewer choices are filled up with empty ones, which
    `choice_mask` marks.

    Args:
        records: The records, all with gold or none.
        tokenizer: The tokenizer of the run.
        config: How records become rows.
        labels: Not used.

    Raises:
        ValueError: `seq_length` leaves no room.
    """
    layout = tokenizer.row_template
    counts = np.array([len(record.texts) - 1 for record in records])
    size = int(counts.max())
    filled = [
        [*record.texts, *[""] * (size - count)]
        for record, count in zip(records, counts.tolist(), strict=True)
    ]
    table = tokenize([t for texts in filled for t in texts], tokenizer)
    firsts = np.arange(len(records)) * (size + 1)
    texts = np.stack(
        [
            np.repeat(firsts, size),
            (firsts[:, np.newaxis] + 1 + np.arange(size)).ravel(),
        ],
        axis=1,
    )  # [records * C, 2]
    rows = windows(layout, table, texts, config.seq_length, None)
    inputs = {}
    if counts.min() < size:
        mask = np.arange(size) < counts[:, np.newaxis]
        inputs["choice_mask"] = mask.astype(np.int32)
    gold = {}
    if has_gold(records):
        numbers = [record.gold for record in records]
        gold = {config.task: np.array(numbers, np.int32)}
    return Rows(
        layout=layout,
        table=table,
        windows=rows,
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
