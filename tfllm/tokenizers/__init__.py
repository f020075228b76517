"""Text to ids and back, in TensorFlow ops."""

from tfllm.tokenizers.byte_pair import ByteBPETokenizer
from tfllm.tokenizers.load import Tokenizer, load_tokenizer
from tfllm.tokenizers.special_tokens import SpecialTokens
from tfllm.tokenizers.wordpiece import WordPieceTokenizer

__all__ = [
    "ByteBPETokenizer",
    "SpecialTokens",
    "Tokenizer",
    "WordPieceTokenizer",
    "load_tokenizer",
]
