"""Trains a vocabulary on text files.

    python -m tools.build_vocab --input_files=corpus/train.txt \
        --vocab_size=8000 --output_dir=tokenizer

Writes vocab.txt and tokenizer_config.json, which tfllm and Transformers read.
"""

from absl import flags as absl_flags

from tfllm import flags
from tfllm.data import train_wordpiece

_DEFAULT = train_wordpiece.WordPieceTrainingConfig()
_KINDS = ("wordpiece",)

_INPUT_FILES = absl_flags.DEFINE_string(
    "input_files",
    "",
    "Text files, plain or gzip: paths and globs, comma-separated.",
)
_OUTPUT_DIR = absl_flags.DEFINE_string(
    "output_dir", None, "Folder for vocab.txt and tokenizer_config.json."
)
_KIND = absl_flags.DEFINE_string(
    "kind", "wordpiece", f"Kind of vocabulary: {', '.join(_KINDS)}."
)
_VOCAB_SIZE = absl_flags.DEFINE_integer(
    "vocab_size", _DEFAULT.vocab_size, "Tokens at most, special ones included."
)
_LOWERCASE = absl_flags.DEFINE_bool(
    "lowercase", _DEFAULT.lowercase, "Lower the case and strip accents."
)
_MIN_FREQUENCY = absl_flags.DEFINE_integer(
    "min_frequency", _DEFAULT.min_frequency, "Rarer pairs are not merged."
)
_LIMIT_ALPHABET = absl_flags.DEFINE_integer(
    "limit_alphabet", _DEFAULT.limit_alphabet, "Characters at most."
)


def main() -> None:
    """Trains the vocabulary that the flags say."""
    if _KIND.value not in _KINDS:
        raise ValueError(
            f"`kind` must be one of {', '.join(_KINDS)}. "
            f"Received: {_KIND.value}. Other kinds are not available yet."
        )
    if not _OUTPUT_DIR.value:
        raise ValueError(
            "`output_dir` must name a folder. Received: nothing. "
            "Add --output_dir=FOLDER."
        )
    vocabulary = train_wordpiece.train(
        _INPUT_FILES.value,
        _OUTPUT_DIR.value,
        train_wordpiece.WordPieceTrainingConfig(
            vocab_size=_VOCAB_SIZE.value,
            lowercase=_LOWERCASE.value,
            min_frequency=_MIN_FREQUENCY.value,
            limit_alphabet=_LIMIT_ALPHABET.value,
        ),
    )
    print(f"vocabulary of {len(vocabulary)} tokens: {_OUTPUT_DIR.value}")


if __name__ == "__main__":
    flags.run(main)
