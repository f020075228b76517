"""Data of each kind of task: how it is opened, and its flags.

Importing this does not load TensorFlow, so that flags are checked quickly.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from tfllm.data.causal import config as causal_config
from tfllm.data.causal.config import CausalDataConfig
from tfllm.data.deferred import deferred
from tfllm.data.denoising import config as denoising_config
from tfllm.data.denoising.config import DenoisingDataConfig, DenoisingOptions
from tfllm.data.labelled import named_settings
from tfllm.data.labelled.config import LabelledDataConfig
from tfllm.data.labelled.kinds import LABELLED_KINDS
from tfllm.data.masked import config as masked_config
from tfllm.data.masked.config import MaskedDataConfig
from tfllm.data.permutation import config as permutation_config

DataConfig = (
    MaskedDataConfig
    | CausalDataConfig
    | DenoisingDataConfig
    | LabelledDataConfig
)


def _unchanged(config: Any, model: Any) -> Any:
    """Returns the config as it is."""
    return config


@dataclasses.dataclass(frozen=True)
class DataKind:
    """The data of a kind of task.

    Attributes:
        is_labelled: Whether the data are records, not running text.
        flags: Flags of the train verb for this kind of task, apart from those
            of all labelled tasks.
        config: Flags by name -> data config.
        evaluation: Data config -> data config for held-out files.
        open: (files, tokenizer, data config, index_dir, flag) -> data; see
            `open_data`.
        for_model: (data config, config of the model) -> data config with what
            the rows need of the model.
    """

    is_labelled: bool
    flags: tuple[str, ...]
    config: Callable[[Mapping[str, Any]], Any]
    evaluation: Callable[[Any], Any]
    open: Callable[..., Any]
    for_model: Callable[[Any, Any], Any] = _unchanged


LANGUAGE_KINDS: dict[str, DataKind] = {
    masked_config.TASK: DataKind(
        is_labelled=False,
        flags=(
            "pair_objective",
            "masking",
            "mask_rate",
            "max_predictions",
            "dupe_factor",
            "short_seq_prob",
        ),
        config=masked_config.data_config,
        evaluation=masked_config.evaluation_config,
        open=deferred("masked.batches", "open_masked_data"),
    ),
    masked_config.DETECTION_TASK: DataKind(
        is_labelled=False,
        flags=(
            "generator_size",
            "masking",
            "mask_rate",
            "max_predictions",
            "dupe_factor",
            "short_seq_prob",
        ),
        config=masked_config.detection_config,
        evaluation=masked_config.evaluation_config,
        open=deferred("masked.batches", "open_masked_data"),
    ),
    permutation_config.TASK: DataKind(
        is_labelled=False,
        flags=(
            "masking",
            "mask_rate",
            "max_predictions",
            "dupe_factor",
            "short_seq_prob",
        ),
        config=permutation_config.data_config,
        evaluation=masked_config.evaluation_config,
        open=deferred("permutation.batches", "open_permutation_data"),
    ),
    causal_config.TASK: DataKind(
        is_labelled=False,
        flags=("document_per", "isolate_documents", "eval_stride"),
        config=causal_config.data_config,
        evaluation=lambda config: config,
        open=deferred("causal.batches", "open_causal_data"),
    ),
    denoising_config.TASK: DataKind(
        is_labelled=False,
        flags=(
            "document_per",
            *(field.name for field in dataclasses.fields(DenoisingOptions)),
        ),
        config=denoising_config.data_config,
        evaluation=lambda config: config,
        open=deferred("denoising.batches", "open_denoising_data"),
        for_model=lambda config, model: dataclasses.replace(
            config, decoder_start_token_id=model.decoder_start_token_id
        ),
    ),
}


def data_kind(task: str) -> DataKind:
    """Returns the data of a kind of task.

    Args:
        task: Name of the kind, as in `tfllm.tasks.TASKS`.

    Raises:
        ValueError: The kind is unknown.
    """
    if task in LANGUAGE_KINDS:
        return LANGUAGE_KINDS[task]
    if task not in LABELLED_KINDS:
        raise ValueError(
            f"`task` must be one of {sorted(kinds_of_tasks())}. "
            f"Received: {task!r}"
        )
    return DataKind(
        is_labelled=True,
        flags=LABELLED_KINDS[task].flags,
        config=named_settings.data_config,
        evaluation=named_settings.evaluation_config,
        open=deferred("labelled.batches", "open_labelled_data"),
    )


def kinds_of_tasks() -> tuple[str, ...]:
    """Returns the names of all kinds of tasks."""
    return (*LANGUAGE_KINDS, *LABELLED_KINDS)
