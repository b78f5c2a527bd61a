"""What a server says of itself is read in one place, whatever it shows and in whichever shape."""

from dataclasses import replace

import pytest
import redis
from servers import private_server
from wire import decoded, flat

from ragknn import CommandRefused, UnsupportedServer
from ragknn._protocol.server import (
    CONDITIONS,
    ServerInfo,
    checked_server,
    describe_server,
    memory_of,
    parse_hello,
    run_id,
)
from ragknn.server._connection import connect, run


def hello(version=b"8.2.3", proto=3, modules=((b"search", 21005),), **more):
    parts = {b"server": b"redis", b"version": version, b"proto": proto}
    parts |= {key.encode(): value for key, value in more.items()}
    return {**parts, b"modules": [{b"name": name, b"ver": number, b"args": []} for name, number in modules]}


def hello_in_resp2(**parts):
    reply = hello(proto=2, **parts)
    return flat({**reply, b"modules": [flat(module) for module in reply[b"modules"]]})


PLAIN = ServerInfo((8, 2, 3), (2, 10, 5), 3)
FORMS = pytest.mark.parametrize("form", [lambda reply: reply, decoded], ids=["bytes", "str"])


@FORMS
def test_hello_is_read_in_either_shape(form):
    assert parse_hello(form(hello())) == PLAIN
    assert parse_hello(form(hello_in_resp2())) == replace(PLAIN, protocol=2)
    assert parse_hello(form(hello(role=b"replica", mode=b"cluster"))) == replace(PLAIN, mode="cluster", is_replica=True)


def test_a_server_without_a_search_module_is_read_as_such():
    assert parse_hello(hello(modules=[(b"vectorset", 1)])) == replace(PLAIN, search=None)
    assert parse_hello(hello_in_resp2(modules=[])) == replace(PLAIN, search=None, protocol=2)
    without = hello()
    del without[b"modules"]
    assert parse_hello(without) == replace(PLAIN, search=None)


def test_the_search_of_redis_8_is_read_by_its_version():
    assert parse_hello(hello(modules=[(b"ReJSON", 80200), (b"search", 80201)])).search == (8, 2, 1)


@pytest.mark.parametrize(
    ("version", "expected"), [(b"7.2.4", (7, 2, 4)), (b"8.0", (8, 0)), (b"255.255.255", (255,) * 3)]
)
def test_a_version_of_any_length_is_read(version, expected):
    assert parse_hello(hello(version=version)).version == expected


def test_a_release_candidate_is_not_read_as_an_older_version():
    # Redis numbers them 7.9.x, Valkey writes 8.0.0-rc1.
    assert parse_hello(hello(version=b"8.0.0-rc1")).version[:2] == (8, 0)


def test_a_refused_hello_is_an_error():
    with pytest.raises(CommandRefused, match="no permissions"):
        parse_hello(redis.ResponseError("NOPERM this user has no permissions to run the 'hello' command"))


# ---- clusters --------------------------------------------------------------------------------------------------

NODE = hello(mode=b"cluster")
UNKNOWN = redis.ResponseError("unknown command 'SEARCH.CLUSTERINFO', with args beginning with: ")
NO_RIGHT = redis.exceptions.NoPermissionError("User x has no permissions to run the 'command|info' command")
PARTITIONS = [b"num_partitions", 3, b"cluster_type", b"redis_oss"]


def about_search(first_key):
    """The beginning of what COMMAND INFO FT.SEARCH answers: name, arity, flags, first key, last key, step."""
    return [[b"FT.SEARCH", -1, [b"readonly", b"module"], first_key, first_key, 1]]


def parsed(first_key):
    """The same as redis-py makes of it."""
    return {"FT.SEARCH": {"name": "FT.SEARCH", "arity": -1, "first_key_pos": first_key}}


WITHOUT, WITH, UNTOLD = (
    "got a node of a Redis Cluster without",
    r"begin the URL with redis\+cluster://",
    "does not tell this user",
)


@pytest.mark.parametrize(
    ("command", "partitions", "words"),
    [
        (about_search(1), UNKNOWN, WITHOUT),
        (parsed(1), UNKNOWN, WITHOUT),
        (NO_RIGHT, UNKNOWN, WITHOUT),
        ([None], UNKNOWN, WITHOUT),
        (NO_RIGHT, NO_RIGHT, UNTOLD),
        (about_search(0), PARTITIONS, WITH),
        (parsed(0), PARTITIONS, WITH),
        (about_search(0), NO_RIGHT, WITH),
        (NO_RIGHT, PARTITIONS, WITH),
    ],
)
def test_a_node_of_a_cluster_is_asked_for_its_coordinator(command, partitions, words):
    flow = checked_server(NODE, [])
    assert next(flow) == [("COMMAND", "INFO", "FT.SEARCH"), ("SEARCH.CLUSTERINFO",)]
    with pytest.raises(UnsupportedServer, match=words):
        flow.send([command, partitions])


@pytest.mark.parametrize("command", [about_search(0), parsed(0)])
def test_a_cluster_that_is_reached_as_a_whole_is_taken(command):
    flow = checked_server({**NODE, b"primaries": 3}, [])
    next(flow)
    with pytest.raises(StopIteration) as stop:
        flow.send([command, PARTITIONS])
    assert stop.value.value == replace(PLAIN, mode="cluster", coordinator=True, primaries=3)


def test_a_cluster_is_asked_in_resp3():
    flow = checked_server([*hello_in_resp2(mode=b"cluster"), b"primaries", 3], [])
    next(flow)
    with pytest.raises(UnsupportedServer, match="expected RESP3 on a Redis Cluster, got RESP2"):
        flow.send([about_search(0), PARTITIONS])


def test_a_node_without_search_has_no_coordinator():
    with pytest.raises(UnsupportedServer, match=WITHOUT):
        next(checked_server(NODE, redis.ResponseError("unknown command 'FT._LIST'")))


def test_a_single_server_is_asked_nothing_more():
    flow = checked_server(hello(), [])
    with pytest.raises(StopIteration) as stop:
        next(flow)
    assert stop.value.value == PLAIN


# ---- all that it says ------------------------------------------------------------------------------------------

REFUSED = redis.ResponseError("Unknown option")


def described(*answers):
    flow = describe_server()
    assert next(flow) == [("HELLO",), ("FT._LIST",), *CONDITIONS]
    with pytest.raises(StopIteration) as stop:
        flow.send([hello(), [], *answers])
    return stop.value.value


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        (
            [{b"search-timeout": b"500", b"search-on-timeout": b"return", b"search-workers": b"4"}, {}, {}, {}],
            (500, "return", 4),
        ),
        ([{}, {b"TIMEOUT": b"0"}, {b"ON_TIMEOUT": b"FAIL"}, {}], (0, "fail", None)),
        ([[], [[b"TIMEOUT", b"500"]], [[b"ON_TIMEOUT", b"return"]], [[b"WORKERS", b"0"]]], (500, "return", 0)),
        ([REFUSED] * 4, (None, None, None)),
    ],
    ids=["Redis 8", "module RESP3", "module RESP2", "hidden"],
)
def test_the_limits_of_searches_are_read_wherever_the_server_keeps_them(answers, expected):
    timeout, policy, workers = expected
    found = described(*[REFUSED] * 5, *answers)
    assert found == replace(PLAIN, timeout=timeout, policy=policy, workers=workers)


MEMORY = {"used_memory": "900", "maxmemory": "1000", "maxmemory_policy": "allkeys-lru"}
FILES = {"loading": "0", "aof_enabled": "0"}
ROLE = {"role": "slave", "master_host": "10.0.0.7", "master_port": "6379", "master_link_status": "down"}


def lines(values):
    return ("# Title\r\n" + "".join(f"{key}:{value}\r\n" for key, value in values.items())).encode()


@pytest.mark.parametrize(
    "form",
    [lines, lambda values: {key: int(value) if value.isdecimal() else value for key, value in values.items()}],
    ids=["as it comes", "as redis-py reads it"],
)
def test_what_a_server_says_of_itself_is_read(form):
    answers = [b"id=3 addr=x db=7 sub=0", *map(form, (MEMORY, FILES, ROLE)), {b"save": b"3600 1"}]
    expected = replace(PLAIN, database=7, primary="10.0.0.7:6379", is_linked=False)
    expected = replace(expected, eviction="allkeys-lru", memory=900, memory_limit=1000, appends=False, saves=True)
    assert described(*answers, *[REFUSED] * 4) == expected
    assert expected.drops
    assert memory_of(form(MEMORY)) == (900, 1000)
    assert run_id(form({"run_id": "abc"})) == "abc"


def test_a_server_that_shows_nothing_is_described_by_what_it_must_show():
    assert described(*[REFUSED] * len(CONDITIONS)) == PLAIN
    assert (memory_of(REFUSED), run_id(REFUSED)) == ((0, 0), "")


@pytest.mark.parametrize(
    ("search", "expected"),
    [
        (None, ()),
        ((2, 10, 5), ()),
        ((8, 2, 13), ("vectors of INT8", "SVS-VAMANA")),
        ((8, 4, 0), ("vectors of INT8", "SVS-VAMANA", "FT.HYBRID")),
    ],
)
def test_what_a_newer_module_has_and_was_not_run_is_known_and_not_used(search, expected):
    assert replace(PLAIN, search=search).not_used == expected


@pytest.mark.parametrize("protocol", [2, 3])
def test_a_real_server_is_described_alike_over_both_protocols(tmp_path, protocol):
    options = ("--maxmemory", "100mb", "--maxmemory-policy", "volatile-lru", "--appendonly", "yes")
    with private_server(tmp_path, *options) as url, connect(url, timeout=5, protocol=protocol) as client:
        found = run(client, describe_server())
        assert (found.protocol, found.mode, found.is_replica, found.coordinator) == (
            protocol,
            "standalone",
            False,
            None,
        )
        assert (found.cluster, found.drops, found.database) == (False, False, 0)
        assert (found.eviction, found.memory_limit, found.appends, found.saves) == (
            "volatile-lru",
            100 << 20,
            True,
            False,
        )
        assert (found.timeout, found.policy) == (500, "return")
        assert 0 < found.memory < found.memory_limit


def test_a_user_who_may_ask_for_nothing_gets_a_description_all_the_same(tmp_path):
    with private_server(tmp_path) as url:
        with redis.Redis.from_url(url) as admin:
            admin.execute_command("ACL", "SETUSER", "few", "on", ">pass", "+ft._list")
        with connect(url.replace("unix://", "unix://few:pass@"), timeout=5, protocol=3) as client:
            found = run(client, describe_server())
        assert found == ServerInfo(found.version, found.search, 3)
