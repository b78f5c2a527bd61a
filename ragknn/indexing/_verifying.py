"""Whether what an ingest left on the server is found by searches: looked at when it has ended, and told in its report.

The server indexes each passage as it is written, and counts those that it cannot index. So a look costs nothing beyond
what is read anyway, as long as all is well; what looks wrong is looked at again, since others may be writing meanwhile.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ragknn._protocol.counting import index_info
from ragknn._protocol.finding import KEYS_PER_ROUND, scan, searchable_keys
from ragknn._protocol.flows import Flow, Pause
from ragknn._protocol.keys import Keys
from ragknn._protocol.place import Place
from ragknn._protocol.replies import SearchIndexInfo, as_text, checked
from ragknn._protocol.stored import DAMAGED, stored_hashes
from ragknn.errors import CommandRefused, IndexRebuilt
from ragknn.indexing._serving import as_it_serves, searched_by_now
from ragknn.indexing._tally import Tally
from ragknn.reports import Note, NoteKind, Verification

LOOKS = 3  # times that what is stored is counted, until nobody writes meanwhile
PAUSE = 0.05  # seconds between two looks


@dataclass(slots=True)
class Remainder:
    """What a sync knows of the index when it has removed what its input lacks.

    Attributes:
        stored: number of passages that there are.
        holed: documents that lost passages while the sync went on.
    """

    stored: int
    holed: Sequence[str] = ()


def verify(place: Place, before: SearchIndexInfo, left: Remainder | None, tally: Tally) -> Flow[None]:
    """Look whether what is stored is found, and note in the tally what is not.

    Args:
        place: the index.
        before: what the server said of it before anything was written.
        left: what a sync knows of all that is stored; None where only what was written is looked at.
        tally: counts what was written.
    """
    remade = len(tally.notes)
    info = yield from searched_by_now(place, tally)
    place = yield from as_it_serves(place, info)
    if len(tally.notes) > remade:
        yield from _fail_lost(place, tally)
    grown = info.failures - (before.failures if info.name == before.name else 0)
    stored = None if left is None else left.stored
    searchable = info.passages if place.schema.required_filter is None else None
    wrong: list[str] = []
    unknown = ""
    try:
        if grown > 0:
            wrong += yield from _not_indexed(place, info, grown, tally)
        if info.building:
            unknown = f"the server is still indexing what is stored, {info.percent_indexed:.0%} of it so far"
        elif stored is not None and stored != searchable:
            searchable, stored = yield from _counted_in_peace(place)
            if stored is None:
                unknown = "others were writing all the while, so that what is stored could not be compared with it"
            elif stored != searchable:
                wrong.append(f"expected all {stored:,} stored passages to be found by searches, got {searchable:,}")
    except (CommandRefused, IndexRebuilt) as refused:
        unknown = str(refused)
    if left is not None and left.holed:
        some = ", ".join(left.holed[:3]) + ", ..." * (len(left.holed) > 3)
        wrong.append(f"{len(left.holed):,} documents lost passages while this went on ({some}); the next sync mends it")
    name = place.keys.name
    for reason in wrong:
        told = f"{reason}; `ragknn check {name} --repair` mends what can be, and lists what must be indexed again"
        _note(tally, "unsearchable", name, told)
    if unknown:
        told = f"not known whether all that is stored is found: {unknown}; `ragknn check {name}` looks"
        _note(tally, "unverified", name, told)
    failed = any(one.document_id in tally.left_unindexed for one in tally.failed)
    ok = False if wrong or failed else None if unknown else True
    tally.verification = Verification(ok, searchable, stored, max(grown, 0))


def _fail_lost(place: Place, tally: Tally) -> Flow[None]:
    """Count those as failed that were removed meanwhile, together with the search index."""
    ids = [*tally.added, *tally.updated, *tally.unchanged]
    known = yield from stored_hashes(place, ids)
    for one, hashes in zip(ids, known, strict=True):
        if hashes is None or hashes == DAMAGED:
            tally.left_unindexed.add(one)
            tally.fail(one, "others removed it meanwhile, with the search index of all: add it again")


def _note(tally: Tally, kind: NoteKind, name: str, reason: str) -> None:
    tally.notes.append(Note(kind, name, reason))


def _not_indexed(place: Place, info: SearchIndexInfo, grown: int, tally: Tally) -> Flow[list[str]]:
    """Find out which passages the server could not index: what is of this call fails, and what is others' is returned.

    What has been replaced since, or removed, is nobody's trouble any more.
    """
    keys = place.keys
    reason, last = info.last_failure
    own = yield from _unfound(place, (yield from _passages_of(place, [*tally.added, *tally.updated])))
    for document_id, count in Counter(keys.split_passage(key)[0] for key in own).items():
        why = reason if last.startswith(keys.passages(document_id)) else "it does not say why"
        tally.left_unindexed.add(document_id)
        tally.fail(document_id, f"the server left {count} of its passages out of the index: {why}")
    if last in own or not last.startswith(keys.passage_prefix) or not (yield from _unfound(place, [last])):
        return []
    why = "" if place.schema.required_filter else f": {reason}"  # which may quote what others have
    return [f"the server left passages out of the index {grown:,} times meanwhile, of others than this call{why}"]


def _passages_of(place: Place, document_ids: Sequence[str]) -> Flow[list[str]]:
    """Return the keys of the passages of documents."""
    keys, found = place.keys, []
    for start in range(0, len(document_ids), KEYS_PER_ROUND):
        part = document_ids[start : start + KEYS_PER_ROUND]
        counts = yield [("HGET", keys.record(one), "passages") for one in part]
        for one, count in zip(part, counts, strict=True):
            found += [keys.passage(one, number) for number in range(int(as_text(checked(count) or b"0")))]
    return found


def _unfound(place: Place, passage_keys: Iterable[str]) -> Flow[list[str]]:
    """Return those of the passages that are there, and that a search for everything lacks, then and a moment later."""
    left = list(passage_keys)
    for look in range(2):
        found = yield from searchable_keys(place, left)
        left = [key for key in left if key not in found]
        if not left:
            break
        there = yield [("EXISTS", key) for key in left]
        left = [key for key, reply in zip(left, there, strict=True) if int(checked(reply))]
        if left and not look:
            yield Pause(PAUSE)
    return left


def _counted_in_peace(place: Place) -> Flow[tuple[int, int | None]]:
    """Return how many passages are found, and how many are stored; None for the latter if others wrote all the while.

    The server gives each write a new number, and a passage that is removed is counted out, so that it is known whether
    there was any.
    """
    before = yield from index_info(place.keys)
    for look in range(LOOKS):
        if look:
            yield Pause(PAUSE)
        place = yield from as_it_serves(place, before)
        stored = yield from _count_keys(place.keys)
        after = yield from index_info(place.keys)
        if (before.name, before.last_number, before.passages) == (after.name, after.last_number, after.passages):
            return after.passages, stored
        before = after
    return before.passages, None


def _count_keys(keys: Keys) -> Flow[int]:
    """Return how many passages are stored; each counts once, though a scan may show its key twice."""
    marks, cursor = array("q"), 0
    while True:
        cursor, found = yield from scan(keys.passage_prefix, cursor)
        marks.extend(map(hash, found))
        if not cursor:
            return len(np.unique(np.array(marks)))
