"""Figures of text embeddings: correlation with similarities, or retrieval."""

from collections.abc import Sequence

import numpy as np

from tfllm.data.labelled.records.record import Record
from tfllm.evaluation import metrics
from tfllm.evaluation.figures import Figures
from tfllm.evaluation.metrics import Values
from tfllm.evaluation.retrieval import (
    cosine_similarities,
    retrieval_metrics,
    retrieval_ranks,
    unit_rows,
)
from tfllm.outputs.predictions import Predictions
from tfllm.tasks import Task

CUTOFFS = (1, 5, 10)
CORRELATIONS = ("pearson", "spearman")


class EmbeddingFigures(Figures):
    """Figures of embedded pairs of texts.

    If the pairs have gold similarities, their cosines are correlated with
    them. Otherwise each first text retrieves its second text from the second
    texts of all pairs.
    """

    main = ("spearman", "pearson", "recall_at_1", "recall_at_10", "mrr")

    def __init__(self, predictions: Predictions, tune: bool = False) -> None:
        records = predictions.records
        vectors = np.stack(predictions.outputs)  # [N, 2, D]
        first, second = vectors[:, 0], vectors[:, 1]
        self._gold = self._ranks = self._cosines = np.zeros(0)
        self._has_gold = records[0].gold is not None
        if self._has_gold:
            self._gold = np.array([record.gold for record in records])
            self._cosines = cosine_similarities(first, second)
            return
        groups = (
            np.unique(
                [record.texts[i] for record in records], return_inverse=True
            )[1]
            for i in (0, 1)
        )
        self._ranks = retrieval_ranks(
            unit_rows(first), unit_rows(second), *groups
        )

    @staticmethod
    def names(task: Task, records: Sequence[Record]) -> tuple[str, ...]:
        """Returns correlations with gold similarities, else recalls and MRR."""
        if records[0].gold is not None:
            return CORRELATIONS
        return (*(f"recall_at_{cutoff}" for cutoff in CUTOFFS), "mrr")

    def values(self) -> Values:
        """Returns the figures of all pairs."""
        return self.sample(np.arange(max(len(self._gold), len(self._ranks))))

    def sample(self, rows: np.ndarray) -> Values:
        """Returns the figures of some pairs, int [M]."""
        if not self._has_gold:
            return retrieval_metrics(self._ranks[rows], CUTOFFS)
        figures = metrics.regression_metrics(
            self._gold[rows], self._cosines[rows]
        )
        # Similarities may have any scale, so errors mean nothing.
        return {name: figures[name] for name in CORRELATIONS}
