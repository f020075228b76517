"""Text as the uncased and cased BERT tokenizers see it, in the graph."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf
import tensorflow_text as tf_text

from tfllm.tokenizers import normalizer_model
from tfllm.tokenizers.bert_places import original_places
from tfllm.tokenizers.special_tokens import AddedToken
from tfllm.tokenizers.token_matcher import TokenMatcher

# Normalized text [N] and `with_offsets` -> ids, or ids, starts and ends, each
# int32 ragged [N, (tokens)].
SplitWords = Callable[..., list[tf.RaggedTensor]]


class BertText(tf.Module):
    """Normalizes texts, and matches added tokens before and after.

    Args:
        mapping: The text that replaces a character.
        tokens: The tokens that are matched whole. Of several with one spelling
            a special one counts, or the first.
        ids: The ids of tokens.
    """

    def __init__(
        self,
        mapping: Mapping[str, str],
        tokens: Sequence[AddedToken],
        ids: Mapping[str, int],
    ):
        super().__init__()
        raw = {t.content: t for t in tokens if not t.normalized}
        normalized: dict[str, AddedToken] = {}
        for token in sorted(tokens, key=lambda token: not token.special):
            if token.normalized:
                spelling = spelled(token.content, mapping)
                normalized.setdefault(spelling, token)
        self._raw_matcher = TokenMatcher(raw, ids)
        self._normalized_matcher = TokenMatcher(normalized, ids)
        model = normalizer_model.build(
            {ord(char): text for char, text in mapping.items()}
        )
        self._normalizer = tf_text.FastBertNormalizer(
            model_buffer=tf.constant(np.frombuffer(model, np.uint8))
        )

    def split(
        self, text: tf.Tensor, split_words: SplitWords, with_offsets: bool
    ) -> list[tf.RaggedTensor]:
        """Splits texts into tokens.

        Args:
            text: string [N].
            split_words: Tokenizes what stands between added tokens.
            with_offsets: Whether to return starts and ends as well, in bytes
                of the original texts.

        Returns:
            ids, or ids, starts and ends, each int32 ragged [N, (tokens)].
        """
        return self._raw_matcher.split_and_tokenize(
            text,
            functools.partial(
                self._normalize,
                split_words=split_words,
                with_offsets=with_offsets,
            ),
        )

    def _normalize(
        self, text: tf.Tensor, split_words: SplitWords, with_offsets: bool
    ) -> list[tf.RaggedTensor]:
        """Tokenizes text without tokens that are matched as they are."""
        tokenize = functools.partial(
            self._normalized_matcher.split_and_tokenize,
            tokenize=functools.partial(split_words, with_offsets=with_offsets),
        )
        if not with_offsets:
            return tokenize(self._normalizer.normalize(text))
        normalized, sources = self._normalizer.normalize_with_offsets(text)
        return original_places(text, sources, *tokenize(normalized))


def spelled(token: str, mapping: Mapping[str, str]) -> str:
    """Returns a token with each character replaced as a map says."""
    return "".join(mapping.get(char, char) for char in token)
