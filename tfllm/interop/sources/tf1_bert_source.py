"""TF1 checkpoints of google-research/bert."""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Callable, Collection
from typing import Any

from tfllm import file_access
from tfllm.interop import tf1_bert, tf1_checkpoint
from tfllm.interop.sources.contract import Checkpoint, Options, Source
from tfllm.interop.sources.torch_source import SECOND_OPINION
from tfllm.models import FAMILIES, TransformerConfig

_FAMILY = FAMILIES["bert"]


def recognizes(path: str) -> bool:
    """Returns whether a path has a checkpoint with TF1 names of BERT."""
    # ALBERT has the same embeddings, but other blocks.
    block = "bert/encoder/layer_0/attention/self/query/kernel"
    return block in tf1_checkpoint.variables_of(path)


def read(path: str, options: Options) -> Checkpoint:
    """Opens a TF1 checkpoint with its bert_config.json and vocab.txt.

    Raises:
        ValueError: The checkpoint or its config is missing or damaged.
    """
    prefix = tf1_checkpoint.prefix_of(path)
    parent = tf1_checkpoint.folder_of(prefix)
    config = tf1_bert.read_config(parent)
    tensors = tf1_bert.open_tensors(prefix, config)
    return Checkpoint(
        published_config(config, tensors.shapes()),
        tensors,
        write_tokenizer=tokenizer_writer(parent, options.lower_case),
        reference=SECOND_OPINION,
    )


def published_config(
    config: TransformerConfig, names: Collection[str]
) -> dict[str, Any]:
    """Returns the config.json of a BERT with tensors of these names."""
    head = tf1_checkpoint.head_of(names)
    return {
        **_FAMILY.to_published(config),
        "architectures": [_FAMILY.architectures[head]],
    }


def tokenizer_writer(
    folder: str, lower_case: bool | None
) -> Callable[[pathlib.Path], None] | None:
    """Returns what writes the tokenizer of a vocab.txt; None without one.

    Args:
        folder: Local or remote folder of the checkpoint.
        lower_case: Whether it lower-cases; None: as the vocabulary suggests.
    """
    vocabulary = file_access.join(folder, tf1_bert.VOCAB_FILE)
    if not file_access.exists(vocabulary):
        return None
    return functools.partial(write_tokenizer, folder, lower_case)


def write_tokenizer(
    source: str, lower_case: bool | None, target: pathlib.Path
) -> None:
    """Writes the tokenizer of a vocab.txt.

    Args:
        source: Local or remote folder with vocab.txt.
        lower_case: Whether it lower-cases; None: as the vocabulary suggests.
        target: Existing local folder.
    """
    from tfllm.tokenizers import load_tokenizer

    tokenizer = load_tokenizer(source, lowercase=lower_case)
    tokenizer.save(str(target), _FAMILY.tokenizer)


SOURCE = Source(
    "a TF1 checkpoint of google-research/bert, with bert_config.json and "
    "vocab.txt",
    recognizes,
    read,
)
