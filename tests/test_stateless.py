"""Random numbers that are functions of their keys."""

import numpy as np
import tensorflow as tf

from tfllm import stateless

IDS = np.array([0, 1, 7, 2**40], np.int64)


def test_keys_in_numpy_are_those_in_the_graph() -> None:
    keys = stateless.array_keys(3, 2, IDS)
    assert keys.tolist() == [stateless.key(3, 2, int(i)) for i in IDS]
    graph = stateless.row_keys(3, 2, tf.constant(IDS)).numpy()
    np.testing.assert_array_equal(keys, graph)


def test_draws_in_numpy_are_those_in_the_graph() -> None:
    keys = stateless.array_keys(3, 2, IDS)
    drawn = stateless.draw_array(keys, 5, 40)
    graph = stateless.draw(tf.constant(keys), 5, 40).numpy()
    np.testing.assert_array_equal(drawn, graph)
    # All keys, streams and places differ.
    other = stateless.draw_array(keys, 6, 40)
    assert len({*drawn.ravel().tolist(), *other.ravel().tolist()}) == 320
