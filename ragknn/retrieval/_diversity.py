"""Diversity: maximal marginal relevance, removal of duplicates, and a cap per document."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from operator import index as as_integer

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ragknn._checks import shown
from ragknn._protocol.hashing import text_identity
from ragknn.records import Neighbor


def maximal_marginal_relevance(
    relevance: ArrayLike, vectors: ArrayLike, diversity: float, k: int | None = None
) -> NDArray[np.intp]:
    """Choose k rows one after the other, each relevant and unlike those already chosen.

    The next row is the one with the largest (1 - diversity) * relevance - diversity * similarity, where the
    similarity is the largest cosine between its vector and one already chosen (Carbonell and Goldstein 1998, "The
    use of MMR, diversity-based reranking for reordering documents and producing summaries", with
    lambda = 1 - diversity). The first is the most relevant one. Of equal rows the earlier is chosen.

    Relevance and similarity are weighed against each other as they are. So relevance should be on the scale of a
    cosine: 1 - distance for the metric cosine, and for other scores something scaled to 0..1.

    Args:
        relevance: how well each row answers the query, larger is better, shape (n,).
        vectors: shape (n, dim); only their directions matter, and a vector of zeros is like no other.
        diversity: 0 orders by relevance alone, 1 looks at nothing else than the similarity after the first row.
        k: rows to choose; None, or more than there are: all.

    Returns:
        The chosen rows in the order of choice, shape (min(k, n),).

    Raises:
        ValueError: shapes that do not fit, values that are not finite, or a diversity not between 0 and 1.
    """
    scores = np.asarray(relevance, dtype=np.float64)
    rows = np.asarray(vectors, dtype=np.float64)
    if scores.ndim != 1 or rows.ndim != 2 or len(rows) != len(scores):
        raise ValueError(f"expected relevance of shape (n,) and vectors (n, dim), got {scores.shape} and {rows.shape}")
    if not (np.isfinite(scores).all() and np.isfinite(rows).all()):
        raise ValueError("expected finite relevance and vectors, got NaN or infinite values among them")
    check_diversity(diversity)
    if k is not None and as_integer(k) < 1:
        raise ValueError(f"expected k >= 1, got {k}")
    count = len(scores) if k is None else min(as_integer(k), len(scores))
    if diversity == 0:
        return np.argsort(-scores, kind="stable")[:count]

    directions = _directions(rows)
    chosen = np.empty(count, dtype=np.intp)
    marginal = scores
    similarity = np.full(len(scores), -np.inf)
    left = np.ones(len(scores), dtype=bool)
    for place in range(count):
        row = int(np.argmax(np.where(left, marginal, -np.inf)))
        chosen[place] = row
        left[row] = False
        np.maximum(similarity, directions @ directions[row], out=similarity)
        marginal = (1 - diversity) * scores - diversity * similarity
    return chosen


def check_diversity(diversity: float) -> None:
    """Refuse a diversity that is not between 0 and 1.

    Raises:
        ValueError: it is not.
    """
    if not 0 <= diversity <= 1:
        raise ValueError(f"expected diversity between 0 (nearest first) and 1 (most different), got {shown(diversity)}")


def _directions(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    # By the largest value first: the square of a very large or very small one is no float.
    largest = np.abs(rows).max(axis=1, keepdims=True, initial=0.0)
    scaled = rows / np.where(largest == 0, 1.0, largest)
    lengths = np.linalg.norm(scaled, axis=1, keepdims=True)
    directions: NDArray[np.float64] = scaled / np.where(lengths == 0, 1.0, lengths)
    return directions


def at_most_per_document(neighbors: Iterable[Neighbor], n: int) -> list[Neighbor]:
    """Return at most the first n neighbors of each document, in the same order.

    Raises:
        ValueError: n < 1.
    """
    if as_integer(n) < 1:
        raise ValueError(f"expected at least 1 passage per document, got {n}")
    seen: Counter[str] = Counter()
    kept = []
    for neighbor in neighbors:
        seen[neighbor.passage.document_id] += 1
        if seen[neighbor.passage.document_id] <= n:
            kept.append(neighbor)
    return kept


def without_duplicates(neighbors: Iterable[Neighbor]) -> list[Neighbor]:
    """Return the neighbors without those that repeat the text of an earlier one, in the same order."""
    first: dict[str, Neighbor] = {}
    for neighbor in neighbors:
        first.setdefault(text_identity(neighbor.passage), neighbor)
    return list(first.values())
