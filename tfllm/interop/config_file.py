"""Reads config.json, resolves `--model`, and checks that a tokenizer fits."""

from __future__ import annotations

import difflib
import json
import os
import pathlib
import re
from typing import TYPE_CHECKING, Any

from tfllm.interop.folder_tensors import has_tensors, open_tensors
from tfllm.models import FAMILIES, Family, TransformerConfig
from tfllm.models.family import ENCODER_ONLY
from tfllm.models.published import check_parameters
from tfllm.tokenizers.special_tokens import ROLES

if TYPE_CHECKING:
    from tfllm.tokenizers import Tokenizer

CONFIG_FILE = "config.json"
OWN_KEY = "tfllm"


def read_json(path: pathlib.Path) -> dict[str, Any]:
    """Returns the object in a JSON file.

    Raises:
        ValueError: The file is missing, or is not a JSON object.
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
        folder: Local model folder, or the path of a config.json.

    Returns:
        The family and the config.

    Raises:
        ValueError: The file is missing or damaged, its family is unknown, a
            value is not supported, or a size differs from the tensors beside
            it.
    """
    path = pathlib.Path(folder)
    if path.is_dir() or path.suffix != ".json":
        path = path / CONFIG_FILE
    values = read_json(path)
    name = values.get("model_type")
    if name not in FAMILIES:
        near = difflib.get_close_matches(str(name), FAMILIES, 1, cutoff=0.0)
        raise ValueError(
            f"`model_type` in '{path}' must be one of {sorted(FAMILIES)}. "
            f"Received: {name!r}, a family that tfllm does not have. The "
            f"nearest is {near[0]!r}."
        )
    family = FAMILIES[name]
    try:
        config = family.from_published(values)
        check_parameters(config)
        small = [[family.architectures.get(key)] for key in ENCODER_ONLY]
        both = config.kind == "encoder_decoder"
        if both and values.get("architectures") in small:
            config = config.only("encoder")
    except (TypeError, ValueError) as error:
        raise ValueError(f"'{path}' is wrong: {error}") from error
    if pathlib.Path(folder).is_dir() and has_tensors(path.parent):
        tensors = open_tensors(path.parent)
        _check_tensor_sizes(family, config, tensors.shapes(), path)
        if family.fit_tensors is not None:
            config = family.fit_tensors(config, tensors)
    return family, config


def _check_tensor_sizes(
    family: Family,
    config: TransformerConfig,
    shapes: dict[str, tuple[int, ...]],
    path: pathlib.Path,
) -> None:
    """Raises ValueError if a size in the config differs from the tensors."""
    names = {family.name_in_table(name): s for name, s in shapes.items()}
    full = {
        name if name.startswith(family.prefix) else family.prefix + name: shape
        for name, shape in names.items()
    }
    stored: dict[str, tuple[int, str]] = {}
    for key, layer in (family.layers, family.decoder_layers or ("", "")):
        pattern = re.escape(layer).replace(re.escape("{}"), r"(\d+)")
        numbers = [
            int(match[1])
            for match in map(re.compile(pattern).match, full)
            if match and layer
        ]
        if numbers:
            stored[key] = max(numbers) + 1, "layers"
    for size in family.shown_sizes(config):
        shape = full.get(size.tensor, ())
        if len(shape) == 2:
            place = f"{size.tensor} of shape {list(shape)}"
            stored[size.key] = shape[size.axis], place
    published = family.to_published(config)
    for key, (number, place) in stored.items():
        if published.get(key, number) != number:
            raise ValueError(
                f"'{path}' is wrong: `{key}` must be {number}, as the tensors "
                f"beside it have it ({place}). Received: {published[key]}. "
                "Correct the file, or "
                "fetch the tensors that belong to it."
            )


def family_of(spec: str) -> Family | None:
    """Returns the family that `--model` names; None if it is unknown.

    Args:
        spec: As in `resolve_model`; or a hub id, which gives None.

    Raises:
        ValueError: A config.json is damaged.
    """
    path = pathlib.Path(spec)
    if path.suffix != ".json":
        path = path / CONFIG_FILE
    if path.is_file():
        return FAMILIES.get(str(read_json(path).get("model_type")))
    return FAMILIES.get(spec.partition(":")[0])


def resolve_model(spec: str, **overrides: Any) -> TransformerConfig:
    """Returns the config that `--model` names.

    Args:
        spec: `FAMILY:SIZE`, or the path of a config.json or of its folder.
        **overrides: Arguments of the family's `config` to replace; for a
            config.json only `vocab_size` and `dropout`. None keeps a value.

    Raises:
        ValueError: The family, size or file does not exist; the message has
            the nearest valid name.
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
    """Returns a config with dropout or vocabulary size replaced."""
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


def check_kind(
    tokenizer: Tokenizer, family: str, source: str = "`tokenizer`"
) -> None:
    """Raises ValueError if a family does not read this kind of tokenizer.

    Args:
        tokenizer: The tokenizer.
        family: Name of the family.
        source: Flag or file of the tokenizer, for messages.
    """
    kinds = FAMILIES[family].tokenizer.kinds
    if tokenizer.kind not in kinds:
        raise ValueError(
            f"{source} must be of the kind that the family {family} "
            f"reads, {' or '.join(map(repr, kinds))}. Received: "
            f"{tokenizer.kind!r}. Use the tokenizer that belongs to the model."
        )


def _check_roles(tokenizer: Tokenizer, family: str, source: str) -> None:
    """Raises ValueError if the row template needs a missing special token."""
    special, template = tokenizer.special, tokenizer.template
    missing = [
        role
        for role in ROLES
        if role in (*template.opens, *template.closes)
        and getattr(special, role) is None
    ]
    if missing:
        raise ValueError(
            f"{source} must have a {missing[0]} token, which rows of the model "
            "have. Received: "
            f"{', '.join(tokenizer.special_tokens.all()) or 'none'}. Make a "
            f"vocabulary with tools.build_vocab --model={family}, or name a "
            "token that the vocabulary has in tokenizer_config.json."
        )


def check_vocabulary(
    tokenizer: Tokenizer, config: TransformerConfig, source: str = "`tokenizer`"
) -> None:
    """Raises ValueError if a tokenizer does not fit a model.

    Its kind, special tokens, number of tokens and padding id are compared.

    Args:
        tokenizer: The tokenizer.
        config: Config of the model.
        source: Flag or file of the tokenizer, for messages.
    """
    check_kind(tokenizer, config.family, source)
    _check_roles(tokenizer, config.family, source)
    if tokenizer.vocab_size > config.vocab_size:
        raise ValueError(
            f"{source} must not have more tokens than the model has rows, "
            f"{config.vocab_size} (`vocab_size`). Received: "
            f"{tokenizer.vocab_size} tokens. Use the tokenizer that belongs "
            "to the model, or a model with a larger table."
        )
    pad_id = tokenizer.pad_id
    # Families without a padding token may pad with any token.
    has_pad = FAMILIES[config.family].tokenizer.template.pad == "pad"
    if has_pad and pad_id != config.pad_token_id:
        raise ValueError(
            f"{source} must pad with the model's `pad_token_id`, "
            f"{config.pad_token_id}. Received: {pad_id}. Use the "
            "tokenizer that belongs to the model."
        )
