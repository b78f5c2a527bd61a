import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st
from wire import decoded, flat

from ragknn import CommandRefused
from ragknn._protocol.replies import (
    SearchIndexInfo,
    SearchReply,
    already_exists,
    as_mapping,
    as_text,
    checked,
    is_unknown_index,
    parse_aggregate,
    parse_complete,
    parse_configuration,
    parse_info,
    parse_search,
    parse_total,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
ROWS = st.lists(st.tuples(TEXT, st.one_of(st.none(), st.dictionaries(TEXT, TEXT))))


def encoded(mapping):
    return {key.encode(): value.encode() for key, value in mapping.items()}


# ---- searches --------------------------------------------------------------------------------------------------

RESP2 = [2, b"p:0", [b"distance", b"0", b"text", b"one"], b"p:1", [b"distance", b"0.25", b"text", b"two"]]
RESP3 = {
    b"attributes": [],
    b"format": b"STRING",
    b"results": [
        {b"extra_attributes": {b"distance": b"0", b"text": b"one"}, b"id": b"p:0", b"values": []},
        {b"extra_attributes": {b"distance": b"0.25", b"text": b"two"}, b"id": b"p:1", b"values": []},
    ],
    b"total_results": 2,
    b"warning": [],
}


@pytest.mark.parametrize("form", [lambda reply: reply, decoded], ids=["bytes", "str"])
@pytest.mark.parametrize(("reply", "tells"), [(RESP2, False), (RESP3, True)], ids=["RESP2", "RESP3"])
def test_a_search_reply_is_read_in_either_shape(reply, tells, form):
    rows = [
        (b"p:0", {b"distance": b"0", b"text": b"one"}, None),
        (b"p:1", {b"distance": b"0.25", b"text": b"two"}, None),
    ]
    found = parse_search(form(reply))
    assert found == SearchReply(2, rows, found.warnings, tells)
    assert list(found.warnings) == []


@given(st.integers(0, 10**9), ROWS)
def test_the_same_result_in_both_shapes_is_read_as_the_same_rows(total, rows):
    resp2 = [total]
    resp3 = []
    for key, fields in rows:
        resp2 += [key.encode(), None if fields is None else flat(encoded(fields))]
        vanished = {b"id": key.encode(), b"values": []}
        resp3.append(vanished if fields is None else {**vanished, b"extra_attributes": encoded(fields)})
    old, new = parse_search(resp2), parse_search({b"total_results": total, b"results": resp3, b"warning": []})
    expected = [(key.encode(), None if fields is None else encoded(fields), None) for key, fields in rows]
    assert (old.total, old.rows) == (new.total, new.rows) == (total, expected)


def test_a_passage_that_vanished_while_it_was_read_is_a_row_without_fields():
    assert parse_search([1, b"p:0", None]).rows == [(b"p:0", None, None)]
    assert parse_search({b"results": [{b"id": b"p:0", b"extra_attributes": None}]}).rows == [(b"p:0", None, None)]
    assert parse_search({b"results": [{b"id": b"p:0"}]}).rows == [(b"p:0", None, None)]


def test_warnings_of_the_server_are_kept():
    reply = {b"total_results": 0, b"results": [], b"warning": [b"Timeout limit was reached"]}
    assert parse_search(reply) == SearchReply(0, [], ["Timeout limit was reached"], reports_timeouts=True)
    assert parse_search(decoded(reply)) == SearchReply(0, [], ["Timeout limit was reached"], reports_timeouts=True)


def test_a_search_that_ran_out_of_time_before_its_first_result_has_no_rows():
    # As Redis 8.2.3 with search 2.10.5 sends it: one result that is none.
    reply = {
        b"attributes": [],
        b"total_results": 0,
        b"format": b"STRING",
        b"results": [{b"extra_attributes": {}, b"values": []}],
        b"warning": [b"Timeout limit was reached"],
    }
    assert parse_search(reply) == SearchReply(0, [], ["Timeout limit was reached"], reports_timeouts=True)


def test_a_search_without_results_is_read_in_either_shape():
    assert parse_search([7]) == SearchReply(7, [], (), reports_timeouts=False)
    assert parse_search({b"total_results": 7, b"results": [], b"warning": []}) == SearchReply(
        7, [], [], reports_timeouts=True
    )


@pytest.mark.parametrize("parse", [parse_search, parse_aggregate, parse_info])
def test_an_error_in_place_of_a_reply_is_raised_with_its_cause(parse):
    cause = redis.ResponseError("Syntax error at offset 3")
    with pytest.raises(CommandRefused) as refused:
        parse(cause)
    assert str(refused.value) == "the server refused a command: Syntax error at offset 3"
    assert refused.value.__cause__ is cause


@pytest.mark.parametrize(
    "reply",
    [
        [1, [b"n", b"3"]],
        [1, ["n", "3"]],
        {b"results": [{b"extra_attributes": {b"n": b"3"}, b"values": []}], b"total_results": 1},
        {"results": [{"extra_attributes": {"n": "3"}, "values": []}], "total_results": 1},
    ],
)
def test_an_aggregate_reply_is_read_in_either_shape(reply):
    assert parse_aggregate(reply) == [{"n": "3"}]


@pytest.mark.parametrize("parse", [parse_aggregate, parse_complete])
def test_an_answer_that_is_not_whole_is_refused_where_all_is_counted_on(parse):
    row = {b"id": b"p:0", b"extra_attributes": {b"n": b"3"}, b"values": []}
    cut = {b"results": [row], b"total_results": 1, b"warning": [b"Timeout limit was reached"]}
    words = r"expected a complete answer, .* warning: Timeout limit was reached\. Try"
    with pytest.raises(CommandRefused, match=words):
        parse(cut)
    with pytest.raises(CommandRefused, match="Timeout limit was reached"):
        parse(redis.ResponseError("Timeout limit was reached"))
    assert parse({**cut, b"warning": []})


@pytest.mark.parametrize("reply", [[0], {b"results": [], b"total_results": 0}])
def test_an_empty_aggregate_reply_has_no_rows(reply):
    assert parse_aggregate(reply) == []


# ---- what the server says of an index, and how it is set up -----------------------------------------------------

INFO = {
    b"index_name": b"ragknn:x:v1",
    b"num_docs": 12,
    b"max_doc_id": 40,
    b"total_indexing_time": b"1.75",
    b"indexing": 1,
    b"percent_indexed": b"0.5",
    b"hash_indexing_failures": 1,
    b"total_index_memory_sz_mb": b"1.5",
    b"vector_index_sz_mb": b"1.25",
    b"attributes": [
        {
            b"identifier": b"f:t",
            b"attribute": b"t",
            b"type": b"TAG",
            b"SEPARATOR": b"\x1f",
            b"flags": [b"INDEXMISSING"],
        },
        {b"identifier": b"f:a b", b"attribute": b"_bb37", b"type": b"TAG", b"SEPARATOR": b" ", b"flags": []},
        {b"identifier": b"f:year", b"attribute": b"year", b"type": b"NUMERIC", b"flags": [b"INDEXMISSING"]},
        {b"identifier": b"vector", b"attribute": b"vector", b"type": b"VECTOR", b"algorithm": b"FLAT", b"dim": 2},
    ],
    b"gc_stats": {b"average_cycle_time_ms": b"nan"},
    b"Index Errors": {
        b"indexing failures": 1,
        b"last indexing error": b"Could not add vector with blob size 3 (expected size 8)",
        b"last indexing error key": b"p:0",
    },
}
EXPECTED_INFO = SearchIndexInfo(
    name="ragknn:x:v1",
    passages=12,
    building=True,
    percent_indexed=0.5,
    failures=1,
    last_failure=("Could not add vector with blob size 3 (expected size 8)", "p:0"),
    memory_bytes=3 * 2**19,
    attributes={"t": ("tag", "\x1f"), "_bb37": ("tag", " "), "year": ("numeric", ""), "vector": ("vector", "")},
    last_number=40,
    milliseconds=1.75,
)


@pytest.mark.parametrize("form", [lambda reply: reply, decoded], ids=["bytes", "str"])
def test_index_info_is_read_in_either_shape(form):
    numbers = {b"percent_indexed": 0.5, b"total_index_memory_sz_mb": 1.5, b"vector_index_sz_mb": 1.25}
    assert parse_info(form({**INFO, **numbers})) == EXPECTED_INFO
    resp2 = {key: flat(value) if isinstance(value, dict) else value for key, value in INFO.items()}
    resp2[b"attributes"] = [
        [*flat({name: value for name, value in field.items() if name != b"flags"}), *field.get(b"flags", [])]
        for field in INFO[b"attributes"]
    ]
    assert parse_info(form(flat(resp2))) == EXPECTED_INFO


def test_index_info_adds_the_vectors_where_the_total_leaves_them_out():
    assert parse_info({**INFO, b"total_index_memory_sz_mb": b"0.25"}).memory_bytes == 3 * 2**19


@pytest.mark.parametrize(
    ("building", "answered", "share"), [(1, b"0.5", 0.5), (1, b"1", 0.99), (1, b"37.5", 0.99), (0, b"0.5", 1.0)]
)
def test_only_an_index_that_is_not_being_built_is_whole(building, answered, share):
    info = parse_info({**INFO, b"indexing": building, b"percent_indexed": answered})
    assert (info.building, info.percent_indexed) == (bool(building), share)


def test_index_info_of_a_module_that_tells_less_is_read():
    told = {b"index_name": b"i", b"num_docs": b"3"}
    assert parse_info(told) == SearchIndexInfo("i", 3, False, 1.0, 0, ("", ""), 0, {})


@pytest.mark.parametrize(
    "reply",
    [[[b"TIMEOUT", b"500"]], {b"TIMEOUT": b"500"}, [b"timeout", b"500"], {"timeout": "500"}],
    ids=["FT.CONFIG RESP2", "FT.CONFIG RESP3", "CONFIG RESP2", "CONFIG RESP3"],
)
def test_a_configuration_is_read_in_any_shape(reply):
    assert parse_configuration(reply) == {"timeout": "500"}


@pytest.mark.parametrize("reply", [[], {}, redis.ResponseError("unknown command")])
def test_a_configuration_that_is_not_shown_is_empty(reply):
    assert parse_configuration(reply) == {}


# ---- words and errors ------------------------------------------------------------------------------------------


def test_a_map_with_a_key_without_value_is_refused():
    with pytest.raises(ValueError, match="zip"):
        as_mapping([b"a", b"1", b"b"])


def test_bytes_that_are_no_text_do_not_stop_the_reading():
    assert as_text(b"a\xff") == "a\N{REPLACEMENT CHARACTER}"
    assert (as_text("ä"), as_text("ä".encode()), as_text(3)) == ("ä", "ä", "3")


RAISE_MEMORY = "; raise the server's maxmemory, or delete what is not needed"
GIVE_RIGHTS = "; give the user the commands and keys that it names, as `ragknn acl` prints them"


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (redis.ResponseError("Syntax error"), ""),
        # redis-py takes the code off where it knows the error.
        (redis.exceptions.OutOfMemoryError("command not allowed when used memory > 'maxmemory'."), RAISE_MEMORY),
        (redis.ResponseError("OOM command not allowed when used memory > 'maxmemory'."), RAISE_MEMORY),
        (
            redis.ResponseError("Cannot create index on db != 0"),
            "; use database 0, the only one that the server can search: end the URL in /0",
        ),
        (redis.exceptions.NoPermissionError("User x has no permissions to run the 'ft.search' command"), GIVE_RIGHTS),
        (redis.exceptions.NoPermissionError("No permissions to access a key"), GIVE_RIGHTS),
        (redis.ResponseError("User does not have the required permissions to query the index"), GIVE_RIGHTS),
        (
            redis.ReadOnlyError("You can't write against a read only replica."),
            "; connect to the primary, not to a replica",
        ),
    ],
)
def test_a_refused_command_says_what_to_do(error, advice):
    with pytest.raises(CommandRefused) as refused:
        checked(error)
    assert str(refused.value) == f"the server refused a command: {error}{advice}"


@pytest.mark.parametrize("reply", [None, 0, b"OK", [], {}, b"Unknown index name"])
def test_what_is_no_error_is_handed_on(reply):
    assert checked(reply) is reply
    assert not is_unknown_index(reply)
    assert not already_exists(reply)


@pytest.mark.parametrize(
    "words", ["Unknown index name", "Unknown Index name", "ragknn:x: no such index", "Index not found"]
)
def test_every_wording_for_an_index_that_is_not_there_is_known(words):
    assert is_unknown_index(redis.ResponseError(words))
    assert not already_exists(redis.ResponseError(words))


@pytest.mark.parametrize("words", ["Index already exists", "Alias already exists"])
def test_every_wording_for_an_index_that_is_there_is_known(words):
    assert already_exists(redis.ResponseError(words))
    assert not is_unknown_index(redis.ResponseError(words))


@pytest.mark.parametrize(
    "reply", [[10_001, []], {b"total_results": 10_001, b"results": [{}]}, {"total_results": "10001"}]
)
def test_the_number_that_a_search_has_looked_at_is_read_in_either_shape(reply):
    assert parse_total(reply) == 10_001


def test_a_refused_count_is_no_number():
    with pytest.raises(CommandRefused, match="no permissions"):
        parse_total(redis.ResponseError("NOPERM no permissions to run ft.aggregate"))
