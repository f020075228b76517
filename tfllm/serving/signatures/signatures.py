"""The signatures of each kind of task.

Each signature is `post(model(pre(text)))` in one graph: it takes strings and
returns named, dense outputs. The rest of the export knows only this table.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

from tfllm.data.labelled import named_settings
from tfllm.data.labelled.kinds import check_stride
from tfllm.serving import litert
from tfllm.serving.export_config import ExportSettings
from tfllm.serving.litert import LiteRTOutput
from tfllm.serving.signatures import sequence_labels
from tfllm.serving.signatures.choices import ChoiceServing
from tfllm.serving.signatures.fill_mask import FillMaskServing
from tfllm.serving.signatures.question_answering import (
    QuestionAnsweringServing,
)
from tfllm.serving.signatures.replaced_tokens import ReplacedTokenServing
from tfllm.serving.signatures.sequence_labels import (
    SequenceOutput,
    SequenceServing,
)
from tfllm.serving.signatures.served_task import ServedTask
from tfllm.serving.signatures.tagging import TaggingServing
from tfllm.serving.signatures.text_generation import (
    TextGenerationServing,
)
from tfllm.tasks import Task
from tfllm.tokenizers import Tokenizer


@dataclasses.dataclass(frozen=True)
class ServedKind:
    """How a kind of task is exported.

    Attributes:
        serve: (task, tokenizer, settings) -> signatures.
        reads_pairs: Whether a row may hold two texts.
        litert: Outputs of a LiteRT file; None if LiteRT is not supported.
    """

    serve: Callable[[Task, Tokenizer, ExportSettings], ServedTask]
    reads_pairs: bool = False
    litert: LiteRTOutput | None = None


def _sequences(
    output: SequenceOutput, litert: LiteRTOutput, reads_pairs: bool = True
) -> ServedKind:
    """Returns how a task with one output for a text is exported."""
    serve = functools.partial(SequenceServing, output=output)
    return ServedKind(serve, reads_pairs, litert)


# Kind of task, as in `tfllm.tasks.TASKS` -> how it is exported.
SERVED_KINDS: dict[str, ServedKind] = {
    "causal_lm": ServedKind(TextGenerationServing),
    "seq2seq_lm": ServedKind(TextGenerationServing),
    "masked_lm": ServedKind(FillMaskServing),
    "permutation_lm": ServedKind(FillMaskServing),
    "replaced_token_detection": ServedKind(ReplacedTokenServing),
    "classification": _sequences(sequence_labels.ONE_LABEL, litert.ONE_LABEL),
    "multi_label": _sequences(
        sequence_labels.SEVERAL_LABELS, litert.SEVERAL_LABELS
    ),
    "regression": _sequences(sequence_labels.NUMBER, litert.NUMBER),
    "embedding": _sequences(
        sequence_labels.VECTOR, litert.VECTOR, reads_pairs=False
    ),
    "tagging": ServedKind(TaggingServing, litert=litert.TAGS),
    "question_answering": ServedKind(QuestionAnsweringServing),
    "multiple_choice": ServedKind(ChoiceServing, reads_pairs=True),
}


def serve(
    task: Task,
    tokenizer: Tokenizer,
    settings: ExportSettings,
    run: Mapping[str, Any],
) -> ServedTask:
    """Returns the signatures of a task.

    Args:
        task: The task.
        tokenizer: Tokenizer of the task.
        settings: Settings of the signatures.
        run: Settings of the run that trained the task, used as defaults.

    Raises:
        ValueError: The kind of task cannot be exported, or the settings do not
            fit the task.
    """
    if task.kind not in SERVED_KINDS:
        raise ValueError(
            f"`model_dir` must hold a task of {sorted(SERVED_KINDS)} to be "
            f"exported. Received: {task.kind!r}"
        )
    settings = as_in_run(task, settings, run)
    return SERVED_KINDS[task.kind].serve(task, tokenizer, settings)


def litert_output(task: Task) -> LiteRTOutput:
    """Returns the outputs of a task's LiteRT file.

    Raises:
        ValueError: LiteRT does not support the kind of task.
    """
    kind = SERVED_KINDS.get(task.kind)
    if kind is None or kind.litert is None:
        kinds = sorted(name for name, k in SERVED_KINDS.items() if k.litert)
        raise ValueError(
            f"`model_dir` must hold a task of {kinds} to be exported for "
            f"LiteRT. Received: {task.kind!r}"
        )
    return kind.litert


def as_in_run(
    task: Task, settings: ExportSettings, run: Mapping[str, Any]
) -> ExportSettings:
    """Fills in settings from the run, so that exports answer as `predict`.

    Of language models it is the length of rows, if the model has no longest
    sequence.

    Raises:
        ValueError: The settings do not fit the task.
    """
    if not task.is_labelled:
        length = settings.seq_length
        if not length and task.config.max_length is None:
            length = run.get("seq_length") or length
        return dataclasses.replace(settings, seq_length=length)
    check_stride(task.kind, settings.stride)
    if task.with_predicates:
        raise ValueError(
            "`model_dir` must hold a task that reads texts alone to be "
            f"exported. Received: {task.kind} that was trained with "
            "predicates, which requests cannot name. Use tfllm.predict, or a "
            "pipeline."
        )
    names = ("seq_length", "stride", "question_length")
    set_values = {
        name: getattr(settings, name)
        for name in names
        if getattr(settings, name)
    }
    config = named_settings.task_config(task, {**run, **set_values})
    pairs = settings.pairs or bool(run.get("text_pair_column"))
    return dataclasses.replace(
        settings,
        seq_length=config.seq_length,
        stride=config.stride or 0,
        question_length=config.question_length,
        pairs=pairs and SERVED_KINDS[task.kind].reads_pairs,
    )
