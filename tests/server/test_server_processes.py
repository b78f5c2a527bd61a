"""The embedded server, as real processes: who shares it, who stops it, and what happens when somebody is killed."""

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import redis
from embedded_servers import HOLD, connect, ended, finish, get, lives, put, python, say, socket_of

from ragknn.errors import ServerError
from ragknn.server import _process
from ragknn.server.embedded import RedisServer, ServerStatus, server_status, shared_server, start_to_stay, stop_server
from ragknn.settings import Settings

# Several processes


@pytest.mark.parametrize("repetition", range(3))
def test_processes_that_start_at_once_share_one_server_and_the_last_stops_it(data: Path, repetition: int):
    processes = [python(HOLD, data) for _ in range(4)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    pids = {int(process.stdout.readline()) for process in processes}
    assert len(pids) == 1
    last = processes.pop()
    for process in processes:
        finish(process)
    (pid,) = pids
    assert lives(pid)
    finish(last)
    assert ended(pid)


def test_processes_that_come_and_go_never_fail(data: Path):
    script = """
import sys, redis
from ragknn.server.embedded import RedisServer
for _ in range(20):
    with RedisServer(sys.argv[1]) as server, redis.Redis.from_url(server.url) as client:
        client.incr("visits")
"""
    for process in [python(script, data) for _ in range(4)]:
        finish(process)
    with RedisServer(data) as embedded:
        assert get(embedded, "visits") == "80"


def test_a_killed_server_comes_back_with_its_data(data: Path):
    with RedisServer(data) as embedded:
        put(embedded, "key", "kept")
        killed = embedded.pid
        os.kill(killed, signal.SIGKILL)
        os.waitpid(killed, 0)
        assert socket_of(embedded).exists()
        with RedisServer(data) as other:
            assert other.pid != killed
            assert get(other, "key") == "kept"
            assert embedded.start().pid == other.pid
        assert get(embedded, "key") == "kept"


def test_a_holder_can_revive_a_killed_server(settings: Settings):
    embedded = shared_server(settings)
    put(embedded, "key", "kept")
    os.kill(embedded.pid, signal.SIGKILL)
    os.waitpid(embedded.pid, 0)
    assert get(shared_server(settings), "key") == "kept"
    embedded.stop()


def test_a_forked_child_neither_stops_the_server_nor_inherits_it(data: Path):
    script = """
import multiprocessing, os, sys, redis
from ragknn.errors import ServerError
from ragknn.server.embedded import shared_server
from ragknn.settings import Settings

settings = Settings(data=sys.argv[1])
server = shared_server(settings)

def use():
    try:
        server.url
    except ServerError:
        pass
    else:
        raise SystemExit("the copy is started")
    server.stop()
    mine = shared_server(settings)
    assert mine is not server and mine.pid == pid
    with redis.Redis.from_url(mine.url) as client:
        client.incr("uses")

pid = server.pid
child = os.fork()
if child == 0:
    use()
    sys.exit()
assert os.waitpid(child, 0)[1] == 0
child = os.fork()
if child == 0:
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
worker = multiprocessing.get_context("fork").Process(target=use)
worker.start()
worker.join()
assert worker.exitcode == 0
with redis.Redis.from_url(server.url) as client:
    print(client.get("uses").decode(), server.pid == pid)
print(pid)
"""
    uses, pid = finish(python(script, data))
    assert uses == "2 True"
    assert ended(int(pid))


def test_a_child_that_outlives_its_killed_parent_does_not_keep_the_server(data: Path):
    script = """
import os, sys, time
from ragknn.server.embedded import RedisServer
server = RedisServer(sys.argv[1]).start()
child = os.fork()
if child == 0:
    sys.stdin.readline()
    os._exit(0)
print(server.pid, child, flush=True)
time.sleep(60)
"""
    parent = python(script, data)
    pid, child = map(int, parent.stdout.readline().split())
    parent.kill()
    parent.wait()
    assert lives(child)
    assert ended(pid)
    parent.communicate("\n")


def test_a_worker_of_multiprocessing_that_was_the_last_to_use_the_server_stops_it(data: Path):
    script = """
import multiprocessing, sys
from ragknn.server.embedded import shared_server
from ragknn.settings import Settings

def work():
    print(shared_server(Settings(data=sys.argv[1])).pid, flush=True)

worker = multiprocessing.get_context("fork").Process(target=work)
worker.start()
worker.join()
sys.stdin.readline()
"""
    process = python(script, data)
    pid = int(process.stdout.readline())
    finish(process)
    assert ended(pid)


# Start to stay, stop, status


def test_a_server_started_to_stay_outlives_its_starter_until_it_is_stopped(settings: Settings):
    script = """
import sys
from ragknn.server.embedded import start_to_stay
from ragknn.settings import Settings
print(start_to_stay(Settings(data=sys.argv[1])).pid)
"""
    (pid,) = finish(python(script, settings.data))
    with RedisServer(settings=settings) as embedded, connect(embedded) as client:
        assert embedded.pid == int(pid)
        url, redis_version = embedded.url, client.info("server")["redis_version"]
    status = server_status(settings)
    assert re.fullmatch(r"\d+\.\d+\.\d+", status.search_version)
    assert status.memory_bytes > 100_000
    assert status == ServerStatus(
        data=settings.data,
        running=True,
        url=url,
        pid=int(pid),
        stays=True,
        redis_version=redis_version,
        search_version=status.search_version,
        memory_bytes=status.memory_bytes,
        uptime_seconds=status.uptime_seconds,
        users=(),
    )
    assert stop_server(settings)
    assert ended(int(pid))
    assert not stop_server(settings)


def test_a_server_in_use_can_be_made_to_stay(settings: Settings):
    with RedisServer(settings=settings) as embedded:
        assert not server_status(settings).stays
        assert start_to_stay(settings).stays
        pid = embedded.pid
    assert lives(pid)
    assert stop_server(settings)


def test_status_and_stop_of_a_folder_without_a_server_make_nothing(settings: Settings):
    assert server_status(settings) == ServerStatus(data=settings.data, running=False)
    assert not stop_server(settings)
    assert not settings.data.exists()


def test_a_server_in_use_is_stopped_by_force_only(settings: Settings):
    holder = python(HOLD, settings.data)
    say(holder)
    pid = int(holder.stdout.readline())
    assert server_status(settings).users == (holder.pid,)
    with pytest.raises(ServerError, match=rf"pid {holder.pid}\); end them first, or stop it by force"):
        stop_server(settings)
    assert lives(pid)
    assert stop_server(settings, force=True)
    assert ended(pid)
    assert server_status(settings) == ServerStatus(data=settings.data, running=False)
    finish(holder)


def test_a_server_that_hangs_is_shown_and_killed(settings: Settings, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(_process, "STOP_SECONDS", 0.3)
    monkeypatch.setattr(_process, "REPLY_SECONDS", 0.2)
    pid = start_to_stay(settings).pid
    os.kill(pid, signal.SIGSTOP)
    status = server_status(settings)
    assert (status.running, status.pid, status.stays, status.redis_version) == (True, pid, True, None)
    assert stop_server(settings)
    assert ended(pid)


# The state file


@pytest.mark.parametrize("garbage", [b"", b"\xff\x00{", b"[]", b'{"pid": -1}', b'{"pid": "x", "created": null}'])
def test_garbage_in_the_state_file_heals(data: Path, garbage: bytes):
    with RedisServer(data) as embedded:
        put(embedded, "key", "kept")
    (data / "server.json").write_bytes(garbage)
    with RedisServer(data) as embedded:
        (data / "server.json").write_bytes(garbage)
        with RedisServer(data) as other:
            assert other.pid == embedded.pid
            assert json.loads((data / "server.json").read_bytes())["pid"] == embedded.pid
            assert get(other, "key") == "kept"
        (data / "server.json").write_bytes(garbage)


@pytest.fixture
def bystander() -> Iterator[psutil.Process]:
    """A process that has nothing to do with us."""
    with subprocess.Popen(["sleep", "60"]) as process:
        yield psutil.Process(process.pid)
        process.kill()


def claim_to_be(bystander: psutil.Process, data: Path) -> None:
    """Write a state such as is left when the pid of a server was used again."""
    path = data / "server.json"
    state = json.loads(path.read_bytes()) if path.exists() else {"socket": str(data / "redis.sock")}
    path.write_text(json.dumps(state | {"pid": bystander.pid, "created": bystander.create_time() - 1000}))


def test_a_pid_that_was_used_again_is_never_signalled(settings: Settings, bystander: psutil.Process):
    settings.data.mkdir()
    claim_to_be(bystander, settings.data)
    assert not server_status(settings).running
    assert not stop_server(settings)
    with RedisServer(settings=settings) as embedded:
        assert embedded.pid != bystander.pid
        claim_to_be(bystander, settings.data)
        assert server_status(settings).pid == embedded.pid
        with RedisServer(settings=settings) as other:
            assert other.pid == embedded.pid
        claim_to_be(bystander, settings.data)
    assert bystander.status() != psutil.STATUS_ZOMBIE


def test_a_hanging_server_with_a_wrong_pid_is_left_alone_with_an_error(
    settings: Settings, bystander: psutil.Process, monkeypatch: pytest.MonkeyPatch
):
    pid = start_to_stay(settings).pid
    state = (settings.data / "server.json").read_bytes()
    claim_to_be(bystander, settings.data)
    os.kill(pid, signal.SIGSTOP)
    with monkeypatch.context() as patch:
        patch.setattr(_process, "STOP_SECONDS", 0.3)
        patch.setattr(_process, "REPLY_SECONDS", 0.2)
        with pytest.raises(ServerError, match="its pid is not known"):
            stop_server(settings)
    assert bystander.status() != psutil.STATUS_ZOMBIE
    os.kill(pid, signal.SIGCONT)
    (settings.data / "server.json").write_bytes(state)
    stop_server(settings)
    assert ended(pid)


def test_an_index_that_cannot_be_cleaned_up_keeps_no_server_from_starting(redis_url, caplog):
    with redis.Redis.from_url(redis_url, decode_responses=True) as client, caplog.at_level("INFO"):
        _process._collect(client, ["ragknn:gone:v1"])
    assert "did not clean up the index ragknn:gone:v1: " in caplog.text
