"""Pads prompts of any length to a few static shapes."""

from collections.abc import Sequence

import numpy as np

# A compiled loop is traced once per bucket, each at most half longer than the
# one before.
BUCKETS = tuple(
    size for power in range(4, 17) for size in (2**power, 3 * 2 ** (power - 1))
)


def bucket(length: int) -> int:
    """Returns the smallest bucket of at least a length."""
    return next((size for size in BUCKETS if size >= length), length)


def pad_prompts(
    prompts: Sequence[Sequence[int]], pad_id: int
) -> tuple[np.ndarray, np.ndarray]:
    """Pads prompts on the left, up to a bucket.

    Args:
        prompts: Ids of each prompt; lengths may differ.
        pad_id: Id of the padding.

    Returns:
        Ids int32 [B, P], and bool [B, P], false for padding.
    """
    width = bucket(max(len(prompt) for prompt in prompts))
    tokens = np.full((len(prompts), width), pad_id, np.int32)
    for row, prompt in zip(tokens, prompts, strict=True):
        row[width - len(prompt) :] = prompt
    lengths = np.array([len(prompt) for prompt in prompts])
    return tokens, np.arange(width) >= width - lengths[:, np.newaxis]
