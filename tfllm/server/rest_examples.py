"""Converts bodies of classify and regress requests to tf.Examples.

Error messages are those of TensorFlow Serving.

Reference: tensorflow/serving 2.20, util/json_tensor.cc.
"""

from collections.abc import Mapping
from typing import Any

from tfllm.server import json_text, rest_requests
from tfllm.server.json_text import shown
from tfllm.server.protos import Example
from tfllm.server.statuses import ServingError, invalid_argument

# Kind of a value -> field of tf.train.Feature that holds it.
_LISTS = {"bytes": "bytes_list", "float": "float_list", "int64": "int64_list"}
_MOST_INT64 = 2**63 - 1


def examples(document: Mapping[str, Any]) -> list[bytes]:
    """Returns the serialized examples of a request, each with the context.

    Raises:
        ServingError: The request has no examples, or one is not valid.
    """
    context = b""
    if "context" in document:
        context = _example(document["context"])
    if "examples" not in document:
        raise invalid_argument(
            f"JSON Value: {shown(document)} When method is classify, key "
            "'examples' is expected and was not found"
        )
    items = document["examples"]
    if not isinstance(items, list):
        raise invalid_argument(
            f"JSON Value: {shown(document)} Expecting 'examples' value to be "
            "an list/array"
        )
    if not items:
        raise invalid_argument(
            f"JSON Value: {shown(document)} 'examples' value is an empty array"
        )
    # Concatenated messages merge; TensorFlow Serving does the same.
    return [context + _example(value) for value in items]


def _example(value: Any) -> bytes:
    """Returns a serialized example."""
    if not isinstance(value, dict):
        raise invalid_argument(
            "Example must be JSON object but got JSON "
            f"{json_text.kind_of(value)}"
        )
    example = Example()
    for name, content in value.items():
        key = json_text.string_bytes(name).decode("utf-8", "replace")
        feature = example.features.feature[key]
        kind = ""
        for item in content if isinstance(content, list) else [content]:
            item_kind, converted = _feature_value(item, name)
            if kind not in ("", item_kind):
                raise invalid_argument(
                    f"Unexpected element type in feature: {name} expecting "
                    f"type: {kind}"
                )
            kind = item_kind
            getattr(feature, _LISTS[kind]).value.append(converted)
    return example.SerializeToString(deterministic=True)


def _feature_value(item: Any, name: str) -> tuple[str, Any]:
    """Returns the kind of `tf.train.Feature` for a value, and the value."""
    if isinstance(item, bool):
        return "int64", int(item)
    if isinstance(item, str):
        return "bytes", json_text.string_bytes(item)
    if rest_requests.is_base64(item):
        return "bytes", rest_requests.from_base64(item)
    if isinstance(item, float):
        return "float", rest_requests.to_float(item, "float32")
    if isinstance(item, int):
        if item > _MOST_INT64:
            raise invalid_argument(
                f"Feature: {name} has uint64 element. Only int64 is supported."
            )
        if item < -_MOST_INT64 - 1:
            raise _bad_type(name, item)
        return "int64", item
    raise _bad_type(name, item)


def _bad_type(name: str, item: Any) -> ServingError:
    return invalid_argument(
        f"Feature: {name} has element with unexpected JSON type: "
        f"{json_text.kind_of(item)}"
    )
