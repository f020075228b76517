"""Perplexity per word and per byte of the text."""

import math

from tfllm.data.pretraining.tokenize_files import TextCounts


def text_perplexities(loss: float, counts: TextCounts) -> dict[str, float]:
    """Returns what does not depend on how the text was cut into tokens.

    Args:
        loss: Mean cross-entropy in nats over all tokens but the first.
        counts: Of the text.

    Returns:
        `word_perplexity`, words as white space separates them, if there is
        one; `byte_perplexity`; and `bits_per_byte`.

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
    """Returns exp(value), infinite where a float ends."""
    return math.exp(value) if value < 700.0 else math.inf
