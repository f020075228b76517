"""Streams generated text as server-sent events.

TensorFlow Serving has no such call. An exported causal language model has a
signature `stream` that continues a text by a few tokens:

    text        string [B]      the prompt
    so_far      int32 [B, T]    tokens generated before
    lengths     int32 [B]       number of tokens in `so_far`
    -> token_ids  int32 [B, N]  the next tokens
       lengths    int32 [B]     number of next tokens
       text_bytes string [B, N] bytes of each; may split a character
       finished   bool [B]      whether these tokens are the last

The signature keeps no state: each call may go to another server.
"""

import codecs
import dataclasses
import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from tfllm.server.deadlines import Deadline
from tfllm.server.inference import Inference
from tfllm.server.model_versions import ModelVersions, Target
from tfllm.server.servable import Servable
from tfllm.server.statuses import ServingError, invalid_argument

PATH = r"/tfllm/models/([^/:]+)(?:/versions/([0-9]+)|/labels/([^/:]+))?:stream"
SIGNATURE = "stream"
_OUTPUTS = ("token_ids", "lengths", "text_bytes", "finished")


def events(
    versions: ModelVersions,
    inference: Inference,
    target: Target,
    document: Mapping[str, Any],
    timeout_seconds: float,
) -> Iterator[bytes]:
    """Returns the events of a generation.

    Args:
        versions: The models.
        inference: Runs them.
        target: Model and version.
        document: {"text": "...", "max_new_tokens": 100};
            `max_new_tokens` is optional.
        timeout_seconds: Timeout of the whole generation.

    Raises:
        ServingError: The request is not valid; later errors are events.
    """
    text, max_new_tokens = document.get("text"), document.get("max_new_tokens")
    if not isinstance(text, str):
        raise invalid_argument("`text` must be a string")
    if max_new_tokens is not None and (
        type(max_new_tokens) is not int or max_new_tokens < 1
    ):
        raise invalid_argument("`max_new_tokens` must be a positive integer")
    with versions.use(target) as servable:
        if SIGNATURE not in servable.signatures:
            raise ServingError(
                "UNIMPLEMENTED",
                f"{target.name} has no signature `{SIGNATURE}`",
            )
    call = _Call(versions, inference, target, Deadline(timeout_seconds))
    return _events(call, text, max_new_tokens)


@dataclasses.dataclass(frozen=True)
class _Call:
    """Model and deadline of a stream."""

    versions: ModelVersions
    inference: Inference
    target: Target
    deadline: Deadline


def _events(
    call: _Call, text: str, max_new_tokens: int | None
) -> Iterator[bytes]:
    """Yields an event per piece of text, and a final event."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    count, reason = 0, "finished"
    try:
        with call.versions.use(call.target) as servable:
            for token_ids, content, finished in _pieces(call, servable, text):
                left = (
                    len(token_ids)
                    if max_new_tokens is None
                    else max_new_tokens - count
                )
                count += len(token_ids[:left])
                yield _event(
                    {
                        "text": decoder.decode(b"".join(content[:left])),
                        "token_ids": token_ids[:left].tolist(),
                    }
                )
                if (
                    not finished
                    and max_new_tokens is not None
                    and count >= max_new_tokens
                ):
                    reason = "max_new_tokens"
                    break
        rest = decoder.decode(b"", final=True)
        yield _event({"text": rest, "finished": reason, "num_tokens": count})
    except ServingError as error:
        yield _event({"error": error.message, "code": error.code})


def _pieces(
    call: _Call, servable: Servable, text: str
) -> Iterator[tuple[np.ndarray, np.ndarray, bool]]:
    """Yields new token ids, their bytes, and whether they are the last."""
    prompt = np.empty(1, object)
    prompt[0] = text.encode("utf-8", "surrogateescape")
    so_far = np.zeros((1, 0), np.int32)
    finished = False
    while not finished:
        outputs = call.inference.predict(
            servable,
            SIGNATURE,
            {
                "text": prompt,
                "so_far": so_far,
                "lengths": np.array([so_far.shape[1]], np.int32),
            },
            _OUTPUTS,
            call.deadline,
        )
        count = int(outputs["lengths"][0])
        new = outputs["token_ids"][:, :count]
        so_far = np.concatenate([so_far, new], axis=1)
        finished = bool(outputs["finished"][0]) or not count
        yield new[0], outputs["text_bytes"][0, :count], finished


def _event(data: Mapping[str, Any]) -> bytes:
    return f"data: {json.dumps(data)}\n\n".encode()
