"""Writes a model in the forms in which folders are published.

The tensors are those that `tools/record_parity.py` recorded. Older folders have
other names and other types than Transformers writes now.
"""

import json
import pathlib
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import safetensors

from tfllm.interop import folder_writer, model_folder, tensor_files
from tfllm.interop.config_file import CONFIG_FILE
from tfllm.models import FAMILIES, Family, TransformerConfig

Tensors = dict[str, np.ndarray]
_RECORDS = pathlib.Path(__file__).parents[1] / "tests" / "testdata"
SHARD_BYTES = 20_000
# A buffer of an old file of each family that ignores some.
_BUFFERS = {
    "albert": "albert.embeddings.position_ids",
    "bart": "model.encoder.version",
    "bert": "bert.embeddings.position_ids",
    "distilbert": "distilbert.embeddings.position_ids",
    "electra": "electra.embeddings.position_ids",
    "fsmt": "model.decoder.version",
    "gpt2": "transformer.h.0.attn.masked_bias",
    "llama": "model.layers.0.self_attn.rotary_emb.inv_freq",
    "marian": "model.encoder.embed_positions.weight",
    "mistral": "model.layers.0.self_attn.rotary_emb.inv_freq",
    "mt5": (
        "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"
    ),
    "openai-gpt": "transformer.h.0.attn.bias",
    "opt": "model.decoder.version",
    "qwen2": "model.layers.0.self_attn.rotary_emb.inv_freq",
    "roberta": "roberta.embeddings.position_ids",
    "t5": (
        "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"
    ),
    "xlm-roberta": "roberta.embeddings.position_ids",
}


def recorded(family: str) -> tuple[dict[str, Any], Tensors]:
    """Returns config.json and the tensors of a recorded reference model.

    Args:
        family: Name in `FAMILIES`.
    """
    file = _RECORDS / f"parity_{family}.safetensors"
    with safetensors.safe_open(file, "numpy") as tensors:
        values = json.loads(tensors.metadata()["config"])
        kept = {
            name.removeprefix("weights/"): tensors.get_tensor(name)
            for name in tensors.keys()  # noqa: SIM118 - not a dict
            if name.startswith("weights/")
        }
    return values, kept


def _as_they_are(
    tensors: Tensors, family: Family, config: TransformerConfig
) -> Tensors:
    """Returns the tensors."""
    return tensors


def _float16(
    tensors: Tensors, family: Family, config: TransformerConfig
) -> Tensors:
    """Returns the tensors as float16."""
    return {k: v.astype(np.float16) for k, v in tensors.items()}


def _bfloat16(
    tensors: Tensors, family: Family, config: TransformerConfig
) -> Tensors:
    """Returns the tensors as bfloat16."""
    return {k: v.astype(ml_dtypes.bfloat16) for k, v in tensors.items()}


def _tied_copies(
    tensors: Tensors, family: Family, config: TransformerConfig
) -> Tensors:
    """Returns the tensors, duplicated under the name of each tied weight."""
    copies = {
        copy: tensors[original].copy()
        for copy, original in family.tied(config).items()
        if original in tensors
    }
    return {**tensors, **copies}


def _only_copies(
    tensors: Tensors, family: Family, config: TransformerConfig
) -> Tensors:
    """Returns the tensors, with tied copies in place of their originals."""
    originals = set(family.tied(config).values())
    every = _tied_copies(tensors, family, config)
    return {k: v for k, v in every.items() if k not in originals}


def _legacy_names(
    tensors: Tensors, family: Family, config: TransformerConfig
) -> Tensors:
    """Returns the tensors under the names of the first files."""

    def older(name: str) -> str:
        for old, new in family.legacy_names.items():
            name = name.replace(new, old)
        return name

    return {older(k): v for k, v in tensors.items()}


def _no_prefix(
    tensors: Tensors, family: Family, config: TransformerConfig
) -> Tensors:
    """Returns the tensors without the prefix of the body."""
    return {k.removeprefix(family.prefix): v for k, v in tensors.items()}


def _buffers(
    tensors: Tensors, family: Family, config: TransformerConfig
) -> Tensors:
    """Returns the tensors, and one that is no weight."""
    buffer = np.arange(6, dtype=np.float32).reshape(1, 6)
    name = _BUFFERS.get(family.name)
    return tensors if name is None else {**tensors, name: buffer}


Form = Callable[[Tensors, Family, TransformerConfig], Tensors]
FORMS: dict[str, Form] = {
    "one file": _as_they_are,
    "shards": _as_they_are,
    "float16": _float16,
    "bfloat16": _bfloat16,
    "tied copies": _tied_copies,
    "only tied copies": _only_copies,
    "legacy names": _legacy_names,
    "no prefix": _no_prefix,
    "buffers": _buffers,
}


def forms_of(values: dict[str, Any], tensors: Tensors) -> dict[str, Tensors]:
    """Returns form -> tensors; a form that changes nothing is left out.

    Args:
        values: An object of config.json.
        tensors: Published name -> float32 tensor.
    """
    family = FAMILIES[values["model_type"]]
    config = family.from_published(values)
    forms = {}
    for name, form in FORMS.items():
        stored = form(tensors, family, config)
        same = stored.keys() == tensors.keys() and all(
            stored[key].dtype == tensors[key].dtype for key in stored
        )
        if form is _as_they_are or not same:
            forms[name] = stored
    return forms


def write(
    folder: pathlib.Path, form: str, values: dict[str, Any], tensors: Tensors
) -> None:
    """Writes a model folder in a form.

    Args:
        folder: New folder.
        form: Key of `FORMS`.
        values: Its config.json.
        tensors: Its tensors, from `forms_of`.
    """
    folder.mkdir()
    (folder / CONFIG_FILE).write_text(json.dumps(values))
    shapes = {name: value.shape for name, value in tensors.items()}
    size = SHARD_BYTES if form == "shards" else folder_writer.MAX_SHARD_BYTES
    tensor_files.write(folder, shapes, tensors.items(), size)


def load(model: Any, folder: pathlib.Path) -> list[np.ndarray]:
    """Loads a folder in any form and returns all weights.

    Args:
        model: A model of the config of the folder.
        folder: The folder.

    Raises:
        ValueError: A name is missing or unexpected.
    """
    for variable in model.weights:
        # No file holds it: a weight that is not loaded shows.
        variable.assign(np.full(variable.shape, 9.0))
    model_folder.load_weights(model, folder)
    return [np.array(np.asarray(v.value)) for v in model.weights]


def largest_difference(
    weights: list[np.ndarray], others: list[np.ndarray]
) -> float:
    """Returns the largest difference of two lists of weights, relative to 1."""
    return max(
        float(np.max(np.abs(a - b) / np.maximum(np.abs(b), 1.0)))
        for a, b in zip(weights, others, strict=True)
    )


def dialects(values: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Returns config.json as Transformers 4 and 5 write it.

    Args:
        values: The object with the keys of both.
    """
    newer = ("rope_parameters", "dtype")
    older = ("rope_theta", "rope_scaling")
    return {
        "v4": {
            **{k: v for k, v in values.items() if k not in newer},
            "torch_dtype": "float32",
            "transformers_version": "4.57.0",
        },
        "v5": {k: v for k, v in values.items() if k not in older},
    }
