"""A server that hangs is waited for once, a little longer than a search may take; a broken line is tried again."""

import os
import signal
from contextlib import contextmanager

import pytest
import redis
from proxies import DOWN, UP, proxy_before
from servers import private_server

from ragknn import ConnectionFailed, Document
from ragknn._protocol.flows import Once
from ragknn.server._connection import aconnect, arun, connect, run

LIMIT = 0.05  # seconds that a search may take; the client waits half a second longer


@pytest.fixture
def proxy(redis_url):
    with proxy_before(redis_url) as proxy:
        yield proxy


@contextmanager
def stopped(url):
    """Stop the process of a server while the block runs: the system goes on taking connections for it."""
    with redis.Redis.from_url(url) as client:
        pid = client.info("server")["process_id"]
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def connections(url):
    """Return how many connections the server has taken; one that hung takes those of that time when it goes on."""
    with redis.Redis.from_url(url) as client:
        return client.info("stats")["total_connections_received"]


@pytest.mark.parametrize("way", ["unix", "tcp"])
def test_a_server_that_hangs_is_waited_for_once(faces, tmp_path, embedder, way):
    with private_server(tmp_path) as unix, proxy_before(unix) as proxy:
        url = unix if way == "unix" else proxy.url
        with faces.index("k", url=url, embedder=embedder, timeout=LIMIT) as index:
            faces.indexer(index).add([Document("d", "pears")])
            before = connections(unix)
            with stopped(unix):
                told = r"within 0\.55 seconds, got none .*; check whether the server hangs"
                with pytest.raises(ConnectionFailed, match=told):
                    faces.retriever(index).retrieve("pears")
            assert connections(unix) == before + 2, "not tried again: of this test are two, to stop it and to look"
            assert len(faces.retriever(index).retrieve("pears")) == 1


def test_a_server_that_hangs_from_the_first_is_waited_for_once(faces, tmp_path, embedder):
    with private_server(tmp_path) as url:
        before = connections(url)
        with stopped(url):
            index = faces.index("k", url=url, embedder=embedder, timeout=LIMIT)
            with pytest.raises(ConnectionFailed, match=r"within 0\.55 seconds"):
                index.open()
        assert connections(url) == before + 3, "tried once: the other two are those of this test"


def asking(*commands):
    return (yield list(commands))


def asking_once(*commands):
    return (yield Once(list(commands)))


@pytest.fixture
def drive(faces, proxy):
    """Drive flows one after the other in either world, over one client."""
    connector = connect if faces.kind == "sync" else aconnect
    client = connector(proxy.url, timeout=5, protocol=3)
    yield lambda flow: faces.call(run, arun, client, flow)
    faces.call(client.close, getattr(client, "aclose", None))


@pytest.mark.parametrize("direction", [UP, DOWN])
def test_what_a_broken_connection_left_open_is_asked_again(drive, proxy, direction):
    assert drive(asking(("ECHO", "a"))) == [b"a"]
    proxy.cut(direction, after=3)
    assert drive(asking(("ECHO", "b"), ("ECHO", "c"))) == [b"b", b"c"]
    assert proxy.has_cut
    assert proxy.connections == 2


@pytest.mark.parametrize("direction", [UP, DOWN])
def test_what_must_not_be_repeated_is_not_asked_again(drive, proxy, direction):
    assert drive(asking_once(("ECHO", "a"))) == [b"a"]
    proxy.cut(direction, after=3)
    with pytest.raises(ConnectionFailed, match="expected Redis at"):
        drive(asking_once(("ECHO", "b")))
    assert proxy.connections == 1
    assert drive(asking_once(("ECHO", "c"))) == [b"c"]


@pytest.mark.usefixtures("no_pauses")
def test_a_connection_that_breaks_each_time_is_tried_a_few_times(drive, proxy):
    assert drive(asking(("ECHO", "a"))) == [b"a"]
    proxy.cut(UP, after=3, times=50)
    with pytest.raises(ConnectionFailed, match="expected Redis at"):
        drive(asking(("ECHO", "b")))
    assert proxy.connections < 10


def test_a_login_that_is_refused_is_tried_once(faces, tmp_path):
    with private_server(tmp_path, "--requirepass", "S3CRET") as unix, proxy_before(unix) as proxy:
        client = (connect if faces.kind == "sync" else aconnect)(
            proxy.url.replace("//", "//:WR0NG@"), timeout=5, protocol=3
        )
        with pytest.raises(ConnectionFailed, match="expected a login"):
            faces.call(run, arun, client, asking(("PING",)))
        assert proxy.connections == 1
        faces.call(client.close, getattr(client, "aclose", None))
