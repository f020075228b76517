"""Vocabularies of WordPairTokenizer as files, in the Hugging Face layout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tfllm.tokenizers import byte_pair_document, byte_pair_files, post_processor
from tfllm.tokenizers.byte_pair_document import Json, refuse
from tfllm.tokenizers.byte_pair_model import Merge
from tfllm.tokenizers.row_template import RowTemplate
from tfllm.tokenizers.spec import TokenizerSpec
from tfllm.tokenizers.special_tokens import SpecialTokens
from tfllm.tokenizers.word_pair_model import SUFFIX

TOKENS = SpecialTokens(unk="<unk>")
ROWS = byte_pair_files.GPT2_ROWS
_CLASS = "OpenAIGPTTokenizer"
_NORMALIZER: Json = {
    "type": "BertNormalizer",
    "clean_text": True,
    "handle_chinese_chars": True,
    "strip_accents": None,
    "lowercase": True,
}
# Field of the model -> the values that are built.
_MODEL_FIELDS: dict[str, tuple[Any, ...]] = {
    "dropout": (None,),
    "continuing_subword_prefix": (None, ""),
    "end_of_word_suffix": (SUFFIX,),
    "fuse_unk": (None, False),
    "byte_fallback": (None, False),
    "ignore_merges": (None, False),
}


def read_document(
    content: Json, file: str
) -> tuple[dict[str, int], list[Merge], dict[str, Any]]:
    """Reads a tokenizer.json, but for its added tokens and its rows.

    Args:
        content: The file's object.
        file: Its path, for messages.

    Raises:
        ValueError: The file is damaged, or has a field that is not supported.
    """
    model = content.get("model") or {}
    for name, allowed in _MODEL_FIELDS.items():
        refuse(file, f"model.{name}", model.get(name), allowed)
    normalizer = content.get("normalizer") or {}
    for name, value in _NORMALIZER.items():
        also = (True,) if name == "strip_accents" else ()
        refuse(file, f"normalizer.{name}", normalizer.get(name), (value, *also))
    for part, kind in (
        ("pre_tokenizer", "BertPreTokenizer"),
        ("decoder", "BPEDecoder"),
    ):
        found = (content.get(part) or {}).get("type")
        refuse(file, f"{part}.type", found, (kind,))
    suffix = content["decoder"].get("suffix")
    refuse(file, "decoder.suffix", suffix, (SUFFIX,))
    ids, merges = byte_pair_document.read_model(model, file)
    return ids, merges, {}


LAYOUT = byte_pair_files.Layout(
    "word_bpe", read_document, ROWS, TOKENS, classes=(_CLASS,)
)


def read(
    path: str, spec: TokenizerSpec | None = None
) -> tuple[list[str], list[Merge], dict[str, Any]]:
    """Reads a tokenizer folder, a tokenizer.json, or a vocab.json.

    The arguments and the result are those of `byte_pair_files.read`.
    """
    return byte_pair_files.read(path, spec, LAYOUT)


def to_json(
    tokenizer: Any,
    vocab: dict[str, int],
    *,
    template: RowTemplate[str],
    ids: Mapping[str, int],
    added: Sequence[Json],
) -> Json:
    """Returns the object of a tokenizer.json.

    The arguments are those of `byte_pair_document.to_json`.
    """
    has_rows = template.opens or template.closes
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": list(added),
        "normalizer": _NORMALIZER,
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": (
            post_processor.to_json(template, ids) if has_rows else None
        ),
        "decoder": {"type": "BPEDecoder", "suffix": SUFFIX},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": tokenizer.special_tokens.unk,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": SUFFIX,
            "fuse_unk": False,
            "byte_fallback": False,
            "vocab": vocab,
            "merges": [list(merge) for merge in tokenizer.merges],
        },
    }


def write(
    folder: str, tokenizer: Any, spec: TokenizerSpec | None = None
) -> None:
    """Writes the files of a WordPairTokenizer.

    Args:
        folder: Is created if missing.
        tokenizer: A WordPairTokenizer.
        spec: Of the model's family.
    """
    classes = spec.classes if spec else ()
    config = {"tokenizer_class": (*classes, _CLASS)[0]}
    byte_pair_files.write_files(folder, tokenizer, to_json, config)
