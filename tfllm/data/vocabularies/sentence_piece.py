"""Trains a SentencePiece model with the `sentencepiece` package.

The package only trains; at run time `tfllm.tokenizers.sentence_piece` tokenizes
in the graph. The same text gives the same model: the number of threads, which
decides the order in which counts are summed, is fixed.
"""

import dataclasses
import io
import re
from collections.abc import Iterable, Iterator
from typing import Any, Literal, get_args

from tfllm import file_access
from tfllm.data.vocabularies.lines import Lines
from tfllm.tokenizers.row_template import RowTemplate
from tfllm.tokenizers.spec import TokenizerSpec
from tfllm.tokenizers.special_tokens import (
    LLAMA_TOKENS,
    ROLES,
    AddedToken,
    SpecialTokens,
)

ModelType = Literal["bpe", "unigram"]
Normalization = Literal[
    "identity", "nfkc", "nmt_nfkc", "nfkc_cf", "nmt_nfkc_cf"
]
MODEL_TYPES = get_args(ModelType)
NORMALIZATIONS = get_args(Normalization)
# Roles that the trainer knows; it treats other roles as control pieces.
_TRAINER_ROLES = ("unk", "bos", "eos", "pad")
# The trainer skips longer lines; its default is 4192.
_MAX_LINE_BYTES = 1 << 20
_NUM_THREADS = 8


@dataclasses.dataclass(frozen=True)
class SentencePieceTrainingConfig:
    """Settings to train a SentencePiece model.

    Attributes:
        vocab_size: Number of tokens, with special tokens and bytes.
        hard_limit: Whether a text with fewer tokens is refused; a BPE model
            always has all.
        model_type: "bpe", as LLaMA, or "unigram", as T5 and ALBERT.
        byte_fallback: Whether characters without a token become the tokens of
            their bytes; otherwise they are unknown.
        character_coverage: Share of the characters of the text that get a
            token.
        normalization: Normalization of texts; "identity" changes nothing, and
            keeps repeated spaces.
        dummy_prefix: Whether texts begin with "▁".
        split_digits: Whether each digit is a token.
        special_tokens: The special tokens.
        role_order: Roles in the order of their ids, from 0; (): that of
            `ROLES`.
        user_tokens: Tokens that are never split in texts.
        added_tokens: Tokens behind those of the model, or how those that it
            has are matched.
        cleaned_as: Class of Transformers that cleans texts before the model
            reads them, a key of `sentence_piece_classes.CLEANING`; "": none.
        template: Row template of the model; None: that of LLaMA.
    """

    vocab_size: int = 32000
    hard_limit: bool = True
    model_type: ModelType = "bpe"
    byte_fallback: bool = True
    character_coverage: float = 0.9995
    normalization: Normalization = "identity"
    dummy_prefix: bool = True
    split_digits: bool = False
    special_tokens: SpecialTokens = LLAMA_TOKENS
    role_order: tuple[str, ...] = ()
    user_tokens: tuple[str, ...] = ()
    added_tokens: tuple[AddedToken, ...] = ()
    cleaned_as: str = ""
    template: RowTemplate[str] | None = None

    def __post_init__(self) -> None:
        """Checks the values."""
        for name, value, allowed in (
            ("model_type", self.model_type, MODEL_TYPES),
            ("normalization", self.normalization, NORMALIZATIONS),
        ):
            if value not in allowed:
                raise ValueError(
                    f"`{name}` must be {' or '.join(allowed)}. "
                    f"Received: {value!r}."
                )
        if self.special_tokens.unk is None:
            raise ValueError(
                "`special_tokens` must have an unknown token (unk). Received: "
                f"{self.special_tokens.as_dict()}. Name it."
            )
        if not 0.98 <= self.character_coverage <= 1:
            raise ValueError(
                "`character_coverage` must be from 0.98 to 1. "
                f"Received: {self.character_coverage}."
            )
        fixed = len(self.ordered_tokens()) + len(self.user_tokens)
        fixed += 256 if self.byte_fallback else 0
        fixed += self.num_added
        if self.vocab_size <= fixed:
            raise ValueError(
                f"`vocab_size` must be above {fixed}, the number of special "
                "tokens, and of bytes with `byte_fallback`. "
                f"Received: {self.vocab_size}."
            )

    @property
    def num_added(self) -> int:
        """Number of tokens behind those of the model."""
        known = {*self.ordered_tokens(), *self.user_tokens}
        return len({token.content for token in self.added_tokens} - known)

    def ordered_tokens(self) -> tuple[str, ...]:
        """Returns the special tokens, each once, in the order of their ids."""
        roles = self.special_tokens.as_dict()
        order = self.role_order or ROLES
        tokens = [roles[role] for role in order if role in roles]
        return tuple(dict.fromkeys([*tokens, *self.special_tokens.additional]))


def parse_special_tokens(
    entries: Iterable[str],
) -> tuple[SpecialTokens, tuple[str, ...]]:
    """Parses "role=token" entries.

    Args:
        entries: Entries in the order of the ids, such as "unk=TOKEN".

    Returns:
        The special tokens, and their roles in this order.

    Raises:
        ValueError: An entry has another form, or an unknown role.
    """
    tokens: dict[str, Any] = {}
    for entry in entries:
        role, sign, token = entry.partition("=")
        if not sign or not token or role not in ROLES or role in tokens:
            raise ValueError(
                "`special_tokens` must be role=token, each role once, of "
                f"{', '.join(ROLES)}. Received: {entry!r}. Write, for "
                "instance, unk=TOKEN,bos=TOKEN,eos=TOKEN."
            )
        tokens[role] = token
    return SpecialTokens(**tokens), tuple(tokens)


def train_model(
    lines: Iterable[str], config: SentencePieceTrainingConfig
) -> bytes:
    """Trains a model on lines of text.

    Args:
        lines: Lines of text, all of which are held in memory.
        config: Settings of the training.

    Returns:
        The serialized ModelProto.

    Raises:
        ValueError: There is no text, or `vocab_size` does not fit it.
    """
    import sentencepiece  # loads a native library, which only training needs

    content = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=_sentences(lines),
            model_writer=content,
            **_options(config),
        )
    except (RuntimeError, OSError) as error:
        message = _explained(str(error), config)
        raise ValueError(message) from error
    return content.getvalue()


def _sentences(lines: Iterable[str]) -> Iterator[str]:
    """Yields non-blank lines without U+0000, which the trainer refuses."""
    for line in lines:
        text = line.replace("\0", "")
        if text.strip():
            yield text


def _options(config: SentencePieceTrainingConfig) -> dict[str, Any]:
    """Returns the options of the trainer."""
    ids = {token: i for i, token in enumerate(config.ordered_tokens())}
    roles = config.special_tokens.as_dict()
    options: dict[str, Any] = {}
    named = set()
    for role in _TRAINER_ROLES:
        token = roles.get(role)
        # A token with two roles is named once.
        is_new = token is not None and token not in named
        options[f"{role}_id"] = ids[token] if token and is_new else -1
        if token is not None and is_new:
            options[f"{role}_piece"] = token
            named.add(token)
    keeps_spaces = config.normalization == "identity"
    return {
        **options,
        "control_symbols": [token for token in ids if token not in named],
        "user_defined_symbols": list(config.user_tokens),
        "vocab_size": config.vocab_size - config.num_added,
        "hard_vocab_limit": config.hard_limit or config.model_type == "bpe",
        "model_type": config.model_type,
        "byte_fallback": config.byte_fallback,
        "character_coverage": config.character_coverage,
        "normalization_rule_name": config.normalization,
        "add_dummy_prefix": config.dummy_prefix,
        "remove_extra_whitespaces": not keeps_spaces,
        "allow_whitespace_only_pieces": keeps_spaces,
        "split_digits": config.split_digits,
        "max_sentence_length": _MAX_LINE_BYTES,
        "num_threads": _NUM_THREADS,
        "minloglevel": 2,
    }


def _explained(message: str, config: SentencePieceTrainingConfig) -> str:
    """Returns an error message that explains one of the trainer."""
    smallest = re.search(r"smaller than required_chars\. \d+ vs (\d+)", message)
    if smallest:
        return (
            "`vocab_size` must be at least "
            f"{int(smallest[1]) + config.num_added}, the characters of the "
            f"text and the special tokens. Received: {config.vocab_size}. "
            "Raise it, or lower `character_coverage`."
        )
    largest = re.search(r"set it to a value <= (\d+)", message)
    if largest:
        return (
            "`vocab_size` must be at most "
            f"{int(largest[1]) + config.num_added} for a text this small. "
            f"Received: {config.vocab_size}. Lower it, or give more text."
        )
    if "sentences_.empty()" in message or "!sentences" in message:
        return "`input_files` must hold text. Received: files with no word."
    return (
        "the text must be one that a SentencePiece model can be trained on. "
        f"Received: {message.strip()}. Give other text or another vocab_size."
    )


def train(
    input_files: str, output_dir: str, config: SentencePieceTrainingConfig
) -> int:
    """Trains a model on files and writes a tokenizer folder.

    Args:
        input_files: Text files, plain or gzip: paths and globs,
            comma-separated, local or remote.
        output_dir: Folder for tokenizer.model and tokenizer_config.json.
        config: Settings of the training.

    Returns:
        The number of tokens.

    Raises:
        ValueError: A file is missing, empty or binary, or see `train_model`.
    """
    paths = file_access.match_files(input_files, "input_files")
    file_access.make_folder(output_dir)
    content = train_model(Lines(paths), config)
    # TensorFlow takes seconds to import: errors are found before that.
    from tfllm.tokenizers import sentence_piece_files
    from tfllm.tokenizers.sentence_piece import SentencePieceTokenizer
    from tfllm.tokenizers.sentence_piece_model import parse

    model = parse(content, "the trained model")
    arguments: dict[str, Any] = {}
    if config.cleaned_as:
        model, arguments = sentence_piece_files.cleaned(
            model, config.cleaned_as, {}, "the trained model"
        )
    tokenizer = SentencePieceTokenizer(
        model,
        special_tokens=config.special_tokens,
        added_tokens=config.added_tokens,
        template=config.template,
        **arguments,
    )
    tokenizer.save(output_dir)
    return tokenizer.vocab_size


def train_mapped(
    input_files: str,
    output_dir: str,
    vocab_size: int,
    spec: TokenizerSpec,
    **options: Any,
) -> int:
    """Trains a model whose pieces get the ids of a vocabulary of their own.

    The special tokens but padding come first, and padding last. Both sides of
    a translation share the model.

    Args:
        input_files: As for `train`.
        output_dir: Folder for source.spm, target.spm and vocab.json.
        vocab_size: Tokens at most.
        spec: Tokenizer of the family.
        **options: More fields of SentencePieceTrainingConfig.

    Returns:
        The number of tokens.

    Raises:
        ValueError: See `train`.
    """
    paths = file_access.match_files(input_files, "input_files")
    file_access.make_folder(output_dir)
    tokens = spec.special_tokens
    usual = {
        "model_type": "unigram",
        "normalization": "nmt_nfkc",
        "byte_fallback": False,
        "hard_limit": False,
    }
    config = SentencePieceTrainingConfig(
        vocab_size=vocab_size - 1,
        special_tokens=tokens.with_roles({"pad": None}),
        **{**usual, **options},
    )
    content = train_model(Lines(paths), config)
    # TensorFlow takes seconds to import: errors are found before that.
    from tfllm.tokenizers.mapped_pieces import MappedPieceTokenizer
    from tfllm.tokenizers.sentence_piece_model import parse

    model = parse(content, "the trained model")
    special = [tokens.eos, tokens.unk]
    pieces = [p.piece for p in model.pieces if p.piece not in special]
    tokenizer = MappedPieceTokenizer(
        [*filter(None, special), *pieces, *filter(None, [tokens.pad])],
        model,
        tokens,
        template=spec.template,
    )
    tokenizer.save(output_dir, spec)
    return tokenizer.vocab_size
