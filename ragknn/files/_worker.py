"""The process that parses files for `ragknn.files._isolation`: a program that nothing imports."""

from __future__ import annotations

import os
import resource  # not on Windows
import sys
import threading
import time
import zlib
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from ragknn.errors import ReadError
from ragknn.files._isolation import DONE, READY, parsed


def _serve(connection: Connection) -> None:
    """Parse files until the other side has no more."""
    while True:
        try:
            parser, file, reading = connection.recv()
        except EOFError:
            return
        _limit_memory(reading.limits.memory_bytes)
        answer: Any = DONE
        try:
            for row in parsed(parser, file, reading):
                connection.send(row)
        except (ReadError, OSError, EOFError, zlib.error) as error:
            answer = error
        connection.send(answer)


def _limit_memory(more: int) -> None:
    """Let this process take so much more memory than now, where the system can say and keep it: Linux."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except OSError:
        return
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + more, hard))


def _end_with(parent: int) -> None:
    """End this process when its parent is gone, also in the middle of a file."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()


def main() -> None:
    """Serve the connection whose file descriptor stands on the command line, with the process of the other side."""
    descriptor, parent = map(int, sys.argv[1:])
    _end_with(parent)
    with Connection(descriptor) as connection:
        connection.send(READY)
        _serve(connection)


if __name__ == "__main__":
    main()
