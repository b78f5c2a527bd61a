"""Confidence intervals of means over queries, and tests whether two settings differ by more than chance.

B. Efron, R. J. Tibshirani: An Introduction to the Bootstrap, chapter 13. Chapman & Hall, 1993.
M. D. Smucker, J. Allan, B. Carterette: A comparison of statistical significance tests for information
    retrieval evaluation. CIKM 2007.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ragknn._checks import check_number, check_whole
from ragknn._display.html import sheet, table
from ragknn._plain import Plain

RESAMPLES = 10_000  # interval ends and p-values then vary by less than their printed precision
CONFIDENCE = 0.95

# Values drawn at once, to limit memory for data sets of many queries: 8 MB of float64.
VALUES_PER_DRAW = 1_000_000

# Sums of the same numbers in another order can differ by this; they count as equal.
ROUNDING = 1e-12


@dataclass(frozen=True, slots=True)
class Estimate(Plain):
    """A mean, with a confidence interval for the mean over all queries of this kind.

    Attributes:
        mean: mean of the values.
        low: lower end of the confidence interval.
        high: upper end of the confidence interval.
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
        metric: name of the metric.
        first: name of the setting compared with.
        second: name of the setting compared.
        difference: mean of second - first over the queries; above 0, second is better.
        p_value: how often chance alone gives a mean difference at least as large, in either direction. It is not
            corrected for many comparisons, of which some have a small p-value by chance.
        wins: number of queries on which second is better.
        losses: number of queries on which second is worse.
        ties: number of queries on which both are equal.
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

    def _repr_html_(self) -> str:
        """Show the comparison as a table in a notebook."""
        heads = (f"{self.metric}: {self.second} - {self.first}", "p", "better on", "worse on", "equal on")
        row = (f"{self.difference:+.4f}", f"{self.p_value:.4f}", self.wins, self.losses, self.ties)
        return sheet(table(None, heads, [row]))


def bootstrap_mean(
    values: ArrayLike, *, confidence: float = CONFIDENCE, resamples: int = RESAMPLES, seed: int = 0
) -> Estimate:
    """Return the mean of the values with its percentile bootstrap interval (Efron and Tibshirani 1993, 13.3).

    Each sample draws as many values as there are, with replacement. The interval covers the middle `confidence` of
    the samples' means.

    Args:
        values: one value per query, shape (n,).
        confidence: share of the samples' means inside the interval, between 0 and 1.
        resamples: number of samples.
        seed: random seed; the same seed gives the same interval.

    Raises:
        ValueError: no values, a NaN or infinity among them, or an invalid confidence or number of samples.
    """
    [estimate] = bootstrap_means(_checked(values, 1)[np.newaxis], confidence=confidence, resamples=resamples, seed=seed)
    return estimate


def bootstrap_means(
    columns: ArrayLike, *, confidence: float = CONFIDENCE, resamples: int = RESAMPLES, seed: int = 0
) -> list[Estimate]:
    """Return the results of `bootstrap_mean` for several metrics on the same queries, in one computation.

    Args:
        columns: values, shape (n_metrics, n).
        confidence: as for `bootstrap_mean`.
        resamples: as for `bootstrap_mean`.
        seed: as for `bootstrap_mean`.
    """
    values = _checked(columns, 2)
    check_confidence(confidence)
    seed = check_whole("seed", seed, 0)
    generator = np.random.default_rng(seed)
    count = values.shape[1]
    means = np.concatenate(
        [
            # Counts of each value in the samples, so that one matrix product gives the means of all metrics.
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
    """Refuse an invalid confidence.

    Raises:
        ValueError: it is not between 0 and 1.
    """
    if not 0 < check_number("confidence", confidence) < 1:
        raise ValueError(f"expected a confidence between 0 and 1, got {confidence}")


def permutation_p_value(differences: ArrayLike, *, resamples: int = RESAMPLES, seed: int = 0) -> float:
    """Return the two-sided p-value of the paired randomization test on the mean (Smucker et al. 2007, 3.1).

    If the settings were equally good, each difference could have either sign with equal probability. The p-value is
    the share of all assignments of signs whose mean is at least as far from 0 as the observed mean. If there are more
    assignments than `resamples`, a sample of that size is drawn and the observed one is added, so that p is never 0.

    Args:
        differences: one difference per query, shape (n,).
        resamples: number of assignments to draw.
        seed: random seed.

    Raises:
        ValueError: no differences, a NaN or infinity among them, or resamples < 1.
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
        metric: name of the metric; larger is better.
        first: name of the setting to compare with, and its values, one per query, shape (n,).
        second: the setting to compare, likewise, on the same queries in the same order.
        confidence: confidence of the interval of the mean difference.
        resamples: number of samples of the bootstrap and of the randomization test.
        seed: random seed of both.

    Raises:
        ValueError: different numbers of values, or as for `bootstrap_mean`.
    """
    before, after = _checked(first[1], 1), _checked(second[1], 1)
    if before.shape != after.shape:
        raise ValueError(f"expected the same number of values of both settings, got {len(before)} and {len(after)}")
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
    """Divide the samples, of `count` values each, into parts that fit into memory; yield the size of each part."""
    if resamples < 1:
        raise ValueError(f"expected resamples >= 1, got {resamples}")
    most = max(1, VALUES_PER_DRAW // count)
    while resamples:
        yield min(most, resamples)
        resamples -= min(most, resamples)
