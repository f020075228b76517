"""Text ops in each version of TensorFlow Serving.

Reference: tensorflow/serving, model_servers/BUILD, `ops_lib` of the pinned
tensorflow_text: 2.12.1 in servers 2.12.1 to 2.19.1, 2.20.0 in server 2.20.0.
"""

import re

OLDEST = "2.12.1"
NEWEST = "2.20.0"

# Library of tensorflow_text -> first server that links it. Every server from
# OLDEST links all other libraries of tensorflow_text 2.20.
SINCE = {
    "_trimmer_ops": "2.20.0",
    "_utf8_binarize_op": "2.20.0",
}
# The ops of these libraries.
OPS_SINCE = {
    "TFText>RoundRobinGenerateMasks": "2.20.0",
    "TFText>RoundRobinTrim": "2.20.0",
    "TFText>Utf8Binarize": "2.20.0",
}


def parse(version: str) -> tuple[int, ...]:
    """Parses the version of a server.

    Raises:
        ValueError: It is not a version, or older than `OLDEST`.
    """
    if not re.fullmatch(r"\d+\.\d+(\.\d+)?", version):
        raise ValueError(
            "`min_server` must be a version of TensorFlow Serving. Received: "
            f"{version!r}. Use {OLDEST}, or a later one."
        )
    numbers = _numbers(version)
    if numbers < _numbers(OLDEST):
        raise ValueError(
            f"`min_server` must be at least {OLDEST}: older servers lack text "
            f"ops that the tokenizers are made of. Received: {version!r}"
        )
    return numbers


def is_linked(library: str, server: str) -> bool:
    """Whether a server links a library of tensorflow_text."""
    return parse(server) >= _numbers(SINCE.get(library, OLDEST))


def missing_ops(ops: set[str], server: str) -> list[str]:
    """Returns the text ops that a server lacks."""
    return sorted(
        op
        for op in ops & set(OPS_SINCE)
        if parse(server) < _numbers(OPS_SINCE[op])
    )


def _numbers(version: str) -> tuple[int, ...]:
    numbers = [int(part) for part in version.split(".")]
    return (*numbers, 0) if len(numbers) == 2 else tuple(numbers)
