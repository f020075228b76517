"""BPE vocabularies as files, in the Hugging Face layout."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import tensorflow as tf

from tfllm.tokenizers import (
    added_tokens,
    byte_pair_document,
    files,
    post_processor,
    row_options,
)
from tfllm.tokenizers.byte_pair_model import Merge
from tfllm.tokenizers.files import (
    CONFIG_FILE,
    SPECIAL_TOKENS_FILE,
    TOKENIZER_FILE,
)
from tfllm.tokenizers.row_template import RowTemplate, spelled
from tfllm.tokenizers.spec import Kind, TokenizerSpec
from tfllm.tokenizers.special_tokens import ROLES, AddedToken, SpecialTokens

logger = logging.getLogger(__name__)

VOCAB_FILE = "vocab.json"
MERGES_FILE = "merges.txt"
_MERGES_HEADER = "#version: 0.2"
END_OF_TEXT = "<|endoftext|>"
# NOTE: the published tokenizer puts nothing between two texts.
GPT2_ROWS = RowTemplate(pad="eos", between=("eos",))
# Where neither files nor a family name special tokens.
_GPT2_TOKENS = SpecialTokens(bos=END_OF_TEXT, eos=END_OF_TEXT)

_USUAL_ROLES = ("bos", "eos", "pad")
# Splits text as tokenizer.json says.
_ANY_CLASS = "PreTrainedTokenizerFast"


@dataclasses.dataclass(frozen=True)
class Layout:
    """The files of a kind of tokenizer.

    Attributes:
        kind: The kind.
        read: Reads the object of a tokenizer.json, whose path is for
            messages: token -> id, the merges, arguments of the tokenizer.
        rows: Rows where no family says so.
        special_tokens: Special tokens where neither files nor a family name
            them.
        switches: Arguments of the tokenizer that are keys of
            tokenizer_config.json as well.
        classes: Values of `tokenizer_class` beside those of the family.
    """

    kind: Kind
    read: Callable[
        [dict[str, Any], str],
        tuple[dict[str, int], list[Merge], dict[str, Any]],
    ]
    rows: RowTemplate[str]
    special_tokens: SpecialTokens
    switches: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()


BYTE_LEVEL = Layout(
    "byte_bpe",
    byte_pair_document.read,
    GPT2_ROWS,
    _GPT2_TOKENS,
    ("add_prefix_space",),
    ("GPT2Tokenizer",),
)


def read(
    path: str,
    spec: TokenizerSpec | None = None,
    layout: Layout = BYTE_LEVEL,
) -> tuple[list[str], list[Merge], dict[str, Any]]:
    """Reads a tokenizer folder, a tokenizer.json, or a vocab.json.

    Args:
        path: A folder with vocab.json and merges.txt, or with
            tokenizer.json; or one of these files. Tokens that were added to
            vocab.json stand in tokenizer.json or added_tokens.json.
        spec: What the family says, where the files are silent.
        layout: The kind of tokenizer.

    Returns:
        The tokens by id, the merges by rank, and the arguments of the
        tokenizer that the files set.

    Raises:
        ValueError: A file is missing or damaged, or asks for something that
            is not supported.
    """
    path = os.fspath(path)
    folder, name = (
        (path, "") if tf.io.gfile.isdir(path) else os.path.split(path)
    )
    whole = os.path.join(folder, TOKENIZER_FILE)
    vocab_file = os.path.join(folder, VOCAB_FILE)
    config_file = os.path.join(folder, CONFIG_FILE)
    has_whole = tf.io.gfile.exists(whole)
    has_parts = tf.io.gfile.exists(vocab_file)
    config = files.read_json(os.path.join(folder, SPECIAL_TOKENS_FILE))
    config |= files.read_json(config_file)
    template = spec.template if spec else layout.rows
    # Those of a family are for its first kind.
    arguments: dict[str, Any] = {}
    if spec and spec.kind == layout.kind:
        arguments |= spec.arguments
    for switch in layout.switches:
        if config.get(switch) is not None:
            arguments[switch] = bool(config[switch])
    reads_whole = name == TOKENIZER_FILE or (
        not name and (has_whole or not has_parts)
    )
    stated = None
    if reads_whole:
        source = whole
        content = files.read_json(whole)
        ids, merges, said = layout.read(content, whole)
        _warn_of_switches(whole, layout, arguments, said)
        arguments |= said
        stated = post_processor.read(content.get("post_processor"), whole)
        if has_parts and files.read_json(vocab_file).items() - ids.items():
            raise ValueError(
                f"{vocab_file!r} must have the tokens of {TOKENIZER_FILE}. "
                "Received: others. Delete the file that is out of date."
            )
    else:
        source = vocab_file
        ids = byte_pair_document.check_ids(
            files.read_json(vocab_file), vocab_file
        )
        merges = _read_merges(os.path.join(folder, MERGES_FILE))
        _check_class(folder, config, has_whole, spec, layout)
        template = row_options.with_ends(template, config, config_file)
    vocab = files.in_order(ids, source)
    arguments["added_tokens"] = _read_added(folder, vocab, spec)
    known = {*vocab, *(token.content for token in arguments["added_tokens"])}
    usual = spec.special_tokens if spec else layout.special_tokens
    special = _special_tokens(folder, config, known, usual)
    if stated is not None:
        template = stated.apply(template)
    if reads_whole:
        row_options.warn_of_ends(template, config, special.as_dict(), whole)
    return (
        vocab,
        merges,
        {
            **arguments,
            "special_tokens": special,
            "template": row_options.with_sides(template, config, config_file),
        },
    )


def _warn_of_switches(
    file: str, layout: Layout, config: dict[str, Any], said: dict[str, Any]
) -> None:
    """Warns where tokenizer.json wins over tokenizer_config.json."""
    for switch in layout.switches:
        value = said[switch]
        if config.get(switch, value) != value:
            files.warn_once(
                f"{file} says {switch} = {value!r} and wins over "
                f"{CONFIG_FILE}, which says {not value!r}."
            )


def _read_added(
    folder: str, vocab: Sequence[str], spec: TokenizerSpec | None
) -> list[AddedToken]:
    """Returns the added tokens of the files, and those of the family."""
    added = added_tokens.read(folder, vocab)
    named = {token.content for token in added}
    known = set(vocab)
    return added + [
        token
        for token in (spec.added_tokens if spec else ())
        if token.content in known - named
    ]


def _special_tokens(
    folder: str,
    config: dict[str, Any],
    known: set[str],
    usual: SpecialTokens,
) -> SpecialTokens:
    """Returns the special tokens that the config, or else the family, names.

    Args:
        folder: For messages.
        config: Of tokenizer_config.json and the map of tokens.
        known: All tokens.
        usual: Those where the config is silent, if the vocabulary has them.

    Raises:
        ValueError: The config names one that the vocabulary lacks.
    """
    tokens: dict[str, str | None] = {
        role: token for role, token in usual.as_dict().items() if token in known
    }
    for role in ROLES:
        token = config.get(f"{role}_token", tokens.get(role))
        if isinstance(token, dict):
            token = token.get("content")
        if token is not None and token not in known:
            raise ValueError(
                f"`{role}_token` of {folder!r} must be in the vocabulary. "
                f"Received: {token!r}. Correct {CONFIG_FILE}."
            )
        tokens[role] = token
    return SpecialTokens().with_roles(tokens)


def _check_class(
    folder: str,
    config: dict[str, Any],
    has_whole: bool,
    spec: TokenizerSpec | None,
    layout: Layout,
) -> None:
    """Raises ValueError for a class that splits text unlike the family's."""
    name = config.get("tokenizer_class")
    # None: as the first files of the kind.
    allowed = (None, *layout.classes, *(spec.classes if spec else ()))
    if not has_whole and (name or "").removesuffix("Fast") not in (
        "",
        *allowed,
    ):
        raise ValueError(
            f"`tokenizer_class` in {CONFIG_FILE} of {folder!r} must be "
            f"{' or '.join(c for c in allowed if c)}. Received: {name!r}. Add "
            f"a {TOKENIZER_FILE}, which says how it splits text."
        )


def _read_merges(file: str) -> list[Merge]:
    if not tf.io.gfile.exists(file):
        raise ValueError(
            f"{file!r} must exist beside {VOCAB_FILE}. Received: no such "
            "file. Copy it from the model."
        )
    with tf.io.gfile.GFile(file, "rb") as stream:
        content = stream.read()
    try:
        lines = content.decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{file!r} must be UTF-8 text. Received: other bytes on line "
            f"{line}. Copy it from the model again."
        ) from error
    merges = []
    for number, line in enumerate(lines, 1):
        line = line.removesuffix("\r")
        if not line or (number == 1 and line.startswith("#version")):
            continue
        parts = tuple(line.split(" "))
        if len(parts) != 2 or not all(parts):
            raise ValueError(
                f"{file!r} must have two tokens on a line. Received: "
                f"{line!r} on line {number}. Copy it from the model again."
            )
        merges.append((parts[0], parts[1]))
    return merges


class SavedVocabulary(Protocol):
    """The part of a tokenizer that all kinds write."""

    merges: list[Merge]
    model_vocab: list[str]
    vocab: list[str]
    special_tokens: SpecialTokens
    added_tokens: Sequence[AddedToken]
    template: RowTemplate[str]


class Saved(byte_pair_document.Saved, SavedVocabulary, Protocol):
    """The part of a ByteBPETokenizer that is written."""


def write(
    folder: str, tokenizer: Saved, spec: TokenizerSpec | None = None
) -> None:
    """Writes the files of a byte-level BPE tokenizer.

    Args:
        folder: Is created if missing.
        tokenizer: A ByteBPETokenizer.
        spec: Of the model's family.
    """
    config = {
        "tokenizer_class": _class_of(tokenizer, spec),
        "add_prefix_space": tokenizer.add_prefix_space,
    }
    write_files(folder, tokenizer, byte_pair_document.to_json, config)


def write_files(
    folder: str,
    tokenizer: Any,
    to_json: Callable[..., dict[str, Any]],
    config: dict[str, Any],
) -> None:
    """Writes the files of a tokenizer.

    Args:
        folder: Is created if missing.
        tokenizer: With what SavedVocabulary has.
        to_json: Returns the object of tokenizer.json; its arguments are those
            of `byte_pair_document.to_json`.
        config: More keys of tokenizer_config.json.
    """
    ids = {token: i for i, token in enumerate(tokenizer.vocab)}
    vocab = tokenizer.model_vocab
    more = tokenizer.vocab[len(vocab) :]
    tokens = tokenizer.special_tokens.as_dict()
    named = {f"{role}_token": token for role, token in tokens.items()}
    template = spelled(tokenizer.template, tokenizer.special_tokens)
    described = {token.content for token in tokenizer.added_tokens}
    added = [
        *tokenizer.added_tokens,
        *(
            AddedToken(token, special=True)
            for token in sorted(set(named.values()) - described)
        ),
    ]
    config = {
        **config,
        "clean_up_tokenization_spaces": False,
        **{f"{role}_token": tokens.get(role) for role in _USUAL_ROLES},
        "unk_token": tokens.get("eos"),
        **named,
    }
    if template.padding_side != "right":
        config["padding_side"] = template.padding_side
    lines = [
        _MERGES_HEADER,
        *(f"{left} {right}" for left, right in tokenizer.merges),
    ]
    document = to_json(
        tokenizer,
        {token: ids[token] for token in vocab},
        template=template,
        ids=ids,
        added=[
            token.to_json(ids[token.content])
            for token in sorted(added, key=lambda token: ids[token.content])
        ],
    )
    tf.io.gfile.makedirs(folder)
    model_ids = document["model"]["vocab"]
    files.write_text(folder, VOCAB_FILE, files.to_json(model_ids))
    files.write_text(folder, MERGES_FILE, "\n".join(lines) + "\n")
    files.write_text(folder, SPECIAL_TOKENS_FILE, files.to_json(named))
    files.write_text(folder, TOKENIZER_FILE, files.to_json(document))
    files.write_text(folder, CONFIG_FILE, files.to_json(config))
    if more:
        content = files.to_json({token: ids[token] for token in more})
        files.write_text(folder, added_tokens.ADDED_FILE, content)


def _class_of(tokenizer: Saved, spec: TokenizerSpec | None) -> str:
    """Returns the class that gives the same ids in Transformers.

    Args:
        tokenizer: A ByteBPETokenizer.
        spec: Of the model's family, whose classes come first.
    """
    arguments = spec.arguments if spec else {}
    split = arguments.get("pattern", "gpt2"), arguments.get("normalization")
    # A class splits text as its family does, whatever tokenizer.json says.
    # Those of a family with several kinds may read another kind.
    is_own = (
        split == (tokenizer.pattern, tokenizer.normalization)
        and not tokenizer.ignore_merges
        and (spec is None or spec.kinds == ("byte_bpe",))
    )
    for name in spec.classes if spec else ("GPT2Tokenizer",):
        if is_own or name == _ANY_CLASS:
            return name
    return _ANY_CLASS
