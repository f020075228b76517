"""Labelled files to batches for fine-tuning, evaluation and prediction.

Texts are tokenized once, when the data is opened. Rows of about one length
share a batch, which is padded to one of a few widths, so short texts cost
what they should. The order is a function of (seed, epoch, step).
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from tfllm.data.bad_records import BadRecords
from tfllm.data.batched_data import BatchedData, finish, num_batches
from tfllm.data.labelled.config import LabelledDataConfig
from tfllm.data.labelled.gold import check_labels, find_labels
from tfllm.data.labelled.labels import Labels
from tfllm.data.labelled.length_buckets import BucketedEpochs, choose_widths
from tfllm.data.labelled.records.read import read_records
from tfllm.data.labelled.records.record import Record
from tfllm.data.labelled.rows.batch import Arrays, Batch, Rows
from tfllm.data.labelled.rows.groups import choice_rows, embedding_rows
from tfllm.data.labelled.rows.questions import question_rows
from tfllm.data.labelled.rows.tagging import tagging_rows
from tfllm.data.labelled.rows.texts import text_rows
from tfllm.data.labelled.rows.token_table import QUIET_SECONDS

NO_RECORD = -1  # whose row fills up a batch

# Task -> what lays out its records.
ROWS: dict[
    str,
    Callable[[Sequence[Record], Any, LabelledDataConfig, Labels], Rows],
] = {
    "classification": text_rows,
    "multi_label": text_rows,
    "regression": text_rows,
    "tagging": tagging_rows,
    "question_answering": question_rows,
    "embedding": embedding_rows,
    "multiple_choice": choice_rows,
}


def open_labelled_data(
    files: str,
    tokenizer: Any,
    config: LabelledDataConfig,
    flag: str = "train_files",
) -> "LabelledData":
    """Reads files.

    Args:
        files: Paths and globs, comma-separated, or `tfds:NAME/SPLIT`.
        tokenizer: The tokenizer of the run.
        config: How they become batches.
        flag: Name of the flag of `files`, for messages.

    Raises:
        ValueError: The files cannot be used, or hold no record.
    """
    bad = BadRecords(config.table.on_bad_record)
    found = read_records(files, config, bad, flag)
    records = list(
        tqdm(found, unit="record", desc="reading", delay=QUIET_SECONDS)
    )
    if config.labels:
        labels = Labels(config.labels)
        records = check_labels(records, labels, config.task, bad)
    if not records:
        raise ValueError(
            f"`{flag}` must hold at least one record. Received: none in "
            f"{files}, {bad.counts.total()} bad ones."
        )
    return LabelledData(records, tokenizer, config, dict(bad.counts))


class LabelledData(BatchedData):
    """Batches of labelled rows.

    A batch is (x, y, sample_weight), each a flat dict:
        x: token_ids, padding_mask int32 [B, T]; segment_ids int32 [B, T]
           for an encoder
           embedding [B, 1 or 2, T]; multiple_choice [B, C, T], and
           choice_mask int32 [B, C] where some have fewer choices than others;
           question_answering also answer_mask int32 [B, T], 1 on the context
           and on what stands for no answer
        y: by objective: classification, multiple_choice int32 [B];
           multi_label float32 [B, L]; regression float32 [B]; tagging int32
           [B, T]; start and end int32 [B], of the answer; embedding float32
           [B], or int32 0 to B - 1 for pairs without gold
        sample_weight: by objective: float32 [B]; tagging [B, T], 1 on the
           first piece of each word, in the window that shows most around it

    T is one of `widths`. Without gold labels, y and sample_weight are empty.

    Args:
        records: The records, in order.
        tokenizer: The tokenizer of the run.
        config: How they become batches.
        skipped: Bad records by file, for the report.

    Attributes:
        records: The records, in order.
        labels: Label names in the order of their ids.
        skipped: Bad records by file.
        widths: Widths of batches.

    Raises:
        ValueError: There is no record, a label is not one of
            `config.labels`, or the settings do not go together.
    """

    def __init__(
        self,
        records: Sequence[Record],
        tokenizer: Any,
        config: LabelledDataConfig,
        skipped: dict[str, int] | None = None,
    ) -> None:
        """Tokenizes all texts."""
        if not records:
            raise ValueError("`records` must hold one. Received: none.")
        self.records = tuple(records)
        self.labels = config.labels or find_labels(self.records, config.task)
        self.skipped = skipped or {}
        self._config = config
        self._rows = ROWS[config.task](
            self.records, tokenizer, config, Labels(self.labels)
        )
        lengths = self._rows.lengths
        self.widths = (
            np.array([config.seq_length])
            if config.pad_to_max
            else choose_widths(lengths, config.seq_length, config.max_widths)
        )
        self._epochs = BucketedEpochs(
            lengths,
            self.widths,
            config.batch_size,
            config.seed,
            self._rows.labels[config.task] if config.class_balanced else None,
        )
        super().__init__(self._epochs)

    def _training_batches(self, start_step: int) -> tf.data.Dataset:
        """See the base class."""

        def generate() -> Iterator[Batch]:
            for plan in self._epochs.plans(start_step):
                yield self._rows.batch(plan.examples, plan.width)

        return self._from_generator(generate, self._config.batch_size)

    def evaluation_dataset(
        self, batch_size: int | None = None, max_steps: int | None = None
    ) -> tf.data.Dataset:
        """See the base class; the rows of a width together."""
        size = self._evaluation_size(batch_size)

        def generate() -> Iterator[Batch]:
            for batch in self.evaluation_rows(size, max_steps):
                yield batch[:3]

        steps = num_batches(self.num_examples, size, max_steps)
        return finish(self._from_generator(generate, size), steps)

    def evaluation_rows(
        self, batch_size: int | None = None, max_steps: int | None = None
    ) -> Iterator[tuple[Arrays, Arrays, Arrays, np.ndarray, Arrays]]:
        """Yields the batches of an evaluation as arrays.

        Args:
            batch_size: Rows per batch; default that of the config.
            max_steps: Batches at most, of the first rows.

        Yields:
            x, y, sample_weight; int32 [B], the record of each row, NO_RECORD
            for one that only fills up the batch; and marks, what it takes to
            read the outputs: for tagging `words` int32 [B, T], the word of
            the record whose first piece stands there and counts, else -1;
            for question answering `offsets`, `widest` and `null`, see
            `rows.questions`.
        """
        size = self._evaluation_size(batch_size)
        count = self.num_examples
        if max_steps is not None:
            count = min(count, max_steps * size)
        epochs = BucketedEpochs(self._rows.lengths, self.widths, size, 0)
        plans = epochs.cut(np.arange(count))
        for plan in plans:
            real = len(plan.examples)
            # Other ones where a batch's pairs are each other's negatives: a
            # pair has as many of them, and never itself.
            fill = np.resize(plans[0].examples, size - real)
            examples = np.concatenate([plan.examples, fill])
            x, y, weights = self._rows.batch(examples, plan.width)
            for values in weights.values():
                values[real:] = 0.0
            records = self._rows.records[examples]
            records[real:] = NO_RECORD
            yield x, y, weights, records, self._rows.marks(examples, plan.width)

    def _evaluation_size(self, batch_size: int | None) -> int:
        """Returns the rows per batch of an evaluation.

        Pairs without gold are no more than there are: filled up with pairs
        that it has already, a batch would count them as wrong candidates.
        """
        size = batch_size or self._config.batch_size
        return min(size, self.num_examples) if self._rows.numbered else size

    def _from_generator(self, generate: Any, size: int) -> tf.data.Dataset:
        """Turns arrays into a dataset; T is not static if it varies."""
        width = int(self.widths[0]) if len(self.widths) == 1 else None
        # What grows with T has its axis.
        widest = int(self.widths[-1])
        example = self._rows.batch(np.zeros(size, np.int64), widest)
        other = self._rows.batch(np.zeros(size, np.int64), 2 * widest)
        signature = tf.nest.map_structure(
            lambda values, wide: tf.TensorSpec(
                [
                    width if length != longer else length
                    for length, longer in zip(
                        values.shape, wide.shape, strict=True
                    )
                ],
                values.dtype,
            ),
            example,
            other,
        )
        return tf.data.Dataset.from_generator(
            generate, output_signature=signature
        )
