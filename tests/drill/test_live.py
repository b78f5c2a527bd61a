"""What befalls the server or the connection under a client that works: cuts, stops, commands of others, no memory."""

import multiprocessing
import os
import random
import signal
import socket
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial

import pytest
from disturbed import NEW, OLD, SPLITTER, WORKS, begin, opened, store, take_turns, take_turns_in_a_loop, tried
from drilling import (
    PAUSE,
    POINTS,
    connected,
    consistent,
    converges,
    ends_of,
    ends_of_both,
    fresh,
    points,
    right,
    settle,
    whole,
)
from proxies import DOWN, UP, proxy_before
from servers import private_server

from ragknn import CommandRefused, Indexer, ManifestMissing, Retriever


@pytest.mark.parametrize(("kind", "direction", "seed"), points(WORKS, [UP, DOWN]))
def test_a_connection_that_is_cut_leaves_whole_documents(faces, server, lengths, folder, kind, direction, seed):
    begin(server, folder, kind)
    with connected(server) as client, proxy_before(server) as proxy:
        proxy.cut(direction, random.Random(seed).randrange(1, lengths[kind][direction]), times=3)
        error = tried(proxy.url, kind, folder, faces)
        proxy.close()
        settle(client)
        before, after = ends_of(kind, folder)
        whole(client, *([before, after] if error else [after]))
    if kind != "drop":
        right(server)
    converges(server, folder, kind)


def stop(client, chance):
    """Stop the server for a while."""
    pid = client.info("server")["process_id"]
    os.kill(pid, signal.SIGSTOP)
    threading.Timer(PAUSE * chance.random(), os.kill, (pid, signal.SIGCONT)).start()


def sleep(client, chance):
    client.execute_command("DEBUG", "SLEEP", str(PAUSE * chance.random()))


def flush(client, chance):
    client.flushall()


def drop_index(client, chance):
    for name in client.execute_command("FT._LIST"):
        client.execute_command("FT.DROPINDEX", name)


def drop_all(client, chance):
    for name in client.execute_command("FT._LIST"):
        client.execute_command("FT.DROPINDEX", name, "DD")


def fill(client, chance):
    used = client.info("memory")["used_memory"]
    client.config_set("maxmemory", used + chance.randrange(1, 100_000))


def make_room(url):
    """Drop what is left of an index whose manifest was evicted: it says so until then."""
    try:
        with opened(url):
            pass
    except ManifestMissing:
        opened(url, create=False).drop()


def evict(client, chance):
    client.config_set("maxmemory-policy", "allkeys-lru")
    fill(client, chance)


@pytest.mark.parametrize(
    ("kind", "fault", "seed"), points(WORKS, [stop, sleep, flush, drop_index, drop_all, fill, evict])
)
def test_what_befalls_the_server_under_a_client_is_noticed_and_mended(server, lengths, folder, kind, fault, seed):
    chance = random.Random(seed)
    begin(server, folder, kind)
    with connected(server) as client, proxy_before(server) as proxy:
        struck = []

        def strike():
            struck.append(fault(client, chance))
            return True

        proxy.at(UP, chance.randrange(1, lengths[kind][UP]), strike)
        try:
            error = tried(proxy.url, kind, folder)
        finally:
            client.config_set("maxmemory", 0)
            client.config_set("maxmemory-policy", "noeviction")
        settle(client)
        assert struck
        before, after = ends_of(kind, folder)
        if fault in (flush, drop_all):
            whole(client, before, after, {})
        elif fault is evict:
            make_room(server)
        else:
            whole(client, *([before, after] if error else [after]))
    converges(server, folder, kind)


@pytest.mark.parametrize(("kind", "other", "seed"), points(WORKS, WORKS))
def test_what_others_do_meanwhile_leaves_whole_documents(faces, server, lengths, folder, kind, other, seed):
    """Another work is done, from its beginning to its end, while one stands still at some byte."""
    begin(server, folder, kind, other)
    with connected(server) as client, proxy_before(server) as proxy:
        errors = []

        def meanwhile():
            errors.append(tried(server, other, folder))
            return True

        proxy.at(UP, random.Random(seed).randrange(1, lengths[kind][UP]), meanwhile)
        errors.append(tried(proxy.url, kind, folder, faces))
        proxy.close()
        settle(client)
        assert len(errors) == 2
        with opened(server) as index:
            schema = index.schema
        whole(client, *ends_of_both(kind, other, schema, folder, told=any(errors)))
    right(server)
    converges(server, folder, kind, other)


def test_a_replica_that_only_reads_answers_rightly_and_refuses_writes(tmp_path, folder):
    master, replica = tmp_path / "master", tmp_path / "replica"
    master.mkdir()
    replica.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    with (
        private_server(master, "--port", port, "--repl-diskless-sync-delay", "0") as url,
        private_server(replica) as copy,
        connected(url) as one,
        connected(copy) as other,
    ):
        store(url, OLD)
        other.execute_command("REPLICAOF", "127.0.0.1", port)
        while other.info("replication")["master_link_status"] != "up":
            time.sleep(0.01)
        one.wait(1, 0)
        right(copy)
        with opened(copy) as index, pytest.raises(CommandRefused, match="connect to the primary, not to a replica"):
            Indexer(index, SPLITTER).sync(NEW)
        whole(other, fresh("old", folder))


def processes(way):
    return partial(ProcessPoolExecutor, mp_context=multiprocessing.get_context(way))


WRITERS = {"threads": (ThreadPoolExecutor, take_turns), "processes": (processes("forkserver"), take_turns)}
if POINTS:
    WRITERS |= {"spawned": (processes("spawn"), take_turns), "loops": (ThreadPoolExecutor, take_turns_in_a_loop)}


@pytest.mark.parametrize(("kind", "writers", "seed"), points(list(WRITERS), [2, 4]))
def test_writers_at_once_leave_whole_documents_and_readers_see_no_others(server, folder, kind, writers, seed):
    chance = random.Random(seed)
    with connected(server) as client:
        client.flushall()
    store(server, OLD)
    ended = threading.Event()

    def read():
        with opened(server) as index:
            retriever = Retriever(index)
            while not ended.is_set():
                consistent(retriever.retrieve("old7x0 new8x1", k=20))

    batches = [chance.randrange(1, 30) for _ in range(writers)]
    executor, turns = WRITERS[kind]
    with ThreadPoolExecutor(1) as one, executor(writers) as several:
        reader = one.submit(read)
        try:
            for done in [several.submit(turns, server, *turn) for turn in enumerate(batches)]:
                done.result()
        finally:
            ended.set()
        reader.result()
    with connected(server) as client:
        whole(client, fresh("old", folder), fresh("new", folder))
    right(server)
    converges(server, folder)
