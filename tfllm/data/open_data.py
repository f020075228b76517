"""Files to batches, by the kind of data a task needs."""

from typing import Any

from tfllm.data.labelled.batches import LabelledData, open_labelled_data
from tfllm.data.labelled.config import LabelledDataConfig
from tfllm.data.pretraining.causal import (
    CausalData,
    CausalDataConfig,
    open_causal_data,
)
from tfllm.data.pretraining.pipeline import (
    DataConfig,
    TrainingData,
    open_training_data,
)

Data = TrainingData | CausalData | LabelledData


def open_data(
    files: str,
    tokenizer: Any,
    config: DataConfig | CausalDataConfig | LabelledDataConfig,
    index_dir: str | None = None,
    flag: str = "train_files",
) -> Data:
    """Opens the files of a run.

    Args:
        files: Globs, comma-separated, or prepared shards; for labelled data
            also `tfds:NAME/SPLIT`.
        tokenizer: The tokenizer of the run.
        config: How they become batches; its type says for which task.
        index_dir: Where what was found is kept between runs.
        flag: Name of the flag of `files`, for messages.

    Raises:
        ValueError: The files cannot be used.
    """
    if isinstance(config, CausalDataConfig):
        return open_causal_data(files, tokenizer, config, index_dir, flag)
    if isinstance(config, LabelledDataConfig):
        return open_labelled_data(files, tokenizer, config, flag)
    return open_training_data(files, tokenizer, config, index_dir, flag)
