"""JSON in RapidJSON's words and numbers."""

import json
import struct

import numpy as np
import pytest

from tfllm.server import json_text
from tfllm.server.statuses import ServingError


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"  ", "The document is empty. at offset: 2"),
        (b'{"a": }', "Invalid value. at offset: 6"),
        (b'{"a": [1,]}', "Invalid value. at offset: 9"),
        (b"{1: 2}", "Missing a name for object member. at offset: 1"),
        (
            b'{"a" 1}',
            "Missing a colon after a name of object member. at offset: 5",
        ),
        (
            b'{"a": 1 "b"}',
            "Missing a comma or '}' after an object member. at offset: 8",
        ),
        (
            b'{"a": [1, "]" 2]}',
            "Missing a comma or ']' after an array element. at offset: 14",
        ),
        (
            '{"ä": "b'.encode(),
            "Missing a closing quotation mark in string. at offset: 9",
        ),
        (b'{"a": "\x01"}', "Invalid encoding in string. at offset: 7"),
        (b'{"a": "\\x"}', "Invalid escape character in string. at offset: 7"),
        (
            b'{"a": "\\u12"}',
            "Incorrect hex digit after \\u escape in string. at offset: 8",
        ),
    ],
)
def test_errors(body: bytes, words: str) -> None:
    with pytest.raises(ServingError) as error:
        json_text.parse(body)
    assert error.value.code == "INVALID_ARGUMENT"
    assert error.value.message == f"JSON Parse error: {words}"


def test_what_follows_the_document_is_ignored() -> None:
    assert json_text.parse(b'\xef\xbb\xbf {"a": NaN} and more')["a"] is not None


def test_deep_nesting_is_a_value() -> None:
    body = b'{"a": ' + b"[" * 500 + b"]" * 500 + b"}"
    shown = json_text.shown(json_text.parse(body))
    assert shown.startswith('{\n    "a": [\n        [\n            [')


def test_deeper_nesting_is_an_error() -> None:
    body = b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    with pytest.raises(ServingError, match="Nested too deep"):
        json_text.parse(body)


def test_integers_of_thousands_of_digits() -> None:
    with pytest.raises(ServingError, match="Number too big"):
        json_text.parse(b'{"a": ' + b"9" * 5000 + b"}")


def test_bytes_that_are_no_text_survive() -> None:
    text = json_text.parse(b'{"a": "\xff\xc3"}')["a"]
    assert json_text.string_bytes(text) == b"\xff\xc3"
    assert json_text.encode([json_text.quoted(b"\xff\xc3")]) == b'"\xff\xc3"'


def test_half_a_character_is_an_error() -> None:
    text = json_text.parse(b'{"a": "\\ud800"}')["a"]
    with pytest.raises(ServingError, match="surrogate pair"):
        json_text.string_bytes(text)


def test_decimals() -> None:
    values = np.array(
        [0.0, -0.0, 1, 2.5, 0.1, 1 / 3, 1e6, 1e-7, 123456789, np.nan],
        np.float32,
    )
    assert json_text.decimals(values) == [
        "0.0",
        "-0.0",
        "1.0",
        "2.5",
        "0.1",
        "0.333333343",
        "1e+06",
        "1e-07",
        "123456792.0",
        "NaN",
    ]
    limits = np.array([np.inf, -np.inf], np.float32)
    assert json_text.decimals(limits) == ["Infinity", "-Infinity"]
    assert json_text.decimals(np.array([1 / 3])) == ["0.33333333333333331"]


@pytest.mark.parametrize(("dtype", "size"), [("float32", 4), ("float64", 8)])
def test_decimals_are_exact(dtype: str, size: int) -> None:
    rng = np.random.default_rng(0)
    values = np.frombuffer(rng.bytes(size * 5000), dtype)
    values = values[np.isfinite(values)]
    texts = json_text.decimals(values)
    again = np.array([float(text) for text in texts]).astype(dtype)
    assert again.tobytes() == values.tobytes()
    assert all("." in text or "e" in text for text in texts)


def test_messages_are_cut() -> None:
    assert len(json_text.shown([["x" * 1000] * 1000] * 1000)) <= 256
    assert json_text.shown({"a": [1, 2.0, None]}) == (
        '{\n    "a": [\n        1,\n        2.0,\n        null\n    ]\n}'
    )


def test_error_bodies_are_json_whatever_the_words() -> None:
    for words in ('"quoted" \\ \n', "\udcff", "\ud800", "你好"):
        json.loads(json_text.error_body(words))


def test_kinds() -> None:
    kinds = [None, True, False, {}, [], "", 1, 1.5]
    assert [json_text.kind_of(value) for value in kinds] == [
        "Null",
        "True",
        "False",
        "Object",
        "Array",
        "String",
        "Number",
        "Number",
    ]


def test_struct_agrees_about_float32() -> None:
    """The cast that `decimals` relies on rounds as C does."""
    for number in (0.1, 1 / 3, 1e-45, 16777217.0):
        (theirs,) = struct.unpack("f", struct.pack("f", number))
        assert float(np.float32(number)) == theirs
