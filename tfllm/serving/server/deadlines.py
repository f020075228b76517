"""Until when a request is worth answering."""

import time

from tfllm.serving.server.statuses import ServingError

# 24 days, as the runtime takes an int32 of milliseconds. gRPC gives centuries
# to calls without a deadline, which locks do not take either.
_LONGEST_SECONDS = (2**31 - 1) / 1000


class Deadline:
    """A moment after which the client has gone.

    Args:
        seconds: From now on; None, or weeks, for never.
    """

    def __init__(self, seconds: float | None) -> None:
        """See the class."""
        self._end = None
        if seconds is not None and seconds <= _LONGEST_SECONDS:
            self._end = time.monotonic() + seconds

    def left(self) -> float | None:
        """Returns the seconds that are left, None without an end.

        Raises:
            ServingError: None are.
        """
        if self._end is None:
            return None
        seconds = self._end - time.monotonic()
        if seconds <= 0:
            raise expired()
        return seconds

    def left_ms(self) -> int:
        """Returns the milliseconds that are left, 0 without an end."""
        seconds = self.left()
        if seconds is None:
            return 0
        return max(int(seconds * 1000), 1)


def expired() -> ServingError:
    """Returns what a late request fails with."""
    return ServingError("DEADLINE_EXCEEDED", "Deadline Exceeded")
