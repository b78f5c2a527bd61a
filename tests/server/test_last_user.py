"""The end of the embedded server with its last user, whatever that dies of, and its file after a loss of power."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest
from embedded_servers import HOLD, connect, ended, finish, get, is_locked, kill, lives, opened_by, put, python, say

from ragknn.server.embedded import RedisServer, server_status, start_to_stay, stop_server
from ragknn.settings import Settings

DIE = """
import ctypes, os, signal, sys
from ragknn.server.embedded import RedisServer
server = RedisServer(sys.argv[1]).start()
print(server.pid, flush=True)
sys.stdin.readline()
"""
WAYS = {
    "SIGTERM": "os.kill(os.getpid(), signal.SIGTERM)",
    "a segmentation fault": "ctypes.string_at(0)",
    "becoming another program": "os.execv('/bin/cat', ['cat'])",
    "leaving a forked child": "os.fork() and os.kill(os.getpid(), signal.SIGKILL)\nsys.stdin.readline()\nos._exit(0)",
}


def holder(data: Path) -> tuple[subprocess.Popen[str], int]:
    """Start a user of the server; return it and the server's pid."""
    user = python(HOLD, data)
    say(user)
    return user, int(user.stdout.readline())


def watchers(data: Path) -> list[psutil.Process]:
    return [process for process in psutil.process_iter() if str(data / "watch.lock") in opened_by(process)]


def is_let_go(lock: Path) -> bool:
    """Wait until nobody holds a lock."""
    deadline = time.monotonic() + 10
    while is_locked(lock) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not is_locked(lock)


@pytest.mark.parametrize("way", WAYS)
def test_the_server_ends_with_its_last_user_whatever_that_dies_of(data: Path, way: str):
    user = python(DIE + WAYS[way], data)
    pid = int(user.stdout.readline())
    user.stdin.write("\n")
    user.stdin.flush()
    assert ended(pid)
    user.communicate(timeout=60)
    assert is_let_go(data / "watch.lock")


def test_the_server_ends_with_its_last_user_even_if_its_folder_is_there_no_more(data: Path):
    (first, pid), (second, _) = holder(data), holder(data)
    shutil.rmtree(data)
    kill(first)
    with RedisServer(data) as another:
        assert lives(pid)
        assert another.pid != pid
        put(another, "key", "kept")
        kill(second)
        assert ended(pid)
        assert get(another, "key") == "kept"


def test_a_server_that_another_user_has_or_that_stays_outlives_those_who_are_killed(settings: Settings):
    with RedisServer(settings=settings) as embedded:
        for _ in range(2):
            user, _ = holder(settings.data)
            kill(user)
        put(embedded, "key", "kept")
        assert server_status(settings).users == (os.getpid(),)
        pid = start_to_stay(settings).pid
    assert is_let_go(settings.data / "watch.lock")  # there is nothing to wait for
    user, _ = holder(settings.data)
    kill(user)
    with RedisServer(settings=settings) as embedded:
        assert (embedded.pid, get(embedded, "key"), watchers(settings.data)) == (pid, "kept", [])
    assert stop_server(settings)


def test_who_comes_in_the_moment_of_the_end_gets_a_server(data: Path):
    for number in range(3):
        user, _ = holder(data)
        kill(user)
        with RedisServer(data) as embedded:
            assert get(embedded, f"key {number - 1}") == (str(number - 1) if number else None)
            put(embedded, f"key {number}", str(number))


def test_a_watcher_that_was_killed_is_replaced_by_the_next_user(data: Path):
    first, pid = holder(data)
    [watcher] = watchers(data)
    watcher.kill()
    assert is_let_go(data / "watch.lock")
    second, _ = holder(data)
    kill(first)
    kill(second)
    assert ended(pid)


def test_no_process_is_left_behind_by_one_that_starts_and_stops_servers(data: Path):
    script = """
import sys, psutil
from ragknn.server.embedded import RedisServer
for _ in range(5):
    RedisServer(sys.argv[1]).start().stop()
print(len(psutil.Process().children()))
"""
    [left] = finish(python(script, data))
    assert int(left) <= 2  # the last two watchers may just be ending


@pytest.mark.parametrize("fsync", ["everysec", "always"])
def test_of_a_transaction_that_a_loss_of_power_has_cut_nothing_appears_and_what_comes_later_stays(
    data: Path, fsync: str, caplog: pytest.LogCaptureFixture
):
    with RedisServer(data) as embedded, connect(embedded) as client:
        client.config_set("appendfsync", fsync)
        with client.pipeline(transaction=True) as transaction:
            for number in range(5):
                transaction.hset(f"passage {number}", "text", "new")
            transaction.execute()
        os.kill(embedded.pid, signal.SIGKILL)
        os.waitpid(embedded.pid, 0)
    [file] = (data / "appendonlydir").glob("*.incr.aof")
    whole = file.read_bytes()
    within = whole.index(b"passage 2") + (4 if fsync == "always" else -len("*4\r\n$4\r\nHSET\r\n$9\r\n"))
    os.truncate(file, within)
    for number in range(3):
        with RedisServer(data) as embedded, connect(embedded) as client:
            assert client.keys("passage*") == []
            with client.pipeline(transaction=True) as transaction:
                transaction.incr("later")
                transaction.execute()
            assert client.get("later") == str(number + 1)
    assert caplog.text.count("was cut: what was written last is lost") == 1
