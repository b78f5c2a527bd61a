"""Indexes that an earlier release made: what they answer, and how they are moved."""

import json
import threading
from dataclasses import replace

import pytest
import redis

from ragknn import Document, HashingEmbedder, Index, Indexer, Retriever
from ragknn._protocol.encoding import text_hash
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
QUERY = "printing pages in cafes"


class Counting(HashingEmbedder):
    """Counts the texts that it embeds."""

    embedded = 0

    def embed_documents(self, texts):
        self.embedded += len(texts)
        return super().embed_documents(texts)


@pytest.fixture
def make_earlier(redis_url, client):
    """Makes an index as the release before left it: the words for the server to stem, in another field."""

    def make(name, **options):
        """Make it of the documents, each of one passage."""
        with Index(name, url=redis_url, embedder=HashingEmbedder(DIM), fields={"year": "numeric"}, **options) as index:
            Indexer(index).add(DOCUMENTS)
            keys, schema = index._keys, index.schema
        for key in client.scan_iter(f"{keys.passage_prefix}*"):
            client.hdel(key, "terms")
            if schema.text_search and (found := searchable(client.hget(key, "text").decode())):
                client.hset(key, "text_words", found)
        for document in DOCUMENTS:
            earlier = text_hash("document", document.id, document.text, "1:tokens:auto:auto")
            client.hset(keys.document(document.id), "text_hash", earlier)
        manifest = json.loads(client.hget(keys.manifest, "schema"))
        del manifest["fold_accents"]
        client.hset(keys.manifest, "schema", json.dumps({**manifest, "format": 2}))
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
        keys.search_index(2).encode()
    ]
    assert not any(client.hexists(key, "text_words") for key in client.scan_iter(f"{keys.passage_prefix}*"))
    with faces.index(index_name, url=redis_url, embedder=embedder) as index:
        assert scores(faces.retriever(index)) == pytest.approx(expected)
        assert index.describe().passages == 33
        index.add_fields({"page": "numeric"})
        index.drop()
    assert not [name for name in client.execute_command("FT._LIST") if name.startswith(keys.alias.encode() + b":")]
    assert not list(client.scan_iter(f"ragknn:{index_name}:*"))


def test_one_without_words_needs_no_move(redis_url, index_name, client, make_earlier):
    make_earlier(index_name, text_search=False)
    with Index(index_name, url=redis_url, embedder=HashingEmbedder(DIM)) as index:
        before = client.execute_command("FT._LIST")
        assert Indexer(index).sync(DOCUMENTS).unchanged == len(DOCUMENTS)
        assert client.execute_command("FT._LIST") == before
        assert len(Retriever(index).retrieve(QUERY, k=40)) == 33


def cut_short(flow, steps):
    """Let a flow go on for some steps, and then break it off."""
    reply = None
    for _ in range(steps):
        reply = yield flow.send(reply)
    raise KeyboardInterrupt


@pytest.mark.long
def test_a_move_that_is_cut_short_anywhere_is_made_again(redis_url, index_name, make_earlier, expected, monkeypatch):
    monkeypatch.setattr("ragknn.indexing._moving.HELD", 20)
    make_earlier(index_name)
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
            except RuntimeError:  # the flow came to its end, within a generator
                break
        assert steps > 6
    with Index(index_name, url=redis_url, embedder=HashingEmbedder(DIM)) as index:
        assert Indexer(index).sync(DOCUMENTS).unchanged == len(DOCUMENTS)
        assert scores(Retriever(index)) == pytest.approx(expected)


def test_several_may_move_it_at_once(redis_url, index_name, make_earlier, expected, client):
    keys = make_earlier(index_name)
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
