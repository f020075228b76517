"""Logits to probabilities."""

import numpy as np


def softmax(logits: np.ndarray) -> np.ndarray:
    """Returns probabilities over the last axis."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Returns the probability of each label by itself."""
    return np.exp(-np.logaddexp(0.0, -logits))
