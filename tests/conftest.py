"""Fixtures that every test may use: one real Redis for the session, and faces that make async tests sync ones."""

import asyncio
import inspect
import os
from collections.abc import Iterator
from itertools import count
from pathlib import Path

os.environ["SCIPY_ARRAY_API"] = "1"  # read by SciPy when it is imported; some of scikit-learn's checks ask for it

import pytest
import redis
from hypothesis import settings

from ragknn import (
    AsyncIndex,
    AsyncIndexer,
    AsyncLabelVoter,
    AsyncRetriever,
    HashingEmbedder,
    Index,
    Indexer,
    LabelVoter,
    Retriever,
)

CORPORA = Path(__file__).parent.parent / "corpora"
_numbers = count()

settings.register_profile("ragknn", deadline=None)  # a slow machine is no failure
settings.load_profile("ragknn")


@pytest.fixture(autouse=True)
def clean_environ(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep the developer's settings, data folder and model cache out of the tests, and the tests off the network."""
    for name in [name for name in os.environ if name.startswith("RAGKNN_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("RAGKNN_DATA", str(tmp_path_factory.getbasetemp() / "data"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("TERM", "dumb")


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a Redis with search: RAGKNN_TEST_URL if it is set, else an embedded one."""
    if url := _TEST_URL:
        yield url
        return
    from ragknn.server.embedded import RedisServer

    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server.url


_TEST_URL = os.environ.get("RAGKNN_TEST_URL")


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    """A plain client, for looking at what is stored."""
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def index_name(client: redis.Redis) -> Iterator[str]:
    """A name that no other test has; whatever is kept under it is removed afterwards."""
    name = f"test-{os.getpid()}-{next(_numbers)}"
    yield name
    for search_index in client.execute_command("FT._LIST"):
        if search_index.decode().startswith(f"ragknn:{name}:"):
            client.execute_command("FT.DROPINDEX", search_index)
    for key in client.scan_iter(f"ragknn:{name}:*", count=1000):
        client.delete(key)


class Blocking:
    """Makes an async object look like its sync twin: each coroutine is run on the loop to its end."""

    def __init__(self, wrapped, loop: asyncio.AbstractEventLoop) -> None:
        self._wrapped, self._loop = wrapped, loop

    def __getattr__(self, name):
        value = getattr(self._wrapped, name)
        if not inspect.iscoroutinefunction(value):
            return value
        return lambda *args, **kwargs: self._loop.run_until_complete(value(*args, **kwargs))

    def __enter__(self):
        self._loop.run_until_complete(self._wrapped.__aenter__())
        return self

    def __exit__(self, *error):
        self._loop.run_until_complete(self._wrapped.__aexit__(*error))


class Faces:
    """The classes of one world, called alike in both."""

    def __init__(self, kind: str, loop: asyncio.AbstractEventLoop | None) -> None:
        self.kind, self._loop = kind, loop

    def _make(self, sync_class, async_class, *args, **kwargs):
        if self._loop is None:
            return sync_class(*args, **kwargs)
        bare = [arg._wrapped if isinstance(arg, Blocking) else arg for arg in args]
        return Blocking(async_class(*bare, **kwargs), self._loop)

    def index(self, *args, **kwargs):
        return self._make(Index, AsyncIndex, *args, **kwargs)

    def indexer(self, *args, **kwargs):
        return self._make(Indexer, AsyncIndexer, *args, **kwargs)

    def retriever(self, *args, **kwargs):
        return self._make(Retriever, AsyncRetriever, *args, **kwargs)

    def voter(self, *args, **kwargs):
        return self._make(LabelVoter, AsyncLabelVoter, *args, **kwargs)


@pytest.fixture(params=["sync", "async"])
def faces(request: pytest.FixtureRequest) -> Iterator[Faces]:
    """Index, Indexer, Retriever and LabelVoter of either world; each test that asks for it runs in both."""
    if request.param == "sync":
        yield Faces("sync", None)
        return
    loop = asyncio.new_event_loop()
    yield Faces("async", loop)
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


@pytest.fixture(scope="session")
def embedder() -> HashingEmbedder:
    """A quick deterministic embedder, for tests in which meaning adds nothing."""
    return HashingEmbedder(64)
