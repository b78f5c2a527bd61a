"""Searches and aggregations of whose answers nothing may be missing: complete, or refused.

The server is told how long it may take, so that it ends before its client stops waiting. When the time is up it answers
with what it has by then, or with an error, as it is configured. RESP3 says so beside the answer, but not where a search
is only counted, and RESP2 never does: what took as long as it was allowed to is refused there.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ragknn._protocol.flows import Command, Flow, Once
from ragknn._protocol.place import Place
from ragknn._protocol.replies import parse_aggregate, parse_complete
from ragknn.errors import CommandRefused


def time_limit(place: Place) -> Command:
    """Return the part of a command that says how long the server may take."""
    return ("TIMEOUT", str(_milliseconds(place)))


def is_late(place: Place, began: float) -> bool:
    """Whether what was asked at that time, by the monotonic clock, has taken as long as the server may take."""
    return (time.monotonic() - began) * 1000 >= _milliseconds(place)


def _milliseconds(place: Place) -> int:
    return max(1, round(place.timeout * 1000))


def count_found(place: Place, command: Command) -> Flow[int]:
    """Return how many passages an FT.SEARCH, given without its end, finds.

    Raises:
        CommandRefused: the server refuses it, or may have had too little time.
    """
    began = time.monotonic()
    [reply] = yield [(*command, "LIMIT", "0", "0", *_ending(place))]
    total = parse_complete(reply).total
    _refuse_late(place, began)
    return total


def search_whole(place: Place, *commands: Command) -> Flow[list[Any]]:
    """Return the replies to FT.SEARCH commands, given without their end.

    Raises:
        CommandRefused: the server refuses one, or says or may have had too little time.
    """
    began = time.monotonic()
    replies = yield [(*command, *_ending(place)) for command in commands]
    for reply in replies:
        if isinstance(reply, Exception | Mapping):
            parse_complete(reply)
        else:
            _refuse_late(place, began)
    return replies  # type: ignore[no-any-return]


def aggregate_whole(place: Place, command: Command) -> Flow[list[dict[str, str]]]:
    """Return the rows of an FT.AGGREGATE, given without its end.

    Raises:
        CommandRefused: the server refuses it, or says or may have had too little time.
    """
    began = time.monotonic()
    [reply] = yield [(*command, *_ending(place))]
    return _rows(place, reply, began)


def aggregate_by_parts(place: Place, command: Command, size: int) -> Flow[list[dict[str, str]]]:
    """Return the rows of an FT.AGGREGATE, given without its end, which are read so many at a time.

    Where the connection breaks meanwhile the flow ends: the next reading would leave out a part.

    Raises:
        CommandRefused: as above.
    """
    found: list[dict[str, str]] = []
    began = time.monotonic()
    [reply] = yield [(*command, "WITHCURSOR", "COUNT", str(size), *_ending(place))]
    while True:
        # An error comes without a cursor.
        part, cursor = (reply, 0) if isinstance(reply, Exception) else reply
        found += _rows(place, part, began)
        if not int(cursor):
            return found
        began = time.monotonic()
        [reply] = yield Once([("FT.CURSOR", "READ", place.keys.searched, str(cursor), "COUNT", str(size))])


def _ending(place: Place) -> Command:
    return (*time_limit(place), "DIALECT", "2")


def _rows(place: Place, reply: Any, began: float) -> list[dict[str, str]]:
    rows = parse_aggregate(reply)
    if not isinstance(reply, Mapping):
        _refuse_late(place, began)
    return rows


def _refuse_late(place: Place, began: float) -> None:
    if is_late(place, began):
        raise CommandRefused(
            f"expected a complete answer within {place.timeout:g} seconds, got one that took as long, of which the "
            "server cannot say whether it is complete: raise the timeout, or ask with a narrower filter"
        )
