"""Looking at every document of an index: each kind of damage, mended and not, and beside a writer."""

import hashlib
import json
import threading
from collections import defaultdict

import numpy as np
import pytest
from commands import run_here
from earlier import part_records, set_manifest

from ragknn import CheckReport, Document, HashingEmbedder, Index, Indexer, Splitter
from ragknn._protocol.keys import Keys

DIM = 16
WORDS = Splitter(size=4, overlap=0, unit="words")


@pytest.fixture(params=[2, 3], ids=["RESP2", "RESP3"])
def index(request, faces, redis_url, index_name, monkeypatch):
    monkeypatch.setenv("RAGKNN_PROTOCOL", str(request.param))
    with faces.index(index_name, url=redis_url, embedder=HashingEmbedder(DIM), fields={"year": "numeric"}) as index:
        faces.indexer(index, WORDS).sync(DOCUMENTS)
        yield index


def key(index, document_id, number):
    return Keys(index.name).passage(document_id, number)


def one_is_deleted(client, index, document_id):
    client.unlink(key(index, document_id, 1))


def one_has_expired(client, index, document_id):
    client.pexpireat(key(index, document_id, 2), 1)


def the_first_is_deleted(client, index, document_id):
    client.unlink(key(index, document_id, 0))


def one_is_of_another_version(client, index, document_id):
    client.hset(key(index, document_id, 1), "digest", "0123456789abcdef")


def one_has_no_digest(client, index, document_id):
    client.hdel(key(index, document_id, 1), "digest")


def one_is_left_of_a_longer_version(client, index, document_id):
    client.copy(key(index, document_id, 2), key(index, document_id, 5))


def one_vector_is_short(client, index, document_id):
    client.hset(key(index, document_id, 1), "vector", bytes(4))


def the_record_is_gone(client, index, document_id):
    client.hdel(key(index, document_id, 0), "passages")


def one_is_not_indexed(client, index, document_id):
    """As a key that comes from another database, of which the search module hears nothing."""
    one = key(index, document_id, 1)
    client.copy(one, one, destination_db=1)
    client.unlink(one)
    with client.client() as other:
        other.select(1)
        other.move(one, 0)
        other.select(0)


def one_cannot_be_indexed(client, index, document_id):
    client.hset(key(index, document_id, 1), "f:year", "no number")


# For each damage the kinds that tell of it.
DAMAGES = {
    one_is_deleted: {"missing"},
    one_has_expired: {"missing"},
    the_first_is_deleted: {"orphans"},
    one_is_of_another_version: {"mixed"},
    one_has_no_digest: {"mixed"},
    one_is_left_of_a_longer_version: {"orphans"},
    one_vector_is_short: {"wrong_size", "not_searchable"},
    the_record_is_gone: {"orphans"},
    one_is_not_indexed: {"not_searchable"},
    one_cannot_be_indexed: {"not_searchable"},
}
MENDABLE = {one_is_left_of_a_longer_version, one_is_not_indexed}
TEXT = "one two three four five six seven eight nine ten eleven twelve"
# One for each damage, which has its name, and others.
DOCUMENTS = [Document(one.__name__, TEXT) for one in DAMAGES]
DOCUMENTS += [Document("long", TEXT), Document("short {1}", "one two three")]
PASSAGES = 3 * (len(DOCUMENTS) - 1) + 1


def kinds_of(report):
    return {kind for kind in report.KINDS if report.counts[kind]}


def looked_at(client, name, dim=DIM):
    """Look at all hashes in plain Python; return the numbers of documents and passages, and the ids of each kind."""
    keys, hashes = Keys(name), defaultdict(dict)
    for one in client.scan_iter(f"{keys.passage_prefix}*"):
        document_id, number = keys.split_passage(one.decode())
        hashes[document_id][number] = client.hgetall(one)
    found = defaultdict(set)
    for document_id, passages in hashes.items():
        record = passages.get(0, {})
        count = int(record.get(b"passages", 0))
        there = [passages.get(number) for number in range(count)]
        digests = b"".join((one or {}).get(b"digest", b"") for one in there)
        if None in there:
            found["missing"].add(document_id)
        elif count and b"digests" in record and hashlib.sha1(digests).hexdigest().encode() != record[b"digests"]:
            found["mixed"].add(document_id)
        if max(passages) >= count:
            found["orphans"].add(document_id)
        if any(one and b"no_vector" not in one and len(one[b"vector"]) != 4 * dim for one in there):
            found["wrong_size"].add(document_id)
    documents = sum(b"passages" in one.get(0, {}) for one in hashes.values())
    return documents, sum(map(len, hashes.values())), found


def test_an_index_as_it_should_be_is_sound(client, commands, index):
    told = []
    with commands as sent:
        report = index.check(progress=lambda *counts: told.append(counts))
    assert report.is_sound
    assert (report.documents, report.passages, kinds_of(report)) == (len(DOCUMENTS), PASSAGES, set())
    assert told[-1] == (PASSAGES, PASSAGES)
    assert str(report).startswith(f"{index.name}: sound: {len(DOCUMENTS)} documents, {PASSAGES} passages in 0.")
    writes = {"EVAL", "HSET", "HDEL", "UNLINK", "DEL"}
    assert not writes & {words[0] for words in sent}
    assert index.check(repair=True).counts == report.counts


def test_each_damage_is_told_and_mended_or_indexed_again(faces, client, index):
    for damage in DAMAGES:
        damage(client, index, damage.__name__)
    expected = {kind: sorted(one.__name__ for one in DAMAGES if kind in DAMAGES[one]) for kind in CheckReport.KINDS}
    documents, passages, found = looked_at(client, index.name)
    assert {kind: sorted(found[kind]) for kind in found} == {kind: expected[kind] for kind in found}
    report = index.check()
    assert (report.documents, report.passages, report.is_sound) == (documents, passages, False)
    assert {kind: list(getattr(report, kind)) for kind in report.KINDS} == expected
    assert {kind: report.counts[kind] for kind in report.KINDS} == {kind: len(expected[kind]) for kind in report.KINDS}
    assert report.indexing_failures == index.describe().indexing_failures >= 2
    # That the server refuses to index one shows only when it is asked to.
    lost = {one.__name__ for one in DAMAGES if one not in MENDABLE}
    assert (report.repaired, set(report.index_again)) == ((), lost - {"one_cannot_be_indexed"})
    assert looked_at(client, index.name) == (documents, passages, found)

    mended = index.check(repair=True)
    assert {kind: list(getattr(mended, kind)) for kind in mended.KINDS} == expected
    assert set(mended.repaired) == {one.__name__ for one in MENDABLE}
    assert (set(mended.index_again), mended.is_sound) == (lost, False)
    ingested = faces.indexer(index, WORDS).add(DOCUMENTS)
    assert set(ingested.ids["added"]) | set(ingested.ids["updated"]) == lost
    assert index.check().is_sound
    assert looked_at(client, index.name) == (len(DOCUMENTS), PASSAGES, {})
    assert index.count() == PASSAGES
    assert {one.id: one.text for one in index.documents()} == {one.id: one.text for one in DOCUMENTS}


def test_an_index_of_an_earlier_release_is_looked_at_and_mended(client, index):
    keys = Keys(index.name)
    part_records(client, keys)
    set_manifest(client, keys, format=3, version=None)
    index.open()
    assert index.check().is_sound
    client.unlink(key(index, "short {1}", 0), key(index, "long", 1))
    client.copy(key(index, "long", 0), key(index, "long", 7))
    report = index.check()
    assert (report.documents, report.passages) == (len(DOCUMENTS), PASSAGES - 1)
    assert (report.missing, report.orphans) == (("long", "short {1}"), ("long",))
    assert index.check(repair=True).index_again == ("long",)  # what lost all of its passages is no document any more
    assert not client.exists(key(index, "long", 7))


def test_ready_vectors_and_passages_without_one_are_sound(faces, redis_url, index_name):
    with faces.index(index_name, url=redis_url, dim=DIM, dtype="float16") as index:
        faces.indexer(index).add_vectors([f"d{n}" for n in range(40)], np.ones((40, DIM)))
        report = index.check()
        assert (report.is_sound, report.documents, report.passages) == (True, 40, 40)


def test_a_report_has_some_of_very_many_ids_and_counts_all(redis_url, index_name, client):
    ids = [f"d{n}" for n in range(1_050)]
    with Index(index_name, url=redis_url, dim=DIM) as index:
        Indexer(index).add_vectors(ids, np.ones((1_050, DIM)))
        for one in ids:
            client.hset(Keys(index_name).record(one), "passages", "2")
        report = index.check()
        assert (report.counts["missing"], len(report.missing), report.truncated) == (1_050, 1_000, True)
        assert report.missing == tuple(sorted(report.missing))
        assert "missing 1,050: d" in str(report)
        assert "and 1,040 more" in str(report)
        assert index.check(repair=True).counts["index_again"] == 1_050


def test_a_writer_beside_it_causes_no_false_report(faces, redis_url, index_name, client):
    documents = [Document(f"d{n}", "one two three four five " * (1 + n % 5)) for n in range(300)]
    options = {"url": redis_url, "embedder": HashingEmbedder(DIM)}
    ended = threading.Event()
    with faces.index(index_name, **options) as index:
        faces.indexer(index, WORDS).add(documents)
        client.unlink(Keys(index_name).passage("d299", 1))
        whole, reports = threading.Event(), []

        def write():
            number = 0
            with Index(index_name, **options) as own:
                while not ended.is_set():
                    part = [
                        Document(f"d{n}", f"{number} two three four five " * (1 + (n + number) % 7))
                        for n in range(number % 10, 290, 10)
                    ]
                    Indexer(own, WORDS).add(part)
                    Indexer(own).delete([f"d{n}" for n in range(number % 7, 290, 31)])
                    number += 1
                    if number > 1:
                        whole.set()

        writer = threading.Thread(target=write)
        writer.start()
        try:
            assert whole.wait(30)
            reports = [index.check(repair=number % 2 == 1) for number in range(4)]
        finally:
            ended.set()
            writer.join()
        for report in reports:
            assert (kinds_of(report), report.missing) == ({"missing"}, ("d299",))
        faces.indexer(index, WORDS).add([documents[299]])
        report = index.check()
        assert (report.documents, report.passages, {}) == looked_at(client, index_name)
        assert report.is_sound


@pytest.mark.parametrize("options", [{"repair": "yes"}, {"progress": 3}])
def test_wrong_arguments_are_refused(faces, redis_url, index_name, options):
    with (
        faces.index(index_name, url=redis_url, dim=DIM) as index,
        pytest.raises((TypeError, ValueError), match="expected"),
    ):
        index.check(**options)


def test_a_report_shows_what_was_found():
    counts = dict.fromkeys(CheckReport.KINDS, 0) | {"missing": 1, "repaired": 0, "index_again": 1}
    report = CheckReport("notes", 2, 3, missing=("<b>\x1b[1m",), index_again=("<b>\x1b[1m",), counts=counts)
    assert str(report).splitlines()[0] == "notes: damaged: 2 documents, 3 passages in 0.0 s"
    assert "\x1b" not in str(report)
    assert "&lt;b&gt;" in report._repr_html_()
    assert json.loads(json.dumps(report.to_dict()))["counts"]["missing"] == 1
    assert CheckReport("notes")._repr_html_()


def test_the_command_tells_and_mends(tmp_path, redis_url, index_name, client):
    environ = {"RAGKNN_URL": redis_url}
    with Index(index_name, url=redis_url, embedder=HashingEmbedder(DIM)) as index:
        Indexer(index, WORDS).add(DOCUMENTS)
    done = run_here(["check", index_name], "", tmp_path, environ)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{index_name}: sound: {len(DOCUMENTS)} documents, {PASSAGES} passages")
    one_is_left_of_a_longer_version(client, index, "long")
    done = run_here(["check", index_name], "", tmp_path, environ)
    assert (done.returncode, done.stdout.splitlines()[1:]) == (1, ["  orphans 1: long"])
    done = run_here(["check", index_name, "--repair", "--json"], "", tmp_path, environ)
    assert (done.returncode, json.loads(done.stdout)["repaired"]) == (0, ["long"])
    one_is_deleted(client, index, "long")
    done = run_here(["check", index_name, "--repair"], "", tmp_path, environ)
    assert (done.returncode, done.stdout.splitlines()[1:]) == (1, ["  missing 1: long", "  index again 1: long"])
