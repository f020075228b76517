"""Refuses or skips records that cannot be used."""

import collections
import logging

logger = logging.getLogger(__name__)

ON_BAD_RECORD = ("fail", "skip")


class BadRecord(ValueError):
    """A record that cannot be used; the message says why.

    Attributes:
        word: Number of the wrong word, or None.
    """

    word: int | None = None


class UnclearRecord(BadRecord):
    """A record that other flags must make clear; it is never skipped."""


class BadRecords:
    """Raises at a bad record, or skips and counts it.

    Args:
        on_bad_record: "fail" or "skip".

    Attributes:
        counts: Skipped records by file.
    """

    def __init__(self, on_bad_record: str = "fail") -> None:
        if on_bad_record not in ON_BAD_RECORD:
            raise ValueError(
                "`on_bad_record` must be one of "
                f"{', '.join(ON_BAD_RECORD)}. Received: {on_bad_record!r}."
            )
        self.on_bad_record = on_bad_record
        self.counts: collections.Counter[str] = collections.Counter()

    def add(self, where: str, path: str, reason: object) -> None:
        """Counts a bad record, or raises ValueError.

        Args:
            where: Place of the record, such as "file.csv, line 12".
            path: The file.
            reason: What is wrong with the record.

        Raises:
            ValueError: Bad records may not be skipped, or this one needs
                other flags.
        """
        if isinstance(reason, UnclearRecord):
            raise ValueError(f"{where}: {reason}") from reason
        if self.on_bad_record == "fail":
            raise ValueError(
                f"A record is bad. Received: {where}: {reason}. Repair it, or "
                "skip such records with --on_bad_record=skip."
            )
        if not self.counts[path]:
            logger.warning(
                "Skipping bad records, the first at %s: %s.", where, reason
            )
        self.counts[path] += 1
