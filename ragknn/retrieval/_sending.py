"""Sending searches: each in as few round trips as it needs."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar, cast

from ragknn._protocol.counting import count_passages
from ragknn._protocol.flows import Command, Each, Flow
from ragknn._protocol.place import Place
from ragknn._protocol.query import WITH_VECTOR, intersection
from ragknn._protocol.replies import Row, SearchReply, checked, parse_info, parse_search
from ragknn._protocol.whole import is_late
from ragknn.errors import CommandRefused
from ragknn.retrieval._answers import Found, read_answer
from ragknn.retrieval._bulk import search_in_memory
from ragknn.retrieval._commands import Ask, Knn, Range, Search, Words, commands
from ragknn.retrieval._effort import counting, take_count

# Searches sent in one round trip. More would only fill buffers: 1,000 queries of 384 float32 are 1.5 MB.
SEARCHES_PER_ROUND = 1_000

# So many searches beside a filter that was not counted wait for the count, by which the way of all is chosen.
WORTH_A_ROUND_TRIP = 20

T = TypeVar("T")


def search(place: Place, searches: Sequence[Search], ask: Ask) -> Flow[list[Found]]:
    """Return what each search found: in memory where that is quicker, else sent, a thousand in a round trip.

    A `Range` that has more than its limit is sent a second time, for all of them. In RESP2 the server cannot say that
    it ran out of time. For the k nearest, the number of passages to expect is known; for a radius or for words it is
    not, so that an answer which took as long as it was allowed to counts as incomplete there.
    """
    if place.bulk != "never" and (found := (yield from search_in_memory(place, searches, ask))) is not None:
        return found
    kinds = set(map(type, searches))
    if Range in kinds:  # a plan makes no others beside it
        return (yield from _search_within(place, cast(Sequence[Range], searches), ask))

    began, untold = time.monotonic(), False

    def read(one: Search, reply: Any) -> Found:
        nonlocal untold
        if isinstance(one, Words):
            return read_answer(place, one, _judged(place, parse_search(reply, scored=True), began), ask)
        answer = read_answer(place, one, parse_search(reply), ask)
        untold = untold or answer.untold is not None
        return answer

    found = yield from _sent(place, searches, ask, read, counted=Knn in kinds)
    if untold and place.watch.percent_indexed == 1:  # else it is told already
        found = yield from _told_of_expected(place, found, ask)
    return found


def _search_within(place: Place, searches: Sequence[Range], ask: Ask) -> Flow[list[Found]]:
    began = time.monotonic()

    def read(one: Search, reply: Any) -> SearchReply:
        return _judged(place, parse_search(reply), began)

    answers = yield from _sent(place, searches, ask, read)
    more = {
        row: replace(one, limit=answer.total)
        for row, (one, answer) in enumerate(zip(searches, answers, strict=True))
        if answer.total > len(answer.rows) >= one.limit
    }
    if more:
        began = time.monotonic()
        again = yield from _sent(place, list(more.values()), ask, read)
        for row, answer in zip(more, again, strict=True):
            answers[row] = answer
    answers = yield from _with_vectors(answers)
    return [read_answer(place, one, answer, ask) for one, answer in zip(searches, answers, strict=True)]


def _judged(place: Place, answer: SearchReply, began: float) -> SearchReply:
    """Return the answer, with a warning where it may be incomplete and the server has no way to say so."""
    if answer.reports_timeouts or not is_late(place, began):
        return answer
    return replace(answer, warnings=("the server may have run out of time, which it cannot say over RESP2",))


def _sent(
    place: Place, searches: Sequence[Search], ask: Ask, read: Callable[[Search, Any], T], *, counted: bool = False
) -> Flow[list[T]]:
    """Return what is read of the reply to each search; each is read while the server works on those behind it.

    Args:
        place: where to search.
        searches: what is sent.
        ask: how.
        read: what is called with each search and its reply.
        counted: whether the way of a search depends on how many passages pass the filter.
    """
    found: list[T] = []
    for start in range(0, len(searches), SEARCHES_PER_ROUND):
        part = searches[start : start + SEARCHES_PER_ROUND]
        aside: list[Command] = [("FT.INFO", place.keys.searched)] if place.watch.is_due else []
        counts = counting(place, ask.among) if counted and not ask.among.is_everything else []
        aside += counts
        if counts and (ask.demanding or len(part) >= WORTH_A_ROUND_TRIP):
            for command, reply in zip(aside, (yield aside), strict=True):
                _learn(place, ask, command, reply)
            aside = []
        replies = yield Each([*aside, *commands(place, part, ask)], partial(_read, place, ask, aside, part, read))
        found += replies[len(aside) :]
    return found


def _read(
    place: Place,
    ask: Ask,
    aside: Sequence[Command],
    searches: Sequence[Search],
    read: Callable[[Search, Any], T],
    number: int,
    reply: Any,
) -> T | None:
    """Read the reply to a command: to one of those beside the searches, or to a search."""
    if number < len(aside):
        _learn(place, ask, aside[number], reply)
        return None
    return read(searches[number - len(aside)], reply)


def _learn(place: Place, ask: Ask, command: Command, reply: Any) -> None:
    """Remember what the server said of the index or of the filter, beside the searches."""
    if command[0] == "FT.INFO":
        place.watch.take(parse_info(reply))
    else:
        take_count(place, ask.among, reply)


def _with_vectors(answers: Sequence[SearchReply]) -> Flow[list[SearchReply]]:
    """Return the answers with the vectors of the passages whose distance the server forgot.

    That happens within a radius, beside filters that deny something.
    """
    forgotten = [
        key
        for answer in answers
        for key, fields, _ in answer.rows
        if fields is not None and not fields.keys() & {b"distance", b"vector"}
    ]
    if not forgotten:
        return list(answers)
    replies = yield [("HGET", key, "vector") for key in forgotten]
    vectors = dict(zip(forgotten, map(checked, replies), strict=True))
    return [replace(answer, rows=[_with(row, vectors.get(row[0])) for row in answer.rows]) for answer in answers]


def _with(row: Row, vector: bytes | None) -> Row:
    key, fields, score = row
    return row if vector is None else (key, {**(fields or {}), b"vector": vector}, score)


def _told_of_expected(place: Place, found: list[Found], ask: Ask) -> Flow[list[Found]]:
    """Return what was found, with a warning where it is less than there is and the replies cannot tell (RESP2)."""
    try:
        expected = min(ask.k, (yield from count_passages(place, intersection(ask.among, WITH_VECTOR))))
    except CommandRefused:  # there is too little time to count as well
        expected = ask.k
    return [
        one
        if one.untold is None or one.untold >= expected
        else replace(one, warnings=(*one.warnings, _too_few(one.untold, expected)))
        for one in found
    ]


def _too_few(came: int, expected: int) -> str:
    return f"{came} of {expected} neighbors came; the server may have run out of time"
