"""The vector store for LlamaIndex where something is wrong: nothing is half-written, and the next call works."""

import asyncio
import logging

import pytest
import redis
import redis.asyncio
from llama_index.core.schema import TextNode
from llama_index.core.vector_stores.types import VectorStoreQuery
from llama_index_cases import DIM, asked, ids_of, node, nodes, only
from servers import private_server

from ragknn import ConnectionFailed, Index, IndexNotFound, IndexNotOpen, IngestFailed, InvalidVectors
from ragknn.integrations.llama_index import RagKNNVectorStore


@pytest.fixture
def store(redis_url, index_name):
    store = RagKNNVectorStore(index_name, url=redis_url, fields={"year": "numeric"})
    yield store
    store.close()


def changed(**changes):
    return [*nodes()[:2], nodes()[2].model_copy(update=changes)]


@pytest.mark.parametrize(
    ("several", "message"),
    [
        ([*nodes(), nodes()[0]], "expected each node id once in a call, got 'a1' several times; nothing was stored"),
        (changed(embedding=None), "node 'b1': expected an embedding, got none"),
        (changed(embedding=[1.0] * 3), r"expected embeddings of one size, got some of \[3, 8\] values"),
        (
            changed(metadata={"label": ["x"]}),
            r"node 'b1': expected a label of type str, int or float in metadata\['label'",
        ),
        (changed(metadata={"_node": 1}), "node 'b1': expected metadata without '_node'"),
    ],
)
def test_nodes_that_cannot_be_stored_are_an_error_before_anything_is(store, several, message):
    with pytest.raises(ValueError, match=message):
        store.add(several)
    assert store.get_nodes() == []
    store.add(nodes())
    assert len(store.get_nodes()) == 6


def test_something_else_than_nodes_is_an_error(store):
    with pytest.raises(TypeError, match="expected nodes, got 'text' of type str"):
        store.add(["text"])
    with pytest.raises(TypeError, match="expected no more options of a deletion, got force"):
        store.delete("a", force=True)
    with pytest.raises(ValueError, match="expected node ids, filters or both, got neither"):
        store.delete_nodes()
    store.delete_nodes([])
    with pytest.raises(ValueError, match="expected a query with words or an embedding, got neither"):
        store.query(VectorStoreQuery(similarity_top_k=1))


@pytest.mark.parametrize("wrong", [{"year": "soon"}, {"weight": float("nan")}], ids=str)
def test_a_document_that_does_not_fit_is_named_and_stays_as_it_was(store, wrong):
    store.add(nodes())
    several = [node("a3", "apples", "new", (1,)), node("a1", "apples", "changed", (1,), **wrong)]
    with pytest.raises(IngestFailed, match="apples"):
        store.add([*several, node("p2", "pears", "new", (1,))])
    assert sorted(one.text for one in store.get_nodes(filters=only(("doc_id", "EQ", "apples")))) == [
        *("apples are sweet", "the red apple"),
    ]
    assert [one.node_id for one in store.get_nodes(["p2"])] == ["p2"]  # the others are stored


@pytest.mark.parametrize("embedding", [[0.0] * DIM, [float("nan")] * DIM], ids=["zeros", "nan"])
def test_an_embedding_without_a_distance_is_not_stored(store, embedding):
    with pytest.raises(IngestFailed, match="expected finite vectors with a direction"):
        store.add([TextNode(id_="x", text="x", embedding=embedding)])
    assert store.get_nodes() == []


def test_an_embedding_of_another_size_is_told_with_both_sizes(store):
    store.add(nodes())
    with pytest.raises(IngestFailed, match=r"\(8,?\).*3|8.*3"):
        store.add([TextNode(id_="x", text="x", embedding=[1.0] * 3)])
    with pytest.raises(InvalidVectors, match=r"8.*3"):
        store.query(VectorStoreQuery([1.0] * 3, 1))
    assert len(asked(store).ids) == 6


# ---- an index that is not there --------------------------------------------------------------------------------


def test_of_an_index_that_is_not_there_yet_nothing_is_found_and_nothing_is_made(store, client, index_name, caplog):
    with caplog.at_level(logging.WARNING, "ragknn"):
        assert asked(store).ids == []
    assert [record.getMessage() for record in caplog.records] == [
        f"index {index_name!r} is not there yet: nothing is found"
    ]
    assert store.get_nodes() == []
    store.delete("a")
    store.delete_nodes(["a"])
    store.clear()
    assert client.keys(f"ragknn:{index_name}:*") == []


def test_an_index_that_must_be_there_and_is_not_is_an_error(redis_url, index_name):
    store = RagKNNVectorStore(index_name, url=redis_url, create=False)
    for call in (lambda: asked(store), store.get_nodes, lambda: store.add(nodes()), store.clear):
        with pytest.raises(IndexNotFound):
            call()
    with Index(index_name, url=redis_url, dim=DIM, any_field=True):
        store.add(nodes())
    assert len(asked(store).ids) == 6


def test_an_index_that_was_dropped_is_made_anew_by_what_is_added(store):
    store.add(nodes())
    Index(store.name, url=store.url).drop()
    with pytest.raises(IndexNotFound):
        asked(store)
    store.add(nodes()[:2])
    assert len(asked(store).ids) == 2


def test_two_stores_that_make_one_index_at_once_both_fill_it(redis_url, index_name):
    async def fill():
        stores = [RagKNNVectorStore(index_name, url=redis_url) for _ in range(4)]
        await asyncio.gather(*(one.async_add([node(f"n{n}", "d", f"t{n}", (1, n))]) for n, one in enumerate(stores)))
        return sorted(one.node_id for one in await stores[0].aget_nodes())

    assert asyncio.run(fill()) == ["n0", "n1", "n2", "n3"]


# ---- servers, loops, tasks -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_pauses")
def test_a_server_that_dies_between_calls_is_an_error_and_the_next_call_works(tmp_path, index_name):
    door = f"unix://{tmp_path}/s.sock"
    store = RagKNNVectorStore(index_name, url=door, timeout=0.5)
    with private_server(tmp_path, "--appendonly", "yes", "--appendfsync", "always"):
        store.add(nodes())
        assert asyncio.run(store.aquery(VectorStoreQuery([1.0] * DIM, 9))).ids
    for call in (lambda: asked(store), lambda: store.add(nodes()), lambda: asyncio.run(store.aget_nodes())):
        with pytest.raises(ConnectionFailed):
            call()
    with private_server(tmp_path, "--appendonly", "yes"):
        store.index.wait_until_searchable()  # the server builds the search index again
        assert len(asked(store).ids) == 6
        assert len(asyncio.run(store.aget_nodes())) == 6
        store.close()


def test_a_task_that_is_cancelled_leaves_whole_documents_and_a_store_that_works(redis_url, index_name):
    store = RagKNNVectorStore(index_name, url=redis_url)
    several = [node(f"{d}.{n}", f"d{d}", f"text {n}", (1, n, d)) for d in range(40) for n in range(3)]

    async def work():
        await store.async_add(several[:3])
        cancelled = 0
        for turns in (0, 1, 5, 20, 40):  # of the event loop, before it is cancelled
            await store.aclear()
            task = asyncio.create_task(store.async_add(several))
            for _ in range(turns):
                await asyncio.sleep(0)
            cancelled += task.cancel()
            await asyncio.wait([task])
            stored = await store.aget_nodes()
            assert {sum(one.ref_doc_id == f"d{d}" for one in stored) for d in range(40)} <= {0, 3}
        await store.async_add(several)
        return cancelled, len(await store.aget_nodes())

    assert asyncio.run(work()) == (5, 120)


def test_many_tasks_that_add_to_one_document_lose_nothing(redis_url, index_name):
    store = RagKNNVectorStore(index_name, url=redis_url)

    async def work():
        await asyncio.gather(*(store.async_add([node(f"n{n}", "d", f"text {n}", (1, n))]) for n in range(12)))
        await asyncio.gather(*(store.adelete_nodes([f"n{n}"]) for n in range(0, 12, 2)))
        return sorted(one.node_id for one in await store.aget_nodes())

    assert asyncio.run(work()) == sorted(f"n{n}" for n in range(1, 12, 2))


def test_a_client_that_is_handed_in_serves_its_kind_and_stays_open(redis_url, index_name):
    with redis.Redis.from_url(redis_url) as client:
        store = RagKNNVectorStore(index_name, client=client)
        store.add(nodes())
        assert store.client is client
        store.close()
        assert client.ping()
        with pytest.raises(ValueError, match="expected async_client= or url= for the async methods"):
            asyncio.run(store.aget_nodes())
        with pytest.raises(IndexNotOpen):
            asked(store)
        with Index(index_name, client=client) as index:
            assert len(RagKNNVectorStore.from_index(index).get_nodes()) == 6

    async def read():
        async with redis.asyncio.Redis.from_url(redis_url) as async_client:
            other = RagKNNVectorStore(index_name, async_client=async_client)
            found = await other.aquery(VectorStoreQuery(nodes()[3].embedding, 1))
            with pytest.raises(ValueError, match="expected client= or url= for the sync methods"):
                other.get_nodes()
            await other.aclose()
            return ids_of(found)

    assert asyncio.run(read()) == ["c1"]


def test_arguments_that_there_are_not_are_errors_at_once():
    with pytest.raises(TypeError, match="algo"):
        RagKNNVectorStore("x", algo="hnsw")
    with pytest.raises(ValueError, match="expected an index name"):
        RagKNNVectorStore("x y")
    with pytest.raises(ValueError, match="algorithm"):
        RagKNNVectorStore("x", algorithm="tree")
