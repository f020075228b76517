"""Reads run.json and the other JSON records of a run.

A record that is not a JSON object is damaged; readers that do not need it log a
warning and go on. A setting of the wrong type is an error: a user wrote it.
"""

import json
import logging
import os
import types
from typing import Any

from tfllm import file_access, run_settings

logger = logging.getLogger(__name__)

RUN_FILE = "run.json"

Kind = type | types.UnionType

_RULES = {
    int: "an integer of at least 0",
    float: "a finite number",
    bool: "true or false",
    str: "a text",
}
_JSON_NAMES = {
    "NoneType": "null",
    "bool": "true or false",
    "int": "a number",
    "float": "a number",
    "str": "a text",
    "list": "a list",
}


class DamagedRecord(ValueError):
    """A record of a run that cannot be read.

    Args:
        path: Path of the file.
        reason: What is wrong with it.

    Attributes:
        fault: Path and reason, without advice.
    """

    def __init__(self, path: str, reason: str) -> None:
        self.fault = f"{path} is damaged: {reason}."
        super().__init__(
            f"{self.fault} The model and the checkpoints are other files. "
            "Restore the file from a copy, or train in another `model_dir`, "
            f"from this model with --init_from={os.path.dirname(path)}."
        )


def read(path: str) -> dict[str, Any] | None:
    """Reads a record.

    Args:
        path: Local or remote file.

    Returns:
        The record; None without the file. For run.json the settings by flag,
        checked, whether the file has sections or is flat.

    Raises:
        DamagedRecord: It is not a JSON object, or a run.json without settings.
        ValueError: A setting in run.json has the wrong type, or belongs to an
            unknown method.
    """
    if not file_access.exists(path):
        return None
    with file_access.open_binary(path) as file:
        data = file.read()
    try:
        values = json.loads(data)
    except ValueError as error:
        raise DamagedRecord(path, f"it is not valid JSON: {error}") from None
    if not isinstance(values, dict):
        kind = _JSON_NAMES[type(values).__name__]
        raise DamagedRecord(path, f"it holds {kind}, not a JSON object")
    if os.path.basename(path) == RUN_FILE:
        return _settings(path, values)
    return values


def read_if_whole(path: str) -> dict[str, Any] | None:
    """Reads a record that is not essential.

    Args:
        path: As in `read`.

    Returns:
        As in `read`; empty if the record is damaged, which is logged.

    Raises:
        ValueError: A setting in run.json has the wrong type.
    """
    try:
        return read(path)
    except DamagedRecord as error:
        change = ""
        if os.path.basename(path) == RUN_FILE:
            change = (
                ": the sequence length, the columns and the other settings "
                "of the run take their defaults"
            )
        logger.warning("%s Going on without it%s.", error.fault, change)
        return {}


def _settings(path: str, record: dict[str, Any]) -> dict[str, Any]:
    """Returns the settings in a run.json, by flag.

    Raises:
        DamagedRecord: There are no settings.
        ValueError: A setting has the wrong type, or belongs to an unknown
            method.
    """
    kinds = run_settings.types()
    try:
        values = run_settings.flat(record)
    except ValueError as error:
        raise ValueError(f"{path} is wrong: {error}") from None
    if not kinds.keys() & values.keys():
        raise DamagedRecord(path, "it has none of the settings of a run")
    for name, kind in kinds.items():
        if name in values and not _is_of(kind, values[name]):
            raise ValueError(
                f"`{name}` in {path} must be {_rule(kind)}. Received: "
                f"{json.dumps(values[name])}. Correct the file, or remove this "
                "field."
            )
    try:
        return run_settings.without_idle(values)
    except ValueError as error:
        raise ValueError(f"{path} is wrong: {error}") from None


def _is_of(kind: Kind, value: Any) -> bool:
    """Returns whether a JSON value has a type; integers are also floats."""
    if isinstance(value, bool):
        # In Python bool is a subclass of int.
        return kind in (bool, bool | None)
    if isinstance(value, int) and kind in (int, int | None):
        return value >= 0
    if isinstance(value, int | float) and kind in (float, float | None):
        return abs(value) < float("inf")
    return isinstance(value, kind)


def _rule(kind: Kind) -> str:
    """Returns what a value of a type must be, in words."""
    if isinstance(kind, types.UnionType):
        return f"{_RULES[kind.__args__[0]]}, or null"
    return _RULES[kind]
