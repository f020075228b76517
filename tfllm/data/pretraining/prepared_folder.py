"""A folder that `tools.prepare_data` fills, for one task and vocabulary.

`settings.json` is written first: what the shards are made of and with. Then
come the shards, in any order, and last `manifest.json`: the settings, and the
shards with their counts. A folder without a manifest is not finished.
"""

import hashlib
import json
from typing import Any

import tensorflow as tf

from tfllm import file_access

FORMAT_VERSION = 1
MANIFEST_FILE = "manifest.json"
SETTINGS_FILE = "settings.json"
TEMPORARY_SUFFIX = ".tmp"

_SHARD_PREFIX = "shard-"


def shard_name(index: int, suffix: str) -> str:
    """File name of a shard."""
    return f"{_SHARD_PREFIX}{index:06d}{suffix}"


def is_prepared(path: str) -> bool:
    """Whether a path is a folder that `tools.prepare_data` wrote to."""
    return any(
        file_access.exists(file_access.join(path, name))
        for name in (MANIFEST_FILE, SETTINGS_FILE)
    )


def describe_sources(paths: list[str]) -> list[dict[str, Any]]:
    """Returns name and size of each file, in order, as settings hold them."""
    return [
        {"file": path, "bytes": tf.io.gfile.stat(path).length}
        for path in dict.fromkeys(paths)
    ]


def begin(folder: str, settings: dict[str, Any], overwrite: bool) -> bool:
    """Makes a folder ready; shards made with equal settings stay.

    Args:
        folder: the folder, which need not exist.
        settings: what its shards are made of and with.
        overwrite: delete shards made with other settings.

    Returns:
        Whether shards that are there are of these settings.

    Raises:
        ValueError: there are shards made with other settings.
    """
    path = file_access.join(folder, SETTINGS_FILE)
    file_access.make_folder(folder)
    if file_access.exists(path):
        found = read_json(path)
        different = sorted(
            name
            for name in settings.keys() | found.keys()
            if settings.get(name) != found.get(name)
        )
        if different and not overwrite:
            raise ValueError(
                "`output_dir` must be new or hold shards of the same "
                f"settings. Received: {folder}, where these differ: "
                f"{_differences(found, settings, different)}. Give another "
                "folder, or --overwrite to delete these shards."
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
    found: dict[str, Any], wanted: dict[str, Any], names: list[str]
) -> str:
    def show(value: Any) -> str:
        text = str(value)
        return text if len(text) <= 60 else text[:57] + "..."

    parts = []
    for name in names:
        old, new = found.get(name), wanted.get(name)
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
        settings: what `begin` was given.
        shards: of each its `file` and counts.
        **totals: counts of all together.
    """
    write_json(
        file_access.join(folder, MANIFEST_FILE),
        {"settings": settings, **totals, "shards": shards},
    )


def read(folder: str, task: str | None = None) -> dict[str, Any]:
    """Reads and checks the manifest of a folder.

    Args:
        folder: what `tools.prepare_data` wrote.
        task: what it must be prepared for; None for any.

    Returns:
        The manifest; every shard it names exists.

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
            f"A manifest is damaged. Received: {path} (no {error}). Run "
            "tools.prepare_data again with --overwrite."
        ) from error
    if version != FORMAT_VERSION:
        raise ValueError(
            f"Shards must have format version {FORMAT_VERSION}. Received: "
            f"{version} in {path}. Prepare them again with --overwrite."
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


def check_vocabulary(
    folder: str, settings: dict[str, Any], vocab_size: int, vocab_hash: str
) -> None:
    """Raises ValueError unless shards are of the tokenizer of the run.

    Args:
        folder: the folder, for the message.
        settings: what its shards were made with.
        vocab_size: number of tokens of the run's tokenizer.
        vocab_hash: its hash.
    """
    if settings["vocab_hash"] != vocab_hash:
        raise ValueError(
            "Shards must be made with the tokenizer of the run. Received: "
            f"{folder}, made with a vocabulary of {settings['vocab_size']} "
            f"tokens and hash {settings['vocab_hash'][:12]}, and a tokenizer "
            f"of {vocab_size} and {vocab_hash[:12]}. "
            "Prepare the shards again, or give their tokenizer."
        )


def _unfinished(folder: str) -> str:
    """Returns what to say of a folder without a manifest."""
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
    """A short name that is equal for equal settings."""
    text = json.dumps(settings, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
