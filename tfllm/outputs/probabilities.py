"""Logits to probabilities."""

import numpy as np


def softmax(logits: np.ndarray) -> np.ndarray:
    """Returns the softmax over the last axis."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Returns the sigmoid of each logit, without overflow."""
    return np.exp(-np.logaddexp(0.0, -logits))
