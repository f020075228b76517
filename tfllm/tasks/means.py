"""Running means in the logs: losses, accuracies, perplexity, total loss."""

from typing import Any

import keras
import tensorflow as tf
from keras.src.trainers.compile_utils import MetricsList

from tfllm.tasks.batches import Sums, Tensors

# Objectives whose loss is the cross-entropy of tokens.
LANGUAGE_OBJECTIVES = ("mlm", "clm", "plm", "seq2seq")
# Ends of the names of measures that are better if they are larger.
_BETTER = ("accuracy", "precision", "recall")


class Means:
    """Running means of losses and measures, perplexities and the total loss.

    Args:
        measures: Objective -> name of its measure, such as "accuracy".
        shares: Objective -> factor of its loss.
        perplexities: Objectives with a perplexity.
        ratios: Names of ratios of two sums.

    Attributes:
        metrics: Keras' metrics, in the order of the logs.
    """

    def __init__(
        self,
        measures: dict[str, str],
        shares: dict[str, float],
        perplexities: list[str],
        ratios: tuple[str, ...] = (),
    ) -> None:
        # Objective -> means of loss and measure.
        self._means = {
            objective: tuple(
                _mean(f"{objective}_{kind}") for kind in ("loss", measure)
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
            for objective in perplexities
        }
        self._ratios = {name: _mean(name) for name in ratios}
        self.metrics: list[keras.metrics.Metric] = [
            self._total_loss,
            *(mean for pair in self._means.values() for mean in pair),
            *self._perplexities.values(),
            *self._ratios.values(),
        ]

    def update(self, sums: Sums, totals: Tensors, penalty: Any = 0.0) -> None:
        """Adds one global batch.

        Args:
            sums: Objective -> sums of its weighted losses and measure; ratio
                -> the sums above and below the line.
            totals: Objective -> sum of its weights.
            penalty: Penalty for the weights of the model.
        """
        self._total_loss.update_state(penalty)
        for objective, means in self._means.items():
            total = totals[objective]
            batch_means = [
                tf.math.divide_no_nan(value, total) for value in sums[objective]
            ]
            for mean, value in zip(means, batch_means, strict=True):
                mean.update_state(value, total)
            if objective in self._perplexities:
                perplexity = self._perplexities[objective]
                perplexity.update_state(batch_means[0], total)
        for name, ratio in self._ratios.items():
            above, below = sums[name]
            ratio.update_state(tf.math.divide_no_nan(above, below), below)


def _mean(name: str) -> keras.metrics.Mean:
    """Returns a running mean that tells callbacks whether more is better."""
    mean = keras.metrics.Mean(name=name)
    mean._direction = "up" if name.endswith(_BETTER) else "down"
    return mean


class Directions(MetricsList):
    """Tells Keras' callbacks whether a metric is to be maximized.

    To resolve `monitor`, callbacks look only at metrics in lists of this
    private class.

    Args:
        metrics: Metrics of the task.
    """

    def __init__(self, metrics: list[keras.metrics.Metric]) -> None:
        # In a function, so that Keras does not count their variables twice.
        self._listed = lambda: metrics
        super().__init__([], name="directions")

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The metrics."""
        return self._listed()

    @metrics.setter
    def metrics(self, metrics: list[keras.metrics.Metric]) -> None:
        del metrics

    def result(self) -> dict[str, Any]:
        """Returns an empty dict: each metric reports its own result."""
        return {}

    def reset_state(self) -> None:
        """Does nothing: the metrics are reset by themselves."""


class Perplexity(keras.metrics.Mean):
    """Perplexity: exp of a mean cross-entropy in nats."""

    _direction = "down"

    def result(self) -> Any:
        """Returns exp(mean)."""
        return keras.ops.exp(super().result())


class TotalLoss(keras.metrics.Mean):
    """Sum of the mean losses and of the mean penalty.

    NOTE: not a mean over batches, in which a short last batch would count as
    much as a full one.

    Args:
        losses: Means of the objectives' losses, with their factors.
        **kwargs: Arguments of `keras.metrics.Mean`.
    """

    def __init__(
        self, losses: list[tuple[keras.metrics.Metric, float]], **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        # In a function, so that Keras does not count their variables twice.
        self._losses = lambda: losses

    def result(self) -> Any:
        """Returns the sum."""
        return super().result() + sum(
            mean.result() * factor for mean, factor in self._losses()
        )
