"""Changing labels, metadata and fields of documents that stay as they are otherwise: nothing is embedded."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from ragknn._protocol.counting import wait_until_searchable
from ragknn._protocol.finding import all_ids, matching_ids
from ragknn._protocol.flows import Flow
from ragknn._protocol.keys import field_alias
from ragknn._protocol.layout import detail_names, details_hash, details_of
from ragknn._protocol.opening import declare_fields, stored_manifest, swap_manifest
from ragknn._protocol.place import Place
from ragknn._protocol.query import EVERYTHING, Fragment
from ragknn._protocol.reading import read_details
from ragknn._protocol.schema import FieldType, OnBadField, Schema
from ragknn._protocol.writing import Change, write_documents
from ragknn.errors import SchemaMismatch
from ragknn.indexing._ingestion import ATTEMPTS, CHANGED_MEANWHILE
from ragknn.indexing._reading import in_parts
from ragknn.records import Failure, IngestReport, Label, Passage

# Documents read and written in one round trip each.
DOCUMENTS_PER_ROUND = 256

Edit: TypeAlias = Callable[[Passage], tuple[Label | None, Mapping[str, Any]]]
"""Makes the new label and metadata of a passage."""


@dataclass(slots=True)
class Changed:
    """What became of the documents that were to be changed."""

    ids: list[str] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)
    left_out: list[Failure] = field(default_factory=list)

    def report(self, started: float) -> IngestReport:
        """Return it as a report; `started` is when it began, by the monotonic clock."""
        return IngestReport(
            updated=len(self.ids),
            failed=tuple(self.failed),
            left_out=tuple(self.left_out),
            ids={"added": (), "updated": tuple(self.ids), "deleted": ()},
            seconds=time.monotonic() - started,
        )


def change_details(place: Place, document_ids: Sequence[str], edit: Edit, on_bad_field: OnBadField) -> Flow[Changed]:
    """Change label and metadata of the passages of documents, each document in one step.

    Ids that are not in the index are no error.
    """
    changed = Changed()
    for part in in_parts(document_ids, DOCUMENTS_PER_ROUND):
        left: Sequence[str] = part
        for _ in range(ATTEMPTS):
            if left:
                left = yield from _change_part(place, left, edit, on_bad_field, changed)
        changed.failed += [Failure(document_id, CHANGED_MEANWHILE, document_id) for document_id in left]
    return changed


def _change_part(
    place: Place, document_ids: Sequence[str], edit: Edit, on_bad_field: OnBadField, changed: Changed
) -> Flow[list[str]]:
    """Change some documents; return those that another writer changed meanwhile."""
    stored = yield from read_details(place.keys, document_ids)
    writes: dict[str, Change] = {}
    for document_id, (hashed, old, passages) in stored.items():
        try:
            pairs = [details_of(place.schema, *edit(passage), on_bad_field) for passage in passages]
        except ValueError as error:
            changed.failed.append(Failure(document_id, str(error), document_id))
            continue
        details = [each for each, _ in pairs]
        groups = [each.as_fields() for each in details]
        everywhere = frozenset.intersection(*(frozenset(map(str, group[::2])) for group in groups))
        removed = sorted(detail_names(place.schema) - everywhere)
        new = details_hash((one.label, one.metadata) for one in details)
        writes[document_id] = Change(document_id, hashed, old, new, removed, groups)
        reasons = dict.fromkeys(reason for _, left_out in pairs for reason in left_out)
        changed.left_out += [Failure(document_id, reason, document_id) for reason in reasons]
    outcomes = yield from write_documents(place.keys, list(writes.values()))
    again = []
    for document_id, outcome in zip(writes, outcomes, strict=True):
        if outcome is True:
            changed.ids.append(document_id)
        elif outcome is False:
            again.append(document_id)
        else:
            changed.failed.append(Failure(document_id, outcome, document_id))
    return again


def add_fields(place: Place, fields: Mapping[str, FieldType], patience: float) -> Flow[tuple[Schema, IngestReport]]:
    """Declare fields and fill them from the stored metadata; return the new schema and a report of what was filled.

    The manifest names them only when they are filled, so that a filter never misses what is not filled yet. What
    another writer stored meanwhile without them is filled after that.

    Raises:
        SchemaMismatch: a field is declared already as another type.
        ValueError: an invalid name or type.
    """
    started, changed = time.monotonic(), Changed()
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
        if not missing:
            return old, changed.report(started)
        yield from declare_fields(place.keys, missing)
        filling = replace(place, schema=new)
        everything = yield from all_ids(place, EVERYTHING)
        changed = yield from change_details(filling, everything, _as_it_is, "leave_out")
        if (yield from swap_manifest(place.keys, manifest, new.dumps())):
            break
    yield from wait_until_searchable(place.keys, patience)
    for name in missing:
        late = yield from matching_ids(place.keys, Fragment(f"(ismissing(@{field_alias(name)}))", {}))
        filled = set(changed.ids)
        late = [document_id for document_id in late if document_id not in filled]
        more = yield from change_details(filling, late, _as_it_is, "leave_out")
        changed.ids += more.ids
    # What does not fit a field of old was left out before, or its document would not be here.
    heads = tuple(f"field {name!r}:" for name in missing)
    changed.left_out = [one for one in changed.left_out if one.reason.startswith(heads)]
    return new, changed.report(started)


def _as_it_is(passage: Passage) -> tuple[Label | None, Mapping[str, Any]]:
    return passage.label, passage.metadata
