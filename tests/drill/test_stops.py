"""A process or a server that is stopped for a while, which may be longer than others wait for it."""

import os
import random
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from disturbed import WORKS, begin, in_another_process, opened, tried
from drilling import FIRST, POINTS, connected, converges, ends_of, ends_of_both, right, settle, whole
from proxies import UP, proxy_before
from servers import private_server

SECONDS = [3, 60] if POINTS else [0.3]
MANY = POINTS or 2  # at once: what is stopped takes no time of the processor
LONGEST = 2 * 12 + 10  # seconds until a client has told that nobody answers


def of_a_server(seconds, kind, chance, own, lengths, folder):
    with private_server(own) as url, connected(url) as client, proxy_before(url) as proxy:
        begin(url, folder, kind)
        pid = client.info("server")["process_id"]
        timer = threading.Timer(seconds, os.kill, (pid, signal.SIGCONT))

        def strike():
            os.kill(pid, signal.SIGSTOP)
            timer.start()
            return True

        proxy.at(UP, chance.randrange(1, lengths[kind][UP]), strike)
        began = time.monotonic()
        error = tried(proxy.url, kind, folder)
        assert time.monotonic() - began < LONGEST
        timer.join()
        settle(client)
        before, after = ends_of(kind, folder)
        whole(client, *([before, after] if error else [after]))
        if kind != "drop":
            right(url)
        converges(url, folder, kind)


def of_a_process(seconds, kind, chance, own, lengths, folder):
    """Another process does its own work meanwhile."""
    other = chance.choice(WORKS)
    with private_server(own) as url, connected(url) as client, proxy_before(url) as proxy:
        begin(url, folder, kind, other)
        stopped = threading.Event()

        def strike():
            os.kill(process.pid, signal.SIGSTOP)
            stopped.set()
            return True

        proxy.at(UP, chance.randrange(1, lengths[kind][UP]), strike)
        process = in_another_process(proxy.url, kind, folder)
        try:
            assert stopped.wait(60)
            threading.Timer(seconds, os.kill, (process.pid, signal.SIGCONT)).start()
            tried(url, other, folder)
            process.join()
        finally:
            process.kill()
        assert process.exitcode == 0
        settle(client)
        with opened(url) as index:
            schema = index.schema
        whole(client, *ends_of_both(kind, other, schema, folder, told=True))
        right(url)
        converges(url, folder, kind, other)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("seconds", SECONDS)
@pytest.mark.parametrize("stop", [of_a_server, of_a_process])
def test_a_stop_leaves_whole_documents(stop, seconds, tmp_path, lengths, folder):
    def one(seed):
        kind, own = WORKS[seed % len(WORKS)], tmp_path / str(seed)
        own.mkdir()
        try:
            stop(seconds, kind, random.Random(seed), own, lengths, folder)
        except BaseException as error:
            error.add_note(f"seed {seed}, {kind}")
            raise

    with ThreadPoolExecutor(MANY) as several:
        list(several.map(one, range(FIRST, FIRST + MANY)))
