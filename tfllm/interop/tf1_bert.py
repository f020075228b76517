"""TF1 BERT checkpoints, as google-research/bert published them.

    bert_config.json   bert_model.ckpt.{index,data-*}   vocab.txt

Reference: https://github.com/google-research/bert, modeling.py and
run_pretraining.py.
"""

import json
import re
import shutil
from typing import Any

import numpy as np
import tensorflow as tf

from tfllm import file_access
from tfllm.interop import model_folder, weights
from tfllm.interop.tensor_files import shortened
from tfllm.interop.weights import LoadReport
from tfllm.models import FAMILIES, TransformerConfig

CONFIG_FILE = "bert_config.json"
CHECKPOINT = "bert_model.ckpt"
VOCAB_FILE = "vocab.txt"

# Theirs has one name for both forms of GELU; this key says which.
_GELU_KEY = "tfllm_gelu"
_FAMILY = FAMILIES["bert"]

# Published (safetensors) name -> TF1 name, in this order.
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
        config: Of the model; says which tensors there should be.

    Raises:
        ValueError: There is no such checkpoint, or it is damaged.
    """

    def __init__(self, prefix: str, config: TransformerConfig) -> None:
        """See the class."""
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
        """Returns the shapes that the tensors have as published."""
        stored = self._reader.get_variable_to_shape_map()
        return {
            name: tuple(stored[theirs][:: self._step(theirs)])
            for name, theirs in self._stored.items()
        }

    def read(self, name: str) -> np.ndarray:
        """Returns one tensor as float32, shaped as published."""
        theirs = self._stored[name]
        tensor = np.asarray(self._reader.get_tensor(theirs), np.float32)
        return tensor.T if self._step(theirs) == -1 else tensor

    @staticmethod
    def _step(name: str) -> int:
        """Returns -1 if the published matrix is the transpose."""
        return -1 if name.endswith("/kernel") else 1


def read_config(folder: str) -> TransformerConfig:
    """Returns the config that bert_config.json describes.

    NOTE: "gelu" is the tanh form here, as the repository computes it since
    February 2019, unless tfllm wrote the file and says otherwise.

    Args:
        folder: Local or remote.

    Raises:
        ValueError: The file is missing or damaged.
    """
    path = file_access.join(folder, CONFIG_FILE)
    if not file_access.exists(path):
        raise ValueError(
            f"`input` must have a {CONFIG_FILE}. Received: {folder!r}. Copy "
            "the one that came with the checkpoint there."
        )
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


def load_weights(model: Any, path: str, partial: bool = False) -> LoadReport:
    """Assigns a TF1 checkpoint to a BERT.

    Args:
        model: A task, a model with heads, or a bare Transformer.
        path: Folder with `bert_model.ckpt`, or the checkpoint's prefix.
        partial: As in `model_folder.load_weights`.

    Returns:
        What did not fit; empty unless `partial`.

    Raises:
        ValueError: It is damaged, or does not fit; nothing is assigned.
    """
    if tf.io.gfile.isdir(path):
        path = file_access.join(path, CHECKPOINT)
    config = weights.root_of(model).config
    return weights.assign(
        model,
        _FAMILY,
        Tf1Checkpoint(path, config),
        partial=partial,
        origin=f"TF1 checkpoint '{path}'",
    )


def save(model: Any, folder: str) -> None:
    """Writes a TF1 checkpoint and its bert_config.json.

    Args:
        model: A task, a model with heads, or a bare Transformer.
        folder: Local or remote; made if missing.

    Raises:
        OSError: The folder cannot be written, or the disk is full.
        ValueError: The model is of another family, or has an epsilon that
            the format cannot say.
    """
    config = weights.root_of(model).config
    _check_writable_as_tf1(config)
    names, tensors = [], []
    for name, tensor in weights.published_tensors(model, _FAMILY):
        theirs = tf1_name(name)
        names.append(theirs)
        tensors.append(tensor.T if theirs.endswith("/kernel") else tensor)
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
            file.write(json.dumps(_config(config), indent=2) + "\n")
    except tf.errors.OpError as error:
        raise OSError(f"cannot write '{folder}': {error.message}") from error
    finally:
        file_access.remove_folder(temporary)


def to_model_folder(source: str, folder: str) -> None:
    """Converts a TF1 checkpoint to a model folder, with its vocabulary.

    Args:
        source: Folder with `bert_model.ckpt` and `bert_config.json`.
        folder: Is made if missing.

    Raises:
        ValueError: `source` is incomplete or damaged.
        OSError: `folder` cannot be written.
    """
    from tfllm.tasks import MaskedLM
    from tfllm.tokenizers.wordpiece import WordPieceTokenizer

    config = read_config(source)
    names = Tf1Checkpoint(file_access.join(source, CHECKPOINT), config).shapes()
    if "cls.predictions.bias" not in names:
        raise ValueError(
            f"`input` must hold a BERT with its masked-LM head. Received: "
            f"{source!r} with {shortened(sorted(names))}. Use "
            "`tf1_bert.load_weights` with partial=True for the encoder alone."
        )
    has_nsp = "cls.seq_relationship.weight" in names
    task = MaskedLM(config, pair_objective="nsp" if has_nsp else "none")
    # Without the sequence head the pooler has no place in a MaskedLM.
    load_weights(task, source, partial=not has_nsp)
    vocab = file_access.join(source, VOCAB_FILE)
    tokenizer = (
        WordPieceTokenizer.from_file(vocab)
        if file_access.exists(vocab)
        else None
    )
    model_folder.save(task, folder, tokenizer)


def from_model_folder(source: str, folder: str) -> None:
    """Converts a model folder to a TF1 checkpoint, with its vocabulary.

    Args:
        source: Local folder or hub id.
        folder: Is made if missing.

    Raises:
        ValueError: `source` is incomplete, damaged, or no BERT.
        OSError: `folder` cannot be written.
    """
    with model_folder.local_folder(source) as local:
        save(model_folder.load(local), folder)
        vocab = local / VOCAB_FILE
        if vocab.is_file():
            target = file_access.join(folder, VOCAB_FILE)
            with (
                open(vocab, encoding="utf-8", newline="") as original,
                file_access.write_atomically(target) as copy,
            ):
                shutil.copyfileobj(original, copy)


def _check_writable_as_tf1(config: TransformerConfig) -> None:
    """Raises ValueError for what a TF1 checkpoint cannot say."""
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


def _config(config: TransformerConfig) -> dict[str, Any]:
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
