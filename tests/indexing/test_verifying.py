"""What a report says of the state of the index: whether all that is stored is found, and what to do where it is not."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import numpy as np
import pytest
import redis
from commands import run_here
from hypothesis import given, settings
from hypothesis import strategies as st

from ragknn import Document, HashingEmbedder, Index, Indexer, Passage, Splitter, Verification
from ragknn._protocol.inventory import Inventory
from ragknn._protocol.keys import Keys
from ragknn._protocol.place import Place
from ragknn._protocol.replies import parse_info
from ragknn._protocol.schema import Schema
from ragknn._protocol.watch import Watch
from ragknn.indexing._policy import Policy
from ragknn.indexing._tally import Tally
from ragknn.indexing._verifying import Remainder, verify

WORDS = Splitter(size=4, overlap=0, unit="words")
DOCUMENTS = [
    Document("long", "one two three four five six seven eight nine ten eleven twelve"),
    Document("short", "one two three"),
]


@pytest.fixture(params=[2, 3], ids=["RESP2", "RESP3"])
def index(request, faces, redis_url, index_name, monkeypatch):
    monkeypatch.setenv("RAGKNN_PROTOCOL", str(request.param))
    with faces.index(index_name, url=redis_url, embedder=HashingEmbedder(16)) as index:
        yield index


def key(index, document_id, number):
    return f"ragknn:{index.name}:p:{{{document_id}}}:{number}"


def test_after_a_sync_as_many_passages_are_found_as_are_stored(faces, index):
    indexer = faces.indexer(index, WORDS)
    report = indexer.sync(DOCUMENTS)
    assert report.verification == Verification(True, searchable=4, stored=4)
    assert "all 4 stored passages are found" in str(report)
    assert "all 4 stored passages are found" in report._repr_html_()
    assert indexer.sync([DOCUMENTS[1], Document("new", "a b c d e")]).verification == Verification(True, 3, 3)
    assert indexer.sync([], delete_most=True).verification == Verification(True, 0, 0)
    assert json.loads(json.dumps(report.to_dict()))["verification"]["stored"] == 4


def test_after_adding_the_server_has_indexed_all_of_it(faces, index):
    indexer = faces.indexer(index, WORDS)
    assert indexer.add(DOCUMENTS).verification == Verification(True, searchable=4)
    assert indexer.add_vectors(["v"], np.ones((1, 16))).verification == Verification(True, searchable=5)
    assert indexer.sync([], where={"document_id": "v"}, delete_most=True).verification == Verification(True, 4)
    assert "stored passages" not in str(indexer.add(DOCUMENTS))


def test_a_tenant_is_not_told_how_much_others_have(faces, redis_url, index_name):
    options = {"fields": {"tenant": "tag"}, "required_filter": "tenant", "embedder": HashingEmbedder(16)}
    with faces.index(index_name, url=redis_url, **options) as index:
        document = Document("a", "text", metadata={"tenant": "a"})
        assert faces.indexer(index).sync([document], where={"tenant": "a"}).verification == Verification(True)


def spoilt(client, index):
    """Another program writes a vector of a wrong size under our prefix."""
    client.hset(key(index, "x", 0), mapping={"vector": b"abc"})


def test_a_passage_of_others_that_the_server_could_not_index_is_told(faces, index, client):
    def documents():
        yield DOCUMENTS[0]
        spoilt(client, index)
        yield DOCUMENTS[1]

    indexer = faces.indexer(index, WORDS)
    report = indexer.add(documents())
    assert (report.added, report.failed) == (2, ())
    assert report.verification == Verification(False, searchable=4, indexing_failures=1)
    [note] = report.notes
    assert note.kind == "unsearchable"
    assert "1 times meanwhile, of others than this call: Could not add vector" in note.reason
    assert f"`ragknn check {index.name} --repair`" in str(report)
    assert indexer.add(DOCUMENTS).verification == Verification(True, searchable=4)


def test_a_passage_of_ours_that_the_server_could_not_index_fails(faces, index, client):
    def spoil(told):
        if told.added:
            client.hset(key(index, "short", 0), "vector", b"abc")

    report = faces.indexer(index, WORDS).add(DOCUMENTS, progress=spoil)
    [failure] = report.failed
    assert failure.document_id == "short"
    assert failure.reason.startswith("the server left 1 of its passages out of the index: Could not add vector")
    assert report.verification == Verification(False, searchable=3, indexing_failures=1)


CHANGES = {
    "update": lambda index, indexer: indexer.update(["short", "long"], label="new"),
    "update by filter": lambda index, indexer: indexer.update(where={"document_id": "long"}, label="new"),
    "add_fields": lambda index, indexer: index.add_fields({"year": "numeric"}),
    "add_passages": lambda index, indexer: indexer.add_passages(
        [Passage("own", "short", "four five", 0, 0)], keep_others=True
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_whatever_changes_documents_tells_whether_they_are_found(faces, index, client, name):
    indexer = faces.indexer(index, WORDS)
    indexer.add(DOCUMENTS)
    report = CHANGES[name](index, indexer)
    assert (report.verification.ok, report.verification.indexing_failures, report.notes) == (True, 0, ())
    assert set(report.ids["updated"]) <= {"short", "long"}


@pytest.mark.parametrize("name", ["update", "add_fields"])
def test_a_change_of_what_cannot_be_found_fails(faces, index, client, name):
    indexer = faces.indexer(index, WORDS)
    indexer.add(DOCUMENTS)
    client.hset(key(index, "short", 0), "vector", b"abc")
    report = CHANGES[name](index, indexer)
    assert [one.document_id for one in report.failed] == ["short"]
    assert report.failed[0].reason.startswith(
        "the server left 1 of its passages out of the index: Could not add vector"
    )
    times = 2 if name == "add_fields" else 1  # also when the field is declared
    assert report.verification == Verification(False, searchable=3, indexing_failures=times)


def test_what_could_not_be_indexed_and_is_right_by_now_is_nobody_s_trouble(faces, index, client):
    def documents():
        yield DOCUMENTS[0]
        spoilt(client, index)
        client.unlink(key(index, "x", 0))

    report = faces.indexer(index, WORDS).sync(documents())
    assert report.verification == Verification(True, searchable=3, stored=3, indexing_failures=1)
    assert report.notes == ()


def test_what_is_stored_and_not_found_is_told_by_each_sync_until_it_is_mended(faces, index, client):
    indexer = faces.indexer(index, WORDS)
    indexer.sync(DOCUMENTS)
    client.hset(key(index, "long", 2), "vector", b"abc")
    for _ in range(2):
        report = indexer.sync(DOCUMENTS)
        assert report.verification == Verification(False, searchable=3, stored=4)
        [note] = report.notes
        assert note.reason.startswith("expected all 4 stored passages to be found by searches, got 3; `ragknn check")
    assert index.check(repair=True).index_again == ("long",)
    assert indexer.sync(DOCUMENTS).verification == Verification(True, searchable=4, stored=4)


def test_a_sync_of_unchanged_documents_asks_no_more_than_before(index_name, redis_url, commands):
    with Index(index_name, url=redis_url, embedder=HashingEmbedder(16)) as index:
        indexer = Indexer(index, WORDS)
        indexer.sync(DOCUMENTS)
        with commands as sent:
            assert indexer.sync(DOCUMENTS).verification.ok
    names = [words[0] for words in sent]
    assert (names.count("FT.INFO"), names.count("SCAN"), names.count("EVAL_RO")) == (2, 1, 1)
    within_scripts = {"EXISTS", "HMGET"}
    assert set(names) - within_scripts == {"FT.INFO", "SCAN", "EVAL_RO", "HGET"}


def test_nothing_is_looked_up_twice_where_the_numbers_are_as_they_should_be(index_name, redis_url, commands):
    """They are known of what is new, unchanged, longer, of another label, and of what could not be stored."""
    with Index(index_name, url=redis_url, embedder=HashingEmbedder(16), fields={"n": "numeric"}) as index:
        indexer = Indexer(index, WORDS)
        old = [Document(f"d{n}", "one two three four five", metadata={"n": n}) for n in range(10)]
        new = [*old[:4], Document("d4", "one " * 20), Document("d5", old[5].text, "x", {"n": 5})]
        new += [Document("new", "a b"), Document("new", "comes twice")]
        bad = Document("d6", "other", metadata={"n": "bad"})
        indexer.sync(old)
        with commands as sent:
            report = indexer.sync([*new, bad, Document("d7", "")])
    kinds = ("added", "updated", "unchanged", "deleted")
    assert [len(report.ids[kind]) for kind in kinds] == [1, 2, 4, 2]
    assert (len(report.failed), report.verification) == (3, Verification(True, 20, 20))
    looked_up = [words for words in sent if words[0] == "EVAL_RO" and "text_hash" in " ".join(words)]
    assert len(looked_up) == 1


def test_beside_writers_nothing_is_said_to_be_missing(faces, index, redis_url):
    """What others write between two looks is no damage: it is looked at again, or said not to be known."""
    began, ended = Event(), Event()

    def write():
        with Index(index.name, url=redis_url) as other:
            writer = Indexer(other, WORDS)
            while not ended.is_set():
                writer.add([Document("other", "a b c d e f g h i")])
                writer.delete(["other"])
                began.set()

    faces.indexer(index, WORDS).add(DOCUMENTS)
    with ThreadPoolExecutor(1) as one:
        writing = one.submit(write)
        try:
            began.wait()
            reports = [faces.indexer(index, WORDS).sync(DOCUMENTS) for _ in range(8)]
        finally:
            ended.set()
        writing.result()
    for report in reports:
        assert report.verification.ok is not False
        assert (report.verification.ok is None) == ("not known whether all that is stored is found" in str(report))
    assert faces.indexer(index, WORDS).sync(DOCUMENTS).verification == Verification(True, 4, 4)


def verified(answers, stored):
    """Run the look of a sync that has counted so many passages, on a server that answers FT.INFO like this."""
    keys, tally, told = Keys("x", 1), Tally(Policy()), iter(answers)
    place = Place(keys, Schema(embedder="e", dim=2), Watch(), 1.0)
    flow, sent = verify(place, parse_info({"index_name": keys.searched, "num_docs": 0}), Remainder(stored), tally), None
    while True:
        try:
            step = flow.send(sent)
        except StopIteration:
            return tally.verification, [f"{note.kind}: {note.reason.partition(';')[0]}" for note in tally.notes]
        if isinstance(step, list):
            [(name, *_)] = step
            sent = [{"index_name": keys.searched, **next(told)} if name == "FT.INFO" else [b"0", [b"ragknn:x:p:{a}:0"]]]


def test_what_is_not_known_is_said():
    unknown = "unverified: not known whether all that is stored is found: "
    building = {"num_docs": 4, "indexing": 1, "percent_indexed": "0.4"}
    reason = f"{unknown}the server is still indexing what is stored, 40% of it so far"
    assert verified([building], 10) == (Verification(None, 4, 10), [reason])
    writing = [{"num_docs": 4, "max_doc_id": number} for number in range(9)]
    reason = f"{unknown}others were writing all the while, so that what is stored could not be compared with it"
    assert verified(writing, 10) == (Verification(None, 4, None), [reason])
    reason = "unsearchable: expected all 1 stored passages to be found by searches, got 0"
    assert verified([{"num_docs": 0}] * 9, 10) == (Verification(False, 0, 1), [reason])
    assert verified([{"num_docs": 4}, *[{"num_docs": 1}] * 9], 10) == (Verification(True, 1, 1), [])


def test_the_command_tells_and_exits_as_where_something_failed(index_name, redis_url, client, tmp_path):
    (tmp_path / "a.md").write_text("One.")

    def run(*args):
        command = ["index", index_name, "a.md", "--sync", "--model", "ragknn/hashing-16", *args]
        return run_here(command, "", tmp_path, {"RAGKNN_URL": redis_url})

    first = run("--log", "log")
    assert (first.returncode, "all 1 stored passages are found" in first.stdout) == (0, True)
    client.hset(f"ragknn:{index_name}:p:{{x}}:0", mapping={"document_id": '"x"', "vector": b"abc"})
    client.hset(f"ragknn:{index_name}:p:{{a.md}}:0", "vector", b"abc")
    second = run("--log", "log", "--json")
    assert second.returncode == 3
    told = json.loads(second.stdout)
    assert told["verification"] == {"ok": False, "searchable": 0, "stored": 1, "indexing_failures": 0}
    assert told["ids"]["unchanged"] == ["a.md"]
    assert "WARNING ragknn.writing" in (tmp_path / "log").read_text()
    assert "unsearchable: " in run().stdout


# ---- holes -----------------------------------------------------------------------------------------------------

THREE = DOCUMENTS[0]
OTHERS = [Document("other", "alpha beta gamma delta epsilon zeta"), Document("one", "a single passage")]
INPUTS = {
    "same": [THREE, *OTHERS],
    "gone": OTHERS,
    "shorter": [Document("long", "now of one"), *OTHERS],
    "longer": [Document("long", f"{THREE.text} and some more of it than there was"), *OTHERS],
}


@pytest.fixture(scope="module")
def holed(redis_url):
    with Index(f"holed-{os.getpid()}", url=redis_url, embedder=HashingEmbedder(16)) as index:
        yield index
        index.drop()


@pytest.fixture(scope="module")
def store(redis_url):
    with redis.Redis.from_url(redis_url) as client:
        yield client


def stored(client, index):
    return {name: client.hgetall(name) for name in client.scan_iter(f"{Keys(index.name).passage_prefix}*")}


@settings(max_examples=30)
@given(st.sets(st.sampled_from([("long", n) for n in range(3)] + [("other", 0), ("other", 1), ("one", 0)])), st.data())
def test_whatever_is_lost_of_documents_the_next_sync_gives_the_right_index(holed, store, lost, data):
    wanted = data.draw(st.sampled_from(list(INPUTS)))
    indexer = Indexer(holed, WORDS)
    indexer.clear()
    indexer.sync(INPUTS[wanted])
    right = stored(store, holed)
    indexer.sync(INPUTS["same"])
    for document_id, number in lost:
        store.unlink(key(holed, document_id, number))
    report = indexer.sync(INPUTS[wanted])
    assert stored(store, holed) == right
    assert report.verification == Verification(True, len(right), len(right))
    again = indexer.sync(INPUTS[wanted])
    assert (again.unchanged, again.verification) == (len(INPUTS[wanted]), report.verification)
    assert holed.check().is_sound


@pytest.mark.parametrize("number", [1, 2])
def test_what_is_lost_while_a_sync_goes_on_is_told(faces, index, client, number):
    def documents():
        yield DOCUMENTS[0]
        yield DOCUMENTS[1]
        client.unlink(key(index, "long", number))

    indexer = faces.indexer(index, WORDS)
    indexer.sync(DOCUMENTS)
    report = indexer.sync(documents(), batch_size=1)
    assert (report.unchanged, report.verification.ok) == (2, False)
    assert "1 documents lost passages while this went on (long); the next sync mends it" in str(report)
    assert indexer.sync(DOCUMENTS).reasons == {"long": ("damaged",)}


NUMBERS = st.integers(0, 8) | st.integers(1_020, 1_030) | st.integers(0, 10**9)
SPOTS = st.lists(st.tuples(st.sampled_from("ab"), NUMBERS), max_size=40)
RUNS = st.sampled_from([1, 3, 1_023, 1_024, 1_025]).map(lambda count: [("c", number) for number in range(count)])


@settings(max_examples=25)
@given(SPOTS, RUNS | st.just([]), st.randoms())
def test_an_inventory_counts_each_passage_once_and_sees_holes(spots, run, chance):
    keys, met = Keys("x"), [*spots, *run, *spots[:5]]
    chance.shuffle(met)
    found = Inventory(keys)
    found.take(keys.passage(*spot) for spot in met)
    expected = {one: sorted({number for other, number in met if other == one}) for one, _ in met}
    assert {one: found.numbers(one) for one in found} == expected
    assert (found.total, found.passages(found), len(found)) == (len(set(met)), len(set(met)), len(expected))
    holes = {one for one, numbers in expected.items() if numbers != list(range(len(numbers)))}
    assert set(found.with_holes()) == holes
    assert all(one in found for one in expected)
