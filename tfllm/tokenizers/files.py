"""The JSON files of a tokenizer folder, in the Hugging Face layout."""

import json
import os
from typing import Any

import tensorflow as tf

CONFIG_FILE = "tokenizer_config.json"
SPECIAL_TOKENS_FILE = "special_tokens_map.json"
TOKENIZER_FILE = "tokenizer.json"


def read_json(file: str) -> dict[str, Any]:
    """Returns the object in a JSON file, empty if there is no file.

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


def to_json(value: Any) -> str:
    """Returns indented JSON with a line end."""
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False)
    return text + "\n"


def write_text(folder: str, name: str, text: str) -> None:
    """Writes a file of a folder, complete or not at all."""
    path = os.path.join(folder, name)
    partial = f"{path}.partial"
    with tf.io.gfile.GFile(partial, "wb") as stream:
        stream.write(text.encode("utf-8"))
    tf.io.gfile.rename(partial, path, overwrite=True)
