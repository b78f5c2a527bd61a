"""How an index is opened, copied, shared by threads and event loops, and closed."""

import asyncio
import copy
import gc
import pickle
import threading

import pytest
import redis
import redis.asyncio
from servers import private_server

from ragknn import (
    AsyncIndex,
    AsyncIndexer,
    AsyncRetriever,
    ConfigurationError,
    Document,
    HashingEmbedder,
    Index,
    Indexer,
    IndexNotFound,
    Retriever,
    Splitter,
)

DOCUMENTS = [Document("a", "red apples", "fruit"), Document("b", "green pears", "fruit"), Document("c", "fast cars")]


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory):
    """URL of a Redis that no other tests use, so that connections can be counted."""
    with private_server(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture
def filled(redis_url, index_name, embedder):
    """Name of an index with three documents."""
    with Index(index_name, url=redis_url, embedder=embedder) as index:
        Indexer(index).add(DOCUMENTS)
    return index_name


def connections(client):
    """Return how many connections the server has, the one that asks not counted."""
    return len(client.client_list()) - 1


# ---- copies ----------------------------------------------------------------------------------------------------


def through_pickle(value):
    return pickle.loads(pickle.dumps(value))


@pytest.mark.parametrize("copied", [through_pickle, copy.deepcopy, copy.copy])
def test_a_copy_of_an_open_index_has_no_connection_and_opens_again_on_use(faces, redis_url, filled, copied):
    with faces.index(filled, url=redis_url, timeout=3.5) as index:
        assert index.count() == 3
        twin = faces.again(copied(faces.bare(index)))
        assert (twin.client, repr(faces.bare(twin)), twin.timeout) == (
            None,
            f"{faces.bare(index)!r}"[:-1] + ", not open)",
            3.5,
        )
        assert twin.count() == 3
        assert twin.client is not index.client
        assert twin.schema == index.schema
        twin.close()
        assert index.count() == 3


@pytest.mark.parametrize("copied", [through_pickle, copy.deepcopy])
def test_indexers_retrievers_and_voters_are_copied_with_their_index(faces, redis_url, filled, copied):
    with faces.index(filled, url=redis_url) as index:
        indexer = faces.indexer(index, Splitter(32, 4))
        retriever = faces.retriever(index, on_incomplete="return")
        voter = faces.voter(retriever, k=1, weights="distance")
        expected = voter.vote("red apples")
        made = copied([faces.bare(one) for one in (indexer, retriever, voter)])
        indexer, retriever, voter = map(faces.again, made)
        assert retriever.index is voter.retriever.index is indexer.index  # one index, as before
        assert retriever.index is not faces.bare(index)
        assert (indexer.splitter, retriever.on_incomplete) == (Splitter(32, 4), "return")
        assert indexer.add([Document("d", "blue plums")]).added == 1
        assert [one.passage.document_id for one in retriever.retrieve("blue plums", k=1)] == ["d"]
        assert voter.vote("red apples") == expected
        faces.again(retriever.index).close()


def test_a_copy_of_a_closed_index_is_as_one_that_was_never_opened(faces, redis_url, filled):
    with faces.index(filled, url=redis_url) as index:
        pass
    twin = faces.again(through_pickle(faces.bare(index)))
    assert twin.count() == 3
    twin.close()


def test_an_index_with_a_client_that_was_handed_in_cannot_be_pickled_and_its_copies_share_the_client(redis_url, filled):
    with redis.Redis.from_url(redis_url) as client:
        index = Index(filled, client=client)
        retriever = Retriever(index)
        for unpicklable in (index, retriever):
            with pytest.raises(TypeError) as refused:
                pickle.dumps(unpicklable)
            assert str(refused.value) == (
                f"expected an index that connects by itself to pickle, got {filled!r} with a client that was handed "
                "in, and connections cannot be pickled: pass url= in place of client="
            )
        for twin in (copy.deepcopy(retriever), Retriever(copy.copy(index))):
            assert twin.index is not index
            assert twin.index.client is client
            assert len(twin.retrieve("cars")) == 3


def test_an_index_like_one_of_the_other_kind_has_its_arguments_and_opens_by_itself(redis_url, filled):
    async def count(one):
        async with one:
            return await one.count(), one.embedder

    with Index(filled, url=redis_url, embedder=HashingEmbedder(64), timeout=7.5) as index:
        twin = AsyncIndex.like(index)
        assert (type(twin), twin.name, twin.timeout) == (AsyncIndex, filled, 7.5)
        assert asyncio.run(count(twin)) == (3, index.embedder)
        back = Index.like(twin)
        with back:
            assert (back.count(), back.client is index.client) == (3, False)
        with pytest.raises(TypeError, match="expected other of type SharedIndex, got"):
            AsyncIndex.like(filled)
    with redis.Redis.from_url(redis_url) as client:
        handed = Index(filled, client=client)
        assert Index.like(handed).count() == 3
        with pytest.raises(
            ValueError, match=f"got '{filled}' with a client .* and AsyncIndex needs one of another kind"
        ):
            AsyncIndex.like(handed)


def test_a_pickle_keeps_the_url_that_was_passed_and_no_setting(monkeypatch, redis_url, filled):
    monkeypatch.setenv("RAGKNN_URL", redis_url)
    monkeypatch.setenv("RAGKNN_TIMEOUT", "7.5")
    with Index(filled) as index:
        assert (index.count(), index.timeout, index.embedder.dim) == (3, 7.5, 64)
        pickled = pickle.dumps(index)
    assert redis_url.encode() not in pickled
    assert b"HashingEmbedder" not in pickled  # it came from the manifest, and does so again
    monkeypatch.setenv("RAGKNN_TIMEOUT", "2.5")
    twin = pickle.loads(pickled)
    assert (twin.timeout, twin.count()) == (2.5, 3)
    twin.close()
    secret = Index(filled, url="redis://user:secret@host:1", embedder=HashingEmbedder(64))
    assert b"secret" not in pickle.dumps(secret)
    assert "secret" not in repr(secret) + repr(Retriever(secret))
    assert (secret.url, Index(filled).url) == ("redis://user@host:1", None)
    assert pickle.loads(pickle.dumps(secret)).embedder.dim == 64


# ---- threads ---------------------------------------------------------------------------------------------------


def test_threads_that_use_an_index_first_at_once_open_it_once(monkeypatch, redis_url, filled):
    index = Index(filled, url=redis_url)
    opened, counts, embedders = [], [], set()
    opening = index._opening
    monkeypatch.setattr(index, "_opening", lambda: opened.append(1) or opening())
    barrier = threading.Barrier(8)

    def using():
        barrier.wait(30)
        counts.append(index.count())
        embedders.add(id(index.embedder))

    threads = [threading.Thread(target=using) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    index.close()
    assert (opened, counts, len(embedders)) == ([1], [3] * 8, 1)


# ---- event loops -----------------------------------------------------------------------------------------------


def test_an_async_index_works_under_one_event_loop_after_another_and_leaves_no_connection(redis_url, filled, client):
    before = connections(client)
    index = AsyncIndex(filled, url=redis_url)
    retriever = AsyncRetriever(index)
    for _ in range(3):
        assert len(asyncio.run(retriever.retrieve("cars", k=2))) == 2
        assert connections(client) == before  # closed with its loop, though nobody closed the index
    asyncio.run(index.close())

    async def within():
        async with index:
            return await index.count()

    assert [asyncio.run(within()) for _ in range(2)] == [3, 3]
    assert connections(client) == before


def test_an_async_index_works_under_several_event_loops_at_once(redis_url, filled, client):
    index = AsyncIndex(filled, url=redis_url)
    retriever, indexer = AsyncRetriever(index), AsyncIndexer(index)
    barrier = threading.Barrier(4)
    found, clients, errors = [], set(), []

    async def using(number):
        barrier.wait(30)
        await indexer.add([Document(f"more-{number}", f"more of {number}")])
        for _ in range(10):
            found.extend(await asyncio.gather(*(retriever.retrieve("red apples", k=1) for _ in range(3))))
        clients.add(id(index.client))
        barrier.wait(30)  # so that no client is gone before the others have theirs

    def running(number):
        try:
            asyncio.run(using(number))
        except Exception as error:
            errors.append(error)

    before = connections(client)
    threads = [threading.Thread(target=running, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert {retrieval[0].passage.document_id for retrieval in found} == {"a"}
    assert (len(found), len(clients)) == (120, 4)
    assert connections(client) == before


def test_tasks_that_use_an_async_index_first_at_once_open_it_once(monkeypatch, redis_url, filled):
    index = AsyncIndex(filled, url=redis_url)
    opened = []
    opening = index._opening
    monkeypatch.setattr(index, "_opening", lambda: opened.append(1) or opening())

    async def using():
        counts = await asyncio.gather(*(index.count() for _ in range(20)))
        clients = {id(index.client), *[id(await index._connected()) for _ in range(3)]}
        await index.close()
        return counts, len(clients)

    assert asyncio.run(using()) == ([3] * 20, 1)
    assert opened == [1]


def test_closing_an_async_index_closes_the_connections_of_other_loops_too(redis_url, filled, client):
    before = connections(client)
    index = AsyncIndex(filled, url=redis_url)
    entered, leave = threading.Event(), threading.Event()

    async def elsewhere():
        await index.count()
        entered.set()
        while not leave.is_set():
            await asyncio.sleep(0.01)

    thread = threading.Thread(target=lambda: asyncio.run(elsewhere()))
    thread.start()
    assert entered.wait(30)

    async def here():
        await index.count()
        await index.close()
        for _ in range(500):  # the other loop closes its own
            if connections(client) == before:
                return True
            await asyncio.sleep(0.01)
        return False

    assert asyncio.run(here())
    leave.set()
    thread.join()
    assert index.client is None


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # asyncio's own, of a loop that was not shut down
def test_closing_does_not_fail_where_an_event_loop_was_closed_by_hand(redis_url, filled, client):
    before = connections(client)
    index = AsyncIndex(filled, url=redis_url)
    loop = asyncio.new_event_loop()
    assert loop.run_until_complete(index.count()) == 3
    loop.close()
    assert asyncio.run(index.count()) == 3
    loop = asyncio.new_event_loop()
    assert loop.run_until_complete(index.count()) == 3
    loop.close()
    asyncio.run(index.close())
    gc.collect()
    assert connections(client) == before


def test_an_async_index_that_nobody_closes_and_nobody_has_any_more_leaves_no_connection(redis_url, filled, client):
    before = connections(client)

    async def forgetting():
        await AsyncIndex(filled, url=redis_url).count()
        gc.collect()
        for _ in range(500):
            if connections(client) == before:
                return True
            await asyncio.sleep(0.01)
        return False

    assert asyncio.run(forgetting())


def test_an_index_that_cannot_be_opened_leaves_no_connection_and_may_be_opened_later(
    faces, redis_url, index_name, client, embedder
):
    before = connections(client)
    index = faces.index(index_name, url=redis_url, create=False)
    for _ in range(2):
        with pytest.raises(IndexNotFound):
            index.count()
    assert (index.client, connections(client)) == (None, before)
    with Index(index_name, url=redis_url, embedder=embedder):
        pass
    assert index.count() == 0
    index.close()


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # of the client, which is not ours to close
def test_a_client_that_was_handed_in_says_that_it_belongs_to_another_event_loop(redis_url, filled):
    index = AsyncIndex(filled, client=redis.asyncio.Redis.from_url(redis_url))
    assert asyncio.run(index.count()) == 3
    with pytest.raises(ConfigurationError) as refused:
        asyncio.run(index.count())
    assert str(refused.value).startswith(
        "expected a client whose connections belong to the running event loop, got one that was used under another: "
        "pass url= in place of client="
    )
    asyncio.run(index.close())
    del index, refused
    gc.collect()


def test_a_client_that_was_handed_in_and_left_its_loop_in_good_order_works_under_the_next(redis_url, filled):
    client = redis.asyncio.Redis.from_url(redis_url)
    index = AsyncIndex(filled, client=client)

    async def counting():
        try:
            return await index.count()
        finally:
            await client.aclose()

    assert [asyncio.run(counting()) for _ in range(2)] == [3, 3]


def test_the_client_can_be_looked_at_outside_of_the_loop(redis_url, filled):
    index = AsyncIndex(filled, url=redis_url)
    loop = asyncio.new_event_loop()
    loop.run_until_complete(index.open())
    assert isinstance(index.client, redis.asyncio.Redis)
    loop.run_until_complete(index.close())
    assert index.client is None
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


def test_closing_never_fails(faces, redis_url, filled, monkeypatch):
    index = faces.index(filled, url=redis_url)
    index.close()
    index.open()
    pool = index.client.connection_pool

    def broken(*args):
        raise redis.ConnectionError("gone")

    monkeypatch.setattr(pool, "disconnect", broken)
    index.close()
    index.close()
    monkeypatch.undo()
    if faces.kind == "sync":
        pool.disconnect()
    else:
        faces._loop.run_until_complete(pool.disconnect())
