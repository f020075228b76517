"""SentencePiece models as files, in the Hugging Face layout.

A folder that this module writes has a tokenizer.model, from which tfllm reads
the tokenizer again, and the tokenizer.json made from it, which Transformers
reads. tokenizer_config.json has the hash of the latter: another tokenizer.json
wins over the model, as in Transformers.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Collection, Sequence
from typing import Any, Protocol

import tensorflow as tf

from tfllm.tokenizers import (
    added_tokens,
    files,
    post_processor,
    row_options,
    sentence_piece_classes,
    sentence_piece_document,
    sentence_piece_model,
    sentence_piece_options,
    sentence_piece_writer,
)
from tfllm.tokenizers.files import (
    CONFIG_FILE,
    SPECIAL_TOKENS_FILE,
    TOKENIZER_FILE,
)
from tfllm.tokenizers.row_template import RowTemplate, spelled
from tfllm.tokenizers.sentence_piece_model import Model
from tfllm.tokenizers.sentence_piece_rules import TextRules
from tfllm.tokenizers.spec import TokenizerSpec
from tfllm.tokenizers.special_tokens import ROLES, AddedToken, SpecialTokens

MODEL_FILE = "tokenizer.model"
# Of models that were published with another name; T5 and ALBERT; XLM-R.
_FAIRSEQ_FILE = "sentencepiece.bpe.model"
MODEL_FILES = (MODEL_FILE, "spiece.model", _FAIRSEQ_FILE)
LLAMA_ROWS = RowTemplate(pad="eos", opens=("bos",), between=("bos",))
# Adds 100 sentinels where the config does not say how many.
_SENTINEL_CLASS = "T5Tokenizer"
_SENTINEL = re.compile(r"<extra_id_(\d+)>")
# In tokenizer_config.json: the hash of a tokenizer.model and the
# tokenizer.json that was made from it.
_OWN_KEY = "tfllm"
_HASH_KEY = "sha256_of_model_and_json"


def read(
    path: str, spec: TokenizerSpec | None = None
) -> tuple[Model, dict[str, Any]]:
    """Reads a tokenizer folder, a tokenizer.json, or a tokenizer.model.

    Args:
        path: A folder with tokenizer.json or one of `MODEL_FILES`, of which
            tokenizer.json wins unless `write` made it from the model; or one
            of these files.
        spec: What the family says, where the files are silent.

    Returns:
        The ModelProto, and the arguments of the tokenizer that the files set.

    Raises:
        ValueError: A file is missing or damaged, or asks for something that
            is not supported.
    """
    path = os.fspath(path)
    folder, name = (
        (path, "") if tf.io.gfile.isdir(path) else os.path.split(path)
    )
    config_file = os.path.join(folder, CONFIG_FILE)
    config = files.read_json(os.path.join(folder, SPECIAL_TOKENS_FILE))
    config |= files.read_json(config_file)
    whole = os.path.join(folder, TOKENIZER_FILE)
    template = spec.template if spec else LLAMA_ROWS
    # Those of a family are for its first kind.
    arguments: dict[str, Any] = {}
    if spec and spec.kind == "sentence_piece":
        arguments |= spec.arguments
    stated = None
    is_derived = name != TOKENIZER_FILE and _is_derived(whole, config)
    reads_whole = name == TOKENIZER_FILE or (
        not name and tf.io.gfile.exists(whole) and not is_derived
    )
    class_name = _class_name(config, spec)
    cleans = sentence_piece_classes.CLEANING.get(class_name)
    if reads_whole:
        content = files.read_json(whole)
        model, said = _read_document(content, whole, _special_entries(content))
        arguments |= said
        stated = post_processor.read(content.get("post_processor"), whole)
    elif cleans and not is_derived:
        sentence_piece_options.check_kwargs(config, config_file)
        model = _read_model(folder, name, class_name)
        config = {**_roles_in(model, cleans.special_tokens), **config}
        model, said = cleaned(model, class_name, config, config_file)
        arguments |= said
        if not (spec and class_name in spec.classes):
            template = cleans.template
    else:
        sentence_piece_options.check(config, config_file)
        model = _read_model(folder, name, class_name)
        model, rules_of_prefix = sentence_piece_options.apply_prefix(
            model, config, config_file
        )
        arguments |= rules_of_prefix
        if is_derived:
            processor = files.read_json(whole).get("post_processor")
            stated = post_processor.read(processor, whole)
        else:
            template = row_options.with_ends(template, config, config_file)
    vocab = [piece.piece for piece in model.pieces]
    added = added_tokens.read(folder, vocab, reads_whole=not is_derived)
    if not reads_whole:
        stated_ids = _stated_ids(folder, config)
        added = _with_sentinels(added, vocab, config, spec, stated_ids)
    special = _special_tokens(folder, config, model, added, spec)
    if stated is not None:
        template = stated.apply(template)
    elif reads_whole or is_derived:
        template = template.without_special_tokens()
    if reads_whole:
        rules = arguments["text_rules"]
        _check_added(added, model, rules, special, whole)
        row_options.warn_of_ends(template, config, special.as_dict(), whole)
    return model, {
        **arguments,
        "added_tokens": added,
        "special_tokens": special,
        "template": row_options.with_sides(template, config, config_file),
    }


def _class_name(config: dict[str, Any], spec: TokenizerSpec | None) -> str:
    """Returns the class that the config, or else the family, names."""
    usual = spec.classes[0] if spec and spec.classes else ""
    name: str = config.get("tokenizer_class") or usual
    return name.removesuffix("Fast")


def _roles_in(model: Model, tokens: SpecialTokens) -> dict[str, str]:
    """Returns keys of tokenizer_config.json for tokens that a model has."""
    pieces = {piece.piece for piece in model.pieces}
    roles = tokens.as_dict().items()
    return {f"{role}_token": token for role, token in roles if token in pieces}


def cleaned(
    model: Model, class_name: str, config: dict[str, Any], file: str
) -> tuple[Model, dict[str, Any]]:
    """Returns a model whose texts a class cleans, and arguments for it.

    Args:
        model: The ModelProto.
        class_name: Key of `sentence_piece_classes.CLEANING`.
        config: The content of tokenizer_config.json.
        file: Its path, for messages.

    Raises:
        ValueError: The model or an option does not fit the class.
    """
    content = sentence_piece_classes.document(model, class_name, config)
    ids = sentence_piece_model.of_type(model, "CONTROL")
    control = [model.pieces[i].piece for i in ids]
    return _read_document(content, file, control)


def _read_document(
    content: dict[str, Any], file: str, control: Sequence[str]
) -> tuple[Model, dict[str, Any]]:
    """Returns the model of a tokenizer.json, and arguments of the tokenizer."""
    said = sentence_piece_document.read(content, file, control)
    return said.model, {
        "text_rules": said.text_rules,
        "decoding": said.decoding,
        "document": files.to_json(content),
    }


def _is_derived(whole: str, config: dict[str, Any]) -> bool:
    """Whether a tokenizer.json was made from the model beside it."""
    recorded = (config.get(_OWN_KEY) or {}).get(_HASH_KEY)
    paths = (os.path.join(os.path.dirname(whole), MODEL_FILE), whole)
    if recorded is None or not all(map(tf.io.gfile.exists, paths)):
        return False
    contents = []
    for path in paths:
        with tf.io.gfile.GFile(path, "rb") as stream:
            contents.append(stream.read())
    if _hash(*contents) == recorded:
        return True
    files.warn_once(
        f"{whole} was not made from the {MODEL_FILE} beside it and wins over "
        "it. Delete the file that is out of date."
    )
    return False


def _hash(model: bytes, document: bytes) -> str:
    return hashlib.sha256(model + document).hexdigest()


def _with_sentinels(
    added: Sequence[AddedToken],
    vocab: Sequence[str],
    config: dict[str, Any],
    spec: TokenizerSpec | None,
    stated_ids: Collection[str],
) -> list[AddedToken]:
    """Returns added tokens with T5's sentinels, numbered downwards.

    `<extra_id_0>` has the highest id, as in the published models.

    Args:
        added: Added tokens; those outside the model in the order of their ids.
        vocab: The tokens of the model.
        config: The content of tokenizer_config.json.
        spec: Of the family.
        stated_ids: Tokens whose id a file states.
    """
    known = {*vocab, *(token.content for token in added)}
    default = 100 if _class_name(config, spec) == _SENTINEL_CLASS else 0
    if any(map(_SENTINEL.fullmatch, known)):
        default = 0
    count = config.get("extra_ids", default)
    more = [
        AddedToken(f"<extra_id_{number}>", special=True)
        for number in range(count)
        if f"<extra_id_{number}>" not in known
    ]
    tokens = [*added, *more]
    open_places = [
        place
        for place, token in enumerate(tokens)
        if _SENTINEL.fullmatch(token.content)
        and token.content not in stated_ids
        and token.content not in vocab
    ]
    downwards = sorted(
        (tokens[place] for place in open_places),
        key=lambda token: -int(_SENTINEL.fullmatch(token.content)[1]),  # type: ignore[index]
    )
    for place, token in zip(open_places, downwards, strict=True):
        tokens[place] = token
    return tokens


def _stated_ids(folder: str, config: dict[str, Any]) -> set[str]:
    """Returns the added tokens whose id a file states."""
    path = os.path.join(folder, added_tokens.ADDED_FILE)
    entries = (config.get("added_tokens_decoder") or {}).values()
    return {*files.read_json(path), *(entry["content"] for entry in entries)}


def _special_entries(content: dict[str, Any]) -> list[str]:
    """Returns the special tokens of a tokenizer.json."""
    entries = content.get("added_tokens") or ()
    return [e["content"] for e in entries if e.get("special")]


def _read_model(folder: str, name: str, class_name: str) -> Model:
    """Returns the model of a folder, or of its file `name`."""
    names = [name] if name else list(MODEL_FILES)
    paths = [os.path.join(folder, n) for n in names]
    present = [path for path in paths if tf.io.gfile.exists(path)]
    if not present:
        raise ValueError(
            f"{folder!r} must have a SentencePiece model. Received: none of "
            f"{', '.join(names)}, nor a {TOKENIZER_FILE}. Make one with "
            "tools/build_vocab.py --kind=sentencepiece, or correct the path."
        )
    with tf.io.gfile.GFile(present[0], "rb") as stream:
        model = sentence_piece_model.parse(stream.read(), present[0])
    if class_name in sentence_piece_classes.OFFSETS:
        return sentence_piece_classes.in_order(model, class_name)
    if os.path.basename(present[0]) == _FAIRSEQ_FILE:
        raise ValueError(
            f"`tokenizer_class` in {CONFIG_FILE} beside {present[0]!r} must be "
            f"{' or '.join(sentence_piece_classes.OFFSETS)}: models with a "
            "file of this name number their tokens in other ways than the "
            f"file does. Received: {class_name!r}. Add the {TOKENIZER_FILE} "
            "of the model."
        )
    return model


def named_tokens(model: Model) -> SpecialTokens:
    """Returns the special tokens that a model names."""
    trainer = model.trainer_spec
    pieces = {piece.piece for piece in model.pieces}
    tokens: dict[str, Any] = {}
    for role in ("unk", "bos", "eos", "pad"):
        piece = getattr(trainer, f"{role}_piece")
        number = getattr(trainer, f"{role}_id")
        if number >= 0 and piece in pieces:
            tokens[role] = piece
    tokens["unk"] = model.pieces[sentence_piece_model.unknown_id(model)].piece
    return SpecialTokens(**tokens)


def _special_tokens(
    folder: str,
    config: dict[str, Any],
    model: Model,
    added: Sequence[AddedToken],
    spec: TokenizerSpec | None,
) -> SpecialTokens:
    """Returns the special tokens that the config, or else the model, names."""
    known = {piece.piece for piece in model.pieces}
    known |= {token.content for token in added}
    usual = spec.special_tokens.as_dict() if spec else {}
    tokens: dict[str, Any] = {r: t for r, t in usual.items() if t in known}
    tokens |= named_tokens(model).as_dict()
    for role in ROLES:
        token = config.get(f"{role}_token", tokens.get(role))
        if isinstance(token, dict):
            token = token.get("content")
        if token is not None and token not in known:
            raise ValueError(
                f"`{role}_token` of {folder!r} must be in the vocabulary. "
                f"Received: {token!r}. Correct {CONFIG_FILE}, or add the token "
                f"to {added_tokens.ADDED_FILE}."
            )
        if token is None:
            tokens.pop(role, None)
        else:
            tokens[role] = token
    return SpecialTokens(**tokens)


def _check_added(
    added: Sequence[AddedToken],
    model: Model,
    rules: TextRules,
    special: SpecialTokens,
    file: str,
) -> None:
    """Raises ValueError for tokens that a normalizer would change."""
    changes = rules.form or rules.steps
    if not (model.normalizer_spec.add_dummy_prefix or changes):
        return
    for token in added:
        if token.normalized and token.content not in special.all():
            raise ValueError(
                f"`normalized` of the added token {token.content!r} in "
                f"{file!r} must be false: the normalizer would put a space "
                "before the token or rewrite it. Received: true. Correct the "
                "file."
            )


class Saved(Protocol):
    """The part of a SentencePieceTokenizer that is written."""

    model: Model
    document: str | None
    text_rules: TextRules
    vocab: list[str]
    model_vocab: list[str]
    special_tokens: SpecialTokens
    added_tokens: Sequence[AddedToken]
    template: RowTemplate[str]


def write(folder: str, tokenizer: Saved) -> None:
    """Writes a tokenizer folder.

    A tokenizer that was read from a tokenizer.json is written as one; others
    are written as a tokenizer.model and the tokenizer.json made from it.

    Args:
        folder: Is created if missing.
        tokenizer: A SentencePieceTokenizer.
    """
    ids = {token: i for i, token in enumerate(tokenizer.vocab)}
    roles = tokenizer.special_tokens.as_dict()
    named = {f"{role}_token": token for role, token in roles.items()}
    template = spelled(tokenizer.template, tokenizer.special_tokens)
    document = _document(tokenizer, template, ids)
    config: dict[str, Any] = {
        "tokenizer_class": _class_of(tokenizer, document is not None),
        **_ends(template, roles),
        "clean_up_tokenization_spaces": False,
        # LLaMA's word for a "▁" before each part of a text.
        "legacy": tokenizer.text_rules.prefix != "opening",
        **named,
        "added_tokens_decoder": {
            str(entry.pop("id")): entry
            for entry in _added_entries(tokenizer, ids)
        },
    }
    if template.padding_side != "right":
        config["padding_side"] = template.padding_side
    content = tokenizer.model.SerializeToString(deterministic=True)
    text = "" if document is None else files.to_json(document)
    tf.io.gfile.makedirs(folder)
    if tokenizer.document is None:
        files.write_bytes(folder, MODEL_FILE, content)
        if text:
            config[_OWN_KEY] = {_HASH_KEY: _hash(content, text.encode())}
    whole = os.path.join(folder, TOKENIZER_FILE)
    if text:
        files.write_text(folder, TOKENIZER_FILE, text)
    elif tf.io.gfile.exists(whole):
        tf.io.gfile.remove(whole)  # It would win over the model.
    files.write_text(folder, SPECIAL_TOKENS_FILE, files.to_json(named))
    files.write_text(folder, CONFIG_FILE, files.to_json(config))
    more = tokenizer.vocab[len(tokenizer.model_vocab) :]
    if more:
        content_of = files.to_json({token: ids[token] for token in more})
        files.write_text(folder, added_tokens.ADDED_FILE, content_of)


def _document(
    tokenizer: Saved, template: RowTemplate[str], ids: dict[str, int]
) -> dict[str, Any] | None:
    """Returns the content of tokenizer.json; None if it cannot say the model.

    Args:
        tokenizer: A SentencePieceTokenizer.
        template: Its rows, spelled.
        ids: Token -> id.
    """
    rows = post_processor.to_json(template, ids)
    entries = _added_entries(tokenizer, ids)
    if tokenizer.document is not None:
        document: dict[str, Any] = json.loads(tokenizer.document)
        document["added_tokens"] = entries
        document["post_processor"] = rows
        return document
    described = {entry["content"] for entry in entries}
    for kind, special in (("CONTROL", True), ("USER_DEFINED", False)):
        for number in sentence_piece_model.of_type(tokenizer.model, kind):
            piece = tokenizer.vocab[number]
            if piece not in described:
                token = AddedToken(piece, special=special)
                entries.append(token.to_json(number))
    entries.sort(key=lambda entry: entry["id"])
    return sentence_piece_writer.to_json(
        tokenizer.model,
        tokenizer.text_rules,
        added=entries,
        post_processor=rows,
    )


def _ends(template: RowTemplate[str], roles: dict[str, str]) -> dict[str, bool]:
    """Returns `add_bos_token` and `add_eos_token` where they say the rows.

    Transformers makes the rows of these two wherever they are named.
    """
    bos, eos = roles.get("bos"), roles.get("eos")
    opens, closes = template.opens, template.closes
    between = (*closes, *opens)
    if opens not in ((), (bos,)) or closes not in ((), (eos,)):
        return {}
    if template.between != between:
        return {}
    return {"add_bos_token": bool(opens), "add_eos_token": bool(closes)}


def _added_entries(
    tokenizer: Saved, ids: dict[str, int]
) -> list[dict[str, Any]]:
    """Returns the entries of added tokens and special ones, by id."""
    described = {token.content for token in tokenizer.added_tokens}
    roles = dict.fromkeys(tokenizer.special_tokens.all())
    tokens = [
        *tokenizer.added_tokens,
        *(AddedToken(t, special=True) for t in roles if t not in described),
    ]
    tokens.sort(key=lambda token: ids[token.content])
    return [token.to_json(ids[token.content]) for token in tokens]


def _class_of(tokenizer: Saved, has_document: bool) -> str:
    """Returns the class that loads the files in Transformers.

    NOTE: LlamaTokenizer and T5Tokenizer of Transformers 5 take only vocabulary
    and merges from tokenizer.json, and put no "▁" before a text that begins
    with a space, unlike SentencePiece.
    """
    if has_document:
        return "PreTrainedTokenizerFast"
    if sentence_piece_model.is_unigram(tokenizer.model):
        return "T5Tokenizer"
    return "LlamaTokenizer"
