"""What the nodes of a cluster say of it: whose each slot is, which are being moved, and which node has failed. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ragknn._protocol.flows import Command
from ragknn._protocol.replies import as_mapping, as_text

ASK_VIEW: Command = ("CLUSTER", "NODES")
ASK_PARTITIONS: Command = ("SEARCH.CLUSTERINFO",)


@dataclass(frozen=True, slots=True)
class View:
    """A cluster as all of its primaries see it.

    Attributes:
        owners: id of each primary with its slots, as it says itself.
        leaving: slots that are being moved away, with the name of the node that still has them.
        trouble: why it is not known whether a search reaches all of it; empty where it is.
        epochs: id of each primary with the number that grows where a slot comes to it: a slot that went to another
            node and has come back is where it was, and yet a search may have found it on neither.
    """

    owners: frozenset[tuple[str, tuple[str, ...]]]
    leaving: tuple[tuple[str, str], ...]
    trouble: str
    epochs: frozenset[tuple[str, str]] = frozenset()

    @property
    def holders(self) -> frozenset[str]:
        """Ids of the primaries that have slots."""
        return frozenset(node for node, slots in self.owners if slots)

    def is_as(self, other: View | None) -> bool:
        """Whether every slot is where it was in another view, and has been there all the time between them."""
        return other is not None and (other.owners, other.epochs) == (self.owners, self.epochs)


def read_view(replies: Mapping[str, Any]) -> View:
    """Read the answers of the primaries, by their names, to `ASK_VIEW`; an error in place of one that gave none."""
    owners: dict[str, tuple[str, ...]] = {}
    epochs: dict[str, str] = {}
    leaving: list[tuple[str, str]] = []
    with_slots: set[str] = set()
    trouble = ""
    for name, reply in replies.items():
        if isinstance(reply, Exception):
            trouble = trouble or f"the node at {name} cannot be asked ({reply})"
            continue
        for line in as_text(reply).removeprefix("txt:").splitlines():
            node, _, flags, _, _, _, epoch, _, *slots = line.split()
            own = flags.split(",")
            if "myself" in own:
                epochs[node] = epoch
                owners[node] = tuple(one for one in slots if not one.startswith("["))
                leaving += ((name, one.strip("[]").partition("->-")[0]) for one in slots if "->-" in one)
                if "master" not in own:
                    trouble = trouble or f"the node at {name} has become a replica"
            if slots and "master" in own:
                with_slots.add(node)
                if {"fail", "fail?", "noaddr"} & {*own}:
                    trouble = trouble or f"a node does not answer to that at {name}"
    if with_slots != {node for node, slots in owners.items() if slots}:
        trouble = trouble or "its nodes have not agreed yet on whose the slots are"
    return View(frozenset(owners.items()), tuple(leaving), trouble, frozenset(epochs.items()))


def has_replicas(reply: Any) -> bool:
    """Tell whether there are replicas, as a node answers to `ASK_VIEW`."""
    lines = [] if isinstance(reply, Exception) else as_text(reply).removeprefix("txt:").splitlines()
    return any("slave" in line.split()[2].split(",") for line in lines)


@dataclass(frozen=True, slots=True)
class Asked:
    """Whom the search module asks, as it answers to `ASK_PARTITIONS`; it looks for them once a second.

    Before it is searched for the first time it asks nobody, and where one node has all slots it never does.

    Attributes:
        parts: how many.
        nodes: id of the node for each, where that is told.
        by_range: whether a node is asked once for each of its ranges of slots, as modules before 8.4 do.
    """

    parts: int
    nodes: tuple[str, ...] = ()
    by_range: bool = False

    def is_as(self, view: View) -> bool:
        """Whether it asks all nodes that have slots, and as often as a later look in this view would find."""
        if not self.nodes:
            return self.parts > 0 or len(view.holders) == 1
        if self.by_range:
            return Counter(self.nodes) == Counter(node for node, slots in view.owners for _ in slots)
        return view.holders <= {*self.nodes}

    def times(self, view: View) -> tuple[int, int]:
        """Return how many nodes it asks, and how often in all."""
        return len({*self.nodes}) or len(view.holders), len(self.nodes) or self.parts


def read_asked(reply: Any) -> Asked | None:
    """Read the answer to `ASK_PARTITIONS`; None where there is none."""
    if isinstance(reply, Exception):
        return None
    about = as_mapping(reply)
    parts, shards, slots = int(about.get("num_partitions", 0)), about.get("shards"), about.get("slots")
    try:
        if shards:
            return Asked(parts, tuple(as_text(as_mapping(one)["id"]) for one in shards))
        nodes = [as_mapping(node) for part in slots or () for node in as_mapping(part)["nodes"]]
        primaries = [as_text(node["id"]) for node in nodes if as_text(node["role"]).startswith("master")]
    except (KeyError, TypeError, ValueError):  # another shape: what it does not tell is trusted
        return Asked(parts)
    return Asked(parts, tuple(primaries), by_range=True)
