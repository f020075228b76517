"""Reads and writes TF1 BERT checkpoints in the layout of google-research.

    bert_config.json   bert_model.ckpt.{index,data-*}   vocab.txt

Paths are those of `tfllm.interop.tf1_checkpoint`.

Reference: https://github.com/google-research/bert, modeling.py and
run_pretraining.py.
"""

import json
import re
from typing import Any

import keras
import tensorflow as tf

from tfllm import file_access
from tfllm.interop import model_folder, tf1_checkpoint, weights
from tfllm.interop.tf1_checkpoint import Tf1Checkpoint
from tfllm.interop.weights import LoadReport
from tfllm.models import FAMILIES, TransformerConfig

CONFIG_FILE = "bert_config.json"
CHECKPOINT = "bert_model.ckpt"  # name of checkpoints written here
VOCAB_FILE = "vocab.txt"
_VOCABULARIES = (VOCAB_FILE, "tokenizer.json")

# bert_config.json has one name for both forms of GELU; this key tells them
# apart.
_GELU_KEY = "tfllm_gelu"
_FAMILY = FAMILIES["bert"]

# Regular expressions from published names to TF1 names, applied in order.
_RENAMES = (
    (r"\.layer\.(\d+)\.", r".layer_\1."),
    (r"LayerNorm\.weight$", "LayerNorm.gamma"),
    (r"LayerNorm\.bias$", "LayerNorm.beta"),
    (r"_embeddings\.weight$", "_embeddings"),
    (r"^cls\.predictions\.bias$", "cls.predictions.output_bias"),
    (r"^cls\.seq_relationship\.weight$", "cls.seq_relationship.output_weights"),
    (r"^cls\.seq_relationship\.bias$", "cls.seq_relationship.output_bias"),
    (r"\.weight$", ".kernel"),
    (r"\.", "/"),
)


def tf1_name(published: str) -> str:
    """Returns the TF1 name of a published tensor."""
    for pattern, replacement in _RENAMES:
        published = re.sub(pattern, replacement, published)
    return published


def open_tensors(prefix: str, config: TransformerConfig) -> Tf1Checkpoint:
    """Opens the tensors of a checkpoint under their published names.

    Args:
        prefix: Path up to `.index`.
        config: Config of the model, which lists the tensors.

    Raises:
        ValueError: The checkpoint is missing or damaged.
    """
    published = [weight.published for weight in _FAMILY.weights(config)]
    return Tf1Checkpoint(prefix, {tf1_name(name): name for name in published})


def read_config(folder: str) -> TransformerConfig:
    """Reads bert_config.json.

    NOTE: "gelu" means the tanh form, as google-research/bert computes it
    since February 2019, unless tfllm wrote the file with another form.

    Args:
        folder: Local or remote folder. Without a bert_config.json its only
            other JSON file is read.

    Raises:
        ValueError: The file is missing or damaged.
    """
    values = tf1_checkpoint.read_values(folder, CONFIG_FILE)
    if values.get("hidden_act", "gelu") == "gelu":
        values["hidden_act"] = values.get(_GELU_KEY, "gelu_new")
    return _FAMILY.from_published(values)


def load_weights(
    model: keras.Layer, path: str, partial: bool = False
) -> LoadReport:
    """Loads the weights of a TF1 checkpoint into a BERT.

    Args:
        model: A task, a model with heads, or a bare Transformer.
        path: Folder with one checkpoint, or the prefix of one.
        partial: As in `model_folder.load_weights`.

    Returns:
        The names that did not fit; empty unless `partial`.

    Raises:
        ValueError: The checkpoint is damaged or does not fit. No weight is
            changed then.
    """
    path = tf1_checkpoint.prefix_of(path)
    config = weights.root_of(model).config
    return weights.assign(
        model,
        _FAMILY,
        open_tensors(path, config),
        partial=partial,
        origin=f"TF1 checkpoint '{path}'",
    )


def save(model: keras.Layer, folder: str) -> None:
    """Saves a BERT as a TF1 checkpoint with its bert_config.json.

    Args:
        model: A task, a model with heads, or a bare Transformer.
        folder: Local or remote folder, created if missing.

    Raises:
        OSError: The folder cannot be written, or the disk is full.
        ValueError: The model is of another family, or has an epsilon that
            the format cannot store.
    """
    config = weights.root_of(model).config
    _check_writable_as_tf1(config)
    names, tensors = [], []
    for name, tensor in weights.published_tensors(model, _FAMILY):
        names.append(tf1_name(name))
        is_kernel = names[-1].endswith("/kernel")
        tensors.append(tensor.T if is_kernel else tensor)
    temporary = file_access.join(folder, "partial")
    try:
        file_access.make_folder(temporary)
        tf.raw_ops.SaveV2(
            prefix=file_access.join(temporary, CHECKPOINT),
            tensor_names=names,
            shape_and_slices=[""] * len(names),
            tensors=[tf.constant(tensor) for tensor in tensors],
        )
        for name in sorted(tf.io.gfile.listdir(temporary)):
            file_access.rename(
                file_access.join(temporary, name),
                file_access.join(folder, name),
            )
        path = file_access.join(folder, CONFIG_FILE)
        with file_access.write_atomically(path) as file:
            file.write(json.dumps(_bert_config(config), indent=2) + "\n")
    except tf.errors.OpError as error:
        raise OSError(f"cannot write '{folder}': {error.message}") from error
    finally:
        file_access.remove_folder(temporary)


def from_model_folder(
    source: str, folder: str, revision: str | None = None
) -> None:
    """Converts a model folder to a TF1 checkpoint, with its vocabulary.

    Args:
        source: Local folder or hub id.
        folder: Folder to write, created if missing.
        revision: Branch, tag or commit of a hub id.

    Raises:
        ValueError: `source` is incomplete, damaged, or no BERT.
        OSError: `folder` cannot be written.
    """
    from tfllm.tokenizers import load_tokenizer

    with model_folder.local_folder(source, revision) as local:
        tokenizer = None
        if any((local / name).is_file() for name in _VOCABULARIES):
            tokenizer = load_tokenizer(str(local))
        if tokenizer is not None and tokenizer.kind != "wordpiece":
            raise ValueError(
                f"the tokenizer of '{source}' must be of the kind 'wordpiece', "
                f"as {VOCAB_FILE} holds. Received: {tokenizer.kind!r}. Leave "
                "its files out to convert the weights alone."
            )
        save(model_folder.load(local), folder)
        if tokenizer is not None:
            target = file_access.join(folder, VOCAB_FILE)
            with file_access.write_atomically(target) as file:
                file.writelines(f"{token}\n" for token in tokenizer.vocab)


def _check_writable_as_tf1(config: TransformerConfig) -> None:
    """Raises ValueError if a TF1 checkpoint cannot store the config."""
    if config.family != _FAMILY.name:
        raise ValueError(
            f"a TF1 BERT checkpoint must be of family {_FAMILY.name!r}. "
            f"Received: {config.family!r}"
        )
    if config.block.norm.epsilon != 1e-12:
        raise ValueError(
            "`epsilon` of a TF1 BERT must be 1e-12, as its code has it. "
            f"Received: {config.block.norm.epsilon}"
        )


def _bert_config(config: TransformerConfig) -> dict[str, Any]:
    """Returns bert_config.json."""
    values = _FAMILY.to_published(config)
    keys = (
        "attention_probs_dropout_prob hidden_act hidden_dropout_prob "
        "hidden_size initializer_range intermediate_size "
        "max_position_embeddings num_attention_heads num_hidden_layers "
        "type_vocab_size vocab_size"
    )
    written = {key: values[key] for key in keys.split()}
    if written["hidden_act"] in ("gelu", "gelu_new"):
        written[_GELU_KEY] = written["hidden_act"]
        written["hidden_act"] = "gelu"
    return written
