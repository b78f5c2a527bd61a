"""Sending searches: each in as few round trips as it needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from ragknn._protocol.counting import count_passages
from ragknn._protocol.flows import Command, Each, Flow
from ragknn._protocol.place import Place
from ragknn._protocol.query import WITH_VECTOR, intersection
from ragknn._protocol.replies import Row, SearchReply, checked, parse_info, parse_search
from ragknn.errors import CommandRefused
from ragknn.retrieval._answers import Found, read_answer
from ragknn.retrieval._bulk import search_in_memory
from ragknn.retrieval._commands import SCORERS, Ask, Knn, Range, Search, Words
from ragknn.retrieval._effort import counting, take_count

# Searches sent in one round trip. More would only fill buffers: 1,000 queries of 384 float32 are 1.5 MB.
SEARCHES_PER_ROUND = 1_000

# So many searches beside a filter that was not counted wait for the count, by which the way of all is chosen.
WORTH_A_ROUND_TRIP = 20


def search(place: Place, searches: Sequence[Search], ask: Ask) -> Flow[list[Found]]:
    """Return what each search found: in memory where that is quicker, else sent, a thousand in a round trip.

    A `Range` that has more than its limit is sent a second time, for all of them. In RESP2 the server cannot say that
    it ran out of time. For the k nearest, the number of passages to expect is known; for a radius or for words it is
    not, so that only a RESP3 connection notices an incomplete answer.
    """
    if (found := (yield from search_in_memory(place, searches, ask))) is not None:
        return found
    if place.watch.scorer is None and any(isinstance(one, Words) for one in searches):
        place.watch.scorer = yield from _best_scorer(place)
    answers = yield from _answers(place, searches, ask)
    more = {
        row: replace(one, limit=answer.total)
        for row, (one, answer) in enumerate(zip(searches, answers, strict=True))
        if isinstance(one, Range) and answer.total > len(answer.rows) >= one.limit
    }
    if more:
        again = yield from _answers(place, list(more.values()), ask)
        for row, answer in zip(more, again, strict=True):
            answers[row] = answer
    answers = yield from _with_vectors(searches, answers)
    expected = yield from _expected_count(place, searches, answers, ask)
    return [read_answer(place, one, answer, ask, expected) for one, answer in zip(searches, answers, strict=True)]


def _best_scorer(place: Place) -> Flow[str]:
    replies = yield [("FT.SEARCH", place.keys.alias, "*", "SCORER", scorer, "LIMIT", "0", "0") for scorer in SCORERS]
    for scorer, reply in zip(SCORERS, replies, strict=True):
        if not isinstance(reply, Exception):
            return scorer
    raise CommandRefused(f"expected a server that scores words by {' or '.join(SCORERS)}, got: {replies[-1]}")


def _answers(place: Place, searches: Sequence[Search], ask: Ask) -> Flow[list[SearchReply]]:
    answers: list[SearchReply] = []
    for start in range(0, len(searches), SEARCHES_PER_ROUND):
        part = searches[start : start + SEARCHES_PER_ROUND]
        looking: list[Command] = [("FT.INFO", place.keys.alias)] if place.watch.is_due else []
        counts = counting(place, ask.among) if any(isinstance(one, Knn) and not one.exact for one in part) else []
        aside = [*looking, *counts]
        if counts and (ask.demanding or len(part) >= WORTH_A_ROUND_TRIP):
            _learn(place, ask, aside, (yield aside))
            aside = []
        commands = [*aside, *(one.command(place, ask) for one in part)]
        replies = yield Each(commands, partial(_read, [*(None for _ in aside), *part]))
        _learn(place, ask, aside, replies)
        answers += replies[len(aside) :]
    return answers


def _read(asked: Sequence[Search | None], number: int, reply: Any) -> SearchReply | Any:
    """Return the reply to a command; to a search, parsed."""
    one = asked[number]
    return reply if one is None else parse_search(reply, scored=isinstance(one, Words))


def _learn(place: Place, ask: Ask, aside: Sequence[Command], replies: Sequence[Any]) -> None:
    """Remember what the server said of the index and of the filter, beside the searches."""
    for command, reply in zip(aside, replies, strict=False):
        if command[0] == "FT.INFO":
            place.watch.take(parse_info(reply))
        else:
            take_count(place, ask.among, reply)


def _with_vectors(searches: Sequence[Search], answers: Sequence[SearchReply]) -> Flow[list[SearchReply]]:
    """Return the answers with the vectors of the passages whose distance the server forgot.

    That happens within a radius, beside filters that deny something.
    """
    forgotten = [
        row.key
        for one, answer in zip(searches, answers, strict=True)
        for row in answer.rows
        if isinstance(one, Range) and row.fields is not None and not row.fields.keys() & {b"distance", b"vector"}
    ]
    if not forgotten:
        return list(answers)
    replies = yield [("HGET", key, "vector") for key in forgotten]
    vectors = dict(zip(forgotten, map(checked, replies), strict=True))
    return [replace(answer, rows=[_with(row, vectors.get(row.key)) for row in answer.rows]) for answer in answers]


def _with(row: Row, vector: bytes | None) -> Row:
    return row if vector is None else row._replace(fields={**(row.fields or {}), b"vector": vector})


def _expected_count(place: Place, searches: Sequence[Search], answers: Sequence[SearchReply], ask: Ask) -> Flow[int]:
    """Return how many neighbors a search should find at least; 0 where the replies themselves tell (RESP3)."""
    pairs = zip(searches, answers, strict=True)
    if any(isinstance(one, Knn) and not answer.reports_timeouts and len(answer.rows) < ask.k for one, answer in pairs):
        return min(ask.k, (yield from count_passages(place.keys, intersection(ask.among, WITH_VECTOR))))
    return 0
