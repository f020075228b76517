"""Finds added tokens in texts, in the graph.

The longest token at a place wins, and matches do not overlap, as in the
`tokenizers` package.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import tensorflow as tf
import tensorflow_text as tf_text

from tfllm.tokenizers.special_tokens import AddedToken
from tfllm.tokenizers.token_ids import TokenIds

# The characters that Unicode calls white space; RE2's \s knows ASCII only.
SPACES = (
    r"\t-\r \x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}"
    r"\x{205f}\x{3000}"
)

# Texts, string [P], to ids, or to ids, starts and ends: int32 ragged
# [P, (tokens)] each. Some take as well whether each opens its text, bool [P].
Tokenize = Callable[..., Sequence[tf.RaggedTensor]]


class TokenMatcher:
    """Splits texts at tokens.

    Args:
        tokens: How texts spell each token, which may be normalized. None:
            texts are tokenized as they are.
        ids: The ids of the tokens, by their content.

    Raises:
        ValueError: The tokens cannot be told apart by one pattern.
    """

    def __init__(
        self, tokens: Mapping[str, AddedToken], ids: Mapping[str, int]
    ):
        _check_patterns(tokens)
        self._strips = any(t.lstrip or t.rstrip for t in tokens.values())
        # RE2 takes the first alternative that matches: the longest.
        self._pattern = "|".join(
            _pattern(spelling, tokens[spelling])
            for spelling in sorted(tokens, key=len, reverse=True)
        )
        if tokens:
            self._find = TokenIds(
                {s: ids[token.content] for s, token in tokens.items()}
            )

    def split_and_tokenize(
        self,
        text: tf.Tensor,
        tokenize: Tokenize,
        opens: tf.Tensor | None = None,
    ) -> list[tf.RaggedTensor]:
        """Maps the tokens in texts to their ids, and tokenizes the rest.

        Args:
            text: string [N], UTF-8.
            tokenize: For what stands between tokens.
            opens: bool [N]. Whether each text opens a longer one. `tokenize`
                then gets the same of each part; None: it takes no such
                argument.

        Returns:
            As many parts as `tokenize` returns, int32 ragged [N, (tokens)].
        """
        if not self._pattern:
            return list(tokenize(text, *(() if opens is None else (opens,))))
        pieces, begins = self._split(text)
        flags = []
        if opens is not None:
            # [N] -> [P]
            of_text = tf.gather(opens, pieces.value_rowids())
            flags = [of_text & (begins == 0)]
        flat = pieces.flat_values  # [P]
        ids = self._ids_of(flat)
        whole = [ids, tf.zeros_like(ids), tf.strings.length(flat)]
        is_token = ids >= 0
        merged = []
        # A token is a row of one id, and empty for `tokenize`.
        for place, part in enumerate(
            tokenize(tf.where(is_token, "", flat), *flags)
        ):
            single = tf.RaggedTensor.from_row_lengths(
                tf.boolean_mask(whole[place], is_token),
                tf.cast(is_token, tf.int64),
            )
            row = tf.concat([part, single], axis=1)
            if place:  # Starts and ends count from the text, not the part.
                shift = tf.gather(begins, row.value_rowids())
                row = row.with_flat_values(row.flat_values + shift)
            # [N, (pieces), (tokens)] -> [N, (tokens)]
            merged.append(pieces.with_flat_values(row).merge_dims(1, 2))
        return merged

    def _split(self, text: tf.Tensor) -> tuple[tf.RaggedTensor, tf.Tensor]:
        """Returns string ragged [N, (pieces)], and where pieces begin."""
        # The op ends a text at U+0000; U+0001 is split just the same.
        safe = tf.strings.regex_replace(text, r"\x00", "\x01")
        pieces, begins, ends = tf_text.regex_split_with_offsets(
            safe, self._pattern, keep_delim_regex_pattern=self._pattern
        )
        first = tf.cast(begins.flat_values, tf.int32)
        sizes = tf.cast(ends.flat_values, tf.int32) - first
        flat = tf.cond(
            tf.reduce_any(safe != text),
            lambda: tf.strings.substr(
                tf.gather(text, pieces.value_rowids()), first, sizes
            ),
            lambda: pieces.flat_values,
        )
        return pieces.with_flat_values(flat), first

    def _ids_of(self, pieces: tf.Tensor) -> tf.Tensor:
        """Returns the ids of the pieces that are tokens, else -1."""
        if self._strips:
            ends = f"^[{SPACES}]+|[{SPACES}]+$"
            pieces = tf.strings.regex_replace(pieces, ends, "")
        return self._find(pieces)


def to_match(
    added: Sequence[AddedToken],
    roles: Sequence[str],
    in_text: Sequence[str],
) -> tuple[AddedToken, ...]:
    """Returns the tokens to match in texts.

    Args:
        added: All added tokens.
        roles: Special tokens with a role, which texts may not spell,
        in_text: but for these.

    Raises:
        ValueError: `in_text` is no list of special tokens.
    """
    unknown = set(in_text) - set(roles)
    if isinstance(in_text, str) or unknown:
        raise ValueError(
            "`special_tokens_in_text` must be a sequence of special tokens. "
            f"Received: {list(in_text)!r}. Choose from {', '.join(roles)}."
        )
    closed = set(roles) - set(in_text)
    known = {token.content for token in added}
    return (
        *(token for token in added if token.content not in closed),
        *(AddedToken(t, special=True) for t in in_text if t not in known),
    )


def _check_patterns(tokens: Mapping[str, AddedToken]) -> None:
    """Raises ValueError if white space makes two tokens ambiguous."""
    stripping = [s for s, t in tokens.items() if t.lstrip or t.rstrip]
    for spelling in stripping:
        for other in tokens:
            longer = other != spelling and other.startswith(spelling)
            if other.strip() != other or longer:
                raise ValueError(
                    f"added tokens with `lstrip` or `rstrip`, as {spelling!r}, "
                    "must not begin another token, and no token may begin or "
                    f"end in white space beside them. Received: {other!r}. "
                    "Leave one of them out."
                )


def _pattern(spelling: str, token: AddedToken) -> str:
    """Returns a pattern of RE2 that matches a token."""
    quoted = "".join(
        c if c.isalnum() else f"\\x{{{ord(c):x}}}" for c in spelling
    )
    before = f"[{SPACES}]*" if token.lstrip else ""
    return before + quoted + (f"[{SPACES}]*" if token.rstrip else "")
