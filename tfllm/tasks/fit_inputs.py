"""Converts inputs of `fit`, `evaluate` and `predict` for Keras.

Texts become features, label names numbers, and class weights sample weights.
Arrays are converted at once, other inputs batch by batch.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from types import GeneratorType
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfllm.tasks.contract import TaskContract
from tfllm.tasks.fit_arrays import (
    as_arrays,
    is_scalar,
    is_text,
    label_numbers,
    read_texts,
)
from tfllm.tasks.targets import (
    IGNORED,
    Target,
    check_feature_values,
    check_features,
    read_by_objective,
    read_labels,
    read_sample_weights,
    read_weights,
)


class Inputs:
    """Converts user inputs to the form that Keras and the task take.

    Args:
        task: The task.
        class_weight: Number or name of a class -> factor of the loss; 1 for
            missing classes. None for no factors.
        learns: Whether labels are read, as by `fit` and `evaluate`.

    Raises:
        ValueError: The task has no classes, or a class is unknown.
    """

    def __init__(
        self, task: TaskContract, class_weight: Any = None, learns: bool = True
    ) -> None:
        self._task, self._learns = task, learns
        self._factors = class_factors(task, class_weight)

    def prepare(
        self, x: Any, y: Any = None, sample_weight: Any = None
    ) -> tuple[Any, Any, Any]:
        """Converts x, y and sample_weight for Keras' data adapters.

        Args:
            x: Arrays or texts; or a tf.data.Dataset, keras.utils.PyDataset
                or generator of batches.
            y: Labels of arrays.
            sample_weight: Weights of arrays.

        Raises:
            ValueError: x, y or sample_weight has a form that the task does
                not take.
        """
        if isinstance(x, tf.data.Dataset):
            return self._of_dataset(x), y, sample_weight
        if isinstance(x, keras.utils.PyDataset):
            return _Prepared(x, self._of_batch), y, sample_weight
        if isinstance(x, GeneratorType):
            return self._of_generator(x), y, sample_weight
        if not _is_arrays(x):
            if self._factors is not None:
                raise ValueError(
                    "`class_weight` goes with arrays, a tf.data.Dataset, a "
                    "PyDataset or a generator. "
                    f"Received: {type(x).__name__}. Give sample_weight."
                )
            return x, y, sample_weight
        return self._of_arrays(x, y, sample_weight)

    def prepare_validation(self, data: Any) -> Any:
        """Converts `validation_data` for Keras, as `prepare` does."""
        if isinstance(data, tuple) and len(data) in (2, 3):
            return self.prepare(*data)
        x, y, sample_weight = self.prepare(data)
        # Texts of a language model bring their labels.
        return x if y is None else (x, y, sample_weight)

    def _of_arrays(self, x: Any, y: Any, sample_weight: Any) -> Any:
        """Prepares all rows at once, and checks their values."""
        objectives = self._task.objectives
        x, y, sample_weight = self._convert(
            as_arrays(x, "x"),
            _by_name(as_arrays(y, "y"), objectives, "y"),
            _by_name(
                as_arrays(sample_weight, "sample_weight"),
                objectives,
                "sample_weight",
            ),
        )
        check_features(x, self._task.feature_names)
        check_feature_values(x, self._task.config)
        for weights in tf.nest.flatten(sample_weight):
            if weights is not None and np.min(weights) < 0:
                raise ValueError(
                    "sample_weight must not be negative. "
                    f"Received: {np.min(weights)}"
                )
        if y is not None:
            # An error is one line here, but many lines in the graph.
            read_labels(y, self._task.targets(), x)
        return tf.nest.map_structure(_to_numpy, (x, y, sample_weight))

    def _of_batch(self, batch: Any) -> Any:
        """Prepares a batch of arrays.

        Keras needs batches of one width, so texts are padded to the longest
        row of the task.
        """
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
        has_texts = read_texts(x) is not None
        x, y, sample_weight = self._of_arrays(x, y, sample_weight)
        if has_texts:
            width = self._task.row_length()
            x = {name: _widened(value, width, 0) for name, value in x.items()}
            if isinstance(y, Mapping):
                y = {
                    name: _widened(value, width, IGNORED)
                    if self._task.targets()[name].axes == "BT"
                    else value
                    for name, value in y.items()
                }
        return keras.utils.pack_x_y_sample_weight(x, y, sample_weight)

    def _of_generator(self, batches: Iterator[Any]) -> Iterator[Any]:
        """Prepares batch by batch."""
        return (self._of_batch(batch) for batch in batches)

    def _of_dataset(self, batches: tf.data.Dataset) -> tf.data.Dataset:
        """Prepares batches in the graph, if they need it."""
        x, _, _ = keras.utils.unpack_x_y_sample_weight(batches.element_spec)
        has_texts = any(
            getattr(spec, "dtype", None) == tf.string
            for spec in tf.nest.flatten(batches.element_spec)
        )
        if read_texts(x) is None:
            check_features(x, self._task.feature_names)
        # XLA drops assertions from the step: check labels before it.
        is_unchecked = self._task.jit_compile and self._learns
        if not (has_texts or is_unchecked or self._factors is not None):
            return batches

        def prepare(*batch: Any) -> Any:
            if len(batch) == 1:
                (batch,) = batch
            x, y, sample_weight = self._convert(
                *keras.utils.unpack_x_y_sample_weight(batch)
            )
            if is_unchecked:
                y, _ = read_labels(y, self._task.targets(), x, keep=True)
            return keras.utils.pack_x_y_sample_weight(x, y, sample_weight)

        return batches.map(
            prepare, num_parallel_calls=tf.data.AUTOTUNE
        ).prefetch(tf.data.AUTOTUNE)

    def _convert(self, x: Any, y: Any, weights: Any) -> tuple[Any, Any, Any]:
        """Converts a batch, of arrays or in the graph."""
        texts = read_texts(x)
        if not self._learns:
            return (
                x if texts is None else self._task.tokenize(texts),
                None,
                None,
            )
        y = self._with_label_numbers(y)
        if texts is not None:
            x, y, weights = self._task.read_texts(texts, y, weights)
        if self._factors is not None:
            weights = self._with_class_weights(x, y, weights)
        return x, y, weights

    def _with_label_numbers(self, y: Any) -> Any:
        """Returns labels as numbers, not names."""
        names = self._task.labels
        targets = self._task.targets()
        if y is None or not names or len(targets) > 1:
            return y
        ((objective, target),) = targets.items()
        labels = read_by_objective(y, (objective,), "y")
        value = labels.get(objective)
        if not target.is_class or value is None:
            return y
        if is_text(value):
            return {objective: label_numbers(value, names)}
        numbered = [name for name in names if name.isdecimal()]
        are_indices = list(names) == [str(i) for i in range(len(names))]
        if numbered and not are_indices and isinstance(value, np.ndarray):
            raise ValueError(
                f"labels of `{objective}` must be given by name, as strings: "
                f"names such as {numbered[0]!r} are numbers themselves. "
                "Received: numbers"
            )
        return y

    def _with_class_weights(self, x: Any, y: Any, weights: Any) -> Any:
        """Returns the sample weights times the class weights."""
        ((objective, target),) = self._task.targets().items()
        if y is None:
            raise ValueError("`class_weight` needs labels. Received: no y")
        labels, counts = read_labels(y, {objective: target}, x)
        by_objective = read_sample_weights(weights, (objective,))
        weights = self._task.default_weights(objective, x, labels[objective])
        if objective in by_objective:
            weights = read_weights(by_objective[objective], weights, objective)
        weights *= tf.cast(counts[objective], tf.float32)
        return {
            objective: weights * tf.gather(self._factors, labels[objective])
        }


def call_with_inputs(
    task: TaskContract,
    function: Callable[..., Any],
    x: Any,
    y: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """Calls Keras' `fit` or `evaluate` with converted inputs.

    Args:
        task: The task.
        function: Method of `keras.Model`.
        x: The user's x.
        y: The user's y.
        args: Further arguments.
        kwargs: Further arguments by name.
    """
    # Within `fit` Keras calls `evaluate` with inputs that are converted.
    if kwargs.get("_use_cached_eval_dataset"):
        return function(x, y, *args, **kwargs)
    bound = inspect.signature(function).bind(x, y, *args, **kwargs)
    arguments = bound.arguments
    class_weight = arguments.pop("class_weight", None)
    inputs = Inputs(task, class_weight)
    split = arguments.get("validation_split")
    if split and class_weight and arguments.get("validation_data") is None:
        # Class weights count in training, not in validation.
        data = Inputs(task).prepare(x, y, arguments.get("sample_weight"))
        del arguments["validation_split"]
        training, arguments["validation_data"] = _split(data, split)
        x, y, arguments["sample_weight"] = training
    if arguments.get("validation_data") is not None:
        arguments["validation_data"] = Inputs(task).prepare_validation(
            arguments["validation_data"]
        )
    arguments["x"], arguments["y"], arguments["sample_weight"] = inputs.prepare(
        x, y, arguments.get("sample_weight")
    )
    return function(*bound.args, **bound.kwargs)


class _Prepared(keras.utils.PyDataset):
    """A PyDataset that prepares the batches of another one.

    Args:
        batches: Dataset of the user.
        prepare: Batch -> batch.
    """

    def __init__(
        self, batches: keras.utils.PyDataset, prepare: Callable[[Any], Any]
    ) -> None:
        super().__init__(
            batches.workers,
            # Processes could not share the tokenizer's ops.
            use_multiprocessing=False,
            max_queue_size=batches.max_queue_size,
        )
        self._batches, self._prepare = batches, prepare

    @property
    def num_batches(self) -> int | None:
        """Number of batches; None for an endless dataset."""
        return self._batches.num_batches

    def __getitem__(self, index: int) -> Any:
        return self._prepare(self._batches[index])

    def on_epoch_begin(self) -> None:
        """Tells the user's dataset that an epoch begins."""
        self._batches.on_epoch_begin()

    def on_epoch_end(self) -> None:
        """Tells the user's dataset that an epoch ends."""
        self._batches.on_epoch_end()


def class_factors(task: TaskContract, class_weight: Any) -> tf.Tensor | None:
    """Returns the factor of each class, float32 [L].

    Args:
        task: The task.
        class_weight: As in Inputs.

    Raises:
        ValueError: The task has no classes, or `class_weight` is wrong.
    """
    if class_weight is None:
        return None
    targets = list(task.targets().values())
    target = targets[0] if len(targets) == 1 else Target(is_class=False)
    if not target.is_class or target.size is None:
        raise ValueError(
            "`class_weight` needs a task with classes. "
            f"Received: {task.kind}. Give sample_weight."
        )
    names = list(task.labels)
    if not isinstance(class_weight, Mapping):
        raise ValueError(
            "`class_weight` must be a dict, such as {0: 2.0}. "
            f"Received: {class_weight!r}"
        )
    factors = np.ones(target.size, "float32")
    for key, factor in class_weight.items():
        number = names.index(key) if key in names else key
        is_number = isinstance(number, int | np.integer)
        if not is_number or number not in range(target.size):
            raise ValueError(
                f"`class_weight` must have numbers below {target.size}"
                + (f", or names among {names}" if names else "")
                + f". Received: {key!r}"
            )
        if not (np.isfinite(factor) and factor >= 0.0):
            raise ValueError(
                "`class_weight` must have finite factors of at least 0. "
                f"Received: {factor} for {key!r}"
            )
        factors[number] = factor
    return tf.constant(factors)


def _is_arrays(x: Any) -> bool:
    """Returns whether x holds arrays, rather than yields batches."""
    return is_text(x) or all(
        hasattr(value, "shape") or is_scalar(value)
        for value in tf.nest.flatten(x)
    )


def _by_name(values: Any, objectives: tuple[str, ...], argument: str) -> Any:
    """Returns a tuple as a dict by objective; other values unchanged."""
    if isinstance(values, tuple):
        return read_by_objective(values, objectives, argument)
    return values


def _to_numpy(values: Any) -> Any:
    """Returns a tensor as an array."""
    return values.numpy() if tf.is_tensor(values) else values


def _widened(values: np.ndarray, width: int, filler: int) -> np.ndarray:
    """Pads [..., T] to [..., width]."""
    missing = width - values.shape[-1]
    axes = [(0, 0)] * (values.ndim - 1) + [(0, missing)]
    return np.pad(values, axes, constant_values=filler)


def _split(data: Any, share: float) -> tuple[Any, Any]:
    """Splits the last rows off.

    Args:
        data: x, y and sample_weight as nested arrays or None.
        share: Share of the rows to split off.

    Returns:
        Data of the first rows, and data of the last rows.
    """
    if not 0.0 < share < 1.0:
        raise ValueError(
            f"`validation_split` must be above 0 and below 1. Received: {share}"
        )
    if not _is_arrays(data[0]):
        raise ValueError(
            "`validation_split` goes with arrays and texts. "
            f"Received: {type(data[0]).__name__}. Give `validation_data`."
        )
    # Keras rounds in the same way.
    first = int(len(tf.nest.flatten(data[0])[0]) * (1.0 - share))

    def part(rows: slice) -> Any:
        return tf.nest.map_structure(
            lambda values: None if values is None else values[rows], data
        )

    return part(slice(None, first)), part(slice(first, None))
