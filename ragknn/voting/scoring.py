"""How good votes are, on texts whose labels are known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ragknn._checks import check_several, check_type, described
from ragknn._display.cards import facts_table
from ragknn._display.html import card, sheet, table
from ragknn._display.lines import label_text
from ragknn._plain import Plain
from ragknn.errors import MissingDependency
from ragknn.records import Label, Vote
from ragknn.voting._ballots import are_numbers, sorted_labels
from ragknn.voting._charts import Outcomes, draw_outcomes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SHOWN_MISTAKES = 10


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
        outcomes: (true, voted) and how often, right votes too, the most frequent first; None as the voted label where
            the vote abstained.
    """

    texts: int
    coverage: float
    accuracy: float | None = None
    macro_f1: float | None = None
    mean_absolute_error: float | None = None
    r2: float | None = None
    confusion: tuple[tuple[tuple[Label, Label], int], ...] = ()
    outcomes: Outcomes = field(default=(), repr=False)

    def plot(self, path: str | Path | None = None) -> Figure:
        """Draw a confusion matrix of classes, or voted against true numbers.

        A row of the matrix is a true class and says which classes its texts were given. Of more than 30 classes those
        with the most mistakes are drawn.

        Args:
            path: a file to save the picture in; the suffix says how (.png, .svg, .pdf).

        Raises:
            ValueError: there are no outcomes.
            MissingDependency: matplotlib is not installed.
        """
        return draw_outcomes(self.outcomes, path)

    def _repr_html_(self) -> str:
        """Show the figures and the most frequent mistakes in a notebook."""
        figures = {
            "texts": f"{self.texts:,}",
            "coverage": f"{self.coverage:.1%}",
            "accuracy": self.accuracy,
            "macro F1": self.macro_f1,
            "mean absolute error": self.mean_absolute_error,
            "R²": self.r2,
        }
        facts = facts_table({name: value for name, value in figures.items() if value is not None})
        rows = [(label_text(true), label_text(voted), count) for (true, voted), count in self.confusion]
        heads = ("true label", "voted", "texts")
        mistakes = table("most frequent mistakes", heads, rows[:_SHOWN_MISTAKES]) if rows else ""
        return sheet(card(facts, mistakes))


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
    truth, votes = check_several("truth", truth, '["a", "b"]'), check_several("votes", votes, "voter.vote_many(texts)")
    for vote in votes:
        check_type("each of votes", vote, Vote)
    for label in truth:
        if not isinstance(label, str | int | float | np.generic):
            raise TypeError(f"expected each true label as str, int or float, got {described(label)}")
    if not truth or len(truth) != len(votes):
        raise ValueError(f"expected a vote for each of one or more labels, got {len(votes)} for {len(truth)}")
    told = Counter((true, vote.label) for true, vote in zip(truth, votes, strict=True))
    outcomes = tuple(told.most_common())
    given = [(true, vote.label) for true, vote in zip(truth, votes, strict=True) if vote.label is not None]
    coverage = len(given) / len(truth)
    if not given:
        return Scores(len(truth), coverage, outcomes=outcomes)
    true, voted = zip(*given, strict=True)
    sorted_labels([*true, *voted])  # refuses labels of which some are strings and some numbers
    if are_numbers([*true, *voted]):
        return Scores(
            len(truth),
            coverage,
            mean_absolute_error=float(metrics.mean_absolute_error(true, voted)),
            r2=float(metrics.r2_score(true, voted)) if len(given) > 1 else float(np.nan),
            outcomes=outcomes,
        )
    mistakes = Counter(pair for pair in given if pair[0] != pair[1])
    return Scores(
        len(truth),
        coverage,
        accuracy=float(metrics.accuracy_score(true, voted)),
        macro_f1=float(metrics.f1_score(true, voted, average="macro", zero_division=0.0)),
        confusion=tuple(mistakes.most_common()),
        outcomes=outcomes,
    )
