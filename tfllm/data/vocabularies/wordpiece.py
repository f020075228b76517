"""Trains a WordPiece vocabulary with the `tokenizers` package.

The package trains; at run time `wordpiece.py` tokenizes in the graph.

The same text gives the same vocabulary, which the package alone does not do:
it numbers the "##x" characters in the order of a randomly seeded hash table,
breaks ties between equally frequent pairs by these numbers, and cuts a large
alphabet at random among equally rare characters. So the alphabet is counted
here first and handed over in a fixed order.
"""

import collections
import dataclasses
import json
from collections.abc import Iterable
from typing import Any

from tfllm import file_access
from tfllm.data.vocabularies.lines import Lines

# The order gives [PAD] id 0, as sequences are padded with zeros.
SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
VOCAB_FILE, CONFIG_FILE = "vocab.txt", "tokenizer_config.json"


@dataclasses.dataclass(frozen=True)
class WordPieceTrainingConfig:
    """How to train a WordPiece vocabulary.

    Attributes:
        vocab_size: tokens at most, the five special ones included.
        lowercase: whether to lower the case and strip accents, as published
            "uncased" models do.
        min_frequency: pairs that occur less often are not merged.
        limit_alphabet: characters at most; rarer ones become [UNK].
        model_max_length: longest sequence, stored in tokenizer_config.json.
    """

    vocab_size: int = 30522
    lowercase: bool = True
    min_frequency: int = 2
    limit_alphabet: int = 1000
    model_max_length: int = 512

    def __post_init__(self) -> None:
        """Refuses sizes without room for the special tokens."""
        if self.vocab_size <= len(SPECIAL_TOKENS):
            raise ValueError(
                f"`vocab_size` must be above {len(SPECIAL_TOKENS)}, the number "
                f"of special tokens. Received: {self.vocab_size}."
            )
        for name in ("min_frequency", "limit_alphabet", "model_max_length"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"`{name}` must be at least 1. "
                    f"Received: {getattr(self, name)}."
                )


def tokenizer_config(config: WordPieceTrainingConfig) -> dict[str, object]:
    """The content of tokenizer_config.json, as Transformers reads it."""
    return {
        "tokenizer_class": "BertTokenizer",
        "do_lower_case": config.lowercase,
        "strip_accents": None,  # follows do_lower_case
        "tokenize_chinese_chars": True,
        "model_max_length": config.model_max_length,
        "pad_token": "[PAD]",
        "unk_token": "[UNK]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "mask_token": "[MASK]",
    }


def _alphabet(
    lines: Iterable[str], tokenizer: Any, limit: int
) -> tuple[list[str], list[str]]:
    """The most frequent characters, and "##" before those inside words.

    Memory follows the number of distinct words, as in the training itself.
    """
    words: collections.Counter[str] = collections.Counter()
    for line in lines:
        words.update(tokenizer.normalizer.normalize_str(line).split())
    frequency: collections.Counter[str] = collections.Counter()
    inside: set[str] = set()
    for word, count in words.items():
        for piece, _ in tokenizer.pre_tokenizer.pre_tokenize_str(word):
            inside.update(piece[1:])
            for character in piece:
                frequency[character] += count
    ranked = sorted(frequency, key=lambda c: (-frequency[c], c))
    kept = sorted(ranked[:limit])
    return kept, ["##" + c for c in kept if c in inside]


def train_vocabulary(
    lines: Iterable[str], config: WordPieceTrainingConfig
) -> list[str]:
    """Trains a vocabulary on lines of text.

    Args:
        lines: the text; it is gone through twice, so not an iterator.
        config: WordPieceTrainingConfig.

    Returns:
        The tokens in the order of their ids, special tokens first.

    Raises:
        ValueError: the text has no words, or more characters than fit.
    """
    import tokenizers  # loads a native library: only those who train pay

    tokenizer = tokenizers.Tokenizer(
        tokenizers.models.WordPiece(unk_token="[UNK]")
    )
    tokenizer.normalizer = tokenizers.normalizers.BertNormalizer(
        lowercase=config.lowercase
    )
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    characters, inside = _alphabet(lines, tokenizer, config.limit_alphabet)
    if not characters:
        raise ValueError(
            "`input_files` must hold text. Received: files with no word."
        )
    fixed = [*SPECIAL_TOKENS, *characters, *inside]
    if len(fixed) > config.vocab_size:
        raise ValueError(
            "`vocab_size` must have room for the special tokens and the "
            f"characters of the text, {len(fixed)} tokens. Received: "
            f"{config.vocab_size}. Raise it, or lower `limit_alphabet`."
        )
    trainer = tokenizers.trainers.WordPieceTrainer(
        vocab_size=config.vocab_size,
        min_frequency=config.min_frequency,
        initial_alphabet=characters,
        limit_alphabet=len(characters),
        # Whatever is "special" gets its number first, in this order.
        special_tokens=fixed,
        show_progress=False,
    )
    tokenizer.train_from_iterator(lines, trainer)
    ids = tokenizer.get_vocab()
    return sorted(ids, key=lambda token: ids[token])


def train(
    input_files: str, output_dir: str, config: WordPieceTrainingConfig
) -> list[str]:
    """Trains a vocabulary on files and writes a tokenizer folder.

    Args:
        input_files: text files, plain or gzip: paths and globs,
            comma-separated, local or remote.
        output_dir: folder for vocab.txt and tokenizer_config.json.
        config: WordPieceTrainingConfig.

    Returns:
        The vocabulary.

    Raises:
        ValueError: a file is missing, empty or binary, or see
            `train_vocabulary`.
    """
    paths = file_access.match_files(input_files, "input_files")
    file_access.make_folder(output_dir)
    vocabulary = train_vocabulary(Lines(paths), config)
    settings = json.dumps(tokenizer_config(config), indent=2)
    for name, text in (
        (CONFIG_FILE, settings + "\n"),
        (VOCAB_FILE, "".join(token + "\n" for token in vocabulary)),
    ):
        path = file_access.join(output_dir, name)
        with file_access.write_atomically(path) as file:
            file.write(text)
    return vocabulary
