"""Added tokens: each is matched whole in a text and becomes one id.

Reference: `AddedToken` of the `tokenizers` package.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from typing import Any

from tfllm.tokenizers import files
from tfllm.tokenizers.special_tokens import ROLES, AddedToken

ADDED_FILE = "added_tokens.json"
_FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")

logger = logging.getLogger(__name__)


def read(
    folder: str, vocab: Sequence[str], reads_whole: bool = True
) -> list[AddedToken]:
    """Reads the added tokens of a tokenizer folder.

    Where files contradict each other, tokenizer.json wins over
    tokenizer_config.json, and that over the others; a warning says so.

    Args:
        folder: The folder.
        vocab: The tokens of the model, in the order of their ids.
        reads_whole: Whether tokenizer.json counts.

    Returns:
        The tokens; those that the model lacks in the order of their ids,
        which follow those of the model.

    Raises:
        ValueError: An entry is damaged or not supported, or ids contradict
            each other.
    """
    ids: dict[str, int | None] = {token: i for i, token in enumerate(vocab)}
    merged: dict[str, dict[str, Any]] = {}
    for file, entry in _entries(folder, reads_whole):
        _check_entry(entry, file)
        content = entry["content"]
        if entry.get("is_role") and not (content in ids or content in merged):
            continue
        _merge(merged.setdefault(content, {}), entry, file)
        if ids.setdefault(content, entry.get("id")) is None:
            ids[content] = entry.get("id")
        elif entry.get("id", ids[content]) != ids[content]:
            raise ValueError(
                f"the added tokens of {file!r} must agree with its vocabulary. "
                f"Received: id {entry['id']} for {content!r}, which has "
                f"{ids[content]}. Copy the files from the model again."
            )
    known = set(vocab)
    outside = [content for content in merged if content not in known]
    # Without an id: behind all others.
    last = max((i for i in ids.values() if i is not None), default=-1) + 1
    outside.sort(key=lambda c: last if (i := ids[c]) is None else i)
    for place, content in enumerate(outside, len(vocab)):
        if ids[content] not in (None, place):
            raise ValueError(
                f"the added tokens of {folder!r} must follow the {len(vocab)} "
                "tokens of its vocabulary without gaps. Received: id "
                f"{ids[content]} for {content!r}, which must have {place}. "
                "Copy the files from the model again."
            )
    inside = [content for content in merged if content in known]
    return [_token(content, merged[content]) for content in inside + outside]


def _entries(
    folder: str, reads_whole: bool
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields each entry and its file, those that win first."""
    path = os.path.join(folder, files.TOKENIZER_FILE)
    if reads_whole:
        for entry in files.read_json(path).get("added_tokens") or ():
            yield path, entry
    config_file = os.path.join(folder, files.CONFIG_FILE)
    config = files.read_json(config_file)
    for number, entry in (config.get("added_tokens_decoder") or {}).items():
        yield config_file, {"id": int(number), **entry}
    path = os.path.join(folder, ADDED_FILE)
    for content, token_id in files.read_json(path).items():
        yield path, {"content": content, "id": token_id}
    map_file = os.path.join(folder, files.SPECIAL_TOKENS_FILE)
    for path, named in (
        (config_file, config),
        (map_file, files.read_json(map_file)),
    ):
        for key in ("additional_special_tokens", "extra_special_tokens"):
            extra = named.get(key) or ()
            for entry in extra.values() if isinstance(extra, dict) else extra:
                entry = {"content": entry} if isinstance(entry, str) else entry
                yield path, {"special": True, **entry}
        for role in ROLES:
            if isinstance(named.get(f"{role}_token"), dict):
                yield path, {"is_role": True, **named[f"{role}_token"]}


def _check_entry(entry: Any, file: str) -> None:
    """Raises ValueError for an entry that is damaged or not supported."""
    fields: dict[str, type] = {"content": str, **dict.fromkeys(_FLAGS, bool)}
    fields["id"] = int
    content = entry.get("content")
    for name, kind in fields.items():
        value = entry.get(name, kind())
        if type(value) is not kind or (name == "content" and not value):
            raise ValueError(
                f"`{name}` of an added token in {file!r} must be of type "
                f"{kind.__name__} and not empty. Received: {value!r} for "
                f"{content!r}. Correct the file."
            )
    if entry.get("single_word"):
        raise ValueError(
            f"`single_word` of the added token {content!r} in {file!r} must be "
            "false: the graph matches tokens inside words as well. Received: "
            "true. Set it to false, or leave the token out."
        )


def _merge(first: dict[str, Any], entry: dict[str, Any], file: str) -> None:
    """Adds the flags of an entry that no earlier file sets."""
    for flag in _FLAGS:
        if flag in entry and first.setdefault(flag, entry[flag]) != entry[flag]:
            logger.warning(
                "%s says `%s` = %s of the added token %r, and a file that wins "
                "over it says %s. Correct one of them.",
                file,
                flag,
                entry[flag],
                entry["content"],
                first[flag],
            )


def _token(content: str, entry: dict[str, Any]) -> AddedToken:
    special = entry.get("special", False)
    return AddedToken(
        content,
        lstrip=entry.get("lstrip", False),
        rstrip=entry.get("rstrip", False),
        normalized=entry.get("normalized", not special),
        special=special,
    )
