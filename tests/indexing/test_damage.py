"""Documents of which the server has lost something: the next ingest notices, and stores them whole."""

import time

import pytest

from ragknn import Document, HashingEmbedder, Splitter

WORDS = Splitter(size=4, overlap=0, unit="words")
DOCUMENTS = [
    Document("long", "one two three four five six seven eight nine ten eleven twelve"),
    Document("short", "one two three"),
    Document("other", "alpha beta gamma delta epsilon zeta"),
]


@pytest.fixture(params=[2, 3], ids=["RESP2", "RESP3"])
def index(request, faces, redis_url, index_name, monkeypatch):
    monkeypatch.setenv("RAGKNN_PROTOCOL", str(request.param))
    with faces.index(index_name, url=redis_url, embedder=HashingEmbedder(16)) as index:
        faces.indexer(index, WORDS).sync(DOCUMENTS)
        yield index


def key(index, document_id, number):
    return f"ragknn:{index.name}:p:{{{document_id}}}:{number}"


def one_is_deleted(client, index):
    client.unlink(key(index, "long", 1))


def the_last_is_deleted(client, index):
    client.unlink(key(index, "long", 2))


def the_first_is_deleted(client, index):
    client.unlink(key(index, "long", 0))


def one_expires(client, index):
    client.pexpire(key(index, "long", 1), 1)
    while client.exists(key(index, "long", 1)):
        time.sleep(0.001)


def one_is_of_another_version(client, index):
    """As after a server that stopped between two passages, and read its file again without the rest."""
    client.hset(key(index, "long", 1), mapping={"text": "an older text", "digest": "0123456789abcdef"})


def one_is_left_of_a_longer_version(client, index):
    client.copy(key(index, "long", 2), key(index, "long", 3))


DAMAGES = [
    one_is_deleted,
    the_last_is_deleted,
    the_first_is_deleted,
    one_expires,
    one_is_of_another_version,
    one_is_left_of_a_longer_version,
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_document_that_is_not_whole_is_stored_anew(faces, client, index, damage):
    damage(client, index)
    report = faces.indexer(index, WORDS).sync(DOCUMENTS)
    assert (report.updated, report.unchanged, report.embedded) == (1, 2, 3)
    [note] = [note for note in report.notes if note.kind == "damaged"]
    assert note.document_id == "long"
    assert "it is stored anew" in str(note)
    assert {one.id: one.text for one in index.documents()} == {one.id: one.text for one in DOCUMENTS}
    assert index.count() == 3 + 1 + 2
    assert faces.indexer(index, WORDS).sync(DOCUMENTS).unchanged == 3


def test_a_document_of_one_passage_beside_a_left_one_is_stored_anew(faces, client, index):
    client.copy(key(index, "long", 1), key(index, "short", 1))
    report = faces.indexer(index, WORDS).add(DOCUMENTS)
    assert report.ids["updated"] == ("short",)
    assert index.count() == 3 + 1 + 2


def test_as_many_passages_too_many_as_are_missing_are_noticed_too(faces, client, index):
    client.rename(key(index, "long", 1), key(index, "short", 1))
    report = faces.indexer(index, WORDS).add(DOCUMENTS)
    assert report.ids["updated"] == ("long", "short")
    assert index.count() == 3 + 1 + 2


def test_what_is_left_of_a_document_that_the_input_lacks_goes_too(faces, client, index):
    client.unlink(key(index, "long", 0))
    assert faces.indexer(index, WORDS).sync(DOCUMENTS[1:]).unchanged == 2
    assert index.count() == 1 + 2
    assert list(client.scan_iter(f"ragknn:{index.name}:p:{{long}}:*")) == []


def by_filter(indexer):
    return indexer.delete_where({"document_id": {"$in": ["long", "other"]}})


def by_a_sync_with_a_filter(indexer):
    return indexer.sync([DOCUMENTS[1]], where={"document_id": {"$ne": "nobody"}}, delete_most=True).deleted


def by_a_sync(indexer):
    return indexer.sync([DOCUMENTS[1]], delete_most=True).deleted


@pytest.mark.parametrize("delete", [by_filter, by_a_sync_with_a_filter, by_a_sync])
def test_what_is_behind_a_hole_of_a_document_without_its_record_is_deleted_too(faces, client, index, delete):
    client.unlink(key(index, "long", 0), key(index, "long", 1))
    assert delete(faces.indexer(index, WORDS)) == 1  # one that has lost its record is not counted
    assert list(client.scan_iter(f"ragknn:{index.name}:p:*")) == [key(index, "short", 0).encode()]


@pytest.mark.parametrize("on_existing", ["skip", "fail"])
def test_it_is_stored_whole_where_what_exists_is_left_alone_too(faces, client, index, on_existing):
    client.unlink(key(index, "long", 1))
    report = faces.indexer(index, WORDS).add([DOCUMENTS[0]], on_existing=on_existing)
    assert (report.updated, report.failed) == (1, ())
    assert index.count() == 3 + 1 + 2


def test_a_dry_run_tells(faces, client, index):
    client.unlink(key(index, "long", 1))
    report = faces.indexer(index, WORDS).sync(DOCUMENTS, dry_run=True)
    assert report.ids["updated"] == ("long",)
    assert "damaged: 1" in str(report)
    assert not client.exists(key(index, "long", 1))


def test_another_text_replaces_what_is_left_behind_a_hole(faces, client, index):
    for number in (4, 5):
        client.copy(key(index, "long", 2), key(index, "long", number))
    client.hset(key(index, "long", 0), "passages", "5")
    assert faces.indexer(index, WORDS).add([Document("long", "now short")]).updated == 1
    assert sorted(client.scan_iter(f"ragknn:{index.name}:p:{{long}}:*")) == [key(index, "long", 0).encode()]
    assert faces.indexer(index, WORDS).delete(["long"]) == 1
