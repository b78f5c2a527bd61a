"""The kinds of search, and the command of each: nearest neighbors, a radius, words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ragknn._protocol.flows import Command
from ragknn._protocol.keys import HEADINGS, PAGE
from ragknn._protocol.place import Place
from ragknn._protocol.query import EVERYTHING, TEXT_WORDS, Fragment, any_words, params
from ragknn._protocol.schema import Schema
from ragknn._protocol.vectors import to_bytes
from ragknn._protocol.watch import Watch

# Passages within a radius that come with the first answer; a search that has more is sent again, for all of them.
RADIUS_PORTION = 1_000

# How far an HNSW search looks when the caller does not say. The server's own 10 loses every sixth neighbor at
# 100,000 vectors; 100 loses none there, for 0.4 ms more. It must not be smaller than k.
SMALLEST_EF_RUNTIME = 100
EF_RUNTIME_PER_K = 2

# Relative and absolute margin added to a radius in the query; passages beyond the radius are removed afterwards.
RADIUS_MARGIN = 1e-5
LARGEST_RADIUS = 1e300  # stands for infinity

# How well passages fit words, the best first; a server has at least the last.
SCORERS = ("BM25STD", "BM25")

# Weight of filter clauses, so that they add nothing to BM25; and the score below which no word matched.
NO_WEIGHT = "1e-15"
SMALLEST_SCORE = 1e-12
NO_TAG = "none"  # a tag that no document can have: stored tags are JSON

# Fields to return of a passage: all that a user reads; what a vote needs; or the key only, which holds the ids.
# "vector" may be added to each.
WHOLE = ("id", "text", "start", "end", "label", "metadata", "digest", PAGE, HEADINGS)
LABELS = ("label", "digest")
IDS: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ask:
    """How a search is to be made.

    Attributes:
        k: passages a search; fewer come where there are fewer to look among.
        ef_runtime: candidates that an HNSW search keeps; None chooses a number that fits k.
        returned: `WHOLE`, `LABELS` or `IDS`; what is not brought back stays empty.
        among: which passages to look among.
    """

    k: int
    ef_runtime: int | None = None
    returned: tuple[str, ...] = WHOLE
    among: Fragment = EVERYTHING


@dataclass(frozen=True, slots=True)
class Knn:
    """A search for the k nearest passages of a vector.

    Attributes:
        vector: as the bytes that the server stores.
        exact: whether an hnsw index computes every distance, as a flat one does.
    """

    vector: bytes
    exact: bool = False

    def command(self, place: Place, ask: Ask) -> Command:
        """Return the command that asks for it."""
        among = "*" if ask.among == EVERYTHING else f"({ask.among.query})"
        effort = ""
        if self.exact:
            # The server lets a search say so only beside a filter; this one lets all passages through.
            among = f"(-@document_id:{{{NO_TAG}}})" if ask.among == EVERYTHING else among
            effort = " HYBRID_POLICY ADHOC_BF"
        elif place.schema.algorithm == "hnsw":
            effort = f" EF_RUNTIME {ask.ef_runtime or max(SMALLEST_EF_RUNTIME, EF_RUNTIME_PER_K * ask.k)}"
        query = f"{among}=>[KNN $k @vector $vector{effort} AS distance]"
        return _by_distance(place, query, {"k": ask.k, "vector": self.vector}, ask, ask.k)


@dataclass(frozen=True, slots=True)
class Range:
    """A search for all passages within a radius of a vector, given as the bytes that the server stores.

    Attributes:
        vector: the bytes.
        radius: largest distance, inclusive.
        limit: passages that come at most.
    """

    vector: bytes
    radius: float
    limit: int

    def command(self, place: Place, ask: Ask) -> Command:
        """Return the command that asks for it."""
        among = "" if ask.among == EVERYTHING else f"({ask.among.query}) "
        query = f"{among}@vector:[VECTOR_RANGE $radius $vector]=>{{$YIELD_DISTANCE_AS: distance}}"
        values = {"radius": _reach(self.radius, place.schema), "vector": self.vector}
        return _by_distance(place, query, values, ask, self.limit)


@dataclass(frozen=True, slots=True)
class Words:
    """A search for the passages that fit words best.

    Attributes:
        text: with at least one word that is no stop word.
        vector: shape (dim,); if given, passages have their distance to it; if not, NaN.
        radius: largest distance to the vector; None: any.
    """

    text: str
    vector: NDArray[Any] | None = None
    radius: float | None = None

    def command(self, place: Place, ask: Ask) -> Command:
        """Return the command that asks for it."""
        fields = ask.returned if self.vector is None or "vector" in ask.returned else (*ask.returned, "vector")
        query, values = self._query(place.schema, ask.among, place.watch)
        return (
            *("FT.SEARCH", place.keys.alias, query, *params(values)),
            *("WITHSCORES", "SCORER", place.watch.scorer or SCORERS[-1]),
            *_returning(fields, ask.k, place.timeout),
        )

    @property
    def is_narrowed_by_itself(self) -> bool:
        """Whether it looks only near its vector."""
        return self.vector is not None and self.radius is not None

    def _query(self, schema: Schema, among: Fragment, watch: Watch) -> tuple[str, dict[str, Any]]:
        narrow = [] if among == EVERYTHING else [among.query]
        values: dict[str, Any] = dict(among.params)
        if self.vector is not None and self.radius is not None:
            narrow.append("@vector:[VECTOR_RANGE $radius $vector]")
            [blob] = to_bytes(self.vector[np.newaxis], schema.dtype)
            values |= {"radius": _reach(self.radius, schema), "vector": blob}
        terms = any_words(self.text, schema.stop_words or ())
        if terms is None:
            raise ValueError(f"expected a text with words in it, got {self.text!r}")
        values |= terms.params
        if not narrow:
            return terms.query, values
        # Search 2.10 misses some words of a passage if an OR of words is combined with a condition:
        # so each word is optional, its stems are too, and passages with none of them score nothing. What a filter finds
        # counts for the score as well, rare tags most; it weighs next to nothing in a group of two behind the words.
        stems = [stem for word in terms.params.values() for stem in watch.stems.get(word, (word,))]
        values |= {f"t{number}": stem for number, stem in enumerate(stems)} | {"nowhere": NO_TAG}
        words = " ".join(f"~@{TEXT_WORDS}:$t{number}" for number in range(len(stems)))
        return f"{words} ({' '.join(narrow)} -@document_id:{{$nowhere}})=>{{$weight: {NO_WEIGHT}}}", values


Search: TypeAlias = Knn | Range | Words


def _by_distance(place: Place, query: str, values: Mapping[str, Any], ask: Ask, limit: int) -> Command:
    return (
        *("FT.SEARCH", place.keys.alias, query, *params({**values, **ask.among.params}), "SORTBY", "distance"),
        *_returning((*ask.returned, "distance"), limit, place.timeout),
    )


def _returning(fields: tuple[str, ...], limit: int, timeout: float) -> Command:
    milliseconds = max(1, round(timeout * 1000))
    return ("RETURN", len(fields), *fields, "LIMIT", 0, limit, "TIMEOUT", milliseconds, "DIALECT", 2)


def _reach(radius: float, schema: Schema) -> float:
    # The server compares what it computes in the dtype of the index, where L2 is squared: ask for a little more.
    squared = radius * radius if schema.metric == "l2" else radius
    return min(squared * (1 + RADIUS_MARGIN) + RADIUS_MARGIN, LARGEST_RADIUS)
