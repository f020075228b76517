"""A tokenizer from its files, whatever its kind."""

import os

import tensorflow as tf

from tfllm.tokenizers import byte_pair_files, files, vocabulary
from tfllm.tokenizers.byte_pair import ByteBPETokenizer
from tfllm.tokenizers.wordpiece import WordPieceTokenizer

Tokenizer = WordPieceTokenizer | ByteBPETokenizer


def load_tokenizer(path: str) -> Tokenizer:
    """Reads a tokenizer file, or a folder in the Hugging Face layout.

    Args:
        path: A folder, or one of vocab.txt, vocab.json and tokenizer.json.

    Returns:
        A ByteBPETokenizer if there is a vocab.json, or a tokenizer.json with
        a BPE model; else a WordPieceTokenizer.

    Raises:
        ValueError: The path is missing, or does not hold a vocabulary.
    """
    path = os.fspath(path)
    return (
        ByteBPETokenizer.from_file(path)
        if _is_byte_pair(path)
        else WordPieceTokenizer.from_file(path)
    )


def _is_byte_pair(path: str) -> bool:
    """Whether the files of a tokenizer are those of byte-level BPE."""
    if not tf.io.gfile.isdir(path):
        name = os.path.basename(path)
        if name != files.TOKENIZER_FILE:
            return name == byte_pair_files.VOCAB_FILE
        path = os.path.dirname(path)
    elif tf.io.gfile.exists(os.path.join(path, byte_pair_files.VOCAB_FILE)):
        return True
    elif tf.io.gfile.exists(os.path.join(path, vocabulary.VOCAB_FILE)):
        return False
    content = files.read_json(os.path.join(path, files.TOKENIZER_FILE))
    return (content.get("model") or {}).get("type") == "BPE"
