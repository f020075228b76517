"""What a source of checkpoints is, and what reading one gives."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tfllm.models.weight_map import TensorSource

# (token_ids int32 [B, T], padding_mask int32 [B, T]) -> logits of a model that
# generates, or hidden states of another, float [B, T, V or D]. An
# encoder-decoder reads the same tokens on both sides.
Forward = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Reference:
    """The same model in another library.

    Attributes:
        library: Name of the package.
        load: Function of the folder of the result and of a key of
            `Family.architectures`, "causal_lm", "seq2seq_lm", "encoder" or
            "encoder_decoder". Returns the forward pass. Raises ImportError if
            the package is not installed, and ValueError if it cannot read the
            checkpoint.
        reads_result: Whether the library reads the result, as it does not
            read the checkpoint.
    """

    library: str
    load: Callable[[pathlib.Path, str], Forward]
    reads_result: bool = False


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A checkpoint of another library, under published names.

    Attributes:
        config: The published config.json.
        tensors: The tensors. Names that the family does not know are left
            out, and reported.
        write_tokenizer: Writes the files of the tokenizer to a folder, or
            None without one.
        left_out: Names in the files that `tensors` does not have.
        extra_files: Name -> content of more files of the model folder.
        reference: The model to compare with, or None.
    """

    config: Mapping[str, Any]
    tensors: TensorSource
    write_tokenizer: Callable[[pathlib.Path], None] | None = None
    left_out: Sequence[str] = ()
    extra_files: Mapping[str, str] = dataclasses.field(default_factory=dict)
    reference: Reference | None = None


@dataclasses.dataclass(frozen=True)
class Options:
    """What a user says about a checkpoint besides its place.

    Attributes:
        lower_case: Whether the tokenizer lower-cases; None: as its files say.
    """

    lower_case: bool | None = None


@dataclasses.dataclass(frozen=True)
class Source:
    """A format of checkpoints.

    Attributes:
        title: The format in words, and the files that show it.
        recognizes: Whether a path, local or remote, is of this format. Looks
            at names, or at the first bytes of a file.
        read: Opens the checkpoint at a path.
        is_name: Whether a path may be a name that the library resolves.
    """

    title: str
    recognizes: Callable[[str], bool]
    read: Callable[[str, Options], Checkpoint]
    is_name: bool = False


class Arrays:
    """Tensors in memory, or made when they are read; a TensorSource.

    Args:
        makers: Name -> (shape, function that returns the tensor).
    """

    def __init__(
        self,
        makers: Mapping[str, tuple[tuple[int, ...], Callable[[], np.ndarray]]],
    ) -> None:
        self._makers = makers

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Returns the shape of every tensor."""
        return {name: shape for name, (shape, _) in self._makers.items()}

    def read(self, name: str) -> np.ndarray:
        """Returns one tensor as float32."""
        tensor = self._makers[name][1]()
        return np.ascontiguousarray(tensor, np.float32)
