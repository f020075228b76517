"""Reads modules.json of sentence-transformers and the config of modules."""

import json
import pathlib
from typing import Any

from tfllm.interop.config_file import read_json

MODULES_FILE = "modules.json"
MODULE_CONFIG = "config.json"


class CheckedValues:
    """The values of a JSON file, each of which must be read or refused.

    Args:
        path: The file. A missing file has no values.
    """

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        self._values = read_json(path) if path.is_file() else {}

    def take(self, key: str, default: Any, *kinds: type) -> Any:
        """Returns the value of a key; `default` if it is missing or null.

        Args:
            key: The key.
            default: Value of a missing key.
            *kinds: Types that the value may have.

        Raises:
            ValueError: The value has another type.
        """
        value = self._values.pop(key, None)
        if value is None:
            return default
        # A bool is an int in Python, but not in these files.
        fits = isinstance(value, kinds) and (
            bool in kinds or not isinstance(value, bool)
        )
        if not fits:
            names = " or ".join(kind.__name__ for kind in kinds)
            raise self.error(key, f"of the type {names}", value)
        return value

    def must_be(self, key: str, *allowed: Any) -> None:
        """Raises ValueError if a key has a value that is not supported."""
        if key in self._values:
            value = self._values.pop(key)
            if value not in allowed:
                raise self.error(key, " or ".join(map(repr, allowed)), value)

    def nothing_left(self) -> None:
        """Raises ValueError if a key was not read."""
        for key, value in self._values.items():
            raise ValueError(
                f"`{key}` in '{self.path}' is not supported. Received: "
                f"{value!r}. Remove it if the model does not need it."
            )

    def error(self, key: str, rule: str, value: Any) -> ValueError:
        """Returns the error for a wrong value."""
        return ValueError(
            f"`{key}` in '{self.path}' must be {rule}: no other is built. "
            f"Received: {value!r}."
        )


def modules_of(folder: pathlib.Path) -> list[tuple[str, pathlib.Path]]:
    """Returns the class and the folder of each module of modules.json.

    Returns:
        (class name, folder) in order; empty without the file.

    Raises:
        ValueError: The file is damaged.
    """
    path = folder / MODULES_FILE
    if not path.is_file():
        return []
    try:
        rows = json.loads(path.read_bytes())
        rows = sorted(rows, key=lambda row: row["idx"])
        entries = [
            (str(row["type"]), str(row["path"]), row.get("kwargs"))
            for row in rows
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"'{path}' must be a JSON list of modules with `idx`, `path` and "
            f"`type`. Received: {error!r}. Fetch it again."
        ) from error
    modules = []
    for kind, place, keywords in entries:
        is_known = kind.startswith("sentence_transformers.")
        if (
            not is_known
            or keywords
            or not (folder / place).resolve().is_relative_to(folder.resolve())
        ):
            raise ValueError(
                f"'{path}' must list modules of sentence_transformers, in the "
                f"folder itself and without `kwargs`. Received: {kind!r} in "
                f"{place!r}" + f", kwargs {keywords!r}" * bool(keywords)
            )
        modules.append((kind.rpartition(".")[2], folder / place))
    return modules
