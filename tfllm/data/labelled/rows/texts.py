"""Records of one or two texts as rows: classification and regression."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tfllm.data.labelled.config import LabelledDataConfig
from tfllm.data.labelled.gold import label_ids, label_weights
from tfllm.data.labelled.labels import Labels
from tfllm.data.labelled.records.record import Record
from tfllm.data.labelled.rows import row_layout
from tfllm.data.labelled.rows.batch import Rows
from tfllm.data.labelled.rows.token_table import tokenize
from tfllm.data.labelled.rows.windows import windows


def text_rows(
    records: Sequence[Record],
    tokenizer: Any,
    config: LabelledDataConfig,
    labels: Labels,
) -> Rows:
    """Lays out records, a row per window.

    Args:
        records: The records; all with a gold label, or none.
        tokenizer: The tokenizer of the run.
        config: How they become rows.
        labels: The labels of the task.

    Raises:
        ValueError: `seq_length` or `stride` leave no room.
    """
    layout = row_layout.layout_of(tokenizer)
    num_texts = len(records[0].texts)
    table = tokenize([t for r in records for t in r.texts], tokenizer)
    texts = np.arange(len(records) * num_texts).reshape(-1, num_texts)
    found = windows(layout, table, texts, config.seq_length, config.stride)
    ids = label_ids(records, config, labels)
    weights = np.ones(len(records)) * label_weights(ids, config, labels)
    return Rows(
        layout=layout,
        table=table,
        windows=found,
        records=found.owners.astype(np.int32),
        labels={name: values[found.owners] for name, values in ids.items()},
        weights=found.shares * weights[found.owners].astype(np.float32),
    )
