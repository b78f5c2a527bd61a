"""A Redis Cluster is recognized and refused, in each of the ways in which one may meet it."""

import asyncio
import socket
import time
from contextlib import ExitStack

import pytest
import redis
import redis.asyncio
from servers import READY_SECONDS, private_server

from ragknn import AsyncIndex, HashingEmbedder, Index, UnsupportedServer, list_indexes

NODE = "got a node of a Redis Cluster without, which finds only what it has itself: run Redis 8 with its own search"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def ports(tmp_path_factory):
    """Ports of two nodes, each the only one of a cluster: with search, and without; both take seconds at once."""
    with ExitStack() as stack:
        ports, waited_for = {}, []
        for search in (True, False):
            ports[search], bus = free_port(), free_port()
            where = ("--port", str(ports[search]), "--cluster-port", str(bus), "--bind", "127.0.0.1")
            folder = tmp_path_factory.mktemp("cluster")
            url = stack.enter_context(private_server(folder, "--cluster-enabled", "yes", *where, search=search))
            waited_for.append(stack.enter_context(redis.Redis.from_url(url)))
            waited_for[-1].execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        deadline = time.monotonic() + READY_SECONDS
        for client in waited_for:
            while b"cluster_state:ok" not in client.execute_command("CLUSTER", "INFO"):
                assert time.monotonic() < deadline
                time.sleep(0.01)
        yield ports


@pytest.fixture(params=[True, False], ids=["search", "no-search"])
def port(request, ports):
    """Port of the only node of a cluster."""
    return ports[request.param]


@pytest.mark.parametrize("protocol", [2, 3])
def test_a_url_of_a_node_is_refused(port, protocol):
    url = f"redis://127.0.0.1:{port}?protocol={protocol}"
    with pytest.raises(UnsupportedServer, match=NODE):
        Index("doc", url=url, embedder=HashingEmbedder(8)).open()
    with pytest.raises(UnsupportedServer, match=NODE):
        asyncio.run(AsyncIndex("doc", url=url, embedder=HashingEmbedder(8)).open())
    with pytest.raises(UnsupportedServer, match=NODE):
        list_indexes(url)
    with redis.Redis.from_url(url) as client, pytest.raises(UnsupportedServer, match=NODE):
        Index("doc", client=client, embedder=HashingEmbedder(8)).open()


def test_so_is_a_cluster_of_such_nodes(port):
    url = f"redis+cluster://127.0.0.1:{port}"
    with pytest.raises(UnsupportedServer, match=NODE):
        Index("doc", url=url, embedder=HashingEmbedder(8)).open()
    with pytest.raises(UnsupportedServer, match=NODE):
        asyncio.run(AsyncIndex("doc", url=url, embedder=HashingEmbedder(8)).open())
    with redis.RedisCluster(host="127.0.0.1", port=port) as client, pytest.raises(UnsupportedServer, match=NODE):
        Index("doc", client=client, embedder=HashingEmbedder(8)).open()

    async def open_async():
        async with redis.asyncio.RedisCluster(host="127.0.0.1", port=port) as client:
            await AsyncIndex("doc", client=client, embedder=HashingEmbedder(8)).open()

    with pytest.raises(UnsupportedServer, match=NODE):
        asyncio.run(open_async())
