"""Indexes that other libraries made become indexes of ragknn: the same neighbors, and nothing is embedded."""

import json
import uuid

import numpy as np
import pytest
import redis
from embedders import CountingEmbedder
from hypothesis import given, settings
from hypothesis import strategies as st
from made_by_others import ON_HASHES, QUERIES, found_by, made
from servers import private_server

from ragknn import (
    Document,
    Index,
    Indexer,
    IndexNotFound,
    Layout,
    Retriever,
    SchemaMismatch,
    Splitter,
    aimport_index,
    import_index,
)
from ragknn.server._programs import find_programs
from ragknn.settings import Settings

MAKERS = {"langchain": "langchain-redis", "llama-index": "llama-index"}


@pytest.fixture(params=["2", "3"], ids=["RESP2", "RESP3"])
def protocol(request, monkeypatch):
    monkeypatch.setenv("RAGKNN_PROTOCOL", request.param)
    return request.param


@pytest.fixture
def others(client):
    """A name for a search index, which is dropped with its keys."""
    name = f"others{uuid.uuid4().hex}"
    yield name
    if name.encode() in client.execute_command("FT._LIST"):
        client.execute_command("FT.DROPINDEX", name, "DD")


def create(client, name, *fields, prefixes=None, options=()):
    prefixes = [f"{name}:"] if prefixes is None else prefixes
    client.execute_command(
        *("FT.CREATE", name, "ON", "HASH", "PREFIX", len(prefixes), *prefixes, *options, "SCHEMA", *fields)
    )


def vector_field(name="v", dim=4, metric="COSINE", kind="FLOAT32"):
    return (name, "VECTOR", "FLAT", "6", "TYPE", kind, "DIM", str(dim), "DISTANCE_METRIC", metric)


def blob(*values, dtype=np.float32):
    return np.array(values, dtype).tobytes()


def neighbors(index):
    return [
        [(one.passage.id.removesuffix("#0"), one.distance) for one in retrieval]
        for retrieval in Retriever(index).kneighbors(QUERIES, k=10)
    ]


def assert_alike(found, expected):
    for ours, theirs in zip(found, expected, strict=True):
        assert [one for one, _ in ours] == [one for one, _ in theirs]
        np.testing.assert_allclose([d for _, d in ours], [d for _, d in theirs], atol=1e-6)


def losses(report):
    return {(loss.what, loss.count) for loss in report.lost}


# ---- what the libraries made -----------------------------------------------------------------------------------


@pytest.mark.usefixtures("protocol")
@pytest.mark.parametrize("name", ON_HASHES)
def test_an_index_of_another_library_has_the_same_neighbors_at_the_same_distances(name, client, redis_url, index_name):
    with made(client, name) as recorded:
        report = import_index(name, index_name, url=redis_url)
        with Index(index_name, url=redis_url, create=False) as index:
            assert_alike(neighbors(index), found_by(recorded))
            assert index.count() == report.passages == report.written.passages == len(recorded["stored"])
        assert report.maker == MAKERS.get(name, "")
        again = import_index(name, index_name, url=redis_url)
        assert (again.written.added, again.written.unchanged) == (0, report.written.added)


def test_json_documents_are_read_too(tmp_path, monkeypatch):
    module = find_programs(Settings()).module.with_name("rejson.so")
    with (
        private_server(tmp_path, "--loadmodule", str(module)) as url,
        redis.Redis.from_url(url, protocol=2) as client,
        made(client, "redisvl-json") as recorded,
    ):
        for protocol in ("2", "3"):
            monkeypatch.setenv("RAGKNN_PROTOCOL", protocol)
            import_index("redisvl-json", f"mine{protocol}", url=url)
            with Index(f"mine{protocol}", url=url, create=False) as index:
                assert_alike(neighbors(index), found_by(recorded))
                [first] = index.documents(["s1"])
                stored = {**recorded["stored"]["redisvl-json:s1"]}
                assert (first.text, first.metadata["tags"]) == (stored.pop("text"), ["red", "old"])
                del stored["embedding"]
                assert first.metadata == stored
                assert index.count({"tags": "old", "year": {"$lt": 2005}}) == 3


def test_nodes_of_one_document_stay_passages_of_one(client, redis_url, index_name):
    with made(client, "llama-index") as recorded:
        import_index("llama-index", index_name, url=redis_url)
        with Index(index_name, url=redis_url, create=False) as index:
            documents = list(index.documents())
            assert [one.id for one in documents] == ["book-0", "book-1", "book-2"]
            assert documents[1].metadata == {"chapter": 1, "writer": "W. 1"}
            assert documents[0].text.startswith(
                "Sentence 0 of book 0 tells of a lamp number 0, for the hall. Sentence 1 "
            )
            passages = list(index.passages())
            assert {one.id for one in passages} == {key.split(":")[1] for key in recorded["stored"]}
            for one in passages:
                [whole] = [document.text for document in documents if document.id == one.document_id]
                assert whole[one.start : one.end] == one.text
            assert len(Retriever(index).kneighbors(QUERIES[:1], k=10, per_document=1)[0]) == 3


def test_metadata_keep_the_types_that_the_library_kept(client, redis_url, index_name):
    with made(client, "langchain"):
        import_index("langchain", index_name, url=redis_url)
        with Index(index_name, url=redis_url, create=False) as index:
            [one] = index.documents(["part:3"])
            assert one.metadata == {"title": "a lamp number 3", "year": 2003, "shelf": "A3"}
            assert index.count({"year": {"$gte": 2018}, "title": "a lamp number 18"}) == 1


def test_the_async_twin_does_the_same(client, redis_url, index_name, faces):
    with made(client, "llama-index") as recorded:
        told = []
        report = faces.call(
            *(import_index, aimport_index, "llama-index", index_name), url=redis_url, progress=told.append
        )
        assert (report.passages, report.written.added) == (len(recorded["stored"]), 3)
        assert told[-1].added == 3
        dry = faces.call(import_index, aimport_index, "llama-index", f"{index_name}-2", url=redis_url, dry_run=True)
        assert (dry.passages, dry.written, dry.dry_run) == (len(recorded["stored"]), None, True)
        assert client.exists(f"ragknn:{index_name}-2:manifest") == 0


# ---- with the model that made the vectors ----------------------------------------------------------------------


def stored_by(embedder, client, name, texts):
    """Store texts as langchain-redis does, with the vectors of an embedder."""
    fields = ("text", "TEXT", *vector_field("embedding", embedder.dim), "_metadata_json", "TEXT")
    create(client, name, *fields)
    for (key, text), vector in zip(texts.items(), embedder.embed_documents(list(texts.values())), strict=True):
        stored = {"text": text, "embedding": vector.tobytes(), "_metadata_json": json.dumps({"n": len(text)})}
        client.hset(f"{name}:{key}", mapping=stored)


TEXTS = {f"t{n}": f"{thing} stands in the hall, and has a number, {n}" for n, thing in enumerate(["lamp", "chair"] * 4)}


def test_a_later_sync_of_the_same_documents_embeds_nothing(client, redis_url, index_name, others):
    embedder = CountingEmbedder()
    stored_by(embedder, client, others, TEXTS)
    embedder.texts.clear()
    import_index(others, index_name, url=redis_url, embedder=embedder)
    assert len(embedder.texts) == 5  # looked at to see whether it is the model that made the vectors
    embedder.texts.clear()
    with Index(index_name, url=redis_url, embedder=embedder, create=False) as index:
        documents = [Document(key, text, metadata={"n": len(text)}) for key, text in TEXTS.items()]
        report = Indexer(index).sync(documents)
        assert (report.unchanged, report.updated, report.added, embedder.texts) == (8, 0, 0, [])
        # Of other metadata these alone are written; and of another splitter, all is cut and embedded again.
        changed = [Document(key, text, metadata={"n": 0}) for key, text in TEXTS.items()]
        assert (Indexer(index).sync(changed).updated, embedder.texts) == (8, [])
        Indexer(index, Splitter(4, 0, unit="words")).sync(changed)
        assert len(embedder.texts) > 8


def test_a_document_that_would_be_cut_in_another_way_is_kept_as_it_is(client, redis_url, index_name, others):
    embedder = CountingEmbedder()
    long = {"long": " ".join(f"word{n}" for n in range(900)), "head": "# A title\n\nIts text."}
    stored_by(embedder, client, others, long)
    import_index(others, index_name, url=redis_url, embedder=embedder)
    embedder.texts.clear()
    with Index(index_name, url=redis_url, embedder=embedder, create=False) as index:
        assert [one.text for one in index.passages()] == [long["head"], long["long"]]
        dry = Indexer(index).sync(
            [Document(*pair, metadata={"n": len(pair[1])}) for pair in long.items()], dry_run=True
        )
        assert sorted(dry.ids["updated"]) == ["head", "long"]


def test_another_model_of_the_same_dimension_is_refused(client, redis_url, index_name, others):
    class Other(CountingEmbedder):
        name = "tests/other"

        def embed_documents(self, texts):
            return -super().embed_documents(texts)

    stored_by(CountingEmbedder(), client, others, TEXTS)
    with pytest.raises(SchemaMismatch, match=r"tests/other.*mean cosine of -1\.00"):
        import_index(others, index_name, url=redis_url, embedder=Other())
    with pytest.raises(SchemaMismatch, match=r"dim.*24.*16"):
        import_index(others, index_name, url=redis_url, embedder=CountingEmbedder(24))
    assert client.exists(f"ragknn:{index_name}:manifest") == 0


# ---- what is not as it was -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("protocol")
def test_what_has_no_place_is_told_and_the_rest_is_taken_over(client, redis_url, index_name, others):
    create(
        *(client, others, "body", "TEXT", *vector_field(), *vector_field("second"), "place", "GEO"),
        *("label", "TAG", "color", "TAG", "SEPARATOR", "|", "exact", "TAG", "CASESENSITIVE", "year", "NUMERIC"),
        *("title", "AS", "heading", "TEXT", "NOSTEM", "SORTABLE"),
    )
    common = {"place": "9.18,48.78", "label": "fruit", "color": "Red|blue", "exact": "A,b", "year": "2001"}
    stored = {"body": "an apple", "v": blob(1, 0, 0, 1), "second": blob(1, 1, 1, 1), "title": "Fruit", **common}
    client.hset(f"{others}:a", mapping={**stored, "picture": b"\xff\xfe\x00"})
    client.hset(f"{others}:b", mapping={**stored, "year": "2001.50"})
    client.hset(f"{others}:c", mapping={"body": "without a vector", "year": "1e3"})
    client.expire(f"{others}:b", 1_000)
    client.hset(f"{others}:d", mapping={**stored, "v": b"too short"})
    report = import_index(others, index_name, url=redis_url, layout=Layout("v", "body"))
    assert report.settings["fields"] == {"color": "tag", "exact": "tag", "year": "numeric", "title": "text"}
    assert losses(report) == {
        *(("second", 0), ("place", 0), ("label", 0), ("color", 0), ("heading", 0)),
        *(("keys", 0), ("keys", 1), ("color", 2), ("exact", 2), ("picture", 1), ("second", 2)),
    }
    reasons = str(report)
    assert "keys: they expire on the server, and the passages will stay (1 times, such as " in reasons
    assert "keys: those that the server could not index, which no search found, are not taken over" in reasons
    with Index(index_name, url=redis_url, create=False) as index:
        a, b, c = index.documents()
        assert a.metadata["color"] == ["Red", "blue"]
        assert (a.metadata["year"], b.metadata["year"], c.metadata["year"]) == (2001, 2001.5, 1000.0)
        assert (index.count({"color": "Red"}), index.count({"color": "red"}), index.count({"exact": "b"})) == (2, 0, 2)
        assert c.text == "without a vector"
        assert [one.passage.document_id for one in Retriever(index).kneighbors([[1, 0, 0, 1]], k=9)[0]] == ["a", "b"]


def test_keys_of_several_prefixes_and_a_filter_of_the_index(client, redis_url, index_name, others):
    prefixes = [f"{others}:x:", f"{others}:y:"]
    create(client, others, "n", "NUMERIC", *vector_field(), prefixes=prefixes, options=("FILTER", "@n>1"))
    for prefix in prefixes:
        for n in range(4):
            client.hset(f"{prefix}{n}", mapping={"n": n, "v": blob(1, n, 0, 0)})
    report = import_index(others, index_name, url=redis_url, layout=Layout("v", label="n"))
    assert report.passages == 4
    with Index(index_name, url=redis_url, create=False) as index:
        assert [one.id for one in index.documents()] == [f"{prefix}{n}" for prefix in prefixes for n in (2, 3)]
        assert not index.schema.text_search


@pytest.mark.parametrize(("kind", "dtype"), [("FLOAT64", np.float64), ("FLOAT16", np.float16)])
def test_vectors_keep_their_dtype(kind, dtype, client, redis_url, index_name, others):
    create(client, others, "text", "TEXT", *vector_field(kind=kind, metric="L2"))
    values = np.random.default_rng(3).normal(size=(20, 4)).astype(dtype)
    for n, row in enumerate(values):
        client.hset(f"{others}:{n}", mapping={"text": f"t{n}", "v": row.tobytes()})
    import_index(others, index_name, url=redis_url)
    with Index(index_name, url=redis_url, create=False) as index:
        stored = {one.id: one.vectors[0] for one in index.documents(vectors=True)}
        assert all(np.array_equal(stored[str(n)], row) for n, row in enumerate(values))
        assert index.schema.dtype == kind.lower()


@settings(max_examples=30)
@given(
    kept=st.dictionaries(
        st.text(min_size=1, max_size=6),
        st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8) | st.lists(st.text(max_size=4)),
        max_size=4,
    )
)
def test_any_metadata_of_langchain_come_back_as_they_were(kept, client_of_session, redis_url):
    name = f"others{uuid.uuid4().hex}"
    create(client_of_session, name, "text", "TEXT", *vector_field("embedding"), "_metadata_json", "TEXT")
    stored = {"text": "a text", "embedding": blob(1, 2, 3, 4), "_metadata_json": json.dumps(kept)}
    client_of_session.hset(f"{name}:one", mapping=stored)
    import_index(name, name, url=redis_url)
    with Index(name, url=redis_url, create=False) as index:
        [document] = index.documents()
        assert document.metadata == kept
        index.drop()
    client_of_session.execute_command("FT.DROPINDEX", name, "DD")


@pytest.fixture(scope="module")
def client_of_session(redis_url):
    with redis.Redis.from_url(redis_url) as client:
        yield client


# ---- what cannot be --------------------------------------------------------------------------------------------


def test_what_is_not_there_or_cannot_be_told_is_an_error_that_says_so(client, redis_url, index_name, others):
    with pytest.raises(IndexNotFound, match=f"expected a search index '{others}' to import from, the server has"):
        import_index(others, index_name, url=redis_url)
    create(client, others, "one", "TEXT", "two", "TEXT", *vector_field(), *vector_field("w"))
    with pytest.raises(ValueError, match="expected one field that is the vector, got several, v, w: say where"):
        import_index(others, index_name, url=redis_url)
    with pytest.raises(ValueError, match=r"expected a vector field 'z' in the search index .*, it has v, w"):
        import_index(others, index_name, url=redis_url, layout=Layout("z"))
    report = import_index(others, index_name, url=redis_url, layout=Layout("w", "one"))
    assert (report.passages, report.written.added) == (0, 0)
    with pytest.raises(TypeError, match="expected layout of type Layout, got a dict"):
        import_index(others, index_name, url=redis_url, layout={"vector": "v"})
    with pytest.raises(TypeError, match="expected left_out as"):
        Layout("v", left_out="a")
    with pytest.raises(TypeError, match="expected vector as the name of a field, got None"):
        Layout(None)


def test_an_index_that_is_made_of_something_else_is_refused(client, redis_url, index_name, others):
    create(client, others, "text", "TEXT", *vector_field())
    with Index(index_name, url=redis_url, dim=5) as index:
        Indexer(index).add_vectors(["a"], [[1, 2, 3, 4, 5]])
        with pytest.raises(SchemaMismatch, match="dim"):
            import_index(others, index_name, url=redis_url)
        assert index.count() == 1


def test_an_index_of_vectors_that_cannot_be_stored_is_refused(client, redis_url, index_name, others):
    create(client, others, "text", "TEXT")
    with pytest.raises(ValueError, match="expected one field that is the vector, got none"):
        import_index(others, index_name, url=redis_url)
