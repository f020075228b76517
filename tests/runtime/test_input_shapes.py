"""Shapes that a signature takes, and those that it does not."""

import numpy as np
import pytest

from tfllm.runtime import input_shapes
from tfllm.runtime.saved_model_file import Signature, TensorInfo


def signature(**shapes: tuple[int, ...] | None) -> Signature:
    infos = {n: TensorInfo(f"{n}:0", "int32", s) for n, s in shapes.items()}
    return Signature(infos, {}, "")


@pytest.mark.parametrize(
    ("declared", "shape", "fits"),
    [
        ((-1,), (0,), True),
        ((-1,), (3,), True),
        ((-1,), (), False),
        ((-1,), (3, 1), False),
        ((-1, 4), (2, 4), True),
        ((-1, 4), (2, 3), False),
        ((), (), True),
        ((), (1,), False),
        (None, (1, 2, 3), True),
    ],
)
def test_rank_and_known_sizes(
    declared: tuple[int, ...] | None, shape: tuple[int, ...], fits: bool
) -> None:
    array = np.zeros(shape, np.int32)
    found = input_shapes.problem({"x": array}, signature(x=declared))
    assert (found is None) == fits
    if found:
        assert f"but shape {input_shapes.shown(shape)} is provided" in found


def test_the_message_names_what_was_expected() -> None:
    found = input_shapes.problem(
        {"x": np.zeros((2, 3), np.int32)}, signature(x=(-1, 4))
    )
    assert found == (
        'Expects input "x" to be int32 of shape [?,4] but shape [2,3] is '
        "provided"
    )


def test_inputs_share_the_batch_unless_its_size_is_known() -> None:
    arrays = {
        name: np.zeros(size, np.int32) for name, size in (("a", 2), ("b", 3))
    }
    found = input_shapes.problem(arrays, signature(a=(-1,), b=(-1,)))
    assert found == (
        "Expects all inputs to have the same batch size but "
        '{"a": 2, "b": 3} is provided'
    )
    assert input_shapes.problem(arrays, signature(a=(-1,), b=(3,))) is None
