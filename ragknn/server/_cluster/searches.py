"""What commands of the search module, and its replies, tell of a search on a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ragknn._protocol.flows import Command
from ragknn.errors import UnsupportedServer
from ragknn.server._cluster.routing import Unit
from ragknn.server._cluster.views import Asked, View

_READING = frozenset({"FT.SEARCH", "FT.AGGREGATE", "FT.CURSOR", "FT.INFO", "FT.TAGVALS"})
# In the words of the search module: it could not reach all of the cluster.
_UNREACHED = (
    *("could not send query", "could not distribute command", "could not perform query", "no responses received"),
    *("uninitialized cluster", "cluster is down", "clusterdown"),
)


def is_of_search(unit: Unit) -> bool:
    """Whether it is a command of the search module."""
    return str(unit.commands[0][0]).startswith(("FT.", "_FT."))


def is_search(unit: Unit) -> bool:
    """Whether it asks all nodes, by way of one."""
    return unit.slot is None and unit.commands[0][0] in _READING


def has_answer(unit: Unit, replies: Sequence[Any]) -> bool:
    """Whether it is a search of which not all failed."""
    return is_search(unit) and not all(isinstance(replies[position], Exception) for position in unit.positions)


def is_unreached(reply: Any) -> bool:
    """Whether it says that the module could not reach all of the cluster."""
    return isinstance(reply, Exception) and any(words in str(reply).lower() for words in _UNREACHED)


def check_times(asked: Asked | None, view: View) -> None:
    """Refuse a cluster whose search module asks a node more than once.

    Raises:
        UnsupportedServer: it does.
    """
    nodes, times = (0, 0) if asked is None else asked.times(view)
    if times > nodes:
        raise UnsupportedServer(
            f"expected a cluster whose search asks each of its {nodes} nodes once, got one that asks {times} times, "
            "and counts passages twice: search modules before 8.4 do so where the slots of a node are not in one "
            "range; move slots until each node has one, or run Redis 8.4 or later"
        )


def is_starting(reply: Any) -> bool:
    """Whether it says that the search module has not looked yet whose the slots are, and has done nothing."""
    return isinstance(reply, Exception) and "uninitialized cluster" in str(reply).lower()


def may_be_late(unit: Unit, seconds: float) -> bool:
    """Whether a node may have run out of time unnoticed: in a radius it says so by an error, which is left out."""
    [command, *_] = unit.commands
    if command[0] != "FT.SEARCH" or "VECTOR_RANGE" not in str(command[2]) or "TIMEOUT" not in command:
        return False
    at = len(command) - 1 - command[::-1].index("TIMEOUT")
    return seconds * 1_000 >= int(command[at + 1])


def cursor_of(command: Command) -> int:
    """Return the cursor that a command reads on; 0 for others."""
    return int(command[3]) if command[0] == "FT.CURSOR" and command[1] == "READ" else 0


def has_twice(reply: Any) -> bool:
    """Whether a search has found a passage twice: its key was on two nodes for a moment."""
    if not isinstance(reply, dict) or b"results" not in reply:
        return False
    keys = [row[b"id"] for row in reply[b"results"] if b"id" in row]
    return len(set(keys)) < len(keys)
