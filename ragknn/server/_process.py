"""Starting, awaiting and stopping the process of an embedded Redis. `embedded.py` decides who may do so."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from io import FileIO
from multiprocessing.spawn import get_executable
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from ragknn._logs import SERVER as logger  # noqa: N811
from ragknn._protocol.replies import parse_info
from ragknn._protocol.server import FIRST_WITH_SEARCH, parse_hello
from ragknn.errors import ServerError, ServerStartError, UnsupportedServer
from ragknn.server._folder import POLL_SECONDS, DataFolder, ServerState
from ragknn.server._programs import find_programs
from ragknn.settings import Settings

START_SECONDS = 30.0  # longest wait for the first answer, which usually takes 0.1 s
LOADING_SECONDS = 600.0  # the same, once the server reports that it loads its data: some GB from a slow disk
STOP_SECONDS = 10.0  # for each of three ways to stop the server, the mildest first
REPLY_SECONDS = 2.0  # for one reply of a server that may hang
COLLECT_SECONDS = 0.5  # for a cleanup that corrects scores; answers do not need it
LOG_LINES = 15  # lines at the end of an error
TORN = b"aof-load-truncated is enabled"  # in the log of a server that has read a file without its end

_children: set[int] = set()  # pids of children that nobody has waited for


def spawn(
    folder: DataFolder, settings: Settings, socket: Path, lock: FileIO
) -> tuple[subprocess.Popen[bytes], ServerState]:
    """Start a server that inherits the lock, and record it in the folder.

    Returns:
        The process, which is not ready yet, or has ended already; and the record.

    Raises:
        RagKNNError: as for `find_programs`.
        ServerStartError: the program cannot be run.
    """
    programs = find_programs(settings)
    folder.configuration.write_bytes(_configuration(folder.path, socket, programs.module))
    folder.put_log_aside()
    with folder.configuration.open("rb") as stdin, folder.log.open("ab") as stdout:
        try:
            child = subprocess.Popen(
                # Not the file's name: the server treats a name with *, ? or [ as a pattern. If the pattern matches
                # no file, the server runs without any configuration, on a TCP port.
                [programs.server, "-"],
                stdin=stdin,
                stdout=stdout,
                stderr=subprocess.STDOUT,
                cwd=folder.path,
                umask=0o077,
                start_new_session=True,
                pass_fds=[lock.fileno()],
            )
        except OSError as error:
            raise _start_error(folder, f"{str(programs.server)!r} cannot be run: {error.strerror}") from error
    try:
        state = ServerState.of_process(child.pid, socket)
        folder.write_state(state)
    except BaseException:
        child.kill()
        child.wait()
        raise
    return child, state


def watch(folder: DataFolder, state: ServerState | None) -> None:
    """Start a process that ends the server when its last user has ended; none if there is one. The caller has the lock.

    It lives as long as the server has users. Without an interpreter to run it, the next user ends the server.
    """
    _reap()
    program = os.fsdecode(get_executable() or b"")
    if getattr(sys, "frozen", False) or not Path(program).name.lower().startswith(("python", "pypy")):
        logger.info("%r runs no script: if its users are killed, the embedded Redis of %s stays", program, folder.path)
        return
    try:
        child = _start_watcher(program, folder, state)
    except OSError as error:  # the server does without
        logger.warning("could not watch the embedded Redis of %s: %s", folder.path, error)
        return
    if child is not None:
        child.returncode = 0  # it may outlive this process, and Popen would warn about that
        _children.add(child.pid)


def _start_watcher(program: str, folder: DataFolder, state: ServerState | None) -> subprocess.Popen[bytes] | None:
    if (lock := folder.claim_watch()) is None:
        return None
    with lock, contextlib.ExitStack() as opened:  # closed, not released: the watcher has inherited it
        descriptors = [opened.enter_context(file).fileno() for file in folder.watched_locks()] + [lock.fileno()]
        then = ["-P", "-m", "ragknn.server._ending", str(folder.path), state.model_dump_json() if state else ""]
        return subprocess.Popen(
            [program, "-E", "-S", str(Path(__file__).with_name("_watcher.py")), *map(str, descriptors), *then],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env={**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))},
            start_new_session=True,
            pass_fds=descriptors,
        )


def _reap() -> None:
    for pid in list(_children):
        try:
            ended, _ = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:  # of the process that this one was forked from, or somebody has waited for it
            ended = pid
        if ended:
            _children.discard(pid)


def _configuration(data: Path, socket: Path, module: Path | None) -> bytes:
    lines = [
        b"port 0",
        b"unixsocket " + _quoted(socket),
        b"unixsocketperm 700",
        b"dir " + _quoted(data),
        b"appendonly yes",
        b"appendfsync everysec",
        b'save ""',
        b"daemonize no",
        b"enable-debug-command local",  # for `_collect`: search 8 takes it under this setting only
        b"locale-collate C",  # the server ends if the user's locale is not installed
    ]
    if module is not None:
        # Replaced passages are counted twice as well (see `_collect`); by default the server waits for 100 of them.
        collecting = b" FORK_GC_CLEAN_THRESHOLD 1 FORK_GC_RUN_INTERVAL 5"
        # While another version of an index is built, searches wait until so many passages were added to it. By default
        # it is 100, which may take 70 ms; with 1, a server with much else to do would hardly come to an end.
        building = b" BG_INDEX_SLEEP_GAP 10"
        lines.append(b"loadmodule " + _quoted(module) + collecting + building)
    return b"\n".join([*lines, b""])


def _quoted(path: Path) -> bytes:
    escaped = (b"\\x%02x" % byte if byte < 0x20 or byte in b'"\\' else b"%c" % byte for byte in os.fsencode(path))
    return b'"%b"' % b"".join(escaped)


def wait_until_ready(folder: DataFolder, socket: Path, child: subprocess.Popen[bytes] | None) -> int | None:
    """Wait until the server answers and has search.

    Args:
        folder: the server's data folder.
        socket: where the server listens.
        child: the server's process if it was just started; None if it was already running.

    Returns:
        The pid of the server; None if it was already running and has ended.

    Raises:
        ServerStartError: the started server has ended, or the server does not answer.
        UnsupportedServer: the server has no search module.
    """
    began, patience = time.monotonic(), START_SECONDS
    try:
        while time.monotonic() - began < patience:
            try:
                with connect(socket) as client:
                    client.ping()
                    indexes = client.execute_command("FT._LIST")
                    if child is not None:
                        _collect(client, indexes)
                    return int(client.info("server")["process_id"])
            except redis.BusyLoadingError:
                patience = LOADING_SECONDS
            except (redis.ConnectionError, redis.TimeoutError):
                pass  # it does not listen yet, or has ended
            except redis.ResponseError as error:
                if "unknown command" not in str(error):
                    raise _start_error(folder, f"it answered: {error}") from error
                raise UnsupportedServer(
                    "expected a server with the search module, got one that does not know FT._LIST; "
                    "set RAGKNN_SEARCH_MODULE to its redisearch.so, or pip install 'ragknn[embedded]'"
                ) from error
            if child is not None and child.poll() is not None:
                raise _start_error(folder, f"it ended with status {child.returncode}")
            if child is None:
                with folder.lock():
                    if not folder.is_running():
                        return None
            time.sleep(POLL_SECONDS)
        raise _start_error(folder, f"it did not answer within {patience:.0f} s")
    finally:
        if child is not None and child.returncode is None:
            child.returncode = 0  # the server may outlive this process, and Popen would warn about that
            _children.add(child.pid)


def mend_file(folder: DataFolder, socket: Path) -> None:
    """Write the server's append-only file anew if its end was torn off. The caller holds the lock.

    Where a loss of power has cut the file within a transaction, the server leaves its first part out now, but keeps it
    in the file: with what is appended to it, the next start would run half a transaction. The server goes on with the
    old file until the new one is complete, so that this may be interrupted and done again.

    Raises:
        ServerError: the server does not do it.
    """
    if not folder.log_has(TORN):
        return
    logger.warning("the file of the embedded Redis of %s was cut: what was written last is lost", folder.path)
    began = time.monotonic()
    try:
        with connect(socket) as client:
            client.config_set("appendonly", "no")  # its being switched on again is what replaces all files in one step
            client.config_set("appendonly", "yes")
            while time.monotonic() - began < LOADING_SECONDS:
                state = client.info("persistence")
                if not state["aof_rewrite_in_progress"] and not state["aof_rewrite_scheduled"]:
                    if state["aof_last_bgrewrite_status"] == "ok":
                        return
                    client.config_set("appendonly", "no")
                    break
                time.sleep(POLL_SECONDS)
    except redis.RedisError as error:
        raise ServerError(f"{_not_mended(folder)}: {error}") from error
    raise ServerError(f"{_not_mended(folder)}; the end of {folder.log.name}:\n{folder.log_tail(LOG_LINES)}")


def _not_mended(folder: DataFolder) -> str:
    return (
        f"expected the embedded server to write its file in {str(folder.path)!r} anew, whose end was cut, but it did "
        "not: see that there is room on the disk, and try again"
    )


def _collect(client: Any, indexes: list[str]) -> None:
    """Let the server clean up words that it counts twice.

    Search 2.10 indexes everything a second time after it has loaded its data. Until the first entries are collected,
    a word seems to be in more passages than there are, and outweighs all other words in the text score (BM25STD).
    Large indexes take too long to wait for; the server cleans them up in the background.
    """
    patience = time.monotonic() + COLLECT_SECONDS
    search = parse_hello(client.execute_command("HELLO")).search
    command = "_FT.DEBUG" if search and search >= FIRST_WITH_SEARCH else "FT.DEBUG"
    for index in indexes:
        try:
            while parse_info(client.execute_command("FT.INFO", index)).building and time.monotonic() < patience:
                time.sleep(POLL_SECONDS)
            left = round(1000 * (patience - time.monotonic()))
            if left > 0:
                client.execute_command(command, "GC_FORCEINVOKE", index, left)
        except redis.ResponseError as error:
            # Removed meanwhile, or a server that lacks the command: it collects by itself, some seconds later.
            logger.info("the embedded Redis did not clean up the index %s: %s", index, error)


def _start_error(folder: DataFolder, what: str) -> ServerStartError:
    return ServerStartError(
        f"expected the embedded server to start in {str(folder.path)!r}, but {what}. Fix the problem in its log, set "
        "RAGKNN_REDIS_SERVER and RAGKNN_SEARCH_MODULE to other programs, or RAGKNN_URL to a running server. "
        f"The end of {folder.log.name}:\n{folder.log_tail(LOG_LINES) or '(nothing)'}"
    )


def shut_down(folder: DataFolder, state: ServerState | None, *, removed: bool = False) -> None:
    """Stop the server by a command, then by signals to the process in the state.

    Args:
        folder: the server's data folder; the caller holds its lock.
        state: the record of the server, or None.
        removed: whether the folder was removed; what is at its path now is not the server's.

    Raises:
        ServerError: the server keeps running; or it does not answer and its process is not known for certain.
    """
    import psutil  # late: an optional package

    socket = state.socket if state else folder.socket()
    process = state.process() if state else None

    def ask() -> None:
        with contextlib.suppress(redis.RedisError), connect(socket) as client:
            client.shutdown()

    def is_gone() -> bool:
        # The lock, not the process: when that is a zombie, its other threads may still be writing.
        if not removed:
            return not folder.is_running()
        with contextlib.suppress(psutil.NoSuchProcess):
            return process is None or process.status() == psutil.STATUS_ZOMBIE
        return True

    steps = [ask]
    if removed:  # nothing to write; and with any milder way it would remove the socket of another server at that path
        steps = [process.kill] if process else []
    elif process is not None:
        # No socket: the server is just starting. After a signal it writes its data too.
        steps = [*(steps if socket.exists() else []), process.terminate, process.kill]
    for step in steps:
        deadline = time.monotonic() + STOP_SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(psutil.NoSuchProcess):
                step()
            if is_gone():
                if process is not None:
                    with contextlib.suppress(ChildProcessError):  # another process's child
                        os.waitpid(process.pid, 0)
                    _children.discard(process.pid)
                if not removed:
                    folder.forget_state()
                return
            time.sleep(POLL_SECONDS)
    raise ServerError(
        f"expected the embedded server of {str(folder.path)!r} to stop, but "
        f"{f'process {process.pid} keeps running' if process else 'it does not answer and its pid is not known'}; "
        "end its redis-server process yourself"
    )


def connect(socket: Path) -> redis.Redis:
    """Return a client with short timeouts and no retries."""
    return redis.Redis(
        unix_socket_path=str(socket),
        socket_timeout=REPLY_SECONDS,
        socket_connect_timeout=REPLY_SECONDS,
        retry=Retry(NoBackoff(), 0),  # the callers retry or continue
        decode_responses=True,
    )
