"""What tokenizer_config.json says about rows."""

from __future__ import annotations

import dataclasses
from typing import Any

from tfllm.tokenizers import files
from tfllm.tokenizers.row_template import RowTemplate

# Key of tokenizer_config.json -> role of the token, and field of the template.
_ENDS = {
    "add_bos_token": ("bos", "opens"),
    "add_eos_token": ("eos", "closes"),
}


def with_sides(
    template: RowTemplate[str], config: dict[str, Any], file: str
) -> RowTemplate[str]:
    """Returns a template with `padding_side` and `truncation_side`.

    Args:
        template: Of the family or of tokenizer.json, in roles or spelled.
        config: The content of tokenizer_config.json.
        file: Its path, for messages.

    Raises:
        ValueError: Rows of the model cannot be so.
    """
    cut = config.get("truncation_side", "right")
    if cut != "right":
        raise ValueError(
            f"`truncation_side` in {file!r} must be 'right': rows keep the "
            f"beginning of a text that is too long. Received: {cut!r}. Remove "
            "the field, and cut texts beforehand."
        )
    side = config.get("padding_side", template.padding_side)
    allowed = ("right", "left") if not template.segments else ("right",)
    if side not in (*allowed, template.padding_side):
        raise ValueError(
            f"`padding_side` in {file!r} must be "
            f"{' or '.join(map(repr, allowed))}: the model counts positions "
            f"from the first column. Received: {side!r}. Remove the field."
        )
    return dataclasses.replace(template, padding_side=side)


def with_ends(
    template: RowTemplate[str], config: dict[str, Any], file: str
) -> RowTemplate[str]:
    """Returns a template with `add_bos_token` and `add_eos_token`.

    Args:
        template: Of the family, in roles.
        config: The content of tokenizer_config.json.
        file: Its path, for messages.

    Raises:
        ValueError: A value is neither true nor false.
    """
    for key, (role, field) in _ENDS.items():
        value = config.get(key)
        if value not in (None, True, False):
            raise ValueError(
                f"`{key}` in {file!r} must be true or false. Received: "
                f"{value!r}. Correct the file."
            )
        tokens = getattr(template, field)
        if value is True and role not in tokens:
            tokens = (role, *tokens) if role == "bos" else (*tokens, role)
        elif value is False:
            tokens = tuple(token for token in tokens if token != role)
        template = dataclasses.replace(template, **{field: tokens})
    return template


def warn_of_ends(
    template: RowTemplate[str],
    config: dict[str, Any],
    tokens: dict[str, str],
    file: str,
) -> None:
    """Warns of `add_bos_token` and `add_eos_token` that do not count.

    Args:
        template: What tokenizer.json says, in roles or spelled.
        config: The content of tokenizer_config.json.
        tokens: The special tokens by role.
        file: The path of tokenizer.json.
    """
    for key, (role, field) in _ENDS.items():
        names = {role, tokens.get(role)}
        has = bool(names & set(getattr(template, field)))
        if config.get(key) not in (None, has):
            files.warn_once(
                f"{file} says {key} = {has!r} by its post_processor and wins "
                f"over {files.CONFIG_FILE}, which says {config[key]!r}."
            )
