"""Metrics for a ranking of documents for one query, as trec_eval defines them.

Each function takes the ids of the documents in the order of retrieval, best first, and the grades of the query's
judged documents. A document is relevant if its grade is 1 or more; a document without a grade, or with a grade below
1, is not. If a query has no relevant document, every metric is 0, as in trec_eval.

trec_eval sorts by score and breaks ties by id; these functions keep the given order.

    K. Järvelin, J. Kekäläinen: Cumulated gain-based evaluation of IR techniques.
        ACM Transactions on Information Systems 20(4), 2002.
    C. D. Manning, P. Raghavan, H. Schütze: Introduction to Information Retrieval, chapter 8.
        Cambridge University Press, 2008.
    trec_eval, the scoring program of the Text Retrieval Conferences: github.com/usnistgov/trec_eval
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from operator import index as as_integer
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Grades: TypeAlias = Mapping[str, int]


def ndcg(ranked: Sequence[str], grades: Grades, k: int | None = 10) -> float:
    """Return the normalized discounted cumulated gain of the first k documents.

    DCG@k is the sum of grade(i) / log2(i + 1) over the ranks i = 1..k; nDCG@k divides it by the DCG@k of the best
    possible order of all judged documents. The gain is linear, as in Järvelin and Kekäläinen (2002), trec_eval
    (`ndcg_cut`) and BEIR; the other common gain, 2^grade - 1, gives other values if any grade is above 1.

    Args:
        ranked: ids of the documents found, best first, each once.
        grades: grades of the judged documents.
        k: number of ranks that count; None: all.

    Raises:
        ValueError: k < 1, or a document is ranked twice.
    """
    gains = _gains(ranked, grades, k)
    ideal = np.sort(np.array([max(grade, 0) for grade in grades.values()], dtype=float))[::-1][:k]
    best = _discounted_sum(ideal)
    return _discounted_sum(gains) / best if best else 0.0


def recall(ranked: Sequence[str], grades: Grades, k: int | None = 10) -> float:
    """Return the share of the relevant documents that are among the first k (Manning et al. 2008, 8.3).

    The arguments and errors are those of `ndcg`.
    """
    relevant = count_relevant(grades)
    return float(np.count_nonzero(_gains(ranked, grades, k))) / relevant if relevant else 0.0


def precision(ranked: Sequence[str], grades: Grades, k: int = 10) -> float:
    """Return the share of relevant documents among the first k (Manning et al. 2008, 8.4).

    The divisor is k even if fewer documents were found, as in trec_eval (`P`). The arguments and errors are those of
    `ndcg`.
    """
    return float(np.count_nonzero(_gains(ranked, grades, k))) / k


def reciprocal_rank(ranked: Sequence[str], grades: Grades, k: int | None = None) -> float:
    """Return 1 / rank of the first relevant document, 0 if none was found (trec_eval's `recip_rank`).

    Its mean over queries is the MRR. The arguments and errors are those of `ndcg`.
    """
    found = np.flatnonzero(_gains(ranked, grades, k))
    return 1.0 / float(found[0] + 1) if len(found) else 0.0


def average_precision(ranked: Sequence[str], grades: Grades, k: int | None = None) -> float:
    """Return the precision at the rank of each relevant document, averaged over all relevant documents.

    A relevant document that was not found counts as 0 (Manning et al. 2008, 8.4; trec_eval's `map` and `map_cut`).
    The mean over queries is the MAP. The arguments and errors are those of `ndcg`.
    """
    relevant = count_relevant(grades)
    ranks = np.flatnonzero(_gains(ranked, grades, k)) + 1
    return float(np.sum(np.arange(1, len(ranks) + 1) / ranks)) / relevant if relevant else 0.0


def hit(ranked: Sequence[str], grades: Grades, k: int | None = 10) -> float:
    """Return 1 if a relevant document is among the first k, else 0 (trec_eval's `success`).

    Its mean over queries is the hit rate. The arguments and errors are those of `ndcg`.
    """
    return float(np.any(_gains(ranked, grades, k)))


def count_relevant(grades: Grades) -> int:
    """Return the number of documents with a grade of 1 or more."""
    return sum(grade > 0 for grade in grades.values())


def metrics_at(k: int) -> dict[str, Callable[[Sequence[str], Grades], float]]:
    """Return the metrics of an evaluation by name, as functions of a ranking and grades.

    All use the first k documents, except MAP, which uses the whole ranking.
    """
    return {
        f"nDCG@{k}": lambda ranked, grades: ndcg(ranked, grades, k),
        f"recall@{k}": lambda ranked, grades: recall(ranked, grades, k),
        f"precision@{k}": lambda ranked, grades: precision(ranked, grades, k),
        f"MRR@{k}": lambda ranked, grades: reciprocal_rank(ranked, grades, k),
        "MAP": average_precision,
        f"hit rate@{k}": lambda ranked, grades: hit(ranked, grades, k),
    }


def _gains(ranked: Sequence[str], grades: Grades, k: int | None) -> NDArray[np.float64]:
    """Return the grades of the first k documents, 0 if not relevant, shape (min(k, n),)."""
    if k is not None and as_integer(k) < 1:
        raise ValueError(f"expected k >= 1, got {k}")
    if len(set(ranked)) != len(ranked):
        twice = next(document for number, document in enumerate(ranked) if document in ranked[:number])
        raise ValueError(f"expected each document once in a ranking, got {twice!r} again: keep its best rank only")
    return np.array([max(grades.get(document, 0), 0) for document in ranked[:k]], dtype=float)


def _discounted_sum(gains: NDArray[np.float64]) -> float:
    # An exact sum, so that the best order has exactly 1.0, without a rounding error.
    return math.fsum(gains / np.log2(np.arange(2, len(gains) + 2)))
