"""TF1 checkpoints of google-research/bert."""

from __future__ import annotations

import functools
import pathlib

from tfllm import file_access
from tfllm.interop import tf1_bert
from tfllm.interop.sources.contract import Checkpoint, Options, Source
from tfllm.models import FAMILIES

_FAMILY = FAMILIES["bert"]


def recognizes(path: str) -> bool:
    """Returns whether a path has a checkpoint with TF1 names of BERT."""
    import tensorflow as tf

    try:
        reader = tf.train.load_checkpoint(tf1_bert.prefix_of(path))
    except (ValueError, RuntimeError, tf.errors.OpError):
        return False
    names = reader.get_variable_to_shape_map()
    # ALBERT has the same embeddings, but other blocks.
    return "bert/encoder/layer_0/attention/self/query/kernel" in names


def read(path: str, options: Options) -> Checkpoint:
    """Opens a TF1 checkpoint with its bert_config.json and vocab.txt.

    Raises:
        ValueError: The checkpoint or its config is missing or damaged.
    """
    prefix = tf1_bert.prefix_of(path)
    parent = prefix.rpartition("/")[0] or "."
    config = tf1_bert.read_config(parent)
    tensors = tf1_bert.Tf1Checkpoint(prefix, config)
    names = tensors.shapes()
    architecture = "encoder"
    if "cls.predictions.bias" in names:
        has_nsp = "cls.seq_relationship.weight" in names
        architecture = "pretraining" if has_nsp else "masked_lm"
    values = {
        **_FAMILY.to_published(config),
        "architectures": [_FAMILY.architectures[architecture]],
    }
    has_vocabulary = file_access.exists(
        file_access.join(parent, tf1_bert.VOCAB_FILE)
    )
    return Checkpoint(
        values,
        tensors,
        write_tokenizer=functools.partial(
            write_tokenizer, parent, options.lower_case
        )
        if has_vocabulary
        else None,
    )


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
