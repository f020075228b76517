"""Time limits of requests."""

import time

from tfllm.server.statuses import expired

# 24 days: the runtime takes milliseconds as an int32. gRPC reports centuries
# for calls without a deadline, which would also overflow locks.
_LONGEST_SECONDS = (2**31 - 1) / 1000


class Deadline:
    """Time at which a request expires.

    Args:
        seconds: From now; None, or more than 24 days, for no limit.
    """

    def __init__(self, seconds: float | None) -> None:
        self._end = None
        if seconds is not None and seconds <= _LONGEST_SECONDS:
            self._end = time.monotonic() + seconds

    def left(self) -> float | None:
        """Returns the seconds left; None without a limit.

        Raises:
            ServingError: Time is up.
        """
        if self._end is None:
            return None
        seconds = self._end - time.monotonic()
        if seconds <= 0:
            raise expired()
        return seconds

    def left_ms(self) -> int:
        """Returns the milliseconds left; 0 without a limit."""
        seconds = self.left()
        if seconds is None:
            return 0
        return max(int(seconds * 1000), 1)
