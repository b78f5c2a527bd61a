"""Looking at every document of an index: the flow behind `Index.check` and `AsyncIndex.check`."""

from __future__ import annotations

import time
from array import array
from collections.abc import Mapping, Sequence
from logging import INFO, WARNING
from typing import TYPE_CHECKING

import numpy as np

from ragknn._checks import check_call, check_flag
from ragknn._display.bars import bar_in_notebook
from ragknn._logs import WRITING
from ragknn._protocol.checking import Seen, forget, look, mend, set_anew
from ragknn._protocol.counting import index_info, wait_until_searchable
from ragknn._protocol.finding import scan, searchable_keys
from ragknn._protocol.flows import Flow, Pause, Progress, repeatable
from ragknn._protocol.keys import Keys
from ragknn._protocol.place import Place
from ragknn._protocol.schema import FORMAT
from ragknn.reports import CheckReport

if TYPE_CHECKING:
    from ragknn.indexing.async_index import AsyncIndex
    from ragknn.indexing.index import Index

MOST_IDS = 1_000  # of each kind that a report has
_PATIENCE = 60.0  # seconds for which the server may go on indexing what is stored
_PAUSE = 0.05  # seconds before a document that looks wrong is looked at again


class _Met:
    """Ids that were met, perhaps more than once: the first of them, and how many different ones there were.

    Of each there are only 8 bytes, so that a look through millions of keys needs little memory.
    """

    def __init__(self) -> None:
        self._first: dict[str, None] = {}
        self._marks = array("q")

    def add(self, one: str) -> None:
        self._marks.append(hash(one))
        if len(self._first) < MOST_IDS:
            self._first[one] = None

    def __len__(self) -> int:
        return len(np.unique(np.array(self._marks)))

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(sorted(self._first))


class _Findings:
    """What was met so far."""

    def __init__(self) -> None:
        self.passages, self.documents = _Met(), _Met()
        self.kinds = {kind: _Met() for kind in (*CheckReport.KINDS, "repaired", "index_again")}

    def note(self, document_id: str, seen: Seen, unfound: Sequence[str]) -> None:
        damages = (seen.missing, seen.mixed, seen.beyond, seen.wrong_size, unfound)
        for kind, damage in zip(CheckReport.KINDS, damages, strict=True):
            if damage:
                self.kinds[kind].add(document_id)


@repeatable
def checking(index: Index | AsyncIndex, repair: bool, progress: Progress | None) -> Flow[CheckReport]:
    """Return what is wrong with the documents of the index; `Index.check` explains the arguments."""
    started = time.monotonic()
    if progress is not None:
        check_call("progress", progress, "print")
    if check_flag("repair", repair):
        yield from index._modernizing()
    place = index._place()
    keys, findings, done = place.keys, _Findings(), 0
    yield from wait_until_searchable(keys, _PATIENCE)
    total = (yield from index_info(keys)).passages
    prefixes = [keys.passage_prefix] + [keys.earlier_prefix] * (place.schema.format != FORMAT)
    with bar_in_notebook("passages", progress) as told:
        for prefix in prefixes:
            cursor = 0
            while True:
                cursor, found = yield from scan(prefix, cursor)
                if found:
                    yield from _look_through(place, found, findings, repair)
                if prefix == keys.passage_prefix:
                    done += len(found)
                if not cursor:
                    break
                told(done, max(done, total))
        told(done, done)
    info = yield from index_info(keys)
    counts = {kind: len(met) for kind, met in findings.kinds.items()}
    ids = {kind: met.ids for kind, met in findings.kinds.items()}
    report = CheckReport(
        index.name,
        documents=len(findings.documents),
        passages=len(findings.passages),
        counts=counts,
        **ids,
        indexing_failures=info.failures,
        truncated=any(count > MOST_IDS for count in counts.values()),
        seconds=time.monotonic() - started,
    )
    WRITING.log(INFO if report.is_sound else WARNING, "index %r: checked, %s", index.name, report.head)
    return report


def _look_through(place: Place, found: Sequence[str], findings: _Findings, repair: bool) -> Flow[None]:
    """Look at what is behind some keys, and once more at what looks wrong: a writer may be about to mend it."""
    keys = place.keys
    numbers = _numbers(keys, found)
    first = yield from look(place, numbers)
    unfound = yield from _unfound(place, first)
    for key in found:
        if key.startswith(keys.passage_prefix):
            findings.passages.add(key)
    for document_id, seen in first.items():
        if seen.has_record:
            findings.documents.add(document_id)
    suspects = {one: numbers[one] for one, seen in first.items() if not seen.is_sound or one in unfound}
    if not suspects:
        return
    yield Pause(_PAUSE)
    before = yield from look(place, suspects, whole=True)
    missed = yield from _unfound(place, before)
    seen_now = yield from look(place, suspects, whole=True)
    # What was there before the search and behind it, and was not found by it.
    unfound = {
        one: left
        for one, some in missed.items()
        if (left := [key for key in some if keys.split_passage(key)[1] in seen_now[one].there - seen_now[one].beyond])
    }
    wrong = {one: seen for one, seen in seen_now.items() if not seen.is_sound or one in unfound}
    for document_id, seen in wrong.items():
        findings.note(document_id, seen, unfound.get(document_id, ()))
    again = {one for one, seen in wrong.items() if seen.is_lost}
    if repair and wrong:
        again |= yield from _repaired(place, {one: suspects[one] for one in wrong}, unfound)
    for document_id in wrong:
        if document_id in again:
            findings.kinds["index_again"].add(document_id)
        elif repair:
            findings.kinds["repaired"].add(document_id)


def _repaired(place: Place, numbers: Mapping[str, set[int]], unfound: Mapping[str, Sequence[str]]) -> Flow[set[str]]:
    """Mend documents, and return the ids of those that only their source can make whole again."""
    keys = place.keys
    mended = yield from mend(place, numbers)
    passages = [key for some in unfound.values() for key in some]
    lost = {one for one, seen in mended.items() if seen.is_lost}
    if not passages:
        return lost
    yield from set_anew(passages)
    there = yield from searchable_keys(place, passages)
    left = [key for key in passages if key not in there]
    yield from forget(keys, left)
    return lost | {keys.split_passage(key)[0] for key in left}


def _numbers(keys: Keys, found: Sequence[str]) -> dict[str, set[int]]:
    """Return for each document the numbers of the passages among the keys; none for a record of an earlier release."""
    numbers: dict[str, set[int]] = {}
    for key in found:
        if key.startswith(keys.passage_prefix):
            document_id, number = keys.split_passage(key)
            numbers.setdefault(document_id, set()).add(number)
        else:
            numbers.setdefault(keys.earlier_id(key), set())
    return numbers


def _unfound(place: Place, seen: Mapping[str, Seen]) -> Flow[dict[str, list[str]]]:
    """Return for each document the keys of the passages that are there, and that a search for everything lacks."""
    stored = {one: [place.keys.passage(one, number) for number in sorted(each.there)] for one, each in seen.items()}
    found = yield from searchable_keys(place, [key for some in stored.values() for key in some])
    return {one: left for one, some in stored.items() if (left := [key for key in some if key not in found])}
