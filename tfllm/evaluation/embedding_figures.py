"""Figures of embeddings of pairs of texts."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tfllm.data.labelled.records.record import Record
from tfllm.evaluation import metrics
from tfllm.evaluation.figures import Figures
from tfllm.evaluation.metrics import Values
from tfllm.evaluation.predictions import Predictions
from tfllm.evaluation.retrieval import (
    cosine_similarities,
    retrieval_metrics,
    retrieval_ranks,
    unit_rows,
)

CUTOFFS = (1, 5, 10)
CORRELATIONS = ("pearson", "spearman")


class EmbeddingFigures(Figures):
    """Of pairs: of their cosines if similarities are given, else of retrieval.

    In retrieval each first text looks for its second one among those of all
    pairs; see Figures.
    """

    def __init__(self, found: Predictions, tune: bool = False) -> None:
        """See Figures."""
        vectors = np.stack(found.outputs)
        first, second = vectors[:, 0], vectors[:, 1]
        self._gold = self._ranks = self._cosines = np.zeros(0)
        self._has_gold = found.records[0].gold is not None
        if self._has_gold:
            self._gold = np.array([record.gold for record in found.records])
            self._cosines = cosine_similarities(first, second)
            return
        groups = (
            np.unique(
                [record.texts[i] for record in found.records],
                return_inverse=True,
            )[1]
            for i in (0, 1)
        )
        self._ranks = retrieval_ranks(
            unit_rows(first), unit_rows(second), *groups
        )

    @staticmethod
    def names(task: Any, records: Sequence[Record]) -> tuple[str, ...]:
        """See Figures."""
        if records[0].gold is not None:
            return CORRELATIONS
        return (*(f"recall_at_{cutoff}" for cutoff in CUTOFFS), "mrr")

    def values(self) -> Values:
        """See Figures."""
        return self.sample(np.arange(max(len(self._gold), len(self._ranks))))

    def sample(self, rows: np.ndarray) -> Values:
        """See Figures."""
        if not self._has_gold:
            return retrieval_metrics(self._ranks[rows], CUTOFFS)
        values = metrics.regression_metrics(
            self._gold[rows], self._cosines[rows]
        )
        # Similarities may have any scale: errors say nothing.
        return {name: values[name] for name in CORRELATIONS}
