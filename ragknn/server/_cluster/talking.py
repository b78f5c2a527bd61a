"""What is said to which node of a cluster so that a list of commands is done: the same for sync and async. No I/O.

Searches reach all nodes through one of them, the home, which does not tell when the answer of another is missing. So
the view that all primaries have of the cluster is asked for behind the searches, over connections that were there
before them: a search counts only where none of them has gone away, and every slot is where it was and stays there.
"""

from __future__ import annotations

import random
import time
from collections.abc import Generator, Mapping, Sequence
from typing import Any, cast

import redis
from redis.exceptions import AskError, ClusterDownError, MovedError, NoPermissionError, TryAgainError

from ragknn._protocol.apart import Apart
from ragknn._protocol.flows import Command, Flow, Pause, SentAgain
from ragknn._protocol.replies import dotted
from ragknn._protocol.server import parse_hello
from ragknn.errors import UnsupportedServer
from ragknn.server._cluster.conversations import Answer, Conversation, Known, Map, NodeFailed, Renew, Say, Step
from ragknn.server._cluster.routing import Kind, Unit, is_of_one_moment, next_stage, put_together, units_of
from ragknn.server._cluster.scanning import Cursor
from ragknn.server._cluster.searches import (
    check_times,
    cursor_of,
    has_answer,
    has_twice,
    is_of_search,
    is_search,
    is_starting,
    is_unreached,
    may_be_late,
)
from ragknn.server._cluster.views import ASK_PARTITIONS, ASK_VIEW, View, has_replicas, read_asked, read_view
from ragknn.server._retries import RETRIES, may_pass, pause_after

# Seconds between attempts while a slot is being moved, of which a document is half on one node and half on another.
_MOVING_PAUSE = 0.02
# Seconds between attempts while the search module does not know yet whose the slots are: it looks once a second.
_NOTICING_PAUSE = 0.2
# How often searches are made again because the cluster was changed beneath them.
_SEARCHES = 6
# How often searches are made again between which something was written.
_MOMENTS = 50
# Cursors of the search module that are remembered, with the node that has each; the oldest is forgotten.
_MOST_CURSORS = 1_000

# Versions of the search module whose FT.INFO sums up what primaries and replicas have: from the first, before the last.
COUNTING_REPLICAS = ((8,), (8, 2, 6))

_UNSURE = (
    "passages were being moved between the nodes of the cluster while they were searched, so that one may be missing"
)

_LATE = "a node may have run out of time, of which the cluster's search says nothing where it looks within a radius"


class Talk:
    """Carries out one list of commands; unless they are to be sent `once`, also where a connection breaks."""

    def __init__(self, slots: Map, known: Known, *, once: bool) -> None:
        self._map = slots
        self._known = known
        self._once = once
        self._failures = 0
        self._searches = 0
        self._moments = 0
        self._until = time.monotonic() + slots.patience
        self._is_again = False
        self._alone: set[int] = set()  # units that are to be sent without others
        self._asked: dict[int, str] = {}  # units that another node than the owner of their slot is to be asked for

    def replies(self, commands: Sequence[Command]) -> Conversation:
        """Return the replies in the order of the commands, errors among them as values."""
        replies: list[Any] = [None] * len(commands)
        units: Sequence[Unit] = units_of(commands)
        while units:
            try:
                stage, rest = next_stage(units, self._place)
            except redis.exceptions.SlotNotCoveredError as error:  # a slot is nobody's
                yield from self._fail(self._known.home, error)
                yield Renew()
                continue
            [first, *_] = next(iter(stage.parcels.values()))
            if first.is_alone:
                [position] = first.positions
                replies[position] = yield from self._done_alone(first.commands[0], first.kind)
                units = rest
            else:
                left = yield from self._deliver(stage.parcels, replies)
                units = [*left, *rest]
        return SentAgain(replies) if self._is_again else replies

    def _place(self, unit: Unit) -> str:
        if asked := self._asked.get(id(unit)):
            return asked
        if unit.is_alone:
            return ""
        if unit.slot is not None:
            return self._map.owner(unit.slot)
        if (cursor := cursor_of(unit.commands[0])) in self._known.cursors:
            return self._known.cursors[cursor][0]
        return self._home()

    def _home(self) -> str:
        """Return the home: always the same node, as long as it is a primary."""
        primaries = self._map.primaries()
        if self._known.home not in primaries:
            if not primaries:
                raise redis.exceptions.SlotNotCoveredError("the cluster has no primary")
            self._known.home = random.choice(list(primaries))
        return self._known.home

    def _done_alone(self, command: Command, kind: Kind) -> Conversation:
        if kind is Kind.SCAN:
            return (yield from self._scan(command))
        if kind is Kind.HELLO:
            return (yield from self._greet(command))
        return (yield from self._follow(cast(Apart, command).flow()))

    def _follow(self, flow: Flow[Any]) -> Conversation:
        """Run a flow of lists of commands."""
        sent: Any = None
        while True:
            try:
                commands = flow.send(sent)
            except StopIteration as stop:
                return stop.value
            sent = yield from self.replies(cast(list[Command], commands))

    def _greet(self, command: Command) -> Conversation:
        """Return what the home says of itself, and how many primaries there are.

        Raises:
            UnsupportedServer: their search modules are of several versions, or of one that counts wrong here.
        """
        while True:
            home = self._home()
            names = sorted(self._map.primaries(), key=lambda name: name != home)
            answers, _ = yield Say([(name, [command, ASK_VIEW] if name == home else [command]) for name in names])
            pairs = list(zip(names, answers, strict=True))
            failed = next((pair for pair in pairs if isinstance(pair[1], Exception)), None)
            if failed is None:
                break
            yield from self._fail(*failed)
            yield Renew()
        replies = [answer[0] for answer in answers]
        if refused := next((one for one in replies if isinstance(one, Exception)), None):
            return refused
        versions = {dotted(parse_hello(one).search or ()): name for name, one in zip(names, replies, strict=True)}
        if len(versions) > 1:
            found = ", ".join(f"{version or 'none'} at {name}" for version, name in sorted(versions.items()))
            raise UnsupportedServer(
                f"expected one version of the search module on all nodes of the cluster, got {found}: run the same on "
                "each node"
            )
        search = parse_hello(replies[0]).search or ()
        if COUNTING_REPLICAS[0] <= search < COUNTING_REPLICAS[1] and has_replicas(answers[0][-1]):
            raise UnsupportedServer(
                f"expected a search module {dotted(COUNTING_REPLICAS[1])} or later on a cluster with replicas, got "
                f"{dotted(search)}, which counts what the replicas have as well: run Redis 8.2.3 or later on each node"
            )
        told = (b"primaries", len(names))
        return [*replies[0], *told] if isinstance(replies[0], list) else {**replies[0], told[0]: told[1]}

    # ---- sending ------------------------------------------------------------------------------------------------

    def _deliver(self, parcels: Mapping[str, list[Unit]], replies: list[Any]) -> Conversation:
        """Send units, and write the replies to those that were done; return the others, which are to be sent again."""
        searching = next((name for name, units in parcels.items() if any(map(is_search, units))), None)
        if searching is not None:
            return (yield from self._search(searching, parcels[searching], replies))
        answers, _ = yield Say([(name, self._words(units)) for name, units in parcels.items()])
        left, done = yield from self._sorted(list(parcels.items()), answers, replies)
        for unit in done:
            for position in unit.positions:
                if is_starting(replies[position]):  # it was not begun
                    yield from self._wait_for_notice(self._known.home, [unit])
                    left.append(unit)
                elif is_of_search(unit) and is_unreached(replies[position]):
                    raise NodeFailed(self._known.home, redis.ConnectionError(str(replies[position])))
        return left

    def _words(self, units: Sequence[Unit]) -> list[Command]:
        words: list[Command] = []
        for unit in units:
            words += [("ASKING",), *unit.commands] if id(unit) in self._asked else unit.commands
        return words

    def _sorted(
        self, parcels: Sequence[tuple[str, list[Unit]]], answers: Sequence[Answer], replies: list[Any]
    ) -> Generator[Step, Any, tuple[list[Unit], list[Unit]]]:
        """Return the units that are to be sent again, and those that were done."""
        left: list[Unit] = []
        done: list[Unit] = []
        moved: list[AskError] = []
        is_lost, waits = False, False
        for (name, units), answer in zip(parcels, answers, strict=True):
            if isinstance(answer, Exception):
                yield from self._fail(name, answer)
                self._is_again = is_lost = True
                left += units
                continue
            at = 0
            for unit in units:
                if id(unit) in self._asked:
                    _check_allowed(name, [answer[at]])
                    at += 1
                own = answer[at : at + len(unit.commands)]
                at += len(unit.commands)
                obstacle = next(
                    (one for one in own if isinstance(one, AskError | TryAgainError | ClusterDownError)), None
                )
                self._asked.pop(id(unit), None)
                if obstacle is None and self._moments < _MOMENTS and not is_of_one_moment(unit, own):
                    self._moments += 1
                    left.append(unit)
                    continue
                if obstacle is None:
                    put_together(unit, own, replies)
                    done.append(unit)
                    continue
                left.append(unit)
                if isinstance(obstacle, MovedError):
                    moved.append(obstacle)
                elif isinstance(obstacle, AskError):
                    self._asked[id(unit)] = self._map.named(obstacle.host or _host_of(name), int(obstacle.port))
                elif isinstance(obstacle, ClusterDownError):
                    is_lost = True
                    yield from self._fail(name, obstacle)
                else:
                    waits = True
        if moved or is_lost:
            yield Renew(moved)
        if waits or moved:
            if time.monotonic() > self._until:
                raise NodeFailed(parcels[0][0], redis.ConnectionError("a slot is being moved for too long"))
            yield Pause(_MOVING_PAUSE if waits else 0)
        return left, done

    def _fail(self, name: str, error: Exception) -> Generator[Step, Any, None]:
        """Take note of a failure and wait a little; raise it where there is no sense in another attempt."""
        self._failures += 1
        lost = isinstance(error, redis.ConnectionError)
        again = isinstance(error, ClusterDownError | redis.exceptions.SlotNotCoveredError) or (
            isinstance(error, redis.ConnectionError) and may_pass(error)
        )
        if not again or (lost and self._once) or self._failures > RETRIES:
            raise NodeFailed(name, error) from error
        if name == self._known.home:
            self._known.home = ""
        yield Pause(pause_after(self._failures))

    # ---- searches -----------------------------------------------------------------------------------------------

    def _search(self, home: str, units: list[Unit], replies: list[Any]) -> Conversation:
        """Send units among which are searches; those of which it is not known that nothing is missing are left."""
        if len(units) > 1 and (one := next((unit for unit in units if id(unit) in self._alone), None)) is not None:
            again = yield from self._search(home, [one], replies)
            return [unit for unit in units if unit is not one or unit in again]
        known = self._known
        before = known.view or (yield from self._looked())
        departing = before.leaving
        counted = yield from self._counted(departing)
        others = [name for name in self._map.primaries() if name != home]
        # Whom the module asks is asked for before the search: later it may know of nodes that it did not know of then.
        told = [] if known.whole_at == home and before.is_as(known.whole) else [ASK_PARTITIONS]
        words = [*told, *self._words(units), ASK_VIEW]
        began = time.monotonic()
        [answer], views = yield Say([(home, words)], [(name, [ASK_VIEW]) for name in others])
        seconds = time.monotonic() - began
        if isinstance(answer, Exception):
            left, _ = yield from self._sorted([(home, units)], [answer], replies)
            return left
        [*own, view_of_home] = answer
        partitions, own = own[: len(told)], own[len(told) :]
        _check_allowed(home, partitions)
        seen = {name: one if isinstance(one, Exception) else one[0] for name, one in zip(others, views, strict=True)}
        view = known.view = _view_of({home: view_of_home, **seen})
        refused = next((one for one in own if is_unreached(one)), None)
        left, done = yield from self._sorted([(home, units)], [own], replies)
        if is_starting(refused) and not view.trouble:
            yield from self._wait_for_notice(home, units)
            return [unit for unit in units if is_search(unit) or unit in left]
        if refused is not None or view.trouble:
            reason = redis.ConnectionError(view.trouble if refused is None else str(refused))
            known.view = None
            if any(cursor_of(unit.commands[0]) for unit in units):
                raise NodeFailed(home, reason)
            yield from self._fail(home, reason)
            yield Renew()
            return [unit for unit in units if is_search(unit) or unit in left]
        # What is refused, such as an index that is not there, is refused by the home itself, which then asks nobody.
        if partitions and view.is_as(before) and any(has_answer(unit, replies) for unit in done):
            asked = read_asked(partitions[0])
            if asked is not None and not asked.is_as(view):
                yield from self._wait_for_notice(home, units)
                return [unit for unit in units if is_search(unit) or unit in left]
            check_times(asked, view)
            known.whole, known.whole_at = view, home
        is_sure = view.is_as(before) and (
            not view.leaving or (view.leaving == departing and (yield from self._counted(departing)) == counted)
        )
        self._remember_cursors(home, done, replies, view)
        left += self._note_late(home, units, [unit for unit in done if may_be_late(unit, seconds)], replies)
        unsure = [unit for unit in done if is_search(unit) and not (is_sure and self._is_whole(unit, replies, view))]
        if not unsure:
            return left
        self._searches += 1
        if self._searches < _SEARCHES and not any(cursor_of(unit.commands[0]) for unit in unsure):
            yield Renew()
            return [unit for unit in units if unit in unsure or unit in left]
        for unit in unsure:
            self._warn(home, unit, replies, _UNSURE)
        return left

    def _note_late(self, home: str, units: Sequence[Unit], late: list[Unit], replies: list[Any]) -> list[Unit]:
        """Warn of a search that may have run out of time; return those that were not alone, which are to be."""
        if len(units) == 1 and late:
            self._warn(home, late[0], replies, _LATE)
            return []
        self._alone.update(map(id, late))
        return late

    def _looked(self) -> Generator[Step, Any, View]:
        names = list(self._map.primaries())
        answers, _ = yield Say([(name, [ASK_VIEW]) for name in names])
        pairs = zip(names, answers, strict=True)
        self._known.view = _view_of({name: one if isinstance(one, Exception) else one[0] for name, one in pairs})
        return self._known.view

    def _counted(self, departing: Sequence[tuple[str, str]]) -> Generator[Step, Any, list[Any]]:
        """Return how many keys are left in slots that are being moved away."""
        if not departing:
            return []
        commands: dict[str, list[Command]] = {}
        for name, slot in departing:
            commands.setdefault(name, []).append(("CLUSTER", "COUNTKEYSINSLOT", slot))
        answers, _ = yield Say(list(commands.items()))
        for name, answer in zip(commands, answers, strict=True):
            if not isinstance(answer, Exception):
                _check_allowed(name, answer)
        return [None if isinstance(one, Exception) else one for one in answers]

    def _wait_for_notice(self, home: str, units: Sequence[Unit]) -> Generator[Step, Any, None]:
        """Wait until the search module has looked again whose the slots are."""
        if time.monotonic() > self._until or any(cursor_of(unit.commands[0]) for unit in units):
            words = "its search module does not ask those nodes that have the slots"
            raise NodeFailed(home, redis.ConnectionError(words))
        yield Pause(_NOTICING_PAUSE)

    def _is_whole(self, unit: Unit, replies: list[Any], view: View) -> bool:
        """Whether a search was made in one view from its beginning, and has found no passage twice."""
        if (cursor := cursor_of(unit.commands[0])) and not view.is_as(self._known.cursors.get(cursor, ("", view))[1]):
            return False
        return not any(has_twice(replies[position]) for position in unit.positions)

    def _remember_cursors(self, home: str, done: Sequence[Unit], replies: list[Any], view: View) -> None:
        cursors = self._known.cursors
        for unit in done:
            if "WITHCURSOR" in unit.commands[0]:
                reply = replies[unit.positions[0]]
                if isinstance(reply, list) and len(reply) == 2 and reply[1]:
                    cursors[int(reply[1])] = home, view
                    while len(cursors) > _MOST_CURSORS:
                        cursors.pop(next(iter(cursors)), None)

    def _warn(self, home: str, unit: Unit, replies: list[Any], words: str) -> None:
        """Say in the reply to a search that something may be missing; raise where it has no place for that."""
        for position in unit.positions:
            reply = replies[position]
            for one in reply if isinstance(reply, list) else [reply]:
                if isinstance(one, dict) and b"results" in one:
                    one[b"warning"] = [*one.get(b"warning", ()), words.encode()]
                    break
            else:
                if not isinstance(reply, Exception):
                    raise NodeFailed(home, redis.ConnectionError(words))

    # ---- looks through all keys ---------------------------------------------------------------------------------

    def _scan(self, command: Command) -> Conversation:
        """Answer SCAN with a part of the keys of one node, and a cursor that says where it is to go on."""
        cursor = Cursor.of(int(command[1])) or Cursor.begin((yield from self._looked()))
        while True:
            if (here := cursor.here(self._map.primaries())) is None:
                view = yield from self._looked()
                if view.trouble:
                    cursor = Cursor.begin((yield from self._agreed(view)))
                elif (following := cursor.after_round(view)) is None:
                    return [b"0", []]
                else:
                    cursor = following
                continue
            name, cursor = here
            [answer], _ = yield Say([(name, [("SCAN", str(cursor.raw), *command[2:])])])
            if isinstance(answer, Exception):
                yield from self._fail(name, answer)
                yield Renew()
                continue
            [reply] = answer
            if isinstance(reply, Exception):
                return reply
            raw, found = reply
            return [str(cursor.after(int(raw)).number).encode(), found]

    def _agreed(self, view: View) -> Generator[Step, Any, View]:
        """Wait until all of the cluster can be seen."""
        while view.trouble:
            yield from self._fail(self._known.home, redis.ConnectionError(view.trouble))
            yield Renew()
            view = yield from self._looked()
        return view


def _host_of(name: str) -> str:
    """Return the host of a node: the others are on it too where the cluster names none."""
    return name.rpartition(":")[0]


def _view_of(replies: Mapping[str, Any]) -> View:
    """Return how the primaries see the cluster; raise it where one of them does not tell this user."""
    for name, reply in replies.items():
        _check_allowed(name, [reply])
    return read_view(replies)


def _check_allowed(name: str, replies: Sequence[Any]) -> None:
    """Raise that this user may not ask a node what is asked of it to know whether an answer is whole."""
    for reply in replies:
        if isinstance(reply, NoPermissionError):
            raise NodeFailed(name, reply)
