"""A model that runs on a few rows at a time."""

import numpy as np
import pytest
import tensorflow as tf

from tfllm.serving.graph import windows
from tfllm.serving.signatures.question_answering import (
    _NEVER,
    _unique,
)


@pytest.mark.parametrize("count", [0, 1, 32, 33, 100])
def test_steps_give_what_all_rows_at_once_give(count: int) -> None:
    sizes: list[int | None] = []

    def call(rows: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        sizes.append(rows["x"].shape[1])
        most = tf.debugging.assert_less_equal(
            tf.shape(rows["x"])[0], windows.ROWS_PER_STEP
        )
        with tf.control_dependencies([most]):
            return {"sum": rows["x"] + rows["y"][:, None], "other": rows["y"]}

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, 3], tf.float32),
            tf.TensorSpec([None], tf.float32),
        ]
    )
    def run(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        found = windows.run_in_steps(
            call, {"x": x, "y": y}, {"sum": tf.float32}
        )["sum"]
        assert found.shape.as_list() == [None, 3]
        return found

    x = np.arange(3 * count, dtype=np.float32).reshape(count, 3)
    y = np.arange(count, dtype=np.float32)
    np.testing.assert_array_equal(run(x, y), x + y[:, None])


def test_of_equal_spans_the_first_is_kept() -> None:
    rng = np.random.default_rng(0)
    firsts = rng.integers(0, 4, (3, 50))
    lasts = firsts + rng.integers(0, 3, (3, 50))
    logits = -np.sort(-rng.normal(size=(3, 50))).astype(np.float32)
    found = _unique(
        tf.constant(logits), tf.constant(firsts), tf.constant(lasts)
    ).numpy()
    for row in range(3):
        seen: set[tuple[int, int]] = set()
        for column in range(50):
            span = (int(firsts[row, column]), int(lasts[row, column]))
            expected = _NEVER if span in seen else logits[row, column]
            assert found[row, column] == np.float32(expected)
            seen.add(span)
