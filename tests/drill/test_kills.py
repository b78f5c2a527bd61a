"""SIGKILL of the process that works or of the server after any number of bytes; torn files, and a full disk."""

import os
import random
import resource
import signal
import time
from contextlib import contextmanager

import pytest
from disturbed import WORKS, begin, in_another_process, tried
from drilling import connected, converges, ends_of, points, right, settle, whole
from proxies import UP, proxy_before
from servers import private_server


@pytest.mark.parametrize(("kind", "seed"), points(WORKS))
def test_a_process_that_is_killed_leaves_whole_documents(server, lengths, folder, kind, seed):
    point = random.Random(seed).randrange(1, lengths[kind][UP])
    begin(server, folder, kind)
    with connected(server) as client:
        with proxy_before(server) as proxy:

            def kill():
                os.kill(process.pid, signal.SIGKILL)
                return False

            proxy.at(UP, point, kill)
            process = in_another_process(proxy.url, kind, folder)
            process.join()
            assert process.exitcode == -signal.SIGKILL
        settle(client)
        whole(client, *ends_of(kind, folder))
    if kind != "drop":
        right(server)
    converges(server, folder, kind)


@contextmanager
def durable(folder, policy):
    (folder / "s.sock").unlink(missing_ok=True)
    with private_server(folder, "--appendonly", "yes", "--appendfsync", policy) as url, connected(url) as client:
        yield url, client


@pytest.mark.parametrize(("kind", "policy", "torn", "seed"), points(WORKS, ["always", "everysec"], [False, True]))
def test_a_server_that_is_killed_comes_back_with_whole_documents(tmp_path, lengths, folder, kind, policy, torn, seed):
    chance = random.Random(seed)
    with durable(tmp_path, policy) as (url, client), proxy_before(url) as proxy:
        begin(url, folder, kind)
        pid = client.info("server")["process_id"]
        written = client.info("persistence")["aof_current_size"] - client.info("persistence")["aof_base_size"]

        def kill():
            os.kill(pid, signal.SIGKILL)
            return False

        proxy.at(UP, chance.randrange(1, lengths[kind][UP]), kill)
        assert tried(proxy.url, kind, folder)
    if torn:
        [log] = (tmp_path / "appendonlydir").glob("*.incr.aof")
        size = log.stat().st_size
        os.truncate(log, chance.randrange(min(written, size), size + 1))
    with durable(tmp_path, policy) as (url, client):
        whole(client, *ends_of(kind, folder))
        if kind != "drop":
            right(url)
        converges(url, folder, kind)


@pytest.mark.parametrize(("kind", "seed"), points(WORKS))
def test_a_disk_that_is_full_is_told_and_leaves_whole_documents(tmp_path, lengths, folder, kind, seed):
    """The server's files may grow by so many bytes and no more, until there is room again."""
    with durable(tmp_path, "everysec") as (url, client):
        begin(url, folder, kind)
        pid = client.info("server")["process_id"]
        [log] = (tmp_path / "appendonlydir").glob("*.incr.aof")
        room = random.Random(seed).randrange(1, lengths[kind][UP] // 2)
        _, most = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (log.stat().st_size + room, most))
        error = tried(url, kind, folder)
        before, after = ends_of(kind, folder)
        whole(client, *([before, after] if error else [after]))
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (most, most))
        while client.info("persistence")["aof_last_write_status"] != "ok":
            time.sleep(0.01)
        if kind != "drop":
            right(url)
        converges(url, folder, kind)
