"""Tasks: models with their heads, losses and metrics, ready for `fit`."""

import difflib
from typing import Any

from tfllm.models import FAMILIES, TransformerConfig
from tfllm.tasks.causal_lm import CausalLM
from tfllm.tasks.classification import Classification
from tfllm.tasks.embedding import Embedding
from tfllm.tasks.masked_lm import MaskedLM
from tfllm.tasks.multiple_choice import MultipleChoice
from tfllm.tasks.permutation_lm import PermutationLM
from tfllm.tasks.question_answering import QuestionAnswering
from tfllm.tasks.replaced_token_detection import ReplacedTokenDetection
from tfllm.tasks.seq2seq_lm import Seq2SeqLM
from tfllm.tasks.tagging import Tagging
from tfllm.tasks.task import Task

TASKS: dict[str, type[Task]] = {
    "causal_lm": CausalLM,
    "classification": Classification,
    "embedding": Embedding,
    "masked_lm": MaskedLM,
    "multi_label": Classification,
    "multiple_choice": MultipleChoice,
    "permutation_lm": PermutationLM,
    "question_answering": QuestionAnswering,
    "regression": Classification,
    "replaced_token_detection": ReplacedTokenDetection,
    "seq2seq_lm": Seq2SeqLM,
    "tagging": Tagging,
}


def create(name: str, config: TransformerConfig, **settings: Any) -> Task:
    """Creates a task by its name.

    Args:
        name: Name of the task, one of TASKS.
        config: Config of the model.
        **settings: Arguments of the task's class.

    Raises:
        ValueError: The name is unknown, the family has no head for the task,
            or the class refuses an argument.
    """
    if name not in TASKS:
        near = difflib.get_close_matches(name, TASKS, n=1, cutoff=0.0)
        raise ValueError(
            f"`task` must be one of {sorted(TASKS)}. Received: {name!r}. "
            f"Did you mean {near[0]!r}?"
        )
    arguments = {**settings, **TASKS[name].arguments_of(name)}
    task = TASKS[name](config, **arguments)  # type: ignore[call-arg]
    family = FAMILIES.get(config.family)
    if family and task.model.architecture not in family.architectures:
        raise ValueError(
            f"`task` must be one that the family {family.title} has a head "
            f"for, {sorted(family.architectures)}. Received: {name!r}"
        )
    return task


__all__ = [
    "TASKS",
    "CausalLM",
    "Classification",
    "Embedding",
    "MaskedLM",
    "MultipleChoice",
    "PermutationLM",
    "QuestionAnswering",
    "ReplacedTokenDetection",
    "Seq2SeqLM",
    "Tagging",
    "Task",
    "create",
]
