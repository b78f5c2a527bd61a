"""A map of an index: its passages as points in a plane."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ragknn._plain import Plain, frame, plain
from ragknn._protocol.vectors import check_vectors, distances_to
from ragknn.embedding._long_texts import embed_queries
from ragknn.embedding.protocols import Embedder
from ragknn.indexing._map_pictures import Asked, draw_map, map_html
from ragknn.indexing._projection import Method, Plane
from ragknn.records import Label, Metric, Passage, Retrieval, Vote

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class IndexMap(Plain):
    """Passages of an index as points in a plane, near to each other where their vectors are, as far as a plane can.

    Shown in a notebook, its points tell what they are; `plot(query)` draws it with a query and its neighbors.

    Attributes:
        index: name of the index.
        method: "pca" or "umap".
        metric: metric of the index; with cosine only the directions of the vectors count.
        passages: the n passages on the map, each with its vector.
        coordinates: where they are, shape (n, 2), float64.
        total: number of passages that could be on the map; where it is larger than n, these are a sample.
        explained: share of the variance of the vectors that each axis shows; None for UMAP.
    """

    index: str
    method: Method
    metric: Metric
    passages: tuple[Passage, ...]
    coordinates: NDArray[np.float64]
    total: int
    explained: tuple[float, float] | None
    plane: Plane = field(repr=False)
    embedder: Embedder | None = field(default=None, repr=False)

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of the passages."""
        return tuple(passage.id for passage in self.passages)

    @property
    def labels(self) -> tuple[Label | None, ...]:
        """Labels of the passages; None where there is none."""
        return tuple(passage.label for passage in self.passages)

    def __len__(self) -> int:
        return len(self.passages)

    def place(self, vectors: ArrayLike) -> NDArray[np.float64]:
        """Return where other vectors are on the map.

        Args:
            vectors: shape (m, dim).

        Returns:
            Shape (m, 2).

        Raises:
            InvalidVectors: another shape, or a vector that is not finite or has no direction.
        """
        return self.plane.place(self._checked(vectors))

    def plot(
        self,
        query: str | ArrayLike | Retrieval | None = None,
        *,
        k: int = 5,
        vote: Vote | None = None,
        path: str | Path | None = None,
    ) -> Figure:
        """Draw the map, colored by label; with a query also where it is, its neighbors, and what they vote for.

        Numbers as labels are a scale of colors. Of many classes the most frequent have colors of their own.

        Args:
            query: a text, a ready vector, shape (dim,), or what `retrieve` found, whose neighbors are marked then.
            k: how many neighbors a text or a vector has: the nearest among the passages on the map.
            vote: a vote on the query: its voters are marked, larger where they weigh more, and its shares are told.
            path: file to save the picture in; the suffix gives the format (.png, .svg, .pdf).

        Raises:
            TypeError: a query or a vote of another type.
            ValueError: a text where the index was opened without an embedder, a vote without a query, or k below 1.
            MissingDependency: matplotlib is not installed.
        """
        if vote is not None and query is None:
            raise ValueError("expected a query beside the vote, got none: pass the text that was voted on")
        return draw_map(self, None if query is None else self._asked(query, k, vote), path)

    def to_dict(self) -> dict[str, Any]:
        """Return the map as plain values, for JSON: for each passage its id, document, label and coordinates."""
        names = ("id", "document_id", "label", "x", "y")
        values = {name: getattr(self, name) for name in ("index", "method", "metric", "total", "explained")}
        points = [dict(zip(names, row[:-1], strict=True)) for row in self._rows()]
        return {name: plain(value) for name, value in {**values, "points": points}.items()}

    def to_pandas(self) -> DataFrame:
        """Return a DataFrame with a row for each passage.

        Raises:
            MissingDependency: pandas is not installed.
        """
        return frame(("id", "document_id", "label", "x", "y", "text"), self._rows())

    def _rows(self) -> list[tuple[Any, ...]]:
        pairs = zip(self.passages, self.coordinates.tolist(), strict=True)
        return [(one.id, one.document_id, one.label, *point, one.text) for one, point in pairs]

    @property
    def heading(self) -> str:
        """Description of the map, in one line."""
        counted = f"{len(self):,} passage{'s' * (len(self) != 1)}"
        if len(self) < self.total:
            counted = f"a sample of {len(self):,} of {self.total:,} passages"
        return f"{self.index}: {counted}, {self.told_of_the_method}"

    @property
    def told_of_the_method(self) -> str:
        """What is to be known of the axes, in a few words."""
        if self.explained is None:
            return "UMAP"
        return f"principal components, {sum(self.explained):.0%} of the variance"

    def __repr__(self) -> str:
        return f"IndexMap({self.heading})"

    def _repr_html_(self) -> str:
        """Show the map in a notebook; a point tells its passage where the mouse rests on it."""
        return map_html(self)

    def _asked(self, query: str | ArrayLike | Retrieval, k: int, vote: Vote | None) -> Asked:
        if vote is not None and not isinstance(vote, Vote):
            raise TypeError(f"expected vote of type Vote, got {type(vote).__name__}: pass voter.vote(text)")
        words = query.query if isinstance(query, Retrieval) else query if isinstance(query, str) else None
        if isinstance(query, Retrieval) and words is None:
            raise ValueError("expected a retrieval for a text, got one for a ready vector: pass the vector")
        vector = self._checked(query) if words is None else self._embedded(words)
        if len(vector) != 1:
            raise ValueError(f"expected one vector as the query, got {len(vector)}")
        if isinstance(query, Retrieval):
            found = [neighbor.passage.id for neighbor in query]
        else:
            found = self._nearest(vector, k)
        weights = dict.fromkeys(found, 1.0)
        if vote is not None:
            weights = {one.passage.id: weight for one, weight in zip(vote.neighbors, vote.weights, strict=True)}
        return Asked(words, self.plane.place(vector)[0], weights, vote)

    def _embedded(self, text: str) -> NDArray[Any]:
        if self.embedder is None:
            raise ValueError(
                f"expected a vector as the query, got a text, and index {self.index!r} was opened without an embedder"
            )
        vectors, _ = embed_queries(self.embedder, [text])
        return self._checked(vectors)

    def _checked(self, vectors: Any) -> NDArray[Any]:
        return check_vectors(vectors, self.plane.dim, self.metric, "float64")

    def _nearest(self, vector: NDArray[Any], k: int) -> list[str]:
        if k < 1:
            raise ValueError(f"expected k >= 1, got {k}")
        if not self.passages:
            return []
        own = np.array([passage.vector for passage in self.passages], dtype=np.float64)
        distances = distances_to(vector[0], own, self.metric)
        return [self.passages[number].id for number in np.argsort(distances, kind="stable")[:k]]
