"""Rows of one or two texts: classification and regression."""

from collections.abc import Sequence

import numpy as np

from tfllm.data.labelled.config import LabelledDataConfig
from tfllm.data.labelled.gold import label_ids, label_weights
from tfllm.data.labelled.labels import Labels
from tfllm.data.labelled.records.record import Record
from tfllm.data.labelled.rows.batch import Rows
from tfllm.data.labelled.rows.token_table import tokenize
from tfllm.data.labelled.rows.windows import windows
from tfllm.tokenizers.text_tokenizer import Tokenizer


def text_rows(
    records: Sequence[Record],
    tokenizer: Tokenizer,
    config: LabelledDataConfig,
    labels: Labels,
) -> Rows:
    """Returns the rows of texts or pairs, one per window.

    Args:
        records: The records, all with a gold label or none.
        tokenizer: The tokenizer of the run.
        config: How records become rows.
        labels: Labels of the task.

    Raises:
        ValueError: `seq_length` or `stride` leave no room.
    """
    layout = tokenizer.row_template
    num_texts = len(records[0].texts)
    table = tokenize([t for r in records for t in r.texts], tokenizer)
    texts = np.arange(len(records) * num_texts).reshape(-1, num_texts)
    rows = windows(layout, table, texts, config.seq_length, config.stride)
    ids = label_ids(records, config, labels)
    weights = np.ones(len(records)) * label_weights(ids, config, labels)
    return Rows(
        layout=layout,
        table=table,
        windows=rows,
        records=rows.owners.astype(np.int32),
        labels={name: values[rows.owners] for name, values in ids.items()},
        weights=rows.shares * weights[rows.owners].astype(np.float32),
    )
