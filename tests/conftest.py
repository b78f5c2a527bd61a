"""Fixtures that every test may use: one real Redis for the session, and faces that make async tests sync ones."""

import asyncio
import gc
import inspect
import os
from collections.abc import Iterator
from itertools import count
from pathlib import Path

# Read when libraries are imported, here and in the processes that tests start.
os.environ["SCIPY_ARRAY_API"] = "1"  # some of scikit-learn's checks ask for it
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"
# Workers share the cores: the threads of two models on the same ones would only wait for each other.
os.environ.setdefault(
    "OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))))
)

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
    SentenceEmbedder,
)

TESTS = Path(__file__).parent
_TEST_URL = os.environ.get("RAGKNN_TEST_URL")  # before the settings are taken out of the environment
_numbers = count()

# The same draws in each run, so that each says the same of the same code; `make drill` draws others. No deadline: a
# slow machine is no failure.
settings.register_profile("ragknn", deadline=None, derandomize=True)
settings.register_profile("drill", deadline=None)
settings.load_profile("ragknn")


def pytest_configure(config: pytest.Config) -> None:
    """Let no workers share a Redis: tests compare what is on it before and after."""
    if _TEST_URL and getattr(config.option, "numprocesses", None):
        raise pytest.UsageError("expected RAGKNN_TEST_URL without --numprocesses, since workers cannot share one Redis")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the long tests first: while one worker has them, the others take the rest of its share."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


def pytest_collectstart() -> None:
    """Look for no garbage while modules are imported and tests collected, nearly all of which stays."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Let garbage be looked for in what tests make, and not again and again in all that is there before the first."""
    gc.collect()
    gc.freeze()
    gc.enable()


def _shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that all workers of this run have, so that what one of them has made is there for all."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


@pytest.fixture(autouse=True)
def clean_environ(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep the developer's settings and data folder out of the tests."""
    for name in [name for name in os.environ if name.startswith("RAGKNN_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("RAGKNN_DATA", str(tmp_path_factory.getbasetemp() / "data"))
    monkeypatch.setenv("RAGKNN_CACHE", str(_shared_folder(tmp_path_factory) / "cache"))
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


@pytest.fixture(scope="session")
def clients() -> Iterator[dict[str, redis.Redis]]:
    """Plain clients by their URLs, since one for each of thousands of tests takes seconds."""
    clients: dict[str, redis.Redis] = {}
    yield clients
    for client in clients.values():
        client.close()


@pytest.fixture
def client(redis_url: str, clients: dict[str, redis.Redis]) -> redis.Redis:
    """A plain client, for looking at what is stored."""
    if redis_url not in clients:
        clients[redis_url] = redis.Redis.from_url(redis_url)
    return clients[redis_url]


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


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no time pass between attempts at a connection, where nobody needs it to come back."""
    monkeypatch.setattr("ragknn.server._retries.FIRST_PAUSE", 0.0)


class Commands:
    """What reaches the server about one index while the block runs, each command as its words."""

    def __init__(self, client, index_name):
        self._client, self._marks = client, index_name

    def __enter__(self):
        self.all: list[list[str]] = []
        self._monitor = self._client.monitor()
        self._monitor.__enter__()
        return self.all

    def __exit__(self, *error):
        # The monitor shows the commands of all clients in order: what came before this one is all there was.
        self._client.echo(f"end of {self._marks}")
        while (command := self._monitor.next_command()["command"]) != f"ECHO end of {self._marks}":
            if f"ragknn:{self._marks}" in command:
                self.all.append(command.split())
        self._monitor.__exit__(*error)


@pytest.fixture
def commands(client, index_name):
    """`with commands as sent:` collects the commands about this test's index."""
    return Commands(client, index_name)


class Blocking:
    """Makes an async object look like its sync twin: each coroutine is run on the loop to its end."""

    def __init__(self, wrapped, loop: asyncio.AbstractEventLoop) -> None:
        self._wrapped, self._loop = wrapped, loop

    def __getattr__(self, name):
        value = getattr(self._wrapped, name)
        if inspect.iscoroutinefunction(value):
            return lambda *args, **kwargs: self._loop.run_until_complete(value(*args, **kwargs))
        if inspect.ismethod(value) and "AsyncIterator" in str(inspect.signature(value).return_annotation):
            return lambda *args, **kwargs: self._streamed(value(*args, **kwargs))
        return value

    def _streamed(self, stream):
        while True:
            try:
                yield self._loop.run_until_complete(anext(stream))
            except StopAsyncIteration:
                return

    def __enter__(self):
        self._loop.run_until_complete(self._wrapped.__aenter__())
        return self

    def __exit__(self, *error):
        self._loop.run_until_complete(self._wrapped.__aexit__(*error))


def bare(value):
    """Return what is behind a blocking face, and anything else as it is."""
    return value._wrapped if isinstance(value, Blocking) else value


class Faces:
    """The classes and functions of one world, called alike in both."""

    def __init__(self, kind: str, loop: asyncio.AbstractEventLoop | None) -> None:
        self.kind, self._loop = kind, loop

    def made(self, sync_class, async_class, *args, **kwargs):
        if self._loop is None:
            return sync_class(*args, **kwargs)
        return Blocking(async_class(*map(bare, args), **kwargs), self._loop)

    def call(self, sync_function, async_function, *args, **kwargs):
        """Call the function of this world; of the async one, run the coroutine to its end."""
        if self._loop is None:
            return sync_function(*args, **kwargs)
        return self._loop.run_until_complete(async_function(*map(bare, args), **kwargs))

    bare = staticmethod(bare)

    def again(self, value):
        """Return an object of this world, such as a copy, so that it is called as those that are made here."""
        return value if self._loop is None else Blocking(value, self._loop)

    def index(self, *args, **kwargs):
        return self.made(Index, AsyncIndex, *args, **kwargs)

    def indexer(self, *args, **kwargs):
        return self.made(Indexer, AsyncIndexer, *args, **kwargs)

    def retriever(self, *args, **kwargs):
        return self.made(Retriever, AsyncRetriever, *args, **kwargs)

    def voter(self, *args, **kwargs):
        return self.made(LabelVoter, AsyncLabelVoter, *args, **kwargs)


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


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch):
    """What keeps all spans of a test; a provider that a program sets would stay for all that follow in the process."""
    from opentelemetry import trace
    from recording import Recorder

    recorder = Recorder()
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: recorder)
    return recorder


@pytest.fixture(scope="session")
def embedder() -> HashingEmbedder:
    """A quick deterministic embedder, for tests in which meaning adds nothing."""
    return HashingEmbedder(64)


@pytest.fixture(scope="session")
def sentence_embedder() -> SentenceEmbedder:
    """The default model, loaded once; for tests in which meaning matters."""
    embedder = SentenceEmbedder(device="cpu")
    assert embedder.dim == 384
    return embedder


@pytest.fixture
def vectors(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Let programs that begin with `import remembering` embed a text of the corpora once in this run of the tests."""
    folder = _shared_folder(tmp_path_factory) / "vectors"
    folder.mkdir(exist_ok=True)
    monkeypatch.setenv("TESTS_VECTORS", str(folder))
    monkeypatch.setenv("PYTHONPATH", str(TESTS), prepend=os.pathsep)
