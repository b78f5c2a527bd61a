"""Replies of the search modules that Redis 8 carries, which no package on PyPI has, are read as those of 2.10 are.

Where each shape comes from is said beside it: most from RediSearch's own tests of 8.0 to 8.10 (tests/pytests), some
from the command reference of Redis. The values are ours.
"""

import pytest
import redis

from ragknn import CommandRefused
from ragknn._protocol.keys import Keys
from ragknn._protocol.place import Place
from ragknn._protocol.replies import (
    SearchReply,
    already_exists,
    is_unknown_index,
    parse_aggregate,
    parse_complete,
    parse_configuration,
    parse_info,
    parse_search,
    parse_total,
    ran_out_of_time,
)
from ragknn._protocol.schema import Schema
from ragknn._protocol.server import ServerInfo, checked_server, parse_hello
from ragknn._protocol.watch import Watch
from ragknn._protocol.whole import aggregate_by_parts

# ---- searches --------------------------------------------------------------------------------------------------

# test_resp3.py: the fields of a row are in "extra_attributes", and "values" is empty.
ROWS = [
    {b"id": b"p:1", b"extra_attributes": {b"distance": b"0.25", b"text": b"one"}, b"values": []},
    {b"id": b"p:2", b"extra_attributes": {b"distance": b"0.5", b"text": b"two"}, b"values": []},
]
FOUND = {b"attributes": [], b"warning": [], b"total_results": 2, b"format": b"STRING", b"results": ROWS}
IN_RESP2 = [2, b"p:1", [b"distance", b"0.25", b"text", b"one"], b"p:2", [b"distance", b"0.5", b"text", b"two"]]
EXPECTED = [
    (b"p:1", {b"distance": b"0.25", b"text": b"one"}, None),
    (b"p:2", {b"distance": b"0.5", b"text": b"two"}, None),
]


def test_a_search_is_read_over_either_protocol():
    assert parse_search(FOUND) == SearchReply(2, EXPECTED, [], reports_timeouts=True)
    assert parse_search(IN_RESP2) == SearchReply(2, EXPECTED, (), reports_timeouts=False)


def test_scores_are_read_over_either_protocol():
    # test_resp3.py: a float in RESP3; text in RESP2, as of 2.10.
    scored = {**FOUND, b"results": [{**ROWS[0], b"score": 0.6931471805599453}]}
    assert parse_search(scored, scored=True).rows == [(*EXPECTED[0][:2], 0.6931471805599453)]
    in_resp2 = [1, b"p:1", b"0.6931471805599453", [b"distance", b"0.25", b"text", b"one"]]
    assert parse_search(in_resp2, scored=True).rows == [(*EXPECTED[0][:2], 0.6931471805599453)]


# The warnings of 8.0 to 8.10, by the names that the module gives them; some builds put the name before the words.
WARNINGS = [
    b"Timeout limit was reached",
    b"SEARCH_TIMEOUT: Timeout limit was reached",
    b"Max prefix expansions limit was reached",
    b"Shard failed to execute the query due to insufficient memory",
    b"One or more shards failed to execute the query due to insufficient memory",
]


@pytest.mark.parametrize("warning", WARNINGS)
def test_whatever_the_server_warns_of_is_told_and_no_answer_with_it_counts_as_complete(warning):
    reply = {**FOUND, b"warning": [warning]}
    assert parse_search(reply).warnings == [warning.decode()]
    for parse in (parse_complete, parse_aggregate):
        with pytest.raises(CommandRefused, match=f"expected a complete answer, .*{warning.decode()}"):
            parse(reply)


def test_less_time_than_was_asked_for_is_no_reason_to_doubt_an_answer():
    # test_foreground_timeout_limit.py: from 8.10 on, where searches have no threads of their own and ask for more than
    # a minute; running out of that time is told beside it.
    less = (
        b"Query TIMEOUT exceeded the configured maximum (search-_max-foreground-timeout-limit) while search-workers is "
        b"disabled; effective timeout was capped"
    )
    assert parse_search({**FOUND, b"warning": [less]}).warnings == []
    assert parse_aggregate({**AGGREGATED, b"warning": [less]}) == [{"n": "0"}, {"n": "1"}]
    assert parse_search({**FOUND, b"warning": [less, WARNINGS[0]]}).warnings == [WARNINGS[0].decode()]


# ---- aggregations ----------------------------------------------------------------------------------------------

# test_timeout.py: rows of RESP3 without an id; the total is that of the rows.
AGGREGATED = {
    b"attributes": [],
    b"warning": [],
    b"total_results": 2,
    b"format": b"STRING",
    b"results": [
        {b"extra_attributes": {b"n": b"0"}, b"values": []},
        {b"extra_attributes": {b"n": b"1"}, b"values": []},
    ],
}


def test_an_aggregation_is_read_over_either_protocol():
    for reply in (AGGREGATED, [2, [b"n", b"0"], [b"n", b"1"]]):
        assert parse_aggregate(reply) == [{"n": "0"}, {"n": "1"}]
        assert parse_total(reply) == 2


def reading_by_parts(*replies):
    place = Place(Keys("doc"), Schema(embedder="e", dim=2), Watch(), 60.0)
    flow = aggregate_by_parts(place, ("FT.AGGREGATE", "ragknn:doc", "*"), 2)
    step = next(flow)
    for number, reply in enumerate(replies):
        step = flow.send([reply] if number else [INFO, reply])  # the first comes with what the server says of the index
    return step


def test_a_part_with_a_warning_ends_the_reading_of_a_cursor():
    # test_resp3.py: a pair of the reply and the cursor, 0 with the last part.
    with pytest.raises(StopIteration) as stop:
        reading_by_parts([AGGREGATED, 7], [{**AGGREGATED, b"results": []}, 0])
    assert stop.value.value == [{"n": "0"}, {"n": "1"}]
    with pytest.raises(CommandRefused, match="Timeout limit was reached"):
        reading_by_parts([AGGREGATED, 7], [{**AGGREGATED, b"warning": WARNINGS[:1]}, 0])


# ---- errors ----------------------------------------------------------------------------------------------------


# Up to 8.2 without a code before the words; later with one.
@pytest.mark.parametrize("words", ["Timeout limit was reached", "SEARCH_TIMEOUT Timeout limit was reached"])
def test_a_search_that_ran_out_of_time_is_an_answer_without_rows(words):
    error = redis.ResponseError(words)
    assert ran_out_of_time(error)
    assert parse_search(error) == SearchReply(0, (), (words,), reports_timeouts=True)
    with pytest.raises(CommandRefused, match=f"{words}; raise the timeout"):
        parse_aggregate(error)


@pytest.mark.parametrize(
    "words",
    [
        "ragknn:doc: no such index",
        "No such index ragknn:doc",
        "Index not found: ragknn:doc",
        "SEARCH_INDEX_NOT_FOUND Index not found: ragknn:doc",
    ],
)
def test_an_index_that_is_not_there_is_known_by_every_wording(words):
    assert is_unknown_index(redis.ResponseError(words))


@pytest.mark.parametrize("words", ["Index already exists", "SEARCH_INDEX_EXISTS Alias already exists"])
def test_an_index_that_is_there_is_known_by_every_wording(words):
    assert already_exists(redis.ResponseError(words))


# ---- what it says of an index ----------------------------------------------------------------------------------

# test_resp3.py and the command reference; the field of vectors as 2.10 sends it, as neither has one.
INFO = {
    b"index_name": b"ragknn:doc:v1",
    b"index_options": [],
    b"index_definition": {
        b"key_type": b"HASH",
        b"prefixes": [b"ragknn:doc:p:"],
        b"default_score": 1.0,
        b"indexes_all": b"false",
    },
    b"attributes": [
        {b"identifier": b"f:n", b"attribute": b"n", b"type": b"NUMERIC", b"flags": []},
        {b"identifier": b"label", b"attribute": b"label", b"type": b"TAG", b"SEPARATOR": b"\x1f", b"flags": []},
        {
            **{b"identifier": b"vector", b"attribute": b"vector", b"type": b"VECTOR", b"algorithm": b"FLAT"},
            **{b"data_type": b"FLOAT32", b"dim": 2, b"distance_metric": b"COSINE", b"flags": []},
        },
    ],
    b"num_docs": 3,
    b"max_doc_id": 4,
    b"num_terms": 5,
    b"num_records": 6,
    b"inverted_sz_mb": 0.125,
    b"vector_index_sz_mb": 1.0,
    b"total_index_memory_sz_mb": 1.5,
    b"hash_indexing_failures": 0,
    b"total_indexing_time": 1.25,
    b"indexing": 0,
    b"percent_indexed": 1.0,
    b"number_of_uses": 2,
    b"cleaning": 0,
    b"gc_stats": {b"bytes_collected": 0.0, b"average_cycle_time_ms": float("nan")},
    b"cursor_stats": {b"global_idle": 0, b"global_total": 0, b"index_capacity": 128, b"index_total": 0},
    b"dialect_stats": {b"dialect_1": 0, b"dialect_2": 1, b"dialect_3": 0, b"dialect_4": 0},
    b"Index Errors": {
        b"indexing failures": 0,
        b"last indexing error": b"N/A",
        b"last indexing error key": b"N/A",
        b"background indexing status": b"OK",
    },
    b"field statistics": [],
}


def in_resp2(value):
    """Return a reply as RESP2 sends it: maps as lists, floats as text."""
    if isinstance(value, dict):
        return [part for pair in value.items() for part in (pair[0], in_resp2(pair[1]))]
    if isinstance(value, list):
        return [in_resp2(one) for one in value]
    return str(value).encode() if isinstance(value, float) else value


def test_what_a_coordinator_says_of_an_index_is_read():
    # info_command.c: sums over the nodes, means of shares, and the largest of their numbers of changes; no time.
    merged = {name: value for name, value in INFO.items() if name != b"total_indexing_time"}
    info = parse_info({**merged, b"num_docs": 9, b"max_doc_id": 4, b"indexing": 2, b"percent_indexed": 0.75})
    assert (info.passages, info.last_number, info.building, info.percent_indexed) == (9, 4, True, 0.75)
    assert (info.milliseconds, info.memory_bytes) == (0, 1.5 * 2**20)


@pytest.mark.parametrize("form", [lambda reply: reply, in_resp2], ids=["RESP3", "RESP2"])
def test_what_it_says_of_an_index_is_read_over_either_protocol(form):
    info = parse_info(form(INFO))
    assert (info.name, info.passages, info.last_number, info.milliseconds) == ("ragknn:doc:v1", 3, 4, 1.25)
    assert (info.building, info.percent_indexed, info.failures) == (False, 1.0, 0)
    assert info.memory_bytes == 3 * 2**19
    assert info.attributes["label"] == ("tag", "\x1f")


def test_an_index_for_which_there_was_too_little_memory_is_not_whole():
    # test_resp3.py has the status "OK"; by which words it tells of what went wrong does not matter.
    errors = {**INFO[b"Index Errors"], b"background indexing status": b"anything else"}
    assert parse_info({**INFO, b"percent_indexed": 0.6, b"Index Errors": errors}).percent_indexed == 0.6
    assert parse_info({**INFO, b"Index Errors": errors}).percent_indexed == 0.99


# ---- what it says of itself ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "reply",
    [
        {b"search-timeout": b"500", b"search-on-timeout": b"return", b"search-workers": b"0"},
        [b"search-timeout", b"500", b"search-on-timeout", b"return", b"search-workers", b"0"],
    ],
    ids=["RESP3", "RESP2"],
)
def test_its_settings_are_read_over_either_protocol(reply):
    assert parse_configuration(reply)["search-on-timeout"] == "return"


# The list of modules as every Redis has it; search 8 has Redis's own version, as its release notes say.
HELLO = {
    b"server": b"redis",
    b"version": b"8.2.3",
    b"proto": 3,
    b"id": 9,
    b"mode": b"standalone",
    b"role": b"master",
    b"modules": [
        {b"name": name, b"ver": number, b"path": b"", b"args": []}
        for name, number in ((b"vectorset", 1), (b"ReJSON", 80201), (b"search", 80213), (b"bf", 80200))
    ],
}


def test_it_is_known_by_its_own_version_of_search():
    assert parse_hello(HELLO) == ServerInfo((8, 2, 3), (8, 2, 13), 3)


def test_a_cluster_with_its_coordinator_is_known_by_the_parts_that_it_has():
    # test_resp3.py: SEARCH.CLUSTERINFO is a map in RESP3 and its list in RESP2.
    shard = {b"slots": [0, 16383], b"host": b"127.0.0.1", b"id": b"a", b"port": 6379}
    about = {b"num_partitions": 1, b"cluster_type": b"redis_oss", b"shards": [shard]}
    refused = redis.exceptions.NoPermissionError("no permissions to run the 'command|info' command")
    for partitions in (about, in_resp2(about)):
        flow = checked_server({**HELLO, b"mode": b"cluster"}, [])
        next(flow)
        with pytest.raises(Exception, match="Redis Cluster") as told:
            flow.send([refused, partitions])
        assert "coordinator" not in str(told.value)
