"""How good votes are, on texts whose labels are known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ragknn._plain import Plain
from ragknn.errors import MissingDependency
from ragknn.records import Label, Vote
from ragknn.voting._ballots import are_numbers


@dataclass(frozen=True, slots=True)
class Scores(Plain):
    """The figures of an evaluation.

    Attributes:
        texts: number of texts.
        coverage: share of them that the vote gave a label; it abstained from the others, which count in no other
            figure.
        accuracy: of classes: share of right labels.
        macro_f1: of classes: the F1 scores of all classes, averaged with equal weight.
        mean_absolute_error: of numbers.
        r2: of numbers: the coefficient of determination.
        confusion: of classes: (true, voted) and how often, the most frequent mistakes first.
    """

    texts: int
    coverage: float
    accuracy: float | None = None
    macro_f1: float | None = None
    mean_absolute_error: float | None = None
    r2: float | None = None
    confusion: tuple[tuple[tuple[Label, Label], int], ...] = ()


def score_votes(truth: Sequence[Label], votes: Sequence[Vote]) -> Scores:
    """Compare votes with the true labels, by scikit-learn's definitions.

    Raises:
        ValueError: there are no texts, or other numbers of them.
        MissingDependency: scikit-learn is not installed.
    """
    try:
        from sklearn import metrics  # optional, and slow to import
    except ImportError as error:
        raise MissingDependency("scikit-learn", "scoring votes", "sklearn") from error
    if not truth or len(truth) != len(votes):
        raise ValueError(f"expected a vote for each of one or more labels, got {len(votes)} for {len(truth)}")
    given = [(true, vote.label) for true, vote in zip(truth, votes, strict=True) if vote.label is not None]
    coverage = len(given) / len(truth)
    if not given:
        return Scores(len(truth), coverage)
    true, voted = zip(*given, strict=True)
    if are_numbers([*true, *voted]):
        return Scores(
            len(truth),
            coverage,
            mean_absolute_error=float(metrics.mean_absolute_error(true, voted)),
            r2=float(metrics.r2_score(true, voted)) if len(given) > 1 else float(np.nan),
        )
    mistakes = Counter(pair for pair in given if pair[0] != pair[1])
    return Scores(
        len(truth),
        coverage,
        accuracy=float(metrics.accuracy_score(true, voted)),
        macro_f1=float(metrics.f1_score(true, voted, average="macro", zero_division=0.0)),
        confusion=tuple(mistakes.most_common()),
    )
