"""The embedded Redis: one server for each data folder, shared by all processes that use the folder.

The locks of `_folder.py` decide which process starts and stops the server; `_process.py` does it. Nothing starts on
import.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import sys
import weakref
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Self
from urllib.parse import quote

import redis

from ragknn._checks import check_type, described, shown
from ragknn._logs import SERVER as logger  # noqa: N811
from ragknn._plain import Plain
from ragknn._protocol.replies import dotted, module_version
from ragknn.errors import ConfigurationError, MissingDependency, RagKNNError, ServerError
from ragknn.server._folder import DataFolder, ServerState, make_exclusive, release
from ragknn.server._process import LOG_LINES, connect, mend_file, shut_down, spawn, wait_until_ready, watch
from ragknn.server._programs import server_not_found
from ragknn.settings import Settings, load_settings

_holders: weakref.WeakSet[RedisServer] = weakref.WeakSet()
_shared: dict[Path, RedisServer] = {}


@dataclass(frozen=True, slots=True)
class ServerStatus(Plain):
    """Status of the embedded server of a data folder.

    Attributes:
        data: the data folder.
        running: whether the server's process is alive; it may be loading its data, or hang.
        url: where the server listens, or None if it does not run.
        pid: pid of the server's process, or None.
        stays: whether the server keeps running without users.
        redis_version: version of Redis; None, like the next three, if the server did not report it.
        search_version: version of the search module.
        memory_bytes: memory that the server has allocated.
        uptime_seconds: time since the server started.
        users: pids of the processes that use the server, as far as this user may see them.
    """

    data: Path
    running: bool
    url: str | None = None
    pid: int | None = None
    stays: bool = False
    redis_version: str | None = None
    search_version: str | None = None
    memory_bytes: int | None = None
    uptime_seconds: int | None = None
    users: tuple[int, ...] = ()


class RedisServer:
    """A hold on the embedded server of a data folder: `start` joins the running server, or starts one.

    The server stops when the last holder stops. All objects for one folder share one server, in one process or in
    several. In a forked child the copy counts as stopped, and does not affect the parent's server.

    Args:
        data: the data folder; None: the folder in the settings.
        settings: settings to use; None: the environment's.

    Example:
        >>> with RedisServer("data") as server:
        ...     client = redis.Redis.from_url(server.url)
    """

    def __init__(self, data: Path | str | None = None, *, settings: Settings | None = None) -> None:
        if data is not None and not isinstance(data, str | Path):
            raise TypeError(f"expected data as the path of a folder, got {described(data)}")
        self._settings = load_settings() if settings is None else _checked(settings)
        try:
            self._folder = DataFolder(self._settings.data if data is None else Path(data))
        except ValueError as error:
            raise ConfigurationError(f"expected data as the path of a folder, got {shown(data)}: {error}") from error
        self._hold: FileIO | None = None
        self._state: ServerState | None = None

    def start(self) -> Self:
        """Join the server, or start it, and wait until it answers. Called again: start it again if it has died.

        Raises:
            ConfigurationError: the data folder cannot be used, or a setting names a wrong program.
            MissingDependency: psutil is not installed.
            ServerNotFound: there is no server program, or this system cannot run one.
            ServerStartError: the server did not start; the message ends with its log.
            UnsupportedServer: the server is older than 8, or has no search module.
            ServerError: another process has been starting or stopping the server for 60 seconds.
        """
        _require_system()
        with self._folder.own_errors():
            self._folder.prepare()
            held = self._is_held()
            try:
                while not self._join_or_start():
                    logger.debug("the embedded Redis of %s ended while it was joined", self.data)
            except BaseException:
                if not held:  # else other threads may be using it
                    self.stop()
                raise
        return self

    def stop(self) -> None:
        """Release the server; the last holder stops it, after it has written its data. Called again: do nothing.

        Raises:
            ConfigurationError: the files of the data folder cannot be used.
            ServerError: the server did not stop, or another process has been starting or stopping it for 60 seconds.
        """
        with self._folder.own_errors():
            hold, state = self._hold, self._state
            if hold is None or hold.closed:
                return
            self._hold = self._state = None
            _holders.discard(self)
            if not self._folder.has_lock(hold.fileno()):  # the folder was removed, and perhaps made anew for another
                if make_exclusive(hold):
                    shut_down(self._folder, state, removed=True)
                release(hold)
                return
            try:
                with self._folder.lock():  # before the hold is released, or the watcher would end the server
                    release(hold)
                    recorded = self._folder.read_state()
                    if self._folder.is_running() and not self._folder.is_used() and not (recorded and recorded.stays):
                        shut_down(self._folder, recorded or state)
            finally:
                if not hold.closed:
                    release(hold)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"RedisServer({str(self.data)!r})"

    @property
    def data(self) -> Path:
        """The data folder, absolute and without links."""
        return self._folder.path

    @property
    def url(self) -> str:
        """Where the server listens, for `redis.Redis.from_url`.

        Raises:
            ServerError: not started, or stopped.
        """
        return _url(self._started.socket)

    @property
    def pid(self) -> int:
        """The id of the server's process, as `start` found it.

        Raises:
            ServerError: not started, or stopped.
        """
        return self._started.pid

    @property
    def _started(self) -> ServerState:
        if self._state is None or not self._is_held():
            raise ServerError(f"expected a started server, got {self!r} stopped: call start(), or use it in `with`")
        return self._state

    def log_tail(self, n: int = LOG_LINES) -> str:
        """Return the last n lines of the server's log."""
        return self._folder.log_tail(n)

    def _is_held(self) -> bool:
        return self._hold is not None and not self._hold.closed  # closed: in a forked child

    def _join_or_start(self) -> bool:
        """Return whether a server runs now; a joined one may end while we wait for its answer."""
        child = None
        with self._folder.lock():
            if not self._is_held():
                self._hold = self._folder.use()
                _holders.add(self)
                _stop_at_end_of_worker()
            state = self._folder.read_state() if self._folder.is_running() else None
            socket = state.socket if state else self._folder.socket()
            if lock := self._folder.claim():
                with lock:  # closed at the end, not released: the server has inherited it
                    child, state = spawn(self._folder, self._settings, socket, lock)
            if state is None or not state.stays:
                watch(self._folder, state)
        pid = wait_until_ready(self._folder, socket, child)
        if pid is None:
            return False
        with self._folder.lock():
            state = self._folder.read_state()
            # The file may be damaged, or the process that started the server was killed before it wrote the file.
            if state is None or state.pid != pid:
                state = ServerState.of_process(pid, socket)
                self._folder.write_state(state)
            if not state.whole:
                mend_file(self._folder, socket)
                state = state.model_copy(update={"whole": True})
                self._folder.write_state(state)
        self._state = state
        return True


def _checked(settings: Settings) -> Settings:
    check_type("settings", settings, Settings, "pass load_settings()")
    return settings


def shared_server(settings: Settings) -> RedisServer:
    """Return this process's shared embedded server, started on first use and stopped at exit.

    Each data folder has one. A forked child does not inherit it, but gets a hold of its own.

    Raises:
        RagKNNError: as for `RedisServer.start`.
    """
    data = DataFolder(_checked(settings).data).path
    if data in _shared:
        return _shared[data].start()
    server = RedisServer(data, settings=settings).start()
    first = _shared.setdefault(data, server)
    if first is server:
        logger.info("no Redis URL given: using the embedded Redis with data in %s, pid %d", data, server.pid)
    else:  # another thread was first
        server.stop()
    return first


def start_to_stay(settings: Settings) -> ServerStatus:
    """Start the embedded server, or join it, so that it keeps running without users.

    Raises:
        RagKNNError: as for `RedisServer.start`.
    """
    folder = DataFolder(_checked(settings).data)
    with folder.own_errors(), RedisServer(folder.path, settings=settings) as server, folder.lock():
        folder.write_state(server._started.model_copy(update={"stays": True}))
    return server_status(settings)


def stop_server(settings: Settings, *, force: bool = False) -> bool:
    """Stop the embedded server, even if it was started to stay. Return False if none runs.

    Args:
        settings: settings with the data folder.
        force: whether to stop the server even if processes use it.

    Raises:
        ConfigurationError: the files of the data folder cannot be used.
        MissingDependency: psutil is not installed.
        ServerError: processes use the server, it did not stop, or another process has been starting or stopping it
            for 60 seconds.
    """
    folder = DataFolder(_checked(settings).data)
    with folder.own_errors():
        if not folder.exists():
            return False
        _require_system()
        with folder.lock():
            if not folder.is_running():
                return False
            if not force and folder.is_used():
                pids = ", ".join(map(str, folder.users())) or "not visible to this user"
                raise ServerError(
                    f"expected no users of the embedded server of {str(folder.path)!r}, but processes use it "
                    f"(pid {pids}); end them first, or stop it by force"
                )
            shut_down(folder, folder.read_state())
        return True


def server_status(settings: Settings) -> ServerStatus:
    """Return the status of the embedded server; do not start it.

    Raises:
        ConfigurationError: the files of the data folder cannot be used.
        MissingDependency: psutil is not installed.
        ServerError: another process has been starting or stopping the server for 60 seconds.
    """
    folder = DataFolder(_checked(settings).data)
    with folder.own_errors():
        if not folder.exists():
            return ServerStatus(folder.path, running=False)
        _require_system()
        with folder.lock():
            running, state = folder.is_running(), folder.read_state()
    if not running:
        return ServerStatus(folder.path, running=False)
    socket = state.socket if state else folder.socket()
    try:
        with connect(socket) as client:
            info = client.info("server", "memory", "modules")
    except redis.RedisError:
        info = {}  # it hangs, or has just ended
    search = next((module["ver"] for module in info.get("modules", []) if module["name"] == "search"), None)
    return ServerStatus(
        folder.path,
        running=True,
        url=_url(socket),
        pid=info.get("process_id", state and state.pid),
        stays=state is not None and state.stays,
        redis_version=info.get("redis_version"),
        search_version=search and dotted(module_version(search)),
        memory_bytes=info.get("used_memory"),
        uptime_seconds=info.get("uptime_in_seconds"),
        users=folder.users(),
    )


def _require_system() -> None:
    if sys.platform == "win32":
        raise server_not_found("Windows, where the embedded server does not run")
    try:
        import psutil  # noqa: F401  # late: an optional package
    except ImportError as error:
        raise MissingDependency("psutil", "the embedded server", "embedded") from error


def _url(socket: Path) -> str:
    return f"unix://{quote(str(socket))}"


def _stop_at_end_of_worker() -> None:
    # A process that multiprocessing has forked ends without atexit, but runs these finalizers.
    if multiprocessing.parent_process() is not None:
        from multiprocessing import util  # late: only a worker needs it

        util.Finalize(None, _stop_all, exitpriority=0)


def _stop_all() -> None:
    for server in list(_holders):
        try:
            server.stop()
        except RagKNNError as error:
            logger.warning("could not leave the embedded Redis of %s: %s", server.data, error)


def _forget_parent() -> None:
    _holders.clear()
    _shared.clear()


atexit.register(_stop_all)
if sys.platform != "win32":
    os.register_at_fork(after_in_child=_forget_parent)
