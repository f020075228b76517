"""How deep in the stack a variable lies: for learning rates and freezing.

Depth 0 are the embeddings, depth i + 1 is block i, and one above the last
block is the rest: a final norm, a pooler, the heads.
"""

import re
from typing import Any


def transformer_of(task: Any) -> Any:
    """Returns the Transformer of a task."""
    return task.model.transformer


def depths(task: Any) -> dict[int, int]:
    """Returns id(variable) -> depth, for all variables below the top."""
    transformer = transformer_of(task)
    parts = [transformer.embeddings, *transformer.blocks]
    return {
        id(variable): depth
        for depth, part in enumerate(parts)
        for variable in part.variables
    }


def rate_factors(task: Any, decay: float) -> tuple[float, ...]:
    """Returns decay ** (top - depth), one per trainable variable.

    The heads learn with the full rate, the last block with `decay` times
    it, the embeddings with the smallest. A tied table counts as embeddings.

    Args:
        task: A Task.
        decay: In (0, 1].

    Reference: Howard and Ruder, 2018, section 3.2; Clark et al., 2020,
    appendix A.
    """
    found = depths(task)
    top = len(transformer_of(task).blocks) + 1
    return tuple(
        decay ** (top - found.get(id(variable), top))
        for variable in task.trainable_variables
    )


def freeze(task: Any, parts: str, before: frozenset[int]) -> frozenset[int]:
    """Makes parts of a task untrainable, others trainable again.

    Dropout stays active in them. What its user made untrainable stays so.

    Args:
        task: A Task.
        parts: Comma-separated: `embeddings`, numbers of blocks (`3`) or
            ranges of them (`0-5`, both ends included), or `transformer` for
            all but the heads.
        before: What the last call for the task returned.

    Returns:
        The ids of the variables that were trainable and are not any more.

    Raises:
        ValueError: The task has no such part; nothing is changed then.
    """
    layers = _layers(transformer_of(task), parts)
    for variable in task.variables:
        if id(variable) in before:
            variable.trainable = True
    found = [v for layer in layers for v in layer.trainable_variables]
    for variable in found:
        variable.trainable = False
    return frozenset(map(id, found))


def _layers(transformer: Any, parts: str) -> list[Any]:
    """Returns the layers that `freeze` names."""
    named = {"embeddings": transformer.embeddings, "transformer": transformer}
    found = []
    for part in filter(None, map(str.strip, parts.split(","))):
        if part in named:
            found.append(named[part])
            continue
        blocks = _range(part, len(transformer.blocks))
        found += [transformer.blocks[block] for block in blocks]
    return found


def _range(part: str, num_blocks: int) -> range:
    """Returns the numbers of the blocks that `3` or `0-5` names."""
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
