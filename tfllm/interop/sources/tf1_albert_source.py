"""TF1 checkpoints of google-research/albert.

    albert_config.json   model.ckpt-best.{index,data-*}   30k-clean.model

Reference: https://github.com/google-research/albert, modeling.py and
run_pretraining.py.
"""

from __future__ import annotations

import functools
import json
import pathlib
import re
from typing import Any

from tfllm import file_access
from tfllm.interop import tf1_checkpoint
from tfllm.interop.sources.contract import Checkpoint, Options, Source
from tfllm.interop.sources.torch_source import SECOND_OPINION
from tfllm.interop.tf1_checkpoint import Tf1Checkpoint
from tfllm.models import FAMILIES

CONFIG_FILE = "albert_config.json"
_FAMILY = FAMILIES["albert"]
_BLOCK = (
    "bert/encoder/transformer/group_0/inner_group_0/attention_1/self/"
    "query/kernel"
)
# Regular expressions from published names to TF1 names, applied in order.
_RENAMES = (
    (r"^albert\.", "bert."),
    (
        r"albert_layer_groups\.(\d+)\.albert_layers\.(\d+)\.",
        r"transformer.group_\1.inner_group_\2.",
    ),
    (r"\.attention\.LayerNorm\.", ".LayerNorm."),
    (r"\.full_layer_layer_norm\.", ".LayerNorm_1."),
    (r"\.attention\.dense\.", ".attention_1.output.dense."),
    (r"\.attention\.(query|key|value)\.", r".attention_1.self.\1."),
    (r"\.ffn\.", ".ffn_1.intermediate.dense."),
    (r"\.ffn_output\.", ".ffn_1.intermediate.output.dense."),
    (r"^bert\.pooler\.", "bert.pooler.dense."),
    (r"^predictions\.bias$", "cls.predictions.output_bias"),
    (r"^predictions\.", "cls.predictions.transform."),
    (r"^sop_classifier\.classifier\.weight$", "cls.seq_relationship.weights"),
    (r"^sop_classifier\.classifier\.", "cls.seq_relationship."),
    (r"seq_relationship\.(\w+)$", r"seq_relationship.output_\1"),
    (r"LayerNorm(_1)?\.weight$", r"LayerNorm\1.gamma"),
    (r"LayerNorm(_1)?\.bias$", r"LayerNorm\1.beta"),
    (r"_embeddings\.weight$", "_embeddings"),
    (r"\.weight$", ".kernel"),
    (r"\.", "/"),
)
# What modeling.py has one value for.
_FIXED = {
    "ln_type": "postln",
    "net_structure_type": 0,
    "num_memory_blocks": 0,
    "gap_size": 0,
    "down_scale_factor": 1,
}
# modeling.py has the same defaults, but for the sizes, which files have.
_NEEDED = (
    "vocab_size",
    "embedding_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
)


def tf1_name(published: str) -> str:
    """Returns the TF1 name of a published tensor."""
    for pattern, replacement in _RENAMES:
        published = re.sub(pattern, replacement, published)
    return published


def recognizes(path: str) -> bool:
    """Returns whether a path has a checkpoint with TF1 names of ALBERT."""
    return _BLOCK in tf1_checkpoint.variables_of(path)


def read(path: str, options: Options) -> Checkpoint:
    """Opens a TF1 checkpoint with its albert_config.json and .model file.

    Raises:
        ValueError: The checkpoint or its config is missing or damaged, or
            has a value that is not supported.
    """
    prefix = tf1_checkpoint.prefix_of(path)
    parent = tf1_checkpoint.folder_of(prefix)
    config = _FAMILY.from_published(_read_values(parent))
    published = [weight.published for weight in _FAMILY.weights(config)]
    names = {tf1_name(name): name for name in published}
    tensors = Tf1Checkpoint(prefix, names)
    head = tf1_checkpoint.head_of(
        tensors.shapes(), "predictions.bias", "sop_classifier.classifier.weight"
    )
    values = {
        **_FAMILY.to_published(config),
        "architectures": [_FAMILY.architectures[head]],
    }
    pieces = tf1_checkpoint.names_ending_in(parent, ".model")
    if len(pieces) > 1:
        raise ValueError(
            f"'{parent}' must have one SentencePiece model. Received: "
            f"{', '.join(pieces)}. Leave the one that came with the checkpoint."
        )
    return Checkpoint(
        values,
        tensors,
        write_tokenizer=functools.partial(
            _write_tokenizer,
            file_access.join(parent, pieces[0]),
            options.lower_case,
        )
        if pieces
        else None,
        reference=SECOND_OPINION,
    )


def _read_values(folder: str) -> dict[str, Any]:
    """Returns albert_config.json, with keys and values of config.json.

    NOTE: "gelu" means the tanh form, as google-research/albert computes it.

    Raises:
        ValueError: The file is missing or damaged, or has a value that is not
            supported.
    """
    values = tf1_checkpoint.read_values(folder, CONFIG_FILE)
    for key, value in _FIXED.items():
        if values.get(key, value) != value:
            raise ValueError(
                f"`{key}` of {CONFIG_FILE} in '{folder}' must be {value!r}. "
                f"Received: {values[key]!r}, which tfllm does not have."
            )
    missing = [key for key in _NEEDED if key not in values]
    if missing:
        raise ValueError(
            f"{CONFIG_FILE} in '{folder}' must have `{missing[0]}`. Received: "
            "no such key. Take the file that came with the checkpoint."
        )
    if values.get("hidden_act", "gelu") == "gelu":
        values["hidden_act"] = "gelu_new"
    return values


def _write_tokenizer(
    source: str, lower_case: bool | None, target: pathlib.Path
) -> None:
    """Writes a SentencePiece model, and the options of its class.

    Args:
        source: Local or remote model.
        lower_case: Whether texts are lower-cased; None: as ALBERT was trained.
        target: Existing local folder.
    """
    with file_access.open_binary(source) as file:
        (target / "spiece.model").write_bytes(file.read())
    config = {
        "tokenizer_class": _FAMILY.tokenizer.classes[0],
        "do_lower_case": lower_case is not False,
    }
    (target / "tokenizer_config.json").write_text(json.dumps(config))


SOURCE = Source(
    "a TF1 checkpoint of google-research/albert, with albert_config.json and "
    "its SentencePiece model",
    recognizes,
    read,
)
