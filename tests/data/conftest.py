"""Text and a vocabulary for the tests of preparation and pipeline."""

import pathlib
import random

import pytest

from tfllm.tokenizers import ByteBPETokenizer, SpecialTokens
from tfllm.tokenizers.byte_pair_model import byte_symbols
from tfllm.tokenizers.wordpiece import WordPieceTokenizer

_SYLLABLES = ["ba", "de", "ki", "lo", "mu", "na", "po", "ri", "su", "ta"]


def _vocabulary() -> list[str]:
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = _SYLLABLES + [a + b for a in _SYLLABLES for b in _SYLLABLES]
    return specials + [".", ","] + pieces + ["##" + p for p in pieces]


@pytest.fixture(scope="session")
def vocab_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A vocabulary of syllables."""
    path = tmp_path_factory.mktemp("vocab") / "vocab.txt"
    path.write_text("\n".join(_vocabulary()) + "\n", encoding="utf-8")
    return str(path)


@pytest.fixture(scope="session")
def tokenizer(vocab_file: str) -> WordPieceTokenizer:
    """The tokenizer of that vocabulary."""
    return WordPieceTokenizer.from_file(vocab_file)


@pytest.fixture(scope="session")
def text_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    """About 40 kB of sentences in 100 documents."""
    rng = random.Random(0)

    def sentence() -> str:
        words = [
            "".join(rng.choices(_SYLLABLES, k=rng.randint(1, 4)))
            for _ in range(rng.randint(2, 14))
        ]
        return " ".join(words) + "."

    documents = [
        "\n".join(sentence() for _ in range(rng.randint(1, 15)))
        for _ in range(100)
    ]
    path: pathlib.Path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text("\n\n".join(documents) + "\n", encoding="utf-8")
    return str(path)


@pytest.fixture(scope="session")
def byte_bpe() -> ByteBPETokenizer:
    """All bytes, a few merges, and the end of a text."""
    return ByteBPETokenizer(
        [*byte_symbols(), "ba", "\u0120de", "\u0120d", "'s", "<|endoftext|>"],
        [("b", "a"), ("'", "s"), ("\u0120", "d"), ("\u0120d", "e")],
        special_tokens=SpecialTokens(eos="<|endoftext|>"),
    )
