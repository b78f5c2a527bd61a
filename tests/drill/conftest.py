"""What the drills of faults share: a server, and how much each work sends to it and gets from it."""

import pytest
from disturbed import WORKS, begin, tried
from drilling import POINTS
from proxies import proxy_before
from servers import private_server

# A cluster for each point takes too long for a few quick ones.
collect_ignore = [] if POINTS else ["test_cluster_in_trouble.py"]


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Where indexes are made at once, to compare with."""
    return tmp_path_factory.mktemp("fresh")


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    with private_server(tmp_path_factory.mktemp("drill"), "--enable-debug-command", "yes") as url:
        yield url


@pytest.fixture(scope="session")
def lengths(server, folder):
    """Bytes that go up and down in each work."""
    found = {}
    with proxy_before(server) as proxy:
        for kind in WORKS:
            begin(server, folder, kind)
            before = dict(proxy.forwarded)
            assert tried(proxy.url, kind, folder) is None
            found[kind] = {direction: count - before[direction] for direction, count in proxy.forwarded.items()}
    return found
