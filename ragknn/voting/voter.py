"""Labels from neighbors: `LabelVoter` in sync code, `AsyncLabelVoter` in async code."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ragknn._protocol.counting import LabelCensus, count_labels
from ragknn._protocol.flows import Flow, Work
from ragknn._protocol.query import LABELLED, Fragment, intersection
from ragknn._protocol.vectors import check_vectors
from ragknn._protocol.where import Where
from ragknn.embedding._long_texts import embed_queries
from ragknn.indexing.index import AsyncIndex, Index
from ragknn.records import Label, Neighbor, Retrieval, Vote
from ragknn.retrieval._answers import nearest
from ragknn.retrieval._searches import LABELS, WHOLE, Ask
from ragknn.retrieval.retriever import AsyncRetriever, Retriever, check_queries
from ragknn.server._connection import arun, run
from ragknn.voting._arithmetic import Weights
from ragknn.voting.rules import Priors, Rules, are_numbers, electorate, hold_votes, sorted_labels

# A query with too few voters is asked again for this many times more neighbors.
WIDER = 4


class _VoterBase:
    """What both faces share: the rules, the census of labels, and all counting."""

    def __init__(
        self,
        retriever: Any,
        k: int = 5,
        *,
        weights: Weights = "uniform",
        one_vote_per_document: bool = True,
        count_duplicates: bool = False,
        max_distance: float | None = None,
        min_share: float = 0.0,
        min_votes: int = 1,
        priors: Priors = None,
        where: Where | None = None,
    ) -> None:
        self.retriever = retriever
        self.where = where
        self.rules = Rules(
            k=k,
            weights=weights,
            one_vote_per_document=one_vote_per_document,
            count_duplicates=count_duplicates,
            max_distance=max_distance,
            min_share=min_share,
            min_votes=min_votes,
            priors=priors,
        )
        self.census: LabelCensus | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.retriever.index.name!r}, {self.rules!r})"

    def vote_on(self, retrieval: Retrieval, *, exclude: Collection[str] = ()) -> Vote:
        """Vote with the neighbors of a retrieval that is already there; Redis is not asked again.

        As many vote as the retrieval has, k at most. Ask for more than k neighbors where documents have several
        passages.

        Args:
            retrieval: its passages as they were retrieved.
            exclude: ids of documents that may not vote.

        Raises:
            ValueError: strings and numbers are mixed among the labels.
        """
        voters = electorate(retrieval, self.rules, _checked_ids(exclude))
        labels = [voter.passage.label for voter in voters if voter.passage.label is not None]
        known = dict(self.census.documents) if self.census else {}
        if self.rules.priors and not self.census:
            raise ValueError("expected the labels to be counted before priors are balanced: call refresh() first")
        [vote] = self._hold([voters], {**dict.fromkeys(labels, 1), **known}, [retrieval.complete])
        return replace(vote, warnings=retrieval.warnings)

    def _hold(
        self, electorates: Sequence[Sequence[Neighbor]], counts: dict[Label, int], complete: Sequence[bool]
    ) -> list[Vote]:
        classes = sorted_labels(counts)
        return hold_votes(electorates, self.rules, None if are_numbers(classes) else classes, counts, complete)

    @property
    def classes_(self) -> NDArray[Any]:
        """The classes in sorted order, shape (n_classes,).

        Raises:
            ValueError: the labels were not counted yet, or are numbers.
        """
        return np.array(self._sorted_classes())

    def _sorted_classes(self) -> list[Label]:
        if self.census is None:
            raise ValueError("expected the labels to be counted: call refresh(), or vote, first")
        labels = sorted_labels(self.census.documents)
        if are_numbers(labels):
            raise ValueError("expected classes, got numbers as labels, which are averaged")
        return labels


class LabelVoter(_VoterBase):
    """Let the neighbors of a text vote on its label, as scikit-learn's nearest neighbors do.

    Labels that are strings, integers or booleans are classes, and the class with the largest share wins; of equal
    shares the first in sorted order. If there is a float among them, labels are numbers and are averaged.

    Args:
        retriever: finds the neighbors. Passages without a label never vote.
        k: number of votes.
        weights: "uniform"; "distance" for 1/distance; or a callable from distances to weights, both of shape (n, k).
        one_vote_per_document: whether only the nearest passage of each document votes. Otherwise a long document
            has as many votes as it has passages among the nearest.
        count_duplicates: whether exact duplicates of a text each vote. By default a text with the same label
            votes once, however often it is stored.
        max_distance: neighbors that lie further away do not vote.
        min_share: abstain where the winning share is smaller; 0 to 1; classes only.
        min_votes: abstain where there are fewer votes.
        priors: "balanced" divides each share by how frequent the class is in the index, so that rare classes are
            not outvoted by frequent ones.
        where: only passages that match vote; `ragknn.filters` explains it.

    Raises:
        ValueError: a value that cannot be.
    """

    retriever: Retriever

    def vote(self, text: str, *, exclude: Collection[str] = ()) -> Vote:
        """Return the label that the neighbors give to the text, with the neighbors that gave it.

        Args:
            text: what to label.
            exclude: ids of documents that may not vote, such as the text's own.

        Raises:
            ValueError: no document has a label, fewer than k have one, or strings and numbers are mixed.
            IncompleteRetrieval: the server stopped early.
        """
        return run(self.retriever.index.client, _voting(self, [text], exclude, WHOLE))[0]

    def vote_many(self, texts: Sequence[str], *, exclude: Collection[str] = ()) -> list[Vote]:
        """Return for each text what `vote` would, in as few round trips as one text needs."""
        return run(self.retriever.index.client, _voting(self, texts, exclude, WHOLE))

    def predict(self, texts: Sequence[str], *, exclude: Collection[str] = ()) -> NDArray[Any]:
        """Return the labels, shape (n,): objects, None where abstained; of numbers float64, NaN where abstained.

        Only ids, labels and distances come from Redis.
        """
        return _labels(self, run(self.retriever.index.client, _voting(self, texts, exclude, LABELS)))

    def predict_proba(self, texts: Sequence[str], *, exclude: Collection[str] = ()) -> NDArray[np.float64]:
        """Return the shares of all classes, in the order of `classes_`, shape (n, n_classes).

        Raises:
            ValueError: the labels are numbers.
        """
        return _shares(self, run(self.retriever.index.client, _voting(self, texts, exclude, LABELS)))

    def refresh(self) -> None:
        """Count the labels again. A vote that meets a label which it does not know does so by itself."""
        run(self.retriever.index.client, _counting(self))


class AsyncLabelVoter(_VoterBase):
    """Async twin of `LabelVoter`; `vote_on` and `classes_` do not wait for anything."""

    retriever: AsyncRetriever

    async def vote(self, text: str, *, exclude: Collection[str] = ()) -> Vote:
        """Async twin of `LabelVoter.vote`."""
        return (await arun(self.retriever.index.client, _voting(self, [text], exclude, WHOLE)))[0]

    async def vote_many(self, texts: Sequence[str], *, exclude: Collection[str] = ()) -> list[Vote]:
        """Async twin of `LabelVoter.vote_many`."""
        return await arun(self.retriever.index.client, _voting(self, texts, exclude, WHOLE))

    async def predict(self, texts: Sequence[str], *, exclude: Collection[str] = ()) -> NDArray[Any]:
        """Async twin of `LabelVoter.predict`."""
        return _labels(self, await arun(self.retriever.index.client, _voting(self, texts, exclude, LABELS)))

    async def predict_proba(self, texts: Sequence[str], *, exclude: Collection[str] = ()) -> NDArray[np.float64]:
        """Async twin of `LabelVoter.predict_proba`."""
        return _shares(self, await arun(self.retriever.index.client, _voting(self, texts, exclude, LABELS)))

    async def refresh(self) -> None:
        """Async twin of `LabelVoter.refresh`."""
        await arun(self.retriever.index.client, _counting(self))


def _counting(voter: _VoterBase) -> Flow[LabelCensus]:
    index = voter.retriever.index
    voter.census = yield from count_labels(index.keys, index.filter(voter.where))
    return voter.census


def _voting(
    voter: _VoterBase, texts: Sequence[str], exclude: Collection[str], returned: tuple[str, ...]
) -> Flow[list[Vote]]:
    check_queries(texts)
    absent = Absent(_checked_ids(exclude))
    index = voter.retriever.index
    embedder = index.embedder
    among = index.filter(voter.where)
    vectors, notes = yield Work(lambda: embed_queries(embedder, texts, voter.retriever.long_queries))
    census = voter.census or (yield from _counting(voter))
    if most_votes(census, voter.rules) < voter.rules.k:
        census = yield from _counting(voter)  # there may be more by now
    check_enough(index.name, census, voter.rules)
    ask = Ask(
        k=voter.rules.k,
        ef_runtime=None,
        timeout=index.timeout,
        on_incomplete=voter.retriever.on_incomplete,
        returned=returned,
        among=only_labelled(among, census),
    )
    polled = yield from poll(index, vectors, voter.rules, ask, [absent] * len(texts))
    electorates = [voters for voters, _ in polled]
    if any(neighbor.passage.label not in census.documents for voters in electorates for neighbor in voters):
        census = yield from _counting(voter)
    votes = voter._hold(electorates, dict(census.documents), [not warnings for _, warnings in polled])
    return [
        replace(vote, warnings=(*warnings, *of_text))
        for vote, (_, warnings), of_text in zip(votes, polled, notes, strict=True)
    ]


def _checked_ids(exclude: Collection[str]) -> frozenset[str]:
    if isinstance(exclude, str):
        raise TypeError(f"expected a collection of document ids to exclude, got the str {exclude!r}")
    return frozenset(exclude)


def most_votes(census: LabelCensus, rules: Rules) -> int:
    """Return how many may vote at most: all labelled documents, or passages where each of these votes."""
    return sum(census.documents.values()) if rules.one_vote_per_document else census.labelled


def only_labelled(among: Fragment, census: LabelCensus) -> Fragment:
    """Return what finds the passages that may vote; where all have a label, they need not be told apart."""
    return intersection(among, LABELLED) if census.labelled < census.passages else among


def check_enough(name: str, census: LabelCensus, rules: Rules) -> None:
    """Refuse a vote for which there are not enough labelled documents, or passages where each of these votes.

    Raises:
        ValueError: none has a label, or fewer than k.
    """
    most = most_votes(census, rules)
    if not most:
        raise ValueError(
            f"expected documents with labels in index {name!r}, got none among {census.passages} passages: "
            "add documents with a label (Document(label=...), a field `label` in files)"
        )
    if most < rules.k:
        what = "documents" if rules.one_vote_per_document else "passages"
        raise ValueError(f"expected k <= {most}, the number of labelled {what} in index {name!r}, got k = {rules.k}")


@dataclass(frozen=True, slots=True)
class Absent:
    """Who may not vote on a query.

    Attributes:
        documents: ids of documents.
        twin: digest of a text whose exact duplicates may not vote either; empty for none.
    """

    documents: frozenset[str] = frozenset()
    twin: str = ""


def poll(
    index: Index | AsyncIndex, vectors: ArrayLike, rules: Rules, ask: Ask, absent: Sequence[Absent]
) -> Flow[list[tuple[list[Neighbor], tuple[str, ...]]]]:
    """Find k voters for each row of `vectors`, shape (n, dim).

    What may not vote takes up places among the nearest, so that a query with too few voters is asked again for
    more neighbors, together with all others of which that is true.

    Args:
        index: an open index.
        vectors: of the queries.
        rules: of the vote.
        ask: how to search; its k is replaced.
        absent: for each query, who may not vote.

    Returns:
        For each query the voters, nearest first, and why the search behind them was not complete: nothing if it was.
    """
    schema = index.schema
    rows = check_vectors(vectors, schema.dim, schema.metric, schema.dtype)
    found: list[tuple[list[Neighbor], tuple[str, ...]]] = [([], ())] * len(rows)
    pending = list(range(len(rows)))
    spare = rules.k if rules.one_vote_per_document else 0
    breadth = rules.k + spare + max((len(each.documents) for each in absent), default=0)
    while pending:
        retrievals = yield from nearest(index.keys, schema, rows[pending], replace(ask, k=breadth), index.watch)
        short = []
        for row, retrieval in zip(pending, retrievals, strict=True):
            voters = electorate(retrieval, rules, absent[row].documents, absent[row].twin)
            found[row] = (voters, retrieval.warnings)
            if len(voters) < rules.k and _goes_on(retrieval, rules, breadth):
                short.append(row)
        pending, breadth = short, WIDER * breadth
    return found


def _goes_on(retrieval: Retrieval, rules: Rules, breadth: int) -> bool:
    if len(retrieval) < breadth:
        return False
    return rules.max_distance is None or retrieval[-1].distance <= rules.max_distance


def _labels(voter: _VoterBase, votes: Sequence[Vote]) -> NDArray[Any]:
    labels: Sequence[Label] = list(voter.census.documents) if voter.census else []
    if are_numbers(labels):
        return np.array([np.nan if vote.label is None else vote.label for vote in votes], dtype=np.float64)
    predicted = np.empty(len(votes), dtype=object)
    predicted[:] = [vote.label for vote in votes]
    return predicted


def _shares(voter: _VoterBase, votes: Sequence[Vote]) -> NDArray[np.float64]:
    classes = voter._sorted_classes()
    shares = [[vote.shares.get(label, 0.0) for label in classes] for vote in votes]
    return np.array(shares, dtype=np.float64).reshape(len(votes), len(classes))
