"""Makes random requests, most of them malformed, for the fuzzer.

`rest` returns a path and a body, `grpc` a call and its message. Both take
names, dtypes and ranks from the signatures of the model, so that about half of
the requests pass the first check.
"""

import dataclasses
import json
import random
from collections.abc import Sequence
from typing import Any

from tfllm.server import protos

WORDS = ("", "the", "best of times", "[MASK]", "自然", "🙂", "a\u0301\u0000b")
_DEEP = 100_000
# Sizes of an axis in TensorProto, including impossible ones.
_SIDES = (-1, 0, 1, 1, 2, 2, 3, 1000, 2**20 + 1, 2**31, 2**40, 2**62)
_SMALL_SIDES = (0, 1, 1, 2, 2, 3)
_NUMBER_OF_DTYPE = {"DT_STRING": 7, "DT_INT32": 3, "DT_INT64": 9, "DT_FLOAT": 1}
_EXAMPLE_REQUESTS: dict[str, Any] = {
    "Classify": protos.ClassificationRequest,
    "Regress": protos.RegressionRequest,
}
_FIELD_OF_DTYPE = {
    "DT_STRING": "string_val",
    "DT_INT32": "int_val",
    "DT_INT64": "int64_val",
    "DT_FLOAT": "float_val",
}
_FIELDS = ("string_val", "int_val", "int64_val", "float_val", "bool_val")


@dataclasses.dataclass(frozen=True)
class Input:
    """An input of a signature: name of the dtype, and rank."""

    dtype: str
    rank: int


Signatures = dict[str, dict[str, Input]]


def signatures(metadata: dict[str, Any]) -> Signatures:
    """Returns the signatures in a server's metadata."""
    definitions = metadata["metadata"]["signature_def"]["signature_def"]
    return {
        name: {
            key: Input(info["dtype"], len(info["tensor_shape"].get("dim", ())))
            for key, info in signature["inputs"].items()
        }
        for name, signature in sorted(definitions.items())
        if not name.startswith("__")
    }


def rest(
    rng: random.Random, known: Signatures, model: str
) -> tuple[str, bytes]:
    """Returns path and body of a random REST request."""
    verb = rng.choice(["predict"] * 8 + ["classify", "regress", "Predict", "x"])
    path = f"/v1/models/{model}:{verb}"
    if rng.random() < 0.05:
        path = f"/tfllm/models/{model}:stream"
    signature, inputs = _signature(rng, known)
    document: Any = {"signature_name": signature}
    if verb in ("classify", "regress"):
        document["examples"] = _json_value(rng, 2)
    elif path.endswith("stream"):
        document |= {
            "text": _json_value(rng, 0),
            "max_new_tokens": _scalar(rng),
        }
    elif rng.random() < 0.6:
        document["inputs"] = {
            name: _json_tensor(rng, info) for name, info in inputs.items()
        }
        if len(inputs) == 1 and rng.random() < 0.5:
            (document["inputs"],) = document["inputs"].values()
    else:
        document["instances"] = [
            {name: _json_tensor(rng, info, 1) for name, info in inputs.items()}
            for _ in range(rng.randint(0, 3))
        ]
        if len(inputs) == 1 and rng.random() < 0.5:
            rows = document["instances"]
            document["instances"] = [v for row in rows for v in row.values()]
    return path, _spoiled(rng, json.dumps(document).encode())


def _spoiled(rng: random.Random, body: bytes) -> bytes:
    """Returns a body that is sometimes cut, changed or nested too deeply."""
    chance = rng.random()
    if chance < 0.03:
        return body[: rng.randrange(len(body))]
    if chance < 0.08:
        place = rng.randrange(len(body))
        return body[:place] + rng.randbytes(1) + body[place + 1 :]
    if chance < 0.09:
        return b'{"inputs": ' + b"[" * _DEEP
    if chance < 0.10:
        return b'{"instances": [1e400, -1e400, ' + b"9" * 5000 + b"]}"
    return body


def _signature(
    rng: random.Random, known: Signatures
) -> tuple[str, dict[str, Input]]:
    """Returns a signature name and inputs, which sometimes do not match."""
    signature = rng.choice(list(known))
    inputs = dict(known[signature])
    chance = rng.random()
    if chance < 0.05:
        signature = rng.choice(["", "no such", "__saved_model_init_op"])
    elif chance < 0.1:
        inputs.pop(rng.choice(list(inputs)))
    elif chance < 0.15:
        inputs["extra"] = Input("DT_STRING", 1)
    return signature, inputs


def _json_tensor(rng: random.Random, info: Input, less: int = 0) -> Any:
    """Returns a value for an input, half of the time with the right rank."""
    rank = info.rank - less if rng.random() < 0.5 else rng.randint(0, 4)
    dtype = info.dtype if rng.random() < 0.8 else ""
    return _json_value(rng, max(rank, 0), dtype, rng.random() < 0.2)


def _json_value(
    rng: random.Random, rank: int, dtype: str = "", ragged: bool = False
) -> Any:
    """Returns nested lists, rectangular unless `ragged`."""
    sides = [rng.choice(_SMALL_SIDES) for _ in range(rank)]

    def build(level: int) -> Any:
        if level == rank or (ragged and rng.random() < 0.1):
            return _scalar(rng, dtype)
        side = rng.choice(_SMALL_SIDES) if ragged else sides[level]
        return [build(level + 1) for _ in range(side)]

    return build(0)


def _scalar(rng: random.Random, dtype: str = "") -> Any:
    """Returns a random value of a dtype, or of any kind."""
    if dtype == "DT_STRING":
        return " ".join(rng.choices(WORDS, k=rng.randint(0, 40)))
    if dtype == "DT_FLOAT":
        return rng.choice([0.0, 0.5, 1.5, -1.0, 3e38, float("inf")])
    if dtype:
        return rng.choice([0, 1, 2, 3, 5, 60, -1, 2**31 - 1, -(2**31)])
    return rng.choice(
        [
            *(None, True, "text", "\ud800", "x" * 5000, {}, [], [[]]),
            *(0, -1, 2**31, 2**63, 2**70, 1e308, float("nan"), -0.0),
            *({"b64": "AAEC/w=="}, {"b64": "*"}, {"b64": 1}, {"a": [1]}),
        ]
    )


def grpc(rng: random.Random, known: Signatures, model: str) -> tuple[str, Any]:
    """Returns name and message of a random gRPC request."""
    call = rng.choice(["Predict"] * 8 + ["Classify", "Regress"])
    signature, inputs = _signature(rng, known)
    if call == "Predict":
        request = protos.PredictRequest()
        for name, info in inputs.items():
            request.inputs[name].CopyFrom(_tensor(rng, info))
        if rng.random() < 0.1:
            request.output_filter.extend(rng.choices(["scores", "x", ""], k=2))
    else:
        request = _EXAMPLE_REQUESTS[call]()
        for _ in range(rng.randint(0, 3)):
            example = request.input.example_list.examples.add()
            feature = example.features.feature[rng.choice(["text", "x", ""])]
            rng.choice(
                [
                    lambda f: f.bytes_list.value.extend([b"a", b"b"]),
                    lambda f: f.bytes_list.value.append(b"the \xff best"),
                    lambda f: f.int64_list.value.append(-1),
                    lambda f: f.float_list.value.append(float("nan")),
                    lambda f: None,
                ]
            )(feature)
    spec = request.model_spec
    spec.name = rng.choice([model] * 20 + ["", "no such"])
    spec.signature_name = signature
    if rng.random() < 0.05:
        spec.version.value = rng.choice([-1, 0, 1, 99, 2**63 - 1])
    return call, request


def _tensor(rng: random.Random, info: Input) -> protos.TensorProto:
    """Returns a tensor for an input, half of the time with the right shape."""
    proto = protos.TensorProto()
    fits = rng.random() < 0.5
    dtype = _NUMBER_OF_DTYPE.get(info.dtype, 0)
    proto.dtype = dtype if rng.random() < 0.8 else rng.randint(0, 130)
    rank = info.rank if fits else rng.randint(0, 5)
    sides = _SMALL_SIDES if fits or rng.random() < 0.5 else _SIDES
    for _ in range(rank):
        proto.tensor_shape.dim.add(size=rng.choice(sides))
    proto.tensor_shape.unknown_rank = rng.random() < 0.03
    if rng.random() < 0.15:
        proto.tensor_content = rng.randbytes(rng.choice([0, 1, 4, 8, 24]))
    if rng.random() < 0.9:
        _fill(rng, proto, info.dtype)
    return proto


def _fill(rng: random.Random, proto: protos.TensorProto, dtype: str) -> None:
    """Adds values to a tensor, sometimes to the wrong field."""
    field = _FIELD_OF_DTYPE.get(dtype, "float_val")
    if rng.random() < 0.1:
        field = rng.choice(_FIELDS)
    count = rng.choice((0, 1, 1, 2, 3, 9))
    values: Sequence[Any]
    if field == "string_val":
        values = [
            _scalar(rng, "DT_STRING").encode() + rng.choice([b"", b"\xff\xed"])
            for _ in range(count)
        ]
    elif field == "float_val":
        values = [_scalar(rng, "DT_FLOAT") for _ in range(count)]
    elif field == "bool_val":
        values = [True] * count
    else:
        values = [_scalar(rng, "DT_INT32") for _ in range(count)]
    getattr(proto, field).extend(values)
