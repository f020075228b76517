"""Byte-level BPE vocabularies as files, in the Hugging Face layout."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfllm.tokenizers import files
from tfllm.tokenizers.byte_pair_model import Merge
from tfllm.tokenizers.files import (
    CONFIG_FILE,
    SPECIAL_TOKENS_FILE,
    TOKENIZER_FILE,
)

VOCAB_FILE = "vocab.json"
MERGES_FILE = "merges.txt"
ADDED_FILE = "added_tokens.json"
_MERGES_HEADER = "#version: 0.2"
_ROLES = ("bos_token", "eos_token", "pad_token")

# Field of tokenizer.json's model -> the values that mean GPT-2's BPE.
_MODEL_FIELDS: dict[str, tuple[Any, ...]] = {
    "dropout": (None,),
    "continuing_subword_prefix": (None, ""),
    "end_of_word_suffix": (None, ""),
    "byte_fallback": (None, False),
    "ignore_merges": (None, False),
}


def read(path: str) -> tuple[list[str], list[Merge], dict[str, Any]]:
    """Reads a tokenizer folder, a tokenizer.json, or a vocab.json.

    Args:
        path: A folder with vocab.json and merges.txt, or with
            tokenizer.json; or one of these files. Tokens that were added to
            vocab.json stand in tokenizer.json or added_tokens.json.

    Returns:
        The tokens by id, the merges by rank, and the arguments of the
        tokenizer that the folder sets.

    Raises:
        ValueError: A file is missing, damaged, or asks for what GPT-2's
            tokenizer does not do.
    """
    path = os.fspath(path)
    folder, name = (
        (path, "") if tf.io.gfile.isdir(path) else os.path.split(path)
    )
    whole = os.path.join(folder, TOKENIZER_FILE)
    vocab_file = os.path.join(folder, VOCAB_FILE)
    has_parts = tf.io.gfile.exists(vocab_file)
    if name == TOKENIZER_FILE or (not has_parts and name != VOCAB_FILE):
        ids, merges, arguments = _read_tokenizer_file(whole)
        source = whole
    else:
        ids = _check_ids(files.read_json(vocab_file), vocab_file)
        _add_tokens(ids, _added(files.read_json(whole)), whole)
        added_file = os.path.join(folder, ADDED_FILE)
        _add_tokens(ids, files.read_json(added_file), added_file)
        merges = _read_merges(os.path.join(folder, MERGES_FILE))
        arguments = {}
        source = vocab_file
    arguments |= _read_arguments(folder)
    vocab = sorted(ids, key=lambda token: ids[token])
    if [ids[token] for token in vocab] != list(range(len(vocab))):
        raise ValueError(
            f"{source!r} must number its tokens from 0 without gaps or "
            f"repeats. Received: {len(vocab)} tokens with ids up to "
            f"{max(ids.values(), default=-1)}. Add the missing tokens."
        )
    for role in _ROLES:
        token = arguments.get(role)
        if token is not None and token not in ids:
            raise ValueError(
                f"`{role}` of {folder!r} must be in the vocabulary. "
                f"Received: {token!r}. Correct {CONFIG_FILE}."
            )
    return vocab, merges, arguments


def _check_ids(ids: dict[str, Any], file: str) -> dict[str, int]:
    """Returns token -> id; ValueError if it is anything else."""
    if not ids:
        raise ValueError(
            f"{file!r} must hold the ids of the tokens. Received: none, or no "
            "such file. Make a vocabulary with tools/build_vocab.py."
        )
    for token, value in ids.items():
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError(
                f"{file!r} must map tokens to ids. Received: {token!r} -> "
                f"{value!r}. Is this a vocabulary file?"
            )
    return ids


def _added(content: dict[str, Any]) -> dict[str, Any]:
    """Returns the added tokens of a tokenizer.json, and their ids."""
    return {
        added["content"]: added["id"]
        for added in content.get("added_tokens") or ()
    }


def _add_tokens(ids: dict[str, int], added: dict[str, Any], file: str) -> None:
    """Puts added tokens into a vocabulary; ValueError if they contradict it."""
    if added:
        _check_ids(added, file)
    for token, value in added.items():
        if ids.setdefault(token, value) != value:
            raise ValueError(
                f"the added tokens of {file!r} must agree with its vocabulary. "
                f"Received: id {value} for {token!r}, which has {ids[token]}. "
                "Copy the files from the model again."
            )


def _read_merges(file: str) -> list[Merge]:
    if not tf.io.gfile.exists(file):
        raise ValueError(
            f"{file!r} must exist beside {VOCAB_FILE}. Received: no such "
            "file. Copy it from the model."
        )
    with tf.io.gfile.GFile(file, "rb") as stream:
        content = stream.read()
    try:
        lines = content.decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{file!r} must be UTF-8 text. Received: other bytes on line "
            f"{line}. Copy it from the model again."
        ) from error
    merges = []
    for number, line in enumerate(lines, 1):
        line = line.removesuffix("\r")
        if not line or (number == 1 and line.startswith("#version")):
            continue
        parts = tuple(line.split(" "))
        if len(parts) != 2 or not all(parts):
            raise ValueError(
                f"{file!r} must have two tokens on a line. Received: "
                f"{line!r} on line {number}. Copy it from the model again."
            )
        merges.append((parts[0], parts[1]))
    return merges


def _read_tokenizer_file(
    file: str,
) -> tuple[dict[str, int], list[Merge], dict[str, Any]]:
    """Returns ids, merges and arguments of a tokenizer.json."""
    content = files.read_json(file)
    model = content.get("model") or {}
    if model.get("type") != "BPE":
        raise ValueError(
            f"{file!r} must exist and hold a model of type 'BPE'. Received: "
            f"{model.get('type')!r}. Name a byte-level BPE tokenizer."
        )
    for name, allowed in _MODEL_FIELDS.items():
        _refuse(file, f"model.{name}", model.get(name), allowed)
    _refuse(file, "normalizer", content.get("normalizer"), (None,))
    splitter = content.get("pre_tokenizer") or {}
    _refuse(file, "pre_tokenizer.type", splitter.get("type"), ("ByteLevel",))
    _refuse(
        file, "pre_tokenizer.use_regex", splitter.get("use_regex"), (None, True)
    )
    ids = dict(_check_ids(model.get("vocab") or {}, file))
    _add_tokens(ids, _added(content), file)
    merges: list[Merge] = []
    for number, merge in enumerate(model.get("merges") or (), 1):
        parts = merge.split(" ") if isinstance(merge, str) else merge
        if len(parts) != 2:
            raise ValueError(
                f"`model.merges` of {file!r} must be pairs. Received: "
                f"{merge!r}, merge {number}."
            )
        merges.append((parts[0], parts[1]))
    space = bool(splitter.get("add_prefix_space", False))
    return ids, merges, {"add_prefix_space": space}


def _refuse(file: str, field: str, value: Any, allowed: Sequence[Any]) -> None:
    """Raises ValueError unless a field has one of the values we have."""
    if value not in allowed:
        raise ValueError(
            f"`{field}` of {file!r} must be "
            f"{' or '.join(repr(v) for v in allowed)}: the tokenizer in the "
            f"graph is GPT-2's. Received: {value!r}."
        )


def _read_arguments(folder: str) -> dict[str, Any]:
    """Returns what tokenizer_config.json and the map of tokens set."""
    config = files.read_json(os.path.join(folder, SPECIAL_TOKENS_FILE))
    config |= files.read_json(os.path.join(folder, CONFIG_FILE))
    arguments: dict[str, Any] = {}
    if config.get("add_prefix_space") is not None:
        arguments["add_prefix_space"] = bool(config["add_prefix_space"])
    for role in _ROLES:
        if role in config:
            token = config[role]
            if isinstance(token, dict):
                token = token.get("content")
            arguments[role] = token
    return arguments


def write(
    folder: str,
    vocab: Sequence[str],
    merges: Sequence[Merge],
    *,
    roles: dict[str, str | None],
    add_prefix_space: bool,
) -> None:
    """Writes the files of a GPT-2 tokenizer.

    Args:
        folder: Is created if missing.
        vocab: The tokens in the order of their ids.
        merges: In the order of their ranks.
        roles: `bos_token`, `eos_token` and `pad_token`, or None for each.
        add_prefix_space: As in the tokenizer.
    """
    ids = {token: i for i, token in enumerate(vocab)}
    named = {role: token for role, token in roles.items() if token}
    config = {
        "tokenizer_class": "GPT2Tokenizer",
        "add_prefix_space": add_prefix_space,
        "clean_up_tokenization_spaces": False,
        **{role: roles[role] for role in _ROLES},
        "unk_token": roles["eos_token"],
    }
    lines = [_MERGES_HEADER, *(f"{left} {right}" for left, right in merges)]
    byte_level = {
        "type": "ByteLevel",
        "add_prefix_space": add_prefix_space,
        "trim_offsets": True,
        "use_regex": True,
    }
    document = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": ids[token],
                "content": token,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for token in sorted(set(named.values()), key=ids.__getitem__)
        ],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": {**byte_level, "trim_offsets": False},
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "",
            "fuse_unk": False,
            "byte_fallback": False,
            "vocab": ids,
            "merges": [list(merge) for merge in merges],
        },
    }
    tf.io.gfile.makedirs(folder)
    files.write_text(folder, VOCAB_FILE, files.to_json(ids))
    files.write_text(folder, MERGES_FILE, "\n".join(lines) + "\n")
    files.write_text(folder, SPECIAL_TOKENS_FILE, files.to_json(named))
    files.write_text(folder, TOKENIZER_FILE, files.to_json(document))
    files.write_text(folder, CONFIG_FILE, files.to_json(config))
