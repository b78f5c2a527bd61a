"""Races at several sizes, as curves."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from benchmarks.measuring.racing import Race
from benchmarks.measuring.results import Curve, Line


def grow(name: str, x: str, sizes: Iterable[int], run: Callable[[int], Race]) -> Curve:
    """Run a race at each size, and return its times as a curve: milliseconds, or things per second."""
    races = {size: run(size) for size in sizes}
    unit = next(iter(races.values())).unit
    found: dict[str, list[tuple[float, float, float, float]]] = {}
    for size, race in races.items():
        for times in race.times:
            low, *_, high = sorted(race.amount(seconds) for seconds in (*times.seconds, times.median))
            found.setdefault(times.name, []).append((size, race.amount(times.median), low, high))
    lines = tuple(Line(contender, *zip(*points, strict=True)) for contender, points in found.items())
    return Curve(name, x, f"{unit}/s" if unit else "ms", lines)
