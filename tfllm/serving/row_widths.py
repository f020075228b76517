"""The widths of rows that a server has seen before it answers.

oneDNN makes its kernels when a shape comes for the first time. That takes some
milliseconds, which is two or three times what a small model takes to answer.
So the warm-up requests show a row of each width, unless the model is so large
that it would not be noticed.
"""

import math
from collections.abc import Sequence
from typing import Any

from tfllm.serving.replay import Request
from tfllm.serving.served_task import TOKEN_IDS, id_arrays
from tfllm.serving.windows import WIDTH_STEP

# Multiplications and additions of about a tenth of a second.
_FEW_OPERATIONS = 1e10
# Of longer rows, attention alone takes longer than that.
_WIDEST = 512
# Any id but that of padding.
_ANY_ID = 1


def requests(
    task: Any,
    seq_length: int,
    has_segments: bool = True,
    first_id: int = _ANY_ID,
) -> list[Request]:
    """Returns a request of each width that should be warm.

    Args:
        task: With its weights.
        seq_length: Longest row.
        has_segments: Whether rows have segment ids.
        first_id: The first of a row, where it matters.
    """
    rows = [
        [first_id, *[_ANY_ID] * (width - 1)]
        for width in widths(seq_length, task.weights)
    ]
    return [(TOKEN_IDS, id_arrays([row], has_segments)) for row in rows]


def widths(seq_length: int, weights: Sequence[Any]) -> list[int]:
    """Returns widths to which rows are padded, and that run quickly.

    Args:
        seq_length: The longest.
        weights: Of the model.
    """
    # Rows of tables are looked up, not multiplied.
    per_token = sum(
        2 * math.prod(weight.shape)
        for weight in weights
        if not weight.path.endswith("_table")
    )
    widest = min(_WIDEST, int(_FEW_OPERATIONS / per_token))
    found = [*range(WIDTH_STEP, seq_length, WIDTH_STEP), seq_length]
    return [width for width in found if width <= widest]
