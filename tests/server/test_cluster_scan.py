"""A look through all keys of a cluster sees every key, however slots are moved; and what its nodes say is read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragknn.server._cluster.scanning import Cursor
from ragknn.server._cluster.views import View, read_asked, read_view

NAMES = ["127.0.0.1:7000", "127.0.0.1:7001", "127.0.0.1:7002"]
PART = 3  # keys that a node shows at a time


class Cluster:
    """Keys on nodes; some are moved to another node, each once, and its slot with it."""

    def __init__(self, places, moves):
        self.places = dict(enumerate(places))
        self._moves = dict(moves)  # for each key, its new node
        self.owners = dict(self.places)
        self._open = []

    def view(self):
        owners = frozenset((name, tuple(str(key) for key, one in self.owners.items() if one == name)) for name in NAMES)
        return View(owners, tuple((self.owners[key], str(key)) for key in self._open), "")

    def begin(self, key):
        self._open.append(key)

    def move(self, key):
        self.places[key] = self._moves[key]

    def end(self, key):
        self._open.remove(key)
        self.owners[key] = self._moves[key]

    def scan(self, name, raw):
        own = sorted(key for key, one in self.places.items() if one == name)
        rest = [key for key in own if key >= raw]
        return (rest[PART] if len(rest) > PART else 0), rest[:PART]


@st.composite
def stories(draw):
    """Where keys are, where some of them are moved, and before which step of the look each part of a move comes."""
    places = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=15))
    moved = draw(st.lists(st.sampled_from(range(len(places))), unique=True, max_size=5))
    moves = {key: draw(st.sampled_from([one for one in NAMES if one != places[key]])) for key in moved}
    steps = {key: sorted(draw(st.lists(st.integers(0, 20), min_size=3, max_size=3))) for key in moved}
    return places, moves, steps


@given(stories())
def test_every_key_is_seen(story):
    places, moves, steps = story
    cluster = Cluster(places, moves)
    seen, cursor, at = set(), Cursor.begin(cluster.view()), 0

    def happen(at):
        for key, (begins, moved, ends) in steps.items():
            for when, do in ((begins, cluster.begin), (moved, cluster.move), (ends, cluster.end)):
                if when == at:
                    do(key)

    while True:
        happen(at)
        at += 1
        cursor = Cursor.of(cursor.number)
        here = cursor.here(NAMES)
        if here is None:
            cursor = cursor.after_round(cluster.view())
            if cursor is None:
                break
            continue
        name, cursor = here
        raw, found = cluster.scan(name, cursor.raw)
        seen.update(found)
        cursor = cursor.after(raw)
    assert seen == set(range(len(places)))


def test_a_node_that_is_gone_is_passed_over_and_all_are_looked_at_again():
    before, after = (View(frozenset({(one, ("0-5",))}), (), "") for one in ("a", "b"))
    cursor = Cursor.begin(before)
    name, _ = cursor.here(NAMES)
    gone = [one for one in NAMES if one != name]
    following, cursor = cursor.after(17).here(gone)
    assert (following != name, cursor.raw) == (True, 0)
    second = cursor.after_round(after)
    assert (second.is_second, second.after_round(before)) == (True, None)


MINE = "a 127.0.0.1:1@2 myself,master - 0 0 1 connected 0-99 [93->-b] [77-<-c]"
OTHER = "b 127.0.0.1:3@4 {flags} - 0 0 2 connected 100-199"
ITS = "a 127.0.0.1:1@2 master - 0 0 1 connected 0-99\nb 127.0.0.1:3@4 myself,master - 0 0 2 connected 100-199"


def test_what_nodes_say_is_read():
    seen = read_view({"one": f"{MINE}\n{OTHER.format(flags='master')}\n".encode(), "two": f"txt:{ITS}"})
    owners, epochs = frozenset({("a", ("0-99",)), ("b", ("100-199",))}), frozenset({("a", "1"), ("b", "2")})
    assert seen == View(owners, (("one", "93"),), "", epochs)


@pytest.mark.parametrize(
    ("one", "two", "trouble"),
    [
        (f"{MINE}\n{OTHER.format(flags='master,fail?')}", ITS, "a node does not answer to that at one"),
        (f"{MINE}\n{OTHER.format(flags='master')}", ITS.replace("myself,master", "myself,slave"), "become a replica"),
        (f"{MINE}\n{OTHER.format(flags='master')}", OSError("refused"), "the node at two cannot be asked"),
        (MINE, ITS.replace("0-99", ""), ""),
        (f"{MINE}\nc 127.0.0.1:5@6 master - 0 0 3 connected 300", ITS, "have not agreed"),
    ],
)
def test_trouble_is_noticed(one, two, trouble):
    found = read_view({"one": one, "two": two}).trouble
    assert trouble in found
    assert bool(trouble) == bool(found)


def test_whom_the_module_asks_is_read():
    own = View(frozenset({("a", ("0-98", "99")), ("b", ("100-199",)), ("c", ())}), (), "")
    for about, is_as, times in (
        ({b"num_partitions": 3, b"slots": [part("a", 0, 98), part("a", 99, 99), part("b", 100, 199)]}, True, (2, 3)),
        ({b"num_partitions": 2, b"slots": [part("a", 0, 99), part("b", 100, 199)]}, False, (2, 2)),
        ({b"num_partitions": 0, b"slots": None}, False, (2, 0)),
        ({b"num_partitions": 3, b"shards": [shard("a"), shard("b"), shard("c")]}, True, (3, 3)),
        ({b"num_partitions": 2, b"shards": [shard("a"), shard("c")]}, False, (2, 2)),
        ({b"num_partitions": 4}, True, (2, 4)),
        ({b"num_partitions": 2, b"slots": [[0, 99, [b"a"]], [100, 199, [b"b"]]]}, True, (2, 2)),
        ({b"num_partitions": 2, b"shards": [{b"nodes": []}, {b"nodes": []}]}, True, (2, 2)),
    ):
        asked = read_asked(about)
        assert (asked.is_as(own), asked.times(own)) == (is_as, times)
    assert read_asked({b"num_partitions": 0}).is_as(View(frozenset({("a", ("0-99",)), ("c", ())}), (), ""))
    assert read_asked(OSError("no")) is None


def part(node, first, last):
    """A range of slots with its nodes, as a module before 8.4 tells of it."""
    nodes = [{b"id": one, b"role": role} for one, role in ((node.encode(), b"master self"), (b"r", b"slave "))]
    return {b"start": first, b"end": last, b"nodes": nodes}


def shard(node):
    """A node that a later one asks."""
    return {b"slots": [], b"id": node.encode(), b"host": b"", b"port": 1}
