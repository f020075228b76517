"""Opens files as batches, by the kind of data a task needs."""

from tfllm.data.causal.batches import CausalData
from tfllm.data.denoising.batches import DenoisingData
from tfllm.data.kinds import DataConfig, data_kind
from tfllm.data.labelled.batches import LabelledData
from tfllm.data.masked.batches import MaskedData
from tfllm.tokenizers import Tokenizer

Data = MaskedData | CausalData | DenoisingData | LabelledData


def open_data(
    task: str,
    files: str,
    tokenizer: Tokenizer,
    config: DataConfig,
    index_dir: str | None = None,
    flag: str = "train_files",
) -> Data:
    """Opens files as batches for a task.

    Args:
        task: Kind of the task, as in `tfllm.tasks.TASKS`.
        files: Globs, comma-separated, or prepared shards; for labelled data
            also `tfds:NAME/SPLIT`.
        tokenizer: The tokenizer of the run.
        config: How files become batches.
        index_dir: Folder that keeps token ids and counts between runs.
        flag: Name of the flag of `files`, for messages.

    Raises:
        ValueError: The files cannot be used.
    """
    return data_kind(task).open(files, tokenizer, config, index_dir, flag)
