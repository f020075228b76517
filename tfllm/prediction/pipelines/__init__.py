"""Model folders as functions: text in, results out.

    classify = tfllm.pipeline("text-classification", model="runs/sms")
    classify("You have won!")  # [{"label": "spam", "score": 0.99}]

Names, arguments and results follow the pipelines of Transformers.
"""

import difflib
import os
from typing import Any

from tfllm import file_access, run_record
from tfllm.interop import model_folder
from tfllm.prediction.pipelines.base import Pipeline
from tfllm.prediction.pipelines.language import (
    FillMaskPipeline,
    Text2TextGenerationPipeline,
    TextGenerationPipeline,
)
from tfllm.prediction.pipelines.questions import QuestionAnswering
from tfllm.prediction.pipelines.texts import (
    SentenceEmbedding,
    TextClassification,
)
from tfllm.prediction.pipelines.tokens import TokenClassification
from tfllm.prediction.pipelines.vectors import FeatureExtraction
from tfllm.run_record import RUN_FILE
from tfllm.tasks import TASKS, Task
from tfllm.tokenizers import Tokenizer, load_tokenizer

PIPELINES: dict[str, type[Pipeline]] = {
    kind.name: kind
    for kind in (
        TextClassification,
        TokenClassification,
        QuestionAnswering,
        FillMaskPipeline,
        TextGenerationPipeline,
        Text2TextGenerationPipeline,
        FeatureExtraction,
        SentenceEmbedding,
    )
}
# Other names of the same pipelines in Transformers.
ALIASES = {
    "ner": "token-classification",
    "sentiment-analysis": "text-classification",
}


def pipeline(
    task: str | None = None,
    model: str | os.PathLike[str] | Task | None = None,
    tokenizer: str | os.PathLike[str] | Tokenizer | None = None,
    revision: str | None = None,
    dtype: str | None = None,
    **options: Any,
) -> Pipeline:
    """Loads a model as a function from text to results.

    Args:
        task: One of PIPELINES or ALIASES; None: the pipeline of the task in
            the model folder.
        model: Model folder or hub id, or a task with its tokenizer.
        tokenizer: Tokenizer, or its folder, to use instead of that of the
            model.
        revision: Branch, tag or commit of a hub id.
        dtype: Dtype policy, such as "mixed_bfloat16"; None: float32.
        **options: `batch_size`, inputs at a time, and defaults for the
            options of a call.

    Raises:
        ValueError: The pipeline is unknown, does not fit the model, or does
            not take the options.
    """
    if task is not None:
        task = _name_of(task, model)
    if model is None:
        raise ValueError(
            "`model` must be a model folder, a hub id or a task. Received: "
            "none. There is no default model."
        )
    if isinstance(model, Task):
        if revision is not None or dtype is not None:
            raise ValueError(
                "`revision` and `dtype` go with a folder as `model`. "
                f"Received: {revision or dtype!r} with a task. Leave it out."
            )
        kind = _pipeline_of(task, model, "the task")
        chosen = _opened_tokenizer(tokenizer) or model.tokenizer
        return kind(model, _checked_tokenizer(chosen, model), **options)
    policy: dict[str, Any] = {}
    if dtype not in (None, "auto"):
        policy["dtype"] = dtype
    read_as = PIPELINES[task].read_as if task else None
    chosen = _opened_tokenizer(tokenizer)
    with model_folder.local_folder(model, revision) as folder:
        loaded = model_folder.load(
            folder, kind=read_as, tokenizer=chosen, **policy
        )
        kind = _pipeline_of(task, loaded, os.fspath(model))
        settings = (
            run_record.read_if_whole(file_access.join(str(folder), RUN_FILE))
            or {}
        )
    tokenizer = _checked_tokenizer(loaded.tokenizer, loaded)
    return kind(loaded, tokenizer, settings, **options)


def _name_of(task: str, model: str | os.PathLike[str] | Task | None) -> str:
    """Returns the name of a pipeline, with aliases resolved.

    Raises:
        ValueError: The pipeline is unknown; the message has the nearest name.
    """
    name = ALIASES.get(task, task)
    if name in PIPELINES:
        return name
    names = [*PIPELINES, *ALIASES]
    kinds = {kind: task.pipeline for kind, task in TASKS.items()}
    near = (
        kinds.get(task)
        or difflib.get_close_matches(str(task), names, n=1, cutoff=0.0)[0]
    )
    hint = f"Did you mean {near!r}?"
    if model is None and os.path.isdir(str(task)):
        hint = f"Give the folder as `model`: pipeline(model={task!r})."
    raise ValueError(
        f"`task` must be one of {names}. Received: {task!r}. {hint}"
    )


def _pipeline_of(name: str | None, task: Task, where: str) -> type[Pipeline]:
    """Returns the pipeline of a name, or the one for a task.

    Raises:
        ValueError: The pipeline does not fit the task, or the task has none.
    """
    usual = task.pipeline
    name = name or usual
    if name is None:
        raise ValueError(
            f"`task` must be named for a model of {task.kind!r}. Received: "
            f"none for {where}. Its pipeline is 'feature-extraction'; "
            "`python -m tfllm.predict` takes all kinds."
        )
    chosen = PIPELINES[name]
    if chosen.name not in (usual, FeatureExtraction.name):
        kinds = [k for k, t in TASKS.items() if t.pipeline == chosen.name]
        usual_names = [usual] if usual else []
        raise ValueError(
            f"`model` must be of a task among {kinds}. "
            f"Received: {where}, of {task.kind!r}. Its pipelines are "
            f"{[*usual_names, FeatureExtraction.name]}."
        )
    return chosen


def _opened_tokenizer(
    tokenizer: str | os.PathLike[str] | Tokenizer | None,
) -> Tokenizer | None:
    """Returns a tokenizer, loaded if it is a folder."""
    if not isinstance(tokenizer, str | os.PathLike):
        return tokenizer
    with model_folder.local_folder(tokenizer) as folder:
        return load_tokenizer(str(folder))


def _checked_tokenizer(tokenizer: Tokenizer | None, task: Task) -> Tokenizer:
    """Returns a tokenizer; raises ValueError if it is None or does not fit."""
    if tokenizer is None:
        raise ValueError(
            "`tokenizer` is needed for a model without one. Received: none. "
            "Give it, or a model folder that has one."
        )
    model_folder.check_vocabulary(tokenizer, task.config)
    return tokenizer
