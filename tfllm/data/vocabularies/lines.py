"""Reads the text to train a vocabulary on."""

import os
from collections.abc import Iterator

import tqdm

from tfllm.data.corpus import sources


class Lines:
    """The lines of text files, readable more than once.

    Args:
        paths: Text files, plain or gzip, local or remote.
        keep_ends: Whether lines end with a line feed.
    """

    def __init__(self, paths: list[str], keep_ends: bool = False) -> None:
        self.paths = paths
        self.end = "\n" if keep_ends else ""

    def __iter__(self) -> Iterator[str]:
        """Yields the lines, with a progress bar per file."""
        for path in self.paths:
            name = os.path.basename(path)
            lines = sources.read_lines(path)
            for line in tqdm.tqdm(lines, f"Reading {name}", unit=" lines"):
                yield line.decode("utf-8", errors="replace") + self.end
