"""How many steps a search takes: functions called, not time, which others on the machine change."""

import asyncio
import sys
from pathlib import Path

import numpy as np
import pytest

import ragknn
from ragknn import AsyncIndex, AsyncIndexer, AsyncRetriever, Document

HERE = str(Path(ragknn.__file__).parent)


@pytest.fixture
def retriever(faces, redis_url, index_name):
    with faces.index(index_name, url=redis_url, dim=8, algorithm="hnsw") as index:
        rows = np.eye(8).repeat(5, axis=0) + 0.1
        texts = [Document(f"d{n}", f"text {n}", metadata={"n": n}) for n in range(40)]
        faces.indexer(index).add_vectors(
            [one.id for one in texts], rows, texts=[one.text for one in texts], metadata=[one.metadata for one in texts]
        )
        yield faces.retriever(index)
        index.drop()


def steps(call, times=3):
    """Return how many functions of the package are called, and what the call returns.

    A coroutine that waits and goes on, as often as the machine has it wait, is one call: its frame stays the same.
    The least of some calls, as what is known of an index is read again from time to time.
    """
    counted = []

    def count(frame, event, _):
        if event == "call" and frame.f_code.co_filename.startswith(HERE):
            frames.add(frame)

    for _ in range(times):
        frames = set()
        sys.setprofile(count)
        try:
            result = call()
        finally:
            sys.setprofile(None)
        counted.append(len(frames))
    return min(counted), result


def test_the_steps_of_a_search_are_few_and_no_more_for_more_neighbors(retriever):
    query = np.arange(1.0, 9.0)
    found = {}
    for k in (2, 20):
        retriever.kneighbors(query, k)  # what the searches for a k share is made by the first
    for k in (2, 20):
        counted, [found[k]] = steps(lambda k=k: retriever.kneighbors(query, k))
        assert counted <= 110
        found[k, "steps"] = counted
    assert [len(found[2]), len(found[20])] == [2, 20]
    assert found[2, "steps"] == found[20, "steps"]


def test_what_is_looked_at_of_a_neighbor_takes_a_few_steps(retriever):
    [found] = retriever.kneighbors(np.arange(1.0, 9.0), 20)
    counted, read = steps(lambda: [(one.passage.text, one.passage.metadata["n"]) for one in found], times=1)
    assert all(text == f"text {n}" for text, n in read)
    assert counted <= 20 * 3 + 2
    assert steps(lambda: [one.passage.text for one in found], times=1)[0] <= 2, "it is kept"


def test_a_search_makes_no_task_of_its_own_in_asyncio(redis_url, index_name):
    async def made():
        tasks = []

        def make(loop, coroutine, **options):
            tasks.append(coroutine)
            return asyncio.Task(coroutine, loop=loop, **options)

        async with AsyncIndex(index_name, url=redis_url, dim=8, algorithm="hnsw") as index:
            await AsyncIndexer(index).add_vectors(["a", "b"], np.eye(8)[:2])
            retriever = AsyncRetriever(index)
            await retriever.kneighbors(np.ones(8), 2)
            asyncio.get_running_loop().set_task_factory(make)
            found = await retriever.kneighbors(np.ones(8), 2)
            asyncio.get_running_loop().set_task_factory(None)
            await index.drop()
        return [len(one) for one in found], tasks

    assert asyncio.run(made()) == ([2], [])
