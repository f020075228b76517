"""Trains a BPE vocabulary of words with the `tokenizers` package.

The package only trains; at run time `word_pair.py` tokenizes in the graph.
"""

import dataclasses
import json
from collections.abc import Iterable

from tfllm import file_access
from tfllm.data.positive import check_positive
from tfllm.data.vocabularies.lines import Lines
from tfllm.tokenizers import RowTemplate, SpecialTokens
from tfllm.tokenizers.byte_pair_model import Merge
from tfllm.tokenizers.spec import TokenizerSpec
from tfllm.tokenizers.word_pair import WordPairTokenizer
from tfllm.tokenizers.word_pair_files import TOKENS
from tfllm.tokenizers.word_pair_model import SUFFIX


@dataclasses.dataclass(frozen=True)
class WordBPETrainingConfig:
    """Settings to train a BPE vocabulary of words.

    Attributes:
        vocab_size: Tokens at most: special tokens, characters inside and at
            the end of words, and merges.
        min_frequency: Less frequent pairs are not merged.
        limit_alphabet: Different characters at most.
        special_tokens: Special tokens, in the order of their ids from 0.
        template: Row template of the model; None: that of GPT-2.
    """

    vocab_size: int = 40478
    min_frequency: int = 2
    limit_alphabet: int = 1000
    special_tokens: SpecialTokens = TOKENS
    template: RowTemplate[str] | None = None

    def __post_init__(self) -> None:
        """Checks the values."""
        check_positive(self, "vocab_size", "min_frequency", "limit_alphabet")


def train_model(
    lines: Iterable[str], config: WordBPETrainingConfig
) -> tuple[list[str], list[Merge]]:
    """Trains a vocabulary on lines of text.

    Args:
        lines: Lines of text.
        config: Settings of the training.

    Returns:
        The tokens by id, and the merges by rank. If two make the same token,
        the first is kept.
    """
    import tokenizers  # loads a native library, which only training needs

    special = list(config.special_tokens.all())
    tokenizer = tokenizers.Tokenizer(
        tokenizers.models.BPE(
            unk_token=config.special_tokens.unk, end_of_word_suffix=SUFFIX
        )
    )
    tokenizer.normalizer = tokenizers.normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=config.vocab_size,
        min_frequency=config.min_frequency,
        limit_alphabet=config.limit_alphabet,
        special_tokens=special,
        end_of_word_suffix=SUFFIX,
        show_progress=False,
    )
    tokenizer.train_from_iterator(lines, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    merges: dict[str, Merge] = {}
    for left, right in model["merges"]:
        merges.setdefault(left.removesuffix(SUFFIX) + right, (left, right))
    symbols = sorted(model["vocab"].keys() - merges.keys() - {*special})
    return [*special, *symbols, *merges], list(merges.values())


def train(
    input_files: str,
    output_dir: str,
    config: WordBPETrainingConfig,
    spec: TokenizerSpec | None = None,
) -> WordPairTokenizer:
    """Trains a vocabulary on files and writes a tokenizer folder.

    Ids are those of special tokens, of characters, and of merges by rank.

    Args:
        input_files: Text files, plain or gzip: paths and globs,
            comma-separated, local or remote.
        output_dir: Folder for vocab.json, merges.txt, tokenizer.json and
            tokenizer_config.json.
        config: Settings of the training.
        spec: Of the model's family, which names the class that Transformers
            loads the files as; None: that of GPT-1.

    Returns:
        The tokenizer.

    Raises:
        ValueError: A file is missing, empty or binary.
    """
    paths = file_access.match_files(input_files, "input_files")
    file_access.make_folder(output_dir)
    vocab, merges = train_model(Lines(paths), config)
    tokenizer = WordPairTokenizer(
        vocab,
        merges,
        special_tokens=config.special_tokens,
        template=config.template,
    )
    tokenizer.save(output_dir, spec)
    return tokenizer
