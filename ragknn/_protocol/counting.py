"""How much is in an index: passages, documents, labels, and what the server has indexed of it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ragknn._checks import check_number, check_type, shown
from ragknn._protocol.encoding import TAG_SEPARATOR, decode_tag, has_field_tag
from ragknn._protocol.flows import Command, Flow, pauses
from ragknn._protocol.keys import Keys, field_alias, index_names, stored_name
from ragknn._protocol.place import Place
from ragknn._protocol.query import EVERYTHING, LABELLED, Fragment, all_but, intersection, params
from ragknn._protocol.replies import SearchIndexInfo, as_text, parse_complete, parse_info
from ragknn._protocol.schema import ANY_FIELD, FieldType
from ragknn._protocol.whole import aggregate_whole, count_found, search_whole
from ragknn.records import Label

# Different values of a field that are counted at most.
MOST_VALUES = 1_000_000

_NOTHING = object()


def index_info(keys: Keys, search_index: str | None = None) -> Flow[SearchIndexInfo]:
    """Return what the server says of the search index, or of one version of it by its name."""
    [reply] = yield [("FT.INFO", search_index or keys.alias)]
    return parse_info(reply)


def largest_index() -> Flow[tuple[str, int] | None]:
    """Return the index of ragknn that takes most memory, by its name, and the bytes; None where there is none.

    What this user may not ask about is passed over.
    """
    [listed] = yield [("FT._LIST",)]
    names = [] if isinstance(listed, Exception) else index_names([as_text(one) for one in listed])
    replies = (yield [("FT.INFO", Keys(name).alias) for name in names]) if names else []
    sizes = {
        name: parse_info(reply).memory_bytes
        for name, reply in zip(names, replies, strict=True)
        if not isinstance(reply, Exception)
    }
    return max(sizes.items(), key=lambda pair: pair[1], default=None)


def count_passages(place: Place, among: Fragment = EVERYTHING) -> Flow[int]:
    """Return the number of passages that the filter finds."""
    return (yield from count_found(place, ("FT.SEARCH", place.keys.searched, among.query, *params(among.params))))


def count_documents(place: Place, among: Fragment = EVERYTHING) -> Flow[int]:
    """Return the number of documents that the filter finds."""
    grouping = ("GROUPBY", "0", "REDUCE", "COUNT_DISTINCT", "1", "@document_id", "AS", "n")
    rows = yield from aggregate_whole(place, (*_aggregating(place, among), *grouping))
    return int(rows[0]["n"]) if rows else 0


def _aggregating(place: Place, among: Fragment) -> Command:
    return ("FT.AGGREGATE", place.keys.searched, among.query, *params(among.params))


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


def count_labels(place: Place, among: Fragment = EVERYTHING) -> Flow[LabelCensus]:
    """Count the documents of each label, of those that the filter finds."""
    labelled_only = intersection(among, LABELLED)
    grouping = ("GROUPBY", "1", "@label", "REDUCE", "COUNT_DISTINCT", "1", "@document_id", "AS", "n")
    counts: Counter[Label] = Counter()
    for row in (yield from aggregate_whole(place, (*_aggregating(place, labelled_only), *grouping))):
        counts[decode_tag(row["label"])] += int(row["n"])  # 1 and 1.0 are stored apart, and are one label
    labelled = yield from count_passages(place, labelled_only)
    return LabelCensus(counts, labelled, (yield from count_passages(place, among)))


def count_values(place: Place, field: str, among: Fragment) -> Flow[dict[Any, int]]:
    """Return the values of a field with the number of documents that have each, most frequent first.

    Raises:
        ValueError: the field cannot be filtered on, or holds text.
    """
    kind, alias = _kind_of(place, field)
    if kind == "text":
        raise ValueError(f"field {field!r}: expected a tag or numeric field, got text, which is kept as words")
    if alias == ANY_FIELD:
        among = intersection(among, Fragment(f"(@{ANY_FIELD}:{{$there}})", {"there": has_field_tag(field)}))
    # Under its name in the hash, since by its name in queries the server hands numbers out with 12 digits.
    # Beside what is counted: a cluster's coordinator takes it for brought where it is what is counted, by another name.
    loading = ("LOAD", "4", f"@{_in_hash(place, field)}", "AS", "stored", "@document_id", "FILTER", "exists(@stored)")
    splitting = ("APPLY", f"split(@stored, '{TAG_SEPARATOR}')", "AS", "value")
    grouping = ("GROUPBY", "1", "@value", "REDUCE", "COUNT_DISTINCT", "1", "@document_id", "AS", "n")
    command = (*_aggregating(place, among), *loading, *splitting, *grouping, "LIMIT", "0", str(MOST_VALUES))
    rows = yield from aggregate_whole(place, command)
    if len(rows) == MOST_VALUES:
        raise ValueError(f"field {field!r}: expected fewer than {MOST_VALUES} values, got more; add a filter")
    counts: Counter[Any] = Counter()
    for row in rows:
        if (value := _value(row.get("value"), kind, field if alias == ANY_FIELD else None)) is not _NOTHING:
            counts[value] += int(row["n"])
    return dict(counts.most_common())


def find_range(place: Place, field: str, among: Fragment) -> Flow[tuple[float, float] | None]:
    """Return the smallest and the largest value of a numeric field; None where no document has one.

    Raises:
        ValueError: the field is not numeric.
    """
    kind, alias = _kind_of(place, field)
    if kind != "numeric":
        raise ValueError(f"field {field!r}: expected a field declared as numeric, got {kind}")
    present = intersection(among, Fragment(all_but(f"ismissing(@{alias})"), {}))
    stored = _in_hash(place, field)
    searching = ("FT.SEARCH", place.keys.searched, present.query, *params(present.params))
    reading = ("RETURN", "1", stored, "LIMIT", "0", "1")
    orders = (("SORTBY", alias, order) for order in ("ASC", "DESC"))
    replies = yield from search_whole(place, *((*searching, *order, *reading) for order in orders))
    ends = [float((fields or {})[stored.encode()]) for reply in replies for _, fields, _ in parse_complete(reply).rows]
    return (ends[0], ends[1]) if len(ends) == 2 else None


def _in_hash(place: Place, field: str) -> str:
    """Return the name of a field in the hash of a passage."""
    if field in place.schema.fields:
        return stored_name(field)
    return field if field in ("label", "document_id") else ANY_FIELD


def _kind_of(place: Place, field: str) -> tuple[FieldType, str]:
    schema = place.schema
    check_type("field", field, str, "pass the name of a field")
    if field in schema.fields:
        return schema.fields[field], field_alias(field)
    if field in ("label", "document_id"):
        return "tag", field
    if schema.any_field:
        return "tag", ANY_FIELD
    there = ", ".join(("label", "document_id", *schema.fields))
    raise ValueError(f"expected a field that can be filtered on, {there}, got {shown(field)}")


def _value(stored: str | None, kind: FieldType, entry: str | None) -> Any:
    """Return the value behind what a group of documents has in common, or that there is none."""
    if not stored:  # an empty one is an empty list
        return _NOTHING
    if kind == "numeric":
        return float(stored)
    value = decode_tag(stored)
    if entry is None:
        return value
    # Of a field that was not declared: the tag is [name, value], and [name] that it is there.
    return value[1] if isinstance(value, list) and len(value) == 2 and value[0] == entry else _NOTHING


def wait_until_searchable(keys: Keys, patience: float) -> Flow[None]:
    """Wait until everything stored is indexed.

    Args:
        keys: the index's keys.
        patience: seconds.

    Raises:
        TimeoutError: it took longer.
    """
    deadline = time.monotonic() + check_number("timeout", patience)
    pausing = pauses(1.0)
    while True:
        info = yield from index_info(keys)
        if not info.building:
            return
        if time.monotonic() >= deadline:
            raise TimeoutError(
                f"expected index {keys.name!r} to be searchable, got {info.percent_indexed:.0%} of it: "
                "wait longer, the server goes on indexing"
            )
        yield next(pausing)
