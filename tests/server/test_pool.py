"""Connections are shared: no more than there may be, whoever finds none free waits, and none is lost."""

import asyncio
import gc
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import redis
import redis.asyncio

from ragknn import AsyncIndex, AsyncRetriever, ConnectionFailed, Document, Index, Indexer, Retriever, SchemaMismatch
from ragknn.server._connection import aconnect, arun, close, connect, run
from ragknn.server._pool import SIZE, AsyncPool, Pool

DOCUMENTS = [Document(f"d{n}", f"word{n} of number{n}") for n in range(10)]


@pytest.fixture
def filled(redis_url, index_name, embedder):
    """URL of a Redis with an index that has documents."""
    with Index(index_name, url=redis_url, embedder=embedder) as index:
        Indexer(index).add(DOCUMENTS)
    return redis_url


def asking(*commands):
    return (yield list(commands))


def nearest(retrieval):
    return retrieval[0].passage.document_id


@pytest.mark.parametrize("size", [3, SIZE])
def test_400_threads_get_400_answers_over_as_many_connections_as_there_may_be(filled, index_name, embedder, size):
    with (
        Index(index_name, url=f"{filled}?max_connections={size}", embedder=embedder) as index,
        ThreadPoolExecutor(400) as threads,
    ):
        retriever, together = Retriever(index), threading.Barrier(400)

        def ask(number):
            together.wait()
            return nearest(retriever.retrieve(f"word{number % 10} of number{number % 10}", k=1))

        assert list(threads.map(ask, range(400))) == [f"d{number % 10}" for number in range(400)]
        pool = index.client.connection_pool
        assert not pool._in_use_connections
        assert len(pool._available_connections) <= size


@pytest.mark.parametrize("size", [3, SIZE])
def test_400_tasks_get_400_answers_over_as_many_connections_as_there_may_be(filled, index_name, embedder, size):
    async def main():
        async with AsyncIndex(index_name, url=f"{filled}?max_connections={size}", embedder=embedder) as index:
            retriever = AsyncRetriever(index)
            asked = [retriever.retrieve(f"word{n % 10} of number{n % 10}", k=1) for n in range(400)]
            found = [nearest(one) for one in await asyncio.gather(*asked)]
            pool = index.client.connection_pool
            return found, len(pool._available_connections), len(pool._in_use_connections)

    found, free, in_use = asyncio.run(main())
    assert found == [f"d{number % 10}" for number in range(400)]
    assert 0 < free <= size
    assert not in_use


def test_who_gets_no_connection_in_time_is_told_what_to_do(redis_url):
    with connect(f"{redis_url}?max_connections=1", timeout=0.05, protocol=3) as client:
        taken = client.connection_pool.get_connection()
        with pytest.raises(ConnectionFailed) as failed:
            run(client, asking(("PING",)))
        client.connection_pool.release(taken)
        assert run(client, asking(("PING",))) == [True]
    told = str(failed.value)
    assert told.startswith("expected a free connection to Redis at ")
    assert told.endswith(
        "all 1 are in use; in 0.05 seconds none became free: ask less at once, or end the URL in "
        "?max_connections=NUMBER"
    )


def test_a_task_that_gets_no_connection_in_time_is_told_what_to_do(redis_url):
    async def main():
        async with aconnect(f"{redis_url}?max_connections=1", timeout=0.05, protocol=3) as client:
            taken = await client.connection_pool.get_connection()
            with pytest.raises(ConnectionFailed, match=r"in 0\.05 seconds none became free: ask less at once"):
                await arun(client, asking(("PING",)))
            await client.connection_pool.release(taken)
            return await arun(client, asking(("PING",)))

    assert asyncio.run(main()) == [True]


def test_a_client_with_too_few_connections_is_told_of(redis_url):
    with redis.Redis.from_url(redis_url, max_connections=1) as client:
        client.connection_pool.get_connection()
        with pytest.raises(ConnectionFailed, match=r"make the client with a redis\.BlockingConnectionPool"):
            run(client, asking(("PING",)))


def test_connections_go_to_those_who_wait_in_their_order(redis_url):
    async def main():
        pool, order = AsyncPool.from_url(redis_url, max_connections=1), []
        first = await pool.get_connection()

        async def wait(name):
            connection = await pool.get_connection()
            order.append(name)
            await pool.release(connection)

        tasks = [asyncio.create_task(wait(name)) for name in "abcd"]
        await asyncio.sleep(0)
        tasks[1].cancel()
        await asyncio.sleep(0)
        await pool.release(first)
        await wait("e")  # who comes later does not go first
        await asyncio.gather(*tasks, return_exceptions=True)
        await pool.aclose()
        return order

    assert asyncio.run(main()) == ["a", "c", "d", "e"]


def test_a_connection_that_was_handed_to_a_task_which_is_cancelled_goes_to_the_next(redis_url):
    async def main():
        pool = AsyncPool.from_url(redis_url, max_connections=1)
        first = await pool.get_connection()
        waiting = [asyncio.create_task(pool.get_connection()) for _ in "ab"]
        await asyncio.sleep(0)
        await pool.release(first)
        waiting[0].cancel()  # before it has run again
        got = await waiting[1]
        with pytest.raises(asyncio.CancelledError):
            await waiting[0]
        await pool.release(got)
        await pool.aclose()
        return got is first

    assert asyncio.run(main())


def test_a_connection_that_was_lost_leaves_its_place_to_another(redis_url):
    pool = Pool.from_url(redis_url, max_connections=1)
    pool.get_connection()
    gc.collect()
    pool.release(pool.get_connection())
    pool.close()


def test_a_connection_that_is_closed_while_nobody_uses_it_is_made_again(redis_url):
    with connect(redis_url, timeout=5, protocol=3) as client:
        [own] = run(client, asking(("CLIENT", "ID")))
        with redis.Redis.from_url(redis_url) as other:
            other.client_kill_filter(_id=own)
        assert run(client, asking(("CLIENT", "ID"))) != [own]


def test_a_client_that_was_passed_is_not_closed(filled, index_name, embedder):
    with redis.Redis.from_url(filled) as client:
        before = client.client_id()
        for _ in range(3):
            with Index(index_name, client=client, embedder=embedder) as index:
                assert index.count() == 10
            with pytest.raises(SchemaMismatch):
                Index(index_name, client=client, embedder=embedder, metric="l2").open()
        assert client.client_id() == before


def test_a_forked_process_has_connections_of_its_own(filled, index_name, embedder):
    with Index(index_name, url=filled, embedder=embedder) as index:
        pool = index.client.connection_pool
        assert index.count() == 10
        with pool._guard:  # as another thread may hold it at that moment
            child = os.fork()
            if not child:
                os._exit(0 if index.count() == 10 and len(pool._available_connections) == 1 else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert index.count() == 10


def descriptors():
    gc.collect()
    return [one.readlink() for one in Path("/proc/self/fd").iterdir() if one.exists()]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts by /proc")
@pytest.mark.usefixtures("no_pauses")
def test_what_is_opened_and_closed_leaves_no_descriptor(faces, filled, index_name, embedder):
    def use(number):
        with faces.index(index_name, url=filled, embedder=embedder) as index:
            retriever = faces.retriever(index)
            assert nearest(retriever.retrieve(f"word{number % 10} of number{number % 10}", k=1)) == f"d{number % 10}"
            next(iter(index.documents()))
        with pytest.raises(SchemaMismatch):
            faces.index(index_name, url=filled, embedder=embedder, metric="l2").open()

    with pytest.raises(ConnectionFailed):
        faces.index(index_name, url=f"{filled}.none", embedder=embedder).open()
    use(0)
    before = descriptors()
    for number in range(4):
        use(number)
    assert len(descriptors()) == len(before)


def test_closing_twice_is_no_error(redis_url):
    client = connect(redis_url, timeout=5, protocol=3)
    run(client, asking(("PING",)))
    close(client)
    close(client)
