"""What a task offers to those who send it text."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

Tensors = dict[str, tf.Tensor]
Arrays = dict[str, np.ndarray]

DEFAULT = "serving_default"
TOKEN_IDS = "token_ids"


@dataclasses.dataclass(frozen=True)
class ExportSettings:
    """What the functions of an export do.

    Attributes:
        seq_length: Longest row; 0 for the longest of the model.
        stride: Tokens from one window of a long text to the next; 0: as
            `tfllm.predict` has them; in what `as_in_run` returns: texts are
            cut.
        question_length: Tokens of a question at most; 0 for those of the run.
        top_k: Candidates for each mask; or, of the sampling signature of a
            generator, tokens to draw from: 0 for all.
        max_new_tokens: Tokens to generate at most; 0 for those of the folder.
        pairs: Whether a request holds two texts.
    """

    seq_length: int = 0
    stride: int = 0
    question_length: int = 0
    top_k: int = 0
    max_new_tokens: int = 0
    pairs: bool = False


@dataclasses.dataclass(frozen=True)
class ServedFunction:
    """One signature.

    Attributes:
        call: Takes the inputs as keywords, returns dense outputs by name, the
            batch on the first axis of each.
        inputs: By name.
        outputs: Name -> what it is, for people.
    """

    call: Callable[..., Tensors]
    inputs: dict[str, tf.TensorSpec]
    outputs: dict[str, str]


@dataclasses.dataclass(frozen=True)
class Check:
    """A request, and what the Python task answers to it.

    Attributes:
        signature: Name of the signature.
        inputs: Arrays by name, the batch on the first axis.
        expected: For each row the arrays by name, without padding.
    """

    signature: str
    inputs: Arrays
    expected: list[Arrays]


class ServedTask(Protocol):
    """A task with the functions that answer requests.

    Attributes:
        functions: By name of the signature.
        tokenizer: Is saved with them.
    """

    functions: dict[str, ServedFunction]
    tokenizer: Any

    def checks(self) -> Sequence[Check]:
        """Returns requests with the answers of the Python task.

        They are worked out by another way than that of the functions: row
        by row, eagerly, in NumPy.
        """

    def warm_up(self) -> Sequence[tuple[str, Arrays]]:
        """Returns requests for every signature and some lengths."""


def valid_utf8(text: tf.Tensor) -> tf.Tensor:
    """Returns texts in which U+FFFD stands for what is not UTF-8.

    As `bytes.decode` with errors="replace" does.
    """
    return tf.strings.unicode_transcode(
        text, "UTF-8", "UTF-8", errors="replace"
    )


def strings(*names: str) -> dict[str, tf.TensorSpec]:
    """Returns the inputs of a signature that takes texts."""
    return {name: tf.TensorSpec([None], tf.string, name) for name in names}


def token_id_inputs(has_segments: bool) -> dict[str, tf.TensorSpec]:
    """Returns the inputs of a signature that takes ids.

    NOTE: lengths, and not a mask: a server that merges requests pads their
    arrays with whatever their first element is.
    """
    table = ("token_ids", "segment_ids") if has_segments else ("token_ids",)
    specs = {
        name: tf.TensorSpec([None, None], tf.int32, name) for name in table
    }
    return {**specs, "lengths": tf.TensorSpec([None], tf.int32, "lengths")}


def as_strings(texts: Sequence[bytes]) -> np.ndarray:
    """Returns texts as an array of a request."""
    found = np.empty(len(texts), object)
    found[:] = texts
    return found


def id_arrays(
    rows: Sequence[Sequence[int]], has_segments: bool = True
) -> Arrays:
    """Returns rows of ids as the arrays of a request."""
    width = max(map(len, rows))
    # What fills them up does not count.
    table = np.full((len(rows), width), 1, np.int32)
    for place, row in zip(table, rows, strict=True):
        place[: len(row)] = row
    found = {"token_ids": table}
    if has_segments:
        found["segment_ids"] = np.zeros_like(table)
    return {**found, "lengths": np.array([len(row) for row in rows], np.int32)}
