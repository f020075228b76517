"""Checks the tensors of a request against the signature.

NOTE: TensorFlow Serving passes on any shape. A kernel that gets an unexpected
rank may crash the process, so this server checks first; it also limits the
length of a text.

Error messages are those of TensorFlow Serving where it has one.

Reference: tensorflow/serving 2.20, servables/tensorflow/predict_util.cc.
"""

from collections.abc import Mapping

import numpy as np

from tfllm.runtime import input_shapes
from tfllm.runtime.saved_model_file import Signature
from tfllm.server import tensor_protos
from tfllm.server.statuses import invalid_argument


def checked_inputs(
    inputs: Mapping[str, np.ndarray],
    signature: Signature,
    max_text_bytes: int | None = None,
) -> dict[str, np.ndarray]:
    """Returns the inputs if they match the signature.

    Args:
        inputs: Arrays by name, strings as objects of bytes.
        signature: Declares names, dtypes and shapes.
        max_text_bytes: Longest string; None for no limit.

    Raises:
        ServingError: A name, a dtype, a shape or a length does not match.
    """
    sent, needed = set(inputs), set(signature.inputs)
    if len(sent) != len(needed):
        raise invalid_argument(
            f"input size does not match signature: {len(sent)}!="
            f"{len(needed)} len({braces(sent)}) != len({braces(needed)}). "
            f"Sent extra: {braces(sent - needed)}. Missing but required: "
            f"{braces(needed - sent)}."
        )
    for name in sorted(sent - needed):
        raise invalid_argument(
            f"input tensor alias not found in signature: {name}. Inputs "
            f"expected to be in the set {braces(needed)}."
        )
    for i, (name, info) in enumerate(signature.inputs.items()):
        array = inputs[name]
        dtype = "string" if array.dtype == object else array.dtype.name
        if dtype != info.dtype:
            raise invalid_argument(
                f"Expects arg[{i}] to be "
                f"{tensor_protos.type_name(info.dtype)} but "
                f"{tensor_protos.type_name(dtype)} is provided"
            )
    if message := input_shapes.problem(inputs, signature):
        raise invalid_argument(message)
    if max_text_bytes is not None:
        _check_lengths(inputs, max_text_bytes)
    return dict(inputs)


def _check_lengths(inputs: Mapping[str, np.ndarray], limit: int) -> None:
    """Raises ServingError for a string that is too long."""
    for name, array in inputs.items():
        if array.dtype != object:
            continue
        longest = max(map(len, array.flat), default=0)
        if longest > limit:
            raise invalid_argument(
                f'Expects each text of input "{name}" to be at most {limit} '
                f"bytes (--max_text_bytes) but {longest} bytes are provided. "
                "Send it in parts."
            )


def braces(names: set[str] | Mapping[str, object]) -> str:
    """Returns names as TensorFlow Serving lists them."""
    return "{" + ",".join(sorted(names)) + "}"
