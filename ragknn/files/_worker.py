"""The process that parses files for `ragknn.files._isolation`: a program that nothing imports."""

from __future__ import annotations

import os
import resource  # not on Windows
import sys
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from ragknn.errors import RagKNNError, ReadError
from ragknn.files._isolation import DONE, READY


def _serve(connection: Connection) -> None:
    """Parse files until the other side has no more."""
    while True:
        try:
            parser, file, reading = connection.recv()
        except EOFError:
            return
        _limit_memory(reading.limits.memory_bytes)
        try:
            for row in parser(file, reading):
                connection.send(row)
            answer: Any = DONE
        except (OSError, UnicodeError, EOFError) as error:
            answer = error
        except RagKNNError as error:
            answer = ReadError(str(error))
        except MemoryError:
            mib = reading.limits.memory_bytes // 2**20
            answer = ReadError(f"expected a file that can be parsed with {mib} MiB of memory, got one that needs more")
        except Exception as error:  # a parser may raise any error for a damaged file
            problem = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            answer = ReadError(f"expected a {file.path.suffix} file, got {problem}; repair or export it again")
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
