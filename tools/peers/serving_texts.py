"""The words of the model that is served, and texts of them.

Of the standard library alone, like all that the benchmark itself imports.
"""

import itertools
import random
import string

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
VOCAB_SIZE = 30522
_LETTERS = string.ascii_lowercase
_SYLLABLES = [a + b for a in "bdfgklmnprstvz" for b in "aeiou"]


def words() -> list[str]:
    """Returns made-up words, as many as BERT's vocabulary has room for."""
    made = itertools.chain.from_iterable(
        itertools.product(_SYLLABLES, repeat=count) for count in (2, 3)
    )
    room = VOCAB_SIZE - len(SPECIAL_TOKENS) - 2 * len(_LETTERS)
    return ["".join(parts) for parts in itertools.islice(made, room)]


def vocabulary() -> list[str]:
    """Returns a WordPiece vocabulary of BERT's size.

    Each word is one token, and every other one can be spelled.
    """
    letters = [*_LETTERS, *(f"##{letter}" for letter in _LETTERS)]
    return [*SPECIAL_TOKENS, *letters, *words()]


def make_texts(count: int, num_words: int, seed: int) -> list[str]:
    """Returns texts of random words.

    Args:
        count: How many.
        num_words: Words in each.
        seed: Of the words.
    """
    rng, known = random.Random(seed), words()
    return [" ".join(rng.choices(known, k=num_words)) for _ in range(count)]
