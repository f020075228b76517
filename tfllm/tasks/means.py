"""The running means that a task shows in its logs."""

from typing import Any

import keras
import tensorflow as tf

from tfllm.tasks.batches import Sums, Tensors

# Objectives whose loss is the cross-entropy of tokens.
_LANGUAGE_MODELS = ("mlm", "clm")


class Means:
    """Loss and measure of each objective, perplexities and the total loss.

    Args:
        measures: Name of the measure by objective, such as "accuracy".
        shares: Factor of the loss by objective.

    Attributes:
        metrics: Keras' metrics, in the order of the logs.
    """

    def __init__(
        self, measures: dict[str, str], shares: dict[str, float]
    ) -> None:
        """See the class."""
        # By objective: means of loss and measure.
        self._means = {
            objective: tuple(
                keras.metrics.Mean(name=f"{objective}_{kind}")
                for kind in ("loss", measure)
            )
            for objective, measure in measures.items()
        }
        self._total_loss = TotalLoss(
            [
                (loss, shares[objective])
                for objective, (loss, _) in self._means.items()
            ],
            name="loss",
        )
        self._perplexities = {
            objective: Perplexity(name="perplexity")
            for objective in measures
            if objective in _LANGUAGE_MODELS
        }
        self.metrics: list[keras.metrics.Metric] = [
            self._total_loss,
            *(mean for pair in self._means.values() for mean in pair),
            *self._perplexities.values(),
        ]

    def update(self, sums: Sums, totals: Tensors, penalty: Any = 0.0) -> Any:
        """Adds one global batch; returns the means by name.

        Args:
            sums: By objective: of weighted losses and of a weighted measure.
            totals: By objective: of the weights.
            penalty: Of the weights of the model.
        """
        self._total_loss.update_state(penalty)
        for objective, means in self._means.items():
            total = totals[objective]
            values = [
                tf.math.divide_no_nan(value, total) for value in sums[objective]
            ]
            for mean, value in zip(means, values, strict=True):
                mean.update_state(value, total)
            if objective in self._perplexities:
                self._perplexities[objective].update_state(values[0], total)
        return {metric.name: metric.result() for metric in self.metrics}


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
