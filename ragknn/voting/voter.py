"""Labels from neighbors: `LabelVoter` in sync code, `AsyncLabelVoter` in async code."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Unpack

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ragknn._checks import check_type
from ragknn._protocol.counting import LabelCensus
from ragknn._protocol.flows import Progress
from ragknn._protocol.keys import Keys
from ragknn.filters import Where
from ragknn.records import Label, Retrieval, Vote
from ragknn.retrieval._asking import one_row
from ragknn.retrieval.options import SearchOptions
from ragknn.retrieval.retriever import AsyncRetriever, Retriever
from ragknn.voting._arithmetic import Weights
from ragknn.voting._ballots import are_numbers, electorate, hold_votes, sorted_labels
from ragknn.voting._defaults import DEFAULT_KS, DEFAULT_WEIGHTS
from ragknn.voting._voting import checked_ids, counting, voting
from ragknn.voting.rules import Priors, Rules
from ragknn.voting.tuning import Tuning, atune, tune


class _VoterBase:
    """What both faces share: the rules, the census of labels, and the votes."""

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
        check_type("retriever", retriever, AsyncRetriever if isinstance(self, AsyncLabelVoter) else Retriever)
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
        self._with_vector: LabelCensus | None = None  # who may vote where neighbors are found by vector
        self._counted_in: Keys | None = None  # the index as it was then

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.retriever.index.name!r}, {self.rules!r})"

    def vote_on(self, retrieval: Retrieval, *, exclude: Collection[str] = ()) -> Vote:
        """Vote with the neighbors of an existing retrieval, without asking Redis again.

        As many vote as the retrieval has, k at most. Ask for more than k neighbors where documents have several
        passages.

        Args:
            retrieval: neighbors, the best first.
            exclude: ids of documents that may not vote.

        Raises:
            TypeError: something else than a retrieval.
            ValueError: strings and numbers are mixed among the labels.
        """
        check_type("retrieval", retrieval, Retrieval, "vote_on takes what retrieve() returned; vote(text) asks Redis")
        voters = electorate(retrieval, self.rules, checked_ids(exclude))
        labels = [voter.passage.label for voter in voters if voter.passage.label is not None]
        known = dict(self.census.documents) if self.census else {}
        if self.rules.priors and not self.census:
            raise ValueError("expected the labels to be counted before priors are balanced: call refresh() first")
        polled = Retrieval(voters, complete=retrieval.complete, warnings=retrieval.warnings)
        return self._hold([polled], {**dict.fromkeys(labels, 1), **known})[0]

    def _hold(self, polled: Sequence[Retrieval], counts: Mapping[Label, int]) -> list[Vote]:
        classes = sorted_labels(counts)
        return hold_votes(polled, self.rules, None if are_numbers(classes) else classes, counts)

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
        weights: "uniform"; "distance" for 1/distance; or a callable from distances to weights, both of shape (n, k),
            none below 0; one of infinite weight outvotes all others, as one at distance 0 does with "distance".
        one_vote_per_document: whether only the nearest passage of each document votes. Otherwise a long document
            has as many votes as it has passages among the nearest.
        count_duplicates: whether exact duplicates of a text each vote. By default a text with the same label
            votes once, however often it is stored.
        max_distance: neighbors further away do not vote.
        min_share: abstain where the winning share is smaller; 0 to 1; classes only.
        min_votes: abstain where there are fewer votes.
        priors: "balanced" divides each share by how frequent the class is in the index, so that rare classes are
            not outvoted by frequent ones.
        where: only passages that match vote; `ragknn.filters` explains it.

    Raises:
        ValueError: an invalid value.
    """

    retriever: Retriever

    def vote(
        self,
        text: str | ArrayLike | None = None,
        *,
        vector: ArrayLike | None = None,
        exclude: Collection[str] = (),
        **options: Unpack[SearchOptions],
    ) -> Vote:
        """Return the label that the neighbors give to the text, with the neighbors that gave it.

        Args:
            text: what to label; or a vector in its place, shape (dim,).
            vector: the text as a ready vector, shape (dim,); None embeds it. Without a text the mode must be "vector".
            exclude: ids of documents that may not vote, such as the text's own.
            options: `where`, `mode`, `fusion`, `rerank`, `candidates`, `ef_runtime` and `recall` as for
                `Retriever.retrieve`. The first k neighbors in that order that may vote do. `where` holds beside the
                voter's own.

        Raises:
            ValueError: no document has a label, fewer than k have one, or strings and numbers are mixed; an invalid
                option.
            IncompleteRetrieval: the server stopped early.
            ServerError: the server cannot be reached or refuses a command.
        """
        flow = voting(self, None if text is None else [text], one_row(vector), exclude, options, explained=True)
        return self.retriever.index._run(flow, asks=True)[0]

    def vote_many(
        self,
        texts: Sequence[str] | ArrayLike | None = None,
        *,
        vectors: ArrayLike | None = None,
        exclude: Collection[str] = (),
        **options: Unpack[SearchOptions],
    ) -> list[Vote]:
        """Return for each text what `vote` would, in as few round trips as one text needs.

        Args:
            texts: n texts; or vectors in their place, shape (n, dim), as scikit-learn takes them.
            vectors: the texts as ready vectors, shape (n, dim); None embeds them. Without texts the mode must be
                "vector".
            exclude: as for `vote`.
            options: as for `vote`.

        Raises:
            ValueError: as for `vote`.
            IncompleteRetrieval: the server stopped early for one of the texts.
            ServerError: the server cannot be reached or refuses a command.
        """
        flow = voting(self, texts, vectors, exclude, options, explained=True)
        return self.retriever.index._run(flow, asks=True)

    def predict(
        self,
        texts: Sequence[str] | ArrayLike | None = None,
        *,
        vectors: ArrayLike | None = None,
        exclude: Collection[str] = (),
        **options: Unpack[SearchOptions],
    ) -> NDArray[Any]:
        """Return the labels, shape (n,): objects, None where abstained; of numbers float64, NaN where abstained.

        Only ids, labels and distances come from Redis. The arguments are those of `vote_many`.

        Raises:
            ValueError: as for `vote`.
            IncompleteRetrieval: the server stopped early for one of the texts.
            ServerError: the server cannot be reached or refuses a command.
        """
        flow = voting(self, texts, vectors, exclude, options, explained=False)
        return _labels(self, self.retriever.index._run(flow, asks=True))

    def predict_proba(
        self,
        texts: Sequence[str] | ArrayLike | None = None,
        *,
        vectors: ArrayLike | None = None,
        exclude: Collection[str] = (),
        **options: Unpack[SearchOptions],
    ) -> NDArray[np.float64]:
        """Return the shares of all classes, in the order of `classes_`, shape (n, n_classes).

        The arguments are those of `vote_many`.

        Raises:
            ValueError: as for `vote`, or the labels are numbers.
            IncompleteRetrieval: the server stopped early for one of the texts.
            ServerError: the server cannot be reached or refuses a command.
        """
        flow = voting(self, texts, vectors, exclude, options, explained=False)
        return _shares(self, self.retriever.index._run(flow, asks=True))

    def refresh(self) -> None:
        """Count the labels again; a vote that meets an unknown label does this itself.

        Raises:
            ServerError: the server cannot be reached or refuses a command.
        """
        self.retriever.index._run(counting(self))

    def tune(
        self,
        ks: Sequence[int] = DEFAULT_KS,
        weights: Sequence[Weights] = DEFAULT_WEIGHTS,
        *,
        progress: Progress | None = None,
    ) -> Tuning:
        """Score this voter's rules with each k and kind of weights, leaving one out; `ragknn.tune` explains.

        Raises:
            ValueError: there are too few labelled documents for any k, or an empty choice.
            ServerError: the server cannot be reached or refuses a command.
        """
        index, rules, where = self.retriever.index, self.rules, self.where
        return tune(index, ks, weights, rules=rules, where=where, progress=progress)


class AsyncLabelVoter(_VoterBase):
    """Async twin of `LabelVoter`; `vote_on` and `classes_` do not wait for anything."""

    retriever: AsyncRetriever

    async def vote(
        self,
        text: str | ArrayLike | None = None,
        *,
        vector: ArrayLike | None = None,
        exclude: Collection[str] = (),
        **options: Unpack[SearchOptions],
    ) -> Vote:
        """Async twin of `LabelVoter.vote`."""
        flow = voting(self, None if text is None else [text], one_row(vector), exclude, options, explained=True)
        return (await self.retriever.index._run(flow, asks=True))[0]

    async def vote_many(
        self,
        texts: Sequence[str] | ArrayLike | None = None,
        *,
        vectors: ArrayLike | None = None,
        exclude: Collection[str] = (),
        **options: Unpack[SearchOptions],
    ) -> list[Vote]:
        """Async twin of `LabelVoter.vote_many`."""
        flow = voting(self, texts, vectors, exclude, options, explained=True)
        return await self.retriever.index._run(flow, asks=True)

    async def predict(
        self,
        texts: Sequence[str] | ArrayLike | None = None,
        *,
        vectors: ArrayLike | None = None,
        exclude: Collection[str] = (),
        **options: Unpack[SearchOptions],
    ) -> NDArray[Any]:
        """Async twin of `LabelVoter.predict`."""
        flow = voting(self, texts, vectors, exclude, options, explained=False)
        return _labels(self, await self.retriever.index._run(flow, asks=True))

    async def predict_proba(
        self,
        texts: Sequence[str] | ArrayLike | None = None,
        *,
        vectors: ArrayLike | None = None,
        exclude: Collection[str] = (),
        **options: Unpack[SearchOptions],
    ) -> NDArray[np.float64]:
        """Async twin of `LabelVoter.predict_proba`."""
        flow = voting(self, texts, vectors, exclude, options, explained=False)
        return _shares(self, await self.retriever.index._run(flow, asks=True))

    async def refresh(self) -> None:
        """Async twin of `LabelVoter.refresh`."""
        await self.retriever.index._run(counting(self))

    async def tune(
        self,
        ks: Sequence[int] = DEFAULT_KS,
        weights: Sequence[Weights] = DEFAULT_WEIGHTS,
        *,
        progress: Progress | None = None,
    ) -> Tuning:
        """Async twin of `LabelVoter.tune`."""
        index, rules, where = self.retriever.index, self.rules, self.where
        return await atune(index, ks, weights, rules=rules, where=where, progress=progress)


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
