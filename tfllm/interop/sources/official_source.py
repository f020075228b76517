"""BERT of tf-models-official: object-based checkpoints of TF2.

The keys of such a checkpoint depend on how its model was wrapped; the full
names of its variables, which it stores as well, do not.

Reference: https://github.com/tensorflow/models, official/nlp/modeling.
"""

from __future__ import annotations

import functools
import importlib.util
import pathlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfllm.interop import tf1_bert, tf1_checkpoint
from tfllm.interop.sources.contract import (
    Arrays,
    Checkpoint,
    Forward,
    Options,
    Reference,
    Source,
)
from tfllm.interop.sources.tf1_bert_source import (
    published_config,
    tokenizer_writer,
)

_PROGRAM = str(pathlib.Path(__file__).with_name("official_forward.py"))
_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
# Endings of full names of layers -> published names.
_NAMES = (
    (r"word_embeddings", "bert.embeddings.word_embeddings"),
    (r"position_embedding", "bert.embeddings.position_embeddings"),
    (r"type_embeddings", "bert.embeddings.token_type_embeddings"),
    (r"embeddings/layer_norm", "bert.embeddings.LayerNorm"),
    (r"pooler_transform", "bert.pooler.dense"),
    (r"next_sentence/pooler_dense", "bert.pooler.dense"),
    (r"next_sentence/logits", "cls.seq_relationship"),
    (
        r"cls/predictions/transform/LayerNorm",
        "cls.predictions.transform.LayerNorm",
    ),
    (r"cls/predictions/transform/dense", "cls.predictions.transform.dense"),
    (r"cls/predictions/output_bias", "cls.predictions"),
)
_BLOCK = {
    "self_attention/query": "attention.self.query",
    "self_attention/key": "attention.self.key",
    "self_attention/value": "attention.self.value",
    "self_attention/attention_output": "attention.output.dense",
    "self_attention_layer_norm": "attention.output.LayerNorm",
    "intermediate": "intermediate.dense",
    "output": "output.dense",
    "output_layer_norm": "output.LayerNorm",
}
_LAYER = re.compile(r"(?:.*/)?transformer/layer_(\d+)/(.+)")
_LEAVES = {"embeddings": "weight", "kernel": "weight", "bias": "bias"}
_LEAVES |= {"gamma": "weight", "beta": "bias"}
# The head of two sentences has a pooler of its own, and the other is unused.
_HEAD_POOLER = "next_sentence/pooler_dense"


def published_name(name: str) -> str | None:
    """Returns the published name of a variable; None if it has none.

    Args:
        name: Its full name, such as "pooler_transform/kernel".
    """
    layer, _, leaf = name.rpartition("/")
    if leaf not in _LEAVES:
        return None
    block = _LAYER.fullmatch(layer)
    if block:
        inner = _BLOCK.get(block[2])
        full = inner and f"bert.encoder.layer.{block[1]}.{inner}"
    else:
        full = next(
            (p for end, p in _NAMES if re.fullmatch(rf"(.*/)?{end}", layer)),
            None,
        )
    return f"{full}.{_LEAVES[leaf]}" if full else None


def _variables(prefix: str) -> dict[str, str]:
    """Returns full name -> key of the variables of a checkpoint.

    Slots of optimizers are left out.

    Raises:
        ValueError: The checkpoint is missing or damaged, or stores no graph
            of objects.
    """
    import tensorflow as tf
    from tensorflow.core.protobuf import trackable_object_graph_pb2 as protos

    try:
        reader = tf.train.load_checkpoint(prefix)
        content = reader.get_tensor(_GRAPH)
    except (tf.errors.OpError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"'{prefix}' must be an object-based checkpoint of TF2. "
            f"Received: {str(error).splitlines()[0]}"
        ) from error
    graph = protos.TrackableObjectGraph.FromString(content)
    slots = {
        slot.slot_variable_node_id
        for node in graph.nodes
        for slot in node.slot_variables
    }
    return {
        attribute.full_name: attribute.checkpoint_key
        for i, node in enumerate(graph.nodes)
        for attribute in node.attributes
        if i not in slots and attribute.full_name
    }


def recognizes(path: str) -> bool:
    """Returns whether a path has a checkpoint with the names of this BERT."""
    try:
        names = _variables(tf1_checkpoint.prefix_of(path))
    except ValueError:
        return False
    return any(map(_LAYER.fullmatch, names))


def read(path: str, options: Options) -> Checkpoint:
    """Opens a checkpoint with its bert_config.json and vocab.txt.

    Raises:
        ValueError: The checkpoint or its config is missing or damaged.
    """
    import tensorflow as tf

    prefix = tf1_checkpoint.prefix_of(path)
    parent = tf1_checkpoint.folder_of(prefix)
    config = tf1_bert.read_config(parent)
    variables = _variables(prefix)
    has_pooler = any(_HEAD_POOLER in name for name in variables)
    reader = tf.train.load_checkpoint(prefix)
    shapes = reader.get_variable_to_shape_map()
    makers: dict[str, Any] = {}
    left_out = []
    for name, key in variables.items():
        published = published_name(name)
        if published is None or (has_pooler and "pooler_transform" in name):
            left_out.append(name)
            continue
        make = functools.partial(_read, reader, prefix, key, name)
        makers[published] = _shape(shapes[key], name), make
    values = published_config(config, makers)
    return Checkpoint(
        values,
        Arrays(makers),
        write_tokenizer=tokenizer_writer(parent, options.lower_case),
        left_out=left_out,
        reference=Reference(
            "tf-models-official",
            lambda *_: _load_official(prefix, values),
        ),
    )


# Keys of config.json that `official_forward` reads.
_SIZES = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "max_position_embeddings",
    "type_vocab_size",
)


def _load_official(prefix: str, config: Mapping[str, Any]) -> Forward:
    """Returns the forward pass of official, in a process of its own.

    Args:
        prefix: Prefix of the checkpoint.
        config: The published config.json.

    Raises:
        ImportError: The package is not installed.
    """
    if importlib.util.find_spec("official") is None:
        raise ImportError("No module named 'official'")
    sizes = {key: config[key] for key in _SIZES}

    def forward(token_ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        with tempfile.TemporaryDirectory() as folder:
            inputs, outputs = f"{folder}/inputs.npz", f"{folder}/outputs.npz"
            np.savez(inputs, token_ids=token_ids, padding_mask=mask, **sizes)
            done = subprocess.run(
                [sys.executable, _PROGRAM, prefix, inputs, outputs],
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                lines = done.stderr.strip().splitlines() or ["it failed"]
                raise ValueError(lines[-1])
            return np.load(outputs)["hidden_states"]

    return forward


def _matrix_shape(shape: list[int], name: str) -> tuple[int, ...]:
    """Returns the shape of a variable with its heads joined, [in, out]."""
    if name.endswith("/bias"):
        return (int(np.prod(shape)),)
    if len(shape) < 3:
        return tuple(shape)
    if "attention_output" in name:
        return (shape[0] * shape[1], shape[2])
    return (shape[0], shape[1] * shape[2])


def _shape(shape: list[int], name: str) -> tuple[int, ...]:
    """Returns the shape of the published tensor of a variable."""
    matrix = _matrix_shape(shape, name)
    return matrix[::-1] if name.endswith("/kernel") else matrix


def _read(reader: Any, prefix: str, key: str, name: str) -> np.ndarray:
    """Reads a variable as the published tensor."""
    array = tf1_checkpoint.read_variable(reader, prefix, key)
    array = array.reshape(_matrix_shape(list(array.shape), name))
    return array.T if name.endswith("/kernel") else array


SOURCE = Source(
    "a TF2 checkpoint of BERT of tf-models-official, with bert_config.json "
    "and vocab.txt",
    recognizes,
    read,
)
