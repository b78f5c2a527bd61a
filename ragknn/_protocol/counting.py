"""How much is in an index: passages, documents, labels, and what the server has indexed of it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from ragknn._protocol.encoding import decode_tag
from ragknn._protocol.flows import Flow, Pause
from ragknn._protocol.keys import Keys
from ragknn._protocol.query import EVERYTHING, LABELLED, Fragment, intersection, params
from ragknn._protocol.replies import SearchIndexInfo, parse_aggregate, parse_info, parse_search
from ragknn.records import Label

COUNT_TIMEOUT = 60_000  # milliseconds; counting documents looks at every passage


def index_info(keys: Keys) -> Flow[SearchIndexInfo]:
    """Return what the server says of the search index."""
    [reply] = yield [("FT.INFO", keys.alias)]
    return parse_info(reply)


def count_passages(keys: Keys, among: Fragment = EVERYTHING) -> Flow[int]:
    """Return the number of passages that the filter finds."""
    [reply] = yield [("FT.SEARCH", keys.alias, among.query, *params(among.params), "LIMIT", 0, 0, "DIALECT", 2)]
    return parse_search(reply).total


def count_documents(keys: Keys, among: Fragment = EVERYTHING) -> Flow[int]:
    """Return the number of documents that the filter finds."""
    [reply] = yield [
        (
            *("FT.AGGREGATE", keys.alias, among.query, *params(among.params)),
            *("GROUPBY", 0, "REDUCE", "COUNT_DISTINCT", 1, "@document_id", "AS", "n"),
            *("TIMEOUT", COUNT_TIMEOUT, "DIALECT", 2),
        )
    ]
    rows = parse_aggregate(reply)
    return int(rows[0]["n"]) if rows else 0


@dataclass(frozen=True, slots=True)
class LabelCensus:
    """The labels in an index.

    Attributes:
        documents: for each label the number of documents that have it.
        labelled: number of passages with a label.
        passages: number of all passages.
    """

    documents: Mapping[Label, int]
    labelled: int
    passages: int


def count_labels(keys: Keys, among: Fragment = EVERYTHING) -> Flow[LabelCensus]:
    """Count the documents of each label, of those that the filter finds."""
    labelled_only = intersection(among, LABELLED)
    [reply] = yield [
        (
            *("FT.AGGREGATE", keys.alias, labelled_only.query, *params(labelled_only.params), "GROUPBY", 1, "@label"),
            *("REDUCE", "COUNT_DISTINCT", 1, "@document_id", "AS", "n", "TIMEOUT", COUNT_TIMEOUT, "DIALECT", 2),
        )
    ]
    counts: Counter[Label] = Counter()
    for row in parse_aggregate(reply):
        counts[decode_tag(row["label"])] += int(row["n"])  # 1 and 1.0 are stored apart, and are one label
    labelled = yield from count_passages(keys, labelled_only)
    return LabelCensus(counts, labelled, (yield from count_passages(keys, among)))


def wait_until_searchable(keys: Keys, patience: float) -> Flow[None]:
    """Wait until everything stored is indexed.

    Args:
        keys: of the index.
        patience: seconds.

    Raises:
        TimeoutError: it took longer.
    """
    deadline = time.monotonic() + patience
    pause = 0.01
    while True:
        info = yield from index_info(keys)
        if not info.building:
            return
        if time.monotonic() >= deadline:
            raise TimeoutError(
                f"expected index {keys.name!r} to be searchable, got {info.percent_indexed:.0%} of it: "
                "wait longer, the server goes on indexing"
            )
        yield Pause(pause)
        pause = min(2 * pause, 1.0)
