"""The functions that a task offers to those who send it text.

Each is `post(model(pre(text)))` in one graph: strings in, named and dense
outputs out. This table is all that the rest of the export knows of tasks.
"""

from typing import Any

from tfllm.serving.fill_mask import FillMaskServing
from tfllm.serving.served_task import ExportSettings, ServedTask
from tfllm.serving.text_generation import TextGenerationServing

# Name of a task -> what serves it.
SERVED_TASKS: dict[str, Any] = {
    "causal_lm": TextGenerationServing,
    "masked_lm": FillMaskServing,
}


def serve(
    name: str, task: Any, tokenizer: Any, settings: ExportSettings
) -> ServedTask:
    """Returns the functions of a task.

    Args:
        name: Name of the task.
        task: The task.
        tokenizer: Its tokenizer.
        settings: What the functions do.

    Raises:
        ValueError: There is nothing to serve such a task with; or the
            settings do not fit it.
    """
    if name not in SERVED_TASKS:
        raise ValueError(
            f"`model_dir` must hold a task of {sorted(SERVED_TASKS)} to be "
            f"exported. Received: {name!r}"
        )
    return SERVED_TASKS[name](task, tokenizer, settings)
