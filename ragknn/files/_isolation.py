"""Parsing files in a process of its own, so that none can take more time or memory than the limits allow."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe
from multiprocessing.spawn import get_executable
from types import TracebackType
from typing import Any

from ragknn.errors import ReadError
from ragknn.files._bytes import File
from ragknn.files._rows import Reading, Rows, folded

Parser = Callable[[File, Reading], Rows]

_START_SECONDS = 60.0
_SECONDS_OF_A_STEP = 0.1  # that each page or row that comes earns the file
_BYTES_OF_A_SECOND = 20_000  # more seconds than its size allows are not earned, or one small page shown often would do
READY, DONE = "ready", None  # what the process sends when it has started, and behind the last row of a file


def parsed(parser: Parser, file: File, reading: Reading) -> Rows:
    """Yield the rows of a file; foreign libraries may raise any error for a damaged one, and it becomes a `ReadError`.

    Raises:
        ReadError: the file cannot be parsed.
        OSError, EOFError, zlib.error: it cannot be read or unpacked.
    """
    try:
        yield from parser(file, reading)
    except (ReadError, OSError, EOFError, zlib.error):
        raise
    except MemoryError as error:
        mib = reading.limits.memory_bytes // 2**20
        reason = f"expected a file that can be parsed with {mib} MiB of memory, got one that needs more"
        raise ReadError(f"{reason}; split it, or raise memory_bytes of Limits") from error
    except Exception as error:
        problem = folded(f"{type(error).__name__}: {error}")[:300]
        raise ReadError(f"expected a {file.path.suffix} file, got {problem}; repair or export it again") from error


class Worker:
    """Parses files in another process, which is started when it is first needed and stopped with the context."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def parse(self, parser: Parser, file: File, reading: Reading) -> Rows:
        """Yield the rows of a file, as the parser does.

        Raises:
            ReadError: as the parser does, or it took too long, or too much memory.
        """
        seconds = reading.limits.seconds
        if seconds is None:
            yield from parsed(parser, file, reading)
            return
        connection = self._started()
        finished = False
        try:
            connection.send((parser, file, reading))
            waited, earned = 0.0, 0.0
            most = file.path.stat().st_size / _BYTES_OF_A_SECOND
            while True:
                left = seconds + min(earned, most) - waited
                begin = time.monotonic()
                if not connection.poll(max(left, 0.0)):
                    raise ReadError(
                        f"expected a file that is parsed within {seconds:g} s, got one that takes longer; "
                        "split or export it again, or raise seconds of Limits"
                    )
                answer = self._received(connection)
                waited, earned = waited + time.monotonic() - begin, earned + _SECONDS_OF_A_STEP
                if answer is DONE or isinstance(answer, BaseException):
                    finished = True
                if answer is DONE:
                    return
                if isinstance(answer, BaseException):
                    raise answer
                yield answer
        finally:
            if not finished:
                self._stop()  # it is still at this file

    def _received(self, connection: Connection) -> Any:
        try:
            return connection.recv()
        except (EOFError, OSError) as error:
            code = None if self._process is None else self._process.wait(_START_SECONDS)
            raise ReadError(
                f"expected a file that can be parsed in the memory there is, got one at which the parser ended (code "
                f"{code}); split or export it again, or raise memory_bytes of Limits"
            ) from error

    def _started(self) -> Connection:
        if self._connection is not None:
            return self._connection
        mine, theirs = Pipe()
        with theirs:
            # The module path of this process, as tests and notebooks change it.
            environ = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
            command = [
                os.fsdecode(get_executable()),
                "-P",
                "-m",
                "ragknn.files._worker",
                str(theirs.fileno()),
                str(os.getpid()),
            ]
            self._process = subprocess.Popen(
                command, pass_fds=[theirs.fileno()], env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
            )
        self._connection = mine
        # The time of a file begins when the process can parse it.
        with suppress(EOFError, OSError):
            if mine.poll(_START_SECONDS) and mine.recv() == READY:
                return mine
        self._stop()
        raise ReadError(
            "expected a process that parses files, got none that starts; look at what it wrote to standard error, or "
            "parse in this process, with seconds=None of Limits"
        )

    def _stop(self) -> None:
        if self._connection is not None:
            self._connection.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._process = self._connection = None
