"""Running means that a task shows besides those of Keras."""

from typing import Any

import keras


class Perplexity(keras.metrics.Mean):
    """exp of a mean cross-entropy in nats."""

    def result(self) -> Any:
        """Returns exp(mean)."""
        return keras.ops.exp(super().result())


class TotalLoss(keras.metrics.Mean):
    """The sum of the mean losses, and of the mean penalty it is given.

    NOTE: not a mean over batches, in which a short last one would count as
    much as a full one.

    Args:
        losses: Means of the objectives' losses, and their factors.
        **kwargs: As `keras.metrics.Mean`.
    """

    def __init__(
        self, losses: list[tuple[keras.metrics.Metric, float]], **kwargs: Any
    ) -> None:
        """See the class."""
        super().__init__(**kwargs)
        # In a function, so that Keras does not count their variables twice.
        self._losses = lambda: losses

    def result(self) -> Any:
        """Returns the sum."""
        return super().result() + sum(
            mean.result() * factor for mean, factor in self._losses()
        )
