"""Calibration: do probabilities match how often a model is right?"""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Confidence and accuracy by bin of confidence.

    Attributes:
        edges: float [bins + 1], from 0 to 1.
        counts: int [bins], predictions per bin; an edge belongs to the bin
            below it.
        confidence: float [bins], mean confidence; 0 in an empty bin.
        accuracy: float [bins], share of right predictions.
    """

    edges: np.ndarray
    counts: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray

    @property
    def expected_error(self) -> float:
        """Expected calibration error: the mean gap, weighted by counts."""
        gaps = np.abs(self.confidence - self.accuracy)
        return float((gaps * self.counts).sum() / max(self.counts.sum(), 1))


def calibration(
    confidence: np.ndarray, right: np.ndarray, num_bins: int = 15
) -> Calibration:
    """Returns accuracy and confidence of predictions in equal-width bins.

    Args:
        confidence: float [N], probability of each prediction.
        right: bool [N], whether it is right.
        num_bins: Number of bins.

    Reference: Guo et al., 2017, "On Calibration of Modern Neural Networks",
    section 2.
    """
    confidence = np.asarray(confidence, "float64")
    edges = np.linspace(0.0, 1.0, num_bins + 1)
    places = np.clip(np.searchsorted(edges, confidence) - 1, 0, num_bins - 1)
    counts = np.bincount(places, minlength=num_bins)
    full = np.maximum(counts, 1)
    return Calibration(
        edges,
        counts,
        np.bincount(places, confidence, num_bins) / full,
        np.bincount(places, np.asarray(right, "float64"), num_bins) / full,
    )
