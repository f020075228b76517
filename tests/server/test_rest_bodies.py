"""Requests to arrays and arrays to responses, down to the spaces."""

from typing import Any

import numpy as np
import pytest

from tfllm.runtime.saved_model_file import Signature, TensorInfo
from tfllm.server import rest_examples, rest_requests, rest_responses
from tfllm.server.protos import Example
from tfllm.server.statuses import ServingError


def infos(**dtypes: str) -> dict[str, TensorInfo]:
    return {name: TensorInfo(name, d, None) for name, d in dtypes.items()}


def arrays(document: dict[str, Any], **dtypes: str) -> dict[str, np.ndarray]:
    signature = Signature(infos(**dtypes), {}, "")
    return rest_requests.tensors(document, signature)[1]


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        ("float32", 1.5),
        ("float64", 1e300),
        ("int32", -(2**31)),
        ("int64", 2**63 - 1),
        ("uint32", 2**32 - 1),
        ("uint64", 2**64 - 1),
        ("uint8", 255),
        ("bool", True),
    ],
)
def test_numbers(dtype: str, value: Any) -> None:
    found = arrays({"inputs": [[value]]}, x=dtype)["x"]
    assert found.dtype == dtype
    assert found.tolist() == [[value]]
    assert arrays({"instances": [[value]]}, x=dtype)["x"].tolist() == [[value]]


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        ("float32", True),
        ("float32", 1e39),
        ("float64", 2**53),
        ("int32", 2**31),
        ("int32", 1.0),
        ("int64", 2**63),
        ("uint32", -1),
        ("bool", 0),
        ("string", None),
        ("string", {"b64": 1}),
        ("int32", {"b64": "aa"}),
        ("complex64", 1),
    ],
)
def test_values_that_do_not_fit(dtype: str, value: Any) -> None:
    with pytest.raises(ServingError):
        arrays({"inputs": [value]}, x=dtype)


def test_shapes() -> None:
    assert arrays({"inputs": 1}, x="int32")["x"].shape == ()
    assert arrays({"inputs": []}, x="int32")["x"].shape == (0,)
    assert arrays({"inputs": [[], []]}, x="int32")["x"].shape == (2, 0)
    assert arrays({"instances": [[], []]}, x="int32")["x"].shape == (2, 0)
    deep = [[[[1]]], [[[2]]]]
    assert arrays({"instances": deep}, x="int32")["x"].shape == (2, 1, 1, 1)


def body(form: str, dtype: str = "int32", **values: Any) -> str:
    outputs = {name: np.array(value) for name, value in values.items()}
    if dtype == "string":
        outputs = {n: a.astype(object) for n, a in outputs.items()}
    if dtype == "float32":
        outputs = {n: a.astype(dtype) for n, a in outputs.items()}
    found = infos(**dict.fromkeys(outputs, dtype))
    content = rest_responses.response(form, outputs, found)
    return content.decode("utf-8", "backslashreplace")


def test_rows_as_the_server_prints_them() -> None:
    assert body("instances", a=[1, 2]) == (
        '{\n    "predictions": [1, 2\n    ]\n}'
    )
    assert body("instances", a=[[1, 2], [3, 4]]) == (
        '{\n    "predictions": [[1, 2], [3, 4]\n    ]\n}'
    )
    assert body("instances", a=[1, 2], b=[[[3]], [[4]]]) == (
        '{\n    "predictions": [\n'
        '        {\n            "a": 1,\n            "b": [[3]]\n        },\n'
        '        {\n            "a": 2,\n            "b": [[4]]\n        }\n'
        "    ]\n}"
    )


def test_columns_as_the_server_prints_them() -> None:
    assert body("inputs", a=[1, 2]) == (
        '{\n    "outputs": [\n        1,\n        2\n    ]\n}'
    )
    assert body("inputs", a=1, b=[[]]) == (
        '{\n    "outputs": {\n        "a": 1,\n        "b": [\n'
        "            []\n        ]\n    }\n}"
    )


def test_empty_axes() -> None:
    for shape, expected in (
        ((2, 0), "[], []"),
        ((1, 2, 0), "[[], []]"),
        ((2, 0, 3), "[], []"),
    ):
        found = body("instances", a=np.zeros(shape, int))
        assert found == f'{{\n    "predictions": [{expected}\n    ]\n}}'


def test_strings_and_bytes() -> None:
    text = b'a"\n\xff'
    found = body("instances", "string", a=[text])
    assert found == ('{\n    "predictions": ["a\\"\\n\\xff"\n    ]\n}')
    assert body("instances", "string", a_bytes=[b"abc"]) == (
        '{\n    "predictions": [{"b64": "YWJj"}\n    ]\n}'
    )


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"a": 1}, "Tensor name: a has no shape information"),
        ({"a": []}, "Tensor name: a has invalid batch size: 0"),
        (
            {"a": [1], "b": [1, 2]},
            "Tensor name: b has inconsistent batch size: 2 expecting: 1",
        ),
    ],
)
def test_rows_that_are_none(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ServingError, match=words):
        body("instances", **values)


def test_examples() -> None:
    document = {
        "context": {"a": 1, "both": "context"},
        "examples": [
            {"text": "x", "b": [1.5, 2.5], "c": True, "both": "own"},
            {"raw": {"b64": "/w=="}},
        ],
    }
    first, second = map(Example.FromString, rest_examples.examples(document))
    features = first.features.feature
    assert features["text"].bytes_list.value == [b"x"]
    assert features["b"].float_list.value == [1.5, 2.5]
    assert features["c"].int64_list.value == [1]
    assert features["a"].int64_list.value == [1]
    assert features["both"].bytes_list.value == [b"own"]
    assert second.features.feature["raw"].bytes_list.value == [b"\xff"]
    assert second.features.feature["both"].bytes_list.value == [b"context"]


@pytest.mark.parametrize(
    ("example", "words"),
    [
        (1, "Example must be JSON object but got JSON Number"),
        ({"a": None}, "unexpected JSON type: Null"),
        ({"a": [[1]]}, "unexpected JSON type: Array"),
        ({"a": [1, "b"]}, "feature: a expecting type: int64"),
        ({"a": 2**63}, "has uint64 element"),
    ],
)
def test_examples_that_are_none(example: Any, words: str) -> None:
    with pytest.raises(ServingError, match=words):
        rest_examples.examples({"examples": [example]})
