"""Reads and writes the tokenizer.json of a BERT tokenizer.

A field that is not supported is refused, with its value.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

from tfllm.tokenizers import files, post_processor
from tfllm.tokenizers.row_template import RowTemplate
from tfllm.tokenizers.word_names import CONTINUATION

Json = dict[str, Any]

# Field of BERT's normalizer -> argument of the tokenizer.
_SWITCHES = {
    "lowercase": "lowercase",
    "strip_accents": "strip_accents",
    "handle_chinese_chars": "tokenize_chinese_chars",
}


def read(
    content: Json, template: RowTemplate[str], file: str
) -> tuple[list[str], Json]:
    """Reads a tokenizer.json, but for its added tokens.

    NOTE: `truncation` and `padding` are not read: they are choices of a call,
    as in Transformers.

    Args:
        content: The file's object.
        template: The rows of the model, where the file does not say.
        file: Its path, for messages.

    Returns:
        The tokens of the model by id, and arguments of WordPieceTokenizer,
        with `cls`, `sep` and `unk` as the file spells them.

    Raises:
        ValueError: The file is damaged, or has a field that is not supported.
    """
    model = content.get("model") or {}
    ids = model.get("vocab")
    if model.get("type") != "WordPiece" or not isinstance(ids, dict):
        raise ValueError(
            f"tokenizer file {file!r} must hold a WordPiece model. Received: "
            f"{model.get('type')!r}. Give the tokenizer of a BERT model."
        )
    vocab = files.in_order(ids, file)
    prefix = model.get("continuing_subword_prefix", CONTINUATION)
    _require(file, "model.continuing_subword_prefix", prefix, (CONTINUATION,))
    max_chars = model.get("max_input_chars_per_word", 100)
    is_count = isinstance(max_chars, int) and not isinstance(max_chars, bool)
    if not is_count or max_chars < 1:
        raise ValueError(
            f"`model.max_input_chars_per_word` of {file!r} must be an integer "
            f"above 0. Received: {max_chars!r}. Correct the file."
        )
    splitter = _only_part(content, "pre_tokenizer", "pretokenizers", file)
    name = splitter.get("type")
    _require(file, "pre_tokenizer.type", name, ("BertPreTokenizer",))
    decoder = content.get("decoder") or {}
    _require(file, "decoder.type", decoder.get("type"), ("WordPiece",))
    prefix = decoder.get("prefix", CONTINUATION)
    _require(file, "decoder.prefix", prefix, (CONTINUATION,))
    arguments = {
        "max_word_chars": max_chars,
        "clean_up": decoder.get("cleanup", True),
        **_normalizer_arguments(content, file),
    }
    template = _template(content, template, file)
    tokens: Json = {}
    if template.opens:
        tokens["cls"] = template.opens[0]
    if template.closes:
        tokens["sep"] = template.closes[-1]
    if "unk_token" in model:
        tokens["unk"] = model["unk_token"]
    return vocab, {**arguments, "template": template, **tokens}


def _only_part(content: Json, field: str, parts: str, file: str) -> Json:
    """Returns a component, or the only one of a sequence."""
    component = content.get(field) or {}
    if component.get("type") == "Sequence" and component.get(parts):
        kinds = [part.get("type") for part in component[parts]]
        if len(kinds) > 1:
            _refuse(file, field, kinds, "one component, that of BERT")
        return dict(component[parts][0])
    return dict(component)


def _normalizer_arguments(content: Json, file: str) -> Json:
    normalizer = _only_part(content, "normalizer", "normalizers", file)
    kind = normalizer.get("type")
    _require(file, "normalizer.type", kind, ("BertNormalizer",))
    clean = normalizer.get("clean_text", True)
    _require(file, "normalizer.clean_text", clean, (True,))
    arguments = {}
    for field, argument in _SWITCHES.items():
        if field in normalizer:
            value = normalizer[field]
            allowed = (
                (True, False, None)
                if argument == "strip_accents"
                else (True, False)
            )
            _require(file, f"normalizer.{field}", value, allowed)
            arguments[argument] = value
    return arguments


def _template(
    content: Json, template: RowTemplate[str], file: str
) -> RowTemplate[str]:
    """Returns the rows that the post-processor makes, as a template."""
    processor = content.get("post_processor")
    stated = post_processor.read(processor, file)
    if stated is None:
        kind = (processor or {}).get("type")
        _refuse(file, "post_processor.type", kind, "one that adds tokens")
    return stated.apply(template)


def _require(file: str, field: str, value: Any, allowed: Sequence[Any]) -> None:
    """Raises ValueError unless a field has one of the allowed values."""
    if not any(
        value is a or (value == a and type(value) is type(a)) for a in allowed
    ):
        _refuse(file, field, value, " or ".join(map(repr, allowed)))


def _refuse(file: str, field: str, value: Any, rule: str) -> NoReturn:
    raise ValueError(
        f"`{field}` of {file!r} must be {rule}: the tokenizer in the graph is "
        f"BERT's. Received: {value!r}. Give the tokenizer of a BERT model."
    )


def to_json(
    ids: dict[str, int],
    *,
    arguments: Json,
    unk: str,
    template: RowTemplate[str],
    added: Sequence[Json],
) -> Json:
    """Returns the object of a tokenizer.json.

    Args:
        ids: Id of each token of the model.
        arguments: `lowercase`, `strip_accents`, `tokenize_chinese_chars`,
            `max_word_chars` and `clean_up` of the tokenizer.
        unk: The unknown token.
        template: The rows; tokens as they are spelled.
        added: Entries of added tokens.
    """
    all_ids = {**ids, **{entry["content"]: entry["id"] for entry in added}}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": list(added),
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": True,
            **{field: arguments[name] for field, name in _SWITCHES.items()},
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": post_processor.to_json(template, all_ids),
        "decoder": {
            "type": "WordPiece",
            "prefix": CONTINUATION,
            "cleanup": arguments["clean_up"],
        },
        "model": {
            "type": "WordPiece",
            "unk_token": unk,
            "continuing_subword_prefix": CONTINUATION,
            "max_input_chars_per_word": arguments["max_word_chars"],
            "vocab": ids,
        },
    }
