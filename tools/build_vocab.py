r"""Trains a vocabulary on text files.

    python -m tools.build_vocab --input_files=corpus/train.txt \
        --vocab_size=8000 --output_dir=tokenizer

Writes a tokenizer folder that tfllm and Transformers read: vocab.txt for
WordPiece; vocab.json, merges.txt and tokenizer.json for byte-level BPE.
"""

from absl import flags as absl_flags

import tfllm.lean_keras  # noqa: F401

# isort: split
from tfllm import flags
from tfllm.data.vocabularies import byte_bpe, wordpiece

_DEFAULT = wordpiece.WordPieceTrainingConfig()
_KINDS = ("byte_bpe", "wordpiece")

_INPUT_FILES = absl_flags.DEFINE_string(
    "input_files",
    "",
    "Text files, plain or gzip: paths and globs, comma-separated.",
)
_OUTPUT_DIR = absl_flags.DEFINE_string(
    "output_dir", None, "Folder for the vocabulary and its config."
)
_KIND = absl_flags.DEFINE_string(
    "kind", "wordpiece", f"Kind of vocabulary: {', '.join(_KINDS)}."
)
_VOCAB_SIZE = absl_flags.DEFINE_integer(
    "vocab_size",
    _DEFAULT.vocab_size,
    "Tokens at most, special ones included; byte_bpe: 257 for bytes alone.",
)
_LOWERCASE = absl_flags.DEFINE_bool(
    "lowercase",
    _DEFAULT.lowercase,
    "Lower the case and strip accents (wordpiece).",
)
_MIN_FREQUENCY = absl_flags.DEFINE_integer(
    "min_frequency", _DEFAULT.min_frequency, "Rarer pairs are not merged."
)
_LIMIT_ALPHABET = absl_flags.DEFINE_integer(
    "limit_alphabet",
    _DEFAULT.limit_alphabet,
    "Characters at most (wordpiece).",
)


def main() -> None:
    """Trains the vocabulary that the flags say."""
    if _KIND.value not in _KINDS:
        raise ValueError(
            f"`kind` must be one of {', '.join(_KINDS)}. "
            f"Received: {_KIND.value}."
        )
    if not _OUTPUT_DIR.value:
        raise ValueError(
            "`output_dir` must name a folder. Received: nothing. "
            "Add --output_dir=FOLDER."
        )
    size = (
        _train_byte_bpe() if _KIND.value == "byte_bpe" else _train_wordpiece()
    )
    print(f"vocabulary of {size} tokens: {_OUTPUT_DIR.value}")


def _train_wordpiece() -> int:
    """Returns the size of the vocabulary it trained."""
    vocabulary = wordpiece.train(
        _INPUT_FILES.value,
        _OUTPUT_DIR.value,
        wordpiece.WordPieceTrainingConfig(
            vocab_size=_VOCAB_SIZE.value,
            lowercase=_LOWERCASE.value,
            min_frequency=_MIN_FREQUENCY.value,
            limit_alphabet=_LIMIT_ALPHABET.value,
        ),
    )
    return len(vocabulary)


def _train_byte_bpe() -> int:
    """Returns the size of the vocabulary it trained."""
    for flag in ("lowercase", "limit_alphabet"):
        if absl_flags.FLAGS[flag].present:
            raise ValueError(
                f"`{flag}` goes with --kind=wordpiece: byte-level BPE keeps "
                "every byte. Received: --kind=byte_bpe."
            )
    return byte_bpe.train(
        _INPUT_FILES.value,
        _OUTPUT_DIR.value,
        byte_bpe.ByteBPETrainingConfig(
            vocab_size=_VOCAB_SIZE.value, min_frequency=_MIN_FREQUENCY.value
        ),
    ).vocab_size


if __name__ == "__main__":
    flags.run(main)
