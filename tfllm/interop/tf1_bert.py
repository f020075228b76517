"""Reads and writes TF1 BERT checkpoints in the layout of google-research.

    bert_config.json   bert_model.ckpt.{index,data-*}   vocab.txt

A checkpoint may have any name, such as model.ckpt-1000. Paths are its prefix,
or its folder if it is the only one there.

Reference: https://github.com/google-research/bert, modeling.py and
run_pretraining.py.
"""

import json
import re
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfllm import file_access
from tfllm.interop import model_folder, weights
from tfllm.interop.tensor_files import shortened
from tfllm.interop.weights import LoadReport
from tfllm.models import FAMILIES, TransformerConfig

CONFIG_FILE = "bert_config.json"
CHECKPOINT = "bert_model.ckpt"  # name of checkpoints written here
_INDEX = ".index"
_SHOWN = 5  # checkpoints listed in a message
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
_STATE = re.compile(r"global_step|.*/(adam|lamb)_[mv](_\d+)?|.*/Adam(_\d+)?")


def tf1_name(published: str) -> str:
    """Returns the TF1 name of a published tensor."""
    for pattern, replacement in _RENAMES:
        published = re.sub(pattern, replacement, published)
    return published


class Tf1Checkpoint:
    """The tensors of a TF1 checkpoint under their published names.

    Args:
        prefix: Path up to `.index`.
        config: Config of the model, which lists the tensors.

    Raises:
        ValueError: The checkpoint is missing or damaged.
    """

    def __init__(self, prefix: str, config: TransformerConfig) -> None:
        try:
            self._reader = tf.train.load_checkpoint(prefix)
        except (tf.errors.OpError, ValueError, RuntimeError) as error:
            raise ValueError(
                f"'{prefix}' must be a TF1 checkpoint. "
                f"Received: {str(error).splitlines()[0]}. Name its folder."
            ) from error
        self._names = {
            tf1_name(weight.published): weight.published
            for weight in _FAMILY.weights(config)
        }
        self._stored = {
            self._names.get(name, name): name
            for name in self._reader.get_variable_to_shape_map()
            if not _STATE.fullmatch(name)
        }

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Returns the shape of each tensor in the published layout."""
        stored = self._reader.get_variable_to_shape_map()
        return {
            name: tuple(stored[tf1][:: self._step(tf1)])
            for name, tf1 in self._stored.items()
        }

    def read(self, name: str) -> np.ndarray:
        """Returns one tensor as float32 in the published layout."""
        stored = self._stored[name]
        tensor = np.asarray(self._reader.get_tensor(stored), np.float32)
        return tensor.T if self._step(stored) == -1 else tensor

    @staticmethod
    def _step(name: str) -> int:
        """Returns the slice step of a shape: -1 reverses a transposed one."""
        return -1 if name.endswith("/kernel") else 1


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
    path = file_access.join(folder, CONFIG_FILE)
    if not file_access.exists(path):
        names = _names_ending_in(folder, ".json")
        if len(names) != 1:
            raise ValueError(
                f"`input` must have a {CONFIG_FILE}, or one other JSON file. "
                f"Received: {folder!r} with {shortened(names) or 'none'}. Name "
                f"the one that came with the checkpoint {CONFIG_FILE}."
            )
        path = file_access.join(folder, names[0])
    try:
        with file_access.open_binary(path) as file:
            values = dict(json.loads(file.read()))
    except ValueError as error:
        raise ValueError(
            f"'{path}' must be a JSON object. Received: {error}. Correct it."
        ) from error
    if values.get("hidden_act", "gelu") == "gelu":
        values["hidden_act"] = values.get(_GELU_KEY, "gelu_new")
    return _FAMILY.from_published(values)


def _names_ending_in(folder: str, ending: str) -> list[str]:
    """Returns the file names with an ending, sorted; empty without folder."""
    if not tf.io.gfile.isdir(folder):
        return []
    names = tf.io.gfile.listdir(folder)
    return sorted(name for name in names if name.endswith(ending))


def prefix_of(path: str) -> str:
    """Returns the prefix of a checkpoint.

    Args:
        path: The prefix, or a folder with one checkpoint.

    Raises:
        ValueError: The folder has no checkpoint, or several.
    """
    if not tf.io.gfile.isdir(path):
        return path.removesuffix(_INDEX)
    names = _names_ending_in(path, _INDEX)
    if not names:
        raise ValueError(
            f"{path!r} must be a folder with a TF1 checkpoint, or the prefix "
            f"of one. Received: no file that ends in {_INDEX}. Name the folder "
            "that has it."
        )
    prefixes = [file_access.join(path, n.removesuffix(_INDEX)) for n in names]
    if len(names) > 1:
        raise ValueError(
            f"{path!r} must have one TF1 checkpoint. Received: "
            f"{len(names)}, {', '.join(prefixes[:_SHOWN])}. Give one of these "
            "instead of the folder."
        )
    return prefixes[0]


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
    path = prefix_of(path)
    config = weights.root_of(model).config
    return weights.assign(
        model,
        _FAMILY,
        Tf1Checkpoint(path, config),
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
        save(model_folder.load(local), folder)
        if any((local / name).is_file() for name in _VOCABULARIES):
            tokenizer = load_tokenizer(str(local))
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
