"""Two SentencePiece models and their vocabularies as files.

The layout of MarianTokenizer of Transformers: source.spm, target.spm,
vocab.json and, where the two sides have vocabularies of their own,
target_vocab.json.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Protocol

import tensorflow as tf

from tfllm.tokenizers import added_tokens, files, row_options
from tfllm.tokenizers.files import CONFIG_FILE, SPECIAL_TOKENS_FILE
from tfllm.tokenizers.row_template import RowTemplate, spelled
from tfllm.tokenizers.sentence_piece_model import Model, parse
from tfllm.tokenizers.spec import TokenizerSpec
from tfllm.tokenizers.special_tokens import ROLES, AddedToken, SpecialTokens

SOURCE_FILE, TARGET_FILE = "source.spm", "target.spm"
VOCAB_FILE, TARGET_VOCAB_FILE = "vocab.json", "target_vocab.json"
ROWS = RowTemplate(pad="pad", closes=("eos",))
# Those of Marian where files name no others.
TOKENS = SpecialTokens(pad="<pad>", unk="<unk>", eos="</s>")
_CLASS = "MarianTokenizer"


def read(path: str, spec: TokenizerSpec | None = None) -> dict[str, Any]:
    """Reads a tokenizer folder.

    Args:
        path: The folder, or one of its files.
        spec: What the family says, where the files are silent.

    Returns:
        The arguments of the tokenizer.

    Raises:
        ValueError: A file is missing or damaged, or asks for something that
            is not supported.
    """
    path = os.fspath(path)
    folder = path if tf.io.gfile.isdir(path) else os.path.dirname(path)
    config_file = os.path.join(folder, CONFIG_FILE)
    config = files.read_json(os.path.join(folder, SPECIAL_TOKENS_FILE))
    config |= files.read_json(config_file)
    _check(config, config_file, spec)
    vocab = _read_vocab(folder, VOCAB_FILE)
    separate = config.get("separate_vocabs", False)
    target_vocab = _read_vocab(folder, TARGET_VOCAB_FILE) if separate else None
    added = added_tokens.read(folder, vocab, reads_whole=False)
    template = spec.template if spec else ROWS
    languages = (config.get("source_lang"), config.get("target_lang"))
    return {
        "vocab": vocab,
        "model": _read_model(folder, SOURCE_FILE),
        "special_tokens": _special_tokens(folder, config, vocab, added, spec),
        "target_model": _read_model(folder, TARGET_FILE),
        "target_vocab": target_vocab,
        "languages": languages,
        "added_tokens": added,
        "template": row_options.with_sides(template, config, config_file),
    }


def _check(
    config: dict[str, Any], file: str, spec: TokenizerSpec | None
) -> None:
    """Raises ValueError for options that the graph does not follow."""
    allowed = (_CLASS, *(spec.classes if spec else ()))
    name = config.get("tokenizer_class", _CLASS)
    if name not in allowed:
        raise ValueError(
            f"`tokenizer_class` in {file!r} must be {' or '.join(allowed)}. "
            f"Received: {name!r}. Is it the folder of another model?"
        )
    if not isinstance(config.get("separate_vocabs", False), bool):
        raise ValueError(
            f"`separate_vocabs` in {file!r} must be true or false. Received: "
            f"{config['separate_vocabs']!r}. Correct the file."
        )
    options = config.get("sp_model_kwargs") or {}
    if options:
        raise ValueError(
            f"`sp_model_kwargs` in {file!r} must be empty: the graph splits "
            f"texts as the models say. Received: {options!r}. Remove it."
        )


def _read_vocab(folder: str, name: str) -> list[str]:
    """Returns the tokens of a vocabulary in the order of their ids."""
    file = os.path.join(folder, name)
    ids = files.read_json(file)
    if not ids:
        raise ValueError(
            f"{folder!r} must have a vocabulary {name}. Received: "
            "none, or an empty one. Copy the file from the model."
        )
    return files.in_order(ids, file)


def _read_model(folder: str, name: str) -> Model:
    """Returns one of the two models."""
    file = os.path.join(folder, name)
    if not tf.io.gfile.exists(file):
        raise ValueError(
            f"{folder!r} must have a SentencePiece model {name}. Received: "
            "none. Copy the file from the model."
        )
    with tf.io.gfile.GFile(file, "rb") as stream:
        return parse(stream.read(), file)


def _special_tokens(
    folder: str,
    config: dict[str, Any],
    vocab: Sequence[str],
    added: Sequence[AddedToken],
    spec: TokenizerSpec | None,
) -> SpecialTokens:
    """Returns the special tokens that the config, or else the family, names."""
    known = {*vocab, *(token.content for token in added)}
    usual = (spec.special_tokens if spec else TOKENS).as_dict()
    tokens: dict[str, Any] = {}
    for role in ROLES:
        token = config.get(f"{role}_token", usual.get(role))
        if isinstance(token, dict):
            token = token.get("content")
        if token is None:
            continue
        if token not in known:
            raise ValueError(
                f"`{role}_token` of {folder!r} must be in the vocabulary. "
                f"Received: {token!r}. Correct {CONFIG_FILE}, or add the token "
                f"to {VOCAB_FILE}."
            )
        tokens[role] = token
    return SpecialTokens(**tokens)


class Saved(Protocol):
    """The part of a tokenizer that is written."""

    model: Model
    vocab: list[str]
    model_vocab: list[str]
    languages: tuple[str | None, str | None]
    has_target_vocab: bool
    special_tokens: SpecialTokens
    added_tokens: Sequence[AddedToken]
    template: RowTemplate[str]

    @property
    def target(self) -> Any:
        """The tokenizer of texts that are written."""


def write(
    folder: str, tokenizer: Saved, spec: TokenizerSpec | None = None
) -> None:
    """Writes a tokenizer folder.

    Args:
        folder: Is created if missing.
        tokenizer: A MappedPieceTokenizer.
        spec: Names the class that Transformers loads the files as.
    """
    ids = {token: i for i, token in enumerate(tokenizer.vocab)}
    roles = tokenizer.special_tokens.as_dict()
    named = {f"{role}_token": token for role, token in roles.items()}
    source, target = tokenizer.languages
    described = [
        *tokenizer.added_tokens,
        *(
            AddedToken(token, special=True)
            for token in tokenizer.special_tokens.all()
            if token not in {t.content for t in tokenizer.added_tokens}
        ),
    ]
    entries = [token.to_json(ids[token.content]) for token in described]
    entries.sort(key=lambda entry: entry["id"])
    config: dict[str, Any] = {
        "tokenizer_class": spec.classes[0] if spec and spec.classes else _CLASS,
        "separate_vocabs": tokenizer.has_target_vocab,
        "source_lang": source,
        "target_lang": target,
        "clean_up_tokenization_spaces": False,
        **named,
        "added_tokens_decoder": {
            str(entry.pop("id")): entry for entry in entries
        },
    }
    template = spelled(tokenizer.template, tokenizer.special_tokens)
    if template.padding_side != "right":
        config["padding_side"] = template.padding_side
    tf.io.gfile.makedirs(folder)
    for name, side in (
        (SOURCE_FILE, tokenizer),
        (TARGET_FILE, tokenizer.target),
    ):
        content = side.model.SerializeToString(deterministic=True)
        files.write_bytes(folder, name, content)
    _write_vocab(folder, VOCAB_FILE, tokenizer.model_vocab)
    if tokenizer.has_target_vocab:
        vocab = tokenizer.target.model_vocab
        _write_vocab(folder, TARGET_VOCAB_FILE, vocab)
    files.write_text(folder, SPECIAL_TOKENS_FILE, files.to_json(named))
    files.write_text(folder, CONFIG_FILE, files.to_json(config))
    more = tokenizer.vocab[len(tokenizer.model_vocab) :]
    if more:
        behind = files.to_json({token: ids[token] for token in more})
        files.write_text(folder, added_tokens.ADDED_FILE, behind)


def _write_vocab(folder: str, name: str, vocab: Sequence[str]) -> None:
    """Writes a vocabulary as token -> id."""
    ids = {token: i for i, token in enumerate(vocab)}
    files.write_text(folder, name, files.to_json(ids))
