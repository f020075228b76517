"""Reads and writes the files of sentence-transformers for text embeddings.

    modules.json  config_sentence_transformers.json  sentence_bert_config.json
    1_Pooling/config.json  2_Dense/{config.json,model.safetensors}  3_Normalize/

Files of versions 2 to 6 are read; the files written here are read by all of
them. Each key is applied, or refused by its name.

Reference: https://sbert.net/docs/sentence_transformer/usage/custom_models.html
"""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from tfllm import file_access
from tfllm.interop.config_file import read_json
from tfllm.interop.embedding_tensors import projection_name
from tfllm.interop.module_files import (
    MODULE_CONFIG,
    MODULES_FILE,
    CheckedValues,
    modules_of,
)
from tfllm.interop.tensor_files import write

if TYPE_CHECKING:
    from tfllm.models.task_models import EmbeddingModel
    from tfllm.tasks import Embedding

MODEL_FILE = "config_sentence_transformers.json"
TEXT_FILE = "sentence_bert_config.json"
POOLING_FOLDER = "1_Pooling"
# Names of TEXT_FILE in versions before 1.0.
_OLD_TEXT_FILES = ("sentence_roberta_config.json",)
_TOKENIZER_FILE = "tokenizer_config.json"

# (key of 1_Pooling/config.json, its newer name, our name), in the order in
# which the pooled vectors are concatenated.
_POOLINGS = (
    ("pooling_mode_cls_token", "cls", "cls"),
    ("pooling_mode_max_tokens", "max", "max"),
    ("pooling_mode_mean_tokens", "mean", "mean"),
    (
        "pooling_mode_mean_sqrt_len_tokens",
        "mean_sqrt_len_tokens",
        "mean_sqrt_len",
    ),
    ("pooling_mode_weightedmean_tokens", "weightedmean", "weighted_mean"),
    ("pooling_mode_lasttoken", "lasttoken", "last"),
)
_ACTIVATIONS = {
    "torch.nn.modules.linear.Identity": "identity",
    "torch.nn.modules.activation.Tanh": "tanh",
    "torch.nn.modules.activation.ReLU": "relu",
    "torch.nn.modules.activation.GELU": "gelu",
    "torch.nn.modules.activation.SiLU": "silu",
    "torch.nn.modules.activation.Sigmoid": "sigmoid",
}
_VECTOR = "sentence_embedding"
# Supported values of the keys of TEXT_FILE.
_TEXT_VALUES: dict[str, tuple[Any, ...]] = {
    "transformer_task": ("feature-extraction",),
    "module_output_name": ("token_embeddings",),
    "modality_config": (
        {
            "text": {
                "method": "forward",
                "method_output_name": "last_hidden_state",
            }
        },
    ),
    "processing_kwargs": ({}, None),
    "unpad_inputs": (None, False, True),
    "query_length": (None,),
    "document_length": (None,),
    "query_expansion": (None,),
    "tokenizer_name_or_path": (None,),
    "config_args": ({}, None),
    "config_kwargs": ({}, None),
}
# Keys that say how torch computes: they do not change the results.
_TORCH_KEYS = {"torch_dtype", "dtype", "attn_implementation"}


def is_embedding(folder: pathlib.Path) -> bool:
    """Returns whether a folder is a sentence-transformers embedding model."""
    if (folder / POOLING_FOLDER / MODULE_CONFIG).is_file():
        return True
    return any(kind == "Pooling" for kind, _ in modules_of(folder))


def read(folder: pathlib.Path) -> dict[str, Any]:
    """Reads the arguments of an Embedding.

    Args:
        folder: Local folder for which `is_embedding` is true.

    Raises:
        ValueError: A value is wrong or not supported.
    """
    modules = modules_of(folder) or [
        ("Transformer", folder),
        ("Pooling", folder / POOLING_FOLDER),
    ]
    kinds = [kind for kind, _ in modules]
    middle = kinds[2:-1] if kinds[-1] == "Normalize" else kinds[2:]
    supported = ["Transformer", "Pooling", *["Dense"] * len(middle)]
    if kinds[: len(supported)] != supported or modules[0][1] != folder:
        shown = [f"{kind} in '{path.name}'" for kind, path in modules]
        raise ValueError(
            f"'{folder / MODULES_FILE}' must list Transformer (in the folder "
            "itself), Pooling, any number of Dense, and perhaps Normalize: no "
            f"other modules are built. Received: {', '.join(shown)}."
        )
    pooling, include_prompt = _read_pooling(modules[1][1])
    settings = {
        "pooling": pooling,
        "projections": [
            _read_dense(path) for kind, path in modules if kind == "Dense"
        ],
        "normalize": kinds[-1] == "Normalize",
    }
    for kind, path in modules:
        if kind == "Normalize":
            _check_normalize(path)
    text, truncate_dim = _read_text(folder)
    if not include_prompt and text["default_prompt"]:
        raise ValueError(
            f"`include_prompt` in '{modules[1][1] / MODULE_CONFIG}' must be "
            "true beside a `default_prompt_name`: pooling without the prompt "
            "is not supported. Received: False."
        )
    return {**settings, "text": text, "truncate_dim": truncate_dim}


def write_modules(
    task: Embedding,
    folder: pathlib.Path,
    tensors: Iterable[tuple[str, np.ndarray]],
) -> None:
    """Writes the files that `read` reads, and the tensors of Dense modules.

    Args:
        task: The task.
        folder: Existing local folder.
        tensors: (name, tensor) pairs, named by `projection_name`.
    """
    model, text = task.model, task.text
    stored: dict[str, dict[str, np.ndarray]] = {}
    for name, tensor in tensors:
        path, _, short = name.partition("/")
        stored.setdefault(path, {})[short] = tensor
    modules: list[tuple[str, str, dict[str, Any]]] = [
        ("Transformer", "", {}),
        ("Pooling", POOLING_FOLDER, _pooling_config(model)),
    ]
    for i in range(len(model.projections)):
        path = projection_name(i, "").rstrip("/")
        modules.append(("Dense", path, _dense_config(model, i)))
    if model.normalize:
        modules.append(("Normalize", f"{len(modules)}_Normalize", {}))
    for _, path, config in modules[1:]:
        (folder / path).mkdir(exist_ok=True)
        _write_json(folder / path / MODULE_CONFIG, config)
    for path, part in stored.items():
        shapes = {name: tensor.shape for name, tensor in part.items()}
        write(folder / path, shapes, part.items(), max_shard_bytes=2**62)
    _write_json(
        folder / TEXT_FILE,
        {"max_seq_length": text.max_length, "do_lower_case": False},
    )
    values = {
        "prompts": text.prompts,
        "default_prompt_name": text.default_prompt,
        "similarity_fn_name": text.similarity,
    }
    if model.truncate_dim is not None:
        values["truncate_dim"] = model.truncate_dim
    _write_json(folder / MODEL_FILE, values)
    _write_json(
        folder / MODULES_FILE,
        [
            {
                "idx": i,
                "name": str(i),
                "path": path,
                "type": f"sentence_transformers.models.{kind}",
            }
            for i, (kind, path, _) in enumerate(modules)
        ],
    )


def _read_pooling(folder: pathlib.Path) -> tuple[Any, bool]:
    """Returns the pooling, and whether it includes the prompt."""
    values = CheckedValues(folder / MODULE_CONFIG)
    width = "embedding_dimension"
    values.take(width, 0, int)
    values.take(f"word_{width}", 0, int)
    flags = [
        ours for key, _, ours in _POOLINGS if values.take(key, False, bool)
    ]
    modes = values.take("pooling_mode", None, str, list)
    by_name = {theirs: ours for _, theirs, ours in _POOLINGS}
    if modes is not None:
        names = [modes] if isinstance(modes, str) else modes
        if not names or any(name not in by_name for name in names):
            raise values.error("pooling_mode", f"among {list(by_name)}", modes)
        flags = [by_name[name] for name in names]
    include_prompt = values.take("include_prompt", True, bool)
    values.nothing_left()
    flags = flags or ["mean"]
    return (flags[0] if len(flags) == 1 else flags), include_prompt


def _read_dense(folder: pathlib.Path) -> dict[str, Any]:
    """Returns the fields of a ProjectionConfig."""
    values = CheckedValues(folder / MODULE_CONFIG)
    name = values.take(
        "activation_function", "torch.nn.modules.activation.Tanh", str
    )
    by_short = {key.rpartition(".")[2]: v for key, v in _ACTIVATIONS.items()}
    known = name.startswith("torch.nn.") and name.rpartition(".")[2] in by_short
    if not known:
        raise values.error(
            "activation_function", f"one of {list(_ACTIVATIONS)}", name
        )
    config = {
        "input_size": values.take("in_features", None, int),
        "output_size": values.take("out_features", None, int),
        "activation": by_short[name.rpartition(".")[2]],
        "use_bias": values.take("bias", True, bool),
    }
    for key, default in (
        ("module_input_name", _VECTOR),
        ("module_output_name", _VECTOR),
        ("use_residual", False),
    ):
        values.must_be(key, default)
    values.nothing_left()
    return config


def _check_normalize(folder: pathlib.Path) -> None:
    """Raises ValueError if Normalize reads anything but the text vector."""
    values = CheckedValues(folder / MODULE_CONFIG)
    values.must_be("module_input_name", _VECTOR)
    values.must_be("module_output_name", _VECTOR)
    values.nothing_left()


def _read_text(
    folder: pathlib.Path,
) -> tuple[dict[str, Any], int | None]:
    """Returns the fields of an EmbeddedText, and `truncate_dim`."""
    model = CheckedValues(folder / MODEL_FILE)
    model.must_be("model_type", "SentenceTransformer")
    model.take("__version__", None, dict)
    prompts = model.take("prompts", {}, dict)
    prompts = {name: text or "" for name, text in prompts.items()}
    default = model.take("default_prompt_name", None, str)
    if default is not None and default not in prompts:
        raise model.error(
            "default_prompt_name", f"one of {sorted(prompts)}", default
        )
    similarity = model.take("similarity_fn_name", None, str) or "cosine"
    known = ("cosine", "dot", "euclidean", "manhattan")
    if similarity not in known:
        raise model.error("similarity_fn_name", f"one of {known}", similarity)
    truncate_dim = model.take("truncate_dim", None, int)
    model.nothing_left()
    text = {
        "max_length": _max_length(folder),
        "prompts": prompts,
        "default_prompt": default,
        "similarity": similarity,
    }
    return text, truncate_dim


def _max_length(folder: pathlib.Path) -> int | None:
    """Returns the most tokens of a row; None without a limit."""
    names = (TEXT_FILE, *_OLD_TEXT_FILES)
    paths = [folder / name for name in names if (folder / name).is_file()]
    values = CheckedValues(paths[0] if paths else folder / TEXT_FILE)
    for key, allowed in _TEXT_VALUES.items():
        values.must_be(key, *allowed)
    for key in ("model_args", "model_kwargs"):
        options = values.take(key, {}, dict)
        if not options.keys() <= _TORCH_KEYS:
            raise values.error(key, f"of {sorted(_TORCH_KEYS)}", options)
    length = values.take("max_seq_length", None, int)
    for key in ("tokenizer_args", "processor_kwargs"):
        options = dict(values.take(key, {}, dict))
        # As in sentence-transformers, this one wins.
        length = options.pop("model_max_length", length)
        if options:
            raise values.error(key, "of `model_max_length`", options)
    if values.take("do_lower_case", False, bool):
        _check_lower_case(folder, values)
    values.nothing_left()
    if length is None and (folder / _TOKENIZER_FILE).is_file():
        length = read_json(folder / _TOKENIZER_FILE).get("model_max_length")
    if length is None:
        return None
    # Tokenizers without a limit store 10 ** 30.
    if not isinstance(length, (int, float)) or length < 1:
        raise values.error("max_seq_length", "a positive integer", length)
    return int(length) if length < 2**31 else None


def _check_lower_case(folder: pathlib.Path, values: CheckedValues) -> None:
    """Raises ValueError if texts for a cased tokenizer are lower-cased."""
    from tfllm.tokenizers import load_tokenizer

    if not load_tokenizer(str(folder)).lowercase:
        raise values.error(
            "do_lower_case", "false beside a tokenizer with capitals", True
        )


def _pooling_config(model: EmbeddingModel) -> dict[str, Any]:
    """Returns 1_Pooling/config.json."""
    names = [ours for _, _, ours in _POOLINGS if ours in model.poolings]
    width = model.config.output_size
    if names == list(model.poolings):
        return {
            "word_embedding_dimension": width,
            **{key: ours in names for key, _, ours in _POOLINGS},
            "include_prompt": True,
        }
    # Only later versions can store another order.
    by_ours = {ours: theirs for _, theirs, ours in _POOLINGS}
    return {
        "embedding_dimension": width,
        "pooling_mode": [by_ours[name] for name in model.poolings],
        "include_prompt": True,
    }


def _dense_config(model: EmbeddingModel, index: int) -> dict[str, Any]:
    """Returns the config.json of the i-th Dense module, from 0."""
    config = model.projections[index].config
    names = {ours: theirs for theirs, ours in _ACTIVATIONS.items()}
    return {
        "in_features": config.input_size,
        "out_features": config.output_size,
        "bias": config.use_bias,
        "activation_function": names[config.activation],
    }


def _write_json(path: pathlib.Path, values: Any) -> None:
    """Writes a JSON file atomically."""
    with file_access.write_atomically(str(path)) as file:
        file.write(json.dumps(values, indent=2) + "\n")
