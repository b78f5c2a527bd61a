"""How sure a mean over queries is, and whether two settings differ by more than the luck of these queries.

B. Efron, R. J. Tibshirani: An Introduction to the Bootstrap, chapter 13. Chapman & Hall, 1993.
M. D. Smucker, J. Allan, B. Carterette: A comparison of statistical significance tests for information
    retrieval evaluation. CIKM 2007.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ragknn._plain import Plain

RESAMPLES = 10_000  # the ends of an interval and a p-value then vary by less than they are printed with
CONFIDENCE = 0.95

# Values drawn at once, so that a data set of many queries does not fill the memory: 8 MB of float64.
VALUES_PER_DRAW = 1_000_000

# Two sums of the same numbers in another order differ by as much; they count as equal.
ROUNDING = 1e-12


@dataclass(frozen=True, slots=True)
class Estimate(Plain):
    """A mean and how far it may lie from that of all queries of this kind.

    Attributes:
        mean: of the values.
        low: lower end of the confidence interval.
        high: upper end.
    """

    mean: float
    low: float
    high: float

    def __format__(self, spec: str) -> str:
        return f"{self.mean:{spec}} [{self.low:{spec}}, {self.high:{spec}}]"

    def __str__(self) -> str:
        return f"{self:.4f}"


@dataclass(frozen=True, slots=True)
class Comparison(Plain):
    """Two settings on the same queries.

    Attributes:
        metric: what was measured.
        first: name of the setting compared with.
        second: name of the setting compared.
        difference: mean of second - first over the queries; above 0, second is better.
        p_value: how often chance alone makes a mean difference as large, in either direction. Of many
            comparisons some have a small one by chance; they are not corrected for that.
        wins: queries on which second is better.
        losses: queries on which it is worse.
        ties: queries on which both are equal.
    """

    metric: str
    first: str
    second: str
    difference: Estimate
    p_value: float
    wins: int
    losses: int
    ties: int

    def __str__(self) -> str:
        return (
            f"{self.metric}: {self.second} - {self.first} = {self.difference:+.4f}, "
            f"p={self.p_value:.4f}, better on {self.wins}, worse on {self.losses}, equal on {self.ties}"
        )


def bootstrap_mean(
    values: ArrayLike, *, confidence: float = CONFIDENCE, resamples: int = RESAMPLES, seed: int = 0
) -> Estimate:
    """Return the mean of the values with its percentile bootstrap interval (Efron and Tibshirani 1993, 13.3).

    The values are drawn with replacement, as many as there are, again and again; the interval holds the middle
    `confidence` of the means of these samples.

    Args:
        values: one a query, shape (n,).
        confidence: share of the resampled means that the interval holds, between 0 and 1.
        resamples: number of samples drawn.
        seed: of the drawing; the same gives the same interval.

    Raises:
        ValueError: no values, a NaN among them, or a confidence or number of samples that cannot be.
    """
    [estimate] = bootstrap_means(_checked(values, 1)[np.newaxis], confidence=confidence, resamples=resamples, seed=seed)
    return estimate


def bootstrap_means(
    columns: ArrayLike, *, confidence: float = CONFIDENCE, resamples: int = RESAMPLES, seed: int = 0
) -> list[Estimate]:
    """Return what `bootstrap_mean` would for each of several measures on the same queries, in one go.

    Args:
        columns: shape (n_measures, n).
        confidence: as there.
        resamples: as there.
        seed: as there.
    """
    values = _checked(columns, 2)
    check_confidence(confidence)
    generator = np.random.default_rng(seed)
    count = values.shape[1]
    means = np.concatenate(
        [
            # How often each value was drawn: one matrix product then serves all measures.
            np.stack([np.bincount(drawn, minlength=count) for drawn in generator.integers(0, count, (part, count))])
            @ values.T
            for part in _parts(resamples, count)
        ]
    )
    tail = (1 - confidence) / 2
    lows, highs = np.quantile(means / count, [tail, 1 - tail], axis=0)
    return [
        Estimate(float(mean), float(low), float(high))
        for mean, low, high in zip(values.mean(axis=1), lows, highs, strict=True)
    ]


def check_confidence(confidence: float) -> None:
    """Refuse a confidence that is no share.

    Raises:
        ValueError: it does not lie between 0 and 1.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"expected a confidence between 0 and 1, got {confidence}")


def permutation_p_value(differences: ArrayLike, *, resamples: int = RESAMPLES, seed: int = 0) -> float:
    """Return the two-sided p-value of the paired randomization test on the mean (Smucker et al. 2007, 3.1).

    If the settings were alike, each difference might as well have the other sign. The p-value is the share of all
    assignments of signs whose mean is as far from 0 as the one found, or further. Where there are more assignments
    than `resamples`, that many are drawn, and the one found counts as one of them, so that p is never 0.

    Args:
        differences: one a query, shape (n,).
        resamples: number of assignments drawn.
        seed: of the drawing.

    Raises:
        ValueError: no differences, a NaN among them, or resamples < 1.
    """
    values = _checked(differences, 1)
    moved = values[np.abs(values) > ROUNDING]  # the sign of a zero changes nothing
    found = abs(moved.sum()) - ROUNDING * len(moved)
    if 2 ** min(len(moved), 60) <= resamples:
        numbers = np.arange(2 ** len(moved))[:, np.newaxis]
        signs = 1 - 2 * (numbers >> np.arange(len(moved)) & 1)
        return float(np.mean(np.abs(signs @ moved) >= found))
    generator = np.random.default_rng(seed)
    as_far = sum(
        int(np.count_nonzero(np.abs((1 - 2 * generator.integers(0, 2, (part, len(moved)))) @ moved) >= found))
        for part in _parts(resamples, len(moved))
    )
    return (as_far + 1) / (resamples + 1)


def compare(
    metric: str,
    first: tuple[str, ArrayLike],
    second: tuple[str, ArrayLike],
    *,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Comparison:
    """Compare two settings query by query.

    Args:
        metric: what was measured; larger is better.
        first: name of the setting to compare with, and its values, one a query, shape (n,).
        second: the setting to compare, likewise, on the same queries in the same order.
        confidence: of the interval of the mean difference.
        resamples: of the bootstrap and of the randomization test.
        seed: of both.

    Raises:
        ValueError: other numbers of values, or as `bootstrap_mean` has it.
    """
    before, after = _checked(first[1], 1), _checked(second[1], 1)
    if before.shape != after.shape:
        raise ValueError(f"expected as many values of both settings, got {len(before)} and {len(after)}")
    differences = after - before
    return Comparison(
        metric,
        first[0],
        second[0],
        bootstrap_mean(differences, confidence=confidence, resamples=resamples, seed=seed),
        permutation_p_value(differences, resamples=resamples, seed=seed),
        wins=int(np.count_nonzero(differences > ROUNDING)),
        losses=int(np.count_nonzero(differences < -ROUNDING)),
        ties=int(np.count_nonzero(np.abs(differences) <= ROUNDING)),
    )


def _checked(values: ArrayLike, ndim: int) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=float)
    if array.ndim != ndim or not array.size:
        raise ValueError(f"expected at least one value in {ndim} dimension(s), got shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError("expected finite values, got NaN or infinity among them")
    return array


def _parts(resamples: int, count: int) -> Iterator[int]:
    """Cut the number of samples, of `count` values each, into parts that fit the memory."""
    if resamples < 1:
        raise ValueError(f"expected resamples >= 1, got {resamples}")
    most = max(1, VALUES_PER_DRAW // count)
    while resamples:
        yield min(most, resamples)
        resamples -= min(most, resamples)
