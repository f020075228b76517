"""Labelled files to batches for fine-tuning, evaluation and prediction.

Texts are tokenized once, when the data is opened. Rows of similar length share
a batch, which is padded to one of a few widths, so that short texts take less
time. The order is a function of (seed, epoch, step).
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from tfllm.data.bad_records import BadRecords
from tfllm.data.batched_data import BatchedData, finish, num_batches
from tfllm.data.labelled.config import LabelledDataConfig
from tfllm.data.labelled.gold import check_labels, find_labels, has_gold
from tfllm.data.labelled.kinds import check_stride
from tfllm.data.labelled.labels import Labels
from tfllm.data.labelled.length_buckets import BucketedEpochs, choose_widths
from tfllm.data.labelled.records.read import read_records
from tfllm.data.labelled.records.record import Record
from tfllm.data.labelled.rows.batch import Arrays, Batch, Rows
from tfllm.data.labelled.rows.token_table import QUIET_SECONDS
from tfllm.data.labelled.tag_schemes import TagScheme, scheme_of
from tfllm.tokenizers import Tokenizer

NO_RECORD = -1  # rows that fill up a batch


def open_labelled_data(
    files: str,
    tokenizer: Tokenizer,
    config: LabelledDataConfig,
    index_dir: str | None = None,
    flag: str = "train_files",
) -> "LabelledData":
    """Opens labelled files.

    Args:
        files: Paths and globs, comma-separated, or `tfds:NAME/SPLIT`.
        tokenizer: The tokenizer of the run.
        config: How files become batches.
        index_dir: Not used: the texts are held in memory.
        flag: Name of the flag of `files`, for messages.

    Raises:
        ValueError: The files cannot be used, or have no record.
    """
    bad = BadRecords(config.table.on_bad_record)
    stream = read_records(files, config, bad, flag)
    records = list(
        tqdm(stream, unit="record", desc="reading", delay=QUIET_SECONDS)
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
        x: token_ids, padding_mask int32 [B, T]; segment_ids int32 [B, T] if
           the model has segments.
           embedding: [B, 1 or 2, T]. multiple_choice: [B, C, T], and
           choice_mask int32 [B, C] if some records have fewer choices.
           question_answering: also answer_mask int32 [B, T], 1 on the context
           and on the token that stands for no answer.
        y: by objective: classification, multiple_choice int32 [B];
           multi_label float32 [B, L]; regression float32 [B]; tagging int32
           [B, T]; start and end of the answer int32 [B]; embedding float32
           [B], or int32 0 to B - 1 for pairs without gold.
        sample_weight: by objective: float32 [B]; tagging [B, T], 1 on the
           first piece of each word, in the window that shows most context.

    T is one of `widths`. Without gold labels, y and sample_weight are empty.

    Args:
        records: The records, in order.
        tokenizer: The tokenizer of the run.
        config: How records become batches.
        skipped: Number of bad records by file, for the report.

    Attributes:
        records: The records, in order.
        labels: Label names in the order of their ids.
        skipped: Number of bad records by file.
        widths: Widths of batches.

    Raises:
        ValueError: There is no record, a label is not in `config.labels`, or
            the settings contradict each other.
    """

    is_labelled: Literal[True] = True

    def __init__(
        self,
        records: Sequence[Record],
        tokenizer: Tokenizer,
        config: LabelledDataConfig,
        skipped: dict[str, int] | None = None,
    ) -> None:
        if not records:
            raise ValueError("`records` must hold one. Received: none.")
        check_stride(config.task, config.stride)
        self.records = tuple(records)
        self.labels = (
            config.labels
            or config.column_labels
            or find_labels(self.records, config.task)
        )
        self.skipped = skipped or {}
        self._config = config
        self._rows: Rows = config.kind.rows(
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

    @property
    def tag_scheme(self) -> TagScheme | None:
        """Tag scheme of the figures; None without gold tags."""
        is_tagged = self._config.kind.label_form == "words"
        if not is_tagged or not has_gold(self.records):
            return None
        return scheme_of(self.labels, [record.gold for record in self.records])

    def _training_batches(self, start_step: int) -> tf.data.Dataset:
        """Returns batches in training order, narrow and wide ones mixed."""

        def generate() -> Iterator[Batch]:
            for plan in self._epochs.plans(start_step):
                yield self._rows.batch(plan.examples, plan.width)

        return self._from_generator(generate, self._config.batch_size)

    def evaluation_dataset(
        self, batch_size: int | None = None, max_steps: int | None = None
    ) -> tf.data.Dataset:
        """Returns all rows once, sorted by width; see `BatchedData`."""
        size = self._evaluation_size(batch_size)

        def generate() -> Iterator[Batch]:
            for batch in self.evaluation_rows(size, max_steps):
                yield batch[:3]

        steps = num_batches(self.num_examples, size, max_steps)
        return finish(self._from_generator(generate, size), steps)

    def evaluation_rows(
        self, batch_size: int | None = None, max_steps: int | None = None
    ) -> Iterator[tuple[Arrays, Arrays, Arrays, np.ndarray, Arrays]]:
        """Yields the batches of an evaluation as NumPy arrays.

        Args:
            batch_size: Rows per batch; default that of the config.
            max_steps: Batches at most, of the first rows.

        Yields:
            x, y, sample_weight; records, int32 [B], the record of each row,
            NO_RECORD for rows that fill up the batch; and marks to read the
            outputs. Tagging: `words` int32 [B, T], the word whose first piece
            counts there, else -1, and `tokens` int32 [B, T]. Question
            answering: `offsets`, `widest` and `null`, see `rows.questions`.
        """
        size = self._evaluation_size(batch_size)
        count = self.num_examples
        if max_steps is not None:
            count = min(count, max_steps * size)
        epochs = BucketedEpochs(self._rows.lengths, self.widths, size, 0)
        plans = epochs.cut(np.arange(count))
        for plan in plans:
            real = len(plan.examples)
            # Filled up with other examples: where pairs of a batch are each
            # other's negatives, each has as many, and never itself.
            fill = np.resize(plans[0].examples, size - real)
            examples = np.concatenate([plan.examples, fill])
            x, y, weights = self._rows.batch(examples, plan.width)
            for weight in weights.values():
                weight[real:] = 0.0
            records = self._rows.records[examples]
            records[real:] = NO_RECORD
            yield x, y, weights, records, self._rows.marks(examples, plan.width)

    def _evaluation_size(self, batch_size: int | None) -> int:
        """Returns the rows per batch of an evaluation.

        For pairs without gold, at most the number of pairs: a repeated pair
        would count as a wrong candidate.
        """
        size = batch_size or self._config.batch_size
        return min(size, self.num_examples) if self._rows.numbered else size

    def _from_generator(
        self, generate: Callable[[], Iterator[Batch]], size: int
    ) -> tf.data.Dataset:
        """Turns batches of arrays into a dataset; T is None if it varies."""
        width = int(self.widths[0]) if len(self.widths) == 1 else None
        # An axis that is longer in a wider batch is T.
        widest = int(self.widths[-1])
        example = self._rows.batch(np.zeros(size, np.int64), widest)
        wider = self._rows.batch(np.zeros(size, np.int64), 2 * widest)
        signature = tf.nest.map_structure(
            lambda array, wide: tf.TensorSpec(
                [
                    width if length != longer else length
                    for length, longer in zip(
                        array.shape, wide.shape, strict=True
                    )
                ],
                array.dtype,
            ),
            example,
            wider,
        )
        return tf.data.Dataset.from_generator(
            generate, output_signature=signature
        )
