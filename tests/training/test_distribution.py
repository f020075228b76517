"""Strategies by name, and what does not go with them."""

import pytest
import tensorflow as tf

from tfllm.training import distribution


class TwoReplicas:
    num_replicas_in_sync = 2


def test_one_device_and_mirrored() -> None:
    one = distribution.create_strategy("one_device")
    assert one.num_replicas_in_sync == 1
    mirrored = distribution.create_strategy("mirrored")
    assert isinstance(mirrored, tf.distribute.MirroredStrategy)
    auto = distribution.create_strategy("auto")
    assert auto.num_replicas_in_sync >= 1


def test_unknown_strategy() -> None:
    with pytest.raises(ValueError, match="Received: 'tpus'"):
        distribution.create_strategy("tpus")


def test_batches_divide_into_replicas_and_micro_batches() -> None:
    distribution.check(TwoReplicas(), 12, 3)
    with pytest.raises(ValueError, match=r"2 x 3. Received: 10"):
        distribution.check(TwoReplicas(), 10, 3)


def test_xla_and_replicas_do_not_go_together() -> None:
    with pytest.raises(ValueError, match=r"`jit_compile` .* 2 replicas"):
        distribution.check(TwoReplicas(), 8, 1, jit_compile=True)
