"""Where the commands of a list go on a cluster, whatever they are: together, in order, and each to its slot."""

import random

import pytest
import redis.crc
from hypothesis import given
from hypothesis import strategies as st

from ragknn._protocol.apart import for_each
from ragknn._protocol.keys import Keys
from ragknn.server._cluster.routing import Kind, is_of_one_moment, keys_of, next_stage, put_together, slot_of, units_of

NODES = 3
KEYS = Keys("doc")
OF_DOCUMENTS = st.sampled_from([f"d{number}" for number in range(12)])


def of_document(make):
    return OF_DOCUMENTS.map(lambda one: [make(one)])


def look(documents):
    return ("EVAL_RO", "return {}", str(len(documents)), *map(KEYS.record, documents))


# Lists of commands, each of which must stay together.
PIECES = st.one_of(
    of_document(lambda one: ("HGET", KEYS.record(one), "text")),
    of_document(lambda one: ("EVAL", "return 1", "1", KEYS.record(one), KEYS.passages(one), "x")),
    of_document(lambda one: ("EVAL_RO", "return 1", "2", KEYS.record(one), KEYS.passage(one, 1))),
    OF_DOCUMENTS.map(lambda one: [("MULTI",), *[("HMGET", KEYS.passage(one, n), "text") for n in (0, 1)], ("EXEC",)]),
    st.sampled_from(
        [
            [("HGET", KEYS.manifest, "schema")],
            [("HSETNX", KEYS.manifest, "birth", "x")],
            [("EVAL", "return 1", "2", KEYS.moving, KEYS.manifest, "mark")],
            [("EVAL", "return 1", "2", KEYS.dropping, KEYS.manifest, "mark")],
            [("HELLO",)],
            [("INFO", "server")],
            [("CONFIG", "GET", "save")],
            [("FT._LIST",)],
            [("FT.SEARCH", "ragknn:doc:v1", "*")],
            [("MULTI",), ("FT.SEARCH", "ragknn:doc:v1", "*"), ("FT.SEARCH", "ragknn:doc:v2", "*"), ("EXEC",)],
            [("SCAN", "0", "MATCH", "ragknn:doc:p:*", "COUNT", "1000")],
        ]
    ),
    st.lists(OF_DOCUMENTS, min_size=2, max_size=5).map(lambda some: [("UNLINK", *map(KEYS.record, some))]),
    st.lists(OF_DOCUMENTS, min_size=1, max_size=3).map(lambda some: [for_each(look, some)]),
)
LISTS = st.lists(PIECES, max_size=25).map(lambda pieces: [command for piece in pieces for command in piece])


def place(unit):
    return "" if unit.is_alone else "home" if unit.slot is None else f"node{unit.slot % NODES}"


def stages_of(units):
    while units:
        stage, units = next_stage(units, place)
        yield stage


@given(LISTS)
def test_every_reply_has_its_place_and_every_key_its_slot(commands):
    positions = set()
    for unit in units_of(commands):
        positions.update(unit.positions)
        if not unit.is_alone:
            assert {slot_of(key) for one in unit.commands for key in keys_of(one)} <= {unit.slot}
        if unit.kind is Kind.PLAIN:
            assert [one[0] for one in unit.commands] == [commands[at][0] for at in unit.positions]
    assert positions == set(range(len(commands)))


@given(LISTS)
def test_only_commands_on_documents_overtake_each_other(commands):
    units = units_of(commands)
    reached = {}
    for number, stage in enumerate(stages_of(units)):
        for node, own in stage.parcels.items():
            for order, unit in enumerate(own):
                reached[id(unit)] = number, node, order
    assert len(reached) == len(units)
    for at, later in enumerate(units):
        for earlier in units[:at]:
            one, other = reached[id(earlier)], reached[id(later)]
            in_order = one[0] < other[0] or (one[1] == other[1] and one < other)
            assert in_order or (earlier.is_free and later.is_free and one[1] != other[1])


@given(LISTS, st.randoms())
def test_a_list_on_documents_alone_is_one_stage(commands, chance):
    free = [unit for unit in units_of(commands) if unit.is_free]
    chance.shuffle(free)
    assert len(list(stages_of(free))) == bool(free)


@given(st.text(alphabet="ab{}:", max_size=12))
def test_slots_are_those_of_redis(key):
    assert slot_of(key) == slot_of(key.encode()) == redis.crc.key_slot(key.encode())


@given(st.lists(OF_DOCUMENTS, min_size=2, max_size=30))
def test_a_command_on_many_keys_is_split_by_slots_and_added_up(documents):
    command = ("UNLINK", *map(KEYS.record, documents))
    units = units_of([command])
    assert sorted(key for unit in units for key in keys_of(unit.commands[0])) == sorted(command[1:])
    replies = [None]
    for unit in random.sample(units, len(units)):
        put_together(unit, [len(unit.commands[0]) - 1], replies)
    assert replies == [len(documents)]


def test_an_error_of_a_part_is_the_answer():
    units = units_of([("UNLINK", *(KEYS.record(f"d{number}") for number in range(5)))])
    replies = [None]
    for number, unit in enumerate(units):
        put_together(unit, [redis.ResponseError("no") if number == 1 else 1], replies)
    assert str(replies[0]) == "no"


def test_searches_of_a_transaction_are_answered_as_if_they_were_one():
    searches = [("FT.SEARCH", "one", "*"), ("FT.SEARCH", "two", "*")]
    [unit] = units_of([("MULTI",), *searches, ("EXEC",)])
    assert unit.commands == [*searches, *searches]  # so that it is known that nothing came between them
    replies = [None] * 4
    assert is_of_one_moment(unit, ["a", "b", "a", "b"])
    assert not is_of_one_moment(unit, ["a", "b", "a", "c"])
    put_together(unit, ["a", "b", "a", "b"], replies)
    assert replies == [b"OK", b"QUEUED", b"QUEUED", ["a", "b"]]
    put_together(unit, ["a", "b", "a", error := redis.ResponseError("no such index")], replies)
    assert replies == [b"OK", "a", error, error]


def test_a_script_names_a_key_that_is_nowhere_and_does_not_see_it():
    [unit] = units_of([("EVAL", "return #KEYS", "1", KEYS.record("a}b"), "prefix")])
    [(name, script, count, key, probe, told)] = unit.commands
    assert (name, count, key, told) == ("EVAL", "2", KEYS.record("a}b"), "prefix")
    assert script.endswith("return #KEYS")
    assert slot_of(probe) == slot_of(key)
    assert probe.startswith("ragknn:doc:p:{")


def test_keys_of_several_slots_in_one_command_are_an_error():
    with pytest.raises(ValueError, match="in one slot"):
        units_of([("EVAL", "return 1", "2", KEYS.record("a"), KEYS.record("b"))])
    with pytest.raises(ValueError, match="by their text"):
        units_of([("EVALSHA", "abc", "1", KEYS.record("a"))])
