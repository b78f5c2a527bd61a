"""The embedded server in one process: its data, its paths, its programs."""

import fcntl
import logging
import os
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from embedded_servers import connect, ended, finish, get, lives, put, python, socket_of

from ragknn.errors import ConfigurationError, ServerError
from ragknn.server import _folder
from ragknn.server.embedded import RedisServer, server_status, shared_server, start_to_stay, stop_server
from ragknn.settings import Settings

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
        assert client.execute_command("FT.CONFIG", "GET", "BG_INDEX_SLEEP_GAP") == {"BG_INDEX_SLEEP_GAP": "10"}
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


def test_an_object_that_is_dropped_lets_go_of_its_server(data: Path):
    with pytest.warns(ResourceWarning, match=r"users\.lock"):
        pid = RedisServer(data).start().pid
    assert ended(pid)


def test_each_data_folder_has_its_own_server(tmp_path: Path):
    with RedisServer(tmp_path / "a") as first, RedisServer(tmp_path / "b") as second:
        put(first, "key", "1")
        assert get(second, "key") is None


def test_threads_share_one_server_and_it_is_logged_once(settings: Settings, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, logger="ragknn.server")
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


# Wrong arguments


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: RedisServer(b"data"), TypeError, "expected data as the path of a folder, got a bytes"),
        (lambda: RedisServer(3), TypeError, "expected data as the path of a folder, got the int 3"),
        (lambda: RedisServer("a\0b"), ConfigurationError, "expected data as the path of a folder, got 'a.x00b'"),
        (lambda: RedisServer("\ud83d"), ConfigurationError, "expected data as the path of a folder, got '.ud83d'"),
        (lambda: RedisServer(settings={}), TypeError, "expected settings of type Settings, got a dict: pass load_sett"),
        (lambda: shared_server(None), TypeError, "expected settings of type Settings, got None: pass load_settings"),
        (lambda: start_to_stay("data"), TypeError, "expected settings of type Settings, got the str 'data'"),
        (lambda: stop_server(Settings), TypeError, "expected settings of type Settings, got the class Settings"),
        (lambda: server_status("data"), TypeError, "expected settings of type Settings, got the str 'data'"),
    ],
)
def test_what_names_no_folder_and_no_settings_is_refused(make, error, words):
    with pytest.raises(error, match=words):
        make()
