"""The tokenizer in the metadata of a GGUF file."""

from __future__ import annotations

import functools
import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from tfllm.tokenizers.row_template import RowTemplate
from tfllm.tokenizers.special_tokens import AddedToken, SpecialTokens

CHAT_TEMPLATE_FILE = "chat_template.jinja"
_PREFIX = "tokenizer.ggml."
# `tokenizer.ggml.pre` -> one of `split_patterns.PATTERNS`.
_PATTERNS = {
    "gpt-2": "gpt2",
    "default": "gpt2",
    "smollm": "digits",
    **dict.fromkeys(
        ("llama3", "llama-v3", "llama-bpe", "dbrx", "smaug-bpe"), "llama3"
    ),
    **dict.fromkeys(("qwen2", "deepseek-r1-qwen"), "qwen2"),
}
# Types of tokens, which are those of SentencePiece.
_CONTROL, _USER_DEFINED, _BYTE = 3, 4, 6
# Key of config.json -> key of the file.
_IDS = {
    "bos_token_id": "bos_token_id",
    "eos_token_id": "eos_token_id",
    "pad_token_id": "padding_token_id",
    "unk_token_id": "unknown_token_id",
}


def special_ids(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the ids for config.json; no padding id if it is another role's.

    Args:
        fields: Metadata of the file.
    """
    ids = {
        ours: fields.get(_PREFIX + key)
        for ours, key in _IDS.items()
        if ours != "unk_token_id"
    }
    pad = ids.pop("pad_token_id")
    if pad is not None and pad not in ids.values():
        ids["pad_token_id"] = pad
    return ids


def writer(
    path: str, fields: Mapping[str, Any]
) -> Callable[[pathlib.Path], None] | None:
    """Returns the function that writes the tokenizer; None without one.

    Args:
        path: The file, for messages.
        fields: Its metadata.

    Raises:
        ValueError: The tokenizer is of a kind that is not supported.
    """
    kind = fields.get(f"{_PREFIX}model")
    if kind in (None, "none", "no_vocab"):
        return None
    _check_tokens(path, fields, kind)
    if kind == "llama":
        return functools.partial(_write_sentence_piece, fields)
    pre = fields.get(f"{_PREFIX}pre", "default")
    if kind != "gpt2":
        raise ValueError(
            f"`{_PREFIX}model` of '{path}' must be 'gpt2' or 'llama'. "
            f"Received: {kind!r}"
        )
    if pre not in _PATTERNS:
        raise ValueError(
            f"`{_PREFIX}pre` of '{path}' must be one of {sorted(_PATTERNS)}. "
            f"Received: {pre!r}, a way to split words that tfllm does not have"
        )
    return functools.partial(_write_byte_pair, fields, _PATTERNS[pre])


def _check_tokens(path: str, fields: Mapping[str, Any], kind: str) -> None:
    """Raises ValueError if tokens and what belongs to them do not fit.

    Args:
        path: The file, for messages.
        fields: Its metadata.
        kind: Kind of the tokenizer.
    """
    tokens = fields.get(f"{_PREFIX}tokens") or []
    needed = ["tokens"]
    needed += ["scores", "token_type"] if kind == "llama" else []
    for key in ("tokens", "scores", "token_type"):
        values = fields.get(_PREFIX + key)
        if values is None and key not in needed:
            continue
        if not values or len(values) != len(tokens):
            raise ValueError(
                f"`{_PREFIX}{key}` of '{path}' must have a value for each "
                f"token. Received: {len(values or ())} for {len(tokens)} "
                "tokens. Convert the model to GGUF again."
            )
    for key in _IDS.values():
        number = fields.get(_PREFIX + key)
        if number is not None and not 0 <= number < len(tokens):
            raise ValueError(
                f"`{_PREFIX}{key}` of '{path}' must be below {len(tokens)}, "
                f"the number of tokens. Received: {number}"
            )


def _roles(fields: Mapping[str, Any]) -> dict[str, str]:
    """Returns the token of each role."""
    tokens = fields[f"{_PREFIX}tokens"]
    ids = {
        role.removesuffix("_token_id"): fields.get(_PREFIX + key)
        for role, key in _IDS.items()
    }
    if ids["pad"] in (ids["bos"], ids["eos"]):
        ids["pad"] = None
    return {role: tokens[i] for role, i in ids.items() if i is not None}


def _write_byte_pair(
    fields: Mapping[str, Any], pattern: str, folder: pathlib.Path
) -> None:
    """Writes the files of a byte-level BPE tokenizer."""
    from tfllm.tokenizers import ByteBPETokenizer

    tokens = fields[f"{_PREFIX}tokens"]
    types = fields.get(f"{_PREFIX}token_type") or [1] * len(tokens)
    by_type = {
        kind: [
            t for t, found in zip(tokens, types, strict=True) if found == kind
        ]
        for kind in (_CONTROL, _USER_DEFINED)
    }
    roles = _roles(fields)
    others = (t for t in by_type[_CONTROL] if t not in roles.values())
    merges = [m.split(" ") for m in fields.get(f"{_PREFIX}merges") or ()]
    has_bos = fields.get(f"{_PREFIX}add_bos_token", False) and "bos" in roles
    has_eos = fields.get(f"{_PREFIX}add_eos_token", False) and "eos" in roles
    opens = ("bos",) if has_bos else ()
    tokenizer = ByteBPETokenizer(
        tokens,
        [(left, right) for left, right in merges],
        special_tokens=SpecialTokens(**roles, additional=tuple(others)),
        pattern=pattern,
        normalization="NFC" if pattern == "qwen2" else None,
        # As the published tokenizers of this pattern.
        ignore_merges=pattern == "llama3",
        added_tokens=[AddedToken(t) for t in by_type[_USER_DEFINED]],
        template=RowTemplate(
            pad="pad" if "pad" in roles else "eos",
            opens=opens,
            between=opens,
            closes=("eos",) if has_eos else (),
        ),
        source="the tokens of the GGUF file",
    )
    tokenizer.save(str(folder))


def _write_sentence_piece(
    fields: Mapping[str, Any], folder: pathlib.Path
) -> None:
    """Writes the tokens and scores as a BPE model of SentencePiece."""
    from tfllm.tokenizers import sentence_piece_model

    messages = sentence_piece_model.proto()
    tokens = fields[f"{_PREFIX}tokens"]
    types = fields[f"{_PREFIX}token_type"]
    model = messages.ModelProto()
    for token, score, kind in zip(
        tokens, fields[f"{_PREFIX}scores"], types, strict=True
    ):
        model.pieces.add(piece=token, score=score, type=kind)
    trainer = model.trainer_spec
    trainer.model_type = messages.TrainerSpec.ModelType.BPE
    trainer.vocab_size = len(tokens)
    trainer.byte_fallback = _BYTE in types
    for role in ("unk", "bos", "eos", "pad"):
        key = _IDS[f"{role}_token_id"]
        setattr(trainer, f"{role}_id", fields.get(_PREFIX + key, -1))
    normalizer = model.normalizer_spec
    normalizer.name = "identity"
    normalizer.add_dummy_prefix = fields.get(f"{_PREFIX}add_space_prefix", True)
    normalizer.remove_extra_whitespaces = False
    normalizer.escape_whitespaces = True
    content = model.SerializeToString(deterministic=True)
    (folder / "tokenizer.model").write_bytes(content)
    config = {
        "tokenizer_class": "LlamaTokenizer",
        "legacy": False,
        "add_bos_token": fields.get(f"{_PREFIX}add_bos_token", True),
        "add_eos_token": fields.get(f"{_PREFIX}add_eos_token", False),
        **{f"{role}_token": token for role, token in _roles(fields).items()},
    }
    text = json.dumps(config, indent=2, sort_keys=True)
    (folder / "tokenizer_config.json").write_text(f"{text}\n", encoding="utf-8")
