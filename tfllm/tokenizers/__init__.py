"""Text to ids and back, in TensorFlow ops."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfllm.tokenizers.byte_pair import ByteBPETokenizer
    from tfllm.tokenizers.load import load_tokenizer
    from tfllm.tokenizers.mapped_pieces import MappedPieceTokenizer
    from tfllm.tokenizers.row_template import RowTemplate, Segments
    from tfllm.tokenizers.sentence_piece import SentencePieceTokenizer
    from tfllm.tokenizers.spec import TokenizerSpec
    from tfllm.tokenizers.special_tokens import (
        AddedToken,
        SpecialIds,
        SpecialTokens,
    )
    from tfllm.tokenizers.text_tokenizer import Tokenizer
    from tfllm.tokenizers.wordpiece import WordPieceTokenizer

__all__ = [
    "AddedToken",
    "ByteBPETokenizer",
    "MappedPieceTokenizer",
    "RowTemplate",
    "Segments",
    "SentencePieceTokenizer",
    "SpecialIds",
    "SpecialTokens",
    "Tokenizer",
    "TokenizerSpec",
    "WordPairTokenizer",
    "WordPieceTokenizer",
    "load_tokenizer",
]

# Imported when asked for: family files need the types without TensorFlow.
_MODULES = {
    "AddedToken": "special_tokens",
    "ByteBPETokenizer": "byte_pair",
    "MappedPieceTokenizer": "mapped_pieces",
    "RowTemplate": "row_template",
    "Segments": "row_template",
    "SentencePieceTokenizer": "sentence_piece",
    "SpecialIds": "special_tokens",
    "SpecialTokens": "special_tokens",
    "Tokenizer": "text_tokenizer",
    "TokenizerSpec": "spec",
    "WordPairTokenizer": "word_pair",
    "WordPieceTokenizer": "wordpiece",
    "load_tokenizer": "load",
}


def __getattr__(name: str) -> Any:
    """Imports the module of a name."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_MODULES[name]}")
    return getattr(module, name)


def __dir__() -> list[str]:
    """Lists also what is not imported yet."""
    return sorted({*globals(), *__all__})
