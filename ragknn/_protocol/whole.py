"""Searches and aggregations of whose answers nothing may be missing: complete, or refused.

The server is told how long it may take, so that it ends before its client stops waiting. When the time is up it answers
with what it has by then, or with an error, as it is configured. RESP3 says so beside the answer, but not where a search
is only counted, and RESP2 never does: what took as long as it was allowed to is refused there.

Nor does it say so where it is still reading what is stored: after a restart, or where a search index that was gone is
made again. So it is asked before each of them, in the same round trip, and waited for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from ragknn._protocol.flows import Command, Flow, Once, Pause
from ragknn._protocol.place import Place
from ragknn._protocol.replies import SearchIndexInfo, parse_aggregate, parse_complete, parse_info
from ragknn.errors import CommandRefused

_LONGEST_PAUSE = 0.5  # seconds before the server is asked again how far it is


def time_limit(place: Place) -> Command:
    """Return the part of a command that says how long the server may take."""
    return ("TIMEOUT", str(_milliseconds(place)))


def is_late(place: Place, began: float) -> bool:
    """Whether what was asked at that time, by the monotonic clock, has taken as long as the server may take."""
    return (time.monotonic() - began) * 1000 >= _milliseconds(place)


def _milliseconds(place: Place) -> int:
    return max(1, round(place.timeout * 1000))


def answered(
    place: Place, commands: list[Command], letting_go: Callable[[list[Any]], list[Command]] = lambda _: []
) -> Flow[tuple[list[Any], float]]:
    """Return the replies to commands, sent when the server had read all that is stored, and when that was.

    Args:
        place: the index. If it takes answers that are not complete, this one may be of what was read until then.
        commands: to be answered from the search index.
        letting_go: makes of replies that do not count what ends what they began.

    Raises:
        CommandRefused: the server goes on reading for longer than the index's timeout.
    """
    asking: Command = ("FT.INFO", place.keys.searched)
    deadline, pause = time.monotonic() + place.timeout, 0.001
    while True:
        began = time.monotonic()
        described, *replies = yield [asking, *commands]
        info = _taken(place, described)
        if info.percent_indexed == 1 or place.on_incomplete == "return":
            return replies, began
        if ending := letting_go(replies):
            yield ending
        while info.percent_indexed < 1:
            if not info.building or time.monotonic() >= deadline:
                raise CommandRefused(
                    f"expected a complete answer, got index {place.keys.name!r} while the server is still building it, "
                    f"{info.percent_indexed:.0%} of it can be found: wait_until_searchable() waits for the rest"
                )
            yield Pause(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
            info = _taken(place, *(yield [asking]))


def _taken(place: Place, described: Any) -> SearchIndexInfo:
    info = parse_info(described)
    place.watch.take(info)
    return info


def count_found(place: Place, command: Command) -> Flow[int]:
    """Return how many passages an FT.SEARCH, given without its end, finds.

    Raises:
        CommandRefused: the server refuses it, or may have had too little time.
    """
    [reply], began = yield from answered(place, [(*command, "LIMIT", "0", "0", *_ending(place))])
    total = parse_complete(reply).total
    _refuse_late(place, began)
    return total


def search_whole(place: Place, *commands: Command) -> Flow[list[Any]]:
    """Return the replies to FT.SEARCH commands, given without their end.

    Raises:
        CommandRefused: the server refuses one, or says or may have had too little time.
    """
    replies, began = yield from answered(place, [(*command, *_ending(place)) for command in commands])
    for reply in replies:
        if isinstance(reply, Exception | Mapping):
            parse_complete(reply)
        else:
            _refuse_late(place, began)
    return replies


def aggregate_whole(place: Place, command: Command) -> Flow[list[dict[str, str]]]:
    """Return the rows of an FT.AGGREGATE, given without its end.

    Raises:
        CommandRefused: the server refuses it, or says or may have had too little time.
    """
    [reply], began = yield from answered(place, [(*command, *_ending(place))])
    return _rows(place, reply, began)


def aggregate_by_parts(place: Place, command: Command, size: int) -> Flow[list[dict[str, str]]]:
    """Return the rows of an FT.AGGREGATE, given without its end, which are read so many at a time.

    Where the connection breaks meanwhile the flow ends: the next reading would leave out a part.

    Raises:
        CommandRefused: as above.
    """

    def letting_go(replies: list[Any]) -> list[Command]:
        cursors = [int(reply[1]) for reply in replies if not isinstance(reply, Exception)]
        return [("FT.CURSOR", "DEL", place.keys.searched, str(cursor)) for cursor in cursors if cursor]

    found: list[dict[str, str]] = []
    beginning = [(*command, "WITHCURSOR", "COUNT", str(size), *_ending(place))]
    [reply], began = yield from answered(place, beginning, letting_go)
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
