"""Indexes behind Sentinels: the same answers, from whichever server is the primary, and from replicas where wanted."""

import json
import signal
import threading
from contextlib import suppress

import numpy as np
import pytest
import redis
from commands import run_here
from encrypted import Authority, tls_before
from replicated import SERVICE, free_port, replicated, wait_until

from ragknn import (
    AsyncIndex,
    CommandRefused,
    ConfigurationError,
    ConnectionFailed,
    Document,
    HashingEmbedder,
    Index,
    Indexer,
    Passage,
    RagKNNError,
    Retriever,
    UnsupportedServer,
    list_indexes,
)
from ragknn.server._connection import aconnect, connect
from ragknn.server._urls import Service, service_of

EMBEDDER = HashingEmbedder(16)


class NotForDocuments(HashingEmbedder):
    def embed_queries(self, texts):
        return super().embed_documents(texts)

    def embed_documents(self, texts):
        raise AssertionError("what cannot be written was embedded")


def documents(many, words="of pears and plums"):
    return [Document(f"d{n}", f"Text {n} {words}. " * 8, metadata={"n": n}) for n in range(many)]


@pytest.fixture(scope="module")
def behind(tmp_path_factory):
    """A primary and a replica that nobody kills."""
    with replicated(tmp_path_factory.mktemp("sentinel"), password="p/w", sentinel_password="s3") as set_up:
        yield set_up


@pytest.fixture
def name(behind):
    """A name for an index, of which nothing is left afterwards."""
    yield "guarded"
    behind.client(behind.primary).flushall()


@pytest.fixture
def url(behind):
    return behind.url


# ---- URLs ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis+sentinel://h/svc", Service("svc", (("h", 26379),), "redis:///")),
        (
            "redis+sentinel://ann:p%2Fw@a:1,b/my%20svc/0",
            Service("my svc", (("a", 1), ("b", 26379)), "redis://ann:p%2Fw@/0"),
        ),
        (
            "rediss+sentinel://[::1]:1/svc?sentinel_username=u&sentinel_password=p%26&ssl_ca_certs=a%2Fb",
            Service("svc", (("::1", 1),), "rediss:///?ssl_ca_certs=a%2Fb", ("u", "p&")),
        ),
        (
            "redis+sentinel://h/svc?read_from_replicas=yes",
            Service("svc", (("h", 26379),), "redis:///", reads_from_replicas=True),
        ),
        ("redis://h:1/0", None),
    ],
)
def test_a_url_names_the_sentinels_and_the_service(url, expected):
    assert service_of(url) == expected
    connect(url, timeout=1.0, protocol=3).close()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("redis+sentinel://h:1", "expected the name of a service behind the addresses"),
        ("redis+sentinel://h:1/", "expected the name of a service behind the addresses"),
        ("redis+sentinel://h:1/svc/zero", "expected the name of a service behind the addresses"),
        ("redis+sentinel://h:1,h:99999/svc", "a port is a number up to 65535"),
        ("redis+sentinel://h:1,/svc", "the parts of a host's name have"),
        ("redis+sentinel://a..b:1/svc", "the parts of a host's name have"),
        ("redis+sentinel://:a/b@h:1/svc", "percent-encoded"),
        ("redis+sentinel://h:1/svc?nonsense=1", "unexpected keyword argument 'nonsense'"),
        ("redis+sentinel://h:1/svc?read_from_replicas=maybe", "expected read_from_replicas as yes or no, got 'maybe'"),
    ],
)
@pytest.mark.parametrize("face", [connect, aconnect])
def test_a_url_that_cannot_be_meant_is_refused(face, url, words):
    with pytest.raises(ConfigurationError) as refused:
        face(url, timeout=1.0, protocol=3)
    assert words in str(refused.value)


# ---- the primary and its replicas ------------------------------------------------------------------------------


def test_an_index_is_written_and_searched_as_on_a_single_server(faces, behind, name, url):
    with faces.index(name, url=url, embedder=EMBEDDER) as index:
        assert not index.server.is_replica
        assert faces.indexer(index).sync(documents(6)).added == 6
        found = faces.retriever(index).retrieve("pears", k=6)
        assert (len(found), found.complete, index.count_documents()) == (6, True, 6)
    assert behind.searches(behind.servers[0]) > 0


def test_retrievals_and_votes_are_answered_by_a_replica_where_that_is_wanted(faces, behind, name, url):
    primary, replica = behind.servers
    labelled = [Document(one.id, one.text, label="ab"[n % 2]) for n, one in enumerate(documents(6))]
    asked = {"url": url, "embedder": EMBEDDER, "read_from_replicas": True}
    with faces.index(name, **asked) as index:
        faces.indexer(index).sync(labelled)
        behind.wait_until_in_step()
        before = behind.searches(primary), behind.searches(replica)
        retriever = faces.retriever(index)
        for _ in range(3):
            assert len(retriever.retrieve("pears", k=6)) == 6
        assert faces.voter(retriever, 3).vote("pears").label in ("a", "b")
        assert len(retriever.retrieve_many(["pears", "plums"], k=2, mode="text")) == 2
        after = behind.searches(primary), behind.searches(replica)
        assert (after[0] - before[0], after[1] - before[1] >= 5) == (0, True)
        assert index.count({}) == index.count() == index.describe().passages  # of the primary
        assert behind.searches(primary) > after[0]
        assert faces.indexer(index).delete(["d1"]) == 1
        behind.wait_until_in_step()
        assert len(retriever.retrieve("pears", k=6, per_document=1)) == 5


def test_a_url_can_say_so_too(behind, name, url):
    before = behind.searches(behind.servers[1])
    with Index(name, url=f"{url}&read_from_replicas=yes", embedder=EMBEDDER) as index:
        Indexer(index).add(documents(1))
        behind.wait_until_in_step()
        Retriever(index).retrieve("pears")
    assert behind.searches(behind.servers[1]) > before


def test_the_command_takes_the_same_url(behind, name, url, tmp_path):
    with Index(name, url=url, embedder=EMBEDDER) as index:
        Indexer(index).add(documents(1))
    shown = run_here(["info", name, "--url", url, "--json"], "", tmp_path, {"RAGKNN_MODEL": EMBEDDER.name})
    assert json.loads(shown.stdout)["documents"] == 1
    assert list_indexes(url) == [name]


# ---- what cannot be --------------------------------------------------------------------------------------------


def refused(faces, url, kind=ConnectionFailed, **options):
    with pytest.raises(kind) as told:
        faces.index("x", url=url, embedder=EMBEDDER, timeout=0.5, **options).open()
    return str(told.value)


def test_a_service_that_no_sentinel_knows_is_told_with_those_that_it_knows(faces, url):
    told = refused(faces, url.replace(f"/{SERVICE}", "/unknown"))
    assert "expected a service that the Sentinel at 127.0.0.1:" in told
    assert f"got 'unknown': it knows '{SERVICE}'" in told


def test_sentinels_that_are_all_down_are_told(faces):
    one, other = free_port(), free_port()
    told = refused(faces, f"redis+sentinel://127.0.0.1:{one},127.0.0.1:{other}/svc")
    assert f"the service 'svc' of the Sentinel at 127.0.0.1:{one}, 127.0.0.1:{other}" in told
    assert "no Sentinel answers (" in told


def test_the_first_sentinel_that_answers_is_enough(faces, behind, url, name):
    with faces.index(name, url=url.replace("@127", f"@127.0.0.1:{free_port()},127"), embedder=EMBEDDER) as index:
        assert index.count() == 0


def test_wrong_passwords_are_told_apart(faces, url):
    assert "?sentinel_password=PASSWORD" in refused(faces, url.replace("s3", "wrong"))
    assert "?sentinel_password=PASSWORD" in refused(faces, url.partition("?")[0])
    told = refused(faces, url.replace("p%2Fw", "wrong"))
    assert f"expected a login that Redis at the service '{SERVICE}' of the Sentinel at" in told


def test_a_sentinel_in_place_of_a_server_is_told(faces, behind, url):
    told = refused(faces, f"redis://:s3@127.0.0.1:{behind.sentinel}", UnsupportedServer)
    assert "got a Sentinel, which knows of one: name it and the service" in told


def test_a_replica_is_searched_but_not_written_to(faces, behind, url, name):
    with faces.index(name, url=url, embedder=EMBEDDER) as index:
        faces.indexer(index).sync(documents(2))
    behind.wait_until_in_step()
    replica = f"redis://:p%2Fw@127.0.0.1:{behind.servers[1]}"
    with faces.index(name, url=replica, embedder=NotForDocuments(16)) as index:
        assert index.server.is_replica
        assert len(faces.retriever(index).retrieve("pears", k=2)) == 2
        for write in (
            lambda indexer: indexer.sync(documents(3)),
            lambda indexer: indexer.add_vectors(["d"], np.ones((1, 16))),
            lambda indexer: indexer.add_passages([Passage("p", "d", "text", 0, 0)]),
            lambda indexer: indexer.add_passages([Passage("p", "d", "text", 0, 0)], keep_others=True),
            lambda indexer: indexer.delete(["d1"]),
        ):
            with pytest.raises(CommandRefused, match="connect to the primary, not to a replica"):
                write(faces.indexer(index))
    assert "connect to the primary" in refused(faces, replica, CommandRefused)


def test_replicas_are_read_from_only_where_the_url_knows_of_them(faces, redis_url):
    told = refused(faces, redis_url, ConfigurationError, read_from_replicas=True)
    assert "expected a URL that knows of replicas to read from" in told
    kind, client = (Index, redis.Redis()) if faces.kind == "sync" else (AsyncIndex, redis.asyncio.Redis())
    with pytest.raises(ValueError, match="expected url with read_from_replicas"):
        kind("x", client=client, read_from_replicas=True)
    with pytest.raises(TypeError, match="read_from_replicas"):
        kind("x", read_from_replicas="yes")


# ---- when the primary goes -------------------------------------------------------------------------------------

MANY = 150


def test_another_primary_is_written_to_and_searched_without_being_opened_again(faces, tmp_path):
    with replicated(tmp_path) as set_up, faces.index("moved", url=set_up.url, embedder=EMBEDDER) as index:
        indexer, retriever = faces.indexer(index), faces.retriever(index)
        indexer.sync(documents(3))
        set_up.wait_until_in_step()
        set_up.switch()
        assert indexer.sync(documents(5)).added == 2
        assert len(retriever.retrieve("pears", k=5)) == 5
        assert set_up.client(set_up.primary).info("replication")["role"] == "master"
        assert set_up.primary == set_up.servers[1]


def made_three(index):
    """Leave three idle connections in the pool of an index."""
    pool = index.client.connection_pool
    for connection in [pool.get_connection() for _ in range(3)]:
        pool.release(connection)


async def amade_three(index):
    pool = index.client.connection_pool
    for connection in [await pool.get_connection() for _ in range(3)]:
        await pool.release(connection)


def test_of_a_primary_that_hangs_one_call_is_lost_and_not_one_for_each_connection(faces, tmp_path):
    with replicated(tmp_path) as set_up, faces.index("hangs", url=set_up.url, embedder=EMBEDDER, timeout=0.2) as index:
        faces.indexer(index).sync(documents(3))
        set_up.wait_until_in_step()
        faces.call(made_three, amade_three, index)
        set_up.kill(set_up.servers[0], signal.SIGSTOP)
        wait_until(lambda: set_up.primary == set_up.servers[1])
        with pytest.raises(ConnectionFailed, match="expected an answer"):
            index.count()
        for _ in range(3):
            assert index.count_documents() == 3


def test_a_primary_that_dies_under_writes_and_searches_leaves_whole_documents_and_whole_answers(faces, tmp_path):
    with (
        replicated(tmp_path) as set_up,
        faces.index("dies", url=set_up.url, embedder=EMBEDDER) as index,
        Index("dies", url=set_up.url, embedder=EMBEDDER) as asked,
    ):
        faces.indexer(index).sync(documents(MANY))
        set_up.wait_until_in_step()
        expected = {one.id for one in documents(MANY)}
        wrong, answers, over = [], [], threading.Event()

        def search():
            retriever = Retriever(asked)
            while not over.is_set():
                try:
                    found = retriever.retrieve("pears", k=MANY, per_document=1)
                except RagKNNError:
                    continue
                answers.append(len(found))
                if found.complete and {one.passage.document_id for one in found} != expected:
                    wrong.append(found)

        searching = threading.Thread(target=search)
        searching.start()
        wait_until(lambda: len(answers) > 2)
        changed = documents(MANY, "of apples and figs")

        def batches():
            for number, one in enumerate(changed):
                if number == MANY // 2:
                    set_up.kill(set_up.servers[0])
                yield one

        with suppress(RagKNNError):
            faces.indexer(index).sync(batches())
        wait_until(lambda: set_up.primary == set_up.servers[1])
        report = faces.indexer(index).sync(changed)
        assert (report.failed, report.verification.ok) == ((), True)
        before = len(answers)
        wait_until(lambda: len(answers) > before + 2)
        over.set()
        searching.join()
        assert wrong == []
        assert index.check().is_sound
        assert {one.id: one.text for one in index.documents()} == {one.id: one.text for one in changed}


def test_over_tls_the_sentinels_and_the_primary_are_asked_alike(faces, tmp_path):
    authority = Authority(tmp_path, "ours")
    files = authority.certify("127.0.0.1")
    with (
        replicated(tmp_path, replicas=0) as set_up,
        tls_before(f"redis://127.0.0.1:{set_up.servers[0]}", files) as primary,
        tls_before(f"redis://127.0.0.1:{set_up.sentinel}", files) as sentinel,
    ):
        # A Sentinel names a primary by the address by which it was told of it.
        set_up.announce(primary)
        url = f"rediss+sentinel://127.0.0.1:{sentinel}/{SERVICE}?ssl_ca_certs={authority.file}"
        with faces.index("over-tls", url=url, embedder=EMBEDDER) as index:
            assert faces.indexer(index).sync(documents(2)).added == 2
            assert len(faces.retriever(index).retrieve("pears", k=2)) == 2
        assert "name the file with the authority" in refused(faces, url.partition("?")[0])


def test_where_no_replica_is_left_the_primary_answers(tmp_path):
    with replicated(tmp_path) as set_up:
        options = {"url": set_up.url, "embedder": EMBEDDER, "read_from_replicas": True}
        with Index("alone", **options) as index:
            Indexer(index).sync(documents(2))
            set_up.wait_until_in_step()
            assert len(Retriever(index).retrieve("pears", k=2)) == 2
            set_up.kill(set_up.servers[1])
            wait_until(lambda: not set_up.fit_replicas())
            assert len(Retriever(index).retrieve("pears", k=2)) == 2
