"""The functions that a task offers to those who send it text.

Each is `post(model(pre(text)))` in one graph: strings in, named and dense
outputs out. This table is all that the rest of the export knows of tasks.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from tfllm.data.labelled import named_settings
from tfllm.serving.choices import ChoiceServing
from tfllm.serving.fill_mask import FillMaskServing
from tfllm.serving.question_answering import QuestionAnsweringServing
from tfllm.serving.sequence_labels import SequenceServing
from tfllm.serving.served_task import ExportSettings, ServedTask
from tfllm.serving.tagging import TaggingServing
from tfllm.serving.text_generation import TextGenerationServing

# Name of a task -> what serves it.
SERVED_TASKS: dict[str, Any] = {
    "causal_lm": TextGenerationServing,
    "classification": SequenceServing,
    "embedding": SequenceServing,
    "masked_lm": FillMaskServing,
    "multi_label": SequenceServing,
    "multiple_choice": ChoiceServing,
    "question_answering": QuestionAnsweringServing,
    "regression": SequenceServing,
    "tagging": TaggingServing,
}
# Those that read text as the run that trained them did.
LABELLED = set(SERVED_TASKS) - {"causal_lm", "masked_lm"}
# Those of one text or of two.
PAIRED = ("classification", "multi_label", "multiple_choice", "regression")


def serve(
    task: Any,
    tokenizer: Any,
    settings: ExportSettings,
    run: Mapping[str, Any],
) -> ServedTask:
    """Returns the functions of a task.

    Args:
        task: The task.
        tokenizer: Its tokenizer.
        settings: What the functions do.
        run: Settings of the run that trained it, for what is not set.

    Raises:
        ValueError: There is nothing to serve such a task with; or the
            settings do not fit it.
    """
    if task.kind not in SERVED_TASKS:
        raise ValueError(
            f"`model_dir` must hold a task of {sorted(SERVED_TASKS)} to be "
            f"exported. Received: {task.kind!r}"
        )
    settings = as_in_run(task, settings, run)
    return SERVED_TASKS[task.kind](task, tokenizer, settings)


def as_in_run(
    task: Any, settings: ExportSettings, run: Mapping[str, Any]
) -> ExportSettings:
    """Returns settings in which what was left out is as in training.

    So the export answers as `tfllm.predict` does. Language models, whose
    windows are their own, take settings as they are.

    Raises:
        ValueError: They do not fit the task.
    """
    if task.kind not in LABELLED:
        return settings
    if task.kind == "multiple_choice" and settings.stride:
        raise ValueError(
            "`stride` does not go with multiple_choice. Received: "
            f"{settings.stride}. Leave it out: texts that are too long are cut."
        )
    if getattr(task, "with_predicates", False):
        raise ValueError(
            "`model_dir` must hold a task that reads texts alone to be "
            f"exported. Received: {task.kind} that was trained with "
            "predicates, which requests cannot name. Use tfllm.predict, or a "
            "pipeline."
        )
    names = ("seq_length", "stride", "question_length")
    asked = {name: getattr(settings, name) for name in names}
    asked = {name: value for name, value in asked.items() if value}
    config = named_settings.task_config(task, {**run, **asked})
    pairs = settings.pairs or bool(run.get("text_pair_column"))
    return dataclasses.replace(
        settings,
        seq_length=config.seq_length,
        stride=config.stride or 0,
        question_length=config.question_length,
        pairs=pairs and task.kind in PAIRED,
    )
