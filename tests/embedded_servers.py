"""Looking at embedded servers and at the processes that use them."""

import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import unquote

import psutil
import redis

import ragknn
from ragknn.server.embedded import RedisServer

HOLD = """
import sys
from ragknn.server.embedded import RedisServer
print("ready", flush=True)
sys.stdin.readline()
with RedisServer(sys.argv[1]) as server:
    print(server.pid, flush=True)
    sys.stdin.readline()
"""


def is_locked(path: Path) -> bool:
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def opened_by(process: psutil.Process) -> list[str]:
    try:
        return [file.path for file in process.open_files()]
    except psutil.Error:
        return []


def lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def ended(pid: int) -> bool:
    """Wait for the end of a process that may be another's child: for a moment it is neither there nor gone."""
    deadline = time.monotonic() + 10
    while lives(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not lives(pid)


def connect(embedded: RedisServer) -> redis.Redis:
    return redis.Redis.from_url(embedded.url, protocol=3, decode_responses=True)


def socket_of(embedded: RedisServer) -> Path:
    return Path(unquote(embedded.url.removeprefix("unix://")))


def put(embedded: RedisServer, key: str, value: str) -> None:
    with connect(embedded) as client:
        client.set(key, value)


def get(embedded: RedisServer, key: str) -> str | None:
    with connect(embedded) as client:
        return client.get(key)


def python(script: str, *arguments: object, **options) -> subprocess.Popen[str]:
    """Start a script in a process of its own, with pipes to talk to it."""
    root = Path(ragknn.__file__).parent.parent
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root)},
        **options,
    )


def finish(process: subprocess.Popen[str], line: str = "\n") -> list[str]:
    """Let a script go on to its end and return the rest of its lines; it must not have failed."""
    out, err = process.communicate(line, timeout=60)
    assert (process.returncode, err) == (0, "")
    return out.splitlines()


def say(process: subprocess.Popen[str], line: str = "\n") -> str:
    """Let a script go on and return the next line it prints."""
    process.stdin.write(line)
    process.stdin.flush()
    return process.stdout.readline().strip()


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate(timeout=60)


def program(path: Path, script: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path
