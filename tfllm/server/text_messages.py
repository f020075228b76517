"""Reads protobuf messages from files in text format."""

from typing import TypeVar

from google.protobuf import text_format
from google.protobuf.message import Message

_Message = TypeVar("_Message", bound=Message)


def read_message(path: str, message: _Message, flag: str) -> _Message:
    """Reads a file into a message and returns the message.

    Args:
        path: File in protobuf's text format.
        message: Empty message of the expected type.
        flag: Flag that names the file, for the error.

    Raises:
        ValueError: The file does not parse.
        OSError: The file cannot be read.
    """
    with open(path, encoding="utf-8") as file:
        text = file.read()
    try:
        return text_format.Parse(text, message)
    except text_format.ParseError as error:
        raise ValueError(
            f"`{flag}` must be a text {message.DESCRIPTOR.name}. Received: "
            f"{path}, {error}"
        ) from error
