"""Malformed requests, made from valid requests of each signature.

A server passes them on to the graph, which must refuse them: a kernel that
trusts them ends the server for all clients.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal

import numpy as np

from tfllm.runtime.replay import Request
from tfllm.serving.signatures.served_task import Arrays

# Expected: an error, an answer without rows, or either of them.
Outcome = Literal["error", "empty", "any"]
# Each function changes the rank of an array.
_RANKS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "a scalar": lambda a: a.reshape(-1)[:1].reshape(()),
    "one axis more": lambda a: a[..., None],
    "one axis before": lambda a: a[None],
    "two axes more": lambda a: a[..., None, None],
    "one axis more, empty": lambda a: a[..., None][..., :0],
    "one axis before, empty": lambda a: a[None][:0],
    "two axes more, empty between": lambda a: a[..., None, None][..., :0, :],
}


@dataclasses.dataclass(frozen=True)
class HardRequest:
    """A malformed request and its expected outcome.

    Attributes:
        what: Description of what is wrong.
        signature: Name of the signature.
        inputs: Arrays by name.
        outcome: Expected outcome.
    """

    what: str
    signature: str
    inputs: Arrays
    outcome: Outcome


def of(requests: Sequence[Request]) -> list[HardRequest]:
    """Returns malformed requests for each signature.

    Args:
        requests: Valid requests; the first of each signature is changed.
    """
    first: dict[str, Arrays] = {}
    for signature, arrays in requests:
        if all(array.size for array in arrays.values()):
            first.setdefault(signature, arrays)
    return [
        HardRequest(what, signature, inputs, outcome)
        for signature, arrays in first.items()
        for what, inputs, outcome in _variants(arrays)
    ]


def _variants(arrays: Arrays) -> Iterator[tuple[str, Arrays, Outcome]]:
    """Yields description, inputs and expected outcome of changed requests."""
    for what, change in _RANKS.items():
        yield what, _change_all(arrays, change), "error"
        if len(arrays) > 1:
            for name in arrays:
                inputs = {**arrays, name: change(arrays[name])}
                yield f"`{name}` with {what}", inputs, "error"
    for name, array in arrays.items():
        if array.ndim > 1:
            inputs = {**arrays, name: array.reshape(-1)}
            yield f"`{name}` with one axis", inputs, "error"
        if len(arrays) > 1:
            twice = np.concatenate([array, array])
            yield f"`{name}` twice", {**arrays, name: twice}, "error"
            empty = {**arrays, name: array[:0]}
            yield f"`{name}` without rows", empty, "error"
        inputs = {**arrays, name: _of_another_dtype(array)}
        yield f"`{name}` of another dtype", inputs, "error"
    yield "no rows", _change_all(arrays, lambda a: a[:0]), "empty"
    most = max(array.ndim for array in arrays.values())
    narrow = _change_all(
        arrays, lambda a: a[..., :0] if a.ndim == most > 1 else a
    )
    yield "rows without width", narrow, "any"


def _change_all(
    arrays: Arrays, change: Callable[[np.ndarray], np.ndarray]
) -> Arrays:
    """Applies a change to each array."""
    return {name: change(array) for name, array in arrays.items()}


def _of_another_dtype(array: np.ndarray) -> np.ndarray:
    """Returns ones: int32 for texts, float16 for numbers."""
    dtype = np.int32 if array.dtype == object else np.float16
    return np.ones(array.shape, dtype)


def problem(
    request: HardRequest, answer: Mapping[str, np.ndarray] | str
) -> str | None:
    """Returns what is wrong with an answer; None if it is as expected."""
    if request.outcome == "any":
        return None
    where = f"a request of {request.signature!r} ({request.what})"
    if isinstance(answer, str):
        is_expected = request.outcome == "error"
        return None if is_expected else f"{where} fails: {answer}"
    shapes = {name: array.shape for name, array in answer.items()}
    if request.outcome == "empty" and all(
        shape[:1] == (0,) for shape in shapes.values()
    ):
        return None
    return f"{where} is answered, with shapes {shapes}"
