"""Signals that stop a run after it has saved its state."""

import signal
import threading
from types import TracebackType
from typing import Any

from tfllm.training.distribution import Workers


class Interrupted(Exception):
    """A signal stopped an evaluation."""


class StopSignals:
    """Handles SIGTERM and SIGINT (Ctrl-C) within a block.

    A signal only requests a stop; a second Ctrl-C ends the run at once. A
    signal to one of several workers stops all of them.

    Args:
        workers: Workers that train together.

    Attributes:
        number: Number of the signal, or None; SIGTERM if another worker
            received it.
    """

    def __init__(self, workers: Workers) -> None:
        self.number: int | None = None
        self._workers = workers
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "StopSignals":
        """Installs the handlers."""
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
        """Restores the handlers before."""
        while self._previous:
            signal.signal(*self._previous.popitem())

    def _stop(self, number: int, _: Any) -> None:
        """Notes that a signal asked the run to stop."""
        if self.number == number == signal.SIGINT:
            raise KeyboardInterrupt
        self.number = number

    def asked(self) -> bool:
        """Returns whether to stop; all workers must call it."""
        # The other workers would wait for one that stopped alone.
        if not self._workers.sum(bool(self.number)):
            return False
        self.number = self.number or signal.SIGTERM
        return True

    def check(self) -> None:
        """Raises Interrupted if asked to stop; all workers must call it."""
        if self.asked():
            raise Interrupted
