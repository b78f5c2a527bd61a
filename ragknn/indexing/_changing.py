"""Changing labels, metadata and fields of documents without embedding anything."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from ragknn._checks import check_mapping
from ragknn._protocol.counting import wait_until_searchable
from ragknn._protocol.encoding import lookup
from ragknn._protocol.finding import all_ids, matching_ids
from ragknn._protocol.flows import Flow
from ragknn._protocol.keys import field_alias
from ragknn._protocol.layout import details_hash, details_of, dump_details, not_everywhere
from ragknn._protocol.opening import declare_fields, stored_manifest, swap_manifest
from ragknn._protocol.place import Place
from ragknn._protocol.presence import rebuilt
from ragknn._protocol.query import EVERYTHING, Fragment
from ragknn._protocol.reading import read_stored
from ragknn._protocol.replies import SearchIndexInfo
from ragknn._protocol.schema import FieldType, OnBadField, Schema
from ragknn._protocol.writing import MOVED, Change, change_documents
from ragknn.errors import SchemaMismatch
from ragknn.indexing._line import ATTEMPTS, CHANGED_MEANWHILE
from ragknn.indexing._policy import Policy
from ragknn.indexing._reading import in_parts
from ragknn.indexing._serving import searched_by_now
from ragknn.indexing._tally import Tally
from ragknn.indexing._verifying import verify
from ragknn.records import Label, Passage
from ragknn.reports import Failure, IngestReport

# Documents read and written in one round trip each.
DOCUMENTS_PER_ROUND = 256

Edit: TypeAlias = Callable[[Passage], tuple[Label | None, Mapping[str, Any]]]
"""Makes the new label and metadata of a passage."""


def change_details(
    place: Place,
    document_ids: Iterable[str],
    edit: Edit,
    names: Collection[str],
    on_bad_field: OnBadField,
    tally: Tally,
) -> Flow[Tally]:
    """Change label and metadata of the passages of documents, each document in one step.

    Args:
        place: the index.
        document_ids: ids that are not in the index are no error.
        edit: makes the new label and metadata.
        names: of the declared fields that may change; the others stay as they are.
        on_bad_field: whether a document with a value that does not fit its field fails, or the field is left out.
        tally: counts what becomes of the documents; what it has of some of them already is not changed again.

    Raises:
        IndexRebuilt: the index has another store of passages by now.
    """
    settled = {*tally.updated, *(failure.document_id for failure in tally.failed)}
    document_ids = (one for one in document_ids if one not in settled)
    for part in in_parts(document_ids, DOCUMENTS_PER_ROUND):
        left: Sequence[str] = part
        for _ in range(ATTEMPTS):
            if left:
                left = yield from _change_part(place, left, edit, names, on_bad_field, tally)
        for document_id in left:
            tally.fail(document_id, CHANGED_MEANWHILE)
    return tally


def _change_part(
    place: Place,
    document_ids: Sequence[str],
    edit: Edit,
    names: Collection[str],
    on_bad_field: OnBadField,
    tally: Tally,
) -> Flow[list[str]]:
    """Change some documents; return those that another writer changed meanwhile."""
    stored = yield from read_stored(place, document_ids, ("label", "metadata"))
    tally.seen.update(dict.fromkeys(stored, ""))
    writes: dict[str, Change] = {}
    left_out: dict[str, list[Failure]] = {}
    for document_id, old in stored.items():
        try:
            edited = [edit(passage) for passage in old.passages]
            pairs = [details_of(place.schema, dump_details(*one), one[1], on_bad_field, names) for one in edited]
            details = [each for each, _ in pairs]
            new_hash = details_hash([(one.label, one.metadata) for one in details])
            hashes = (old.text_hash, old.details_hash, new_hash)
        except ValueError as error:
            tally.fail(document_id, str(error))
            continue
        groups = [each.as_fields() for each in details]
        writes[document_id] = Change(document_id, *hashes, not_everywhere(names, details), groups)
        reasons = dict.fromkeys(reason for _, several in pairs for reason in several)
        left_out[document_id] = [tally.failure(document_id, reason) for reason in reasons]
    outcomes = yield from change_documents(place, list(writes.values()))
    again = []
    for document_id, outcome in zip(writes, outcomes, strict=True):
        if outcome is True:
            tally.updated.append(document_id)
            tally.left_out += left_out[document_id]
        elif outcome == MOVED:
            raise rebuilt(place.keys)
        elif isinstance(outcome, str):
            tally.fail(document_id, outcome)
        else:
            again.append(document_id)
    return again


@dataclass(slots=True)
class Added:
    """The fields that a call adds, and what it filled, though the index may be another one when it fills the rest.

    Attributes:
        names: of the fields that were not there when it began.
        before: what the server said of the index before anything was filled.
        tally: counts the documents that were filled.
    """

    names: dict[str, FieldType] = field(default_factory=dict)
    before: SearchIndexInfo | None = None
    tally: Tally = field(default_factory=lambda: Tally(Policy()))

    def take(self, more: Tally) -> None:
        """Take note of documents, some of them for a second time."""
        all_of_them = self.tally
        all_of_them.seen.update(more.seen)
        all_of_them.updated = list(dict.fromkeys(all_of_them.updated + more.updated))
        all_of_them.failed = list(dict.fromkeys(all_of_them.failed + more.failed))
        all_of_them.left_out = list(dict.fromkeys(all_of_them.left_out + more.left_out))


def add_fields(
    place: Place, fields: Mapping[str, FieldType], patience: float, added: Added
) -> Flow[tuple[Schema, IngestReport]]:
    """Declare fields and fill them from the stored metadata; return the new schema and a report of what was filled.

    The manifest names them only when they are filled, so that a filter never misses what is not filled yet. What
    another writer stored meanwhile without them is filled after that. To begin again is safe: `added` has what was
    done before, in a version of the index that serves no more.

    Raises:
        SchemaMismatch: a field is declared already as another type.
        ValueError: an invalid name or type.
    """
    check_mapping("fields", fields, '{"year": "numeric"}')
    while True:
        manifest = yield from stored_manifest(place.keys)
        old = Schema.loads(place.keys.name, manifest)
        new = replace(old, fields={**old.fields, **fields})
        if differing := {
            f"field {name!r}": (kind, old.fields[name])
            for name, kind in fields.items()
            if old.fields.get(name, kind) != kind
        }:
            raise SchemaMismatch(place.keys.name, differing)
        missing = {name: kind for name, kind in fields.items() if name not in old.fields}
        filling = replace(place, schema=new)
        if not missing:
            break
        added.names.update(missing)
        added.before = added.before or (yield from searched_by_now(place, added.tally))
        yield from declare_fields(place.keys, missing)
        everything = yield from all_ids(place, EVERYTHING)
        filled = Tally(Policy())
        added.take((yield from change_details(filling, everything, _as_it_is, missing, "leave_out", filled)))
        yield from wait_until_searchable(place.keys, patience)
        if (yield from swap_manifest(place.keys, manifest, new.dumps())):
            break
    if added.before is not None:
        late: list[str] = []
        for name in added.names:
            late += yield from _unfilled(filling, name)
        filled = Tally(Policy())
        added.take((yield from change_details(filling, late, _as_it_is, added.names, "leave_out", filled)))
        yield from verify(place, added.before, None, added.tally)
    return new, added.tally.report(final=True)


def _unfilled(place: Place, name: str) -> Flow[list[str]]:
    """Return the ids of documents of which a field is empty, though the metadata has a value for it."""
    found: list[str] = []
    ids = yield from matching_ids(place, Fragment(f"(ismissing(@{field_alias(name)}))", {}))
    for part in in_parts(ids, DOCUMENTS_PER_ROUND):
        stored = yield from read_stored(place, part, ("metadata",))
        for document_id, one in stored.items():
            if any(lookup(passage.metadata, name) is not None for passage in one.passages):
                found.append(document_id)
    return found


def _as_it_is(passage: Passage) -> tuple[Label | None, Mapping[str, Any]]:
    return passage.label, passage.metadata
