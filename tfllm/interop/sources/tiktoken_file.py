"""The tokenizer.model of LLaMA 3: a list of tokens as tiktoken has it.

A line has a token in base64 and its rank, which is its id. Text is merged to
the neighbours whose joined bytes have the lowest rank, so that every split of
a token into two tokens is a merge with the rank of the token. Special tokens
have the ids behind; the file does not name them.

Reference: https://github.com/meta-llama/llama3, tokenizer.py;
https://github.com/meta-llama/llama-models, the names since LLaMA 3.1.
"""

from __future__ import annotations

import base64
import binascii
import functools
import pathlib
import re
from collections.abc import Callable, Sequence

_LINE = re.compile(rb"[A-Za-z0-9+/]+=* \d+\r?\n")
BEGIN, END, END_OF_TURN = "<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"
# The first special tokens by position; None is a reserved one.
_NAMES: dict[str, tuple[str | None, ...]] = {
    "3": (
        *(BEGIN, END, None, None, None, None),
        *("<|start_header_id|>", "<|end_header_id|>", None, END_OF_TURN),
    ),
    "3.1": (
        *(BEGIN, END, None, None, "<|finetune_right_pad_id|>", None),
        *("<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>"),
        *(END_OF_TURN, "<|python_tag|>"),
    ),
}


def is_token_list(path: pathlib.Path) -> bool:
    """Returns whether a file is a list of tokens, by its first line."""
    with path.open("rb") as file:
        return _LINE.fullmatch(file.readline(1000)) is not None


def read_tokens(path: pathlib.Path) -> list[bytes]:
    """Returns the tokens sorted by rank.

    Raises:
        ValueError: A line has no token and rank, or the ranks have gaps.
    """
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            token, rank = line.split()
            ranks[base64.b64decode(token, validate=True)] = int(rank)
        except (ValueError, binascii.Error) as error:
            raise ValueError(
                f"line {number} of '{path}' must be a token in base64 and its "
                f"rank. Received: {line[:40]!r}. Fetch the file again."
            ) from error
    tokens = sorted(ranks, key=ranks.__getitem__)
    if sorted(ranks.values()) != list(range(len(tokens))):
        raise ValueError(
            f"'{path}' must have the ranks 0, 1, ... without gaps. Received: "
            f"{len(tokens)} tokens with ranks up to {max(ranks.values())}. "
            "Fetch the file again."
        )
    return tokens


def merges_of(tokens: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
    """Returns the merges that a list of tokens stands for, by rank.

    Args:
        tokens: In the order of their ranks.
    """
    ranks = {token: rank for rank, token in enumerate(tokens)}
    merges = []
    for token in tokens:
        splits = [(token[:i], token[i:]) for i in range(1, len(token))]
        known = [(a, b) for a, b in splits if a in ranks and b in ranks]
        merges += sorted(known, key=lambda pair: ranks[pair[0]])
    return merges


def special_tokens(version: str, count: int) -> list[str]:
    """Returns the special tokens in the order of their ids.

    Args:
        version: "3" or "3.1", which 3.2 and 3.3 follow.
        count: How many there are.
    """
    tokens: list[str] = []
    reserved = 0
    for name in (*_NAMES[version], *[None] * count)[:count]:
        tokens.append(name or f"<|reserved_special_token_{reserved}|>")
        reserved += name is None
    return tokens


def writer(
    path: pathlib.Path, tokens: Sequence[bytes], special: Sequence[str]
) -> Callable[[pathlib.Path], None]:
    """Returns the function that writes the tokenizer.

    Args:
        path: The file, for messages.
        tokens: In the order of their ranks.
        special: Special tokens, whose ids follow.
    """
    return functools.partial(_write, path, tokens, special)


def _write(
    path: pathlib.Path,
    tokens: Sequence[bytes],
    special: Sequence[str],
    folder: pathlib.Path,
) -> None:
    """Writes a byte-level BPE tokenizer."""
    from tfllm.tokenizers import ByteBPETokenizer
    from tfllm.tokenizers.byte_pair_model import byte_symbols
    from tfllm.tokenizers.row_template import RowTemplate
    from tfllm.tokenizers.special_tokens import SpecialTokens

    symbols = byte_symbols()

    def spell(token: bytes) -> str:
        return "".join(symbols[byte] for byte in token)

    tokenizer = ByteBPETokenizer(
        [*map(spell, tokens), *special],
        [(spell(left), spell(right)) for left, right in merges_of(tokens)],
        special_tokens=SpecialTokens(
            bos=BEGIN,
            eos=END,
            additional=tuple(t for t in special if t not in (BEGIN, END)),
        ),
        pattern="llama3",
        ignore_merges=True,
        template=RowTemplate(pad="eos", opens=("bos",), between=("bos",)),
        source=f"'{path}'",
    )
    tokenizer.save(str(folder))
