"""Which neighbors may vote, and what comes of their votes; shared by voters and tuning."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragknn._protocol.hashing import text_identity
from ragknn.records import Label, Neighbor, Retrieval, Vote
from ragknn.voting._arithmetic import (
    class_shares,
    correct_priors,
    neighbor_weights,
    weighted_average,
    winners,
)
from ragknn.voting.rules import Rules


def are_numbers(labels: Iterable[Label]) -> bool:
    """Tell whether the labels are numbers to be averaged: there is a float among them. Others are classes."""
    return any(isinstance(label, float) for label in labels)


def sorted_labels(labels: Iterable[Label]) -> list[Label]:
    """Return the different labels in sorted order.

    Raises:
        ValueError: strings and numbers are mixed, which have no order and no average.
    """
    different = set(labels)
    if len({isinstance(label, str) for label in different}) > 1:
        text = next(label for label in different if isinstance(label, str))
        number = next(label for label in different if not isinstance(label, str))
        raise ValueError(
            f"expected labels that are all strings or all numbers, got {text!r} and {number!r}: "
            "write the numbers as strings, or keep the two kinds in indexes of their own"
        )
    return sorted(different)


def electorate(
    neighbors: Iterable[Neighbor], rules: Rules, excluded: Collection[str] = (), duplicate_of: str = ""
) -> list[Neighbor]:
    """Return the neighbors that may vote, in their order, k at most.

    Args:
        neighbors: the best first.
        rules: voting rules.
        excluded: ids of documents that may not vote.
        duplicate_of: digest of a text whose exact duplicates may not vote; empty for none.
    """
    voters: list[Neighbor] = []
    documents: set[str] = set()
    texts: set[tuple[str, Label]] = set()
    for neighbor in neighbors:
        passage = neighbor.passage
        if rules.max_distance is not None and not neighbor.distance <= rules.max_distance:
            continue
        if passage.label is None or passage.document_id in excluded:
            continue
        if rules.weights != "uniform" and math.isnan(neighbor.distance):
            continue  # found by its words, and without a vector
        if rules.one_vote_per_document:
            if passage.document_id in documents:
                continue
            documents.add(passage.document_id)
        if not rules.count_duplicates:
            own = text_identity(passage)
            if (own, passage.label) in texts or own == duplicate_of:
                continue
            texts.add((own, passage.label))
        voters.append(neighbor)
        if len(voters) == rules.k:
            break
    return voters


@dataclass(frozen=True, slots=True)
class Ballots:
    """The votes of several queries as arrays.

    Attributes:
        distances: shape (n, k); values where `present` is False are ignored.
        present: shape (n, k).
        labels: class codes (n, k), or numbers where they are averaged.
    """

    distances: NDArray[np.float64]
    present: NDArray[np.bool_]
    labels: NDArray[Any]

    @classmethod
    def of(cls, electorates: Sequence[Sequence[Neighbor]], classes: Sequence[Label] | None) -> Ballots:
        """Lay out the voters; `classes` None means that labels are numbers."""
        width = max(map(len, electorates), default=0)
        codes: dict[Label | None, int] = {label: number for number, label in enumerate(classes or ())}
        distances = np.ones((len(electorates), width))
        present = np.zeros((len(electorates), width), dtype=bool)
        labels = np.zeros((len(electorates), width), dtype=float if classes is None else np.intp)
        for row, voters in enumerate(electorates):
            own = [voter.passage.label for voter in voters]
            present[row, : len(voters)] = True
            distances[row, : len(voters)] = [voter.distance for voter in voters]
            labels[row, : len(voters)] = own if classes is None else [codes[label] for label in own]
        return cls(distances, present, labels)

    def first(self, k: int) -> Ballots:
        """Return the ballots of the first k voters of each query."""
        return Ballots(self.distances[:, :k], self.present[:, :k], self.labels[:, :k])


def hold_votes(
    polled: Sequence[Retrieval], rules: Rules, classes: Sequence[Label] | None, frequencies: Mapping[Label, int]
) -> list[Vote]:
    """Return what the voters of each query say.

    Args:
        polled: the voters of each query, the best first.
        rules: voting rules.
        classes: all classes in sorted order; None where labels are numbers; empty where nobody can vote.
        frequencies: documents of each class, for `priors`.
    """
    ballots = Ballots.of(polled, classes)
    weights = neighbor_weights(ballots.distances, ballots.present, rules.weights)
    totals = weights.sum(axis=1, keepdims=True)
    parts = weights / np.where(totals == 0, 1.0, totals)
    if not classes:
        averages = weighted_average(ballots.labels, weights)
        return [
            _vote(voters, part, rules, {}, float(average))
            for voters, part, average in zip(polled, parts, averages, strict=True)
        ]
    shares = class_shares(ballots.labels, weights, len(classes))
    if rules.priors == "balanced":
        shares = correct_priors(shares, np.array([frequencies[label] for label in classes], dtype=float))
    return [
        _vote(voters, part, rules, _by_share(row, classes), classes[best])
        for voters, part, row, best in zip(polled, parts, shares, winners(shares), strict=True)
    ]


def _by_share(row: NDArray[np.float64], classes: Sequence[Label]) -> dict[Label, float]:
    order = np.argsort(-row, kind="stable")
    return {classes[code]: float(row[code]) for code in order if row[code] > 0}


def _vote(
    voters: Retrieval, parts: NDArray[np.float64], rules: Rules, shares: Mapping[Label, float], label: Label
) -> Vote:
    largest = max(shares.values(), default=1.0 if voters else 0.0)
    reason = ""
    if len(voters) < rules.min_votes:
        within = "" if rules.max_distance is None else f" within distance {rules.max_distance:g}"
        reason = f"expected at least {rules.min_votes} votes{within}, got {len(voters)}"
    elif not parts.any():
        reason = "expected votes that weigh something, got only weights of 0"
    elif largest < rules.min_share:
        reason = f"expected a share of at least {rules.min_share:g}, got {largest:.2f}"
    weights = tuple(map(float, parts[: len(voters)]))
    return Vote(
        None if reason else label,
        shares,
        voters.neighbors,
        weights,
        abstained=bool(reason),
        reason=reason,
        complete=voters.complete,
        warnings=voters.warnings,
    )
