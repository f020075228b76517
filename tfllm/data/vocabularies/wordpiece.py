"""Trains a WordPiece vocabulary with the `tokenizers` package.

The package only trains; at run time `tfllm.tokenizers.wordpiece` tokenizes in
the graph.

The same text gives the same vocabulary, which the package alone does not
ensure: it numbers the "##x" characters in the order of a randomly seeded hash
table, breaks ties between equally frequent pairs by these numbers, and cuts a
large alphabet at random among equally rare characters. So the alphabet is
counted here first, and passed in a fixed order.
"""

import collections
import dataclasses
import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

from tfllm import file_access
from tfllm.data.positive import check_positive
from tfllm.data.vocabularies.lines import Lines
from tfllm.tokenizers.special_tokens import BERT_TOKENS, SpecialTokens

if TYPE_CHECKING:
    import tokenizers

VOCAB_FILE, CONFIG_FILE = "vocab.txt", "tokenizer_config.json"
# Longest token that TensorFlow Text takes, without "##".
_MAX_TOKEN_BYTES = 256


@dataclasses.dataclass(frozen=True)
class WordPieceTrainingConfig:
    """Settings to train a WordPiece vocabulary.

    Attributes:
        vocab_size: Tokens at most, special tokens included.
        lowercase: Whether to lower-case and strip accents, as published
            "uncased" models do.
        min_frequency: Less frequent pairs are not merged.
        limit_alphabet: Characters at most; rarer ones are unknown.
        model_max_length: Longest sequence, stored in tokenizer_config.json.
        special_tokens: Special tokens. They have the first ids in their
            order, padding has id 0.
    """

    vocab_size: int = 30522
    lowercase: bool = True
    min_frequency: int = 2
    limit_alphabet: int = 1000
    model_max_length: int = 512
    special_tokens: SpecialTokens = BERT_TOKENS

    def __post_init__(self) -> None:
        """Checks the values."""
        special = len(self.special_tokens.all())
        if self.vocab_size <= special:
            raise ValueError(
                f"`vocab_size` must be above {special}, the number of special "
                f"tokens. Received: {self.vocab_size}."
            )
        check_positive(
            self, "min_frequency", "limit_alphabet", "model_max_length"
        )


def tokenizer_config(config: WordPieceTrainingConfig) -> dict[str, object]:
    """Returns tokenizer_config.json in the form of Transformers."""
    return {
        "tokenizer_class": "BertTokenizer",
        "do_lower_case": config.lowercase,
        "strip_accents": None,  # follows do_lower_case
        "tokenize_chinese_chars": True,
        "model_max_length": config.model_max_length,
        **{
            f"{role}_token": token
            for role, token in config.special_tokens.as_dict().items()
        },
    }


def _alphabet(
    lines: Iterable[str], tokenizer: "tokenizers.Tokenizer", limit: int
) -> tuple[list[str], list[str]]:
    """Returns the most frequent characters, and "##x" for those inside words.

    Memory grows with the number of distinct words, as in the training.
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
        lines: Lines of text, which are read twice: not an iterator.
        config: Settings of the training.

    Returns:
        The tokens in the order of their ids, special tokens first.

    Raises:
        ValueError: The text has no words, or more characters than
            `vocab_size` has room for.
    """
    import tokenizers  # loads a native library, which only training needs

    tokenizer = tokenizers.Tokenizer(
        tokenizers.models.WordPiece(unk_token=config.special_tokens.unk)
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
    fixed = [*config.special_tokens.all(), *characters, *inside]
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
        # Tokens passed as "special" are numbered first, in this order.
        special_tokens=fixed,
        show_progress=False,
    )
    tokenizer.train_from_iterator(lines, trainer)
    ids = {
        token: number
        for token, number in tokenizer.get_vocab().items()
        if len(token.removeprefix("##").encode()) <= _MAX_TOKEN_BYTES
    }
    return sorted(ids, key=lambda token: ids[token])


def train(
    input_files: str, output_dir: str, config: WordPieceTrainingConfig
) -> list[str]:
    """Trains a vocabulary on files and writes a tokenizer folder.

    Args:
        input_files: Text files, plain or gzip: paths and globs,
            comma-separated, local or remote.
        output_dir: Folder for vocab.txt and tokenizer_config.json.
        config: Settings of the training.

    Returns:
        The vocabulary.

    Raises:
        ValueError: A file is missing, empty or binary, or see
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
