"""Holding an index, so that no two processes rebuild it or move it at a time; one that is killed holds it no more."""

from __future__ import annotations

import time
from typing import Any, TypeVar
from uuid import uuid4

from ragknn._protocol.flows import Flow, Pause, Step, within
from ragknn._protocol.keys import Keys
from ragknn._protocol.opening import REBUILD
from ragknn._protocol.replies import checked
from ragknn.errors import RebuildFailed

T = TypeVar("T")

HELD = 5_000  # milliseconds after which a process that was killed no longer keeps others from a rebuild
POLL = 0.05  # seconds
_RENEWED = 1.0  # seconds after which a process that goes on says so

# Keeps the index for who holds it; also for who was away for too long, if what it has begun is still begun and nobody
# else holds it. KEYS: what is held, and the manifest. ARGV: by whom, for how long, and what was begun: "" for nothing.
_HOLD = f"""
local held = redis.call('GET', KEYS[1])
if held and held ~= ARGV[1] then return 0 end
if not held and (ARGV[3] == '' or redis.call('HGET', KEYS[2], '{REBUILD}') ~= ARGV[3]) then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""

_LET_GO = "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('UNLINK', KEYS[1]) end"


def claim(keys: Keys) -> Flow[str]:
    """Hold the index, so that no other process rebuilds it or moves it meanwhile; return the mark of the holder.

    One that was held by a process that was killed is free after a few seconds, for which this waits.

    Raises:
        RebuildFailed: another process holds it, and is alive.
    """
    mark = uuid4().hex
    before: int | None = None
    while True:
        taken, left = yield [("SET", keys.moving, mark, "NX", "PX", str(HELD)), ("PTTL", keys.moving)]
        milliseconds = int(checked(left))
        if checked(taken) is not None:
            return mark
        if before is not None and milliseconds > before:
            raise RebuildFailed(
                f"expected index {keys.name!r} for itself, got another process that rebuilds it now: wait for its end"
            )
        before = milliseconds
        yield Pause(POLL)


def hold(keys: Keys, mark: str, begun: str = "") -> Flow[None]:
    """Go on holding the index.

    Args:
        keys: of the index.
        mark: of the holder.
        begun: what the holder has begun, if it may be away for long and then go on, as nothing is lost by it.

    Raises:
        HoldLost: this process was away for so long that another has taken it, or may have.
    """
    [held] = yield [("EVAL", _HOLD, "2", keys.moving, keys.manifest, mark, str(HELD), begun)]
    if not checked(held):
        raise lost(keys)


def while_held(keys: Keys, mark: str, flow: Flow[T], begun: str = "") -> Flow[T]:
    """Run the flow, and go on holding the index meanwhile; the arguments are those of `hold`."""
    held_at = time.monotonic()

    def answer(step: Step) -> Flow[Any]:
        nonlocal held_at
        sent = yield step
        if time.monotonic() - held_at > _RENEWED:
            yield from hold(keys, mark, begun)
            held_at = time.monotonic()
        return sent

    return within(flow, answer)


def let_go(keys: Keys, mark: str) -> Flow[None]:
    """Hold the index no more."""
    yield [("EVAL", _LET_GO, "1", keys.moving, mark)]


class HoldLost(RebuildFailed):
    """Another process may have taken the index."""


def lost(keys: Keys) -> HoldLost:
    """Return the error that says so."""
    return HoldLost(
        f"expected to hold index {keys.name!r} until its rebuild ends, got it free or taken by another process, since "
        "this one stood still: call again, which goes on where it was"
    )
