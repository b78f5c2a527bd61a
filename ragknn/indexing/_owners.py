"""Whose a document is, in an index that requires a filter: by the tags of the required field."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ragknn._protocol.encoding import ENCODERS, TAG_SEPARATOR
from ragknn._protocol.flows import Flow
from ragknn._protocol.keys import stored_name
from ragknn._protocol.layout import Details
from ragknn._protocol.owners import Owners
from ragknn._protocol.place import Place
from ragknn._protocol.replies import as_text, checked
from ragknn._protocol.schema import Schema
from ragknn._protocol.where import pinned
from ragknn.filters import Where
from ragknn.indexing._ready import ReadyDocument
from ragknn.records import Document
from ragknn.reports import Failure

_ADVICE = "sync the documents of each value by a filter of its own"


def owners_of(schema: Schema, details: Sequence[Details]) -> Owners | None:
    """Return whose a document is; None where the index requires no filter."""
    if schema.required_filter is None:
        return None
    field = stored_name(schema.required_filter)
    return Owners(field, frozenset(tag for one in details for tag in _tags(one.fields[field])))


def ids_of_others(place: Place, items: Sequence[Any], known: Sequence[object]) -> Flow[set[str]]:
    """Return the ids of those documents, of which something is known, that are others' and not the item's as well."""
    name = place.schema.required_filter
    there = [item for item, stored in zip(items, known, strict=True) if stored is not None]
    if name is None or not there:
        return set()
    replies = yield [("HGET", place.keys.record(item.id), stored_name(name)) for item in there]
    found = set()
    for item, reply in zip(there, replies, strict=True):
        if not _tags(as_text(checked(reply) or b"")) <= _tags_of_item(place.schema, name, item):
            found.add(item.id)
    return found


def matching_items(schema: Schema, where: Where, items: Iterable[Any]) -> Iterator[Any]:
    """Yield what comes, and in place of a document of others than those whom `where` names, a failure."""
    name = schema.required_filter or ""
    allowed = _tags(ENCODERS["tag"](name, pinned(where, name)))
    for item in items:
        tags = _tags_of_item(schema, name, item) if isinstance(item, Document) else allowed
        if tags and not tags & allowed:
            reason = f"expected a document that the filter on {name!r} matches, got one of another value: {_ADVICE}"
            yield Failure(item.source or item.id, reason, item.id)
        else:
            yield item


def _tags_of_item(schema: Schema, name: str, item: Any) -> frozenset[str]:
    """Return the tags of a document, or of ready passages; none where they cannot be stored."""
    tags: frozenset[str] = frozenset()
    for one in item.passages if isinstance(item, ReadyDocument) else [item]:
        try:
            values, _ = schema.field_values(one.metadata, names=[name])
        except ValueError:
            continue
        tags |= _tags(values[stored_name(name)])
    return tags


def _tags(stored: str) -> frozenset[str]:
    return frozenset(stored.split(TAG_SEPARATOR)) if stored else frozenset()
