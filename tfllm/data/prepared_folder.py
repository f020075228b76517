"""Folders of prepared shards, as `tools.prepare_data` writes them.

A folder serves one task and one tokenizer. `settings.json` is written first:
the sources, the options and the tokenizer of the shards. The shards follow in
any order. `manifest.json` comes last: the settings, and each shard with its
counts. A folder without a manifest is not finished.
"""

import hashlib
import json
from typing import Any

import tensorflow as tf

from tfllm import file_access
from tfllm.tokenizers import Tokenizer

FORMAT_VERSION = 1
MANIFEST_FILE = "manifest.json"
SETTINGS_FILE = "settings.json"
TEMPORARY_SUFFIX = ".tmp"

_SHARD_PREFIX = "shard-"


def shard_name(index: int, suffix: str) -> str:
    """Returns the file name of a shard."""
    return f"{_SHARD_PREFIX}{index:06d}{suffix}"


def is_prepared(path: str) -> bool:
    """Returns whether a path is a folder of prepared shards."""
    return any(
        file_access.exists(file_access.join(path, name))
        for name in (MANIFEST_FILE, SETTINGS_FILE)
    )


def describe_sources(paths: list[str]) -> list[dict[str, Any]]:
    """Returns the name and size of each file, as settings record them."""
    return [
        {"file": path, "bytes": tf.io.gfile.stat(path).length}
        for path in dict.fromkeys(paths)
    ]


def tokenizer_settings(tokenizer: Tokenizer) -> dict[str, Any]:
    """Returns what settings record of a tokenizer; see `check_tokenizer`."""
    template = tokenizer.row_template
    return {
        "vocab_size": tokenizer.vocab_size,
        "vocab_hash": tokenizer.vocab_hash(),
        "row_template": {
            "opens": list(template.opens),
            "between": list(template.between),
            "closes": list(template.closes),
        },
    }


def begin(folder: str, settings: dict[str, Any], overwrite: bool) -> bool:
    """Prepares a folder for writing; keeps shards made with equal settings.

    Args:
        folder: the folder, created if missing.
        settings: sources, options and tokenizer of the shards.
        overwrite: delete shards made with other settings.

    Returns:
        Whether shards in the folder were made with these settings.

    Raises:
        ValueError: the folder has shards made with other settings.
    """
    path = file_access.join(folder, SETTINGS_FILE)
    file_access.make_folder(folder)
    if file_access.exists(path):
        stored = read_json(path)
        different = sorted(
            name
            for name in settings.keys() | stored.keys()
            if settings.get(name) != stored.get(name)
        )
        if different and not overwrite:
            raise ValueError(
                "`output_dir` must be new or hold shards of the same "
                f"settings. Received: {folder}, where these differ: "
                f"{_differences(stored, settings, different)}. Give another "
                "folder."
            )
        for name in tf.io.gfile.listdir(folder):
            if name.endswith(TEMPORARY_SUFFIX) or (
                different and name.startswith((_SHARD_PREFIX, MANIFEST_FILE))
            ):
                file_access.remove(file_access.join(folder, name))
        if not different:
            return True
    write_json(path, settings)
    return False


def _differences(
    stored: dict[str, Any], settings: dict[str, Any], names: list[str]
) -> str:
    """Returns the stored and the new value of each setting, for a message."""

    def show(value: Any) -> str:
        text = str(value)
        return text if len(text) <= 60 else text[:57] + "..."

    parts = []
    for name in names:
        old, new = stored.get(name), settings.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            for inner in sorted(old.keys() | new.keys()):
                if old.get(inner) != new.get(inner):
                    parts.append((inner, old.get(inner), new.get(inner)))
        else:
            parts.append((name, old, new))
    return ", ".join(
        f"{name} (there {show(old)}, asked {show(new)})"
        for name, old, new in parts
    )


def finish(
    folder: str,
    settings: dict[str, Any],
    shards: list[dict[str, Any]],
    **totals: int,
) -> None:
    """Marks a folder as finished.

    Args:
        folder: the folder.
        settings: those passed to `begin`.
        shards: `file` and counts of each shard.
        **totals: counts over all shards.
    """
    write_json(
        file_access.join(folder, MANIFEST_FILE),
        {"settings": settings, **totals, "shards": shards},
    )


def read(folder: str, task: str | None = None) -> dict[str, Any]:
    """Reads and checks the manifest of a folder.

    Args:
        folder: the folder.
        task: task that the shards must be for; None accepts any.

    Returns:
        The manifest; all shards in it exist.

    Raises:
        ValueError: the folder is not finished, of another task or format
            version, or lacks shards.
    """
    path = file_access.join(folder, MANIFEST_FILE)
    if not file_access.exists(path):
        raise ValueError(_unfinished(folder))
    content = read_json(path)
    try:
        version = content["settings"]["format_version"]
        made_for = content["settings"].get("task")
        files = [shard["file"] for shard in content["shards"]]
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"A manifest is damaged. Received: {path} (no {error}). Move it "
            "away, and run tools.prepare_data again with the same flags."
        ) from error
    if version != FORMAT_VERSION:
        raise ValueError(
            f"Shards must have format version {FORMAT_VERSION}. Received: "
            f"{version} in {path}. Prepare them again in another folder."
        )
    if task is not None and made_for != task:
        raise ValueError(
            f"Shards must be prepared for the task, {task}. Received: "
            f"{folder}, prepared for {made_for}. Prepare the text with "
            f"--task={task}."
        )
    for name in files:
        shard = file_access.join(folder, name)
        if not file_access.exists(shard):
            raise ValueError(
                f"A shard is missing. Received: {shard}. Run "
                "tools.prepare_data again with the same flags."
            )
    return content


def check_tokenizer(
    folder: str, settings: dict[str, Any], tokenizer: Tokenizer
) -> None:
    """Raises ValueError unless shards fit the tokenizer of the run.

    Vocabulary and row template are compared. Shards of older versions do not
    record the template, and are read without this check.

    Args:
        folder: the folder, for the message.
        settings: the settings of its shards.
        tokenizer: the tokenizer of the run.
    """
    current = tokenizer_settings(tokenizer)
    if settings["vocab_hash"] != current["vocab_hash"]:
        raise ValueError(
            "Shards must be made with the tokenizer of the run. Received: "
            f"{folder}, made with a vocabulary of {settings['vocab_size']} "
            f"tokens and hash {settings['vocab_hash'][:12]}, and a tokenizer "
            f"of {current['vocab_size']} and {current['vocab_hash'][:12]}. "
            "Prepare the shards again, or give their tokenizer."
        )
    template = settings.get("row_template", current["row_template"])
    if template != current["row_template"]:
        raise ValueError(
            "Shards must be made with the row template of the tokenizer of "
            f"the run, {current['row_template']} (token ids). Received: "
            f"{folder}, made with {template}. Prepare the shards again with "
            "this tokenizer, or give theirs."
        )


def _unfinished(folder: str) -> str:
    """Returns the error message for a folder without a manifest."""
    if file_access.exists(file_access.join(folder, SETTINGS_FILE)):
        return (
            "The preparation of these shards was not finished. Received: "
            f"{folder}. Run tools.prepare_data again with the same flags; "
            "finished shards are kept."
        )
    return (
        f"A folder of shards must hold {MANIFEST_FILE}. Received: {folder}. "
        "Make it with tools.prepare_data."
    )


def write_json(path: str, content: dict[str, Any]) -> None:
    """Writes a JSON file, complete or not at all."""
    with file_access.write_atomically(path) as file:
        json.dump(content, file, indent=2, sort_keys=True)
        file.write("\n")


def read_json(path: str) -> dict[str, Any]:
    """Reads a JSON object.

    Raises:
        ValueError: the file does not hold one.
    """
    with file_access.open_binary(path) as file:
        data = file.read()
    try:
        content = json.loads(data)
    except ValueError as error:
        raise ValueError(
            f"A JSON file cannot be read. Received: {path} ({error})."
        ) from error
    if not isinstance(content, dict):
        raise ValueError(f"A JSON file must hold an object. Received: {path}.")
    return content


def settings_key(settings: dict[str, Any]) -> str:
    """Returns a short hash of settings."""
    text = json.dumps(settings, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
