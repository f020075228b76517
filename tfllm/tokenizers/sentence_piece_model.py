"""SentencePiece models as data, and those that the ops in the graph get.

A model has two halves. Its normalizer turns a text into one in which "▁"
stands for each space; its segmenter cuts that into pieces. The graph has one
op for each, and each op gets a model of its own:

* The normalizer: a model whose only pieces are the 256 bytes, so that the op
  returns the normalized text byte by byte, with the place of each byte in the
  text as it was.
* The segmenter of BPE: the model without its normalizer.
* The segmenter of unigram: as above, for the op that adds up scores as the
  `sentencepiece` package does.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# Stands for a space.
SPACE = "\u2581"
# Stands, in the segmenter of unigram, for every character of no piece.
ABSENT = "\U0010fffd"
# What a character without a piece costs more than the rarest piece.
_UNKNOWN_PENALTY = 10.0

Model = Any  # sentencepiece_model_pb2.ModelProto


def proto() -> Any:
    """Returns the messages of sentencepiece_model.proto."""
    from sentencepiece import sentencepiece_model_pb2

    return sentencepiece_model_pb2


def empty(kind: str) -> Model:
    """Returns a model without pieces that takes a text as it is.

    Args:
        kind: "UNIGRAM" or "BPE".
    """
    messages = proto()
    model = messages.ModelProto()
    kinds = messages.TrainerSpec.ModelType
    model.trainer_spec.model_type = kinds.Value(kind)
    return without_normalizer(model)


def parse(content: bytes, file: str) -> Model:
    """Reads a serialized ModelProto.

    Args:
        content: Bytes of the file.
        file: Its path, for messages.

    Raises:
        ValueError: The file is not a model, or of an unsupported kind.
    """
    from google.protobuf.message import DecodeError

    messages = proto()
    try:
        model = messages.ModelProto.FromString(content)
    except DecodeError as error:
        raise ValueError(
            f"{file!r} must be a model of SentencePiece. Received: {error}. "
            "Copy the file from the model again."
        ) from error
    kinds = messages.TrainerSpec.ModelType
    kind = model.trainer_spec.model_type
    if kind not in (kinds.UNIGRAM, kinds.BPE) or not model.pieces:
        raise ValueError(
            f"{file!r} must be a unigram or BPE model of SentencePiece. "
            f"Received: {kinds.Name(kind)} with {len(model.pieces)} pieces. "
            "Train another with tools/build_vocab.py."
        )
    if model.HasField("denormalizer_spec"):
        charsmap = model.denormalizer_spec.precompiled_charsmap
        if charsmap:
            raise ValueError(
                f"{file!r} must have no rules for denormalization: the graph "
                f"does not apply them. Received: {len(charsmap)} bytes."
            )
    if model.trainer_spec.treat_whitespace_as_suffix:
        raise ValueError(
            f"`treat_whitespace_as_suffix` of {file!r} must be false: "
            "tokens begin words here. Received: true. Train another model."
        )
    return model


def is_unigram(model: Model) -> bool:
    """Returns whether a model is of the unigram kind."""
    return bool(
        model.trainer_spec.model_type == proto().TrainerSpec.ModelType.UNIGRAM
    )


def byte_piece(byte: int) -> str:
    """Returns the piece that stands for a byte, "<0x0A>"."""
    return f"<0x{byte:02X}>"


def of_type(model: Model, *names: str) -> list[int]:
    """Returns the ids of the pieces of types, as "CONTROL" and "BYTE"."""
    types = [proto().ModelProto.SentencePiece.Type.Value(n) for n in names]
    return [i for i, piece in enumerate(model.pieces) if piece.type in types]


def unknown_id(model: Model) -> int:
    """Returns the id of the unknown piece; SentencePiece demands one."""
    return of_type(model, "UNKNOWN")[0]


def normalizer(model: Model) -> tuple[bytes, list[bytes]]:
    """Returns the model of the normalizing op, and what its ids stand for."""
    messages = proto()
    types = messages.ModelProto.SentencePiece.Type
    result = messages.ModelProto()
    result.trainer_spec.model_type = messages.TrainerSpec.ModelType.CHAR
    result.trainer_spec.byte_fallback = True
    result.normalizer_spec.CopyFrom(model.normalizer_spec)
    result.pieces.add(piece="<unk>", type=types.UNKNOWN)
    spelled = [b""]
    for byte in range(256):
        result.pieces.add(piece=byte_piece(byte), type=types.BYTE)
        spelled.append(bytes([byte]))
    # These are not normalized.
    for number in of_type(model, "USER_DEFINED"):
        symbol = model.pieces[number].piece
        result.pieces.add(piece=symbol, type=types.USER_DEFINED)
        spelled.append(symbol.encode())
    return result.SerializeToString(), spelled


def without_normalizer(model: Model) -> Model:
    """Returns a copy of a model that takes a text as it is."""
    result = proto().ModelProto()
    result.CopyFrom(model)
    spec = result.normalizer_spec
    spec.Clear()
    spec.name = "identity"
    spec.add_dummy_prefix = False
    spec.remove_extra_whitespaces = False
    spec.escape_whitespaces = False
    return result


def without_dummy_prefix(model: Model) -> Model:
    """Returns a copy of a model that puts no "▁" before a text."""
    result = proto().ModelProto()
    result.CopyFrom(model)
    result.normalizer_spec.add_dummy_prefix = False
    return result


def unigram_segmenter(model: Model) -> tuple[bytes, list[str]]:
    """Returns the model that segments unigrams by their scores.

    The op charges for each byte that no piece covers. SentencePiece charges
    for each character, so such characters are pieces here, with ids behind
    those of the model: `ABSENT`, and those that only longer pieces hold.

    Returns:
        The serialized model, and the characters with ids behind its pieces.
    """
    types = proto().ModelProto.SentencePiece.Type
    result = without_normalizer(model)
    # NOTE: the op reads the map of characters even where there is none.
    result.normalizer_spec.precompiled_charsmap = _empty_charsmap()
    result.trainer_spec.unk_id = unknown_id(model)
    lowest = min(
        (model.pieces[i].score for i in of_type(model, "NORMAL")), default=0.0
    )
    pieces: set[str] = set()
    for piece in result.pieces:
        if piece.type in (types.NORMAL, types.USER_DEFINED):
            pieces.add(piece.piece)
        elif piece.type != types.UNKNOWN:
            piece.type = types.CONTROL
    inside = {char for piece in pieces for char in piece}
    extra = [ABSENT, *sorted(inside - pieces)]
    for char in extra:
        result.pieces.add(
            piece=char, score=lowest - _UNKNOWN_PENALTY, type=types.NORMAL
        )
    return result.SerializeToString(), extra


def alphabet(model: Model) -> list[str]:
    """Returns the characters of all pieces that text gives, sorted."""
    ids = of_type(model, "NORMAL", "USER_DEFINED")
    return sorted({char for i in ids for char in model.pieces[i].piece})


def _empty_charsmap() -> bytes:
    """Returns a map of characters that changes none.

    A double array of one block whose units have a label that no byte of UTF-8
    has, and no replacements.
    """
    units = struct.pack("<I", 0xFF) * 256
    return struct.pack("<I", len(units)) + units + b"\0"


def add_pieces(
    model: Model, pieces: Iterable[tuple[str, float]], kinds: Sequence[str]
) -> None:
    """Adds pieces to a model.

    Args:
        model: Is changed.
        pieces: Pieces and their scores, in the order of their ids.
        kinds: The type of each, as "NORMAL".
    """
    types = proto().ModelProto.SentencePiece.Type
    for (piece, score), kind in zip(pieces, kinds, strict=True):
        model.pieces.add(piece=piece, score=score, type=types.Value(kind))
