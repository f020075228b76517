"""JSON as TensorFlow Serving reads and writes it.

TensorFlow Serving parses with RapidJSON: NaN and Infinity are numbers, text
after the document is ignored, and strings may hold any bytes. Such bytes become
surrogates in `str`.

Reference: tensorflow/serving 2.20, util/json_tensor.cc; RapidJSON, error/en.h.
"""

import itertools
import json
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfllm.server.statuses import ServingError, invalid_argument

_DECODER = json.JSONDecoder()
_SPACE = re.compile(r"[ \t\n\r]*")
# Python's message -> RapidJSON's message.
_MESSAGES = {
    "Expecting value": "Invalid value.",
    "Illegal trailing comma": "Invalid value.",
    "Expecting property name": "Missing a name for object member.",
    "Expecting ':'": "Missing a colon after a name of object member.",
    "Unterminated string": "Missing a closing quotation mark in string.",
    "Invalid control character": "Invalid encoding in string.",
    "Invalid \\escape": "Invalid escape character in string.",
    "Invalid \\uXXXX": "Incorrect hex digit after \\u escape in string.",
}
# By the innermost open bracket.
_MISSING_COMMA = {
    "{": "Missing a comma or '}' after an object member.",
    "[": "Missing a comma or ']' after an array element.",
}
_LONGEST_SHOWN = 256


def parse(body: bytes) -> dict[str, Any]:
    """Parses the body of a request.

    Raises:
        ServingError: It is not JSON, or not an object.
    """
    if not body:
        raise invalid_argument("JSON Parse error: The document is empty")
    text = body.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
    start = _SPACE.match(text).end()  # type: ignore[union-attr]  # matches ""
    if start == len(text):
        raise _parse_error("The document is empty.", start)
    try:
        document, _ = _DECODER.raw_decode(text, start)
    except json.JSONDecodeError as error:
        raise _explained(error) from error
    except RecursionError as error:
        raise invalid_argument("JSON Parse error: Nested too deep.") from error
    except ValueError as error:  # an integer of thousands of digits
        raise _parse_error(
            "Number too big to be stored in double.", start
        ) from error
    if not isinstance(document, dict):
        raise invalid_argument(f"JSON Value: {shown(document)} Is not object")
    return document


def nested_too_deep() -> ServingError:
    """Returns the error for a body nested too deeply."""
    return invalid_argument("JSON Parse error: Nested too deep.")


def _parse_error(words: str, offset: int) -> ServingError:
    return invalid_argument(f"JSON Parse error: {words} at offset: {offset}")


def _explained(error: json.JSONDecodeError) -> ServingError:
    """Returns RapidJSON's message for an error, with its byte offset."""
    text, place = error.doc, error.pos
    words = next(
        (ours for theirs, ours in _MESSAGES.items() if theirs in error.msg),
        _MISSING_COMMA[_open_bracket(text[:place])],
    )
    if "trailing comma" in error.msg:  # Python 3.13 points at the comma
        place = _SPACE.match(text, place + 1).end()  # type: ignore[union-attr]
    if "Unterminated" in error.msg:
        place = len(text)
    return _parse_error(
        words, len(text[:place].encode("utf-8", "surrogatepass"))
    )


def _open_bracket(text: str) -> str:
    """Returns the innermost open bracket of the start of a document."""
    brackets: list[str] = []
    for match in re.finditer(r'"(?:[^"\\]|\\.)*"|[][{}]', text):
        if match[0] in ("{", "["):
            brackets.append(match[0])
        elif match[0] in ("}", "]") and brackets:
            brackets.pop()
    return brackets[-1] if brackets else "["


def kind_of(value: Any) -> str:
    """Returns RapidJSON's name of the type of a value."""
    if value is None:
        return "Null"
    if isinstance(value, bool):
        return str(value)
    for kind, name in (
        (dict, "Object"),
        (list, "Array"),
        (str, "String"),
    ):
        if isinstance(value, kind):
            return name
    return "Number"


def shown(value: Any) -> str:
    """Returns a value as JSON text for a message, cut after 256 bytes."""
    if isinstance(value, list | dict):
        # A body may hold millions of values, most of which are cut.
        value = _beginning(value)
    text = json.dumps(value, ensure_ascii=False, indent=4)
    content = text.encode("utf-8", "surrogatepass")[:_LONGEST_SHOWN]
    return content.decode("utf-8", "replace")


def _beginning(value: Any, most: int = 4 * _LONGEST_SHOWN) -> Any:
    """Returns the start of a value: fewer items at each level."""
    if isinstance(value, str):
        return value[: most + 1]
    if not isinstance(value, list | dict) or not most:
        return value if not isinstance(value, list | dict) else type(value)()
    if isinstance(value, list):
        return [_beginning(item, most // 2) for item in value[:most]]
    pairs = itertools.islice(value.items(), most)
    return {key: _beginning(item, most // 2) for key, item in pairs}


def string_bytes(text: str) -> bytes:
    """Returns the bytes of a string of a request."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise invalid_argument(
            "JSON Parse error: The surrogate pair in string is invalid."
        ) from error


def quoted(content: bytes) -> str:
    """Returns a JSON string; bytes that are not UTF-8 are kept."""
    return json.dumps(
        content.decode("utf-8", "surrogateescape"), ensure_ascii=False
    )


def decimals(values: np.ndarray) -> list[str]:
    """Returns floats in six digits, or in nine (17) where six lose precision.

    Whole numbers end in `.0`, so that a list has one type.
    """
    flat = values.ravel()
    numbers = flat.tolist()
    texts = [f"{number:g}" for number in numbers]
    with np.errstate(over="ignore"):
        again = np.array([float(t) for t in texts]).astype(flat.dtype)
    exact = again == flat
    digits = 17 if flat.dtype == np.float64 else 9
    return [
        _decimal(texts[i] if exact[i] else f"{number:.{digits}g}")
        for i, number in enumerate(numbers)
    ]


def _decimal(text: str) -> str:
    if text.lstrip("-") == "inf":
        return text.replace("inf", "Infinity")
    if text == "nan":
        return "NaN"
    return text if "." in text or "e" in text else f"{text}.0"


def encode(lines: Sequence[str]) -> bytes:
    """Returns the body of a response."""
    return "".join(lines).encode("utf-8", "surrogateescape")


def error_body(message: str) -> bytes:
    """Returns the body of an error."""
    return (
        json.dumps({"error": message}, ensure_ascii=False, indent=4)
    ).encode("utf-8", "backslashreplace")
