"""The signals that stop a run."""

import signal

import pytest
import tensorflow as tf

from tfllm.training.distribution import Workers
from tfllm.training.stop_signals import Interrupted, StopSignals

ALONE = Workers(tf.distribute.get_strategy())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_only_asks(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with StopSignals(ALONE) as signals:
        assert not signals.asked()
        signals.check()
        signal.raise_signal(number)
        assert signals.asked()
        with pytest.raises(Interrupted):
            signals.check()
        assert signals.number == number
        # Whoever has no patience sends it again.
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(number) is before


def test_a_second_ctrl_c_does_not_wait() -> None:
    before = signal.getsignal(signal.SIGINT)
    with StopSignals(ALONE):
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before
