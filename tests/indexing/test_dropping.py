"""An index is dropped to its end, wherever that is cut short, and beside writers that do not know of it yet."""

import pytest
from stores import search_index

from ragknn import (
    Document,
    HashingEmbedder,
    Index,
    Indexer,
    IndexNotFound,
    ManifestMissing,
    Splitter,
    list_indexes,
)
from ragknn._protocol.closing import BIRTH
from ragknn._protocol.dropping import drop_index
from ragknn._protocol.flows import Pause, Work
from ragknn._protocol.keys import Keys
from ragknn._protocol.opening import open_index
from ragknn._protocol.version import name_birth
from ragknn._protocol.writing import Replacement, write_documents
from ragknn.server._exchange import exchange

EMBEDDER = HashingEmbedder(16)
WORDS = Splitter(size=2, overlap=0, unit="words")
DOCUMENTS = [Document(f"d{number}", f"one two three four five number {number}") for number in range(1_200)]
# The mark; the search index; some steps through the keys; the mark again.
STEPS = range(1, 9)


def cut_short(client, name, steps):
    """Drop an index as a process does that is killed after so many round trips."""
    flow = drop_index(Keys(name))
    step = next(flow)
    for _ in range(steps):
        step = flow.send(exchange(client, step))
    flow.close()


def finished(client, flow, step):
    """Run a flow to its end from a step on, and return its value."""
    while True:
        try:
            step = flow.send(answer(client, step))
        except StopIteration as stop:
            return stop.value


def answer(client, step):
    match step:
        case Work():
            return step.call()
        case Pause():
            return None
        case _:
            return exchange(client, step)


def keys_of(client, name):
    return sorted(key.decode() for key in client.scan_iter(f"ragknn:{name}:*", count=1000))


@pytest.mark.parametrize("steps", STEPS)
def test_a_drop_that_is_cut_short_is_ended_by_the_next_who_opens(redis_url, index_name, client, steps):
    Indexer(Index(index_name, url=redis_url, embedder=EMBEDDER).open(), WORDS).sync(DOCUMENTS)
    cut_short(client, index_name, steps)
    with pytest.raises(IndexNotFound):
        Index(index_name, url=redis_url, create=False).open()
    few = DOCUMENTS[:5]
    with Index(index_name, url=redis_url, embedder=EMBEDDER) as index:
        assert index.count() == 0
        report = Indexer(index, WORDS).sync(few)
        assert (report.added, report.updated, report.deleted) == (5, 0, 0)
        assert [one.text for one in index.documents()] == [one.text for one in few]
        assert len(keys_of(client, index_name)) == 1 + index.count()  # the manifest, and no other key


@pytest.mark.parametrize("steps", STEPS)
def test_or_by_the_next_who_drops(faces, redis_url, index_name, client, steps):
    Indexer(Index(index_name, url=redis_url, embedder=EMBEDDER).open(), WORDS).sync(DOCUMENTS[:300])
    cut_short(client, index_name, min(steps, 4))
    faces.index(index_name, url=redis_url, create=False).drop()
    assert keys_of(client, index_name) == []
    assert index_name not in list_indexes(url=redis_url)
    with pytest.raises(IndexNotFound):
        faces.index(index_name, url=redis_url, create=False).drop()


def test_who_is_slow_leaves_alone_what_others_have_made_anew(redis_url, index_name, client):
    with Index(index_name, url=redis_url, embedder=EMBEDDER) as index:
        Indexer(index, WORDS).sync(DOCUMENTS)
    slow = drop_index(Keys(index_name))
    step = slow.send(exchange(client, next(slow)))
    step = slow.send(exchange(client, step))
    with Index(index_name, url=redis_url, embedder=EMBEDDER) as index:
        Indexer(index, WORDS).sync(DOCUMENTS[:50])
        assert finished(client, slow, step) < len(DOCUMENTS)
        assert index.count_documents() == 50


def dropping(documents, drop, at):
    for number, document in enumerate(documents):
        if number == at:
            drop()
        yield document


@pytest.mark.parametrize("again", [False, True], ids=["", "made again"])
def test_a_writer_notices_and_leaves_nothing(faces, redis_url, index_name, client, again):
    others = {"dim": 3} if again else {}

    def drop():
        Index(index_name, client=client, create=False).drop()
        if again:
            Index(index_name, client=client, **others).open()

    index = faces.index(index_name, url=redis_url, embedder=EMBEDDER)
    with pytest.raises(IndexNotFound, match="it was dropped"):
        faces.indexer(index, WORDS).add(dropping(DOCUMENTS, drop, 700))
    assert keys_of(client, index_name) == ([Keys(index_name).manifest] if again else [])


def test_a_writer_takes_back_what_a_removal_has_left_of_a_document(redis_url, index_name, client):
    with Index(index_name, url=redis_url, embedder=EMBEDDER) as index:
        index._run(name_birth(index._keys))
        place, [birth] = index._place(), client.hmget(index._keys.manifest, BIRTH)
    document = Replacement("d", ("passages", "4", "text_hash", "0"), [("text", str(n)) for n in range(4)])
    writing = write_documents(place, [document], birth.decode())
    replies = exchange(client, next(writing))
    # A removal has begun before, and its look through the keys has met two of those that are new.
    client.delete(place.keys.manifest, place.keys.passage("d", 0), place.keys.passage("d", 1))
    assert finished(client, writing, writing.send([*replies[:-1], None])) is None
    client.execute_command("FT.DROPINDEX", place.keys.searched)
    assert keys_of(client, index_name) == []


@pytest.mark.parametrize("creates", [True, False])
def test_who_opens_an_index_that_is_dropped_meanwhile_leaves_no_search_index(redis_url, index_name, client, creates):
    with Index(index_name, url=redis_url, embedder=EMBEDDER) as index:
        schema, keys = index.schema, index._keys
    client.execute_command("FT.DROPINDEX", keys.searched)  # as it is while another process makes the index
    opening = open_index(Keys(index_name), dict, (lambda: schema) if creates else None, 1)
    step = next(opening)
    while not (isinstance(step, list) and step[0][0] == "FT.CREATE"):
        step = opening.send(answer(client, step))
    client.delete(keys.manifest)  # that one dropped it again
    if creates:
        assert finished(client, opening, step).schema == schema
        Index(index_name, client=client, create=False).drop()
    else:
        with pytest.raises(IndexNotFound):
            finished(client, opening, step)
    assert index_name not in list_indexes(url=redis_url)
    assert keys_of(client, index_name) == []


def test_a_writer_of_ready_vectors_notices_too(faces, redis_url, index_name, client):
    index = faces.index(index_name, url=redis_url, dim=2)
    progress = []

    def drop(report):
        if not progress:
            Index(index_name, client=client, create=False).drop()
        progress.append(report)

    ids = [f"d{number}" for number in range(3_000)]
    with pytest.raises(IndexNotFound, match="it was dropped"):
        faces.indexer(index).add_vectors(ids, [[1.0, 2.0]] * len(ids), progress=drop)
    assert keys_of(client, index_name) == []


def test_an_index_without_its_manifest_is_told_and_can_be_dropped(faces, redis_url, index_name, client):
    with Index(index_name, url=redis_url, embedder=EMBEDDER) as index:
        Indexer(index, WORDS).sync(DOCUMENTS[:10])
    client.unlink(Keys(index_name).manifest)
    for create in (False, True):
        with pytest.raises(ManifestMissing, match=f"`ragknn drop {index_name}` removes the rest"):
            faces.index(index_name, url=redis_url, embedder=EMBEDDER, create=create).open()
    assert faces.index(index_name, url=redis_url, create=False).drop() == 10
    assert keys_of(client, index_name) == []


def test_documents_of_nobody_are_no_part_of_a_new_index(faces, redis_url, index_name, client):
    with Index(index_name, url=redis_url, embedder=EMBEDDER) as index:
        Indexer(index, WORDS).sync(DOCUMENTS[:10])
    client.execute_command("FT.DROPINDEX", search_index(client, index_name))
    client.unlink(Keys(index_name).manifest)
    with faces.index(index_name, url=redis_url, embedder=EMBEDDER) as index:
        assert index.count() == 0
        assert len(keys_of(client, index_name)) == 1
