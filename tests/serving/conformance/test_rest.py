"""REST: formats of requests and answers, versions, labels, status."""

import base64
import concurrent.futures
import json
from typing import Any

import pytest

from tests.serving.conformance.target import NAME, Target

NUMBERS = [[1.0, 2.5], [-3.0, 0.0]]


def row(text: str, version: int = 2) -> dict[str, Any]:
    """What the default signature answers to a text."""
    length = len(text.encode())
    return {
        "length": length,
        "upper": text.upper(),
        "score": [
            pytest.approx(length / 8),
            pytest.approx(length * 0.1 + version),
        ],
    }


def test_rows(target: Target) -> None:
    texts = ["ab", "", "Größe", "你好", "👍🏽"]
    found = target.predict({"instances": texts})
    assert found == {"predictions": [row(text) for text in texts]}


def test_columns(target: Target) -> None:
    found = target.predict({"inputs": ["ab", "cde"]})
    assert found == {
        "outputs": {
            "length": [2, 3],
            "upper": ["AB", "CDE"],
            "score": [row("ab")["score"], row("cde")["score"]],
        }
    }


def test_rows_of_one_output_are_bare(target: Target) -> None:
    request = {"signature_name": "one_output", "instances": ["ab", "c"]}
    assert target.predict(request) == {"predictions": [2, 1]}


def test_columns_of_one_output_are_bare(target: Target) -> None:
    request = {"signature_name": "one_output", "inputs": ["ab", "c"]}
    assert target.predict(request) == {"outputs": [2, 1]}


def test_columns_of_one_input_may_be_named(target: Target) -> None:
    request = {"signature_name": "one_output", "inputs": {"text": ["ab"]}}
    assert target.predict(request) == {"outputs": [2]}


def test_rows_of_several_inputs_are_objects(target: Target) -> None:
    rows = [{"text": "a", "text_pair": "b"}, {"text_pair": "d", "text": "c"}]
    request = {"signature_name": "pair", "instances": rows}
    assert target.predict(request) == {"predictions": ["a | b", "c | d"]}


def test_columns_of_several_inputs(target: Target) -> None:
    columns = {"text": ["a", "c"], "text_pair": ["b", "d"]}
    request = {"signature_name": "pair", "inputs": columns}
    assert target.predict(request) == {"outputs": ["a | b", "c | d"]}


def test_matrices(target: Target) -> None:
    request = {"signature_name": "numbers", "instances": NUMBERS}
    doubled = [[2.0, 5.0], [-6.0, 0.0]]
    assert target.predict(request) == {"predictions": doubled}
    request = {"signature_name": "numbers", "inputs": NUMBERS}
    assert target.predict(request) == {"outputs": doubled}


def test_whole_numbers_and_truth_values(target: Target) -> None:
    rows = [
        {"ids": [2**62, -1], "lengths": 2, "flag": True},
        {"ids": [0, 1], "lengths": -5, "flag": False},
    ]
    found = target.predict({"signature_name": "ids", "instances": rows})
    assert found == {
        "predictions": [
            {"ids": [2**62 + 1, 0], "lengths": 2, "flag": False},
            {"ids": [1, 2], "lengths": -5, "flag": True},
        ]
    }


def test_bytes(target: Target) -> None:
    content = bytes(range(256))
    encoded = {"b64": base64.b64encode(content).decode()}
    request = {"signature_name": "raw", "instances": [encoded, "text"]}
    text = {"b64": base64.b64encode(b"text").decode()}
    assert target.predict(request) == {"predictions": [encoded, text]}
    request = {"signature_name": "raw", "inputs": {"raw": [encoded]}}
    assert target.predict(request) == {"outputs": [encoded]}


def test_floats_are_short_and_have_a_point(target: Target) -> None:
    body = '{"signature_name": "numbers", "instances": [[0.1, 4, 1e10, 3.3]]}'
    answer = target.post("predict", body)
    text = "".join(answer.body.decode().split())
    assert text == '{"predictions":[[0.2,8.0,2e+10,6.6]]}'


def test_nan_and_infinity_are_numbers(target: Target) -> None:
    body = '{"signature_name": "numbers", "instances": [[NaN, Infinity]]}'
    (found,) = json.loads(target.post("predict", body).body)["predictions"]
    assert found[0] != found[0]
    assert found[1] == float("inf")


def test_keys_that_are_not_known_are_ignored(target: Target) -> None:
    request = {"instances": ["a"], "more": 1, "signature_name": "one_output"}
    assert target.predict(request) == {"predictions": [1]}


@pytest.mark.parametrize(
    ("place", "version"),
    [
        ("", 2),
        ("/versions/1", 1),
        ("/versions/2", 2),
        ("/labels/stable", 1),
        ("/labels/canary", 2),
    ],
)
def test_versions_and_labels(target: Target, place: str, version: int) -> None:
    request = {"signature_name": "which", "instances": ["a", "b"]}
    assert target.predict(request, place) == {"predictions": [version] * 2}
    assert target.predict({"instances": ["a"]}, place) == {
        "predictions": [row("a", version)]
    }


def test_paths_ignore_case_and_are_decoded(target: Target) -> None:
    path = f"/V1/Models/%63{NAME[1:]}/Versions/1:Predict"
    answer = target.call("POST", path, {"instances": ["a"]})
    assert answer.json == {"predictions": [row("a", 1)]}


def test_classify(target: Target) -> None:
    request = {
        "signature_name": "classify",
        "examples": [{"text": "ab"}, {"text": ["cde"]}, {}],
    }
    found = target.post("classify", request).json
    assert found == {
        "results": [
            [["short", s[0]], ["long", s[1]]]
            for s in (row(text)["score"] for text in ("ab", "cde", ""))
        ]
    }


def test_classify_with_a_context(target: Target) -> None:
    request = {
        "signature_name": "classify",
        "context": {"text": {"b64": base64.b64encode(b"abcd").decode()}},
        "examples": [{}],
    }
    ((first, _),) = target.post("classify", request).json["results"]
    assert first == ["short", 0.5]


def test_regress(target: Target) -> None:
    request = {
        "signature_name": "regress",
        "examples": [{"text": "abcd"}, {"text": ""}],
    }
    assert target.post("regress", request).json == {"results": [0.5, 0.0]}


def test_status(target: Target) -> None:
    available = {
        "state": "AVAILABLE",
        "status": {"error_code": "OK", "error_message": ""},
    }
    answer = target.call("GET", f"/v1/models/{NAME}")
    assert answer.status == 200
    found = answer.json["model_version_status"]
    assert sorted(found, key=lambda entry: entry["version"]) == [
        {"version": "1", **available},
        {"version": "2", **available},
    ]
    one = target.call("GET", f"/v1/models/{NAME}/versions/1").json
    assert one == {"model_version_status": [{"version": "1", **available}]}


def test_metadata(target: Target) -> None:
    found = target.call("GET", f"/v1/models/{NAME}/versions/1/metadata").json
    spec = found["model_spec"]
    assert (spec["name"], spec["version"]) == (NAME, "1")
    signatures = found["metadata"]["signature_def"]["signature_def"]
    default = signatures["serving_default"]
    assert default["method_name"] == "tensorflow/serving/predict"
    text = default["inputs"]["text"]
    assert text["dtype"] == "DT_STRING"
    assert text["tensor_shape"] == {
        "dim": [{"size": "-1", "name": ""}],
        "unknown_rank": False,
    }
    assert set(default["outputs"]) == {"length", "upper", "score"}
    assert set(signatures) >= {"pair", "classify", "regress", "ids"}


def test_an_answer_is_the_same_alone_and_among_others(target: Target) -> None:
    texts = [f"text {'x' * (i % 17)} {i}" for i in range(96)]
    alone = [target.predict({"instances": [text]}) for text in texts]
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        merged = list(
            pool.map(lambda t: target.predict({"instances": [t]}), texts)
        )
    together = target.predict({"instances": texts})["predictions"]
    assert merged == alone
    assert [{"predictions": [answer]} for answer in together] == alone


def test_prometheus(target: Target) -> None:
    target.predict({"instances": ["a"]})
    answer = target.call("GET", "/monitoring/prometheus/metrics")
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain")
    lines = answer.body.decode().splitlines()
    counts = [
        int(line.rpartition(" ")[2])
        for line in lines
        if line.startswith(":tensorflow:serving:request_count{")
        and f'model_name="{NAME}"' in line
        and 'status="OK"' in line
    ]
    assert counts
    assert counts[0] > 0
    assert "# TYPE :tensorflow:serving:request_latency histogram" in lines
    assert any(
        line.startswith(":tensorflow:serving:request_latency_bucket{")
        and 'API="Predict"' in line
        and 'entrypoint="REST"' in line
        and 'le="+Inf"' in line
        for line in lines
    )
