"""The folder of a BERT tokenizer, in the Hugging Face layout."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import Any, Protocol

import tensorflow as tf

from tfllm.tokenizers import (
    added_tokens,
    files,
    row_options,
    vocabulary,
    wordpiece_document,
)
from tfllm.tokenizers.files import (
    CONFIG_FILE,
    SPECIAL_TOKENS_FILE,
    TOKENIZER_FILE,
)
from tfllm.tokenizers.row_template import RowTemplate, Segments, spelled
from tfllm.tokenizers.spec import TokenizerSpec
from tfllm.tokenizers.special_tokens import (
    BERT_TOKENS,
    AddedToken,
    SpecialTokens,
)
from tfllm.tokenizers.vocabulary import VOCAB_FILE

logger = logging.getLogger(__name__)

# The rows where the files do not say.
BERT_ROWS = RowTemplate(
    pad="pad",
    opens=("cls",),
    between=("sep",),
    closes=("sep",),
    segments=Segments(),
)

# Argument of WordPieceTokenizer -> key of tokenizer_config.json, its values.
_CONFIG_KEYS: dict[str, tuple[str, tuple[bool | None, ...]]] = {
    "lowercase": ("do_lower_case", (True, False)),
    "strip_accents": ("strip_accents", (True, False, None)),
    "tokenize_chinese_chars": ("tokenize_chinese_chars", (True, False)),
}
# Classes of Transformers that split text as BERT does, without the ending
# "Fast". Others need a tokenizer.json, which says how.
_CLASSES: tuple[str, ...] = (
    "Bert",
    "DistilBert",
    "Electra",
    "MobileBert",
    "ConvBert",
)
_CLASSES += ("SqueezeBert", "Lxmert", "RetriBert", "LayoutLM")
_TOKENIZER_CLASSES = tuple(f"{name}Tokenizer" for name in _CLASSES)


def read(
    path: str, spec: TokenizerSpec | None = None, **overrides: Any
) -> tuple[list[str], dict[str, Any]]:
    """Reads a vocabulary file or a tokenizer folder.

    Args:
        path: A file of one token per line, a tokenizer.json, or a folder with
            one of them, and perhaps the other files of a tokenizer. Where
            tokenizer.json contradicts another file, it wins, and a warning
            says so.
        spec: What the family says, where the files are silent.
        **overrides: Arguments of WordPieceTokenizer that win over the files.
            `lowercase` None leaves it to them.

    Returns:
        The tokens of the model, and all arguments of the tokenizer. Where
        nothing says whether to lower-case, the vocabulary decides, and a
        warning says how.

    Raises:
        ValueError: The path is missing, has no vocabulary, or asks for
            something that is not supported.
    """
    path = os.fspath(path)
    folder, name = (
        (path, "") if tf.io.gfile.isdir(path) else os.path.split(path)
    )
    whole = os.path.join(folder, TOKENIZER_FILE)
    template = spec.template if spec else BERT_ROWS
    arguments: dict[str, Any] = {"template": template}
    if name == TOKENIZER_FILE or (not name and tf.io.gfile.exists(whole)):
        vocab, arguments = _read_whole(folder, whole, template)
        source = f"tokenizer file {whole!r}"
    else:
        file = os.path.join(folder, name or VOCAB_FILE)
        vocab = vocabulary.read(path, file)
        source = f"vocabulary file {file!r}"
        if not name:
            arguments |= _read_parts(folder, spec)
    if not name or name == TOKENIZER_FILE:
        arguments["added_tokens"] = added_tokens.read(folder, vocab)
        arguments["template"] = row_options.with_sides(
            arguments["template"],
            _read_config(folder),
            os.path.join(folder, CONFIG_FILE),
        )
    if overrides.get("lowercase", True) is None:
        del overrides["lowercase"]
    arguments |= overrides
    special_tokens = arguments.get("special_tokens") or BERT_TOKENS
    known = set(vocab)
    added = [token.content for token in arguments.get("added_tokens", ())]
    vocabulary.check_tokens(
        [*vocab, *(content for content in added if content not in known)],
        source,
        special_tokens,
    )
    if arguments.get("lowercase") is None:
        arguments["lowercase"] = _decide_case(vocab, special_tokens, source)
    return vocab, arguments


def _read_whole(
    folder: str, file: str, template: RowTemplate[str]
) -> tuple[list[str], dict[str, Any]]:
    """Reads a tokenizer.json, and what the other files add."""
    content = files.read_json(file)
    vocab, arguments = wordpiece_document.read(content, template, file)
    config = _read_config(folder)
    names = [role for role in BERT_TOKENS.as_dict() if role in arguments]
    tokens = {role: arguments.pop(role) for role in names}
    _warn_of_others(file, tokens, _roles(config))
    roles = {**_roles(config), **tokens}
    said = {
        argument: config[key]
        for argument, (key, _) in _CONFIG_KEYS.items()
        if key in config
    }
    _warn_of_others(file, arguments, said)
    arguments["special_tokens"] = BERT_TOKENS.with_roles(roles)
    lines = os.path.join(folder, VOCAB_FILE)
    if tf.io.gfile.exists(lines) and vocabulary.read(folder, lines) != vocab:
        raise ValueError(
            f"{lines!r} must have the tokens of {TOKENIZER_FILE}. Received: "
            "other tokens. Delete the file that is out of date."
        )
    return vocab, arguments


def _warn_of_others(
    file: str, winners: dict[str, Any], others: dict[str, Any]
) -> None:
    """Warns of what other files than tokenizer.json say otherwise."""
    for name in sorted(winners.keys() & others.keys()):
        if winners[name] != others[name]:
            files.warn_once(
                f"{file} says {name} = {winners[name]!r} and wins over "
                f"{CONFIG_FILE}, which says {others[name]!r}."
            )


def _read_parts(folder: str, spec: TokenizerSpec | None) -> dict[str, Any]:
    """Returns the arguments that files beside a vocab.txt set."""
    config = _read_config(folder)
    classes = tuple(
        dict.fromkeys((*_TOKENIZER_CLASSES, *(spec.classes if spec else ())))
    )
    name = config.get("tokenizer_class") or _TOKENIZER_CLASSES[0]
    rules: dict[str, tuple[Any, Sequence[Any]]] = {
        "tokenizer_class": (name.removesuffix("Fast"), classes),
        "do_basic_tokenize": (config.get("do_basic_tokenize"), (None, True)),
        "never_split": (config.get("never_split"), (None, [])),
    }
    arguments: dict[str, Any] = {}
    for argument, (key, choices) in _CONFIG_KEYS.items():
        if key in config:
            rules[key] = config[key], choices
            arguments[argument] = config[key]
    for key, (value, allowed) in rules.items():
        if not any(value == a and type(value) is type(a) for a in allowed):
            raise ValueError(
                f"`{key}` in {CONFIG_FILE} of {folder!r} must be "
                f"{' or '.join(map(repr, allowed))}. Received: "
                f"{config[key]!r}. Correct the file, or add a "
                f"{TOKENIZER_FILE}."
            )
    return {
        **arguments,
        "special_tokens": BERT_TOKENS.with_roles(_roles(config)),
    }


def _read_config(folder: str) -> dict[str, Any]:
    config = files.read_json(os.path.join(folder, SPECIAL_TOKENS_FILE))
    return config | files.read_json(os.path.join(folder, CONFIG_FILE))


def _roles(config: dict[str, Any]) -> dict[str, str]:
    """Returns the special tokens that a config names, by role."""
    roles = {}
    for role in BERT_TOKENS.as_dict():
        token = config.get(f"{role}_token")
        if isinstance(token, dict):
            token = token.get("content")
        if token is not None:
            roles[role] = token
    return roles


def _decide_case(
    vocab: Sequence[str], special_tokens: SpecialTokens, source: str
) -> bool:
    """Returns whether to lower-case, as the vocabulary says."""
    capitals, cased = vocabulary.count_capitals(vocab, special_tokens.all())
    is_cased = vocabulary.is_cased(capitals, cased)
    logger.warning(
        "%s does not say whether to lower-case text: %d of its %d tokens with "
        "letters have capitals, so text %s. --lower_case, or `lowercase` in "
        "Python, says otherwise.",
        source,
        capitals,
        cased,
        "keeps its case" if is_cased else "is lower-cased",
    )
    return not is_cased


class Saved(Protocol):
    """The part of a WordPieceTokenizer that is written."""

    model_vocab: list[str]
    vocab: list[str]
    special_tokens: SpecialTokens
    added_tokens: Sequence[AddedToken]
    lowercase: bool
    strip_accents: bool | None
    tokenize_chinese_chars: bool
    max_word_chars: int
    clean_up: bool
    template: RowTemplate[str]


def write(
    folder: str, tokenizer: Saved, spec: TokenizerSpec | None = None
) -> None:
    """Writes the files of a BERT tokenizer.

    Args:
        folder: Is created if missing.
        tokenizer: A WordPieceTokenizer.
        spec: Of the model's family.
    """
    classes = spec.classes if spec else ()
    vocab = tokenizer.vocab
    broken = [token for token in vocab if "\n" in token or "\r" in token]
    if broken:
        raise ValueError(
            "`vocab` must have no token with a line break to be written as "
            f"lines. Received: {broken[0]!r}. Remove it."
        )
    roles = tokenizer.special_tokens.as_dict()
    names = {f"{role}_token": token for role, token in roles.items()}
    config = {
        "clean_up_tokenization_spaces": True,
        **{
            key: getattr(tokenizer, argument)
            for argument, (key, _) in _CONFIG_KEYS.items()
        },
        **names,
        "tokenizer_class": (*classes, "BertTokenizer")[0],
    }
    if tokenizer.template.padding_side != "right":
        config["padding_side"] = tokenizer.template.padding_side
    ids = {token: i for i, token in enumerate(vocab)}
    described = {token.content for token in tokenizer.added_tokens}
    added = [
        *tokenizer.added_tokens,
        *(
            AddedToken(t, special=True)
            for t in roles.values()
            if t not in described
        ),
    ]
    document = wordpiece_document.to_json(
        {token: ids[token] for token in tokenizer.model_vocab},
        arguments=vars(tokenizer),
        unk=roles["unk"],
        template=spelled(tokenizer.template, tokenizer.special_tokens),
        added=[
            token.to_json(ids[token.content])
            for token in sorted(added, key=lambda token: ids[token.content])
        ],
    )
    lines = "".join(f"{token}\n" for token in tokenizer.model_vocab)
    more = {token: ids[token] for token in vocab[len(tokenizer.model_vocab) :]}
    tf.io.gfile.makedirs(folder)
    files.write_text(folder, VOCAB_FILE, lines)
    files.write_text(folder, CONFIG_FILE, files.to_json(config))
    files.write_text(folder, SPECIAL_TOKENS_FILE, files.to_json(names))
    files.write_text(folder, TOKENIZER_FILE, files.to_json(document))
    if more:
        files.write_text(folder, added_tokens.ADDED_FILE, files.to_json(more))
