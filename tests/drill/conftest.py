"""What the drills of faults share: a server, and how much each work sends to it and gets from it."""

import pytest
from drilling import OLD, WORKS, connected, store, tried
from proxies import proxy_before
from servers import private_server


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Where indexes are made at once, to compare with."""
    return tmp_path_factory.mktemp("fresh")


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    with private_server(tmp_path_factory.mktemp("drill"), "--enable-debug-command", "yes") as url:
        yield url


@pytest.fixture(scope="session")
def lengths(server):
    """Bytes that go up and down in each work."""
    found = {}
    with proxy_before(server) as proxy, connected(server) as client:
        for kind in WORKS:
            client.flushall()
            store(server, OLD)
            before = dict(proxy.forwarded)
            assert tried(proxy.url, kind) is None
            found[kind] = {direction: count - before[direction] for direction, count in proxy.forwarded.items()}
        client.flushall()
    return found
