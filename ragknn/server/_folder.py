"""The data folder of an embedded Redis: its files, its locks, and the record of its server.

Four lock files show which processes are alive. The kernel holds the locks (flock) and releases them when a process
ends, even when it is killed. So no lock is ever stale.

    users.lock    held shared by each user of the server; free: the server has no users
    server.lock   held by the server, which inherits it from the process that starts it; free: no server runs
    watch.lock    held by the process that ends the server when it has no users left; inherited in the same way
    start.lock    held for a moment by a process that checks the other three, or starts or stops the server

The pid is recorded for people and as a last resort. It does not show whether the server runs: pids are reused, and
the start time of a process changes when the clock is set.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
import sys
import tempfile
import time
import weakref
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Self

from pydantic import BaseModel, ConfigDict, PositiveInt, ValidationError

from ragknn._logs import SERVER as logger  # noqa: N811
from ragknn.errors import ConfigurationError, ServerError

if sys.platform != "win32":  # Windows has no flock, but importing this module must work there
    import fcntl

if TYPE_CHECKING:
    import psutil

LOCK_SECONDS = 60.0  # longest wait for start.lock: longer than a server takes to stop
POLL_SECONDS = 0.02
_FULL = "free some room on its disk, or set RAGKNN_DATA to a folder on another one"
_BARRED = "let this user read and write there (chmod u+rwX), or set RAGKNN_DATA to another folder"
_ADVICE = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), _FULL),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), _BARRED),
    **dict.fromkeys((errno.EISDIR, errno.ENOTDIR), "a file and a folder are mixed up: remove it"),
}
SOCKET_BYTES = 103 if sys.platform == "darwin" else 107  # longest path in sockaddr_un, without the final zero

_warned: set[Path] = set()  # folders of which it was said that all can write to them

_open_locks: weakref.WeakSet[FileIO] = weakref.WeakSet()


class ServerState(BaseModel):
    """The record of the server in the folder.

    Attributes:
        pid: pid of the server's process.
        created: start of that process, in seconds since the epoch; 0 if unknown. Identifies it, with the pid.
        socket: where the server listens; recorded because another process may have another temporary folder.
        stays: whether the server keeps running without users.
        whole: whether the server's file was looked at, and made whole if its end had been torn off.
    """

    model_config = ConfigDict(frozen=True)

    pid: PositiveInt
    created: float
    socket: Path
    stays: bool = False
    whole: bool = False

    @classmethod
    def of_process(cls, pid: int, socket: Path) -> Self:
        """Describe a running process."""
        return cls(pid=pid, created=_created(pid), socket=socket)

    def process(self) -> psutil.Process | None:
        """Find the process; None if it has ended or its pid was reused."""
        import psutil  # late: an optional package

        if abs(_created(self.pid) - self.created) > 1.0:
            return None
        try:
            return psutil.Process(self.pid)
        except psutil.Error:
            return None


class DataFolder:
    """The files and locks of one data folder.

    Attributes:
        path: absolute path without links, so that it is the same in all processes.

    Raises:
        ConfigurationError: the path begins with `~`, and there is no home.
    """

    def __init__(self, path: Path) -> None:
        try:
            self.path = Path(os.path.realpath(path.expanduser()))
        except RuntimeError as error:
            raise ConfigurationError(
                f"expected a folder for the embedded server's data, got {str(path)!r}, and this user has no home: set "
                "RAGKNN_DATA to a folder, or RAGKNN_URL to a Redis of your own"
            ) from error
        self.configuration = self.path / "redis.conf"
        self.log = self.path / "server.log"
        self._state = self.path / "server.json"
        self._start_lock = self.path / "start.lock"
        self._users_lock = self.path / "users.lock"
        self._server_lock = self.path / "server.lock"
        self._watch_lock = self.path / "watch.lock"

    def prepare(self) -> None:
        """Create the folder, for this user alone, and try to write to it.

        Raises:
            ConfigurationError: it is a file, or cannot be created or written.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _open_lock(self._start_lock) as file:
                _try_lock(file)  # some file systems have no locks
            if self.path.stat().st_mode & stat.S_IWOTH and self.path not in _warned:
                _warned.add(self.path)
                logger.warning(
                    "every user of this machine can write to %r, and so read and change what the embedded Redis keeps "
                    "there: chmod 700, or set RAGKNN_DATA to another folder",
                    str(self.path),
                )
        except OSError as error:
            reason = "a file" if self.path.is_file() else error.strerror
            raise ConfigurationError(
                f"expected a folder to write the embedded server's data to, got {str(self.path)!r}: {reason}; "
                "set RAGKNN_DATA to another folder"
            ) from error

    @contextlib.contextmanager
    def own_errors(self) -> Iterator[None]:
        """Say what is to be done where the files of the folder cannot be used.

        Raises:
            ConfigurationError: an OSError was raised.
        """
        try:
            yield
        except OSError as error:
            advice = _ADVICE.get(error.errno or 0, "correct it, or set RAGKNN_DATA to another folder")
            path = error.filename2 or error.filename
            named = f" for {os.fsdecode(path)!r}" if isinstance(path, str | bytes | os.PathLike) else ""
            raise ConfigurationError(
                f"expected to use the embedded server's files in {str(self.path)!r}, got "
                f"{error.strerror or error}{named}: {advice}"
            ) from error

    def exists(self) -> bool:
        """Return whether a server was ever started here and the folder still exists."""
        return self._start_lock.exists()

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other processes from starting or stopping the server.

        The methods below need it, except `has_lock`, `users`, `log_tail` and `socket`.

        Raises:
            ServerError: another process kept the lock for 60 seconds.
        """
        file = _open_lock(self._start_lock)
        deadline = time.monotonic() + LOCK_SECONDS
        try:
            while not _try_lock(file):
                if time.monotonic() > deadline:
                    raise ServerError(
                        f"expected {str(self._start_lock)!r} to be free within {LOCK_SECONDS:.0f} s, but another "
                        "process keeps starting or stopping the embedded server; end that process and try again"
                    )
                time.sleep(POLL_SECONDS)
            yield
        finally:
            release(file)

    def is_running(self) -> bool:
        """Return whether the server's process is alive."""
        return _is_locked(self._server_lock)

    def is_used(self) -> bool:
        """Return whether any process uses the server, this one included."""
        if not self._users_lock.exists():
            return False
        file = _open_lock(self._users_lock)
        try:
            # When nobody holds the lock, the watcher takes it for a moment, and then a shared one cannot be had either.
            return not _try_lock(file) and _try_lock(file, shared=True) and not _try_lock(file)
        finally:
            release(file)

    def use(self) -> FileIO:
        """Register as a user until the returned lock file is released."""
        file = _open_lock(self._users_lock)
        fcntl.flock(file, fcntl.LOCK_SH)  # under `lock` only the watcher may keep it, for a moment
        return file

    def claim(self) -> FileIO | None:
        """Return the lock that a new server must inherit, or None if a server runs."""
        return _claimed(self._server_lock)

    def claim_watch(self) -> FileIO | None:
        """Return the lock that a new watcher must inherit, or None if there is one."""
        return _claimed(self._watch_lock)

    def watched_locks(self) -> tuple[FileIO, FileIO, FileIO]:
        """Open what a watcher looks at: users.lock, start.lock and server.lock, none of them locked."""
        return _open_lock(self._users_lock), _open_lock(self._start_lock), _open_lock(self._server_lock)

    def has_lock(self, descriptor: int) -> bool:
        """Return whether the folder still has an open lock file; not if it was removed, and perhaps made anew."""
        mine = os.fstat(descriptor)
        for path in (self._users_lock, self._start_lock):
            with contextlib.suppress(OSError):
                if os.path.samestat(mine, path.stat()):
                    return True
        return False

    def users(self) -> tuple[int, ...]:
        """Return the pids of the processes that use the server, as far as this user may see them."""
        import psutil  # late: an optional package

        path, watched, pids = str(self._users_lock), str(self._watch_lock), []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):  # another user's process, or one that just ended
                opened = {file.path for file in process.open_files()}
                if path in opened and watched not in opened:
                    pids.append(process.pid)
        return tuple(pids)

    def read_state(self) -> ServerState | None:
        """Read the record of the server; None if it is missing or damaged."""
        try:
            return ServerState.model_validate_json(self._state.read_bytes())
        except (OSError, ValidationError):
            return None

    def write_state(self, state: ServerState) -> None:
        """Record the server; a reader finds the old state or the new one."""
        new = self._state.with_suffix(".new")
        new.write_text(state.model_dump_json(), encoding="utf-8")
        new.replace(self._state)

    def forget_state(self) -> None:
        """Remove the record of the server; one that is left says nothing, as the locks tell what runs."""
        with contextlib.suppress(OSError):
            self._state.unlink(missing_ok=True)

    def put_log_aside(self) -> None:
        """Begin a new log, so that it is about one server; the previous log is kept."""
        if self.log.exists():
            self.log.replace(self.log.with_suffix(".log.old"))

    def log_has(self, words: bytes) -> bool:
        """Return whether the log has a line with these words."""
        if not self.log.exists():
            return False
        with self.log.open("rb") as file:
            return any(words in line for line in file)

    def log_tail(self, n: int) -> str:
        """Return the last n lines of the log, at most 64 kB."""
        if not self.log.exists():
            return ""
        with self.log.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(0, end - 64_000))
            return "\n".join(file.read().decode(errors="replace").splitlines()[-n:])

    def socket(self) -> Path:
        """Choose the socket: in the folder, or in a private temporary folder if that path is too long.

        Raises:
            ConfigurationError: the temporary folder is not private, or its path is too long as well.
        """
        inside = self.path / "redis.sock"
        if _can_be_socket(inside):
            return inside
        folder = _private_temporary_folder()
        outside = folder / f"{hashlib.sha256(os.fsencode(self.path)).hexdigest()[:16]}.sock"
        if not _can_be_socket(outside):
            raise ConfigurationError(
                f"expected a path of at most {SOCKET_BYTES} bytes for the server's socket, got {str(outside)!r}; "
                "set RAGKNN_DATA or TMPDIR to a shorter path"
            )
        return outside


def make_exclusive(file: FileIO) -> bool:
    """Turn a shared lock into an exclusive one if nobody else has it; otherwise it is lost."""
    return _try_lock(file)


def release(file: FileIO) -> None:
    """Release a lock."""
    fcntl.flock(file, fcntl.LOCK_UN)  # closing is not enough while a child that was just forked has a copy
    file.close()


def _open_lock(path: Path) -> FileIO:
    file = path.open("ab", buffering=0)
    _open_locks.add(file)
    return file


def _try_lock(file: FileIO, *, shared: bool = False) -> bool:
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _claimed(path: Path) -> FileIO | None:
    file = _open_lock(path)
    if _try_lock(file):
        return file
    file.close()
    return None


def _is_locked(path: Path) -> bool:
    if not path.exists():
        return False
    file = _open_lock(path)
    try:
        return not _try_lock(file)
    finally:
        release(file)


def _close_locks_of_parent() -> None:
    # Closed, not unlocked: parent and child share the lock, and it belongs to the parent.
    for file in list(_open_locks):
        file.close()


def _created(pid: int) -> float:
    import psutil  # late: an optional package

    try:
        return psutil.Process(pid).create_time()
    except psutil.Error:  # it has ended, or is in another container: it must never be signalled
        return 0.0


def _private_temporary_folder() -> Path:
    folder = Path(tempfile.gettempdir(), f"ragknn-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    # Another user may have created it, and could then intercept the connection to the server.
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise ConfigurationError(
            f"expected {str(folder)!r} to be a folder of this user alone (mode 0700) for the server's socket, got mode "
            f"{stat.filemode(found.st_mode)} of user {found.st_uid}; remove it, or set RAGKNN_DATA to a shorter path"
        )
    return folder


def _can_be_socket(path: Path) -> bool:
    try:
        return len(str(path).encode()) <= SOCKET_BYTES
    except UnicodeEncodeError:  # a URL cannot hold bytes that are not UTF-8
        return False


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_close_locks_of_parent)
