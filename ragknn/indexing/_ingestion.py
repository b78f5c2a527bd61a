"""How documents become stored passages: the one body behind `Indexer` and `AsyncIndexer`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sized
from logging import DEBUG
from typing import Any

from ragknn._display.bars import notebook_bar
from ragknn._display.inert import visible
from ragknn._logs import WRITING
from ragknn._protocol.closing import check_store
from ragknn._protocol.flows import Flow
from ragknn._protocol.inventory import Inventory, delete_all, look_among, look_through
from ragknn._protocol.keys import Keys
from ragknn._protocol.place import Place
from ragknn._protocol.removing import delete_documents, remove_beyond
from ragknn._protocol.server import check_writable
from ragknn._protocol.stored import DAMAGED, stored_hashes
from ragknn._protocol.version import named_birth
from ragknn._protocol.where import filtering
from ragknn.errors import DeletionRefused, IndexRebuilt
from ragknn.filters import Where
from ragknn.indexing._drafts import Drafting
from ragknn.indexing._line import Embedding, Line, Renewal
from ragknn.indexing._newcomers import Newcomers, ReadyVectors
from ragknn.indexing._policy import Policy
from ragknn.indexing._serving import as_it_serves, searched_by_now
from ragknn.indexing._tally import Tally
from ragknn.indexing._verifying import Remainder, verify
from ragknn.reports import IngestReport

# Deletions of a sync that are not asked about, however small the index is.
FEW = 20


def ingest(
    place: Place,
    items: Iterable[Any],
    draft: Drafting,
    embed: Embedding,
    policy: Policy,
    prune: Where | None = None,
    ready: ReadyVectors | None = None,
    renew: Renewal | None = None,
) -> Flow[IngestReport]:
    """Bring documents into the index.

    Args:
        place: the index.
        items: documents or what else `draft` takes, read a few batches ahead; a failure among them goes into the
            report.
        draft: makes a draft of an item.
        embed: makes one vector of each of n texts, shape (n, dim).
        policy: what to do with repeated, existing and unfit documents.
        prune: among which documents to remove those that the input does not have; an empty filter: among all; None:
            none at all. Nothing is removed if part of the input could not be read, since the missing documents may be
            in it.
        ready: the vectors of all documents, each of one passage; None: the line has them.
        renew: takes the index as it serves by now, if another store of passages has taken the place of that of `place`.
    """
    if not policy.dry_run:
        yield from check_writable(place.server)
    tally = Tally(policy)
    before = yield from searched_by_now(place, tally)
    serves = yield from as_it_serves(place, before)
    if serves is not place:  # what is ready was checked for what the index was before
        if serves.keys.store != place.keys.store and renew is not None:
            serves, draft, embed = yield from renew(place)
        place, ready = serves, None
    birth, store = ("", place.keys.store) if policy.dry_run else (yield from named_birth(place.keys, place.schema))
    while store != place.keys.store and renew is not None:
        place, draft, embed = yield from renew(place)
        ready = None
        birth, store = yield from named_birth(place.keys, place.schema)
    total = len(items) if isinstance(items, Sized) else 0
    with notebook_bar("documents") as show:
        last_told = (0, 0)

        def show_progress() -> None:
            nonlocal last_told
            if (now := (tally.settled, tally.embedded)) == last_told:
                return
            last_told = now
            if policy.progress is None:
                show(tally.settled + tally.under_way, total, f"{tally.embedded:,} passages embedded")
            else:
                policy.progress(tally.report())

        source = iter(items)
        if ready is not None:
            source = yield from Newcomers(place, birth, ready, policy, tally, show_progress).bring_in(source)
        place = yield from Line(place, birth, draft, embed, policy, tally, show_progress, renew).bring_in(source)
    left = None
    emptied = _emptied(policy, tally) if prune is None and place.schema.required_filter is None else []
    while prune is not None or emptied:
        if prune is None:
            yield from _remove_emptied(place, emptied, tally)
        elif prune:
            place, there = yield from _found_now(place, prune, tally)
            yield from _remove_missing(place, there, policy, tally)
        else:
            left = yield from _leave_only_seen(place, policy, tally)
        if (yield from check_store(place.keys)) or renew is None:
            break
        place, _, _ = yield from renew(place)
    if not policy.dry_run:
        yield from verify(place, before, left, tally)
    report = tally.report(final=True)
    tell(place.keys, report)
    return report


def _found_now(place: Place, where: Where, tally: Tally) -> Flow[tuple[Place, Inventory]]:
    """Return the version of the index that serves by now, and what the filter finds in that."""
    while True:
        place = yield from as_it_serves(place, (yield from searched_by_now(place, tally)))
        try:
            return place, (yield from look_among(place, (yield from filtering(place, where))))
        except IndexRebuilt:  # between the two
            continue


def tell(keys: Keys, report: IngestReport) -> None:
    """Write the counts to the log; reasons may quote what stands in a document, and are for the report."""
    name = keys.name
    WRITING.info("index %r%s: %s", name, " (dry run)" * report.dry_run, report.head)
    if report.failed:
        first = visible(report.failed[0].source)
        WRITING.warning("index %r: %d failed, the first of them %s", name, len(report.failed), first)
    if report.kept:
        WRITING.warning("index %r: %d missing documents were kept, as not all could be read", name, report.kept)
    for note in report.notes:
        if note.kind in ("unsearchable", "unverified"):
            WRITING.warning("index %r: %s", name, note)
    if WRITING.isEnabledFor(DEBUG):
        for what, ids in report.ids.items():
            for document_id in ids:
                why = ", ".join(report.reasons.get(document_id, ())) if what == "updated" else ""
                WRITING.debug("index %r: %s %s%s", name, what, visible(document_id), f" ({why})" if why else "")
        for failure in report.failed:
            WRITING.debug("index %r: failed %s", name, failure)


def all_new(items: Iterable[Any]) -> IngestReport:
    """Return what a dry run of documents would report of an index that is not there yet."""
    tally = Tally(Policy(dry_run=True))
    tally.added += [item.id for item in tally.each_id_once(list(items))]
    return tally.report(final=True)


def _emptied(policy: Policy, tally: Tally) -> list[str]:
    """Return the ids of files that hold no text any more, of which the index is to have nothing."""
    if policy.on_existing != "replace":
        return []
    empty = [note.document_id for note in tally.notes if note.kind == "empty" and note.document_id is not None]
    return [document_id for document_id in empty if document_id not in tally.seen]


def _remove_emptied(place: Place, emptied: list[str], tally: Tally) -> Flow[None]:
    known = yield from stored_hashes(place, emptied)
    stored = [document_id for document_id, hashes in zip(emptied, known, strict=True) if hashes is not None]
    if tally.dry_run:
        tally.deleted = stored
    else:
        removed = list(tally.deleted)  # by an earlier look, where the index has another store since
        yield from delete_documents(place.keys, stored, removed)
        tally.deleted = list(dict.fromkeys(removed))


def _leave_only_seen(place: Place, policy: Policy, tally: Tally) -> Flow[Remainder | None]:
    """Remove all that the input does not have: documents, and what is left of some; return what there is then."""
    there = yield from look_through(place.keys)
    gone = yield from _remove_missing(place, there, policy, tally)
    if policy.dry_run:
        return None
    kept = {*tally.kept, *_left_as_they_are(there, tally)}  # not known to belong to nothing
    lost = dict.fromkeys((yield from _lost(place, there, [*gone, *kept], policy, tally)))
    holed = {one: there.numbers(one) for one in there.with_holes() if one in tally.seen and one not in kept}
    outcomes = yield from remove_beyond(place.keys, holed)
    stored = there.total - there.passages(gone)
    for one, (removed, missing) in outcomes.items():
        stored -= removed
        lost.update({one: None} if missing else {})
    return Remainder(stored, list(lost))


def _left_as_they_are(there: Collection[str], tally: Tally) -> set[str]:
    """Return the documents that failed, and of which the index has what it had."""
    failed = {one.document_id for one in tally.failed if one.document_id in there}
    settled = {*tally.added, *tally.updated, *tally.unchanged} if failed else ()  # the first of several of one id
    return {one for one in failed if one is not None and one not in settled}


def _lost(place: Place, there: Inventory, others: Collection[str], policy: Policy, tally: Tally) -> Flow[list[str]]:
    """Return which documents have lost passages since they were looked up, or written.

    Nobody looks if there are as many passages as there should be; else the documents are looked up once more, since
    others may have changed them.
    """
    if policy.on_repeated != "first" or there.total - there.passages(others) == tally.expected:
        return []
    ids = [*tally.added, *tally.updated, *tally.unchanged]
    known = yield from stored_hashes(place, ids)
    return [one for one, hashes in zip(ids, known, strict=True) if hashes == DAMAGED]


def _remove_missing(place: Place, stored: Inventory, policy: Policy, tally: Tally) -> Flow[list[str]]:
    """Remove those of the stored documents that the input does not have; return which these were."""
    keys = place.keys
    missing = sorted(document_id for document_id in stored if document_id not in tally.seen)
    if any(failure.document_id is None for failure in tally.failed):
        tally.kept = missing
        return []
    if tally.dry_run:
        tally.deleted = missing
        return []
    before = len(stored) - len(tally.added)
    if not policy.delete_most and _is_most(len(missing), before, empty=not (tally.seen or tally.failed)):
        tally.kept = missing
        raise DeletionRefused(keys.name, before, tally.report(final=True))
    removed = list(tally.deleted)  # by an earlier look, where the index has another store since
    yield from delete_all(keys, stored, missing, removed)
    tally.deleted = list(dict.fromkeys(removed))
    return missing


def _is_most(missing: int, before: int, *, empty: bool) -> bool:
    """Tell whether so many deletions are rather a wrong input than what was meant."""
    return missing > 0 and (empty or (missing > FEW and missing > before / 2))
