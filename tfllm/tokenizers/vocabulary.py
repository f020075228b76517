"""Reads and checks WordPiece vocabularies, which have a token per line."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from tfllm.tokenizers.special_tokens import SpecialTokens

VOCAB_FILE = "vocab.txt"


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
    check_tokens(vocab, "`vocab`", special_tokens)


def check_tokens(
    vocab: Sequence[str], source: str, special_tokens: SpecialTokens
) -> None:
    """Raises ValueError unless tokens are distinct and hold special ones.

    Args:
        vocab: The tokens in the order of their ids.
        source: Where they come from, for messages.
        special_tokens: Tokens that must be among them.
    """
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


def read(path: str, file: str) -> list[str]:
    """Reads a vocabulary of one token per line.

    Args:
        path: What was asked for, for messages.
        file: The vocabulary file.

    Raises:
        ValueError: It is missing, or no text.
    """
    if not tf.io.gfile.exists(file):
        raise ValueError(
            "`path` must be a vocabulary file, or a folder that has one. "
            f"Received: {path!r}, but {file!r} does not exist. Make a "
            "vocabulary with tools/build_vocab.py, or correct the path."
        )
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


def count_capitals(
    vocab: Sequence[str], special_tokens: Sequence[str]
) -> tuple[int, int]:
    """Counts tokens with capitals, and those with any letter that has case.

    Args:
        vocab: The tokens.
        special_tokens: Do not count, nor do tokens in brackets.
    """
    words = [
        token
        for token in vocab
        if token not in special_tokens
        and (token[0], token[-1]) not in (("[", "]"), ("<", ">"))
    ]
    capitals = sum(token != token.lower() for token in words)
    cased = sum(token.lower() != token.upper() for token in words)
    return capitals, cased


def is_cased(capitals: int, cased: int) -> bool:
    """Whether a vocabulary tells capitals from small letters.

    Of every published cased vocabulary more than a tenth of the tokens have
    capitals; an uncased one has none, or a few that were put in by hand.
    """
    return capitals * 100 >= cased > 0 and capitals > 0
