"""Names under which `FastWordpieceTokenizer` sees a BERT vocabulary."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from tfllm.tokenizers import bert_characters

CONTINUATION = "##"
# BERT drops the whole private use area, so no text ever contains these.
_PRIVATE_USE = (
    range(0xE000, 0xF900),
    range(0xF0000, 0xFFFFE),
    range(0x100000, 0x10FFFE),
)


class WordNames:
    """Spelling of the vocabulary as `FastWordpieceTokenizer` shall see it.

    A character that the tokenizer isolates but BERT does not is replaced, in
    vocabulary and text alike, by a private-use character. A token that no
    word of BERT can contain gets a name that no text can spell, since the
    tokenizer would match some of those across word borders.

    Args:
        vocab: The tokens.
        split_ideographs: Whether each ideograph is a word.
        unk: The unknown token, which keeps its name.
        num_added: Number of tokens behind `vocab` that no text spells.
        more_text: Characters to tell apart besides those of `vocab`.
    """

    def __init__(
        self,
        vocab: Sequence[str],
        split_ideographs: bool,
        unk: str,
        num_added: int = 0,
        more_text: str = "",
    ):
        characters = bert_characters
        self._isolated = characters.punctuation()
        merged = characters.split_by_tf_text()
        if split_ideographs:
            self._isolated |= characters.ideographs()
        else:
            merged |= characters.ideographs() - characters.punctuation()
        # What BERT isolates and the tokenizer does not.
        self._apart = self._isolated & characters.joined_by_tf_text()
        self._lost = characters.dropped() | characters.spaces()
        names = itertools.chain.from_iterable(_PRIVATE_USE)
        used = sorted(merged & set("".join([*vocab, more_text])))
        # A word with a character outside the vocabulary is unknown whatever
        # that character is, so all of these can share one name.
        absent = chr(next(names))
        self._renamed = dict.fromkeys(merged, absent)
        self._renamed.update((char, chr(next(names))) for char in used)
        self.vocab = [
            token if token == unk else self._name(token, names)
            for token in vocab
        ]
        self.vocab += [chr(next(names)) for _ in range(num_added)]

    def _name(self, token: str, names: Iterator[int]) -> str:
        continues = is_continuation(token)
        text = word_text(token)
        chars = set(text)
        alone = len(text) == 1 and not continues
        if chars & self._lost or (chars & self._isolated and not alone):
            return chr(next(names))
        name = "".join(self._renamed.get(char, char) for char in text)
        return CONTINUATION + name if continues else name

    def rename(self, mapping: dict[str, str]) -> dict[int, str]:
        """Adds the names to a map of characters."""
        spelled = dict(self._renamed)
        spelled.update((char, f" {char} ") for char in self._apart)
        result = {
            ord(char): "".join(spelled.get(c, c) for c in text)
            for char, text in mapping.items()
        }
        for char, text in spelled.items():
            result.setdefault(ord(char), text)
        return result


def is_continuation(token: str) -> bool:
    """Returns whether a token continues a word."""
    return token.startswith(CONTINUATION) and len(token) > len(CONTINUATION)


def word_text(token: str) -> str:
    """Returns the characters of a word that a token stands for."""
    return token[len(CONTINUATION) :] if is_continuation(token) else token
