"""Checks the shapes of a request against its signature.

The C runtime does not: a kernel that gets a tensor of another rank may read
memory out of bounds.
"""

from collections.abc import Mapping

import numpy as np

from tfllm.runtime.saved_model_file import Signature, TensorInfo


def problem(
    inputs: Mapping[str, np.ndarray], signature: Signature
) -> str | None:
    """Returns an error message for arrays of the wrong shape, else None.

    Args:
        inputs: Arrays by name, one per input of the signature.
        signature: Declares their shapes.
    """
    for name, info in signature.inputs.items():
        if not _fits(inputs[name].shape, info.shape):
            return (
                f'Expects input "{name}" to be {info.dtype} of shape '
                f"{shown(info.shape)} but shape {shown(inputs[name].shape)} is "
                "provided"
            )
    sizes = {
        name: len(inputs[name])
        for name, info in signature.inputs.items()
        if _is_batch(info)
    }
    if len(set(sizes.values())) > 1:
        sizes_text = ", ".join(
            f'"{name}": {size}' for name, size in sizes.items()
        )
        return (
            "Expects all inputs to have the same batch size but "
            f"{{{sizes_text}}} is provided"
        )
    return None


def shown(shape: tuple[int, ...] | None) -> str:
    """Returns a shape as TensorFlow writes it."""
    if shape is None:
        return "<unknown>"
    sizes = ("?" if size < 0 else str(size) for size in shape)
    return f"[{','.join(sizes)}]"


def _fits(shape: tuple[int, ...], declared: tuple[int, ...] | None) -> bool:
    """Whether a shape has the declared rank and sizes."""
    if declared is None:
        return True
    return len(shape) == len(declared) and all(
        known < 0 or size == known
        for size, known in zip(shape, declared, strict=True)
    )


def _is_batch(info: TensorInfo) -> bool:
    """Whether the first axis of an input is the batch size."""
    return info.shape is not None and info.shape[:1] == (-1,)
