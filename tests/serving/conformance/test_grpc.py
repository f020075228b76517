"""gRPC: the official stubs, typed and packed tensors, codes and words."""

from typing import Any

import grpc
import numpy as np
import pytest

from tests.serving.conformance.target import NAME
from tfllm.server import protos

STRING, FLOAT, INT32, INT64 = 7, 1, 3, 9


def tensor(dtype: int, shape: list[int], **values: Any) -> Any:
    proto = protos.TensorProto(dtype=dtype, **values)
    for size in shape:
        proto.tensor_shape.dim.add(size=size)
    return proto


def texts(*values: str) -> Any:
    content = [value.encode() for value in values]
    return tensor(STRING, [len(values)], string_val=content)


def request(signature: str = "", **inputs: Any) -> Any:
    found = protos.PredictRequest()
    found.model_spec.name = NAME
    found.model_spec.signature_name = signature
    for name, proto in inputs.items():
        found.inputs[name].CopyFrom(proto)
    return found


def examples(message: Any, signature: str, *values: str) -> Any:
    message.model_spec.name = NAME
    message.model_spec.signature_name = signature
    for value in values:
        example = message.input.example_list.examples.add()
        feature = example.features.feature["text"]
        feature.bytes_list.value.append(value.encode())
    return message


def failure(call: Any, message: Any) -> tuple[str, str]:
    """Returns the code and the words that a call fails with."""
    with pytest.raises(grpc.RpcError) as error:
        call(message, timeout=30)
    return error.value.code().name, error.value.details()


def test_predict(prediction: Any) -> None:
    found = prediction.Predict(request(text=texts("ab", "Größe")), timeout=30)
    assert found.model_spec.name == NAME
    assert found.model_spec.version.value == 2
    assert found.model_spec.signature_name == "serving_default"
    assert set(found.outputs) == {"length", "upper", "score"}
    upper = found.outputs["upper"]
    assert upper.dtype == STRING
    assert list(upper.string_val) == [b"AB", "GRÖSSE".encode()] or list(
        upper.string_val
    ) == [b"AB", "GRÖßE".encode()]
    assert list(found.outputs["length"].int_val) == [2, 7]
    score = found.outputs["score"]
    assert [dim.size for dim in score.tensor_shape.dim] == [2, 2]
    assert list(score.float_val) == pytest.approx([0.25, 2.2, 0.875, 2.7])


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("by_label", [False, True])
def test_versions_and_labels(
    prediction: Any, version: int, by_label: bool
) -> None:
    message = request("which", text=texts("a"))
    if by_label:
        message.model_spec.version_label = ["stable", "canary"][version - 1]
    else:
        message.model_spec.version.value = version
    found = prediction.Predict(message, timeout=30)
    assert list(found.outputs["version"].int_val) == [version]
    assert found.model_spec.version.value == version


def test_output_filter(prediction: Any) -> None:
    message = request(text=texts("ab"))
    message.output_filter.append("length")
    found = prediction.Predict(message, timeout=30)
    assert set(found.outputs) == {"length"}


def test_packed_and_typed_tensors_are_the_same(prediction: Any) -> None:
    x = np.arange(6, dtype="float32").reshape(2, 3)
    packed = tensor(FLOAT, [2, 3], tensor_content=x.tobytes())
    typed = tensor(FLOAT, [2, 3], float_val=x.ravel())
    for proto in (packed, typed):
        found = prediction.Predict(request("numbers", x=proto), timeout=30)
        y = found.outputs["y"]
        assert list(y.float_val) == (2 * x).ravel().tolist()
        assert [dim.size for dim in y.tensor_shape.dim] == [2, 3]


def test_one_value_fills_a_tensor(prediction: Any) -> None:
    proto = tensor(FLOAT, [2, 2], float_val=[1.5])
    found = prediction.Predict(request("numbers", x=proto), timeout=30)
    assert list(found.outputs["y"].float_val) == [3.0] * 4


def test_whole_numbers_and_truth_values(prediction: Any) -> None:
    message = request(
        "ids",
        ids=tensor(INT64, [1, 2], int64_val=[2**62, -1]),
        lengths=tensor(INT32, [1], int_val=[-5]),
        flag=tensor(10, [1], bool_val=[True]),
    )
    found = prediction.Predict(message, timeout=30).outputs
    assert list(found["ids"].int64_val) == [2**62 + 1, 0]
    assert list(found["lengths"].int_val) == [-5]
    assert list(found["flag"].bool_val) == [False]


def test_any_bytes(prediction: Any) -> None:
    content = bytes(range(256))
    proto = tensor(STRING, [1], string_val=[content])
    found = prediction.Predict(request("raw", raw=proto), timeout=30)
    assert list(found.outputs["same_bytes"].string_val) == [content]


def test_classify(prediction: Any) -> None:
    message = examples(protos.ClassificationRequest(), "classify", "ab", "abcd")
    found = prediction.Classify(message, timeout=30)
    rows = [
        [(c.label, c.score) for c in row.classes]
        for row in found.result.classifications
    ]
    assert rows == [
        [("short", 0.25), ("long", pytest.approx(2.2))],
        [("short", 0.5), ("long", pytest.approx(2.4))],
    ]
    assert found.model_spec.version.value == 2


def test_regress(prediction: Any) -> None:
    message = examples(protos.RegressionRequest(), "regress", "ab", "abcd")
    found = prediction.Regress(message, timeout=30)
    assert [r.value for r in found.result.regressions] == [0.25, 0.5]


def test_an_unknown_signature(prediction: Any) -> None:
    message = request("none", text=texts("a"))
    assert failure(prediction.Predict, message) == (
        "FAILED_PRECONDITION",
        'Serving signature key "none" not found.',
    )


def test_an_unknown_model_version_and_label(prediction: Any) -> None:
    message = request(text=texts("a"))
    message.model_spec.name = "none"
    assert failure(prediction.Predict, message) == (
        "NOT_FOUND",
        "Servable not found for request: Latest(none)",
    )
    message.model_spec.name = NAME
    message.model_spec.version.value = 7
    assert failure(prediction.Predict, message) == (
        "NOT_FOUND",
        f"Servable not found for request: Specific({NAME}, 7)",
    )
    message.model_spec.version_label = "none"
    assert failure(prediction.Predict, message) == (
        "INVALID_ARGUMENT",
        "Unrecognized servable version label: none",
    )


def test_inputs_that_are_not_those_of_the_signature(prediction: Any) -> None:
    message = request("pair", text=texts("a"))
    assert failure(prediction.Predict, message) == (
        "INVALID_ARGUMENT",
        "input size does not match signature: 1!=2 len({text}) != "
        "len({text,text_pair}). Sent extra: {}. Missing but required: "
        "{text_pair}.",
    )


def test_another_type(prediction: Any) -> None:
    message = request(text=tensor(FLOAT, [1], float_val=[1.0]))
    code, words = failure(prediction.Predict, message)
    assert code == "INVALID_ARGUMENT"
    assert "to be string but float is provided" in words


def test_a_tensor_that_is_none(prediction: Any) -> None:
    proto = tensor(FLOAT, [2, 3], tensor_content=b"123")
    code, words = failure(prediction.Predict, request("numbers", x=proto))
    assert code == "INVALID_ARGUMENT"
    assert "tensor parsing error: x" in words


def test_an_unknown_output(prediction: Any) -> None:
    message = request(text=texts("a"))
    message.output_filter.append("none")
    code, words = failure(prediction.Predict, message)
    assert code == "INVALID_ARGUMENT"
    assert "output tensor alias not found in signature: none" in words
    message.output_filter[:] = ["length", "length"]
    assert failure(prediction.Predict, message) == (
        "INVALID_ARGUMENT",
        "duplicate output tensor alias: length",
    )


def test_a_deadline(prediction: Any) -> None:
    message = request("slow", count=tensor(INT32, [1], int_val=[10**7]))
    with pytest.raises(grpc.RpcError) as error:
        prediction.Predict(message, timeout=0.3)
    assert error.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED


def test_metadata(prediction: Any) -> None:
    message = protos.GetModelMetadataRequest()
    message.model_spec.name = NAME
    message.metadata_field.append("signature_def")
    found = prediction.GetModelMetadata(message, timeout=30)
    assert found.model_spec.version.value == 2
    signatures = protos.SignatureDefMap()
    assert found.metadata["signature_def"].Unpack(signatures)
    default = signatures.signature_def["serving_default"]
    assert default.inputs["text"].dtype == STRING
    assert default.outputs["score"].dtype == FLOAT
    message.metadata_field[:] = ["graph"]
    code, words = failure(prediction.GetModelMetadata, message)
    assert code == "INVALID_ARGUMENT"
    assert words.startswith("Metadata field")
    del message.metadata_field[:]
    assert failure(prediction.GetModelMetadata, message) == (
        "INVALID_ARGUMENT",
        "GetModelMetadataRequest must specify at least one metadata_field",
    )


def test_status(models: Any) -> None:
    message = protos.GetModelStatusRequest()
    message.model_spec.name = NAME
    found = models.GetModelStatus(message, timeout=30)
    available = protos.ModelVersionStatus.AVAILABLE
    assert sorted(
        (v.version, v.state, v.status.error_code)
        for v in found.model_version_status
    ) == [(1, available, 0), (2, available, 0)]
    message.model_spec.version.value = 7
    assert failure(models.GetModelStatus, message) == (
        "NOT_FOUND",
        f"Could not find version 7 of model {NAME}",
    )
