"""Reads the signatures and the ops of a saved_model.pb.

Reference: tensorflow/core/protobuf/meta_graph.proto and saved_model.proto.
"""

import collections
import dataclasses
import os
from collections.abc import Mapping

from google.protobuf.message import DecodeError

from tfllm.runtime.messages import (
    AttrValue,
    MetaGraphDef,
    SavedModel,
    SignatureDef,
    TensorInfoProto,
)

SAVED_MODEL_FILE = "saved_model.pb"
SERVE_TAG = "serve"

# Number of a tensorflow.DataType -> NumPy's name, or "string".
DTYPES = {
    1: "float32",
    2: "float64",
    3: "int32",
    4: "uint8",
    5: "int16",
    6: "int8",
    7: "string",
    9: "int64",
    10: "bool",
    14: "bfloat16",
    17: "uint16",
    19: "float16",
    22: "uint32",
    23: "uint64",
}


@dataclasses.dataclass(frozen=True)
class TensorInfo:
    """One input or output of a signature.

    Attributes:
        tensor: Name in the graph, such as "serving_default_text:0".
        dtype: Name of the dtype; "string" for bytes.
        shape: Sizes, -1 where unknown; None for an unknown rank.
    """

    tensor: str
    dtype: str
    shape: tuple[int, ...] | None


@dataclasses.dataclass(frozen=True)
class Signature:
    """One function of a SavedModel.

    Attributes:
        inputs: By name.
        outputs: By name.
        method_name: Such as "tensorflow/serving/predict".
    """

    inputs: dict[str, TensorInfo]
    outputs: dict[str, TensorInfo]
    method_name: str


@dataclasses.dataclass(frozen=True)
class SavedModelFile:
    """Signatures and ops of a saved_model.pb.

    Attributes:
        signatures: By name, without those that TensorFlow adds.
        ops: Op -> number of nodes, in the graph and in its functions.
        devices: Devices that nodes are placed on.
        functions: Names of the functions; `ops` leaves them out.
        compiled: Names of functions and nodes compiled with XLA.
    """

    signatures: dict[str, Signature]
    ops: dict[str, int]
    devices: frozenset[str]
    functions: frozenset[str]
    compiled: tuple[str, ...]


def read(folder: str | os.PathLike[str]) -> SavedModelFile:
    """Reads the signatures and the ops of the graph tagged "serve".

    Args:
        folder: A version of a SavedModel.

    Raises:
        ValueError: The file is missing or damaged, or has no such graph.
    """
    meta_graph = read_meta_graph(folder)
    graph = meta_graph.graph_def
    functions = frozenset(f.signature.name for f in graph.library.function)
    nodes = list(graph.node)
    for function in graph.library.function:
        nodes += function.node_def
    ops = collections.Counter(node.op for node in nodes)
    compiled = {node.name for node in nodes if _asks_for_xla(node.attr)}
    compiled |= {
        function.signature.name
        for function in graph.library.function
        if _asks_for_xla(function.attr)
    }
    return SavedModelFile(
        signatures={
            name: _signature(signature)
            for name, signature in sorted(meta_graph.signature_def.items())
            # Signatures that TensorFlow adds, such as the tables' initializer.
            if not name.startswith("__")
        },
        ops={op: ops[op] for op in sorted(set(ops) - functions)},
        devices=frozenset(node.device for node in nodes) - {""},
        functions=functions,
        compiled=tuple(sorted(compiled)),
    )


def read_meta_graph(folder: str | os.PathLike[str]) -> MetaGraphDef:
    """Returns the meta graph tagged "serve".

    Args:
        folder: A version of a SavedModel.

    Raises:
        ValueError: The file is missing or damaged, or has no such graph.
    """
    path = os.path.join(os.fspath(folder), SAVED_MODEL_FILE)
    if not os.path.isfile(path):
        raise ValueError(
            f"a SavedModel must hold {SAVED_MODEL_FILE}. Received: "
            f"{os.fspath(folder)!r}, without it. Name the folder of a version."
        )
    with open(path, "rb") as file:
        content = file.read()
    try:
        saved_model = SavedModel.FromString(content)
    except DecodeError as error:
        raise ValueError(
            f"{SAVED_MODEL_FILE} must be whole. Received: {path!r}, {error}. "
            "Export it again."
        ) from error
    for meta_graph in saved_model.meta_graphs:
        if SERVE_TAG in meta_graph.meta_info_def.tags:
            return meta_graph
    raise ValueError(
        "a SavedModel must have a graph tagged 'serve'. Received: "
        f"{path!r}, without one. Export it again."
    )


def _asks_for_xla(attributes: Mapping[str, AttrValue]) -> bool:
    """Whether the attributes of a node or a function request XLA."""
    # Reading a missing key of a protobuf map would add it.
    name = "_XlaMustCompile"
    return name in attributes and attributes[name].b


def _signature(proto: SignatureDef) -> Signature:
    return Signature(
        inputs=_tensors(proto.inputs),
        outputs=_tensors(proto.outputs),
        method_name=proto.method_name,
    )


def _tensors(protos: Mapping[str, TensorInfoProto]) -> dict[str, TensorInfo]:
    """Returns the inputs or outputs of a signature, sorted by name."""
    return {
        name: TensorInfo(
            info.name,
            DTYPES.get(info.dtype, f"dtype {info.dtype}"),
            _shape(info),
        )
        for name, info in sorted(protos.items())
    }


def _shape(info: TensorInfoProto) -> tuple[int, ...] | None:
    """Returns the sizes of a tensor; None if its rank is unknown."""
    shape = info.tensor_shape
    if not info.HasField("tensor_shape") or shape.unknown_rank:
        return None
    return tuple(dim.size for dim in shape.dim)
