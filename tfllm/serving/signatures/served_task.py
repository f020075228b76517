"""Contract of an exported task: its signatures, checks and warm-up."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import tensorflow as tf

from tfllm.tasks import Task
from tfllm.tokenizers import Tokenizer

Tensors = dict[str, tf.Tensor]
Arrays = dict[str, np.ndarray]

DEFAULT = "serving_default"
TOKEN_IDS = "token_ids"


@dataclasses.dataclass(frozen=True)
class IdLimits:
    """Limits of the inputs of a signature that takes ids.

    Attributes:
        vocab_size: Number of ids of the model.
        num_segments: Number of segments of the model; 0 for none, None for
            any.
        longest: Longest row in tokens; None if longer rows are cut.
    """

    vocab_size: int
    num_segments: int | None = 0
    longest: int | None = None


@dataclasses.dataclass(frozen=True)
class ServedFunction:
    """A signature.

    Attributes:
        call: Takes the inputs as keywords; returns dense outputs by name, with
            the batch on the first axis.
        inputs: Input name -> dtype and shape.
        outputs: Output name -> description.
        limits: Limits of `token_ids`, `segment_ids` and `lengths`; None for a
            signature without ids.
    """

    call: Callable[..., Tensors]
    inputs: dict[str, tf.TensorSpec]
    outputs: dict[str, str]
    limits: IdLimits | None = None


@dataclasses.dataclass(frozen=True)
class Check:
    """A request and the expected answer.

    Attributes:
        signature: Name of the signature.
        inputs: Arrays by name, with the batch on the first axis.
        expected: Answer of the Python task for each row: arrays by name,
            without padding.
    """

    signature: str
    inputs: Arrays
    expected: list[Arrays]


class ServedTask(Protocol):
    """A task with the functions that answer requests.

    Attributes:
        functions: Signature name -> function.
        task: The task.
        tokenizer: Tokenizer of the task, which is saved with it.
    """

    functions: dict[str, ServedFunction]
    task: Task
    tokenizer: Tokenizer

    def checks(self) -> Sequence[Check]:
        """Returns requests with the answers of the Python task.

        The answers are computed independently of the functions: row by row,
        eagerly, in NumPy.
        """

    def warm_up(self) -> Sequence[tuple[str, Arrays]]:
        """Returns requests that warm up every signature at several lengths."""


class ServedLanguage(ServedTask, Protocol):
    """A language model, whose decisions before and after can be compared."""

    def python_decisions(self, texts: Sequence[bytes]) -> list[np.ndarray]:
        """Returns the ids that the Python task chooses for each text."""

    def decision_request(self, texts: Sequence[bytes]) -> Arrays:
        """Returns a request with the texts."""

    def decisions(self, answer: Arrays) -> list[np.ndarray]:
        """Returns the ids that an answer to the request holds per text."""


def valid_utf8(text: tf.Tensor) -> tf.Tensor:
    """Replaces invalid UTF-8 by U+FFFD, as `bytes.decode` does."""
    return tf.strings.unicode_transcode(
        text, "UTF-8", "UTF-8", errors="replace"
    )


def strings(*names: str) -> dict[str, tf.TensorSpec]:
    """Returns the inputs of a signature that takes texts."""
    return {name: tf.TensorSpec([None], tf.string, name) for name in names}


def token_id_inputs(has_segments: bool) -> dict[str, tf.TensorSpec]:
    """Returns the inputs of a signature that takes ids.

    NOTE: lengths instead of a mask, because a server that merges requests pads
    their arrays with any values.
    """
    table = ("token_ids", "segment_ids") if has_segments else ("token_ids",)
    specs = {
        name: tf.TensorSpec([None, None], tf.int32, name) for name in table
    }
    return {**specs, "lengths": tf.TensorSpec([None], tf.int32, "lengths")}


def as_strings(texts: Sequence[bytes]) -> np.ndarray:
    """Returns texts as an array of bytes objects, [B]."""
    strings = np.empty(len(texts), object)
    strings[:] = texts
    return strings


def id_arrays(
    rows: Sequence[Sequence[int]], has_segments: bool = True
) -> Arrays:
    """Returns rows of ids as the arrays of a request, int32 [B, T]."""
    width = max(map(len, rows))
    # Any padding id: the model ignores it.
    table = np.full((len(rows), width), 1, np.int32)
    for padded, row in zip(table, rows, strict=True):
        padded[: len(row)] = row
    arrays = {"token_ids": table}
    if has_segments:
        arrays["segment_ids"] = np.zeros_like(table)
    lengths = np.array([len(row) for row in rows], np.int32)
    return {**arrays, "lengths": lengths}
