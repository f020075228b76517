"""Reads and writes the tokenizer.json of a byte-level BPE tokenizer.

A field that is not supported is refused, with its value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from tfllm.tokenizers import post_processor
from tfllm.tokenizers.byte_pair_model import Merge
from tfllm.tokenizers.row_template import RowTemplate
from tfllm.tokenizers.split_patterns import PATTERNS

Json = dict[str, Any]

# Field of the model -> the values that mean byte-level BPE.
_MODEL_FIELDS: dict[str, tuple[Any, ...]] = {
    "dropout": (None,),
    "continuing_subword_prefix": (None, ""),
    "end_of_word_suffix": (None, ""),
    "byte_fallback": (None, False),
    "ignore_merges": (None, False, True),
}


def read(
    content: Json, file: str
) -> tuple[dict[str, int], list[Merge], dict[str, Any]]:
    """Reads a tokenizer.json, but for its added tokens and its rows.

    Args:
        content: The file's object.
        file: Its path, for messages.

    Returns:
        Token -> id of the model, its merges by rank, and arguments of
        ByteBPETokenizer.

    Raises:
        ValueError: The file is damaged, or has a field that is not supported.
    """
    model = content.get("model") or {}
    if model.get("type") != "BPE":
        raise ValueError(
            f"{file!r} must exist and hold a model of type 'BPE'. Received: "
            f"{model.get('type')!r}. Name a byte-level BPE tokenizer."
        )
    for name, allowed in _MODEL_FIELDS.items():
        refuse(file, f"model.{name}", model.get(name), allowed)
    arguments = {
        **_splitting(content.get("pre_tokenizer") or {}, file),
        **_normalization(content.get("normalizer"), file),
        "ignore_merges": model.get("ignore_merges") or False,
    }
    decoder = content.get("decoder") or {}
    refuse(file, "decoder.type", decoder.get("type"), ("ByteLevel",))
    ids, merges = read_model(model, file)
    return ids, merges, arguments


def read_model(model: Json, file: str) -> tuple[dict[str, int], list[Merge]]:
    """Returns token -> id of a BPE model, and its merges by rank.

    Args:
        model: Of the file.
        file: Its path, for messages.

    Raises:
        ValueError: There are no tokens, or a merge is no pair.
    """
    ids = dict(check_ids(model.get("vocab") or {}, file))
    merges: list[Merge] = []
    for number, merge in enumerate(model.get("merges") or (), 1):
        parts = merge.split(" ") if isinstance(merge, str) else merge
        if len(parts) != 2:
            raise ValueError(
                f"`model.merges` of {file!r} must be pairs. Received: "
                f"{merge!r}, merge {number}."
            )
        merges.append((parts[0], parts[1]))
    return ids, merges


def _splitting(splitter: Json, file: str) -> Json:
    """Returns the arguments that a pre-tokenizer sets."""
    kind = splitter.get("type")
    if kind != "Sequence":
        refuse(file, "pre_tokenizer.type", kind, ("ByteLevel",))
        uses = splitter.get("use_regex")
        refuse(file, "pre_tokenizer.use_regex", uses, (None, True))
        space = splitter.get("add_prefix_space", True)
        refuse(file, "pre_tokenizer.add_prefix_space", space, (True, False))
        return {"add_prefix_space": space, "pattern": "gpt2"}
    parts = splitter.get("pretokenizers") or []
    kinds = [part.get("type") for part in parts]
    allowed = (["Split", "ByteLevel"], ["Digits", "ByteLevel"])
    refuse(file, "pre_tokenizer", kinds, allowed)
    split, last = parts
    field = "pre_tokenizer.pretokenizers"
    if split["type"] == "Digits":
        single = split.get("individual_digits")
        refuse(file, f"{field}.individual_digits", single, (True,))
        rest = _splitting(last, file)
        space = rest["add_prefix_space"]
        # It would come before each digit as well.
        refuse(file, f"{field}.add_prefix_space", space, (False,))
        return {**rest, "pattern": "digits"}
    refuse(file, f"{field}.use_regex", last.get("use_regex"), (False,))
    space = last.get("add_prefix_space", True)
    refuse(file, f"{field}.add_prefix_space", space, (False,))
    behavior = str(split.get("behavior")).capitalize()
    refuse(file, f"{field}.behavior", behavior, ("Isolated",))
    refuse(file, f"{field}.invert", split.get("invert"), (None, False))
    published = (split.get("pattern") or {}).get("Regex")
    names = {p.published: name for name, p in PATTERNS.items() if p.published}
    if published not in names:
        raise ValueError(
            f"`{field}.pattern` of {file!r} must be that of "
            f"{' or '.join(names.values())}: the graph has no look-ahead, so "
            f"patterns are built one by one. Received: {published!r}."
        )
    return {"add_prefix_space": False, "pattern": names[published]}


def _normalization(normalizer: Json | None, file: str) -> Json:
    """Returns the argument that a normalizer sets."""
    kind = (normalizer or {}).get("type")
    if normalizer is not None and kind == "Sequence":
        kinds = [part.get("type") for part in normalizer["normalizers"]]
        kind = kinds[0] if len(kinds) == 1 else kinds or None
    refuse(file, "normalizer", kind, (None, "NFC"))
    return {"normalization": kind}


def check_ids(ids: dict[str, Any], file: str) -> dict[str, int]:
    """Returns token -> id; raises ValueError if there is none."""
    if not ids:
        raise ValueError(
            f"{file!r} must hold the ids of the tokens. Received: none, or no "
            "such file. Make a vocabulary with tools/build_vocab.py."
        )
    return ids


def refuse(file: str, field: str, value: Any, allowed: Sequence[Any]) -> None:
    """Raises ValueError unless a field has one of the allowed values."""
    if not any(value == a and type(value) is type(a) for a in allowed):
        raise ValueError(
            f"`{field}` of {file!r} must be "
            f"{' or '.join(repr(v) for v in allowed)}: the tokenizer in the "
            f"graph has no other. Received: {value!r}."
        )


class Saved(Protocol):
    """The part of a ByteBPETokenizer that tokenizer.json holds."""

    merges: list[Merge]
    add_prefix_space: bool
    pattern: str
    normalization: str | None
    ignore_merges: bool


def to_json(
    tokenizer: Saved,
    vocab: dict[str, int],
    *,
    template: RowTemplate[str],
    ids: Mapping[str, int],
    added: Sequence[Json],
) -> Json:
    """Returns the object of a tokenizer.json.

    Args:
        tokenizer: The tokenizer.
        vocab: Token -> id of the model.
        template: The rows; tokens as they are spelled.
        ids: Token -> id, with the added tokens.
        added: Entries of added tokens.
    """
    pattern = PATTERNS[tokenizer.pattern]
    byte_level = {
        "type": "ByteLevel",
        "add_prefix_space": tokenizer.add_prefix_space,
        "trim_offsets": True,
        "use_regex": not pattern.published,
    }
    splitter: Json = byte_level
    if pattern.published or pattern.single_digits:
        split = {
            "type": "Split",
            "pattern": {"Regex": pattern.published},
            "behavior": "Isolated",
            "invert": False,
        }
        if pattern.single_digits:
            split = {"type": "Digits", "individual_digits": True}
        splitter = {"type": "Sequence", "pretokenizers": [split, byte_level]}
    processor: Json = {**byte_level, "trim_offsets": False}
    if template.opens or template.closes:
        rows = post_processor.to_json(template, ids)
        processor = {"type": "Sequence", "processors": [processor, rows]}
    form = tokenizer.normalization
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": list(added),
        "normalizer": {"type": form} if form else None,
        "pre_tokenizer": splitter,
        "post_processor": processor,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "",
            "fuse_unk": False,
            "byte_fallback": False,
            **({"ignore_merges": True} if tokenizer.ignore_merges else {}),
            "vocab": vocab,
            "merges": [list(merge) for merge in tokenizer.merges],
        },
    }
