"""config.json, and what `--model` may say instead of one."""

import difflib
import json
import os
import pathlib
from typing import Any

from tfllm.models import FAMILIES, Family, TransformerConfig

CONFIG_FILE = "config.json"
OWN_KEY = "tfllm"


def read_json(path: pathlib.Path) -> dict[str, Any]:
    """Returns the object in a JSON file.

    Raises:
        ValueError: The file is missing, or not JSON, or not an object.
    """
    if not path.is_file():
        raise ValueError(
            f"'{path}' must exist. Received: no such file. Name a folder "
            f"that has a {CONFIG_FILE}."
        )
    try:
        values = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(
            f"'{path}' must be JSON. Received: {error}. Correct the file."
        ) from error
    if not isinstance(values, dict):
        raise ValueError(
            f"'{path}' must hold a JSON object. "
            f"Received: {type(values).__name__}. Correct the file."
        )
    return values


def read_config(
    folder: str | os.PathLike[str],
) -> tuple[Family, TransformerConfig]:
    """Reads config.json.

    Args:
        folder: Local model folder, or a config.json itself.

    Returns:
        The family and the config.

    Raises:
        ValueError: The file is missing or damaged, of a family that tfllm
            does not have, or says something that the family cannot be.
    """
    path = pathlib.Path(folder)
    if path.is_dir() or path.suffix != ".json":
        path = path / CONFIG_FILE
    values = read_json(path)
    name = values.get("model_type")
    if name not in FAMILIES:
        raise ValueError(
            f"`model_type` in '{path}' must be one of {sorted(FAMILIES)}. "
            f"Received: {name!r}, a family that tfllm does not have"
        )
    family = FAMILIES[name]
    try:
        return family, family.from_published(values)
    except (TypeError, ValueError) as error:
        raise ValueError(f"'{path}' must be right. {error}") from error


def resolve_model(spec: str, **overrides: Any) -> TransformerConfig:
    """Returns the config that `--model` names.

    Args:
        spec: `FAMILY:SIZE`, or the path of a config.json or of a folder that
            has one.
        **overrides: Arguments of the family's `config` to replace; for a
            config.json `vocab_size` and `dropout`. None leaves a value.

    Raises:
        ValueError: There is no such family, size or file, with the nearest
            valid name.
    """
    overrides = {k: v for k, v in overrides.items() if v is not None}
    if spec.endswith(".json") or os.path.isdir(spec):
        return _override(read_config(spec)[1], overrides)
    family, _, size = spec.partition(":")
    if family in FAMILIES and size in FAMILIES[family].sizes:
        return FAMILIES[family].size(size, **overrides)
    names = [
        f"{name}:{size}" for name, f in FAMILIES.items() for size in f.sizes
    ]
    near = difflib.get_close_matches(spec, names, n=1, cutoff=0.0)
    raise ValueError(
        "`model` must be FAMILY:SIZE or the path of a config.json. "
        f"Received: {spec!r}. Did you mean {near[0]!r}? There are: "
        f"{', '.join(names)}."
    )


def _override(
    config: TransformerConfig, overrides: dict[str, Any]
) -> TransformerConfig:
    """Returns the config with some of its numbers replaced."""
    for name, value in overrides.items():
        if name == "dropout":
            config = config.with_dropout(value)
        elif name == "vocab_size":
            config = config.with_vocab_size(value)
        else:
            raise ValueError(
                f"`{name}` cannot be set beside a config.json as `model`. "
                f"Received: {value!r}. Change the file."
            )
    return config


def check_kind(tokenizer: Any, family: str, source: str = "tokenizer") -> None:
    """Raises ValueError if a tokenizer is not of the kind of a family.

    Args:
        tokenizer: Has a `kind`.
        family: Name of the family.
        source: The flag or file that the tokenizer came from.
    """
    kind = FAMILIES[family].tokenizer
    if tokenizer.kind != kind:
        raise ValueError(
            f"`{source}` must be of the kind that the family {family} "
            f"reads, {kind!r}. Received: {tokenizer.kind!r}. Use the "
            "tokenizer that belongs to the model."
        )


def check_vocabulary(
    tokenizer: Any, config: TransformerConfig, source: str = "tokenizer"
) -> None:
    """Raises ValueError if a tokenizer has ids outside a model's table.

    Args:
        tokenizer: Has a `vocab_size`.
        config: The model's.
        source: The flag or file that the tokenizer came from.
    """
    check_kind(tokenizer, config.family, source)
    if tokenizer.vocab_size > config.vocab_size:
        raise ValueError(
            f"`{source}` must not have more tokens than the model has rows, "
            f"{config.vocab_size} (`vocab_size`). Received: "
            f"{tokenizer.vocab_size} tokens. Use the tokenizer that belongs "
            "to the model, or a model with a larger table."
        )
    pad_id = tokenizer.pad_id
    if pad_id != config.pad_token_id:
        raise ValueError(
            f"`{source}` must pad with the model's `pad_token_id`, "
            f"{config.pad_token_id}. Received: {pad_id}. Use the "
            "tokenizer that belongs to the model."
        )
