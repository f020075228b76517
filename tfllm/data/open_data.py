"""Files to batches, by the kind of data a task needs."""

from typing import Any

from tfllm.data.causal import CausalData, CausalDataConfig, open_causal_data
from tfllm.data.pipeline import DataConfig, TrainingData, open_training_data

Data = TrainingData | CausalData


def open_data(
    files: str,
    tokenizer: Any,
    config: DataConfig | CausalDataConfig,
    index_dir: str | None = None,
    flag: str = "train_files",
) -> Data:
    """Opens the files of a run.

    Args:
        files: Globs, comma-separated, or prepared shards.
        tokenizer: The tokenizer of the run.
        config: How they become batches; its type says for which task.
        index_dir: Where what was found is kept between runs.
        flag: Name of the flag of `files`, for messages.

    Raises:
        ValueError: The files cannot be used.
    """
    if isinstance(config, CausalDataConfig):
        return open_causal_data(files, tokenizer, config, index_dir, flag)
    return open_training_data(files, tokenizer, config, index_dir, flag)
