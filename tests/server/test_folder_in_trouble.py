"""The embedded server where its folder cannot be used as it should be: errors of ours that say what to do."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from embedded_servers import finish, python

from ragknn.errors import ConfigurationError
from ragknn.server.embedded import RedisServer, server_status, stop_server
from ragknn.settings import Settings

# As root all files can be written, unless this right is given up.
PLAIN = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []


@pytest.mark.parametrize("name", ["users.lock", "server.lock", "server.json", "redis.conf"])
def test_a_folder_in_place_of_a_file_is_named(data: Path, name: str):
    (data / name / "within").mkdir(parents=True)
    with pytest.raises(ConfigurationError, match=rf"{name}': a file and a folder are mixed up: remove it"):
        RedisServer(data).start()
    shutil.rmtree(data)


def test_a_server_that_cannot_be_watched_is_used_with_a_warning(data: Path, caplog: pytest.LogCaptureFixture):
    (data / "watch.lock").mkdir(parents=True)
    with RedisServer(data) as embedded:
        assert embedded.pid
    assert "could not watch the embedded Redis" in caplog.text


def test_status_and_stop_say_so_too(settings: Settings):
    (settings.data / "start.lock").mkdir(parents=True)
    for call in (server_status, stop_server):
        with pytest.raises(ConfigurationError, match=r"start\.lock': a file and a folder are mixed up"):
            call(settings)


def test_a_full_disk_is_named_and_leaves_nothing_running(data: Path):
    script = """
import resource, signal, sys
from ragknn.errors import ConfigurationError
from ragknn.server.embedded import RedisServer
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
try:
    RedisServer(sys.argv[1]).start()
except ConfigurationError as error:
    print(error)
"""
    [said] = finish(python(script, data))
    assert said.endswith(": free some room on its disk, or set RAGKNN_DATA to a folder on another one")
    with RedisServer(data) as embedded:
        assert embedded.pid


@pytest.mark.skipif(bool(PLAIN) and shutil.which(PLAIN[0]) is None, reason="root can write everywhere")
def test_a_folder_made_read_only_is_named_and_the_server_in_it_can_be_stopped(data: Path):
    script = """
import os, sys
from ragknn.errors import ConfigurationError
from ragknn.server.embedded import RedisServer, server_status
from ragknn.settings import Settings
server = RedisServer(sys.argv[1]).start()
os.chmod(sys.argv[1], 0o500)
server.stop()
print(server_status(Settings(data=sys.argv[1])).running)
for mode in (0o500, 0o000):
    os.chmod(sys.argv[1], mode)
    try:
        server.start()
    except ConfigurationError as error:
        print(error)
os.chmod(sys.argv[1], 0o700)
"""
    command = [*PLAIN, sys.executable, "-c", script, str(data)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    running, read_only, barred = done.stdout.splitlines()
    assert running == "False"
    assert read_only.endswith("let this user read and write there (chmod u+rwX), or set RAGKNN_DATA to another folder")
    assert barred.endswith("Permission denied; set RAGKNN_DATA to another folder")


def test_a_folder_that_everybody_can_write_to_is_told_once(data: Path, caplog: pytest.LogCaptureFixture):
    data.mkdir()
    data.chmod(0o777)
    for _ in range(2):
        RedisServer(data).start().stop()
    [warning] = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warning.startswith(f"every user of this machine can write to {str(data)!r}")
    data.chmod(0o770)
