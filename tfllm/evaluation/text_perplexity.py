"""Perplexity per word and per byte of a text."""

import math

from tfllm.data.token_stream.tokenize_files import TextCounts


def text_perplexities(loss: float, counts: TextCounts) -> dict[str, float]:
    """Returns perplexities that do not depend on the tokenizer.

    Args:
        loss: Mean cross-entropy in nats over all tokens but the first.
        counts: Tokens, words and bytes of the text.

    Returns:
        `byte_perplexity`, `bits_per_byte` and, if the text has words (between
        white space), `word_perplexity`.

    Reference: Merity et al., 2018, "An Analysis of Neural Language Modeling
    at Multiple Scales", section 2.
    """
    total = loss * (counts.tokens - 1)
    per_byte = total / counts.text_bytes
    values = {
        "byte_perplexity": _exp(per_byte),
        "bits_per_byte": per_byte / math.log(2.0),
    }
    if counts.words:
        values["word_perplexity"] = _exp(total / counts.words)
    return values


def _exp(value: float) -> float:
    """Returns exp(value); infinity instead of an overflow."""
    return math.exp(value) if value < 700.0 else math.inf
