"""The records that travel between the stages: small, frozen, and printed well."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import pairwise, repeat
from operator import index as as_integer
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, overload

from numpy.typing import NDArray

from ragknn._checks import check_several, shown
from ragknn._display.cards import (
    document_html,
    neighbor_html,
    passage_html,
    retrieval_html,
    vote_html,
)
from ragknn._display.lines import retrieval_text, vote_text
from ragknn._lazy import Lazy
from ragknn._plain import Plain, frame, plain, plain_fields, plain_label

if TYPE_CHECKING:
    from pandas import DataFrame

Label: TypeAlias = str | int | float
Metric: TypeAlias = Literal["cosine", "ip", "l2"]


@dataclass(frozen=True, slots=True)
class Document(Plain):
    """A document to index.

    Attributes:
        id: unique in its index, not empty.
        text: text to split, embed and search.
        label: a class (str, int) or a number (float), or None where there is none.
        metadata: anything that JSON can hold, given back with each passage. Dates, UUID, Decimal, Path, sets and values
            of NumPy are stored as text, lists and numbers.
        vectors: of a document that was read with them, the stored vectors of its passages, shape (n, dim), NaN for a
            passage without one; else None. Not looked at when a document is added.
        page_starts: of a document with pages, the offset in the text of each page's first character, ascending; a page
            without text starts where the next one does.
        source: of a document that was read from a file, the file, with `:line` where it has lines; for messages.

    Raises:
        TypeError: the id or the text is no string, the label no str, int or float, the metadata no mapping, or a page
            start no integer.
        ValueError: the id is empty, or the page starts are not ascending or beyond the text.
    """

    id: str
    text: str
    label: Label | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    vectors: NDArray[Any] | None = field(default=None, repr=False, compare=False)
    page_starts: tuple[int, ...] = field(default=(), kw_only=True)
    source: str = field(default="", repr=False, compare=False, kw_only=True)

    def __post_init__(self) -> None:
        if not isinstance(self.id, str):
            raise TypeError(
                f"expected a document id of type str, got {shown(self.id)} of type {type(self.id).__name__}"
            )
        if not self.id:
            raise ValueError("expected a document id, got an empty string")
        if not isinstance(self.text, str):
            raise TypeError(f"expected the text of document {self.id!r} as str, got {type(self.text).__name__}")
        if self.label is not None:
            object.__setattr__(self, "label", plain_label(self.label, f"document {self.id!r}"))
        if not isinstance(self.metadata, Mapping):
            raise TypeError(
                f"expected the metadata of document {self.id!r} as a mapping such as a dict, got "
                f"{type(self.metadata).__name__}"
            )
        if not isinstance(self.page_starts, tuple) or self.page_starts:
            object.__setattr__(self, "page_starts", _checked_pages(self))

    def _repr_html_(self) -> str:
        """Show the document as a card in a notebook."""
        return document_html(self)


@dataclass(frozen=True, slots=True)
class Passage(Lazy, Plain):
    """A piece of a document: what is embedded, stored and returned.

    Attributes:
        id: the document's id, `#`, and the passage's number in the document from 0.
        document_id: the document that it is cut from.
        text: equal to `document.text[start:end]`.
        start: offset of the first character in the document's text.
        end: offset just past the last character.
        label: the document's label.
        metadata: the document's metadata.
        digest: equal for passages of the same text; empty until it is stored.
        number: its place among the passages of its document, from 0; None until it is stored.
        vector: the stored vector, shape (dim,), where it was asked for and is there; else None.
        page: number of the page that it begins on, from 1; None where the document has no pages.
        headings: the headings that its first words stand under, outermost first, without their marks.
    """

    id: str
    document_id: str
    text: str
    start: int
    end: int
    label: Label | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    digest: str = field(default="", repr=False, compare=False)
    number: int | None = field(default=None, repr=False, compare=False)
    vector: NDArray[Any] | None = field(default=None, repr=False, compare=False)

    def _repr_html_(self) -> str:
        """Show the passage as a card in a notebook."""
        return passage_html(self)

    page: int | None = field(default=None, kw_only=True)
    headings: tuple[str, ...] = field(default=(), kw_only=True)


@dataclass(frozen=True, slots=True)
class Neighbor(Plain):
    """A passage and how far it lies from the query.

    Attributes:
        passage: the passage found.
        distance: in the index's metric; smaller is nearer. Cosine lies in 0..2, L2 is the Euclidean
            distance, and ip is 1 - u.v, which may be negative. NaN after a search for words alone.
        score: larger is better; None where the result is ordered by distance.
        vector_rank: hybrid only: place in the vector search, from 1; None where it did not find the passage.
        text_rank: hybrid only: the same in the search for words.
        metric: metric of the distance.
    """

    passage: Passage
    distance: float
    score: float | None = None
    vector_rank: int | None = None
    text_rank: int | None = None
    metric: Metric = field(default="cosine", repr=False, compare=False)

    @property
    def similarity(self) -> float:
        """The distance on a scale from 0 to 1, where larger is nearer, for those who expect such a scale.

        It is 1 - distance / 2 for cosine; 1 / (1 + distance) for l2; and for ip, with p = 1 - distance, which is u.v,
        (1 + p / (1 + abs(p))) / 2, so that a product of 0 gives 1/2. NaN if the distance is NaN.
        """
        distance = float(self.distance)  # of NumPy's own numbers, a short one would overflow below
        match self.metric:
            case "cosine":
                return min(max(1 - distance / 2, 0.0), 1.0)
            case "l2":
                return 1 / (1 + max(distance, 0.0))
            case "ip":
                product = 1 - distance
                below = 1 / (2 * (1 + abs(product)))  # the same as above, and right for an infinite product
                return 1 - below if product > 0 else below

    @classmethod
    def _many(
        cls,
        passages: Sequence[Passage],
        distances: Iterable[float],
        scores: Iterable[float | None],
        vector_ranks: Iterable[int | None],
        text_ranks: Iterable[int | None],
        metric: Metric,
    ) -> list[Neighbor]:
        """Return what the class makes of the same values, without a step of Python's for each: a search makes many."""
        neighbors = list(map(cls.__new__, repeat(cls, len(passages))))
        columns = (passages, distances, scores, vector_ranks, text_ranks, repeat(metric))
        for to_slot, values in zip(_NEIGHBOR, columns, strict=True):
            any(map(to_slot, neighbors, values))  # which goes through them all, as none returns anything
        return neighbors

    def to_dict(self) -> dict[str, Any]:
        """Return everything in it as plain values, for JSON: its figures, and beside them those of the passage.

        NaN, which JSON lacks, becomes None.
        """
        figures = plain_fields(self)
        passage = figures.pop("passage")
        return {**figures, "similarity": plain(self.similarity), **passage}

    def _repr_html_(self) -> str:
        """Show the passage and its distance as a card in a notebook."""
        return neighbor_html(self)


# What fills its slots, past what forbids to set them.
_NEIGHBOR = tuple(Neighbor.__dict__[one.name].__set__ for one in fields(Neighbor))


class Retrieval(Plain, Sequence[Neighbor]):
    """The neighbors of one query, the best first: an immutable sequence.

    The best have the largest score, or the smallest distance if there are no scores; a diverse retrieval has its own
    order.

    Attributes:
        query: the text that was asked, or None for a ready vector.
        complete: False if the server stopped early or passages vanished while they were read.
        warnings: notes on it, a sentence each: why it is not complete, or that the query is longer than the model's
            limit.
        timings: of a retriever that is `timed`, the seconds of each stage of the call: "embed" (the model), "search"
            (the server, and the way there and back), "rerank" where something was reranked, and "parse" (making the
            query, reading the replies, choosing among what came); else None. Not part of a comparison.
    """

    __slots__ = ("complete", "neighbors", "query", "timings", "warnings")

    def __init__(
        self,
        neighbors: Sequence[Neighbor],
        *,
        query: str | None = None,
        complete: bool = True,
        warnings: Sequence[str] = (),
        timings: Mapping[str, float] | None = None,
    ) -> None:
        self.neighbors: tuple[Neighbor, ...] = tuple(check_several("neighbors", neighbors, "what retrieve() returned"))
        self.query = query
        self.complete = complete
        self.warnings = tuple(check_several("warnings", warnings, '["the server ran out of time"]'))
        self.timings = timings

    @classmethod
    def _of(
        cls, neighbors: tuple[Neighbor, ...], query: str | None, complete: bool, warnings: tuple[str, ...]
    ) -> Retrieval:
        """Return what the class makes of the same values, without a look at their types."""
        retrieval = cls.__new__(cls)
        retrieval.neighbors, retrieval.query = neighbors, query
        retrieval.complete, retrieval.warnings, retrieval.timings = complete, warnings, None
        return retrieval

    @property
    def passages(self) -> tuple[Passage, ...]:
        """The passages, the best first."""
        return tuple(neighbor.passage for neighbor in self.neighbors)

    @property
    def distances(self) -> tuple[float, ...]:
        """The distances, in the order of the neighbors."""
        return tuple(neighbor.distance for neighbor in self.neighbors)

    @overload
    def __getitem__(self, index: int) -> Neighbor: ...
    @overload
    def __getitem__(self, index: slice) -> Retrieval: ...
    def __getitem__(self, index: int | slice) -> Neighbor | Retrieval:
        if isinstance(index, slice):
            part = self.neighbors[index]
            return Retrieval(
                part, query=self.query, complete=self.complete, warnings=self.warnings, timings=self.timings
            )
        return self.neighbors[index]

    def __iter__(self) -> Iterator[Neighbor]:
        return iter(self.neighbors)

    def __len__(self) -> int:
        return len(self.neighbors)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Retrieval):
            return NotImplemented
        mine = (self.neighbors, self.query, self.complete, self.warnings)
        return mine == (other.neighbors, other.query, other.complete, other.warnings)

    __hash__ = None  # type: ignore[assignment]  # metadata is a mapping, which has no hash

    def __repr__(self) -> str:
        return retrieval_text(self)

    def to_dict(self) -> dict[str, Any]:
        """Return everything in it as plain values, for JSON; each neighbor with its rank, from 1.

        NaN, which JSON lacks, becomes None. The timings are there if it was timed.
        """
        plain_self = {
            "query": self.query,
            "complete": self.complete,
            "warnings": list(self.warnings),
            "neighbors": [{"rank": rank, **n.to_dict()} for rank, n in enumerate(self, start=1)],
        }
        return plain_self if self.timings is None else {**plain_self, "timings": dict(self.timings)}

    def to_pandas(self) -> DataFrame:
        """Return a DataFrame with a row for each neighbor; each row has the query, so that several can be joined.

        Raises:
            MissingDependency: pandas is not installed.
        """
        rows = [(self.query, rank, *_row(n)) for rank, n in enumerate(self, start=1)]
        return frame(("query", "rank", *_COLUMNS), rows)

    def _repr_html_(self) -> str:
        """Show the neighbors as cards in a notebook, with the words of the query marked."""
        return retrieval_html(self)


@dataclass(frozen=True, slots=True)
class Vote(Plain):
    """What the neighbors of a text say of its label.

    Attributes:
        label: the winning class, or the average of numbers; None if abstained.
        shares: for each class with votes its share of them, largest first; empty where numbers are averaged.
        neighbors: the neighbors that voted, nearest first.
        weights: how much of the whole each of them weighs; they sum to 1.
        abstained: whether the vote was not clear enough to be given.
        reason: why it abstained; empty if it did not.
        complete: False if the retrieval behind it was not complete.
        warnings: of the retrieval behind it.
    """

    label: Label | None
    shares: Mapping[Label, float]
    neighbors: tuple[Neighbor, ...]
    weights: tuple[float, ...]
    abstained: bool = False
    reason: str = ""
    complete: bool = True
    warnings: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return vote_text(self)

    def to_dict(self) -> dict[str, Any]:
        """Return everything in it as plain values, for JSON; each neighbor with its weight, each class as a string.

        NaN, which JSON lacks, becomes None.
        """
        values = plain_fields(self)
        weights = values.pop("weights")
        values["neighbors"] = [{"weight": weight, **n} for weight, n in zip(weights, values["neighbors"], strict=True)]
        return values

    def to_pandas(self) -> DataFrame:
        """Return a DataFrame with a row for each neighbor that voted, and its weight.

        Raises:
            MissingDependency: pandas is not installed.
        """
        rows = [(weight, *_row(n)) for n, weight in zip(self.neighbors, self.weights, strict=True)]
        return frame(("weight", *_COLUMNS), rows)

    def _repr_html_(self) -> str:
        """Show the vote, its shares and the neighbors behind it in a notebook."""
        return vote_html(self)


# The columns of a neighbor in a DataFrame, and its values.
_FIGURES = ("distance", "similarity", "score", "vector_rank", "text_rank")
_TEXT = ("id", "document_id", "text", "start", "end", "label", "metadata", "page", "headings", "vector")
_COLUMNS = (*_FIGURES, *_TEXT)


def _row(neighbor: Neighbor) -> list[Any]:
    return [getattr(neighbor, name) for name in _FIGURES] + [getattr(neighbor.passage, name) for name in _TEXT]


def _checked_pages(document: Document) -> tuple[int, ...]:
    owner = f"the page starts of document {document.id!r}"
    try:
        starts = tuple(map(as_integer, document.page_starts))
    except TypeError as error:
        raise TypeError(f"expected {owner} as integers, got {reprlib.repr(document.page_starts)}") from error
    steps = pairwise((0, *starts, len(document.text)))
    if any(before > after for before, after in steps):
        raise ValueError(
            f"expected {owner} to be ascending offsets in its text, 0 to {len(document.text)}, got "
            f"{reprlib.repr(list(starts))}"
        )
    return starts
