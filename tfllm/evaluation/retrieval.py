"""How well embeddings find the text that belongs to a text."""

import numpy as np

# So many queries at a time: their similarities fit into memory.
_QUERIES = 1024


def retrieval_ranks(
    queries: np.ndarray, candidates: np.ndarray, *groups: np.ndarray
) -> np.ndarray:
    """Returns the rank of the best right candidate of each query, from 1.

    A wrong candidate as similar as the best right one counts as nearer:
    embeddings that are all the same find nothing.

    Args:
        queries: float [N, D], of unit length.
        candidates: float [N, D], of unit length.
        *groups: int [N] each; query i is right with all candidates j that
            have group[i] == group[j] in one of them, as texts have that
            occur twice.

    Returns:
        int [N].
    """
    ranks = np.empty(len(queries), "int64")
    for start in range(0, len(queries), _QUERIES):
        rows = slice(start, start + _QUERIES)
        similarity = queries[rows] @ candidates.T
        right = np.any([g[rows, None] == g[None, :] for g in groups], axis=0)
        best = np.where(right, similarity, -np.inf).max(axis=1, keepdims=True)
        ranks[rows] = 1 + (~right & (similarity >= best)).sum(axis=1)
    return ranks


def retrieval_metrics(
    ranks: np.ndarray, cutoffs: tuple[int, ...] = (1, 5, 10)
) -> dict[str, float]:
    """Returns `recall_at_K` by cutoff, and `mrr`, the mean of 1 / rank.

    Args:
        ranks: int [N], of the first right candidate, from 1.
        cutoffs: The Ks.
    """
    recalls = {
        f"recall_at_{cutoff}": float((ranks <= cutoff).mean())
        for cutoff in cutoffs
    }
    return {**recalls, "mrr": float((1.0 / ranks).mean())}


def unit_rows(vectors: np.ndarray) -> np.ndarray:
    """Returns rows of unit length; a row of zeros stays."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.maximum(lengths, 1e-12)


def cosine_similarities(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Returns the cosines of rows, float [N]; 0 for a row of zeros."""
    return (unit_rows(a) * unit_rows(b)).sum(axis=1)
