"""Trains a byte-level BPE vocabulary with the `tokenizers` package.

The package trains; at run time `byte_pair.py` tokenizes in the graph. The same
text gives the same vocabulary: the package orders ties by the ids of the
tokens, and the ids of the 256 bytes are fixed.
"""

import dataclasses
import json
from collections.abc import Iterable

from tfllm import file_access
from tfllm.data.vocabularies.lines import Lines
from tfllm.tokenizers.byte_pair import END_OF_TEXT, ByteBPETokenizer
from tfllm.tokenizers.byte_pair_model import Merge, byte_symbols

SPECIAL_TOKENS = (END_OF_TEXT,)


@dataclasses.dataclass(frozen=True)
class ByteBPETrainingConfig:
    """How to train a byte-level BPE vocabulary.

    Attributes:
        vocab_size: tokens at most: the 256 bytes, the end of text, and
            merges. 257 gives a plain byte model.
        min_frequency: pairs that occur less often are not merged.
    """

    vocab_size: int = 50257
    min_frequency: int = 2

    def __post_init__(self) -> None:
        """Refuses sizes without room for the bytes."""
        least = 256 + len(SPECIAL_TOKENS)
        if self.vocab_size < least:
            raise ValueError(
                f"`vocab_size` must be at least {least}: the 256 bytes and "
                f"{', '.join(SPECIAL_TOKENS)}. Received: {self.vocab_size}."
            )
        if self.min_frequency < 1:
            raise ValueError(
                "`min_frequency` must be at least 1. "
                f"Received: {self.min_frequency}."
            )


def train_merges(
    lines: Iterable[str], config: ByteBPETrainingConfig
) -> list[Merge]:
    """Trains the merges on lines of text.

    Args:
        lines: the text, with line ends where they count.
        config: ByteBPETrainingConfig.

    Returns:
        The merges by rank. Where two make the same token the first is kept.
    """
    import tokenizers  # loads a native library: only those who train pay

    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(
        add_prefix_space=False
    )
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=config.vocab_size - len(SPECIAL_TOKENS),
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
    input_files: str, output_dir: str, config: ByteBPETrainingConfig
) -> ByteBPETokenizer:
    """Trains a vocabulary on files and writes a tokenizer folder.

    Ids are those of a published GPT-2: the bytes in the order of their
    symbols, the merges by rank, the end of text last.

    Args:
        input_files: text files, plain or gzip: paths and globs,
            comma-separated, local or remote.
        output_dir: folder for vocab.json, merges.txt, tokenizer.json and
            their config.
        config: ByteBPETrainingConfig.

    Returns:
        The tokenizer.

    Raises:
        ValueError: a file is missing, empty or binary.
    """
    paths = file_access.match_files(input_files, "input_files")
    file_access.make_folder(output_dir)
    merges = train_merges(Lines(paths, keep_ends=True), config)
    tokenizer = ByteBPETokenizer(
        [
            *sorted(byte_symbols()),
            *(left + right for left, right in merges),
            *SPECIAL_TOKENS,
        ],
        merges,
        bos_token=END_OF_TEXT,
        eos_token=END_OF_TEXT,
    )
    tokenizer.save(output_dir)
    return tokenizer
