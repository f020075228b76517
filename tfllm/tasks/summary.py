"""Table of the parts of a model and their numbers of parameters."""

import numpy as np

from tfllm.tasks.contract import TaskContract


def summary_table(task: TaskContract) -> str:
    """Returns the table of a task's model.

    Args:
        task: The task.

    Returns:
        A title, a line for each part and block, and a line for all.
    """
    # Part -> number of parameters, number of trainable ones.
    counts: dict[str, list[int]] = {}
    trainable = {id(variable) for variable in task.trainable_variables}
    for variable in task.model.variables:
        # model/transformer/block_0/attention/... -> block_0
        path = variable.path.split("/")[1:]
        part = path[1] if path[0] == "transformer" else path[0]
        size = int(np.prod(variable.shape))
        count = counts.setdefault(part, [0, 0])
        count[0] += size
        count[1] += size * (id(variable) in trainable)
    counts["all"] = [
        sum(column) for column in zip(*counts.values(), strict=True)
    ]
    lines = [("part", "parameters", "trainable")]
    lines += [(part, f"{n:,}", f"{t:,}") for part, (n, t) in counts.items()]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    config = task.config
    title = (
        f"{type(task).__name__} ({task.kind}): {config.num_layers} layers of "
        f"{config.hidden_size}, {config.vocab_size:,} tokens"
    )
    table = [
        f"  {part:<{widths[0]}}  {n:>{widths[1]}}  {t:>{widths[2]}}"
        for part, n, t in lines
    ]
    return "\n".join([title, *table])
