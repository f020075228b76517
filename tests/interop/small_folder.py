"""A small model whose folder the tests write, read and damage."""

import pathlib
from typing import Any

import numpy as np
import safetensors.numpy

from tfllm.models import FAMILIES
from tfllm.tasks import MaskedLM

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
SMALL = {
    "num_layers": 2,
    "hidden_size": 24,
    "num_heads": 3,
    "intermediate_size": 56,
    "vocab_size": 53,
    "max_position_embeddings": 19,
}
# Every argument of BERT's config, none at its default.
OFF_DEFAULT = {
    **SMALL,
    "num_segments": 3,
    "activation": "gelu_tanh",
    "dropout": 0.2,
    "attention_dropout": 0.3,
    "epsilon": 1e-5,
    "initializer_range": 0.1,
    "pad_token_id": 4,
}


def small_task(pair_objective: str = "nsp", **numbers: Any) -> MaskedLM:
    config = FAMILIES["bert"].config(**{**SMALL, **numbers})
    task = MaskedLM(config, pair_objective=pair_objective)
    rng = np.random.default_rng(0)
    for v in task.model.trainable_variables:
        v.assign(0.5 + 0.2 * rng.normal(size=v.shape))
    return task


def assert_same_weights(first: Any, second: Any) -> None:
    for a, b in zip(
        first.trainable_variables, second.trainable_variables, strict=True
    ):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


def tensors_of(folder: pathlib.Path) -> dict[str, np.ndarray]:
    return safetensors.numpy.load_file(folder / "model.safetensors")


def write_tensors(folder: pathlib.Path, tensors: dict[str, np.ndarray]) -> None:
    safetensors.numpy.save_file(tensors, folder / "model.safetensors")
