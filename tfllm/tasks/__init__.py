"""Tasks: a model with its head, loss and metrics, ready for `fit`."""

from tfllm.tasks.causal_lm import CausalLM
from tfllm.tasks.masked_lm import MaskedLM
from tfllm.tasks.task import Task

TASKS: dict[str, type[Task]] = {"causal_lm": CausalLM, "masked_lm": MaskedLM}

__all__ = ["TASKS", "CausalLM", "MaskedLM", "Task"]
