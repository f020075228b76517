"""Vocabulary and texts for the serving benchmark.

It uses only the standard library, as everything that the benchmark imports.
"""

import itertools
import random
import string

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
VOCAB_SIZE = 30522
_LETTERS = string.ascii_lowercase
_SYLLABLES = [a + b for a in "bdfgklmnprstvz" for b in "aeiou"]


def words() -> list[str]:
    """Returns as many made-up words as fit in BERT's vocabulary."""
    made = itertools.chain.from_iterable(
        itertools.product(_SYLLABLES, repeat=count) for count in (2, 3)
    )
    room = VOCAB_SIZE - len(SPECIAL_TOKENS) - 2 * len(_LETTERS)
    return ["".join(parts) for parts in itertools.islice(made, room)]


def vocabulary() -> list[str]:
    """Returns a WordPiece vocabulary of BERT's size.

    Each made-up word is one token; other words are split into letters.
    """
    letters = [*_LETTERS, *(f"##{letter}" for letter in _LETTERS)]
    return [*SPECIAL_TOKENS, *letters, *words()]


def make_texts(count: int, num_words: int, seed: int) -> list[str]:
    """Returns texts of random words.

    Args:
        count: Number of texts.
        num_words: Words in each text.
        seed: Seed of the words.
    """
    rng, known = random.Random(seed), words()
    return [" ".join(rng.choices(known, k=num_words)) for _ in range(count)]
