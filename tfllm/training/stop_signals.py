"""Signals that ask a run to stop, and to save its state before."""

import signal
import threading
from types import TracebackType
from typing import Any

from tfllm.training.distribution import Workers


class Interrupted(Exception):
    """A stop was asked for in the middle of an evaluation."""


class StopSignals:
    """Takes over SIGTERM and SIGINT (Ctrl-C) for the length of a block.

    They then only ask for a stop; the second Ctrl-C ends the run at once. A
    signal to one of several workers ends all of them.

    Args:
        workers: Those that train together.

    Attributes:
        number: The signal that came, or None; SIGTERM if it came to another
            worker.
    """

    def __init__(self, workers: Workers) -> None:
        """See the class."""
        self.number: int | None = None
        self._workers = workers
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "StopSignals":
        """Takes over the signals."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._previous[number] = signal.signal(number, self._stop)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Gives the signals back."""
        while self._previous:
            signal.signal(*self._previous.popitem())

    def _stop(self, number: int, _: Any) -> None:
        """Notes that a stop was asked for."""
        if self.number == number == signal.SIGINT:
            raise KeyboardInterrupt
        self.number = number

    def asked(self) -> bool:
        """Returns whether to stop; all workers must call it."""
        # The others would wait for one that ended by itself.
        if not self._workers.sum(bool(self.number)):
            return False
        self.number = self.number or signal.SIGTERM
        return True

    def check(self) -> None:
        """Raises Interrupted if there is a stop; all workers must call it."""
        if self.asked():
            raise Interrupted
