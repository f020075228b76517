"""The base of all data that is trained and evaluated on."""

import abc
import math

import tensorflow as tf

from tfllm.data.epochs import EpochSteps


class BatchedData(abc.ABC):
    """Batches by step, the same whatever came before.

    A batch is (x, y, sample_weight), each a flat dict.

    Args:
        epochs: Counts the steps.
    """

    def __init__(self, epochs: EpochSteps) -> None:
        """See the class."""
        self._steps = epochs

    @property
    def num_examples(self) -> int:
        """Rows in an epoch, before the remainder is dropped."""
        return self._steps.num_examples

    @property
    def steps_per_epoch(self) -> int:
        """Full batches in an epoch; ValueError if there is none."""
        return self._steps.steps_per_epoch

    def steps(self, epochs: float) -> int:
        """Batches in a number of epochs."""
        return self._steps.steps(epochs)

    def dataset(self, start_step: int = 0) -> tf.data.Dataset:
        """Global batches from a step on, without end.

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
        """All rows once.

        Args:
            batch_size: Rows per batch; default that of the config.
            max_steps: Batches at most.

        Returns:
            A finite dataset. The last batch is filled up with rows of weight
            zero.
        """


def num_batches(num_rows: int, size: int, max_steps: int | None) -> int:
    """Returns the batches that hold some rows, or `max_steps` of them."""
    steps = math.ceil(num_rows / size)
    return steps if max_steps is None else min(steps, max_steps)


def finish(batches: tf.data.Dataset, steps: int) -> tf.data.Dataset:
    """Sets options and the number of batches."""
    options = tf.data.Options()
    options.deterministic = True
    # Every worker computes global batches; tf.distribute splits them.
    options.experimental_distribute.auto_shard_policy = (
        tf.data.experimental.AutoShardPolicy.OFF
    )
    batches = batches.apply(tf.data.experimental.assert_cardinality(steps))
    return batches.prefetch(tf.data.AUTOTUNE).with_options(options)
