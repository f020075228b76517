"""Warm-up requests for each width of rows.

oneDNN builds a kernel when it first sees a shape. This takes a few
milliseconds: two or three times as long as a small model takes to answer. So
the warm-up requests hold a row of each width, unless the model is so large
that the difference does not matter.
"""

import math
from collections.abc import Sequence
from typing import Any

from tfllm.runtime.replay import Request
from tfllm.serving.graph.windows import WIDTH_STEP
from tfllm.serving.signatures.served_task import TOKEN_IDS, id_arrays
from tfllm.tasks import Task

# Multiplications and additions in about a tenth of a second.
_FEW_OPERATIONS = 1e10
# For longer rows attention alone takes longer than that.
_WIDEST = 512
# Any id except padding.
_ANY_ID = 1


def requests(
    task: Task,
    seq_length: int,
    has_segments: bool = True,
    first_id: int = _ANY_ID,
) -> list[Request]:
    """Returns a request for each width of rows that run quickly.

    Args:
        task: Task with its weights.
        seq_length: Longest row in tokens.
        has_segments: Whether rows have segment ids.
        first_id: First id of each row.
    """
    rows = [
        [first_id, *[_ANY_ID] * (width - 1)]
        for width in widths(seq_length, task.weights)
    ]
    return [(TOKEN_IDS, id_arrays([row], has_segments)) for row in rows]


def widths(seq_length: int, weights: Sequence[Any]) -> list[int]:
    """Returns the widths that rows are padded to, as far as they run quickly.

    Args:
        seq_length: Longest row in tokens.
        weights: Weights of the model.
    """
    # Tables are looked up, not multiplied.
    per_token = sum(
        2 * math.prod(weight.shape)
        for weight in weights
        if not weight.path.endswith("_table")
    )
    widest = min(_WIDEST, int(_FEW_OPERATIONS / per_token))
    padded = [*range(WIDTH_STEP, seq_length, WIDTH_STEP), seq_length]
    return [width for width in padded if width <= widest]
