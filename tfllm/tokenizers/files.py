"""The JSON files of a tokenizer folder, in the Hugging Face layout."""

import functools
import json
import logging
import os
from typing import Any

import tensorflow as tf

logger = logging.getLogger(__name__)

CONFIG_FILE = "tokenizer_config.json"
SPECIAL_TOKENS_FILE = "special_tokens_map.json"
TOKENIZER_FILE = "tokenizer.json"


def read_json(file: str) -> dict[str, Any]:
    """Reads the object of a JSON file; empty if the file does not exist.

    Raises:
        ValueError: The file is not JSON, or not an object.
    """
    if not tf.io.gfile.exists(file):
        return {}
    with tf.io.gfile.GFile(file, "rb") as stream:
        content = stream.read()
    try:
        value = json.loads(content)
    except ValueError as error:
        raise ValueError(
            f"{file!r} must be JSON. Received: {error}. Correct the file."
        ) from error
    if not isinstance(value, dict):
        raise ValueError(
            f"{file!r} must hold a JSON object. Received: "
            f"{type(value).__name__}. Correct the file."
        )
    return value


def in_order(ids: dict[str, Any], file: str) -> list[str]:
    """Returns the tokens of a vocabulary in the order of their ids.

    Args:
        ids: Token -> id.
        file: Where they come from, for messages.

    Raises:
        ValueError: The ids are not 0, 1, ... without gaps or repeats.
    """
    for token, number in ids.items():
        if not isinstance(number, int) or isinstance(number, bool):
            raise ValueError(
                f"{file!r} must map tokens to ids. Received: {token!r} -> "
                f"{number!r}. Is this a vocabulary file?"
            )
    vocab = sorted(ids, key=ids.__getitem__)
    for place, token in enumerate(vocab):
        if ids[token] != place:
            raise ValueError(
                f"{file!r} must number its tokens from 0 without gaps or "
                f"repeats. Received: id {ids[token]} for {token!r} in the "
                f"place of id {place}. Correct its id, or add the missing "
                "tokens."
            )
    return vocab


@functools.cache
def warn_once(message: str) -> None:
    """Logs a warning once, though verbs read a tokenizer several times."""
    logger.warning("%s", message)


def to_json(value: Any) -> str:
    """Returns indented JSON with a line end."""
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False)
    return text + "\n"


def write_text(folder: str, name: str, text: str) -> None:
    """Writes a text file of a folder atomically."""
    write_bytes(folder, name, text.encode("utf-8"))


def write_bytes(folder: str, name: str, content: bytes) -> None:
    """Writes a file of a folder atomically."""
    path = os.path.join(folder, name)
    partial = f"{path}.partial"
    with tf.io.gfile.GFile(partial, "wb") as stream:
        stream.write(content)
    tf.io.gfile.rename(partial, path, overwrite=True)
