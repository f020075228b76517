"""Checks x, y and sample_weight, and converts them to one form.

Keras users give labels as bare arrays, in int64, as [B, 1]; a task computes
with one int32 or float32 tensor per objective. Ambiguous forms, such as one-hot
rows, are refused.
"""

import difflib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfllm.models import TransformerConfig
from tfllm.tasks.batches import Tensors

# Label of positions that do not count, as in torch and Transformers.
IGNORED = -100

# Names in Transformers -> names here, for hints.
_OTHER_NAMES = {
    "input_ids": "token_ids",
    "attention_mask": "padding_mask",
    "token_type_ids": "segment_ids",
}


class Target(NamedTuple):
    """Describes the labels of one objective.

    Attributes:
        axes: "B", "BT" (one per position) or "BL" (one per label).
        is_class: Whether labels are class numbers, int32, not float32 numbers.
        size: Number of classes, or L; None if it depends on the batch.
        is_read: Whether the loss reads the labels.
    """

    axes: str = "B"
    is_class: bool = True
    size: int | None = None
    is_read: bool = True

    def read(self, y: Any, objective: str) -> tf.Tensor:
        """Converts labels to the task's form.

        Args:
            y: Tensor or array of labels.
            objective: Name of the objective, for errors.

        Raises:
            ValueError: The labels have a wrong form.
        """
        y = _single_column(tf.convert_to_tensor(y), len(self.axes))
        rule = self._rule(objective)
        if self.is_class:
            if len(y.shape) == len(self.axes) + 1 and y.shape[-1] == self.size:
                raise ValueError(
                    f"{rule}. Received: one row of {self.size} per label. "
                    "Give `y.argmax(-1)`."
                )
            if not (y.dtype.is_integer or y.dtype.is_bool):
                raise ValueError(
                    f"{rule}. Received: {y.dtype.name}. "
                    + (
                        "Give the numbers of the labels, or a task that has "
                        "label names."
                        if y.dtype == tf.string
                        else 'Give `y.astype("int32")`.'
                    )
                )
        elif y.dtype == tf.string:
            raise ValueError(f"{rule}. Received: strings")
        fits = len(y.shape) == len(self.axes) and (
            self.is_class
            or self.axes != "BL"
            or y.shape[-1] in (None, self.size)
        )
        if not fits:
            raise ValueError(f"{rule}. Received: shape {tuple(y.shape)}")
        if not self.is_class:
            return tf.cast(y, tf.float32)
        # int64 is cut to int32 after `check_range`.
        return y if y.dtype == tf.int64 else tf.cast(y, tf.int32)

    def check_range(self, y: tf.Tensor, objective: str) -> list[tf.Operation]:
        """Checks the range of labels.

        Args:
            y: What `read` returned.
            objective: Name of the objective, for errors.

        Returns:
            Assertions, if this runs in a graph.

        Raises:
            ValueError: A label is out of range, in eager execution.
        """
        if self.axes == "BL":
            message = f"labels of `{objective}` must be from 0 to 1"
            is_wrong = (y < 0.0) | (y > 1.0)
        elif self.is_class and self.size is not None:
            message = (
                f"labels of `{objective}` must be at least 0 and below "
                f"{self.size}, or {IGNORED} to leave a position out"
            )
            is_wrong = (y < 0) | (y >= self.size)
        else:
            return []
        if tf.executing_eagerly():
            wrong = y[is_wrong]
            if len(wrong):
                raise ValueError(f"{message}. Received: {wrong[0].numpy()}")
            return []
        return [tf.debugging.Assert(~tf.reduce_any(is_wrong), [message])]

    def _rule(self, objective: str) -> str:
        """Returns what labels must be, the first sentence of an error."""
        axes = self.axes.replace("L", str(self.size))
        shape = f"[{', '.join(axes if len(axes) == len(self.axes) else 'B')}]"
        if self.axes == "BL":
            shape = f"[B, {self.size}]"
        kind = "class numbers, integers" if self.is_class else "numbers"
        return f"labels of `{objective}` must be {kind} {shape}"


def check_features(x: Any, names: tuple[str, ...]) -> None:
    """Raises ValueError for features that a task does not take.

    Args:
        x: Features by name: arrays, tensors or their specs.
        names: Names that the task takes; the first one is required.
    """
    if not isinstance(x, Mapping):
        raise ValueError(
            f"x must be a dict with `{names[0]}`, or texts for a task with a "
            f"tokenizer. Received: {type(x).__name__}"
        )
    unknown = sorted(set(x) - set(names))
    if unknown or names[0] not in x:
        hints = [
            f"`{_OTHER_NAMES[name]}` for `{name}`"
            for name in unknown
            if name in _OTHER_NAMES
        ]
        raise ValueError(
            f"x must have `{names[0]}`, and at most {sorted(names[1:])} "
            f"beside it. Received: {sorted(x)}."
            + (f" Give {', '.join(hints)}." if hints else "")
        )
    shape = tf.TensorShape(x[names[0]].shape)
    if shape.rank is not None and shape.rank < 2:
        raise ValueError(
            f"`{names[0]}` must be batches of rows, [B, T]. Received: shape "
            f"{shape}. Add an axis, or batch the dataset."
        )
    for name, values in x.items():
        dtype = tf.as_dtype(values.dtype)
        is_mask = name.endswith("mask")
        if not (dtype.is_integer or (is_mask and dtype.is_bool)):
            raise ValueError(
                f"`{name}` must be integers{' or bool' * is_mask}. "
                f"Received: {dtype.name}"
            )
        first = "source_ids" if name.startswith("source_") else names[0]
        shape = tf.TensorShape(x[first].shape)
        if name not in ("masked_positions", "choice_mask") and not (
            shape.is_compatible_with(values.shape)
        ):
            raise ValueError(
                f"`{name}` must have the shape of `{first}`, {shape}. "
                f"Received: {tf.TensorShape(values.shape)}"
            )


def check_feature_values(x: Tensors, config: TransformerConfig) -> None:
    """Raises ValueError for ids outside the tables of the model.

    Args:
        x: Features, as arrays or eager tensors.
        config: Config of the model.
    """
    sizes = {
        "token_ids": config.vocab_size,
        "source_ids": config.vocab_size,
        "segment_ids": config.num_segments,
        "padding_mask": 2,
        "source_mask": 2,
    }
    for name, size in sizes.items():
        # A model with fewer than two segments does not read them.
        if name not in x or size is None or size < 2:
            continue
        values = np.asarray(x[name])
        if values.size and not 0 <= values.min() <= values.max() < size:
            wrong = values[(values < 0) | (values >= size)]
            raise ValueError(
                f"`{name}` must be from 0 to {size - 1}. "
                f"Received: {wrong.flat[0]}"
            )


def read_labels(
    y: Any, targets: dict[str, Target], x: Tensors, keep: bool = False
) -> tuple[Tensors, Tensors]:
    """Reads labels, and finds those that count.

    Args:
        y: Labels as `fit` takes them, see `read_by_objective`.
        targets: Objective -> description of its labels.
        x: Features; only their number of rows matters.
        keep: Whether ignored labels keep the number `IGNORED`, not 0.

    Returns:
        By objective: labels, int32 or float32; and bool of the same shape,
        false for ignored labels.

    Raises:
        ValueError: Labels are missing or have a wrong form.
    """
    by_objective = read_by_objective(y, tuple(targets), "y")
    labels, counts = {}, {}
    for name, target in targets.items():
        if not target.is_read:
            rows = tf.shape(next(iter(x.values())))[:1]  # [B]
            labels[name] = tf.zeros(rows, tf.float32)
            counts[name] = tf.ones(rows, tf.bool)
            continue
        if name not in by_objective:
            missing = sorted(set(targets) - set(by_objective))
            raise ValueError(
                f"y must have labels of {missing}. "
                f"Received: y with {sorted(by_objective)}"
            )
        original = target.read(by_objective[name], name)
        counted = original
        counts[name] = tf.ones_like(original, tf.bool)
        if target.is_class:
            counts[name] = original != IGNORED
            counted = tf.where(counts[name], original, tf.zeros_like(original))
        with tf.control_dependencies(target.check_range(counted, name)):
            result = original if keep else counted
            labels[name] = (
                tf.cast(result, tf.int32)
                if target.is_class
                else tf.identity(result)
            )
    return labels, counts


def read_by_objective(
    values: Any, objectives: tuple[str, ...], argument: str
) -> dict[str, Any]:
    """Returns the user's value for each objective.

    Args:
        values: Dict by objective, tuple in the order of the objectives, bare
            value for a task with one objective, or None.
        objectives: Objectives of the task.
        argument: Name of the argument, for errors.

    Raises:
        ValueError: Values and objectives do not match.
    """
    if values is None:
        return {}
    if isinstance(values, Mapping):
        _check_names(values, objectives, argument)
        return dict(values)
    if isinstance(values, tuple | list):
        if len(values) == len(objectives):
            return dict(zip(objectives, values, strict=True))
    elif len(objectives) == 1:
        return {objectives[0]: values}
    raise ValueError(
        f"{argument} must be a dict with {list(objectives)}. "
        f"Received: {_describe(values)}"
    )


def read_sample_weights(
    sample_weight: Any, objectives: tuple[str, ...]
) -> dict[str, Any]:
    """Returns the user's weights for each objective.

    Args:
        sample_weight: As in `read_by_objective`; but a bare tensor is for all
            objectives, as in Keras.
        objectives: Objectives of the task.
    """
    if sample_weight is not None and not isinstance(
        sample_weight, Mapping | tuple | list
    ):
        return dict.fromkeys(objectives, sample_weight)
    return read_by_objective(sample_weight, objectives, "sample_weight")


def read_weights(
    sample_weight: Any, default: tf.Tensor, objective: str
) -> tf.Tensor:
    """Converts weights to the shape of an objective's labels.

    Args:
        sample_weight: Weights of that shape; or [B], a factor of each row.
        default: float32, default weights of the objective.
        objective: Name of the objective, for errors.

    Returns:
        float32 of the shape of `default`.

    Raises:
        ValueError: The weights have another shape.
    """
    weights = tf.cast(tf.convert_to_tensor(sample_weight), tf.float32)
    weights = _single_column(weights, len(default.shape))
    if len(weights.shape) == len(default.shape):
        if weights.shape.is_compatible_with(default.shape):
            return weights
    elif len(weights.shape) == 1 and len(default.shape) == 2:
        return weights[:, tf.newaxis] * default  # [B, T]
    raise ValueError(
        f"sample_weight of `{objective}` must be [B] or of the labels' shape, "
        f"{tuple(default.shape)}. Received: shape {tuple(weights.shape)}"
    )


def _check_names(
    values: Mapping[str, Any], objectives: tuple[str, ...], argument: str
) -> None:
    """Raises ValueError for names that are not objectives."""
    unknown = sorted(set(values) - set(objectives))
    if unknown:
        near = difflib.get_close_matches(unknown[0], objectives, 1, 0.0)
        raise ValueError(
            f"{argument} must be by objective, {list(objectives)}. "
            f"Received: {unknown[0]!r}. Did you mean {near[0]!r}?"
        )


def _single_column(values: tf.Tensor, rank: int) -> tf.Tensor:
    """Returns [..., 1] as [...], if that gives the rank."""
    if len(values.shape) == rank + 1 and values.shape[-1] == 1:
        return tf.squeeze(values, -1)
    return values


def _describe(values: Any) -> str:
    """Returns the type of values, in words."""
    if isinstance(values, tuple | list):
        return f"a {type(values).__name__} of {len(values)}"
    return f"one {type(values).__name__}"
