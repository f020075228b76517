"""A SentencePiece model as a tokenizer.json, for Transformers.

The ids are those of the `sentencepiece` package but for what the `tokenizers`
package does in another way; docs/text.md counts the lines.

A piece of a BPE model gets one merge: the last one of its own encoding. Of two
neighbours that spell a piece, `sentencepiece` always joins the two which that
merge joins; see `sentence_piece_document`.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from tfllm.tokenizers import sentence_piece_model as models
from tfllm.tokenizers.byte_pair_model import Merge
from tfllm.tokenizers.character_steps import ENDS
from tfllm.tokenizers.sentence_piece_model import SPACE, Model
from tfllm.tokenizers.sentence_piece_rules import TextRules

Json = dict[str, Any]

_TO_SPACE = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
# Normalizers of the `sentencepiece` package.
_FORMED = ("nfkc", "nmt_nfkc", "nfkc_cf", "nmt_nfkc_cf")


def to_json(
    model: Model,
    rules: TextRules,
    *,
    added: Sequence[Json],
    post_processor: Json,
) -> Json | None:
    """Returns the content of a tokenizer.json.

    Args:
        model: The ModelProto.
        rules: What is done to texts besides its normalizer.
        added: Entries of the added tokens, special ones among them.
        post_processor: The rows.

    Returns:
        None for a model with unused pieces, which `tokenizers` cannot say.
    """
    if models.of_type(model, "UNUSED"):
        return None
    opens_only = rules.prefix == "opening"
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": list(added),
        "normalizer": _normalizer(model, opens_only),
        "pre_tokenizer": _metaspace() if opens_only else None,
        "post_processor": post_processor,
        "decoder": _decoder(model),
        "model": _unigram(model) if models.is_unigram(model) else _bpe(model),
    }


def _metaspace() -> Json:
    return {
        "type": "Metaspace",
        "replacement": SPACE,
        "prepend_scheme": "first",
        "split": False,
    }


def _normalizer(model: Model, opens_only: bool) -> Json | None:
    """Returns what turns a text into one with "▁" for each space."""
    spec = model.normalizer_spec
    parts: list[Json] = []
    if spec.name in _FORMED:
        # Composes texts of several characters, which Precompiled of
        # `tokenizers` does only where they have less than six bytes.
        parts.append({"type": "NFKC"})
        if spec.name.endswith("_cf"):
            parts.append({"type": "Lowercase"})
        if spec.name.startswith("nmt_"):
            parts.append(_replace("String", "\r\n", "  "))
    if spec.precompiled_charsmap:
        charsmap = base64.b64encode(spec.precompiled_charsmap).decode()
        parts.append({"type": "Precompiled", "precompiled_charsmap": charsmap})
    if spec.remove_extra_whitespaces:
        parts += [
            _replace("Regex", ENDS, ""),
            _replace("Regex", " {2,}", " "),
        ]
    if not opens_only:
        if spec.add_dummy_prefix:
            parts.append({"type": "Prepend", "prepend": SPACE})
        if spec.escape_whitespaces:
            parts.append(_TO_SPACE)
    return {"type": "Sequence", "normalizers": parts} if parts else None


def _replace(kind: str, pattern: str, content: str) -> Json:
    return {"type": "Replace", "pattern": {kind: pattern}, "content": content}


def _decoder(model: Model) -> Json:
    """Returns what turns pieces into text."""
    parts: list[Json] = [
        {"type": "Replace", "pattern": {"String": SPACE}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
    ]
    if model.normalizer_spec.add_dummy_prefix:
        parts.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    return {"type": "Sequence", "decoders": parts}


def _unigram(model: Model) -> Json:
    return {
        "type": "Unigram",
        "unk_id": models.unknown_id(model),
        "vocab": [[piece.piece, piece.score] for piece in model.pieces],
        "byte_fallback": bool(model.trainer_spec.byte_fallback),
    }


def _bpe(model: Model) -> Json:
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": model.pieces[models.unknown_id(model)].piece,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": True,
        "byte_fallback": bool(model.trainer_spec.byte_fallback),
        "ignore_merges": False,
        "vocab": {piece.piece: i for i, piece in enumerate(model.pieces)},
        "merges": [list(merge) for merge in merges(model)],
    }


def merges(model: Model) -> list[Merge]:
    """Returns the merges of a BPE model, those of high scores first."""
    scores = {
        model.pieces[i].piece: model.pieces[i].score
        for i in models.of_type(model, "NORMAL")
    }
    pairs = []
    for piece, score in scores.items():
        pair = last_merge(piece, scores)
        if pair is not None:
            pairs.append((-score, pair))
    # Stable: of equal scores in the order of the ids.
    pairs.sort(key=lambda entry: entry[0])
    return [pair for _, pair in pairs]


def last_merge(piece: str, scores: Mapping[str, float]) -> Merge | None:
    """Returns the two pieces whose merge ends the encoding of a piece.

    Args:
        piece: The piece.
        scores: Score of each piece; the highest is merged first.

    Returns:
        None if the piece is one character, or does not come out of its own
        text.
    """
    parts = list(piece)
    while len(parts) > 1:
        joined = [a + b for a, b in zip(parts, parts[1:], strict=False)]
        known = [i for i, text in enumerate(joined) if text in scores]
        if not known:
            return None
        place = max(known, key=lambda i: (scores[joined[i]], -i))
        if len(parts) == 2:
            return parts[0], parts[1]
        parts[place : place + 2] = [joined[place]]
    return None
