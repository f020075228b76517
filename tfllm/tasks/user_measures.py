"""Losses and metrics passed to `compile`.

As in Keras, they read the labels and outputs of an objective. Outputs for
classes and for several labels are logits, so losses and metrics that read
probabilities are refused: their figures would be silently wrong.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import keras
import tensorflow as tf

from tfllm.tasks.batches import Tensors
from tfllm.tasks.targets import Target, read_by_objective

# (labels, outputs) -> loss of every label.
Loss = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


class ObjectiveMetric(keras.metrics.Metric):
    """A metric of the user, on the labels and outputs of one objective.

    Args:
        name: Name in the logs.
        objective: Objective whose labels and outputs it reads.
        target: Labels of the objective.
        metric: Metric of the user.
        is_weighted: Whether weights count. Otherwise all labels of a weight
            above 0 count alike; weight 0 is padding.
    """

    def __init__(
        self,
        name: str,
        objective: str,
        target: Target,
        metric: keras.metrics.Metric,
        is_weighted: bool,
    ) -> None:
        super().__init__(name=name)
        self.objective, self.target = objective, target
        self.is_weighted = is_weighted
        # In a function, so that Keras does not count its variables twice.
        self._metric = lambda: metric
        # Keras' callbacks read whether more is better.
        if hasattr(metric, "_direction"):
            self._direction = metric._direction

    @property
    def metric(self) -> keras.metrics.Metric:
        """The user's metric."""
        return self._metric()

    @property
    def variables(self) -> list[keras.Variable]:
        """The variables of the user's metric."""
        return self.metric.variables

    def update_state(self, y: Tensors, outputs: Tensors, weights: Any) -> None:
        """Adds a batch.

        Args:
            y: Labels by objective.
            outputs: Outputs by objective.
            weights: float32 weights by objective.
        """
        counts = weights[self.objective]
        if not self.is_weighted:
            counts = tf.cast(counts > 0.0, tf.float32)
        predictions = tf.stop_gradient(outputs[self.objective])
        self.metric.update_state(
            _with_last_axis(y[self.objective], self.target),
            _with_last_axis(predictions, self.target),
            sample_weight=counts,
        )

    def reset_state(self) -> None:
        """Resets the user's metric."""
        self.metric.reset_state()

    def result(self) -> Any:
        """Returns the result of the user's metric."""
        return self.metric.result()


class UserMeasures:
    """The losses and metrics that a user passed to `compile`.

    Args:
        targets: Labels by objective.
        arguments: `loss`, `loss_weights`, `metrics` and `weighted_metrics`
            of `keras.Model.compile`; None for missing ones.
        own_names: Names of the task's own metrics.

    Attributes:
        arguments: The arguments.
        losses: Objective -> loss that replaces that of the task.
        loss_weights: Objective -> factor of its loss; 1 for missing ones.
        metrics: All metrics.

    Raises:
        ValueError: A loss or metric does not fit the labels or outputs.
    """

    names = ("loss", "loss_weights", "metrics", "weighted_metrics")

    def __init__(
        self,
        targets: dict[str, Target],
        arguments: dict[str, Any],
        own_names: list[str],
    ) -> None:
        self.arguments = arguments
        self.losses = read_losses(arguments.get("loss"), targets)
        self.loss_weights = read_loss_weights(
            arguments.get("loss_weights"), tuple(targets)
        )
        self.metrics = [
            metric
            for name, is_weighted in (
                ("metrics", False),
                ("weighted_metrics", True),
            )
            for metric in read_metrics(
                arguments.get(name), targets, is_weighted, own_names
            )
        ]
        check_metric_names(self.metrics, own_names)


def read_losses(loss: Any, targets: dict[str, Target]) -> dict[str, Loss]:
    """Returns the losses that replace those of a task.

    Args:
        loss: As in `keras.Model.compile`; None or "auto" for the task's loss.
        targets: Labels by objective.

    Raises:
        ValueError: A loss is unknown, reads probabilities, or does not fit
            its objective.
    """
    if loss is None or loss == "auto":
        return {}
    by_objective = read_by_objective(loss, tuple(targets), "`loss`")
    return {
        objective: _read_loss(name_or_loss, objective, targets[objective])
        for objective, name_or_loss in by_objective.items()
        if name_or_loss is not None and name_or_loss != "auto"
    }


def loss_sum(
    loss: Loss, labels: tf.Tensor, outputs: tf.Tensor, weights: tf.Tensor
) -> tf.Tensor:
    """Returns the weighted sum of a user's loss, a float32 scalar.

    Args:
        loss: Loss of the user.
        labels: Labels of an objective, [B] or [B, T].
        outputs: Its outputs.
        weights: float32 weights of the labels.

    Raises:
        ValueError: The loss does not have one value per label.
    """
    losses = tf.cast(loss(labels, outputs), tf.float32)
    if not losses.shape.is_compatible_with(weights.shape):
        raise ValueError(
            "`loss` must return one value per label, shape "
            f"{tuple(weights.shape)}; tfllm takes the mean. Received: shape "
            f"{tuple(losses.shape)}"
        )
    return tf.reduce_sum(losses * weights)


def read_loss_weights(
    loss_weights: Any, objectives: tuple[str, ...]
) -> dict[str, float]:
    """Returns the user's factor of each objective's loss."""
    weights = read_by_objective(loss_weights, objectives, "`loss_weights`")
    return {name: float(value) for name, value in weights.items()}


def read_metrics(
    metrics: Any,
    targets: dict[str, Target],
    is_weighted: bool,
    own_names: list[str],
) -> list[ObjectiveMetric]:
    """Returns the metrics of the user.

    Args:
        metrics: A metric or a list of them for every objective, or a dict by
            objective. A metric is a name, a function or a
            `keras.metrics.Metric`.
        targets: Labels by objective.
        is_weighted: Whether they are `weighted_metrics`.
        own_names: Names of the task's own metrics. If the user names one, it
            is not added again.

    Raises:
        ValueError: A metric is unknown, reads probabilities, or is one object
            for several objectives.
    """
    if metrics is None:
        return []
    argument = "`weighted_metrics`" if is_weighted else "`metrics`"
    # Keras' form for several outputs: a list of lists, in their order.
    in_order = isinstance(metrics, list | tuple) and all(
        isinstance(of_output, list | tuple) for of_output in metrics
    )
    if isinstance(metrics, Mapping) or (in_order and metrics):
        by_objective = read_by_objective(metrics, tuple(targets), argument)
    else:
        by_objective = dict.fromkeys(targets, metrics)
    read = []
    for objective, specs in by_objective.items():
        prefix = "" if len(targets) == 1 else f"{objective}_"
        target = targets[objective]
        for spec in specs if isinstance(specs, list | tuple) else [specs]:
            if spec is None:
                continue
            metric = _read_metric(spec, objective, target)
            name = prefix + metric.name
            if isinstance(spec, str) and name in own_names:
                continue
            read.append(
                ObjectiveMetric(name, objective, target, metric, is_weighted)
            )
    objects = [id(objective_metric.metric) for objective_metric in read]
    if len(set(objects)) < len(objects):
        raise ValueError(
            f"{argument} must have an object of its own per objective. "
            f"Received: one for several of {list(targets)}. Give a dict."
        )
    return read


def check_metric_names(
    metrics: list[ObjectiveMetric], own_names: list[str]
) -> None:
    """Raises ValueError if two metrics have the same name in the logs."""
    seen = set(own_names)
    for name in (metric.name for metric in metrics):
        if name in seen:
            raise ValueError(
                "metrics must have names of their own. Received: another "
                f"{name!r}. Leave it out, or give an object with a `name`; "
                f"the task has {own_names}"
            )
        seen.add(name)


def _read_loss(spec: Any, objective: str, target: Target) -> Loss:
    """Returns a loss of each label; see `read_losses`."""
    loss = keras.losses.get(spec)
    if not target.is_read:
        raise ValueError(
            f"`loss` cannot replace that of `{objective}`, which compares "
            f"the examples of a batch. Received: {spec!r}"
        )
    _check_measure(loss, spec, objective, target, "loss")
    function = loss.call if isinstance(loss, keras.losses.Loss) else loss

    def losses(y: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
        return function(
            _with_last_axis(y, target), _with_last_axis(outputs, target)
        )

    return losses


def _read_metric(
    spec: Any, objective: str, target: Target
) -> keras.metrics.Metric:
    """Returns a metric for an objective; see `read_metrics`."""
    if not target.is_read:
        raise ValueError(
            f"`metrics` cannot read `{objective}`, which compares the "
            f"examples of a batch. Received: {spec!r}"
        )
    if spec in ("accuracy", "acc", "crossentropy", "ce"):
        return _by_short_name(spec, objective, target)
    metric = keras.metrics.get(spec)
    _check_measure(metric, spec, objective, target, "metrics")
    if isinstance(metric, keras.metrics.Metric):
        return metric
    return keras.metrics.MeanMetricWrapper(
        metric, name=getattr(metric, "__name__", None)
    )


def _by_short_name(
    name: str, objective: str, target: Target
) -> keras.metrics.Metric:
    """Returns the metric for a short name, which depends on the labels."""
    is_accuracy = name in ("accuracy", "acc")
    if target.is_class:
        if is_accuracy:
            return keras.metrics.SparseCategoricalAccuracy(name=name)
        return keras.metrics.SparseCategoricalCrossentropy(
            name=name, from_logits=True
        )
    if target.axes == "BL":
        if is_accuracy:
            return keras.metrics.BinaryAccuracy(name=name, threshold=0.0)
        return keras.metrics.BinaryCrossentropy(name=name, from_logits=True)
    raise ValueError(
        f"`metrics` must fit `{objective}`, whose labels are numbers. "
        f"Received: {name!r}. Use 'mae' or 'mse'."
    )


def _with_last_axis(values: tf.Tensor, target: Target) -> tf.Tensor:
    """Returns [B] as [B, 1] for numbers: Keras averages over the last axis."""
    is_number = not target.is_class and target.axes == "B"
    return values[:, tf.newaxis] if is_number else values


def _has_logits(target: Target) -> bool:
    """Returns whether outputs for such labels are logits."""
    return target.is_class or target.axes == "BL"


def _check_measure(
    measure: Any, spec: Any, objective: str, target: Target, argument: str
) -> None:
    """Raises ValueError for a loss or metric of Keras that does not fit.

    Args:
        measure: The loss or metric.
        spec: The user's name or object for it, for errors.
        objective: Name of the objective.
        target: Its labels.
        argument: Name of the argument of compile.
    """
    is_function = inspect.isfunction(measure)
    source = measure if is_function else type(measure)
    if source.__module__.startswith("keras."):
        words = source.__name__.replace("_", "").lower()
        is_sparse = words.startswith("sparse")
        if target.is_class and not is_sparse:
            raise ValueError(
                f"labels of `{objective}` are class numbers: use sparse_* as "
                f"`{argument}`. Received: {spec!r}"
            )
        wrong = ("sparse", "categorical", "kl", "poisson", "cosine")
        if target.axes == "BL" and words.startswith(wrong):
            raise ValueError(
                f"labels of `{objective}` are independent, 0 or 1: use "
                f"binary_* as `{argument}`. Received: {spec!r}"
            )
    if _has_logits(target) and _lacks_logits(measure):
        raise ValueError(
            f"outputs of `{objective}` are logits: `{argument}` must be made "
            "with `from_logits=True`, or thresholds of 0. "
            f"Received: {spec!r}"
        )


def _lacks_logits(measure: Any) -> bool:
    """Returns whether a loss or metric reads probabilities.

    That holds for Keras' own that are made without `from_logits`, and for
    those with a threshold between 0 and 1.

    Args:
        measure: Loss or metric, an object or a function.
    """
    thresholds: Any
    if inspect.isfunction(measure):
        parameters = inspect.signature(measure).parameters
        if "from_logits" in parameters:
            return not parameters["from_logits"].default
        threshold = parameters.get("threshold")
        thresholds = [threshold and threshold.default]
    else:
        # In AUC the name begins with an underscore.
        for name in ("from_logits", "_from_logits"):
            if hasattr(measure, name):
                return not getattr(measure, name)
        thresholds = getattr(measure, "thresholds", None)
        if thresholds is None:
            thresholds = [getattr(measure, "threshold", None)]
    return any(isinstance(t, int | float) and 0.0 < t < 1.0 for t in thresholds)
