"""The flows, driven by hand with replies as a server sends them."""

import json
from dataclasses import replace

import pytest
import redis

from ragknn import CommandRefused, IndexNotFound, SchemaMismatch, UnsupportedServer
from ragknn._protocol.counting import count_documents, count_passages, wait_until_searchable
from ragknn._protocol.dropping import drop_index
from ragknn._protocol.finding import KEYS_PER_ROUND, matching_passages, stored_ids
from ragknn._protocol.flows import Pause, Work
from ragknn._protocol.keys import Keys
from ragknn._protocol.opening import Opened, listing, open_index
from ragknn._protocol.place import Place
from ragknn._protocol.query import EVERYTHING
from ragknn._protocol.removing import delete_documents
from ragknn._protocol.schema import Schema
from ragknn._protocol.server import ServerInfo, describe_server
from ragknn._protocol.stored import DAMAGED, NOTHING, LookedUp, look_up, stored_hashes
from ragknn._protocol.watch import Watch
from ragknn._protocol.writing import Change, Replacement, write_documents

KEYS = Keys("doc")
SCHEMA = Schema(
    embedder="e", dim=2, fields={"topic": "tag", "year": "numeric"}, language="german", stop_words=("der", "das")
)
HELLO = {
    b"server": b"redis",
    b"version": b"8.2.3",
    b"proto": 3,
    b"modules": [{b"name": b"search", b"ver": 21005}],
}
INFO = {b"index_name": b"ragknn:doc:v1", b"num_docs": 0, b"indexing": 0, b"percent_indexed": 1.0}
HALF = {b"index_name": b"ragknn:doc:v1", b"num_docs": 0, b"indexing": 1, b"percent_indexed": 0.5}
UNKNOWN = redis.ResponseError("Unknown index name")
NO_COMMAND = redis.ResponseError("unknown command 'FT._LIST', with args beginning with: ")
OPENED = Opened(ServerInfo((8, 2, 3), (2, 10, 5), 3), SCHEMA, KEYS.of_version(1))

LOOKING = [
    ("HELLO",),
    ("FT._LIST",),
    ("HGET", "ragknn:doc:manifest", "schema"),
    ("FT.INFO", "ragknn:doc"),
    ("HGET", "ragknn:doc:manifest", "leaving"),
]
SETTING = [
    ("HSETNX", "ragknn:doc:manifest", "schema", SCHEMA.dumps()),
    ("HGET", "ragknn:doc:manifest", "schema"),
]
TAG = ("TAG", "SEPARATOR", "\x1f", "CASESENSITIVE")
CREATING = [
    (
        *("FT.CREATE", "ragknn:doc:v1", "ON", "HASH", "PREFIX", "1", "ragknn:doc:p:"),
        *("STOPWORDS", "0", "SCHEMA"),
        *("document_id", *TAG, "label", *TAG, "INDEXMISSING"),
        *("id", "AS", "passage_id", *TAG, "no_vector", *TAG, "terms", "AS", "_terms", "TEXT", "NOSTEM"),
        *("f:topic", "AS", "topic", *TAG, "INDEXMISSING", "f:year", "AS", "year", "NUMERIC", "INDEXMISSING"),
        *("vector", "VECTOR", "FLAT", "6", "TYPE", "FLOAT32", "DIM", "2", "DISTANCE_METRIC", "COSINE"),
    ),
    ("FT.ALIASADD", "ragknn:doc", "ragknn:doc:v1"),
    ("HGET", "ragknn:doc:manifest", "schema"),  # behind it, since the index may have been dropped meanwhile
]
MANIFEST = SCHEMA.dumps().encode()
ASKING = [("FT.INFO", "ragknn:doc")]
# Before an index is made: whether one of the same name is being removed, or has left something.
MAKING_ROOM = [
    [("EXISTS", KEYS.dropping)],
    [("SCAN", "0", "MATCH", "ragknn:doc:p*", "COUNT", "1000")],
    [("SCAN", "0", "MATCH", "ragknn:doc:d:*", "COUNT", "1000")],
    [("SCAN", "0", "MATCH", "ragknn:doc:copied:*", "COUNT", "1000")],
]
ROOM = [[0], [[b"0", []]], [[b"0", []]], [[b"0", []]]]


PLACE = Place(KEYS, SCHEMA, Watch(), 1.0, server=ServerInfo((8, 2, 3), (2, 10, 5), 3))


def play(flow, *answers):
    """Send the answers one after the other; return the steps that were taken, and what the flow returned."""
    steps = [next(flow)]
    for number, answer in enumerate(answers, start=1):
        try:
            step = flow.send(answer)
        except StopIteration as stop:
            assert number == len(answers), "the flow ended before the last answer"
            return steps, stop.value
        steps.append(step)
    raise AssertionError(f"the flow goes on and asks for {steps[-1]!r}")


def opening(create=True, wanted=None):
    return open_index(KEYS, lambda: wanted or {}, (lambda: SCHEMA) if create else None, 60.0)


def works(steps):
    return ["work" if isinstance(step, Work) else as_first(step) for step in steps]


def as_first(step):
    """Return a step as if the first version of the index had the number 1, in place of one drawn by chance."""
    if not isinstance(step, list) or step[0][0] != "HSETNX":
        return step
    *begin, dumped = step[0]
    schema = Schema.loads("doc", dumped)
    assert schema.version > 10**12
    return [(*begin, replace(schema, version=1).dumps()), *step[1:]]


# ---- opening ---------------------------------------------------------------------------------------------------


def test_a_new_index_is_written_to_the_manifest_and_then_created():
    steps, opened = play(
        opening(),
        [HELLO, [], None, UNKNOWN, None],
        *ROOM,
        SCHEMA,
        [1, SCHEMA.dumps().encode()],
        {},
        [b"OK", b"OK", MANIFEST],
        [INFO],
    )
    assert works(steps) == [LOOKING, *MAKING_ROOM, "work", SETTING, "work", CREATING, ASKING]
    assert opened == OPENED


def test_an_existing_index_is_only_looked_at():
    steps, opened = play(opening(), [HELLO, [b"ragknn:doc:v1"], SCHEMA.dumps().encode(), INFO, None], {})
    assert works(steps) == [LOOKING, "work"]
    assert opened == OPENED


def test_an_existing_index_is_opened_alike_with_decoded_replies_of_resp2():
    hello = ["server", "redis", "version", "8.2.3", "proto", 2, "modules", [["name", "search", "ver", 21005]]]
    steps, opened = play(
        opening(),
        [hello, ["ragknn:doc:v1"], SCHEMA.dumps(), ["index_name", "ragknn:doc:v1", "num_docs", "0"], None],
        {},
    )
    assert works(steps) == [LOOKING, "work"]
    assert opened == Opened(ServerInfo((8, 2, 3), (2, 10, 5), 2), SCHEMA, OPENED.keys)


def test_the_first_to_set_the_manifest_decides_and_the_other_is_told_how_it_differs():
    theirs = Schema(embedder="e", dim=2, metric="l2")
    flow = opening(wanted={"metric": "cosine"})
    assert next(flow) == LOOKING
    for answer in ([HELLO, [], None, UNKNOWN, None], *ROOM):
        flow.send(answer)
    assert as_first(flow.send(SCHEMA)) == SETTING
    work = flow.send([0, theirs.dumps().encode()])
    with pytest.raises(SchemaMismatch) as refused:
        flow.send(work.call())
    assert refused.value.differences == {"metric": ("cosine", "l2")}


def test_the_loser_of_the_race_goes_on_with_the_winners_schema_where_they_agree():
    theirs = replace(SCHEMA, m=32)
    exists = redis.ResponseError("Index already exists"), redis.ResponseError("Alias already exists")
    steps, opened = play(
        opening(),
        [HELLO, [], None, UNKNOWN, None],
        *ROOM,
        SCHEMA,
        [0, theirs.dumps()],
        {"dim": 2},
        [*exists, MANIFEST],
        [INFO],
    )
    assert works(steps) == [LOOKING, *MAKING_ROOM, "work", SETTING, "work", CREATING, ASKING]
    assert opened == Opened(OPENED.server, theirs, OPENED.keys)


def test_a_search_index_that_was_lost_is_created_again_from_the_manifest():
    existing = [HELLO, [], SCHEMA.dumps().encode(), UNKNOWN, None]
    steps, opened = play(opening(create=False), existing, {}, [b"OK"], [1], [b"OK", UNKNOWN], [INFO])
    assert [command[:2] for command, *_ in steps[2:5]] == [
        ("FT.CREATE", opened.keys.searched),
        ("EVAL", steps[3][0][1]),
        ("FT.ALIASUPDATE", "ragknn:doc"),
    ]
    assert opened.schema == SCHEMA
    assert opened.schema.version == opened.keys.version > 10**12  # a name that nobody asks yet
    assert steps[3][0][-2:] == (SCHEMA.dumps(), opened.schema.dumps())


def test_what_was_made_again_is_dropped_where_another_process_was_quicker():
    existing = [HELLO, [], SCHEMA.dumps().encode(), UNKNOWN, None]
    another = replace(SCHEMA, version=7)
    theirs = [HELLO, [b"ragknn:doc:v7"], another.dumps().encode(), {**INFO, b"index_name": b"ragknn:doc:v7"}, None]
    steps, opened = play(opening(create=False), existing, {}, [b"OK"], [0], [b"OK"], theirs, {})
    assert steps[4] == [("FT.DROPINDEX", steps[2][0][1])]
    assert opened.schema.version == opened.keys.version == 7


def test_an_index_that_is_being_built_is_waited_for():
    existing = [HELLO, [], SCHEMA.dumps().encode(), HALF, None]
    steps, opened = play(opening(), existing, {}, [HALF], None, [INFO])
    assert works(steps) == [LOOKING, "work", ASKING, Pause(0.001), ASKING]
    assert opened == OPENED


def test_an_index_that_takes_too_long_to_be_built_is_opened_nevertheless():
    impatient = open_index(KEYS, dict, None, 0.0)
    steps, opened = play(impatient, [HELLO, [], SCHEMA.dumps().encode(), HALF, None], {}, [HALF])
    assert works(steps) == [LOOKING, "work", ASKING]
    assert opened == OPENED


REFUSED = [redis.ResponseError("Cannot create index on db != 0"), redis.ResponseError("Unknown index name")]


def test_an_index_that_cannot_be_created_takes_its_manifest_back():
    flow = opening()
    next(flow)
    for answer in ([HELLO, [], None, UNKNOWN, None], *ROOM, SCHEMA, [1, SCHEMA.dumps()], {}):
        flow.send(answer)
    assert flow.send(REFUSED) == [("UNLINK", "ragknn:doc:manifest")]
    with pytest.raises(CommandRefused, match="Cannot create index on db != 0"):
        flow.send([1])


def test_a_search_index_that_cannot_be_created_again_leaves_the_manifest():
    flow = opening()
    next(flow)
    flow.send([HELLO, [], SCHEMA.dumps(), UNKNOWN, None])
    flow.send({})
    with pytest.raises(CommandRefused, match="Cannot create index on db != 0"):
        flow.send(REFUSED[:1])


def test_a_manifest_that_cannot_be_written_is_an_error_that_says_so():
    flow = opening()
    next(flow)
    for answer in ([HELLO, [], None, UNKNOWN, None], *ROOM, SCHEMA):
        flow.send(answer)
    with pytest.raises(CommandRefused, match=r"You can't write against a read only replica\.; connect to the primary"):
        flow.send([redis.ReadOnlyError("You can't write against a read only replica."), None])


def test_an_index_that_may_not_be_created_has_the_names_of_those_there_are_and_does_not_print_them():
    flow = opening(create=False)
    next(flow)
    with pytest.raises(IndexNotFound) as refused:
        flow.send([HELLO, [b"ragknn:b:v1", b"other", b"ragknn:a:v1"], None, UNKNOWN, None])
    assert str(refused.value) == (
        "expected an index named 'doc', the server has others only. Create it with `ragknn index doc PATH`, or check "
        "the name and the URL: `ragknn list` names those that there are"
    )
    assert refused.value.others == ("a", "b")


def test_an_index_that_may_not_be_created_on_an_empty_server_says_that_there_is_none():
    flow = opening(create=False)
    next(flow)
    with pytest.raises(IndexNotFound, match="expected an index named 'doc', the server has none"):
        flow.send([HELLO, [], None, UNKNOWN, None])


def test_a_wrong_key_in_the_place_of_the_manifest_is_an_error():
    flow = opening()
    next(flow)
    wrong = redis.ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value")
    with pytest.raises(CommandRefused, match="WRONGTYPE"):
        flow.send([HELLO, [], wrong, UNKNOWN, None])


@pytest.mark.parametrize(
    ("hello", "listed", "message"),
    [
        ({**HELLO, b"version": b"7.0.15"}, [], "expected Redis 7.2 or later, got 7.0.15"),
        ({**HELLO, b"version": b"6.2.0"}, NO_COMMAND, "expected Redis 7.2 or later, got 6.2.0"),
        (
            {**HELLO, b"version": b"7.4.1", b"modules": []},
            NO_COMMAND,
            "expected a Redis with search (FT.* commands), got Redis 7.4.1, which runs without a search module",
        ),
        (
            {**HELLO, b"modules": [{b"name": b"search", b"ver": 20806}]},
            [],
            "expected a search module 2.10 or later, got 2.8.6",
        ),
    ],
)
@pytest.mark.parametrize("flow", [opening, listing, describe_server])
def test_a_server_that_cannot_do_it_is_refused_with_what_to_use(flow, hello, listed, message):
    asked = flow()
    rest = len(next(asked)) - 2
    advice = ": use Redis 8, for instance `docker run -p 6379:6379 redis:8`, or the embedded server (no URL)"
    with pytest.raises(UnsupportedServer) as refused:
        asked.send([hello, listed, *[None if flow is opening else NO_COMMAND] * rest])
    assert str(refused.value) == message + advice


def test_a_redis_8_without_its_module_is_told_how_to_load_it():
    asked = listing()
    next(asked)
    with pytest.raises(UnsupportedServer) as refused:
        asked.send([{**HELLO, b"modules": []}, NO_COMMAND])
    assert str(refused.value) == (
        "expected a Redis with search (FT.* commands), got Redis 8.2.3, which runs without a search module: start it "
        "with `--loadmodule .../redisearch.so`, or use `docker run -p 6379:6379 redis:8`, which loads it, or the "
        "embedded server (no URL)"
    )


def test_the_oldest_versions_that_will_do_are_taken():
    hello = {**HELLO, b"version": b"7.2.0", b"modules": [{b"name": b"search", b"ver": 21000}]}
    _, opened = play(opening(), [hello, [], SCHEMA.dumps(), INFO, None], {})
    assert opened.server == ServerInfo((7, 2, 0), (2, 10, 0), 3)


# ---- looking ---------------------------------------------------------------------------------------------------


def test_all_indexes_are_listed():
    steps, names = play(listing(), [HELLO, [b"ragknn:b:v1", b"x", b"ragknn:a:v2"]])
    assert steps == [[("HELLO",), ("FT._LIST",)]]
    assert names == ["a", "b"]


def test_passages_and_documents_are_counted_on_the_server():
    steps, passages = play(count_passages(PLACE), [INFO, {b"total_results": 7, b"results": []}])
    assert steps == [[*ASKING, COUNTING]]
    assert passages == 7
    _, documents = play(count_documents(PLACE), [INFO, [1, [b"n", b"3"]]])
    assert documents == 3
    _, documents = play(count_documents(PLACE), [INFO, [0]])
    assert documents == 0


COUNTING = ("FT.SEARCH", "ragknn:doc", "*", "LIMIT", "0", "0", "TIMEOUT", "1000", "DIALECT", "2")


def test_what_is_counted_while_the_index_is_being_built_does_not_count():
    building = {**INFO, b"indexing": 1, b"percent_indexed": 0.5}
    some, all_ = {b"total_results": 3, b"results": []}, {b"total_results": 7, b"results": []}
    steps, passages = play(count_passages(PLACE), [building, some], None, [building], None, [INFO], [INFO, all_])
    assert steps == [[*ASKING, COUNTING], Pause(0.001), ASKING, Pause(0.002), ASKING, [*ASKING, COUNTING]]
    assert passages == 7
    _, found = play(count_passages(replace(PLACE, on_incomplete="return")), [building, some])
    assert found == 3
    flow = count_passages(replace(PLACE, timeout=0.0))
    next(flow)
    with pytest.raises(
        CommandRefused, match=r"still building it, 50% of it can be found: wait_until_searchable\(\) waits"
    ):
        flow.send([building, some])


def test_a_cursor_of_what_does_not_count_is_let_go():
    building = {**INFO, b"indexing": 1, b"percent_indexed": 0.5}
    row = {b"total_results": 1, b"results": [{b"extra_attributes": {b"__key": b"ragknn:doc:p:{a}:0"}}]}
    steps, keys = play(
        matching_passages(PLACE, EVERYTHING), [building, [row, 7]], [b"OK"], None, [INFO], [INFO, [row, 0]]
    )
    assert steps[1] == [("FT.CURSOR", "DEL", "ragknn:doc", "7")]
    assert keys == ["ragknn:doc:p:{a}:0"]


def test_the_stored_ids_are_scanned_to_the_end_and_each_is_told_once():
    steps, ids = play(
        stored_ids(KEYS), [[b"17", [b"ragknn:doc:p:{a}:0", b"ragknn:doc:p:{%7B}:0"]]], [[b"0", [b"ragknn:doc:p:{a}:0"]]]
    )
    assert [command for [command] in steps] == [
        ("SCAN", "0", "MATCH", "ragknn:doc:p:*}:0", "COUNT", str(KEYS_PER_ROUND)),
        ("SCAN", "17", "MATCH", "ragknn:doc:p:*}:0", "COUNT", str(KEYS_PER_ROUND)),
    ]
    assert sorted(ids) == ["a", "{"]


def test_waiting_asks_again_until_everything_is_indexed():
    steps, _ = play(wait_until_searchable(KEYS, 60.0), [HALF], None, [HALF], None, [INFO])
    assert steps == [ASKING, Pause(0.001), ASKING, Pause(0.002), ASKING]


def test_waiting_ends_at_the_deadline():
    flow = wait_until_searchable(KEYS, 0.0)
    next(flow)
    with pytest.raises(TimeoutError, match="expected index 'doc' to be searchable, got 50% of it"):
        flow.send([HALF])


# ---- writing ---------------------------------------------------------------------------------------------------


def replacement(document_id="a", passages=2, **options):
    groups = [("text", f"text {number}", "vector", b"\0") for number in range(passages)]
    return Replacement(document_id, ("text_hash", "t", "passages", str(passages)), groups, **options)


def test_a_document_is_replaced_by_one_command():
    steps, outcomes = play(write_documents(PLACE, [replacement()]), [1])
    [[(name, script, *arguments)]] = steps
    assert name == "EVAL"
    assert "UNLINK" in script
    assert arguments == [
        *("1", "ragknn:doc:p:{a}:0", "ragknn:doc:p:{a}:", ""),
        *("8", "text", "text 0", "vector", b"\0", "text_hash", "t", "passages", "2"),
        *("4", "text", "text 1", "vector", b"\0"),
    ]
    assert outcomes == [True]


def test_a_document_that_must_be_new_says_so_in_the_command():
    [[command]], outcomes = play(write_documents(PLACE, [replacement(only_new=True)]), [0])
    assert command[5] == "absent"
    assert outcomes == [False]


def test_a_new_document_of_one_passage_is_stored_without_a_script():
    [[command]], outcomes = play(write_documents(PLACE, [replacement(passages=1, seems_new=True)]), [1])
    assert command == (
        *("HSETEX", "ragknn:doc:p:{a}:0", "FNX", "FIELDS", "4"),
        *("text", "text 0", "vector", b"\0", "text_hash", "t", "passages", "1"),
    )
    assert outcomes == [True]


def test_one_that_another_writer_stored_meanwhile_is_replaced_unless_it_must_be_new():
    documents = [replacement(name, 1, seems_new=True, only_new=name == "b") for name in "abc"]
    [first, second], outcomes = play(write_documents(PLACE, documents), [1, 0, 0], [1])
    assert [command[0] for command in first] == ["HSETEX"] * 3
    assert [command[:4:3] for command in second] == [("EVAL", "ragknn:doc:p:{c}:0")]
    assert outcomes == [True, False, True]


@pytest.mark.parametrize(
    ("document", "version"),
    [
        (replacement(passages=1), (8, 2, 3)),
        (replacement(passages=2, seems_new=True), (8, 2, 3)),
        (replacement(passages=1, seems_new=True), (7, 4, 1)),
    ],
    ids=["known", "several passages", "older server"],
)
def test_every_other_document_is_stored_by_the_script(document, version):
    [[command]], _ = play(
        write_documents(replace(PLACE, server=replace(PLACE.server, version=version)), [document]), [1]
    )
    assert command[0] == "EVAL"


def test_details_are_changed_by_one_command():
    change = Change("a", "t", "old", "new", ["label"], [("metadata", "{}")])
    [[command]], outcomes = play(write_documents(PLACE, [change]), [1])
    assert command[2:] == (
        *("1", "ragknn:doc:p:{a}:0", "ragknn:doc:p:{a}:", "t", "old", "new"),
        *("1", "label", "2", "metadata", "{}"),
    )
    assert outcomes == [True]


OOM = redis.exceptions.OutOfMemoryError("command not allowed when used memory > 'maxmemory'.")
REFUSED_OOM = (
    "the server refused a command: command not allowed when used memory > 'maxmemory'.; "
    "raise the server's maxmemory, or delete what is not needed"
)


def test_a_refused_document_is_told_in_the_words_of_the_server():
    refused = redis.exceptions.NoPermissionError("User x has no permissions to run the 'eval' command")
    told = (
        "the server refused a command: User x has no permissions to run the 'eval' command; "
        "give the user the commands and keys that it names, as `ragknn acl` prints them"
    )
    documents = [replacement("a"), replacement("b", 1), replacement("c", 3), replacement("d")]
    assert play(write_documents(PLACE, documents), [1, OOM, refused, 0])[1] == [True, REFUSED_OOM, told, False]


def test_the_hashes_of_many_documents_are_asked_by_one_command():
    steps, hashes = play(stored_hashes(PLACE, ["a", "b", "c"]), [[[b"1", b"2", 1], [None, None, 0], ["3", "4", 7]]])
    [[(name, script, *arguments)]] = steps
    assert name == "EVAL_RO"
    assert "HMGET" in script
    assert arguments == ["3", *(f"ragknn:doc:p:{{{name}}}:0" for name in "abc"), "1", *[""] * 6]
    assert hashes == [("1", "2"), None, ("3", "4")]


def test_only_documents_that_are_not_as_expected_are_told_of():
    ids = [str(n) for n in range(KEYS_PER_ROUND + 3)]
    expected = [("t", "d"), NOTHING, *[("t", "d")] * (KEYS_PER_ROUND + 1)]
    answers = [2, [b"1", b"2", 7], *[1] * (KEYS_PER_ROUND - 2)], [3, ["", "", 0], 1]
    steps, found = play(look_up(PLACE, ids, expected), *[[answer] for answer in answers])
    assert [step[0][-2 * n :] for step, n in zip(steps, [2, 3], strict=True)] == [("t", "d") * 2, ("t", "d") * 3]
    assert found == LookedUp(
        KEYS_PER_ROUND + 4, {1: ("1", "2"), KEYS_PER_ROUND + 1: DAMAGED}, {1: 7, KEYS_PER_ROUND + 1: 0}
    )


def test_an_index_of_an_earlier_release_is_asked_where_it_kept_the_hashes_too():
    earlier = replace(PLACE, schema=replace(SCHEMA, format=3))
    [[command]], _ = play(stored_hashes(earlier, ["a", "b"]), [[[b"1", b"2", 1], [None, None, 0]]])
    keys = [f"ragknn:doc:{key}" for key in ("d:{a}", "p:{a}:0", "d:{b}", "p:{b}:0")]
    assert command[2:] == ("4", *keys, "2", *[""] * 4)


def test_a_hash_that_cannot_be_read_is_an_error():
    flow = stored_hashes(PLACE, ["a"])
    next(flow)
    with pytest.raises(CommandRefused, match=r"(?i)no permissions"):
        flow.send([redis.exceptions.NoPermissionError("No permissions to access a key")])


def test_documents_are_deleted_a_thousand_in_a_round_trip():
    removed = []
    ids = [str(n) for n in range(KEYS_PER_ROUND + 1)]
    serves = [b"birth", None]
    steps, served = play(delete_documents(KEYS, ids, removed), [*([1] * 1000), serves], [0, serves])
    assert [len(step.commands) for step in steps] == [1001, 2]
    assert served
    assert removed == [str(n) for n in range(KEYS_PER_ROUND)]


# ---- dropping --------------------------------------------------------------------------------------------------


def test_dropping_takes_the_manifest_away_then_the_search_index_then_the_keys():
    steps, removed = play(
        drop_index(KEYS),
        [b"mark", [b"ragknn:doc:v1", b"ragknn:doc2:v1"]],
        [b"OK"],
        [[b"5", [b"ragknn:doc:p:{a}:0", b"ragknn:doc:p:{a}:1", b"ragknn:doc:p:{b}:0"]]],
        [3],
        [[b"0", []]],
        [[b"0", [b"ragknn:doc:d:{a}", b"ragknn:doc:d:{b}"]]],
        [2],
        [[b"0", []]],
        [1],
    )
    assert [command[0] for step in steps for command in step] == [
        *("EVAL", "FT._LIST", "FT.DROPINDEX", "SCAN", "EVAL", "SCAN", "SCAN", "EVAL", "SCAN", "EVAL")
    ]
    [(_, marking, *given), _] = steps[0]
    assert marking.index("'UNLINK'") < marking.index("'SET'")
    assert given[:3] == ["2", KEYS.dropping, "ragknn:doc:manifest"]
    assert steps[-1][0][2:] == ("3", *(KEYS.dropping, "ragknn:doc:manifest", KEYS.dropping), "mark")
    assert removed == 2


def test_a_drop_that_was_cut_short_is_taken_up_again():
    gone = [redis.ResponseError("Unknown Index name")]
    steps, removed = play(drop_index(KEYS), [b"of another", [b"ragknn:doc:v1"]], gone, *[[[b"0", []]]] * 3, [1])
    assert steps[-1][0][-1] == "of another"
    assert removed == 0


def test_a_drop_that_the_server_refuses_removes_nothing():
    flow = drop_index(KEYS)
    next(flow)
    with pytest.raises(CommandRefused, match=r"(?i)no permissions"):
        flow.send(
            [redis.exceptions.NoPermissionError("User x has no permissions to run the 'unlink' command"), [b"doc"]]
        )


def test_the_manifest_is_json_that_names_its_format():
    assert json.loads(SCHEMA.dumps())["format"] == 4
