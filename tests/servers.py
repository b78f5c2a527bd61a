"""Redis servers of their own, for tests that need other settings or kill them."""

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ragknn.server._programs import find_programs
from ragknn.settings import Settings

READY_SECONDS = 30  # until a server answers, which takes it about 0.1


@contextmanager
def private_server(folder: Path, *options: str, search: bool = True, url: str | None = None) -> Iterator[str]:
    """Run a Redis for one test, and yield its URL.

    As Python does, it ignores the signal that a file is as long as it may be, so that a test can give it a full disk.
    """
    programs = find_programs(Settings())
    door = folder / "s.sock"
    module = ["--loadmodule", str(programs.module)] if search and programs.module else []
    base = [str(programs.server), "--port", "0", "--unixsocket", str(door), "--save", "", "--dir", str(folder)]
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen([*base, *options, *module], stdout=log, restore_signals=False) as process,
    ):
        try:
            deadline = time.monotonic() + READY_SECONDS
            while not listens(door):
                assert process.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < deadline, (folder / "log").read_text()
                time.sleep(0.01)
            yield url or f"unix://{door}"
        finally:
            process.kill()


def listens(door: Path) -> bool:
    """Return whether a server takes connections at a socket."""
    with socket.socket(socket.AF_UNIX) as one:
        return one.connect_ex(str(door)) == 0
