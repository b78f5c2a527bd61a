"""The ways to say which cluster is meant, and what is said of those that lead to none."""

import asyncio
from contextlib import contextmanager

import pytest
import redis
import redis.asyncio
from click.testing import CliRunner
from clusters import PRIMARIES, begin_to_move, end_move, free_ports, move_keys, slot_of, until
from servers import private_server

from ragknn import (
    AsyncIndex,
    ConfigurationError,
    ConnectionFailed,
    Document,
    HashingEmbedder,
    Index,
    Splitter,
    UnsupportedServer,
    list_indexes,
)
from ragknn._protocol.rights import rules_of
from ragknn.cli import cli

EMBEDDER = HashingEmbedder(16)


def refused(error, words, **options):
    """Both worlds refuse it, with the same words."""

    async def opened():
        async with AsyncIndex("doc", embedder=EMBEDDER, timeout=2, **options):
            pass

    with pytest.raises(error, match=words):
        Index("doc", embedder=EMBEDDER, timeout=2, **options).open()
    with pytest.raises(error, match=words):
        asyncio.run(opened())


def test_a_url_names_some_nodes(faces, bed, name):
    [dead] = free_ports(1)
    alive = bed.primaries[2].proxy
    for url in (f"redis+cluster://127.0.0.1:{alive}", f"redis+cluster://127.0.0.1:{dead},127.0.0.1:{alive}/0"):
        with faces.index(name, url=url, embedder=EMBEDDER) as index:
            assert index.server.primaries == 3
            index.drop()


def test_a_flag_says_that_it_is_a_cluster(faces, bed, name, monkeypatch):
    url = f"redis://127.0.0.1:{bed.primaries[1].proxy}"
    with faces.index(name, url=url, cluster=True, embedder=EMBEDDER) as index:
        assert index.server.primaries == 3
    monkeypatch.setenv("RAGKNN_URL", url)
    with faces.index(name, cluster=True, embedder=EMBEDDER) as index:
        assert index.drop() == 0


@pytest.mark.parametrize("decode", [False, True])
def test_a_client_is_used_and_left_open(bed, name, decode):
    port = bed.primaries[0].proxy
    with redis.RedisCluster(port=port, host="127.0.0.1", protocol=3, decode_responses=decode) as client:
        with Index(name, client=client, embedder=EMBEDDER) as index:
            assert (index.server.primaries, index.client) == (3, client)
        assert client.ping()

    async def use():
        async with redis.asyncio.RedisCluster(
            port=port, host="127.0.0.1", protocol=3, decode_responses=decode
        ) as client:
            async with AsyncIndex(name, client=client, embedder=EMBEDDER) as index:
                assert await index.count() == 0
                await index.drop()
            assert await client.ping()

    asyncio.run(use())


def test_a_client_of_the_other_world_is_refused(bed):
    port = bed.primaries[0].proxy
    with redis.RedisCluster(port=port, host="127.0.0.1") as client:
        with pytest.raises(TypeError, match=r"expected client as a redis\.asyncio\.RedisCluster object"):
            AsyncIndex("doc", client=client)
        with (
            pytest.raises(UnsupportedServer, match="RESP2"),
            redis.RedisCluster(port=port, host="127.0.0.1", protocol=2) as old,
        ):
            Index("doc", client=old, embedder=EMBEDDER).open()
    with pytest.raises(TypeError, match=r"expected client as a redis\.RedisCluster object"):
        Index("doc", client=redis.asyncio.RedisCluster(port=port, host="127.0.0.1"))
    with (
        redis.Redis() as single,
        pytest.raises(ValueError, match="expected a RedisCluster as client with cluster=True"),
    ):
        Index("doc", client=single, cluster=True)


def test_a_plain_server_is_no_cluster(redis_url, tmp_path):
    [port] = free_ports(1)
    with private_server(tmp_path, "--port", str(port)):
        words = "got a single Redis: begin its URL with redis:// in place of redis"
        refused(UnsupportedServer, words, url=f"redis+cluster://127.0.0.1:{port}")
    refused(ConfigurationError, "the URL of a node with cluster=True", url=redis_url, cluster=True)


def test_a_node_is_no_single_server(bed):
    refused(UnsupportedServer, r"redis\+cluster://", url=f"redis://127.0.0.1:{bed.primaries[0].proxy}")


def test_nobody_is_there():
    dead = free_ports(2)
    url = "redis+cluster://" + ",".join(f"127.0.0.1:{port}" for port in dead)
    refused(ConnectionFailed, f"127.0.0.1:{dead[0]}", url=url)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("redis+cluster://host:7000/3", "expected no number of a database"),
        ("redis+cluster://host:7000?db=3", "expected no number of a database"),
        ("redis+cluster://host:7000,host:99999", "a port is a number up to 65535"),
        ("redis+cluster://host:7000?colour=red", "expected options of connections to a cluster .*, got colour"),
        ("redis+cluster://host:7000?read_from_replicas=yes", "got read_from_replicas"),
        ("redis+cluster://host:7000,", r"expected a URL like redis\+cluster://.*: the parts of a host's name"),
        ("redis+cluster://host:7000/,host:7001", "expected hosts with commas between them and nothing behind"),
        ("redis+cluster://user:secret@host:7000,user:secret@host:7001", "expected user and password once"),
        ("redis-cluster://host:7000", r"expected a URL like redis\+cluster://"),
        ("redis+cluster://host:7000?address_map=10.0.0.1", "expected address_map as pairs"),
        ("redis+cluster://host:7000?address_map=a:1=b", "expected address_map as pairs"),
        ("redis+cluster://user:secret@host:7000/3", r"user:\*\*\*@host"),
    ],
)
def test_urls_that_cannot_be_meant(url, words):
    refused(ConfigurationError, words, url=url)


def test_addresses_are_mapped(faces, bed, name):
    """The cluster announces addresses that lead nowhere, and the map says which those are from here."""
    [moved] = free_ports(1)
    nodes = bed.primaries
    pairs = ",".join(f"127.0.0.1:{node.proxy}=localhost:{node.proxy}" for node in nodes)
    url = f"redis+cluster://127.0.0.1:{nodes[0].proxy}?address_map="
    with faces.index(name, url=url + pairs, embedder=EMBEDDER) as index:
        reached = {node.name for node in index.client.nodes_manager.get_nodes_by_server_type("primary")}
        assert len(reached) == 3
        assert index.drop() == 0
    away = f"127.0.0.1:{nodes[1].proxy}=127.0.0.1:{moved}"
    advice = rf"expected the cluster's node at 127.0.0.1:{moved}, .* say in the URL what can: \?address_map=127.0.0.1"
    with pytest.raises(ConnectionFailed, match=advice):
        faces.index(name, url=url + away, embedder=EMBEDDER, timeout=2).open()


def test_a_password_on_some_nodes_only(bed, own_password):
    words = (
        f"expected a login that Redis at 127.0.0.1:{own_password.proxy} accepts, got none.*every node of the cluster"
    )
    refused(ConnectionFailed, words, url=f"redis+cluster://127.0.0.1:{bed.primaries[0].proxy}")


def test_search_modules_of_two_versions(bed):
    bed.surprise("OTHER", True)
    words = "expected one version of the search module on all nodes of the cluster, got 2.10.5 at .*, 2.10.6 at .*"
    refused(UnsupportedServer, words, url=bed.url)
    bed.surprise("OTHER", False)


def test_a_database_on_a_node_by_a_plain_url(bed):
    words = "a node of a Redis Cluster: begin the URL with .* and name no database"
    refused(UnsupportedServer, words, url=f"redis://127.0.0.1:{bed.primaries[0].proxy}/3")


@pytest.mark.parametrize("kind", ["hostname", "unknown-endpoint"])
def test_nodes_are_named_as_the_cluster_does(faces, bed, name, kind):
    """By their hosts' names, or by none, which is the host that was asked; keys are followed to both."""
    with announced(bed, kind), faces.index(name, url=bed.url, embedder=EMBEDDER) as index:
        assert faces.indexer(index).add([Document("d", "text")]).added == 1
        slot = slot_of(f"ragknn:{name}:d:{{d}}")
        source = bed.owner(slot)
        target = next(node for node in bed.primaries if node is not source)
        for here, there in ((source, target), (target, source)):
            begin_to_move(slot, here, there)
            move_keys(slot, here, there)
            assert index.exists(["d"]) == [True]  # ASK
            end_move(slot, there, bed.primaries)
            assert index.exists(["d"]) == [True]  # MOVED
        index.drop()


@contextmanager
def announced(bed, kind):
    nodes = bed.nodes[: PRIMARIES + 1]
    for node in nodes:
        node("CONFIG", "SET", "cluster-announce-hostname", "localhost")
        node("CONFIG", "SET", "cluster-preferred-endpoint-type", kind)
    until(lambda: all("localhost" in words[0] for node in nodes for words in node.sees().values()))
    yield
    for node in nodes:
        node("CONFIG", "SET", "cluster-announce-hostname", "")
        node("CONFIG", "SET", "cluster-preferred-endpoint-type", "ip")


@pytest.fixture
def own_password(bed):
    """A node that asks for a password, as no other does."""
    node = bed.primaries[2]
    node("CONFIG", "SET", "requirepass", "secret")
    node.client.connection_pool.connection_kwargs["password"] = "secret"
    yield node
    node("CONFIG", "SET", "requirepass", "")


@pytest.fixture
def user(bed, name):
    """A user who may do on each node what `ragknn acl --cluster` gives, as a function of the roles."""

    def made(*roles):
        rules = [rule for rule in rules_of(roles, name, cluster=True) if not rule.startswith("+search.")]  # a stand-in
        for node in bed.nodes[: PRIMARIES + 1]:
            node("ACL", "SETUSER", "somebody", "reset", "on", ">secret", *rules)
        return bed.url.replace("://", "://somebody:secret@")

    yield made
    for node in bed.nodes[: PRIMARIES + 1]:
        node("ACL", "DELUSER", "somebody")


def test_a_user_with_the_rights_of_a_cluster(faces, bed, name, user):
    documents = [Document(f"d{number}", f"text {number}. " * 40, f"l{number % 2}") for number in range(20)]
    with faces.index(name, url=user("admin", "writer"), embedder=EMBEDDER) as index:
        indexer = faces.indexer(index, Splitter(20, 0, unit="words"))
        indexer.add(documents)
        indexer.sync(documents[:15])
        index.rebuild(algorithm="hnsw")
        index.rebuild(dtype="float16")
    with faces.index(name, url=user("reader"), embedder=EMBEDDER) as index:
        assert len(list(index.documents())) == 15
        assert faces.retriever(index).retrieve("text 7", k=3).complete
        assert len(faces.indexer(index).add(documents).failed) == 5
    with faces.index(name, url=user("admin"), embedder=EMBEDDER) as index:
        assert index.drop() == 15


def test_the_command_takes_the_url(bed, monkeypatch):
    monkeypatch.setenv("RAGKNN_URL", bed.url)
    found = CliRunner().invoke(cli, ["doctor"], prog_name="ragknn")
    assert f"at {bed.url}" in found.stdout
    assert "cluster: 3 primaries, whose search has a coordinator" in found.stdout
    assert list_indexes(bed.url) == list_indexes(f"redis+cluster://127.0.0.1:{bed.primaries[2].proxy}")
