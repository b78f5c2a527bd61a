"""What a conversation with the nodes of a cluster waits for, what it needs to know of them, and what it remembers.

A conversation is a generator. It yields what it waits for and is sent what came of it:

    Say(parcels, behind)  commands for several nodes at a time, then others; the replies of each node, or its error;
                          where one of the first has failed, the others are not sent
    Renew(moved)          what is known of the cluster is read anew
    Pause(seconds)        nothing comes back
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

from redis.exceptions import AskError

from ragknn._protocol.flows import Command, Pause
from ragknn.server._cluster.views import View


@dataclass(frozen=True, slots=True)
class Say:
    """Commands for nodes, by their names, and others that are sent when all of those were answered.

    The connections for both are there before the first command is sent.
    """

    parcels: Sequence[tuple[str, list[Command]]]
    behind: Sequence[tuple[str, list[Command]]] = ()


@dataclass(frozen=True, slots=True)
class Renew:
    """Read anew where the slots are; and take note of what nodes have said of some."""

    moved: Sequence[AskError] = ()


Answer: TypeAlias = "list[Any] | Exception"
Step: TypeAlias = "Say | Renew | Pause"
Conversation: TypeAlias = Generator[Step, Any, Any]


class NodeFailed(Exception):
    """A node could not be reached; the error of redis-py is its cause.

    Attributes:
        name: of the node.
        error: what redis-py says.
    """

    def __init__(self, name: str, error: Exception) -> None:
        super().__init__(f"{name}: {error}")
        self.name = name
        self.error = error


class Map(Protocol):
    """Where the slots are, as far as is known here; nodes go by their names, `host:port` as clients reach them.

    Attributes:
        patience: seconds to wait for a slot that is being moved.
    """

    patience: float

    def owner(self, slot: int) -> str:
        """Return the node that has a slot; raise `SlotNotCoveredError` if none has."""
        ...

    def primaries(self) -> Sequence[str]:
        """Return all primaries."""
        ...

    def named(self, host: str, port: int) -> str:
        """Return the node that the cluster means by a host and a port."""
        ...


@dataclass(slots=True)
class Known:
    """What a client remembers of its cluster from one list of commands to the next.

    Attributes:
        home: name of the node that commands without keys and searches go to.
        view: the cluster as it was at the last search.
        whole: the view for which it is known that searches find every passage once.
        whole_at: name of the node that makes these searches.
        cursors: of searches, with the node that has each and the view in which it was made.
        reached: names of the nodes that have answered.
    """

    home: str = ""
    view: View | None = None
    whole: View | None = None
    whole_at: str = ""
    cursors: dict[int, tuple[str, View | None]] = field(default_factory=dict)
    reached: set[str] = field(default_factory=set)

    def take_note(self, say: Say, answers: Sequence[Answer]) -> None:
        """Remember which nodes have answered."""
        for (name, _), answer in zip(say.parcels, answers, strict=True):
            if not isinstance(answer, Exception):
                self.reached.add(name)
