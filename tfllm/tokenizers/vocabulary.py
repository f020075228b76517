"""WordPiece vocabularies as files, in the Hugging Face layout."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfllm.tokenizers import files
from tfllm.tokenizers.files import (
    CONFIG_FILE,
    SPECIAL_TOKENS_FILE,
    TOKENIZER_FILE,
)
from tfllm.tokenizers.special_tokens import SpecialTokens

VOCAB_FILE = "vocab.txt"
_MAX_WORD_CHARS = 100


def check(vocab: Sequence[str], special_tokens: SpecialTokens) -> None:
    """Raises ValueError unless a tokenizer can be built from a vocabulary.

    Args:
        vocab: The tokens in the order of their ids.
        special_tokens: Tokens that must be among them.
    """
    if isinstance(vocab, str) or not vocab:
        raise ValueError(
            "`vocab` must be a sequence of at least the special tokens. "
            f"Received: {vocab!r}. Read a file with `from_file`, or make one "
            "with tools/build_vocab.py."
        )
    _check_tokens(vocab, "`vocab`", special_tokens)


def _check_tokens(
    vocab: Sequence[str], source: str, special_tokens: SpecialTokens
) -> None:
    lines: dict[str, int] = {}
    for number, token in enumerate(vocab, 1):
        if not token:
            raise ValueError(
                f"{source} must have a token on every line. Received: an "
                f"empty token on line {number}. Remove the line, or restore "
                "the token, so that ids keep their meaning."
            )
        if "\0" in token:
            raise ValueError(
                f"{source} must be text. Received: a NUL byte on line "
                f"{number}. Is this a vocabulary file?"
            )
        if token in lines:
            raise ValueError(
                f"{source} must not repeat a token. Received: {token!r} on "
                f"lines {lines[token]} and {number}. Rename one of them, for "
                "instance to [unused-1], so that ids keep their meaning."
            )
        lines[token] = number
    missing = [
        f"{token} (`{name}`)"
        for name, token in special_tokens.as_dict().items()
        if token not in lines
    ]
    if missing:
        raise ValueError(
            f"{source} must hold every special token. Received: "
            f"{len(vocab)} tokens without {', '.join(missing)}. Add them, or "
            "name the special tokens that the vocabulary has."
        )


def read(path: str) -> tuple[list[str], dict[str, Any]]:
    """Reads a vocabulary file or a tokenizer folder.

    Args:
        path: A file of one token per line, or a folder with `vocab.txt` or
            `tokenizer.json`, and perhaps `tokenizer_config.json` and
            `special_tokens_map.json`.

    Returns:
        The tokens, and the arguments of the tokenizer that the folder sets.

    Raises:
        ValueError: The path is missing or does not hold a vocabulary.
    """
    path = os.fspath(path)
    arguments: dict[str, Any] = {}
    file = path
    if tf.io.gfile.isdir(path):
        file = os.path.join(path, VOCAB_FILE)
        arguments = _read_arguments(path)
        whole = os.path.join(path, TOKENIZER_FILE)
        if not tf.io.gfile.exists(file) and tf.io.gfile.exists(whole):
            # Transformers 5 writes the vocabulary nowhere else.
            vocab, own = _read_tokenizer_file(whole)
            arguments = {**own, **arguments}
            special_tokens = arguments.get("special_tokens", SpecialTokens())
            _check_tokens(vocab, f"tokenizer file {whole!r}", special_tokens)
            return vocab, arguments
    if not tf.io.gfile.exists(file):
        raise ValueError(
            "`path` must be a vocabulary file, or a folder that has one. "
            f"Received: {path!r}, but {file!r} does not exist. Make a "
            "vocabulary with tools/build_vocab.py, or correct the path."
        )
    vocab = _read_tokens(file)
    special_tokens = arguments.get("special_tokens", SpecialTokens())
    _check_tokens(vocab, f"vocabulary file {file!r}", special_tokens)
    return vocab, arguments


def _read_tokens(file: str) -> list[str]:
    with tf.io.gfile.GFile(file, "rb") as stream:
        content = stream.read()
    problem = ""
    if not content.strip():
        problem = "an empty file"
    elif b"\0" in content:
        line = content.count(b"\n", 0, content.index(b"\0")) + 1
        problem = f"a NUL byte on line {line}, as in a binary file"
    text = ""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        problem = problem or f"bytes on line {line} that are not UTF-8"
    if problem:
        raise ValueError(
            f"vocabulary file {file!r} must be UTF-8 text with one token per "
            f"line. Received: {problem}. Give the vocab.txt of a model, or "
            "make one with tools/build_vocab.py."
        )
    # Not splitlines: tokens may hold U+2028 or U+0085.
    lines = text.replace("\r\n", "\n").split("\n")
    return lines[:-1] if not lines[-1] else lines


def _read_tokenizer_file(file: str) -> tuple[list[str], dict[str, Any]]:
    """Returns the tokens and arguments that a tokenizer.json holds."""
    content = files.read_json(file)
    model = content.get("model") or {}
    ids = model.get("vocab")
    if model.get("type") != "WordPiece" or not isinstance(ids, dict):
        raise ValueError(
            f"tokenizer file {file!r} must hold a WordPiece model. Received: "
            f"{model.get('type')!r}. Give the tokenizer of a BERT model."
        )
    vocab = sorted(ids, key=ids.__getitem__)
    if [ids[token] for token in vocab] != list(range(len(vocab))):
        raise ValueError(
            f"tokenizer file {file!r} must number its tokens from 0 without "
            "gaps. Received: other ids. Add the missing tokens."
        )
    normalizer = content.get("normalizer") or {}
    names = {
        "lowercase": "lowercase",
        "strip_accents": "strip_accents",
        "tokenize_chinese_chars": "handle_chinese_chars",
    }
    return vocab, {
        ours: normalizer[theirs]
        for ours, theirs in names.items()
        if theirs in normalizer
    }


def _read_arguments(folder: str) -> dict[str, Any]:
    config = files.read_json(os.path.join(folder, SPECIAL_TOKENS_FILE))
    config.update(files.read_json(os.path.join(folder, CONFIG_FILE)))
    arguments: dict[str, Any] = {}
    for name, key, kinds in (
        ("lowercase", "do_lower_case", (bool,)),
        ("strip_accents", "strip_accents", (bool, type(None))),
        ("tokenize_chinese_chars", "tokenize_chinese_chars", (bool,)),
    ):
        if key not in config:
            continue
        if not isinstance(config[key], kinds):
            raise ValueError(
                f"`{key}` in {CONFIG_FILE} of {folder!r} must be true or "
                f"false. Received: {config[key]!r}. Correct the file."
            )
        arguments[name] = config[key]
    tokens = {}
    for name in SpecialTokens().as_dict():
        token = config.get(f"{name}_token")
        if isinstance(token, dict):
            token = token.get("content")
        if token is not None:
            tokens[name] = token
    arguments["special_tokens"] = SpecialTokens(**tokens)
    return arguments


def write(
    folder: str,
    vocab: Sequence[str],
    *,
    special_tokens: SpecialTokens,
    lowercase: bool,
    strip_accents: bool | None,
    tokenize_chinese_chars: bool,
) -> None:
    """Writes the files of a BERT tokenizer.

    Args:
        folder: Is created if missing.
        vocab: The tokens in the order of their ids.
        special_tokens: The special tokens.
        lowercase: As in the tokenizer.
        strip_accents: As in the tokenizer.
        tokenize_chinese_chars: As in the tokenizer.
    """
    broken = [token for token in vocab if "\n" in token or "\r" in token]
    if broken:
        raise ValueError(
            "`vocab` must have no token with a line break to be written as "
            f"lines. Received: {broken[0]!r}. Remove it."
        )
    names = {f"{k}_token": v for k, v in special_tokens.as_dict().items()}
    options = {
        "do_lower_case": lowercase,
        "strip_accents": strip_accents,
        "tokenize_chinese_chars": tokenize_chinese_chars,
    }
    config = {
        "clean_up_tokenization_spaces": True,
        **options,
        **names,
        "tokenizer_class": "BertTokenizer",
    }
    tf.io.gfile.makedirs(folder)
    files.write_text(folder, VOCAB_FILE, "".join(f"{t}\n" for t in vocab))
    files.write_text(folder, CONFIG_FILE, files.to_json(config))
    files.write_text(folder, SPECIAL_TOKENS_FILE, files.to_json(names))
    document = _tokenizer_document(vocab, special_tokens, options)
    files.write_text(folder, TOKENIZER_FILE, document)


def _tokenizer_document(
    vocab: Sequence[str],
    special_tokens: SpecialTokens,
    options: dict[str, bool | None],
) -> str:
    """Returns the tokenizer.json that Transformers writes for such a folder."""
    # Imported here: reading and running a tokenizer does not need it.
    from tokenizers import (
        AddedToken,
        Tokenizer,
        decoders,
        models,
        normalizers,
        pre_tokenizers,
        processors,
    )

    ids = {token: i for i, token in enumerate(vocab)}
    unk, cls, sep = special_tokens.unk, special_tokens.cls, special_tokens.sep
    tokenizer = Tokenizer(
        models.WordPiece(
            ids, unk_token=unk, max_input_chars_per_word=_MAX_WORD_CHARS
        )
    )
    tokenizer.add_special_tokens(
        [
            AddedToken(token, normalized=False, special=True)
            for token in sorted(special_tokens.all(), key=ids.__getitem__)
        ]
    )
    tokenizer.normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=bool(options["tokenize_chinese_chars"]),
        strip_accents=options["strip_accents"],
        lowercase=bool(options["do_lower_case"]),
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=True)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{cls}:0 $A:0 {sep}:0",
        pair=f"{cls}:0 $A:0 {sep}:0 $B:1 {sep}:1",
        special_tokens=[(cls, ids[cls]), (sep, ids[sep])],
    )
    return str(tokenizer.to_str(pretty=True)) + "\n"
