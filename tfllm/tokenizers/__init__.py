"""Text to ids and back, in TensorFlow ops."""

from tfllm.tokenizers.special_tokens import SpecialTokens
from tfllm.tokenizers.wordpiece import WordPieceTokenizer

__all__ = ["SpecialTokens", "WordPieceTokenizer"]
