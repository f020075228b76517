"""Reads rows of TensorFlow Datasets, if the package is installed."""

from collections.abc import Iterator
from typing import Any

from tfllm.data.tables.row import TFDS_PREFIX, Row


def read_rows(name: str) -> Iterator[Row]:
    """Yields the examples of a split, with the names of class labels.

    Args:
        name: `tfds:NAME/SPLIT`; NAME may have a configuration, and SPLIT a
            slice, as in `tfds:glue/sst2/train[:10%]`.

    Raises:
        ValueError: The package is missing, or the name has no split.
    """
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise ValueError(
            "A name that opens with 'tfds:' needs TensorFlow Datasets. "
            f"Received: {name} ({error}). pip install tensorflow-datasets"
        ) from error
    dataset, _, split = name.removeprefix(TFDS_PREFIX).rpartition("/")
    if not dataset or not split:
        raise ValueError(
            "A set of TensorFlow Datasets is given as tfds:NAME/SPLIT. "
            f"Received: {name}. Add its split, such as /train."
        )
    examples, info = tfds.load(
        dataset, split=split, with_info=True, shuffle_files=False
    )
    for number, example in enumerate(tfds.as_numpy(examples), start=1):
        fields = {
            key: _plain(value, info.features[key])
            for key, value in example.items()
        }
        yield Row(name, number, fields)


def _plain(value: Any, feature: Any) -> Any:
    """Converts a value to the types of JSON."""
    names = getattr(feature, "names", None) or getattr(
        getattr(feature, "feature", None), "names", None
    )
    if isinstance(value, dict):
        return {key: _plain(item, feature) for key, item in value.items()}
    if isinstance(value, bytes):
        return value.decode("utf-8")
    if hasattr(value, "ndim") and value.ndim:
        return [_plain(item, feature) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    # Test splits without labels have -1.
    if names and isinstance(value, int) and value >= 0:
        return names[value]
    return None if names else value
