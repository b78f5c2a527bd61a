"""Which commands stay together on a cluster, where each goes, and which may overtake others. Pure.

Commands on the keys of documents, which have the document's id in braces, reach their servers in any order. Every other
command waits for the replies to all before it, unless these are of the same server: so what looks at the manifest
behind a write still looks at it behind the write.
"""

from __future__ import annotations

from binascii import crc_hqx
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Generic, TypeVar

from ragknn._protocol.apart import Apart
from ragknn._protocol.flows import Command

N = TypeVar("N")

SLOTS = 16_384

# Commands without keys, beside those of the search module, which go to one and the same server, the home.
_KEYLESS = frozenset(
    {"HELLO", "PING", "ECHO", "TIME", "INFO", "CONFIG", "CLIENT", "COMMAND", "CLUSTER", "ACL", "MODULE", "DBSIZE"}
)
_OF_SEARCH = ("FT.", "_FT.", "SEARCH.")
_SCRIPTS = frozenset({"EVAL", "EVAL_RO", "EVALSHA", "EVALSHA_RO"})
_ADDED_UP = frozenset({"UNLINK", "DEL", "EXISTS", "TOUCH"})

# A script works on more keys than it names: how many passages a document has, it finds out. While a slot is moved some
# of them may be on the other server. With a key that is nowhere among those that it names, Redis refuses the script as
# a whole as long as the slot is being moved, before it does anything.
_FORGET_PROBE = "table.remove(KEYS)\n"


class Kind(Enum):
    """How a unit is sent, and what its replies mean."""

    PLAIN = auto()
    SUM = auto()  # a part of a command on many keys
    SEARCHES = auto()  # a transaction of searches, which the search module refuses as one: each is made twice
    HELLO = auto()  # to all servers, which are to be of one kind
    SCAN = auto()  # over all servers, one after the other
    APART = auto()  # on documents of several servers


@dataclass(slots=True, eq=False)
class Unit:
    """Commands that are sent together, and again together.

    Attributes:
        positions: of the replies among all.
        commands: what is sent.
        slot: of their keys; None: they have none, and go to the home.
        is_free: whether they are on a document's keys.
        kind: how they are sent.
    """

    positions: range
    commands: list[Command]
    slot: int | None
    is_free: bool = False
    kind: Kind = Kind.PLAIN

    @property
    def is_alone(self) -> bool:
        """Whether it is sent by steps of its own."""
        return self.kind in (Kind.HELLO, Kind.SCAN, Kind.APART)


@dataclass(slots=True)
class Stage(Generic[N]):
    """Units that are sent at the same time, by server; those of one server in their order."""

    parcels: dict[N, list[Unit]] = field(default_factory=dict)
    is_free: bool = True

    def takes(self, node: N, unit: Unit) -> bool:
        """Whether a unit can be sent along, behind the others."""
        if not self.parcels or (self.is_free and unit.is_free):
            return True
        return self.parcels.keys() == {node}

    def add(self, node: N, unit: Unit) -> None:
        """Send the unit along."""
        self.parcels.setdefault(node, []).append(unit)
        self.is_free = self.is_free and unit.is_free


def next_stage(units: Sequence[Unit], place: Callable[[Unit], N]) -> tuple[Stage[N], Sequence[Unit]]:
    """Return the units, from the first on, that can be sent at the same time, and those that wait for their replies."""
    stage: Stage[N] = Stage()
    for number, unit in enumerate(units):
        if unit.is_alone and stage.parcels:
            return stage, units[number:]
        node = place(unit)
        if not stage.takes(node, unit):
            return stage, units[number:]
        stage.add(node, unit)
        if unit.is_alone:
            return stage, units[number + 1 :]
    return stage, ()


def slot_of(key: str | bytes) -> int:
    """Return the slot of a key."""
    raw = key.encode() if isinstance(key, str) else key
    begin = raw.find(b"{")
    if begin >= 0:
        end = raw.find(b"}", begin + 1)
        if end > begin + 1:
            raw = raw[begin + 1 : end]
    return crc_hqx(raw, 0) % SLOTS


def units_of(commands: Sequence[Command]) -> list[Unit]:
    """Return a list of commands as units, in their order."""
    units: list[Unit] = []
    at = 0
    while at < len(commands):
        command = commands[at]
        if command[0] == "MULTI":
            end = next(place for place in range(at, len(commands)) if commands[place][0] == "EXEC") + 1
            units.append(_transaction(range(at, end), list(commands[at:end])))
            at = end
            continue
        units += _units_of(range(at, at + 1), command)
        at += 1
    return units


def _transaction(positions: range, commands: list[Command]) -> Unit:
    inner = commands[1:-1]
    if any(is_of_search(command) for command in inner):
        return Unit(positions, [*inner, *inner], None, kind=Kind.SEARCHES)
    slot, is_free = _place(key for command in inner for key in keys_of(command))
    return Unit(positions, commands, slot, is_free)


def _units_of(positions: range, command: Command) -> Iterable[Unit]:
    if isinstance(command, Apart):
        return [Unit(positions, [command], None, kind=Kind.APART)]
    if command[0] in ("SCAN", "HELLO"):
        return [Unit(positions, [command], None, kind=Kind[str(command[0])])]
    keys = keys_of(command)
    if command[0] in _ADDED_UP and len(keys) > 1:
        parts: dict[int, list[str | bytes]] = {}
        for key in keys:
            parts.setdefault(slot_of(key), []).append(key)
        return [
            Unit(positions, [(command[0], *part)], slot, all(map(_has_tag, part)), Kind.SUM)
            for slot, part in parts.items()
        ]
    slot, is_free = _place(keys)
    if command[0] in _SCRIPTS and slot is not None:
        command = _with_probe(command)
    return [Unit(positions, [command], slot, is_free)]


def is_of_search(command: Command) -> bool:
    """Tell whether a command is one of the search module."""
    return str(command[0]).startswith(_OF_SEARCH)


def keys_of(command: Command) -> Sequence[str | bytes]:
    """Return the keys that a command names."""
    name = command[0]
    if name in _SCRIPTS:
        return command[3 : 3 + int(command[2])]
    if name in _ADDED_UP:
        return command[1:]
    return () if len(command) < 2 or name in _KEYLESS or is_of_search(command) else command[1:2]


def _place(keys: Iterable[str | bytes]) -> tuple[int | None, bool]:
    """Return the slot of keys, None where there are none, and whether they are a document's.

    Raises:
        ValueError: they are in several slots.
    """
    named = list(keys)
    slots = {slot_of(key) for key in named}
    if len(slots) > 1:
        raise ValueError(f"expected keys in one slot of the cluster, got {named!r} in several")
    return (slots.pop() if slots else None), bool(named) and all(map(_has_tag, named))


def _has_tag(key: str | bytes) -> bool:
    return (b"{" if isinstance(key, bytes) else "{") in key  # type: ignore[operator]


def _with_probe(command: Command) -> Command:
    name, script, count, *rest = command
    number = int(count)
    if name in ("EVALSHA", "EVALSHA_RO"):
        raise ValueError(f"expected scripts by their text on a cluster, got {name}")
    probe = _beside(rest[0])
    return (name, _FORGET_PROBE + str(script), str(number + 1), *rest[:number], probe, *rest[number:])


def _beside(key: str | bytes) -> str:
    """Return a key that is nowhere, in the slot of another one and with the same beginning."""
    text = key.decode() if isinstance(key, bytes) else key
    tag, brace, _ = text.partition("}")
    return f"{tag}{brace}?" if brace else f"{text}{{{text}}}?"


def is_of_one_moment(unit: Unit, answers: Sequence[Any]) -> bool:
    """Tell whether nothing was written between searches that are to be of one moment: twice they found the same."""
    if unit.kind is not Kind.SEARCHES:
        return True
    told = [str(one) if isinstance(one, Exception) else one for one in answers]
    half = len(told) // 2
    return told[:half] == told[half:]


def put_together(unit: Unit, answers: Sequence[Any], replies: list[Any]) -> None:
    """Write the answers to a unit where the replies to its commands are expected."""
    if unit.kind is Kind.SUM:
        [answer] = answers
        [position] = unit.positions
        so_far = replies[position]
        failed = next((one for one in (so_far, answer) if isinstance(one, Exception)), None)
        replies[position] = failed if failed is not None else int(so_far or 0) + int(answer)
    elif unit.kind is Kind.SEARCHES:
        answers = answers[len(answers) // 2 :]
        failed = next((one for one in answers if isinstance(one, Exception)), None)
        queued = [b"QUEUED"] * len(answers) if failed is None else list(answers)
        for position, reply in zip(unit.positions, [b"OK", *queued, failed or list(answers)], strict=True):
            replies[position] = reply
    else:
        for position, answer in zip(unit.positions, answers, strict=True):
            replies[position] = answer
