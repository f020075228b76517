"""What a layout is: which variable of KerasHub is which published tensor.

A kernel of KerasHub is (in, out), with the heads as an axis of its own:
(D, N, H) before attention and (N, H, D) after it.
"""

from __future__ import annotations

import collections
import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

_LEAVES = {"kernel": "weight", "gamma": "weight", "beta": "bias"}
_LEAVES |= {"scale": "weight", "embeddings": "weight", "bias": "bias"}
_LEAVES |= {"weight": "weight"}

ROPE = "rope_frequency_adjustment_factor"
# Key of `rope_scaling` in config.json -> argument of a backbone.
ROPE_KEYS = {
    "factor": ROPE,
    "low_freq_factor": "rope_low_freq_factor",
    "high_freq_factor": "rope_high_freq_factor",
    "original_max_position_embeddings": "rope_pretraining_sequence_length",
}


@dataclasses.dataclass(frozen=True)
class Layout:
    """The layout of a class of backbones.

    Attributes:
        family: Name of the family here.
        config: Key of the class's config -> key of config.json.
        constants: What the class fixes, as keys of config.json.
        layers: Layer of the class -> published name.
        blocks: Name of the blocks without their number -> published prefix,
            and layer within a block -> published name within it.
        leaves: Variable -> published tensor, where it is no layer's.
        tokenizers: Kinds of tokenizers that the class has.
        matrices: "transpose" if published matrices are (out, in).
        position_rows: Rows of the published position table before the first
            of the class.
        segment_table: Published table of one row, for which the class has no
            variable. The positions have it added.
        head: Class with a head of the same layout, and its key of
            `Family.architectures`.
        optional: Prefixes of published names that a model may lack.
        more_config: From the class's config, more keys of config.json; None
            for none.
        more_arguments: From config.json, more arguments of the class; None for
            none.
        gated: The layout if the feed-forward network has a gate; None if that
            changes nothing.
        scales_tied: Whether a tied output table reads hidden states that are
            scaled by D ** -0.5.
    """

    family: str
    config: Mapping[str, str]
    constants: Mapping[str, Any]
    layers: Mapping[str, str]
    blocks: Mapping[str, tuple[str, Mapping[str, str]]]
    leaves: Mapping[str, str] = dataclasses.field(default_factory=dict)
    tokenizers: tuple[str, ...] = ("byte_bpe",)
    matrices: str = "transpose"
    position_rows: int = 0
    segment_table: str | None = None
    head: tuple[str, str] | None = None
    optional: tuple[str, ...] = ()
    more_config: Callable[[Mapping[str, Any]], dict[str, Any]] | None = None
    more_arguments: Callable[[Mapping[str, Any]], dict[str, Any]] | None = None
    gated: Layout | None = None
    scales_tied: bool = False

    def with_gates(self, gated: bool) -> Layout:
        """Returns the layout of a class with or without gates."""
        return self.gated if gated and self.gated else self

    def published(self, path: str) -> tuple[str, int | None] | None:
        """Returns the published tensor of a variable, and its part of it.

        Args:
            path: One of `stable_paths`.
        """
        if path in self.leaves:
            return self.leaves[path], None
        layer, _, leaf = path.rpartition("/")
        match = re.fullmatch(r"(\w+)_(\d+)/(.+)", layer)
        name = self.layers.get(layer)
        if match and match[1] in self.blocks:
            prefix, block = self.blocks[match[1]]
            inner = block.get(match[3])
            name = inner and f"{prefix}.{match[2]}.{inner}"
        if name is None or leaf not in _LEAVES:
            return None
        part = re.fullmatch(r"(.+)\[(\d)\]", name)
        name, number = (part[1], int(part[2])) if part else (name, None)
        return f"{name}.{_LEAVES[leaf]}", number

    def to_published(self, path: str, array: np.ndarray) -> np.ndarray:
        """Returns the published tensor of a variable, or its part of one."""
        leaf = path.rpartition("/")[2]
        if leaf == "kernel":
            is_output = path.endswith("attention_output/kernel")
            rows = -1 if is_output else array.shape[0]
            columns = array.shape[-1] if is_output else -1
            array = array.reshape(rows, columns)  # [in, out]
            return array.T if self.matrices == "transpose" else array
        if leaf == "bias":
            return array.reshape(-1)
        if leaf == "reverse_embeddings":
            return array.T
        if leaf == "embeddings" and "position_embedding" in path:
            empty = np.zeros((self.position_rows, array.shape[1]), np.float32)
            return np.concatenate([empty, array])
        return array

    def from_published(
        self, path: str, array: np.ndarray, shape: tuple[int, ...]
    ) -> np.ndarray:
        """Returns the value of a variable; see `to_published`.

        Args:
            path: Path of the variable.
            array: The published tensor, or the part of it.
            shape: Shape of the variable.
        """
        leaf = path.rpartition("/")[2]
        is_linear = leaf == "kernel" and self.matrices == "transpose"
        if is_linear or leaf == "reverse_embeddings":
            array = array.T
        if leaf == "embeddings" and "position_embedding" in path:
            array = array[self.position_rows :]
        return array.reshape(shape)


# Layers to which KerasHub gives no names: Keras numbers them in a process.
_UNNAMED = re.compile(r"(.*/)(t5_layer_norm)(?:_\d+)?(/.*)")


def stable_paths(model: Any) -> Iterator[tuple[str, Any]]:
    """Yields path and variable of a model of KerasHub.

    A layer without a name of its own gets the number that it has among its
    like in the layer around it, as in `block_0/t5_layer_norm[1]/weight`. A path
    that several variables have gets the number of its variable.
    """
    numbers: dict[str, dict[str, int]] = {}
    counts = collections.Counter(variable.path for variable in model.weights)
    seen: collections.Counter[str] = collections.Counter()
    for variable in model.weights:
        path = variable.path
        if counts[path] > 1:
            layer, _, leaf = path.rpartition("/")
            path = f"{layer}[{seen[variable.path]}]/{leaf}"
            seen[variable.path] += 1
        if match := _UNNAMED.fullmatch(path):
            siblings = numbers.setdefault(match[1], {})
            number = siblings.setdefault(path, len(siblings))
            path = f"{match[1]}{match[2]}[{number}]{match[3]}"
        yield path, variable
