"""What is read is whole, or says that it is not: with little time, over a bad line, of a server that is stopped."""

import os
import random
import signal
import threading
import time

import pytest
from drilling import FIRST, POINTS, connected, points
from proxies import DOWN, UP, proxy_before
from reading import FLAT, GRAPH, Told, calls, fill
from servers import private_server

from ragknn import ConnectionFailed, RagKNNError

COUNT = 8_000 if POINTS else 1_100
LIMITS = [0.001, 0.002, 0.005, 0.02]  # seconds
LIMIT = 1.0 if POINTS else 0.2  # seconds that a search may take of a server that is stopped
PATIENCE = LIMIT + 0.5  # seconds that a client waits for it


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    with private_server(tmp_path_factory.mktemp("filled")) as url:
        fill(url, COUNT, FLAT, GRAPH)
        yield url


@pytest.fixture(scope="module")
def proxy(filled):
    with proxy_before(filled) as proxy:
        yield proxy


def opened(faces, url, chance, monkeypatch):
    """Return one of the indexes, and what is drawn for its retrievers."""
    monkeypatch.setenv("RAGKNN_PROTOCOL", chance.choice("23"))
    return faces.index(chance.choice([FLAT, GRAPH]), url=url), {"on_incomplete": chance.choice(["raise", "return"])}


def drawn(chance, there):
    """Return the names of the calls that are tried: all of them in a drill."""
    return chance.sample(sorted(there), len(there) if POINTS else 6)


@pytest.mark.parametrize(("policy", "seed"), points(["return", "fail"]))
def test_with_little_time_an_answer_is_complete_or_says_that_it_is_not(
    faces, filled, tmp_path, monkeypatch, policy, seed
):
    chance = random.Random(seed)
    index, options = opened(faces, filled, chance, monkeypatch)
    with index:
        there = calls(faces, index, tmp_path, **options)
        names = drawn(chance, there)
        expected = {name: there[name]() for name in names}
    monkeypatch.setenv("RAGKNN_TIMEOUT", str(chance.choice(LIMITS)))
    with connected(filled) as client:
        client.execute_command("FT.CONFIG", "SET", "ON_TIMEOUT", policy)
    with faces.index(index.name, url=filled) as index:
        there = calls(faces, index, tmp_path, **options)
        wrong = {}
        for name in names:
            try:
                answer = there[name]()
            except (RagKNNError, Told):
                continue
            if answer != expected[name]:
                wrong[name] = answer
    assert not wrong, sorted(wrong)


def cut(proxy, pid, direction, after, chance):
    """Cut the connection once, or each time that it is made anew; return what ends that."""
    proxy.cut(direction, after, times=chance.choice([1, 1, 1, 9]))
    return proxy.mend


def stop(proxy, pid, direction, after, chance):
    """Stop the server for longer than the client waits; return what waits for it to go on."""
    timer = threading.Timer(PATIENCE + 0.2, os.kill, (pid, signal.SIGCONT))

    def strike():
        os.kill(pid, signal.SIGSTOP)
        timer.start()
        return True

    def go_on():
        proxy.at(direction, 0, strike)
        if timer.ident is not None:
            timer.join()

    proxy.at(direction, after, strike)
    return go_on


@pytest.mark.parametrize(
    ("fault", "direction", "seed"), points([cut, stop], [UP, DOWN]) if POINTS else [(stop, UP, FIRST)]
)
def test_over_a_bad_line_an_answer_is_complete_or_an_error_comes(
    faces, filled, proxy, tmp_path, monkeypatch, fault, direction, seed
):
    chance = random.Random(seed)
    monkeypatch.setenv("RAGKNN_TIMEOUT", str(LIMIT) if fault is stop else "10")
    with connected(filled) as client:
        pid = client.info("server")["process_id"]
    index, options = opened(faces, proxy.url, chance, monkeypatch)
    with index:
        there = calls(faces, index, tmp_path, **options)
        for name in drawn(chance, there)[: 5 if POINTS else 1]:
            before = dict(proxy.forwarded)
            expected = there[name]()
            sent = proxy.forwarded[direction] - before[direction]
            end = fault(proxy, pid, direction, chance.randint(1, max(1, sent)), chance)
            began = time.monotonic()
            try:
                answer = there[name]()
            except ConnectionFailed:
                answer = expected
            seconds = time.monotonic() - began
            end()
            assert answer == expected, (name, direction)
            assert fault is cut or seconds < 2 * PATIENCE, name
            assert there[name]() == expected, f"{name}, afterwards"
