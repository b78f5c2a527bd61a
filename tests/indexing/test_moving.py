"""Indexes that an earlier release made: what they answer, and how they are moved."""

import threading
from dataclasses import replace

import pytest
import redis
from earlier import part_records, set_manifest

from ragknn import CommandRefused, Document, HashingEmbedder, Index, Indexer, Retriever, Splitter
from ragknn._protocol.hashing import text_hash
from ragknn._protocol.opening import create_command
from ragknn.indexing._moving import moved
from ragknn.server._connection import run
from ragknn.text._words import searchable

DIM = 32
DOCUMENTS = [
    Document("a", "The printers were printing again and again", "x", {"year": 2020}),
    Document("b", "A café in the old town prints menus", "y", {"year": 2021}),
    Document("c", "— …", "y"),
    *(Document(f"d{number}", f"page {number} of the printer's manual") for number in range(30)),
]
LONG = Document("long", "One printer. \n\n Another printer. \n\n The last one.", page_starts=(0, 14))
CUT = Splitter(size=2, overlap=0, unit="words")
QUERY = "printing pages in cafes"


class Counting(HashingEmbedder):
    """Counts the texts that it embeds."""

    embedded = 0

    def embed_documents(self, texts):
        self.embedded += len(texts)
        return super().embed_documents(texts)


def leave_words_to_the_server(client, keys, schema):
    """Put the words of passages into another field, from which the server makes the terms."""
    for key in client.scan_iter(f"{keys.passage_prefix}*"):
        client.hdel(key, "terms")
        if schema.text_search and (found := searchable(client.hget(key, "text").decode())):
            client.hset(key, "text_words", found)
    client.execute_command("FT.DROPINDEX", keys.search_index())
    command = list(create_command(keys, schema))
    if schema.text_search:
        place = command.index("terms")
        command[place : place + 5] = ["text_words", "TEXT"]
        place = command.index("STOPWORDS")
        stop_words = schema.stop_words
        command[place : place + 2] = ["LANGUAGE", "english", "STOPWORDS", len(stop_words), *stop_words]
    client.execute_command(*command)
    client.execute_command("FT.ALIASADD", keys.alias, keys.search_index())


@pytest.fixture
def make_earlier(redis_url, client):
    """Makes an index of documents, each of one passage, as an earlier release left it, by its format."""

    def make(name, form=2, **options):
        with Index(name, url=redis_url, embedder=HashingEmbedder(DIM), fields={"year": "numeric"}, **options) as index:
            Indexer(index).add(DOCUMENTS)
            keys, schema = index._keys, index.schema
        part_records(client, keys)
        set_manifest(client, keys, format=form)
        if form == 2:
            set_manifest(client, keys, fold_accents=None)
            leave_words_to_the_server(client, keys, schema)
            for document in DOCUMENTS:
                earlier = text_hash("document", document.id, document.text, "1:tokens:auto:auto")
                client.hset(keys.earlier_record(document.id), "text_hash", earlier)
        return keys

    return make


def scores(retriever, **options):
    return {n.passage.id: n.score for n in retriever.retrieve(QUERY, 40, mode="text", **options)}


@pytest.fixture
def expected(redis_url, index_name):
    """What a new index of the same documents finds."""
    with Index(f"{index_name}-new", url=redis_url, embedder=HashingEmbedder(DIM), fields={"year": "numeric"}) as index:
        Indexer(index).add(DOCUMENTS)
        yield scores(Retriever(index))
        index.drop()


@pytest.mark.parametrize("method", ["sync", "add"])
def test_it_is_moved_without_embedding_anything(faces, redis_url, index_name, client, make_earlier, expected, method):
    keys = make_earlier(index_name)
    embedder = Counting(DIM)
    with faces.index(index_name, url=redis_url, embedder=embedder) as index:
        retriever, indexer = faces.retriever(index), faces.indexer(index)
        assert len(retriever.retrieve(QUERY, k=5, where={"year": {"$gte": 2020}})) == 2
        for mode in ("text", "hybrid"):
            with pytest.raises(ValueError, match=r"got one whose words an earlier release stored: call Indexer.sync"):
                retriever.retrieve(QUERY, mode=mode)
        assert indexer.sync(DOCUMENTS, dry_run=True).unchanged == len(DOCUMENTS)
        assert index.schema.format == 2
        embedder.embedded = 0  # of the queries
        assert getattr(indexer, method)(DOCUMENTS).unchanged == len(DOCUMENTS)
        assert embedder.embedded == 0
        assert scores(retriever) == pytest.approx(expected)
        assert scores(retriever, where={"year": {"$gte": 2020}}).keys() == {"a#0", "b#0"} & expected.keys()
        assert len(retriever.retrieve(QUERY, k=40)) == 33
        assert index.schema.fold_accents
    assert [name for name in client.execute_command("FT._LIST") if name.startswith(keys.alias.encode() + b":")] == [
        keys.search_index(keys.version + 1).encode()
    ]
    assert not any(client.hexists(key, "text_words") for key in client.scan_iter(f"{keys.passage_prefix}*"))
    with faces.index(index_name, url=redis_url, embedder=embedder) as index:
        assert scores(faces.retriever(index)) == pytest.approx(expected)
        assert index.describe().passages == 33
        index.add_fields({"page": "numeric"})
        index.drop()
    assert not [name for name in client.execute_command("FT._LIST") if name.startswith(keys.alias.encode() + b":")]
    assert not list(client.scan_iter(f"ragknn:{index_name}:*"))


@pytest.mark.parametrize("form", [2, 3])
def test_where_no_words_are_indexed_the_search_index_stays(redis_url, index_name, client, make_earlier, form):
    keys = make_earlier(index_name, form, text_search=False)
    with Index(index_name, url=redis_url, embedder=HashingEmbedder(DIM)) as index:
        before = client.execute_command("FT._LIST")
        assert Indexer(index).sync(DOCUMENTS).unchanged == len(DOCUMENTS)
        assert client.execute_command("FT._LIST") == before
        assert len(Retriever(index).retrieve(QUERY, k=40)) == 33
    assert not list(client.scan_iter(f"{keys.earlier_prefix}*"))


@pytest.fixture
def of_the_release_before(redis_url, index_name, client):
    """Keys of an index with a document of several passages, whose record is a hash of its own."""
    with Index(index_name, url=redis_url, embedder=HashingEmbedder(DIM), fields={"year": "numeric"}) as index:
        Indexer(index, CUT).add([LONG, *DOCUMENTS[:2]])
        part_records(client, index._keys)
        set_manifest(client, index._keys, format=3)
        return index._keys


def read(index, retriever):
    """Return what there is to read of the long document, and what is found."""
    found = retriever.retrieve("another", k=1, mode="text")
    parts = [list(index.documents()), list(index.passages()), index.exists(["long", "x"])]
    return [*parts, index.count_documents(), [neighbor.passage.text for neighbor in found]]


def test_it_is_read_as_it_is_before_while_and_after_another_process_moves_it(
    faces, redis_url, index_name, of_the_release_before
):
    with (
        faces.index(index_name, url=redis_url, embedder=HashingEmbedder(DIM)) as reader,
        faces.index(index_name, url=redis_url, embedder=HashingEmbedder(DIM)) as writer,
    ):
        before = read(reader, faces.retriever(reader))
        assert LONG in before[0]
        assert faces.indexer(writer, CUT).sync([LONG, *DOCUMENTS[:2]], dry_run=True).unchanged == 3
        assert reader.schema.format == writer.schema.format == 3
        assert faces.indexer(writer, CUT).sync([LONG, *DOCUMENTS[:2]]).unchanged == 3
        assert (reader.schema.format, writer.schema.format) == (3, 4)
        assert read(reader, faces.retriever(reader)) == read(writer, faces.retriever(writer)) == before
        assert faces.indexer(reader, CUT).sync([LONG]).deleted == 2
        assert reader.schema.format == 4


WRITING = {
    "update": lambda index, indexer: indexer.update(["a"], label="z"),
    "delete": lambda index, indexer: indexer.delete(["a"]),
    "delete_where": lambda index, indexer: indexer.delete_where({"year": 2020}),
    "add_fields": lambda index, indexer: index.add_fields({"page": "numeric"}),
}


@pytest.mark.parametrize("write", WRITING.values(), ids=WRITING)
def test_whatever_writes_moves_it_first(faces, redis_url, index_name, client, of_the_release_before, write):
    with faces.index(index_name, url=redis_url, embedder=HashingEmbedder(DIM)) as index:
        write(index, faces.indexer(index))
        assert index.schema.format == 4
        assert list(index.documents(["long"])) == [LONG]
    assert not list(client.scan_iter(f"{of_the_release_before.earlier_prefix}*"))


def test_what_is_left_of_a_document_without_its_first_passage_goes(
    redis_url, index_name, client, of_the_release_before
):
    client.unlink(of_the_release_before.record("long"))
    with Index(index_name, url=redis_url, embedder=HashingEmbedder(DIM)) as index:
        assert Indexer(index, CUT).add(DOCUMENTS[:2]).unchanged == 2
        assert not list(client.scan_iter(f"{of_the_release_before.passages('long')}*"))
        assert Indexer(index, CUT).add([LONG]).added == 1


def cut_short(flow, steps):
    """Let a flow go on for some steps, and then break it off."""
    reply = None
    for _ in range(steps):
        reply = yield flow.send(reply)
    raise KeyboardInterrupt


@pytest.mark.long
@pytest.mark.parametrize("form", [2, 3])
def test_a_move_that_is_cut_short_anywhere_is_made_again(
    redis_url, index_name, make_earlier, expected, monkeypatch, form
):
    monkeypatch.setattr("ragknn.indexing._moving.HELD", 20)
    make_earlier(index_name, form)
    with Index(index_name, url=redis_url, embedder=HashingEmbedder(DIM)) as index:
        place, steps = index._place(), 0
        while True:
            steps += 1
            flow = moved(place)
            try:
                run(index.client, cut_short(flow, steps))
            except KeyboardInterrupt:
                with Index(index_name, url=redis_url, embedder=HashingEmbedder(DIM)) as again:
                    assert len(Retriever(again).retrieve(QUERY, k=40)) == 33
                    assert list(again.documents(["a", "b"])) == DOCUMENTS[:2]
            except RuntimeError:  # the flow came to its end, within a generator
                break
        assert steps > {2: 8, 3: 6}[form]
    with Index(index_name, url=redis_url, embedder=HashingEmbedder(DIM)) as index:
        assert Indexer(index).sync(DOCUMENTS).unchanged == len(DOCUMENTS)
        assert scores(Retriever(index)) == pytest.approx(expected)


def test_a_move_that_fails_keeps_no_others_from_it(redis_url, index_name, client, make_earlier):
    keys = make_earlier(index_name, 3)
    passage = keys.passage("a", 0)
    kept = client.hgetall(passage)
    client.unlink(passage)
    client.set(passage, "of another type")
    with Index(index_name, url=redis_url, embedder=HashingEmbedder(DIM)) as index:
        with pytest.raises(CommandRefused, match="WRONGTYPE"):
            Indexer(index).sync(DOCUMENTS)
        assert not client.exists(keys.moving)
        client.unlink(passage)
        client.hset(passage, mapping=kept)
        assert Indexer(index).sync(DOCUMENTS).unchanged == len(DOCUMENTS)


@pytest.mark.parametrize("form", [2, 3])
def test_several_may_move_it_at_once(redis_url, index_name, make_earlier, expected, client, form):
    keys = make_earlier(index_name, form)
    problems = []

    def move():
        try:
            with Index(index_name, url=redis_url, embedder=HashingEmbedder(DIM)) as index:
                assert Indexer(index).sync(DOCUMENTS).unchanged == len(DOCUMENTS)
                assert scores(Retriever(index)) == pytest.approx(expected)
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=move) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    with redis.Redis.from_url(redis_url) as plain:
        left = [name for name in plain.execute_command("FT._LIST") if name.startswith(keys.alias.encode() + b":v")]
    assert len(left) == 1


def test_documents_stay_as_an_earlier_release_cut_them_until_their_text_changes(
    faces, redis_url, index_name, make_earlier
):
    make_earlier(index_name)
    embedder = Counting(DIM)
    with faces.index(index_name, url=redis_url, embedder=embedder) as index:
        indexer = faces.indexer(index)
        other = [replace(DOCUMENTS[0], label="z"), replace(DOCUMENTS[1], text="Another café"), *DOCUMENTS[2:]]
        report = indexer.sync(other)
        assert (report.updated, report.unchanged, embedder.embedded) == (2, len(DOCUMENTS) - 2, 1)
        assert next(iter(index.documents(["a"]))).label == "z"
        assert indexer.sync(other).unchanged == len(DOCUMENTS)
        assert indexer.sync([replace(DOCUMENTS[0], page_starts=(0, 4)), *other[1:]]).updated == 1
        with_ligature = replace(DOCUMENTS[3], text=DOCUMENTS[3].text + " ﬁt")
        assert indexer.add([with_ligature]).updated == 1
