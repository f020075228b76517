"""BERT of tf-models-official: object-based checkpoints of TF2.

The keys of such a checkpoint depend on how its model was wrapped; the full
names of its variables, which it stores as well, do not.

Reference: https://github.com/tensorflow/models, official/nlp/modeling.
"""

from __future__ import annotations

import functools
import re
from typing import Any

import numpy as np

from tfllm import file_access
from tfllm.interop import tf1_bert
from tfllm.interop.sources.contract import Arrays, Checkpoint, Options, Source
from tfllm.interop.sources.tf1_bert_source import write_tokenizer
from tfllm.models import FAMILIES

_FAMILY = FAMILIES["bert"]
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
        names = _variables(tf1_bert.prefix_of(path))
    except ValueError:
        return False
    return any(map(_LAYER.fullmatch, names))


def read(path: str, options: Options) -> Checkpoint:
    """Opens a checkpoint with its bert_config.json and vocab.txt.

    Raises:
        ValueError: The checkpoint or its config is missing or damaged.
    """
    import tensorflow as tf

    prefix = tf1_bert.prefix_of(path)
    parent = prefix.rpartition("/")[0] or "."
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
        make = functools.partial(_read, reader, key, name)
        makers[published] = _shape(shapes[key], name), make
    architecture = "encoder"
    if "cls.predictions.bias" in makers:
        has_nsp = "cls.seq_relationship.weight" in makers
        architecture = "pretraining" if has_nsp else "masked_lm"
    has_vocabulary = file_access.exists(
        file_access.join(parent, tf1_bert.VOCAB_FILE)
    )
    return Checkpoint(
        {
            **_FAMILY.to_published(config),
            "architectures": [_FAMILY.architectures[architecture]],
        },
        Arrays(makers),
        write_tokenizer=functools.partial(
            write_tokenizer, parent, options.lower_case
        )
        if has_vocabulary
        else None,
        left_out=left_out,
    )


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


def _read(reader: Any, key: str, name: str) -> np.ndarray:
    """Reads a variable as the published tensor."""
    array = np.asarray(reader.get_tensor(key))
    array = array.reshape(_matrix_shape(list(array.shape), name))
    return array.T if name.endswith("/kernel") else array


SOURCE = Source(
    "a TF2 checkpoint of BERT of tf-models-official, with bert_config.json "
    "and vocab.txt",
    recognizes,
    read,
)
