"""Finds the layer of each variable, for layer-wise rates and freezing.

Depth 0 is the embeddings, depth i + 1 is block i. The rest is one above the
last block: a final norm, a pooler, the heads.
"""

import re
from typing import Any

from tfllm.learning.learner import Layered, Learner


def embeddings_of(task: Layered) -> Any:
    """Returns the layer that embeds the tokens."""
    return task.model.parts_by_depth()[0][0]


def depths(task: Layered) -> dict[int, int]:
    """Returns id(variable) -> depth, for variables of embeddings and blocks."""
    return {
        id(variable): depth
        for depth, parts in enumerate(task.model.parts_by_depth())
        for part in parts
        for variable in part.variables
    }


def rate_factors(task: Layered, decay: float) -> tuple[float, ...]:
    """Returns the factor of the learning rate of each trainable variable.

    It is decay ** (top - depth): 1 for the heads, `decay` for the last block,
    least for the embeddings. A tied table belongs to the embeddings.

    Args:
        task: A Task.
        decay: Factor from one layer to the one below, in (0, 1].

    Reference: Howard and Ruder, 2018, section 3.2; Clark et al., 2020,
    appendix A.
    """
    depth_of = depths(task)
    top = len(task.model.parts_by_depth())
    return tuple(
        decay ** (top - depth_of.get(id(variable), top))
        for variable in task.trainable_variables
    )


def freeze(task: Learner, parts: str, before: frozenset[int]) -> frozenset[int]:
    """Freezes parts of a task, and unfreezes those of the last call.

    Frozen parts keep their dropout. Variables that the user made untrainable
    stay so.

    Args:
        task: A Task.
        parts: Parts, comma-separated: `embeddings`, numbers of blocks (`3`),
            ranges of blocks (`0-5`, both ends included), or `transformer` for
            all but the heads.
        before: What the last call for the task returned.

    Returns:
        Ids of the variables that this call froze.

    Raises:
        ValueError: The task has no such part; nothing is changed then.
    """
    layers = _layers(task.model, parts)
    for variable in task.variables:
        if id(variable) in before:
            variable.trainable = True
    frozen = [v for layer in layers for v in layer.trainable_variables]
    for variable in frozen:
        variable.trainable = False
    return frozenset(map(id, frozen))


def _layers(model: Any, parts: str) -> list[Any]:
    """Returns the layers that `freeze` names."""
    embeddings, *blocks = model.parts_by_depth()
    named = {"embeddings": embeddings, "transformer": [model.body]}
    layers = []
    for part in filter(None, map(str.strip, parts.split(","))):
        if part in named:
            layers += named[part]
        else:
            for block in _block_range(part, len(blocks)):
                layers += blocks[block]
    return layers


def _block_range(part: str, num_blocks: int) -> range:
    """Returns the numbers of the blocks in `3` or `0-5`."""
    match = re.fullmatch(r"(\d+)(?:-(\d+))?", part)
    if match:
        first, last = int(match[1]), int(match[2] or match[1])
        if first <= last < num_blocks:
            return range(first, last + 1)
    raise ValueError(
        "`freeze` must be 'embeddings', 'transformer', or blocks from 0 to "
        f"{num_blocks - 1} such as 0-{num_blocks - 1}, comma-separated. "
        f"Received: {part!r}"
    )
