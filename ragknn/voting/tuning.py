"""Choosing k and weights: each labelled passage is searched with once, and all settings are scored from that."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ragknn._checks import check_call, check_several, check_type, check_whole
from ragknn._display.bars import bar_in_notebook
from ragknn._display.html import Html, element, sheet, table
from ragknn._plain import Plain, frame, plain_fields
from ragknn._protocol.counting import count_labels
from ragknn._protocol.flows import Flow, Progress, repeatable
from ragknn._protocol.reading import labelled_vectors
from ragknn.filters import Where
from ragknn.indexing.async_index import AsyncIndex
from ragknn.indexing.index import Index
from ragknn.records import Label, Neighbor
from ragknn.retrieval._asking import near
from ragknn.voting._arithmetic import (
    Weights,
    check_weights,
    class_shares,
    correct_priors,
    neighbor_weights,
    weighted_average,
    winners,
)
from ragknn.voting._ballots import Ballots, are_numbers, sorted_labels
from ragknn.voting._charts import draw_tuning
from ragknn.voting._defaults import DEFAULT_KS, DEFAULT_WEIGHTS, PASSAGES_PER_ROUND
from ragknn.voting._polling import Excluded, check_enough, most_votes, only_labelled, plan_vote, poll, votable
from ragknn.voting.rules import Rules

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame


@dataclass(frozen=True, slots=True)
class Setting(Plain):
    """One way to vote, and how well it does.

    Attributes:
        k: number of votes.
        weights: "uniform", "distance", or the name of a callable.
        score: accuracy of classes, larger is better; mean absolute error of numbers, smaller is better, and NaN
            where nothing voted.
    """

    k: int
    weights: str
    score: float


@dataclass(frozen=True, slots=True)
class Tuning(Plain):
    """Scores of all settings on the documents of an index, by leaving one out.

    Attributes:
        index: name of the index.
        scoring: "accuracy" or "mean absolute error".
        passages: number of passages that were asked.
        settings: in the order of weights and k.
    """

    index: str
    scoring: str
    passages: int
    settings: tuple[Setting, ...]

    @property
    def best(self) -> Setting:
        """The best setting; of equal ones the first of those with the smallest k."""
        sign = -1 if self.scoring == "accuracy" else 1
        return min(
            self.settings, key=lambda setting: (math.isnan(setting.score), sign * float(setting.score), setting.k)
        )

    def to_dict(self) -> dict[str, Any]:
        """Return everything in it as plain values, for JSON, with the best setting; a score of NaN becomes None."""
        return {**plain_fields(self), "best": self.best.to_dict() if self.settings else None}

    def to_pandas(self) -> DataFrame:
        """Return a DataFrame with a row for each setting.

        Raises:
            MissingDependency: pandas is not installed.
        """
        return frame(("k", "weights", "score"), [(one.k, one.weights, one.score) for one in self.settings])

    def plot(self, path: str | Path | None = None) -> Figure:
        """Draw the scores against k, one line for each kind of weights.

        Args:
            path: a file to save the picture in; the suffix says how (.png, .svg, .pdf).

        Raises:
            MissingDependency: matplotlib is not installed.
        """
        return draw_tuning(self, path)

    def __str__(self) -> str:
        best = self.best
        return f"best {self.scoring} {best.score:.4f} with k={best.k}, weights={best.weights!r}"

    def _repr_html_(self) -> str:
        """Show the scores as a table in a notebook, the best one in bold."""
        kinds = list(dict.fromkeys(setting.weights for setting in self.settings))
        by_place = {(setting.k, setting.weights): setting for setting in self.settings}
        rows = (
            [k, *(self._cell(by_place.get((k, weights))) for weights in kinds)]
            for k in dict.fromkeys(setting.k for setting in self.settings)
        )
        return sheet(table(f"{self.scoring}, {self.passages} passages of {self.index}", ["k", *kinds], rows))

    def _cell(self, setting: Setting | None) -> Html:
        if setting is None:
            return Html("")
        score = f"{setting.score:.4f}"
        return element("b", score) if setting == self.best else Html(score)


def tune(
    index: Index,
    ks: Sequence[int] = DEFAULT_KS,
    weights: Sequence[Weights] = DEFAULT_WEIGHTS,
    *,
    rules: Rules | None = None,
    where: Where | None = None,
    progress: Progress | None = None,
) -> Tuning:
    """Score votes with each k and kind of weights by leaving one out, from one retrieval of the largest k.

    Each labelled passage is asked as if it were a new text. Its own document does not vote, nor do exact
    duplicates of its text, unless the rules count them.

    Args:
        index: an open index.
        ks: numbers of votes; those larger than the number of labelled documents are left out.
        weights: "uniform", "distance" or callables.
        rules: everything else about the vote (`LabelVoter(...).rules`); k and weights in it are ignored.
        where: only passages that match are asked and vote; `ragknn.filters` explains it.
        progress: called with the number of passages asked and of all; None: in a notebook, a bar.

    Raises:
        ValueError: there are too few labelled documents for any k, or an empty choice.
        ServerError: the server cannot be reached or refuses a command.
    """
    check_type("index", index, Index)
    with bar_in_notebook("passages", progress) as told:
        flow = _tuning(index, ks, weights, Rules() if rules is None else rules, where, told)
        return index._run(flow, asks=True)


async def atune(
    index: AsyncIndex,
    ks: Sequence[int] = DEFAULT_KS,
    weights: Sequence[Weights] = DEFAULT_WEIGHTS,
    *,
    rules: Rules | None = None,
    where: Where | None = None,
    progress: Progress | None = None,
) -> Tuning:
    """Async twin of `tune`."""
    check_type("index", index, AsyncIndex)
    with bar_in_notebook("passages", progress) as told:
        flow = _tuning(index, ks, weights, Rules() if rules is None else rules, where, told)
        return await index._run(flow, asks=True)


@repeatable
def _tuning(
    index: Index | AsyncIndex,
    ks: Sequence[int],
    weights: Sequence[Weights],
    rules: Rules,
    where: Where | None,
    progress: Progress,
) -> Flow[Tuning]:
    ks = check_several("ks", ks, "[1, 3, 5]")
    # One name, where several are wanted, is told as its first letter, which no weights are called.
    several: Any = list(weights) if isinstance(weights, str) else weights
    weights = check_several("weights", several, '["uniform", "distance"]')
    if progress is not None:
        check_call("progress", progress, "print")
    check_type("rules", rules, Rules)
    if not ks or not weights:
        raise ValueError(f"expected at least one k and one kind of weights, got ks={ks!r}, weights={weights!r}")
    for kind in weights:
        check_weights(kind)
    wanted = sorted({check_whole("each k", k) for k in ks})
    place = index._place()
    plan = yield from plan_vote(index, replace(rules, min_votes=1), where, {}, explained=False)
    census = yield from count_labels(place, votable(plan))
    # One more than k, since each document is left out of its own vote.
    check_enough(index.name, census, replace(rules, k=wanted[0] + 1, min_votes=1))
    usable = [k for k in wanted if k < most_votes(census, rules)]
    stored = yield from labelled_vectors(place, plan.among)
    largest = replace(rules, k=usable[-1], min_votes=1)
    plan = replace(plan, k=largest.k, breadth=largest.k, among=only_labelled(plan.among, census))
    electorates: list[Sequence[Neighbor]] = []
    for start in range(0, len(stored), PASSAGES_PER_ROUND):
        part = stored[start : start + PASSAGES_PER_ROUND]
        excluded = [
            Excluded(frozenset([one.document_id]), "" if rules.count_duplicates else one.digest) for one in part
        ]
        questions = near(place.schema, np.stack([one.vector for one in part]))
        electorates += yield from poll(place, questions, plan, largest, excluded)
        progress(len(electorates), len(stored))
    labels = [one.label for one in stored]
    classes = sorted_labels(labels)
    numbers = are_numbers(classes)
    priors = np.array([census.documents.get(label, 1) for label in classes], dtype=float) if rules.priors else None
    return Tuning(
        index=index.name,
        scoring="mean absolute error" if numbers else "accuracy",
        passages=len(stored),
        settings=tuple(_scores(electorates, labels, None if numbers else classes, priors, usable, weights)),
    )


def _scores(
    electorates: Sequence[Sequence[Neighbor]],
    labels: Sequence[Label],
    classes: Sequence[Label] | None,
    priors: NDArray[np.float64] | None,
    ks: Sequence[int],
    weights: Sequence[Weights],
) -> Iterator[Setting]:
    whole = Ballots.of(electorates, classes)
    truth: NDArray[Any]
    truth = np.array(labels, dtype=float) if classes is None else np.array([classes.index(label) for label in labels])
    for kind, name in zip(weights, _names(weights), strict=True):
        for k in ks:
            part = whole.first(k)
            each = neighbor_weights(part.distances, part.present, kind)
            if classes is None:
                errors = np.abs(weighted_average(part.labels, each) - truth)
                voted = ~np.isnan(errors)
                score = float(errors[voted].mean()) if voted.any() else math.nan
            else:
                # Nobody voted where all weights are 0: that is no right answer.
                voted = each.any(axis=1)
                shares = class_shares(part.labels, each, len(classes))
                if priors is not None:
                    shares = correct_priors(shares, priors)
                score = float(np.mean(voted & (winners(shares) == truth)))
            yield Setting(k, name, score)


def _names(weights: Sequence[Weights]) -> list[str]:
    """Return a name for each kind of weights, different ones for different callables."""
    names: list[str] = []
    for kind in weights:
        name = plain = kind if isinstance(kind, str) else getattr(kind, "__name__", repr(kind))
        number = 1
        while name in names:
            number += 1
            name = f"{plain} ({number})"
        names.append(name)
    return names
