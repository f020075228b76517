"""REST: what goes wrong, with the status and the words of the real server."""

from typing import Any

import pytest

from tests.serving.conformance.target import NAME, Target

PREDICT = f"/v1/models/{NAME}:predict"
PAIR = {"signature_name": "pair"}
NUMBERS = {"signature_name": "numbers"}

# Path, body, status, words that the message holds in this order.
ERRORS: dict[str, tuple[str, Any, int, list[str]]] = {
    "no body": (
        PREDICT,
        "",
        400,
        ["JSON Parse error: The document is empty"],
    ),
    "no JSON": (
        PREDICT,
        "instances = [1, 2]",
        400,
        ["JSON Parse error: Invalid value. at offset: 0"],
    ),
    "cut JSON": (
        PREDICT,
        '{"instances": ["a"',
        400,
        [
            "JSON Parse error: Missing a comma or ",
            " after an array element. at offset: 18",
        ],
    ),
    "no object": (
        PREDICT,
        "[1]",
        400,
        ["JSON Value: [", "] Is not object"],
    ),
    "neither format": (
        PREDICT,
        {"texts": ["a"]},
        400,
        ["Missing 'inputs' or 'instances' key"],
    ),
    "both formats": (
        PREDICT,
        {"inputs": ["a"], "instances": ["a"]},
        400,
        [
            "JSON Value: {",
            "Not formatted correctly expecting only one of 'inputs' or "
            "'instances' keys to exist",
        ],
    ),
    "instances are no list": (
        PREDICT,
        {"instances": "a"},
        400,
        ["JSON Value: {", "Excepting 'instances' to be an list/array"],
    ),
    "no instances": (
        PREDICT,
        {"instances": []},
        400,
        ["JSON Value: {", "No values in 'instances' array"],
    ),
    "another type": (
        PREDICT,
        {"instances": ["a", 1]},
        400,
        [
            "Failed to process element: 1 of 'instances' list. Error: ",
            "JSON Value: 1 Type: Number is not of expected type: string",
        ],
    ),
    "text for a float": (
        PREDICT,
        {**NUMBERS, "inputs": [["a"]]},
        400,
        ['JSON Value: "a" Type: String is not of expected type: float'],
    ),
    "too large for a float": (
        PREDICT,
        {**NUMBERS, "inputs": [[2**24]]},
        400,
        [
            "Cannot convert JSON value: 16777216 to float without loss of "
            "precision."
        ],
    ),
    "ragged rows": (
        PREDICT,
        {**NUMBERS, "instances": [[1.0, 2.0], [3.0]]},
        400,
        [
            "Failed to process element: 1 of 'instances' list. Error: ",
            "Expecting tensor size: 2 but got: 1",
        ],
    ),
    "ragged columns": (
        PREDICT,
        {**NUMBERS, "inputs": [[1.0, 2.0], [3.0]]},
        400,
        ["Encountered list at unexpected size: 1 at level: 1 expected size: 2"],
    ),
    "a value among lists": (
        PREDICT,
        {**NUMBERS, "inputs": [[1.0], 2.0]},
        400,
        [
            "JSON Value: 2.0 found at incorrect level: 2 in the JSON DOM. "
            "Expected at level: 2"
        ],
    ),
    "a plain list for two inputs": (
        PREDICT,
        {**PAIR, "instances": ["a"]},
        400,
        [
            "instances is a plain list, but expecting list of objects as "
            "multiple input tensors required as per tensorinfo_map"
        ],
    ),
    "a plain value for two inputs": (
        PREDICT,
        {**PAIR, "inputs": ["a"]},
        400,
        [
            "inputs is a plain value/list, but expecting an object as "
            "multiple input tensors required as per tensorinfo_map"
        ],
    ),
    "an input is missing in a row": (
        PREDICT,
        {**PAIR, "instances": [{"text": "a"}]},
        400,
        [
            "Failed to process element: 0 of 'instances' list. JSON object: {",
            "keys must be equal to: text,text_pair",
        ],
    ),
    "an input is missing in the columns": (
        PREDICT,
        {**PAIR, "inputs": {"text": ["a"]}},
        400,
        ["Missing named input: text_pair in 'inputs' object."],
    ),
    "an input that is not known": (
        PREDICT,
        {"instances": [{"texts": "a"}]},
        400,
        [
            "Failed to process element: 0 key: texts of 'instances' list. "
            "Error: ",
            "JSON object: does not have named input: texts",
        ],
    ),
    "no base64": (
        PREDICT,
        {"signature_name": "raw", "instances": [{"b64": "?"}]},
        400,
        ["Unable to base64 decode"],
    ),
    "an output without rows": (
        PREDICT,
        {"signature_name": "scalar", "instances": ["a"]},
        400,
        ["Tensor name: count has no shape information"],
    ),
    "unknown signature": (
        PREDICT,
        {"signature_name": "none", "instances": ["a"]},
        400,
        ['Serving signature name: "none" not found in signature def'],
    ),
    "signature is no string": (
        PREDICT,
        {"signature_name": 1, "instances": ["a"]},
        400,
        ["'signature_name' key must be a string value."],
    ),
    "unknown model": (
        "/v1/models/none:predict",
        {"instances": ["a"]},
        404,
        ["Servable not found for request: Latest(none)"],
    ),
    "unknown version": (
        f"/v1/models/{NAME}/versions/7:predict",
        {"instances": ["a"]},
        404,
        [f"Servable not found for request: Specific({NAME}, 7)"],
    ),
    "unknown label": (
        f"/v1/models/{NAME}/labels/none:predict",
        {"instances": ["a"]},
        400,
        ["Unrecognized servable version label: none"],
    ),
    "unknown verb": (
        f"/v1/models/{NAME}:guess",
        {"instances": ["a"]},
        400,
        [f"Malformed request: POST /v1/models/{NAME}:guess"],
    ),
    "classify without examples": (
        f"/v1/models/{NAME}:classify",
        {"signature_name": "classify", "examples": []},
        400,
        ["'examples' value is an empty array"],
    ),
    "classify what does not classify": (
        f"/v1/models/{NAME}:classify",
        {"signature_name": "pair", "examples": [{"text": "a"}]},
        400,
        ["Expected one input Tensor."],
    ),
    "a feature of two types": (
        f"/v1/models/{NAME}:classify",
        {"signature_name": "classify", "examples": [{"text": ["a", 1]}]},
        400,
        ["Unexpected element type in feature: text expecting type: bytes"],
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_error(target: Target, name: str) -> None:
    path, body, status, words = ERRORS[name]
    answer = target.call("POST", path, body)
    assert answer.status == status, answer.body
    assert answer.headers["content-type"] == "application/json"
    message = answer.json["error"]
    place = 0
    for part in words:
        place = message.find(part, place)
        assert place >= 0, (part, message)
        place += len(part)


@pytest.mark.parametrize(
    ("method", "path", "status", "words"),
    [
        (
            "GET",
            "/v1/models/none",
            404,
            "Could not find any versions of model none",
        ),
        (
            "GET",
            f"/v1/models/{NAME}/versions/7",
            404,
            f"Could not find version 7 of model {NAME}",
        ),
        ("GET", "/v1/models", 400, "Missing model name in request."),
        ("GET", PREDICT, 400, f"Malformed request: GET {PREDICT}"),
        (
            "GET",
            "/v1/models/none/metadata",
            404,
            "Servable not found for request: Latest(none)",
        ),
    ],
)
def test_error_of_status(
    target: Target, method: str, path: str, status: int, words: str
) -> None:
    answer = target.call(method, path)
    assert (answer.status, answer.json) == (status, {"error": words})


def test_a_path_that_is_not_known(target: Target) -> None:
    assert target.call("GET", "/v2/models").status == 404


def test_long_values_are_cut_in_messages(target: Target) -> None:
    answer = target.call("POST", PREDICT, {"instances": "x" * 100_000})
    assert answer.status == 400
    assert len(answer.body) < 1000
