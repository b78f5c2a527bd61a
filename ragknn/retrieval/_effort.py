"""How far a search for the nearest neighbors looks in an hnsw index, and which way it goes beside a filter.

Beside a filter the server has two ways, and chooses the slower one in the middle of their ranges, by up to ten times
(`python -m benchmarks.settings`). So it is told:

    ADHOC_BF   computes the distance of each of the p passages that pass the filter: exact
    BATCHES    walks the graph until k of those that it meets pass: of n passages one in n / p does, so that it keeps
               k * n / p candidates, or ef_runtime where that is more

A candidate takes as long as twenty distances. ADHOC_BF is the quicker one up to the p at which both take the same time.
"""

from __future__ import annotations

from typing import Any

from ragknn._protocol.flows import Command
from ragknn._protocol.place import Place
from ragknn._protocol.query import Fragment, params
from ragknn._protocol.replies import parse_total

# How far an HNSW search looks when the caller does not say. The server's own 10 loses every sixth neighbor at
# 100,000 vectors; 100 loses none there, for 0.4 ms more. It must not be smaller than k.
SMALLEST_EF_RUNTIME = 100
EF_RUNTIME_PER_K = 2

# What a candidate takes, in distances. Vectors of 384 values, k 10: both ways take the same time where 2,000 of 20,000
# pass, and 3,000 of 100,000; and 3,000 and 2,000 where those that pass are far from the question.
# The exact way is worth a little more.
DISTANCES_PER_CANDIDATE = 20

# Passages that pass a filter are counted up to here, which takes up to 2 ms. Where more pass, the graph is quicker for
# any k up to 10 in half a million passages.
MOST_COUNTED = 10_000

EXACT = " HYBRID_POLICY ADHOC_BF"


def default_ef(k: int) -> int:
    """Return the candidates that a search for k passages keeps where nobody says."""
    return max(SMALLEST_EF_RUNTIME, EF_RUNTIME_PER_K * k)


def is_exact_quicker(distances: int, candidates: float) -> bool:
    """Tell whether it takes less to compute so many distances than to keep so many candidates."""
    return distances <= DISTANCES_PER_CANDIDATE * candidates


def effort(place: Place, among: Fragment, k: int, ef_runtime: int | None, *, demanding: bool = False) -> str:
    """Return how far a search is to look, as the server takes it.

    Args:
        place: where it looks.
        among: what it looks among.
        k: passages that it looks for.
        ef_runtime: candidates that it keeps; None chooses a number that fits k.
        demanding: whether it is to be exact beside every filter whose passages could be counted.
    """
    if place.schema.algorithm != "hnsw":
        return ""
    candidates = ef_runtime or default_ef(k)
    way = "" if among.is_everything else _way(place, among, k, candidates, demanding)
    return EXACT if way == EXACT else f" EF_RUNTIME {candidates}{way}"


def _way(place: Place, among: Fragment, k: int, candidates: int, demanding: bool) -> str:
    """Return the quicker way beside a filter; empty where the server is to choose."""
    passing, passages = place.watch.passing(among), place.watch.passages
    if passing is None or passages is None:
        return ""
    kept = max(candidates, k * passages / max(passing, 1))
    exact = passing <= MOST_COUNTED and (demanding or is_exact_quicker(passing, kept))
    return EXACT if exact else " HYBRID_POLICY BATCHES"


def counting(place: Place, among: Fragment) -> list[Command]:
    """Return the command that counts what passes a filter, if searches go by that and it is to be counted again."""
    if place.schema.algorithm != "hnsw" or among.is_everything or not place.watch.is_to_count(among):
        return []
    # The only kind of search that ends where its LIMIT does; it then tells how many it has looked at.
    return [
        (
            *("FT.AGGREGATE", place.keys.searched, among.query, *params(among.params)),
            *("LIMIT", str(MOST_COUNTED), "1", "DIALECT", "2"),
        )
    ]


def take_count(place: Place, among: Fragment, reply: Any) -> None:
    """Remember what `counting` has counted; where the server refuses to count, it goes on choosing the way itself."""
    place.watch.take_count(among, None if isinstance(reply, Exception) else parse_total(reply))
