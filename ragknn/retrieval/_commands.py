"""The kinds of search, and the command of each: nearest neighbors, a radius, words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ragknn._protocol.flows import Command
from ragknn._protocol.keys import HEADINGS, PAGE
from ragknn._protocol.place import Place
from ragknn._protocol.query import EVERYTHING, NOWHERE, Fragment, any_of, any_of_among, params
from ragknn._protocol.schema import Schema
from ragknn._protocol.templates import Template
from ragknn._protocol.vectors import to_bytes
from ragknn.retrieval._effort import EXACT, effort

# Passages within a radius that come with the first answer; a search that has more is sent again, for all of them.
RADIUS_PORTION = 1_000

# Relative and absolute margin added to a radius in the query; passages beyond the radius are removed afterwards.
RADIUS_MARGIN = 1e-5
LARGEST_RADIUS = 1e300  # stands for infinity

# How well passages fit words: each server that is let in has it, as search 2.8 was the first.
SCORER = "BM25STD"

# Fields to return of a passage: all that a user reads; what candidates are chosen by, without or with the ids that
# users gave to passages; what a vote needs; or the key only, which holds the ids. "vector" may be added to each.
WHOLE = ("id", "text", "start", "end", "label", "metadata", "digest", PAGE, HEADINGS)
CANDIDATE = ("digest",)
NAMED_CANDIDATE = ("id", "digest")
TO_CHOOSE_FROM = (CANDIDATE, NAMED_CANDIDATE)
LABELS = ("label", "digest")
IDS: tuple[str, ...] = ()


@dataclass(slots=True)  # not frozen: every search makes one, in a third of the time
class Ask:
    """How a search is to be made.

    Attributes:
        k: passages a search; fewer come where there are fewer to look among.
        ef_runtime: candidates that an HNSW search keeps; None chooses a number that fits k.
        returned: `WHOLE`, `LABELS` or `IDS`; what is not brought back stays empty.
        among: which passages to look among.
        demanding: whether a search beside a filter is to be exact wherever that does not take long.
        exact: whether an hnsw index computes every distance, as a flat one does.
    """

    k: int
    ef_runtime: int | None = None
    returned: tuple[str, ...] = WHOLE
    among: Fragment = EVERYTHING
    demanding: bool = False
    exact: bool = False


@dataclass(slots=True)
class Knn:
    """A search for the k nearest passages of a vector, given as the bytes that the server stores."""

    vector: bytes


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
        among = "" if ask.among.is_everything else f" ({ask.among.query})"
        # Before the filter, as behind a negation the server forgets the distance.
        query = f"@vector:[VECTOR_RANGE $radius $vector]=>{{$YIELD_DISTANCE_AS: distance}}{among}"
        radius = str(_reach(self.radius, place.schema))
        values: dict[str, str | bytes] = {"radius": radius, "vector": self.vector, **ask.among.params}
        return (
            *("FT.SEARCH", place.keys.searched, query, *params(values), "SORTBY", "distance"),
            *_returning((*ask.returned, "distance"), self.limit, place.timeout),
        )


@dataclass(frozen=True, slots=True)
class Words:
    """A search for the passages that fit words best.

    Attributes:
        terms: at least one; those that the words become.
        vector: shape (dim,); if given, passages have their distance to it; if not, NaN.
        radius: largest distance to the vector; None: any.
    """

    terms: tuple[str, ...]
    vector: NDArray[Any] | None = None
    radius: float | None = None

    def command(self, place: Place, ask: Ask) -> Command:
        """Return the command that asks for it."""
        fields = ask.returned if self.vector is None or "vector" in ask.returned else (*ask.returned, "vector")
        query, values = self._query(place.schema, ask.among)
        return (
            *("FT.SEARCH", place.keys.searched, query, *params(values)),
            *("VERBATIM", "WITHSCORES", "SCORER", SCORER),
            *_returning(fields, ask.k, place.timeout),
        )

    def _query(self, schema: Schema, among: Fragment) -> tuple[str, dict[str, str | bytes]]:
        narrow = [] if among.is_everything else [among.query]
        values: dict[str, str | bytes] = dict(among.params)
        if self.vector is not None and self.radius is not None:
            narrow.insert(0, "@vector:[VECTOR_RANGE $radius $vector]")
            [blob] = to_bytes(self.vector[np.newaxis], schema.dtype)
            values |= {"radius": str(_reach(self.radius, schema)), "vector": blob}
        found = any_of_among(self.terms, " ".join(narrow)) if narrow else any_of(self.terms)
        return found.query, {**values, **found.params}


Search: TypeAlias = Knn | Range | Words


def commands(place: Place, searches: Sequence[Search], ask: Ask) -> list[Command]:
    """Return the command of each search."""
    made: list[Command] = []
    template: Template | None = None
    for one in searches:
        if isinstance(one, Knn):
            template = template or _around_vector(place, ask)
            made.append(template.filled(one.vector))
        else:
            made.append(one.command(place, ask))
    return made


def reading(place: Place, keys: Sequence[str], fields: tuple[str, ...], among: Fragment) -> Command:
    """Return the command that reads fields of those of some passages that a filter finds."""
    query = (among.query, *params(among.params), "INKEYS", str(len(keys)), *keys)
    return ("FT.SEARCH", place.keys.searched, *query, *_returning(fields, len(keys), place.timeout))


def _around_vector(place: Place, ask: Ask) -> Template:
    """Return the command of a search for the nearest passages, without its vector."""
    among = ask.among
    tried = EXACT if ask.exact else effort(place, among, ask.k, ask.ef_runtime, demanding=ask.demanding)
    values = tuple(among.params.items())
    return _knn(place.keys.searched, among.query, values, tried, ask.k, ask.returned, place.timeout)


@lru_cache(maxsize=256)  # all but the vectors is the same for most
def _knn(
    alias: str,
    among: str,
    values: tuple[tuple[str, str], ...],
    tried: str,
    k: int,
    returned: tuple[str, ...],
    timeout: float,
) -> Template:
    if among == EVERYTHING.query and tried == EXACT:
        # The server lets a search say so only beside a filter; this one lets all passages through.
        among = f"(-{NOWHERE})"
    elif among != EVERYTHING.query:
        among = f"({among})"
    query = f"{among}=>[KNN $k @vector $vector{tried} AS distance]"
    *handed, _ = params({"k": str(k), **dict(values), "vector": b""})
    behind = ("SORTBY", "distance", *_returning((*returned, "distance"), k, timeout))
    return Template.of(("FT.SEARCH", alias, query, *handed), behind)


def _returning(fields: tuple[str, ...], limit: int, timeout: float) -> Command:
    milliseconds = str(max(1, round(timeout * 1000)))
    return ("RETURN", str(len(fields)), *fields, "LIMIT", "0", str(limit), "TIMEOUT", milliseconds, "DIALECT", "2")


def _reach(radius: float, schema: Schema) -> float:
    # The server compares what it computes in the dtype of the index, where L2 is squared: ask for a little more.
    squared = radius * radius if schema.metric == "l2" else radius
    return min(squared * (1 + RADIUS_MARGIN) + RADIUS_MARGIN, LARGEST_RADIUS)
