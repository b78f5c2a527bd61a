import threading

import numpy as np
import pytest
import redis
import redis.asyncio
from stores import search_index

from ragknn import (
    CommandRefused,
    Document,
    HashingEmbedder,
    Index,
    Indexer,
    IndexInfo,
    IndexNotFound,
    IndexNotOpen,
    InvalidVectors,
    Retriever,
    SchemaMismatch,
    SentenceEmbedder,
)
from ragknn._protocol.schema import READY_VECTORS, Schema

DOCUMENTS = [Document("a", "red apples", "fruit"), Document("b", "green pears", "fruit"), Document("c", "fast cars")]


def keys_of(client, name):
    return sorted(key.decode() for key in client.scan_iter(f"ragknn:{name}:*", count=1000))


def search_indexes_of(client, name):
    return [key.decode() for key in client.execute_command("FT._LIST") if key.decode().startswith(f"ragknn:{name}:")]


class Named:
    """The hashing embedder under another name, with an identity."""

    max_tokens = None

    def __init__(self, name, dim=16, identity=None):
        self.name, self.dim = name, dim
        if identity is not None:
            self.identity = identity
        self._hashing = HashingEmbedder(dim)

    def embed_documents(self, texts):
        return self._hashing.embed_documents(texts)

    embed_queries = embed_documents


# ---- opening ---------------------------------------------------------------------------------------------------


def test_a_new_index_is_created_with_the_defaults(faces, redis_url, index_name, client, embedder):
    with faces.index(index_name, url=redis_url, embedder=embedder) as index:
        assert index.schema == Schema(embedder="ragknn/hashing-64", dim=64)
        assert index.server.version[0] >= 7
        assert index.count() == 0
    assert keys_of(client, index_name) == [f"ragknn:{index_name}:manifest"]
    assert search_indexes_of(client, index_name) == [search_index(client, index_name)]


def test_an_index_is_opened_again_with_what_it_was_built_with(faces, redis_url, index_name, embedder):
    options = {
        **{"metric": "l2", "algorithm": "hnsw", "m": 8, "ef_construction": 32, "dtype": "float16"},
        **{"fields": {"year": "numeric", "topic": "tag", "title": "text"}, "text_search": False},
        **{"language": "german", "stop_words": ("das", "der")},
    }
    with faces.index(index_name, url=redis_url, embedder=embedder, **options) as index:
        built = index.schema
    assert built == Schema(embedder="ragknn/hashing-64", dim=64, **options)
    with faces.index(index_name, url=redis_url) as index:
        assert index.schema == built
    with faces.index(index_name, url=redis_url, embedder=embedder, **options, create=False) as index:
        assert index.schema == built


def test_the_hashing_embedder_is_adopted_from_the_manifest(faces, redis_url, index_name):
    with faces.index(index_name, url=redis_url, embedder=HashingEmbedder(24)) as index:
        faces.indexer(index).add(DOCUMENTS)
    with faces.index(index_name, url=redis_url) as index:
        assert (index.embedder.name, index.embedder.dim) == ("ragknn/hashing-24", 24)
        assert faces.retriever(index).retrieve("red apples", k=1)[0].passage.document_id == "a"


def test_an_index_that_names_no_embedder_takes_what_it_finds_when_it_is_opened_again(faces, redis_url, index_name):
    with faces.index(index_name, url=redis_url, embedder=HashingEmbedder(24)) as first:
        adopting = faces.index(index_name, url=redis_url)
        with adopting:
            assert adopting.embedder.dim == 24
            first.drop()
            with faces.index(index_name, url=redis_url, embedder=HashingEmbedder(64)):
                adopting.open()
            assert adopting.embedder.dim == 64


def test_opening_an_index_otherwise_than_it_was_built_lists_all_that_differs(faces, redis_url, index_name):
    with faces.index(index_name, url=redis_url, embedder=Named("one", identity={"query_prompt": "q: "})):
        pass
    other = Named("two", dim=8, identity={"query_prompt": ""})
    with pytest.raises(SchemaMismatch) as refused:
        faces.index(index_name, url=redis_url, embedder=other, metric="ip", dtype="float16", m=4).open()
    assert refused.value.differences == {
        "metric": ("ip", "cosine"),
        "m": (4, 16),
        "dtype": ("float16", "float32"),
        "embedder": ("two", "one"),
        "dim": (8, 16),
        "identity": ({"query_prompt": ""}, {"query_prompt": "q: "}),
    }
    for words in (repr(index_name), "metric: expected 'ip', found 'cosine'", "embedder: expected 'two', found 'one'"):
        assert words in str(refused.value)


def test_language_and_stop_words_are_compared_as_they_are_kept(faces, redis_url, index_name, client, embedder):
    with faces.index(index_name, url=redis_url, embedder=embedder, language="german", stop_words=["Der", "das", "der"]):
        pass
    with faces.index(index_name, url=redis_url, stop_words=("das", "der")) as index:
        assert index.schema.language == "german"
    with pytest.raises(SchemaMismatch) as refused:
        faces.index(index_name, url=redis_url, language="english", stop_words=()).open()
    assert refused.value.differences == {"language": ("english", "german"), "stop_words": ((), ("das", "der"))}


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"language": "klingon"}, ValueError, "expected language to be one of arabic, .*, got 'klingon'"),
        ({"stop_words": "the"}, TypeError, "expected stop_words to be several words, got the str 'the'"),
        ({"stop_words": ["to be"]}, ValueError, "expected each of stop_words to be one word, got 'to be'"),
    ],
)
def test_a_language_or_stop_words_that_cannot_be_are_refused_before_anything_is_opened(faces, wrong, error, message):
    with pytest.raises(error, match=message):
        faces.index("doc", **wrong)


def test_an_index_that_was_not_opened_for_a_mismatch_is_left_as_it_is(faces, redis_url, index_name, embedder):
    with faces.index(index_name, url=redis_url, embedder=embedder) as index:
        faces.indexer(index).add(DOCUMENTS)
    wrong = faces.index(index_name, url=redis_url, metric="l2")
    with pytest.raises(SchemaMismatch):
        wrong.open()
    with pytest.raises(SchemaMismatch):
        wrong.count()
    with faces.index(index_name, url=redis_url) as index:
        assert index.count() == 3


def test_an_index_that_shall_exist_but_does_not_knows_those_that_do(faces, redis_url, index_name, client, embedder):
    with faces.index(index_name, url=redis_url, embedder=embedder):
        pass
    with pytest.raises(IndexNotFound) as refused:
        faces.index(f"{index_name}x", url=redis_url, create=False).open()
    assert str(refused.value).startswith(f"expected an index named '{index_name}x', the server has others only.")
    assert index_name in refused.value.others
    assert keys_of(client, f"{index_name}x") == []


def test_an_index_that_cannot_be_created_leaves_nothing_behind(faces, redis_url, index_name, client):
    too_many = {f"f{number}": "tag" for number in range(2000)}
    with pytest.raises(CommandRefused, match="limited to 1024 fields"):
        faces.index(index_name, url=redis_url, dim=2, fields=too_many).open()
    assert keys_of(client, index_name) == []
    with faces.index(index_name, url=redis_url, dim=2) as index:
        assert index.schema.dim == 2


def test_an_index_can_be_opened_again_after_it_was_closed(faces, redis_url, index_name, embedder):
    index = faces.index(index_name, url=redis_url, embedder=embedder)
    for _ in range(2):
        with index:
            assert index.count() == 0
    index.open()
    index.open()
    assert index.count() == 0
    index.close()
    index.close()


def test_an_index_is_opened_by_its_first_use(faces, redis_url, index_name, embedder):
    index = faces.index(index_name, url=redis_url, embedder=embedder)
    for ask in (lambda: index.schema, lambda: index.server):
        with pytest.raises(IndexNotOpen, match="but it was not opened yet: use it in a `with` block, or call open"):
            ask()
    assert faces.indexer(index).add(DOCUMENTS).added == 3
    assert index.schema.dim == 64
    another = faces.index(index_name, url=redis_url, embedder=embedder)
    assert len(faces.retriever(another).retrieve("x", k=3)) == 3
    index.close()
    another.close()


def test_nothing_can_be_done_with_an_index_that_is_closed(faces, redis_url, index_name, embedder):
    index = faces.index(index_name, url=redis_url, embedder=embedder)
    indexer, retriever = faces.indexer(index), faces.retriever(index)
    with index:
        pass
    for use in (
        index.count,
        index.describe,
        index.wait_until_searchable,
        index.drop,
        lambda: index.schema,
        lambda: index.server,
        lambda: indexer.add(DOCUMENTS),
        lambda: indexer.sync(DOCUMENTS),
        lambda: indexer.add_vectors(["a"], np.ones((1, 64))),
        lambda: indexer.delete(["a"]),
        lambda: retriever.retrieve("x"),
        lambda: retriever.retrieve_many(["x"]),
        lambda: retriever.kneighbors(np.ones((1, 64))),
    ):
        with pytest.raises(IndexNotOpen) as refused:
            use()
        assert str(refused.value) == (
            f"expected index {index_name!r} to be open, but it is closed: "
            "use it in a `with` block, or call open() first"
        )


def test_a_client_that_was_handed_in_stays_open(redis_url, index_name, embedder):
    with redis.Redis.from_url(redis_url) as client:
        with Index(index_name, client=client, embedder=embedder) as index:
            assert index.client is client
        assert client.ping()
        with index:
            assert index.count() == 0
        with pytest.raises(SchemaMismatch):
            Index(index_name, client=client, metric="l2").open()
        assert client.ping()


def test_the_connections_of_an_index_are_closed_with_it(redis_url, index_name, embedder):
    with Index(index_name, url=redis_url, embedder=embedder) as index:
        client = index.client
    assert index.client is None
    assert client.connection_pool._available_connections == [] or all(
        connection._sock is None for connection in client.connection_pool._available_connections
    )


def test_threads_that_open_an_index_at_once_create_one(redis_url, index_name, client, embedder):
    barrier = threading.Barrier(6)
    schemas, errors = [], []

    def opening():
        try:
            barrier.wait(30)
            with Index(index_name, url=redis_url, embedder=embedder) as index:
                schemas.append(index.schema)
                index.count()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=opening) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert schemas == [Schema(embedder="ragknn/hashing-64", dim=64)] * 6
    assert search_indexes_of(client, index_name) == [search_index(client, index_name)]


def test_of_openers_that_disagree_one_wins_and_the_others_are_told(redis_url, index_name, embedder):
    barrier = threading.Barrier(6)
    opened, refused = [], []

    def opening(metric):
        barrier.wait(30)
        try:
            with Index(index_name, url=redis_url, embedder=embedder, metric=metric) as index:
                opened.append(index.schema.metric)
        except SchemaMismatch as error:
            refused.append(error.differences)

    threads = [threading.Thread(target=opening, args=[metric]) for metric in ["cosine", "l2", "ip"] * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert opened[0] == opened[-1]
    assert len(opened) == 2
    assert sorted(str(differences) for differences in refused) == sorted(
        str({"metric": (metric, opened[0])}) for metric in ["cosine", "l2", "ip"] * 2 if metric != opened[0]
    )


def test_a_search_index_that_was_dropped_behind_our_back_is_healed(faces, redis_url, index_name, client, embedder):
    with faces.index(index_name, url=redis_url, embedder=embedder) as index:
        faces.indexer(index).add(DOCUMENTS)
    client.execute_command("FT.DROPINDEX", search_index(client, index_name))
    with faces.index(index_name, url=redis_url) as index:
        index.wait_until_searchable()
        assert index.count() == 3
        assert faces.retriever(index).retrieve("fast cars", k=1)[0].passage.document_id == "c"


def test_an_alias_that_was_lost_is_healed(faces, redis_url, index_name, client, embedder):
    with faces.index(index_name, url=redis_url, embedder=embedder) as index:
        faces.indexer(index).add(DOCUMENTS)
    client.execute_command("FT.ALIASDEL", f"ragknn:{index_name}")
    with faces.index(index_name, url=redis_url) as index:
        assert index.count() == 3


# ---- arguments -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"url": "redis://x", "client": object()}, "expected either url or client, got both"),
        ({"timeout": 0}, "expected timeout > 0 seconds, got 0"),
        ({"timeout": float("nan")}, "expected timeout > 0 seconds, got nan"),
        ({"dim": 0}, "expected dim >= 1, got 0"),
        ({"metric": "dot"}, "expected metric to be one of cosine, ip, l2, got 'dot'"),
        ({"algorithm": "ivf"}, "expected algorithm to be one of flat, hnsw, got 'ivf'"),
        ({"fields": {"label": "tag"}}, "expected a field name that does not begin with"),
        ({"dim": 3, "embedder": HashingEmbedder(3)}, "expected either embedder or dim, got both"),
    ],
)
def test_arguments_that_cannot_be_are_refused_before_anything_is_sent(faces, arguments, message):
    with pytest.raises(ValueError, match="expected") as refused:
        faces.index("doc", **arguments)
    assert str(refused.value).startswith(message)


def test_a_wrong_name_is_refused_before_anything_is_sent(faces):
    with pytest.raises(ValueError, match="expected an index name of letters, digits"):
        faces.index("a:b")


def test_the_repr_says_whether_the_index_is_open(redis_url, index_name, embedder):
    index = Index(index_name, url=redis_url, embedder=embedder)
    assert repr(index) == f"Index({index_name!r}, not open)"
    with index:
        assert repr(index) == f"Index({index_name!r})"


# ---- ready vectors ---------------------------------------------------------------------------------------------


def test_an_index_of_ready_vectors_takes_and_gives_vectors(faces, redis_url, index_name):
    with faces.index(index_name, url=redis_url, dim=2) as index:
        assert index.schema == Schema(embedder=READY_VECTORS, dim=2)
        faces.indexer(index).add_vectors(["a", "b"], [[1, 0], [0, 1]], texts=["A", "B"], labels=[1, None])
        [found] = faces.retriever(index).kneighbors([1.0, 0.1], k=1)
        assert (found.query, found[0].passage.text, found[0].passage.label) == (None, "A", 1)
        assert index.describe().embedder == "ready vectors"


def test_texts_need_an_embedder(faces, redis_url, index_name):
    with faces.index(index_name, url=redis_url, dim=2) as index:
        for use in (
            lambda: faces.indexer(index).add(DOCUMENTS),
            lambda: faces.retriever(index).retrieve("x"),
            lambda: index.embedder,
        ):
            with pytest.raises(ValueError, match="holds ready vectors: open it with the embedder that they come from"):
                use()


def test_an_index_of_ready_vectors_can_be_asked_with_the_embedder_they_come_from(faces, redis_url, index_name):
    embedder = HashingEmbedder(16)
    vectors = embedder.embed_documents([document.text for document in DOCUMENTS])
    with faces.index(index_name, url=redis_url, dim=16) as index:
        faces.indexer(index).add_vectors([document.id for document in DOCUMENTS], vectors)
    with faces.index(index_name, url=redis_url, embedder=embedder) as index:
        assert faces.retriever(index).retrieve("fast cars", k=1)[0].passage.document_id == "c"
    with pytest.raises(SchemaMismatch) as refused:
        faces.index(index_name, url=redis_url, embedder=HashingEmbedder(8)).open()
    assert refused.value.differences == {"dim": (8, 16)}
    with pytest.raises(SchemaMismatch) as refused:
        faces.index(index_name, url=redis_url, dim=3).open()
    assert refused.value.differences == {"dim": (3, 16)}


def test_an_index_with_an_embedder_can_be_opened_by_its_dimension_alone(faces, redis_url, index_name, embedder):
    with faces.index(index_name, url=redis_url, embedder=embedder):
        pass
    with faces.index(index_name, url=redis_url, dim=64) as index:
        assert index.embedder.name == embedder.name


def test_vectors_of_another_dimension_are_refused(faces, redis_url, index_name):
    with faces.index(index_name, url=redis_url, dim=2) as index:
        with pytest.raises(InvalidVectors, match=r"expected vectors of shape \(n, 2\), got \(1, 3\)"):
            faces.indexer(index).add_vectors(["a"], [[1, 2, 3]])
        with pytest.raises(InvalidVectors, match=r"expected vectors of shape \(n, 2\), got \(1, 3\)"):
            faces.retriever(index).kneighbors([[1, 2, 3]])
        assert index.count() == 0


# ---- looking and dropping --------------------------------------------------------------------------------------


def test_an_index_is_described(faces, redis_url, index_name, embedder):
    fields = {"year": "numeric"}
    with faces.index(index_name, url=redis_url, embedder=embedder, algorithm="hnsw", fields=fields) as index:
        faces.indexer(index).add([*DOCUMENTS, Document("d", "word " * 1000)])
        info = index.describe()
        passages = index.count()
    assert passages > 4
    assert info == IndexInfo(
        name=index_name,
        documents=4,
        passages=passages,
        embedder="ragknn/hashing-64",
        dim=64,
        metric="cosine",
        algorithm="hnsw",
        dtype="float32",
        fields=fields,
        memory_bytes=info.memory_bytes,
        percent_indexed=1.0,
        indexing_failures=0,
        redis_version=info.redis_version,
        search_version=info.search_version,
    )
    assert info.words == {"language": "english", "fold_accents": True, "stop_words": 69}
    assert info.memory_bytes > passages * 64 * 4
    assert info.redis_version.count(".") == 2


def test_two_indexes_whose_names_begin_alike_do_not_see_each_other(faces, redis_url, index_name, client, embedder):
    with (
        faces.index(index_name, url=redis_url, embedder=embedder) as one,
        faces.index(f"{index_name}2", url=redis_url, embedder=embedder) as other,
    ):
        faces.indexer(one).add([Document("a", "red apples")])
        faces.indexer(other).add([Document("a", "green pears"), Document("b", "red apples")])
        assert (one.count(), other.count()) == (1, 2)
        assert [neighbor.passage.text for neighbor in faces.retriever(one).retrieve("pears")] == ["red apples"]
        faces.indexer(one).sync([Document("x", "trains")])
        assert (one.describe().documents, other.describe().documents) == (1, 2)
        assert one.drop() == 1
        assert other.count() == 2
        assert other.drop() == 2
    assert keys_of(client, index_name) == keys_of(client, f"{index_name}2") == []


def test_dropping_removes_every_key_and_tells_how_many_documents_there_were(
    faces, redis_url, index_name, client, embedder
):
    index = faces.index(index_name, url=redis_url, embedder=embedder)
    index.open()
    report = faces.indexer(index).add(Document(f"{number}{{}}%", "two words") for number in range(1100))
    assert report.added == index.count() == 1100
    assert index.drop() == 1100
    assert keys_of(client, index_name) == []
    assert search_indexes_of(client, index_name) == []
    with pytest.raises(IndexNotOpen):
        index.count()
    with faces.index(index_name, url=redis_url, embedder=embedder, metric="l2") as index:
        assert (index.count(), index.schema.metric) == (0, "l2")


def test_an_index_that_was_dropped_by_another_is_told_to_be_gone(faces, redis_url, index_name, embedder):
    with faces.index(index_name, url=redis_url, embedder=embedder) as index:
        with faces.index(index_name, url=redis_url) as other:
            other.drop()
        with pytest.raises(IndexNotFound, match=f"expected index '{index_name}'"):
            index.count()
        with pytest.raises(IndexNotFound, match=f"expected index '{index_name}'"):
            faces.indexer(index).add(DOCUMENTS)
        assert index.drop() == 0


def test_the_faces_can_be_opened_from_one_another(redis_url, index_name, embedder, faces):
    with Index(index_name, url=redis_url, embedder=embedder) as index:
        Indexer(index).add(DOCUMENTS)
        expected = Retriever(index).retrieve_many(["apples", "cars"])
    with faces.index(index_name, url=redis_url) as index:
        assert faces.retriever(index).retrieve_many(["apples", "cars"]) == expected


def test_an_embedder_without_an_identity_cannot_open_an_index_built_with_one(faces, redis_url, index_name):
    with faces.index(index_name, url=redis_url, embedder=Named("one", identity={"query_prompt": "q: "})):
        pass
    with pytest.raises(SchemaMismatch) as refused:
        faces.index(index_name, url=redis_url, embedder=Named("one")).open()
    assert refused.value.differences == {"identity": ({}, {"query_prompt": "q: "})}


def test_an_existing_index_is_opened_without_loading_its_model(faces, redis_url, index_name):
    named = Named("some/model", identity={"query_prompt": "q: ", "document_prompt": ""})
    with faces.index(index_name, url=redis_url, embedder=named):
        pass
    with faces.index(index_name, url=redis_url) as index:
        assert index.count() == 0
        assert isinstance(index.embedder, SentenceEmbedder)
        assert (index.embedder.name, index.embedder._running) == ("some/model", None)
