"""Trains a byte-level BPE vocabulary with the `tokenizers` package.

The package only trains; at run time `byte_pair.py` tokenizes in the graph. The
same text gives the same vocabulary: the package breaks ties by token ids, and
the ids of the 256 bytes are fixed.
"""

import dataclasses
import json
from collections.abc import Iterable, Mapping
from typing import Any

from tfllm import file_access
from tfllm.data.positive import check_positive
from tfllm.data.vocabularies.lines import Lines
from tfllm.tokenizers import AddedToken, RowTemplate, SpecialTokens
from tfllm.tokenizers.byte_pair import END_OF_TEXT, ByteBPETokenizer
from tfllm.tokenizers.byte_pair_model import Merge, byte_symbols
from tfllm.tokenizers.spec import TokenizerSpec
from tfllm.tokenizers.split_patterns import PATTERNS


@dataclasses.dataclass(frozen=True)
class ByteBPETrainingConfig:
    """Settings to train a byte-level BPE vocabulary.

    Attributes:
        vocab_size: Tokens at most: the 256 bytes, special tokens, and merges.
            257 gives a plain byte model with an end of text.
        min_frequency: Less frequent pairs are not merged.
        special_tokens: Special tokens, in the order of their ids.
        special_first: Whether special tokens have the first ids, not the
            last.
        added_tokens: How texts match special tokens.
        template: Row template of the model; None: that of GPT-2.
        arguments: More arguments of the tokenizer, which say how it splits
            text.
    """

    vocab_size: int = 50257
    min_frequency: int = 2
    special_tokens: SpecialTokens = SpecialTokens(
        bos=END_OF_TEXT, eos=END_OF_TEXT
    )
    special_first: bool = False
    added_tokens: tuple[AddedToken, ...] = ()
    template: RowTemplate[str] | None = None
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        """Checks the values."""
        special = self.special_tokens.all()
        least = 256 + len(special)
        if self.vocab_size < least:
            raise ValueError(
                f"`vocab_size` must be at least {least}: the 256 bytes and "
                f"{', '.join(special)}. Received: {self.vocab_size}."
            )
        check_positive(self, "min_frequency")


def train_merges(
    lines: Iterable[str], config: ByteBPETrainingConfig
) -> list[Merge]:
    """Trains the merges on lines of text.

    Args:
        lines: Lines of text, with their line ends.
        config: Settings of the training.

    Returns:
        The merges by rank. If two make the same token, the first is kept.
    """
    import tokenizers  # loads a native library, which only training needs

    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    arguments = config.arguments
    if arguments.get("normalization") == "NFC":
        tokenizer.normalizer = tokenizers.normalizers.NFC()
    splitters = tokenizers.pre_tokenizers
    pattern = PATTERNS[arguments.get("pattern", "gpt2")]
    to_bytes = splitters.ByteLevel(
        add_prefix_space=False, use_regex=not pattern.published
    )
    tokenizer.pre_tokenizer = to_bytes
    if pattern.published:
        words = splitters.Split(tokenizers.Regex(pattern.published), "isolated")
        tokenizer.pre_tokenizer = splitters.Sequence([words, to_bytes])
    if pattern.single_digits:
        digits = splitters.Digits(individual_digits=True)
        tokenizer.pre_tokenizer = splitters.Sequence([digits, to_bytes])
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=config.vocab_size - len(config.special_tokens.all()),
        min_frequency=config.min_frequency,
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(lines, trainer)
    merges: dict[str, Merge] = {}
    for left, right in json.loads(tokenizer.to_str())["model"]["merges"]:
        merges.setdefault(left + right, (left, right))
    return list(merges.values())


def train(
    input_files: str,
    output_dir: str,
    config: ByteBPETrainingConfig,
    spec: TokenizerSpec | None = None,
) -> ByteBPETokenizer:
    """Trains a vocabulary on files and writes a tokenizer folder.

    Ids are ordered as in the published GPT-2: bytes in the order of their
    symbols, then merges by rank; special tokens come before or after both.

    Args:
        input_files: Text files, plain or gzip: paths and globs,
            comma-separated, local or remote.
        output_dir: Folder for vocab.json, merges.txt, tokenizer.json and
            tokenizer_config.json.
        config: Settings of the training.
        spec: Of the model's family, which names the class that Transformers
            loads the files as; None: that of GPT-2.

    Returns:
        The tokenizer.

    Raises:
        ValueError: A file is missing, empty or binary.
    """
    paths = file_access.match_files(input_files, "input_files")
    file_access.make_folder(output_dir)
    merges = train_merges(Lines(paths, keep_ends=True), config)
    special = config.special_tokens.all()
    tokenizer = ByteBPETokenizer(
        [
            *(special if config.special_first else ()),
            *sorted(byte_symbols()),
            *(left + right for left, right in merges),
            *(() if config.special_first else special),
        ],
        merges,
        special_tokens=config.special_tokens,
        added_tokens=config.added_tokens,
        template=config.template,
        **config.arguments,
    )
    tokenizer.save(output_dir, spec)
    return tokenizer
