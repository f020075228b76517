"""Loads a tokenizer of any kind from its files."""

import os
from typing import Any

import tensorflow as tf

from tfllm.tokenizers import (
    byte_pair_files,
    files,
    mapped_piece_files,
    sentence_piece_document,
    sentence_piece_files,
    vocabulary,
)
from tfllm.tokenizers.byte_pair import ByteBPETokenizer
from tfllm.tokenizers.mapped_pieces import MappedPieceTokenizer
from tfllm.tokenizers.sentence_piece import SentencePieceTokenizer
from tfllm.tokenizers.spec import Kind, TokenizerSpec
from tfllm.tokenizers.text_tokenizer import Tokenizer
from tfllm.tokenizers.word_pair import WordPairTokenizer
from tfllm.tokenizers.word_pair_model import SUFFIX
from tfllm.tokenizers.wordpiece import WordPieceTokenizer

KINDS: dict[Kind, type[Tokenizer]] = {
    "wordpiece": WordPieceTokenizer,
    "byte_bpe": ByteBPETokenizer,
    "word_bpe": WordPairTokenizer,
    "sentence_piece": SentencePieceTokenizer,
    "mapped_sentence_piece": MappedPieceTokenizer,
}
# Vocabulary file -> kind of tokenizer. The first file that exists counts.
_FILES: dict[str, Kind] = {
    mapped_piece_files.SOURCE_FILE: "mapped_sentence_piece",
    byte_pair_files.VOCAB_FILE: "byte_bpe",
    vocabulary.VOCAB_FILE: "wordpiece",
    **dict.fromkeys(sentence_piece_files.MODEL_FILES, "sentence_piece"),
}


def load_tokenizer(
    path: str,
    *,
    spec: TokenizerSpec | None = None,
    mask_in_text: bool = False,
    lowercase: bool | None = None,
) -> Tokenizer:
    """Reads a tokenizer file, or a folder in the Hugging Face layout.

    Args:
        path: A folder, or one of its files.
        spec: What the family of the model says, where the files are silent.
        mask_in_text: Whether text may spell the mask, as the files spell it.
        lowercase: Whether a WordPiece tokenizer lower-cases; None: as its files
            say, or the vocabulary suggests.

    Returns:
        The tokenizer, of the kind that the files show.

    Raises:
        ValueError: The path is missing, has no vocabulary, or asks for
            something that is not supported; or `mask_in_text` without a mask.
    """
    path = os.fspath(path)
    kind = _kind_of(path)
    options: dict[str, Any] = {}
    if kind == "wordpiece":
        options["lowercase"] = lowercase
    elif lowercase is not None:
        raise ValueError(
            "`lowercase` (--lower_case) must be left out for a tokenizer of "
            f"kind {kind!r}, whose files decide. Received: {lowercase} for "
            f"{path!r}."
        )
    if mask_in_text:
        options["special_tokens_in_text"] = ("mask",)
    return KINDS[kind].from_file(path, spec, **options)


def _kind_of(path: str) -> Kind:
    """Returns the kind of tokenizer of a file or folder."""
    if not tf.io.gfile.isdir(path):
        name = os.path.basename(path)
        if name != files.TOKENIZER_FILE:
            kind = _FILES.get(name, "wordpiece")
            folder = os.path.dirname(path)
            return _bpe_kind(folder) if kind == "byte_bpe" else kind
        path = os.path.dirname(path)
    else:
        for name, kind in _FILES.items():
            if tf.io.gfile.exists(os.path.join(path, name)):
                return _bpe_kind(path) if kind == "byte_bpe" else kind
    content = files.read_json(os.path.join(path, files.TOKENIZER_FILE))
    if sentence_piece_document.is_sentence_piece(content):
        return "sentence_piece"
    is_bpe = (content.get("model") or {}).get("type") == "BPE"
    return _bpe_kind(path) if is_bpe else "wordpiece"


def _bpe_kind(folder: str) -> Kind:
    """Returns the kind of a BPE vocabulary, by how its tokens are spelled."""
    tokens = files.read_json(os.path.join(folder, byte_pair_files.VOCAB_FILE))
    if not tokens:
        whole = files.read_json(os.path.join(folder, files.TOKENIZER_FILE))
        tokens = (whole.get("model") or {}).get("vocab") or {}
    ends_words = any(token.endswith(SUFFIX) for token in tokens)
    return "word_bpe" if ends_words else "byte_bpe"
