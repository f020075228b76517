"""Retrieval figures: how well embeddings find matching texts."""

import numpy as np

# Queries compared at a time, which bounds the memory of similarities.
_QUERIES = 1024


def retrieval_ranks(
    queries: np.ndarray, candidates: np.ndarray, *groups: np.ndarray
) -> np.ndarray:
    """Returns the rank of the best right candidate of each query, from 1.

    At equal similarity wrong candidates rank first: embeddings that are all
    equal find nothing.

    Args:
        queries: float [N, D], of unit length.
        candidates: float [N, D], of unit length.
        *groups: int [N] each; candidate j is right for query i if
            group[i] == group[j] in any of them, as for repeated texts.

    Returns:
        int [N].
    """
    ranks = np.empty(len(queries), "int64")
    for start in range(0, len(queries), _QUERIES):
        rows = slice(start, start + _QUERIES)
        similarity = queries[rows] @ candidates.T  # [rows, N]
        right = np.any([g[rows, None] == g[None, :] for g in groups], axis=0)
        best = np.where(right, similarity, -np.inf).max(axis=1, keepdims=True)
        ranks[rows] = 1 + (~right & (similarity >= best)).sum(axis=1)
    return ranks


def retrieval_metrics(
    ranks: np.ndarray, cutoffs: tuple[int, ...] = (1, 5, 10)
) -> dict[str, float]:
    """Returns `recall_at_K` for each cutoff, and the mean reciprocal rank.

    Args:
        ranks: int [N], rank of the first right candidate, from 1.
        cutoffs: Values of K.

    Returns:
        `recall_at_K` and `mrr`.
    """
    recalls = {
        f"recall_at_{cutoff}": float((ranks <= cutoff).mean())
        for cutoff in cutoffs
    }
    return {**recalls, "mrr": float((1.0 / ranks).mean())}


def unit_rows(vectors: np.ndarray) -> np.ndarray:
    """Scales rows to unit length; rows of zeros stay."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.maximum(lengths, 1e-12)


def cosine_similarities(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Returns the cosines of row pairs, float [N]; 0 for rows of zeros."""
    return (unit_rows(a) * unit_rows(b)).sum(axis=1)
