"""The flow that removes single passages, and leaves the others of their documents."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from ragknn._ids import split_id
from ragknn._protocol.closing import check_store
from ragknn._protocol.flows import Flow, Work, repeatable
from ragknn._protocol.place import Place
from ragknn._protocol.presence import gone, rebuilt
from ragknn._protocol.reading import FIELDS, read_passages, read_stored
from ragknn._protocol.version import named_birth
from ragknn._protocol.writing import MOVED, Change, Outcome, Removal, Replacement, write_documents
from ragknn.errors import CommandRefused, IndexRebuilt
from ragknn.filters import Where
from ragknn.indexing._drafts import drafted_by
from ragknn.indexing._line import CHANGED_MEANWHILE
from ragknn.indexing._merging import ATTEMPTS, if_as_read
from ragknn.indexing._pending import pending_of, writes_of
from ragknn.indexing._policy import Policy
from ragknn.indexing._reading import PASSAGES_PER_PART, checked_ids, in_parts, storable
from ragknn.indexing._ready import ReadyDocument, drafting_ready
from ragknn.indexing._tally import Tally

if TYPE_CHECKING:
    from ragknn.indexing.async_index import AsyncIndex
    from ragknn.indexing.index import Index

# Documents read whole, with their vectors, at a time.
DOCUMENTS_PER_ROUND = 16


@dataclass(slots=True)
class _Given:
    """What is to be removed, and how much of it is, though the index may be another one when the rest is.

    Attributes:
        ids: of passages.
        place: the index in which they have these ids; None: nobody looked yet.
        removed: how many of them there were.
        doubted: what a removal that was sent again may have removed the first time.
    """

    ids: list[str]
    place: Place | None = None
    removed: int = 0
    doubted: set[str] = field(default_factory=set)


def removing(index: Index | AsyncIndex, passage_ids: Iterable[str], where: Where | None) -> Flow[int]:
    """The flow behind `Indexer.delete_passages`."""
    return _removing(index, where, _Given(list(dict.fromkeys(checked_ids(passage_ids)))))


@repeatable
def _removing(index: Index | AsyncIndex, where: Where | None, given: _Given) -> Flow[int]:
    given.place = given.place or index._place()
    among = yield from index._filtering(where)
    yield from index._modernizing()
    place = index._place()
    birth, store = yield from named_birth(place.keys, place.schema)
    if store != place.keys.store:
        raise rebuilt(place.keys)
    # An id of its own is the passage's in each store; others say which of its document's passages it is.
    is_anew = store != given.place.keys.store and not place.schema.cuts_as(given.place.schema)
    if is_anew and any(map(split_id, given.ids)):
        raise IndexRebuilt(
            f"expected index {index.name!r} as it was opened, got its documents cut anew meanwhile, so that other "
            f"passages have the ids of those to delete: {given.removed:,} were deleted before; look for the ids of the "
            "others (passages()), and call again with them"
        )
    for part in in_parts(given.ids, PASSAGES_PER_PART):
        left: Sequence[str] = storable(part)
        for _ in range(ATTEMPTS):
            found = (yield from read_passages(place, left, among)) if left else []
            given.removed += len(given.doubted.intersection(left).difference(one.id for one in found))
            given.doubted.difference_update(left)
            chosen: dict[str, list[str]] = {}
            for one in found:
                chosen.setdefault(one.document_id, []).append(one.id)
            outcomes: dict[str, Outcome] = {}
            for documents in in_parts(chosen, DOCUMENTS_PER_ROUND):
                removed = yield from _remove(place, birth, {one: chosen[one] for one in documents})
                given.removed += sum(len(chosen[one]) for one, outcome in removed.items() if outcome is True)
                given.doubted.update(own for one, outcome in removed.items() if outcome is None for own in chosen[one])
                outcomes.update(removed)
            left = [one.id for one in found if outcomes.get(one.document_id, False) is not True]
            if not left:
                break
        else:
            raise CommandRefused(f"delete_passages: {CHANGED_MEANWHILE}")
    if not (yield from check_store(place.keys)):
        raise rebuilt(place.keys)
    return given.removed


def _remove(place: Place, birth: str, chosen: Mapping[str, Collection[str]]) -> Flow[dict[str, Outcome]]:
    """Remove passages of documents; return what became of each, as `write_documents` does."""
    policy = Policy(on_bad_field="leave_out")  # what is there stays as it is
    tally = Tally(policy)
    stored = yield from read_stored(place, list(chosen), (*FIELDS, "vector"))
    hashes = {document_id: (old.text_hash, old.details_hash) for document_id, old in stored.items()}
    rests = [
        ReadyDocument(
            document_id,
            tuple(one for one in old.passages if one.digest and one.id not in chosen[document_id]),
        )
        for document_id, old in stored.items()
    ]
    tally.see(rests)
    draft = drafted_by(drafting_ready(place.schema, False), policy.on_bad_field)
    some = [one for one in rests if one.passages]
    pending = yield Work(lambda: list(pending_of(some, [hashes[one.id] for one in some], draft, policy, tally)))
    made = yield Work(partial(writes_of, place.schema, pending, policy, tally))
    writes: list[Replacement | Change | Removal] = [if_as_read(write, hashes[write.id], None) for write in made]
    writes += [Removal(one.id, hashes[one.id]) for one in rests if not one.passages]
    outcomes = (yield from write_documents(place, writes, birth)) if writes else []
    if outcomes is None:
        raise gone(place.keys)
    if MOVED in outcomes:
        raise rebuilt(place.keys)
    for write, outcome in zip(writes, outcomes, strict=True):
        if isinstance(outcome, str):
            tally.fail(write.id, outcome)
    tally.report(final=True).raise_for_failures()
    return dict(zip([write.id for write in writes], outcomes, strict=True))
