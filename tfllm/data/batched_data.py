"""The base of all data for training and evaluation."""

from __future__ import annotations

import abc
import math
from typing import TYPE_CHECKING

import tensorflow as tf

from tfllm.data.epochs import EpochSteps

if TYPE_CHECKING:
    from tfllm.data.token_stream.tokenize_files import TextCounts


class BatchedData(abc.ABC):
    """Batches that depend on the step alone, so that runs can resume.

    A batch is (x, y, sample_weight), each a flat dict.

    Args:
        epochs: Number of steps in epochs.
    """

    def __init__(self, epochs: EpochSteps) -> None:
        self._steps = epochs

    @property
    def counts(self) -> TextCounts | None:
        """Tokens, words and bytes of the text; None if nothing counts them."""
        return None

    @property
    def num_examples(self) -> int:
        """Rows in an epoch, with the remainder that is dropped."""
        return self._steps.num_examples

    @property
    def steps_per_epoch(self) -> int:
        """Full batches in an epoch.

        Raises:
            ValueError: There are fewer rows than `batch_size`.
        """
        return self._steps.steps_per_epoch

    def steps(self, epochs: float) -> int:
        """Batches in a number of epochs."""
        return self._steps.steps(epochs)

    def dataset(self, start_step: int = 0) -> tf.data.Dataset:
        """Returns global batches from a step on, without end.

        Args:
            start_step: Batches already seen.

        Raises:
            ValueError: There are fewer rows than `batch_size`.
        """
        if start_step < 0:
            raise ValueError(
                f"`start_step` must not be negative. Received: {start_step}."
            )
        _ = self.steps_per_epoch  # raises
        batches = self._training_batches(start_step)
        return finish(batches, tf.data.INFINITE_CARDINALITY)

    @abc.abstractmethod
    def _training_batches(self, start_step: int) -> tf.data.Dataset:
        """Returns the batches of `dataset`."""

    @abc.abstractmethod
    def evaluation_dataset(
        self, batch_size: int | None = None, max_steps: int | None = None
    ) -> tf.data.Dataset:
        """Returns all rows once.

        Args:
            batch_size: Rows per batch; default that of the config.
            max_steps: Batches at most.

        Returns:
            A finite dataset. The last batch is filled up with rows of weight
            zero.
        """


def num_batches(num_rows: int, size: int, max_steps: int | None) -> int:
    """Returns the number of batches for some rows, at most `max_steps`."""
    steps = math.ceil(num_rows / size)
    return steps if max_steps is None else min(steps, max_steps)


def finish(batches: tf.data.Dataset, steps: int) -> tf.data.Dataset:
    """Sets the options and the cardinality of a dataset of batches."""
    options = tf.data.Options()
    options.deterministic = True
    # Every worker computes global batches; tf.distribute splits them.
    options.experimental_distribute.auto_shard_policy = (
        tf.data.experimental.AutoShardPolicy.OFF
    )
    batches = batches.apply(tf.data.experimental.assert_cardinality(steps))
    return batches.prefetch(tf.data.AUTOTUNE).with_options(options)
