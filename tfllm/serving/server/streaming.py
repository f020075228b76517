"""Tokens of a generation as server-sent events, outside the contract.

TensorFlow Serving has no streaming call. A generator is exported with a
signature `stream` that continues a text by a few tokens:

    text        string [B]      the prompt
    so_far      int32 [B, T]    what was generated before
    lengths     int32 [B]       how much of `so_far` is real
    -> token_ids  int32 [B, N]  the next tokens
       lengths    int32 [B]     how many there are
       text_bytes string [B, N] the bytes of each; characters may be cut
       finished   bool [B]      whether the generation ends with them

It keeps no state: any call may go to any server.
"""

import codecs
import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from tfllm.serving.server.deadlines import Deadline
from tfllm.serving.server.model_versions import ModelVersions, Wanted
from tfllm.serving.server.servable import Servable
from tfllm.serving.server.statuses import ServingError, invalid_argument

PATH = r"/tfllm/models/([^/:]+)(?:/versions/([0-9]+)|/labels/([^/:]+))?:stream"
SIGNATURE = "stream"
_OUTPUTS = ("token_ids", "lengths", "text_bytes", "finished")


def events(
    versions: ModelVersions,
    wanted: Wanted,
    document: Mapping[str, Any],
    timeout_seconds: float,
) -> Iterator[bytes]:
    """Returns the events of a generation; errors before the first raise.

    Args:
        versions: The models.
        wanted: Which one.
        document: {"text": "...", "max_new_tokens": 100}; the latter may be
            missing.
        timeout_seconds: For all of it.

    Raises:
        ServingError: The request cannot be streamed.
    """
    text, most = document.get("text"), document.get("max_new_tokens")
    if not isinstance(text, str):
        raise invalid_argument("`text` must be a string")
    if most is not None and (type(most) is not int or most < 1):
        raise invalid_argument("`max_new_tokens` must be a positive integer")
    with versions.use(wanted) as servable:
        if SIGNATURE not in servable.signatures:
            raise ServingError(
                "UNIMPLEMENTED",
                f"{wanted.name} has no signature `{SIGNATURE}`",
            )
    return _events(versions, wanted, text, most, Deadline(timeout_seconds))


def _events(
    versions: ModelVersions,
    wanted: Wanted,
    text: str,
    most: int | None,
    deadline: Deadline,
) -> Iterator[bytes]:
    """Yields an event per piece of text, and a last one."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    count, reason = 0, "finished"
    try:
        with versions.use(wanted) as servable:
            for token_ids, content, finished in _pieces(
                servable, text, deadline
            ):
                left = len(token_ids) if most is None else most - count
                count += len(token_ids[:left])
                yield _event(
                    {
                        "text": decoder.decode(b"".join(content[:left])),
                        "token_ids": token_ids[:left].tolist(),
                    }
                )
                if not finished and most is not None and count >= most:
                    reason = "max_new_tokens"
                    break
        rest = decoder.decode(b"", final=True)
        yield _event({"text": rest, "finished": reason, "num_tokens": count})
    except ServingError as error:
        yield _event({"error": error.message, "code": error.code})


def _pieces(
    servable: Servable, text: str, deadline: Deadline
) -> Iterator[tuple[np.ndarray, np.ndarray, bool]]:
    """Yields new ids, their bytes, and whether they are the last."""
    prompt = np.empty(1, object)
    prompt[0] = text.encode("utf-8", "surrogateescape")
    so_far = np.zeros((1, 0), np.int32)
    finished = False
    while not finished:
        found = servable.run(
            SIGNATURE,
            {
                "text": prompt,
                "so_far": so_far,
                "lengths": np.array([so_far.shape[1]], np.int32),
            },
            _OUTPUTS,
            deadline,
        )
        count = int(found["lengths"][0])
        new = found["token_ids"][:, :count]
        so_far = np.concatenate([so_far, new], axis=1)
        finished = bool(found["finished"][0]) or not count
        yield new[0], found["text_bytes"][0, :count], finished


def _event(data: Mapping[str, Any]) -> bytes:
    return f"data: {json.dumps(data)}\n\n".encode()
