"""Predict, Classify and Regress on a loaded version, for REST and gRPC.

Error messages are those of TensorFlow Serving.

Reference: tensorflow/serving 2.20, servables/tensorflow: predict_util.cc,
classifier.cc, regressor.cc.
"""

import time
from collections.abc import Mapping, Sequence

import numpy as np

from tfllm.runtime import input_shapes
from tfllm.runtime.saved_model_file import Signature
from tfllm.server import memory, tensor_protos
from tfllm.server.deadlines import Deadline
from tfllm.server.metrics import Metrics
from tfllm.server.request_checks import braces, checked_inputs
from tfllm.server.servable import Servable
from tfllm.server.statuses import ServingError, invalid_argument

DEFAULT_SIGNATURE = "serving_default"


class Inference:
    """Runs requests, with checks of inputs and outputs.

    Args:
        metrics: Records latencies and counts.
        max_text_bytes: Longest string of a request; None for no limit.
    """

    def __init__(
        self, metrics: Metrics, max_text_bytes: int | None = None
    ) -> None:
        self._metrics = metrics
        self._max_text_bytes = max_text_bytes

    def predict(
        self,
        servable: Servable,
        signature_name: str,
        inputs: Mapping[str, np.ndarray],
        output_filter: Sequence[str],
        deadline: Deadline,
    ) -> dict[str, np.ndarray]:
        """Runs a signature.

        Args:
            servable: The version.
            signature_name: "" for the default.
            inputs: Arrays by name.
            output_filter: Names of the outputs to return; empty for all.
            deadline: Time limit of the request.

        Raises:
            ServingError: The request does not fit the signature, or fails.
        """
        name = signature_name or DEFAULT_SIGNATURE
        signature = servable.signatures.get(name)
        if signature is None:
            raise ServingError(
                "FAILED_PRECONDITION",
                f'Serving signature key "{name}" not found.',
            )
        arrays = checked_inputs(inputs, signature, self._max_text_bytes)
        outputs = _checked_outputs(output_filter, signature)
        return self._run(servable, "Predict", name, arrays, outputs, deadline)

    def classify(
        self,
        servable: Servable,
        signature_name: str,
        examples: Sequence[bytes],
        deadline: Deadline,
    ) -> list[list[tuple[bytes, float]]]:
        """Returns labels and scores per example.

        Args:
            servable: The version.
            signature_name: "" for the default.
            examples: Serialized tf.Examples.
            deadline: Time limit of the request.

        Raises:
            ServingError: The signature cannot classify, or fails.
        """
        name, signature = _example_signature(servable, signature_name)
        if len(signature.outputs) not in (1, 2):
            raise invalid_argument(
                "Expected one or two output Tensors, found "
                f"{len(signature.outputs)}"
            )
        if "inputs" not in signature.inputs:
            raise ServingError(
                "FAILED_PRECONDITION",
                f"No classification inputs found in SignatureDef: {name}",
            )
        names = [n for n in ("classes", "scores") if n in signature.outputs]
        if not names:
            raise ServingError(
                "FAILED_PRECONDITION",
                "Expected classification signature outputs to contain at "
                'least one of "classes" or "scores". Signature was: '
                f"{name}",
            )
        outputs = self._run_examples(
            servable, "Classify", name, examples, names, deadline
        )
        for output, dtype in (("classes", "string"), ("scores", "float32")):
            if output in outputs:
                _check_classification(
                    outputs[output],
                    output,
                    signature.outputs[output].dtype,
                    dtype,
                    len(examples),
                )
        first = next(iter(outputs.values()))
        classes = outputs.get("classes", np.full(first.shape, b"", object))
        scores = outputs.get("scores", np.zeros(first.shape, np.float32))
        if classes.shape != scores.shape:
            raise invalid_argument(
                "Tensors class and score should match in dim_size(1). Got "
                f"{classes.shape[1]} vs. {scores.shape[1]}"
            )
        return [
            list(zip(row, row_scores.tolist(), strict=True))
            for row, row_scores in zip(classes, scores, strict=True)
        ]

    def regress(
        self,
        servable: Servable,
        signature_name: str,
        examples: Sequence[bytes],
        deadline: Deadline,
    ) -> list[float]:
        """Returns a number per example.

        Args:
            servable: The version.
            signature_name: "" for the default.
            examples: Serialized tf.Examples.
            deadline: Time limit of the request.

        Raises:
            ServingError: The signature cannot regress, or fails.
        """
        name, signature = _example_signature(servable, signature_name)
        if len(signature.outputs) != 1:
            raise invalid_argument("Expected one output Tensor.")
        for kind, infos in (
            ("inputs", signature.inputs),
            ("outputs", signature.outputs),
        ):
            if kind not in infos:
                raise ServingError(
                    "FAILED_PRECONDITION",
                    f"No regression {kind} found in SignatureDef: {name}",
                )
        outputs = self._run_examples(
            servable, "Regress", name, examples, ["outputs"], deadline
        )
        array, count = outputs["outputs"], len(examples)
        if array.shape not in ((count,), (count, 1)):
            raise invalid_argument(
                "Expected output Tensor shape to be either [batch_size] or "
                f"[batch_size, 1] but got {input_shapes.shown(array.shape)}"
            )
        dtype = signature.outputs["outputs"].dtype
        if dtype != "float32":
            raise invalid_argument(
                "Expected output Tensor of DT_FLOAT.  Got: "
                f"DT_{tensor_protos.type_name(dtype).upper()}"
            )
        return array.ravel().tolist()

    def _run_examples(
        self,
        servable: Servable,
        api: str,
        name: str,
        examples: Sequence[bytes],
        outputs: Sequence[str],
        deadline: Deadline,
    ) -> dict[str, np.ndarray]:
        """Runs a signature on serialized examples."""
        if not examples:
            raise invalid_argument("Input is empty.")
        self._metrics.examples.labels(servable.name).inc(len(examples))
        self._metrics.request_examples.labels(servable.name).observe(
            len(examples)
        )
        array = np.empty(len(examples), object)
        array[:] = examples
        arrays = checked_inputs(
            {"inputs": array}, servable.signatures[name], self._max_text_bytes
        )
        return self._run(servable, api, name, arrays, outputs, deadline)

    def _run(
        self,
        servable: Servable,
        api: str,
        name: str,
        arrays: Mapping[str, np.ndarray],
        outputs: Sequence[str],
        deadline: Deadline,
    ) -> dict[str, np.ndarray]:
        """Runs a signature on checked arrays and records the latency."""
        start = time.perf_counter()
        try:
            results = servable.run(name, arrays, outputs, deadline)
        finally:
            if memory.is_large(arrays):
                memory.give_back()
        microseconds = (time.perf_counter() - start) * 1e6
        self._metrics.runtime_latency.labels(servable.name, api, "TF1").observe(
            microseconds
        )
        return results


def _checked_outputs(
    output_filter: Sequence[str], signature: Signature
) -> list[str]:
    """Returns the names of the requested outputs."""
    seen: set[str] = set()
    for name in output_filter:
        if name not in signature.outputs:
            raise invalid_argument(
                f"output tensor alias not found in signature: {name} Outputs "
                f"expected to be in the set {braces(signature.outputs)}."
            )
        if name in seen:
            raise invalid_argument(f"duplicate output tensor alias: {name}")
        seen.add(name)
    return list(output_filter) or list(signature.outputs)


def _example_signature(
    servable: Servable, signature_name: str
) -> tuple[str, Signature]:
    """Returns a signature with one input, for Classify and Regress."""
    name = signature_name or DEFAULT_SIGNATURE
    signature = servable.signatures.get(name)
    if signature is None:
        raise invalid_argument(f"No signature was found with the name: {name}")
    if len(signature.inputs) != 1:
        raise invalid_argument("Expected one input Tensor.")
    return name, signature


def _check_classification(
    array: np.ndarray, output: str, declared: str, dtype: str, count: int
) -> None:
    """Checks that an output has a row per example and a column per class."""
    if array.ndim != 2:
        raise invalid_argument(
            "Expected Tensor shape: [batch_size num_classes] but got "
            f"{input_shapes.shown(array.shape)}"
        )
    if declared != dtype:
        raise invalid_argument(
            f"Expected {output} Tensor of "
            f"DT_{tensor_protos.type_name(dtype).upper()}. Got: "
            f"DT_{tensor_protos.type_name(declared).upper()}"
        )
    if array.shape[0] != count:
        raise invalid_argument(
            f"Expected {output} output batch size of {count}. Got: "
            f"{array.shape[0]}"
        )
