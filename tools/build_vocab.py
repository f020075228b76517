r"""Trains a vocabulary on text files.

    python -m tools.build_vocab --input_files=corpus/train.txt \
        --vocab_size=8000 --output_dir=tokenizer

With `--model=roberta` the vocabulary has the special tokens of the model, and
splits text as the model does.

Writes a tokenizer folder that tfllm and Transformers read: vocab.txt for
WordPiece; vocab.json, merges.txt and tokenizer.json for byte-level BPE;
tokenizer.model and tokenizer.json for SentencePiece.
"""

import dataclasses
from typing import Any

from absl import flags as absl_flags

from tfllm.data.vocabularies import sentence_piece, wordpiece
from tfllm.runs import flags

_DEFAULT = wordpiece.WordPieceTrainingConfig()
_KINDS = ("byte_bpe", "sentencepiece", "word_bpe", "wordpiece")

_GROUP = flags.Group("Flags")
_INPUT_FILES = _GROUP.string(
    "input_files",
    "",
    "Text files to train on, plain or gzip: paths and globs, "
    "comma-separated. Needed.",
)
_OUTPUT_DIR = _GROUP.string(
    "output_dir", None, "Folder to write the tokenizer to. Needed."
)
_MODEL = _GROUP.string(
    "model",
    "",
    "Model that will read the vocabulary: a family such as roberta, or as in "
    "--model of tfllm.train. Its family has the kind, the special tokens, and "
    "how text is split. Default: as --kind says.",
)
_KIND = _GROUP.choice(
    "kind",
    None,
    _KINDS,
    "Kind of vocabulary: wordpiece as of BERT, byte_bpe as of GPT-2, "
    "word_bpe as of GPT-1, sentencepiece as of LLaMA 2 and T5. RoBERTa, "
    "LLaMA 3 and Qwen 2 need "
    "--model instead. Default: that of --model; wordpiece without --model.",
)
_VOCAB_SIZE = _GROUP.integer(
    "vocab_size",
    _DEFAULT.vocab_size,
    "Largest number of tokens, including special tokens. With "
    "--kind=byte_bpe, 257 gives plain bytes.",
)
_MIN_FREQUENCY = _GROUP.integer(
    "min_frequency",
    _DEFAULT.min_frequency,
    "Smallest frequency of a pair of tokens to merge. For --kind=wordpiece, "
    "byte_bpe and word_bpe.",
)
_LOWERCASE = _GROUP.boolean(
    "lowercase",
    _DEFAULT.lowercase,
    "Lower-case the text and strip accents. For --kind=wordpiece.",
)
_LIMIT_ALPHABET = _GROUP.integer(
    "limit_alphabet",
    _DEFAULT.limit_alphabet,
    "Largest number of single characters in the vocabulary; the most frequent "
    "ones are kept. For --kind=wordpiece and word_bpe.",
)


_SENTENCE_PIECE = flags.Group("Flags of --kind=sentencepiece")
_SENTENCE_PIECE.fields(
    {
        field.name: field
        for field in dataclasses.fields(
            sentence_piece.SentencePieceTrainingConfig
        )
    },
    {
        "model_type": "Algorithm: bpe as in LLaMA, or unigram as in T5 and "
        "ALBERT.",
        "byte_fallback": "Split characters without a token into the tokens of "
        "their bytes; otherwise they are unknown.",
        "character_coverage": "Share of the characters in the text that get "
        "their own token, from 0.98 to 1.",
        "normalization": "Normalization of texts: identity leaves them as they "
        "are, nfkc is the Unicode form, nmt_nfkc also cleans white space, and "
        "the names ending in _cf also lower the case. All except identity join "
        "runs of spaces.",
        "dummy_prefix": "Add a space at the start of a text, so that a word "
        "is the same token at the start and inside.",
        "split_digits": "Make each digit a separate token.",
    },
    {},
)
_SPECIAL_TOKENS = _SENTENCE_PIECE.string(
    "special_tokens",
    "unk=<unk>,bos=<s>,eos=</s>",
    "Special tokens as role=token, comma-separated, in the order of their ids "
    "from 0. Roles: unk (needed), bos, eos, pad, cls, sep, mask.",
)
_USER_TOKENS = _SENTENCE_PIECE.string(
    "user_tokens",
    "",
    "Tokens that are always matched whole in a text, comma-separated; their "
    "ids follow those of the special tokens. Default: none.",
)

# Kind -> flags for this kind only.
_FLAGS_OF_ONE_KIND = {
    "wordpiece": ("lowercase", "limit_alphabet"),
    "word_bpe": ("limit_alphabet",),
    "sentencepiece": tuple(_SENTENCE_PIECE.names),
}


# Kind of a family -> --kind.
_KIND_OF_FAMILY = {
    "byte_bpe": "byte_bpe",
    "mapped_sentence_piece": "sentencepiece",
    "sentence_piece": "sentencepiece",
    "word_bpe": "word_bpe",
    "wordpiece": "wordpiece",
}


def main() -> None:
    """Trains a vocabulary as the flags say."""
    if not _OUTPUT_DIR.value:
        raise ValueError(
            "`output_dir` must name a folder. Received: nothing. "
            "Add --output_dir=FOLDER."
        )
    if _MODEL.value:
        size = _train_for_model()
    else:
        kind = _KIND.value or "wordpiece"
        _check_flags(kind, f"--kind={kind}")
        trainers = {
            "byte_bpe": _train_byte_bpe,
            "sentencepiece": _train_sentence_piece,
            "word_bpe": _train_word_bpe,
            "wordpiece": _train_wordpiece,
        }
        size = trainers[kind]()
    print(f"vocabulary of {size} tokens: {_OUTPUT_DIR.value}")


def _check_flags(kind: str, received: str) -> None:
    """Raises ValueError for flags of another kind.

    Args:
        kind: The kind of vocabulary.
        received: The flag that says so, for messages.
    """
    for other, names in _FLAGS_OF_ONE_KIND.items():
        for name in set(names) - {*_FLAGS_OF_ONE_KIND.get(kind, ())}:
            if other != kind and absl_flags.FLAGS[name].present:
                raise ValueError(
                    f"`{name}` goes with --kind={other}. Received: "
                    f"{received}. Leave it out, or change the kind."
                )
    if kind == "sentencepiece" and absl_flags.FLAGS["min_frequency"].present:
        raise ValueError(
            "`min_frequency` goes with the kinds of merges and wordpiece: "
            "SentencePiece chooses tokens without it. "
            f"Received: {received}. Leave it out."
        )


def _train_for_model() -> int:
    """Trains a vocabulary for --model; returns its size."""
    # The families import TensorFlow.
    import tfllm.lean_keras  # noqa: F401

    # isort: split
    from tfllm.data.vocabularies.train import train
    from tfllm.interop.config_file import resolve_model
    from tfllm.models import FAMILIES

    name = _MODEL.value
    family = name if name in FAMILIES else resolve_model(name).family
    spec = FAMILIES[family].tokenizer
    kind = _KIND_OF_FAMILY[spec.kind]
    if _KIND.value not in (None, kind):
        raise ValueError(
            f"`kind` must be {kind} with --model={name}: new vocabularies of "
            f"this family are of this kind. Received: {_KIND.value!r}. Leave "
            "out --kind, or --model."
        )
    _check_flags(kind, f"--model={name}, whose kind is {kind}")
    if _SPECIAL_TOKENS.present:
        raise ValueError(
            "`special_tokens` must be left out with --model, which names "
            f"them. Received: {_SPECIAL_TOKENS.value!r}."
        )
    return train(
        _INPUT_FILES.value,
        _OUTPUT_DIR.value,
        spec,
        _VOCAB_SIZE.value,
        **_given_options(kind),
    )


def _given_options(kind: str) -> dict[str, Any]:
    """Returns the fields of the training config that flags set."""
    names = {*_FLAGS_OF_ONE_KIND.get(kind, ()), "min_frequency"}
    options = {
        name: absl_flags.FLAGS[name].value
        for name in sorted(names)
        if absl_flags.FLAGS[name].present
    }
    if "user_tokens" in options:
        options["user_tokens"] = _user_tokens()
    return options


def _user_tokens() -> tuple[str, ...]:
    return tuple(filter(None, _USER_TOKENS.value.split(",")))


def _train_wordpiece() -> int:
    """Trains a WordPiece vocabulary; returns its size."""
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
    """Trains a byte-level BPE vocabulary; returns its size."""
    # TensorFlow takes seconds to import: flags are checked before.
    import tfllm.lean_keras  # noqa: F401

    # isort: split
    from tfllm.data.vocabularies import byte_bpe

    return byte_bpe.train(
        _INPUT_FILES.value,
        _OUTPUT_DIR.value,
        byte_bpe.ByteBPETrainingConfig(
            vocab_size=_VOCAB_SIZE.value, min_frequency=_MIN_FREQUENCY.value
        ),
    ).vocab_size


def _train_word_bpe() -> int:
    """Trains a BPE vocabulary of words; returns its size."""
    # TensorFlow takes seconds to import: flags are checked before.
    import tfllm.lean_keras  # noqa: F401

    # isort: split
    from tfllm.data.vocabularies import word_bpe

    return word_bpe.train(
        _INPUT_FILES.value,
        _OUTPUT_DIR.value,
        word_bpe.WordBPETrainingConfig(
            vocab_size=_VOCAB_SIZE.value,
            min_frequency=_MIN_FREQUENCY.value,
            limit_alphabet=_LIMIT_ALPHABET.value,
        ),
    ).vocab_size


def _train_sentence_piece() -> int:
    """Trains a SentencePiece model; returns its number of tokens."""
    tokens, order = sentence_piece.parse_special_tokens(
        _SPECIAL_TOKENS.value.split(",")
    )
    flag_values = absl_flags.FLAGS.flag_values_dict()
    return sentence_piece.train(
        _INPUT_FILES.value,
        _OUTPUT_DIR.value,
        sentence_piece.SentencePieceTrainingConfig(
            vocab_size=_VOCAB_SIZE.value,
            special_tokens=tokens,
            role_order=order,
            user_tokens=_user_tokens(),
            **{
                name: flag_values[name]
                for name in _SENTENCE_PIECE.names
                if name not in ("special_tokens", "user_tokens")
            },
        ),
    )


if __name__ == "__main__":
    flags.run(main)
