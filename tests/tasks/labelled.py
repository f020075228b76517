"""Small tasks with labels, and batches for them."""

import inspect
from typing import Any

import keras
import numpy as np
import pytest

from tfllm import tasks
from tfllm.models import FAMILIES, TransformerConfig

ROWS, LENGTH, CHOICES, VOCABULARY = 4, 7, 3, 40
LABELS = ("no", "perhaps", "yes")
# Task -> arguments off their default, but for what tests look at.
SETTINGS: dict[str, dict[str, Any]] = {
    "classification": {"labels": LABELS, "label_smoothing": 0.1},
    "multi_label": {"labels": LABELS, "label_smoothing": 0.1},
    "regression": {"labels": ("score",)},
    "tagging": {
        "labels": LABELS,
        "label_smoothing": 0.1,
        "with_predicates": True,
    },
    "question_answering": {"null_threshold": 0.5},
    "embedding": {
        "pooling": "last",
        "normalize": False,
        "loss": "similarity",
        "temperature": 0.1,
    },
    "multiple_choice": {"label_smoothing": 0.1},
}
NUMBERS = {
    "num_layers": 1,
    "hidden_size": 16,
    "num_heads": 2,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": 12,
    "pad_token_id": 0,
}

# Every task of every family that has a head for it.
CASES = [
    (name, family)
    for family, spec in FAMILIES.items()
    for name in SETTINGS
    if {*(tasks.TASKS[name].heads or ("encoder",))} & spec.architectures.keys()
]
# By default every task runs on an encoder, and on a decoder those whose heads
# read a text, its tokens or its pairs; the rest runs in `make test-all`.
_DEFAULT = {
    *((name, "bert") for name in SETTINGS),
    ("classification", "gpt2"),
    ("tagging", "gpt2"),
    ("multiple_choice", "gpt2"),
}
PARAMS = [
    pytest.param(
        name,
        family,
        marks=[] if (name, family) in _DEFAULT else pytest.mark.wide,
        id=f"{name}-{family}",
    )
    for name, family in CASES
]

Batch = tuple[dict[str, Any], dict[str, Any], dict[str, Any]]


def model_config(family: str, dropout: float = 0.0) -> TransformerConfig:
    spec = FAMILIES[family]
    known = inspect.signature(spec.config).parameters
    numbers = {k: v for k, v in NUMBERS.items() if k in known}
    config = spec.config(**numbers)
    return config.with_dropout(dropout)


def create(name: str, family: str, **settings: Any) -> Any:
    """Returns a task whose weights are large enough to show in its outputs."""
    keras.utils.set_random_seed(1)
    config = model_config(family, settings.pop("dropout", 0.0))
    task = tasks.create(name, config, **{**SETTINGS[name], **settings})
    rng = np.random.default_rng(1)
    if task.dtype_policy.name == "float32":
        for v in task.trainable_variables:
            v.assign(v + 0.1 * rng.normal(size=v.shape))
    return task


def batch(name: str, seed: int = 0, rows: int = ROWS) -> Batch:
    """Rows of several lengths, padded on the right, and their labels."""
    rng = np.random.default_rng(seed)
    shape = (rows, LENGTH)
    if name in ("embedding", "multiple_choice"):
        shape = (rows, CHOICES, LENGTH)
    lengths = rng.integers(3, LENGTH + 1, (*shape[:-1], 1))
    lengths.flat[0] = LENGTH
    mask = (np.arange(LENGTH) < lengths).astype("int32")
    ids = rng.integers(5, VOCABULARY, shape).astype("int32") * mask
    x = {
        "token_ids": ids,
        "padding_mask": mask,
        "segment_ids": (np.arange(LENGTH) > 2).astype("int32") * mask,
    }
    if name == "question_answering":
        x["answer_mask"] = (np.arange(LENGTH) != 1).astype("int32") * mask
    return x, *_labels(name, rng, mask, rows)


def _labels(
    name: str, rng: np.random.Generator, mask: np.ndarray, rows: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns y and weights, none of them equal."""
    weights = {name: rng.uniform(0.5, 2.0, rows).astype("float32")}
    if name == "multi_label":
        hot = rng.integers(0, 2, (rows, len(LABELS)))
        return {name: hot.astype("float32")}, weights
    if name in ("regression", "embedding"):
        return {name: rng.uniform(-1, 1, rows).astype("float32")}, weights
    if name == "tagging":
        tags = rng.integers(0, len(LABELS), mask.shape).astype("int32")
        weight = mask * rng.uniform(0.5, 2.0, mask.shape)
        return {name: tags}, {name: weight.astype("float32")}
    if name == "question_answering":
        start = rng.integers(2, 3, rows).astype("int32")
        weight = weights[name]
        return (
            {"start": start, "end": np.zeros_like(start)},
            {"start": weight, "end": weight[::-1].copy()},
        )
    return {name: rng.integers(0, len(LABELS), rows).astype("int32")}, weights
