"""Tasks: a model with its head, loss and metrics, ready for `fit`."""

import difflib
from typing import Any

from tfllm.models import TransformerConfig
from tfllm.tasks.causal_lm import CausalLM
from tfllm.tasks.classification import Classification
from tfllm.tasks.embedding import Embedding
from tfllm.tasks.masked_lm import MaskedLM
from tfllm.tasks.multiple_choice import MultipleChoice
from tfllm.tasks.question_answering import QuestionAnswering
from tfllm.tasks.tagging import Tagging
from tfllm.tasks.task import Task

TASKS: dict[str, type[Task]] = {
    "causal_lm": CausalLM,
    "classification": Classification,
    "embedding": Embedding,
    "masked_lm": MaskedLM,
    "multi_label": Classification,
    "multiple_choice": MultipleChoice,
    "question_answering": QuestionAnswering,
    "regression": Classification,
    "tagging": Tagging,
}

# Arguments that make a class the task of a name.
TASK_ARGUMENTS: dict[str, dict[str, Any]] = {
    "classification": {"problem": "single_label"},
    "multi_label": {"problem": "multi_label"},
    "regression": {"problem": "regression"},
}


def create(name: str, config: TransformerConfig, **settings: Any) -> Task:
    """Returns a task by its name.

    Args:
        name: One of TASKS.
        config: Of the model.
        **settings: Arguments of the task's class.

    Raises:
        ValueError: There is no such task; or see the class.
    """
    if name not in TASKS:
        near = difflib.get_close_matches(name, TASKS, n=1, cutoff=0.0)
        raise ValueError(
            f"`task` must be one of {sorted(TASKS)}. Received: {name!r}. "
            f"Did you mean {near[0]!r}?"
        )
    arguments = {**settings, **TASK_ARGUMENTS.get(name, {})}
    return TASKS[name](config, **arguments)  # type: ignore[call-arg]


__all__ = [
    "TASKS",
    "TASK_ARGUMENTS",
    "CausalLM",
    "Classification",
    "Embedding",
    "MaskedLM",
    "MultipleChoice",
    "QuestionAnswering",
    "Tagging",
    "Task",
    "create",
]
