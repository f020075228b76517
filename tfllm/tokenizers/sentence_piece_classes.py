"""Classes of Transformers that do more than their SentencePiece model says.

Some clean texts before the model reads them: for these the tokenizer.json is
made that they stand for. Others number the tokens in another way.
"""

from __future__ import annotations

import base64
import dataclasses
from typing import Any

from tfllm.tokenizers import sentence_piece_model
from tfllm.tokenizers.row_template import RowTemplate, Segments
from tfllm.tokenizers.sentence_piece_model import SPACE, Model
from tfllm.tokenizers.special_tokens import SpecialTokens

# Lowers the score of a piece such as "1,", so that no better way is left out.
_NUMBER_COMMA_PENALTY = 100.0


@dataclasses.dataclass(frozen=True)
class CleaningClass:
    """A class that cleans texts, and what it does where its files are silent.

    Attributes:
        lowercase: Whether it lower-cases texts.
        special_tokens: Its special tokens.
        template: Its rows.
    """

    lowercase: bool
    special_tokens: SpecialTokens
    template: RowTemplate[str]


CLEANING: dict[str, CleaningClass] = {
    "AlbertTokenizer": CleaningClass(
        True,
        SpecialTokens(
            "<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]", "[CLS]", "[SEP]"
        ),
        RowTemplate(
            pad="pad",
            opens=("cls",),
            between=("sep",),
            closes=("sep",),
            segments=Segments(),
        ),
    ),
    "XLNetTokenizer": CleaningClass(
        False,
        SpecialTokens(
            "<pad>", "<unk>", "<cls>", "<sep>", "<mask>", "<s>", "</s>"
        ),
        RowTemplate(
            pad="pad",
            between=("sep",),
            closes=("sep", "cls"),
            segments=Segments(last=2, pad=3),
            padding_side="left",
        ),
    ),
}
# Class -> the tokens before those of the model, and how many of the model's
# own these replace. `<mask>` comes last.
OFFSETS: dict[str, tuple[tuple[str, ...], int]] = {
    "XLMRobertaTokenizer": (("<s>", "<pad>", "</s>", "<unk>"), 3),
    "CamembertTokenizer": (
        ("<s>NOTUSED", "<pad>", "</s>NOTUSED", "<unk>", "<unk>NOTUSED"),
        1,
    ),
}


def document(model: Model, name: str, config: dict[str, Any]) -> dict[str, Any]:
    """Returns the tokenizer.json that a class makes of a model.

    Args:
        model: The ModelProto, of the unigram kind.
        name: Key of `CLEANING`.
        config: The content of tokenizer_config.json.

    Raises:
        ValueError: The model is not unigram, or an option is not followed.
    """
    if not sentence_piece_model.is_unigram(model):
        raise ValueError(
            f"a model for `tokenizer_class` {name!r} must be of the unigram "
            "kind. Received: BPE. Name the class that belongs to the model."
        )
    flags = {
        "do_lower_case": CLEANING[name].lowercase,
        "keep_accents": False,
        "remove_space": True,
    }
    for key, default in flags.items():
        value = config.get(key)
        flags[key] = default if value is None else value
        if value not in (None, True, False):
            raise ValueError(
                f"`{key}` must be true or false. Received: {value!r}. Correct "
                "tokenizer_config.json."
            )
    if not flags["remove_space"]:
        raise ValueError(
            f"`remove_space` must be true for {name!r}: texts are split at "
            "white space. Received: false. Remove the field."
        )
    metaspace = {
        "type": "Metaspace",
        "replacement": SPACE,
        "prepend_scheme": "always",
        "split": True,
    }
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": {
            "type": "Sequence",
            "normalizers": _cleaning(
                model, flags["do_lower_case"], flags["keep_accents"]
            ),
        },
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [{"type": "WhitespaceSplit"}, metaspace],
        },
        "post_processor": None,
        "decoder": metaspace,
        "model": {
            "type": "Unigram",
            "unk_id": sentence_piece_model.unknown_id(model),
            "vocab": [[p.piece, _score(p)] for p in model.pieces],
            "byte_fallback": False,
        },
    }


def _cleaning(
    model: Model, lowercase: bool, keeps_accents: bool
) -> list[dict[str, Any]]:
    """Returns the normalizers of a class, in their order."""
    parts: list[dict[str, Any]] = [
        {"type": "Replace", "pattern": {"String": quotes}, "content": '"'}
        for quotes in ("``", "''")
    ]
    if not keeps_accents:
        parts += [{"type": "NFKD"}, {"type": "StripAccents"}]
    if lowercase:
        parts.append({"type": "Lowercase"})
    charsmap = model.normalizer_spec.precompiled_charsmap
    if charsmap:
        content = base64.b64encode(charsmap).decode()
        parts.append({"type": "Precompiled", "precompiled_charsmap": content})
    return parts


def _score(piece: Any) -> float:
    """Returns the score of a piece.

    NOTE: the authors cut the comma from pieces such as "1,". The penalty does
    this in the published tokenizer.json; Transformers 5 leaves it out where it
    reads spiece.model.
    """
    text = piece.piece
    is_number = len(text) > 1 and text[-1] == "," and text[-2].isdigit()
    return float(piece.score) - _NUMBER_COMMA_PENALTY * is_number


def in_order(model: Model, name: str) -> Model:
    """Returns a model whose ids are those of a class.

    Args:
        model: The ModelProto.
        name: Key of `OFFSETS`.
    """
    first, replaced = OFFSETS[name]
    result = sentence_piece_model.proto().ModelProto()
    result.CopyFrom(model)
    del result.pieces[:]
    for token in first:
        kind = "UNKNOWN" if token == "<unk>" else "CONTROL"
        sentence_piece_model.add_pieces(result, [(token, 0.0)], [kind])
    result.pieces.extend(model.pieces[replaced:])
    sentence_piece_model.add_pieces(result, [("<mask>", 0.0)], ["CONTROL"])
    ids = {p.piece: i for i, p in reversed(list(enumerate(result.pieces)))}
    trainer = result.trainer_spec
    for role, token in (("bos", "<s>"), ("eos", "</s>"), ("pad", "<pad>")):
        setattr(trainer, f"{role}_id", ids.get(token, -1))
    trainer.unk_id = ids["<unk>"]
    return result
