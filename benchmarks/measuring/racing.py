"""Timing contenders that take turns."""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

OURS = "ragknn"
RUNS = 5
TURN = 10  # calls that a contender makes before it is the next one's turn: the processor's caches are its own by then

# ragknn; a library that does the same, on the same server where it uses one; the least that can be done, such as the
# bare command; something that does less, such as an engine in the process, without a server.
Kind: TypeAlias = Literal["ours", "peer", "floor", "other"]
Facts: TypeAlias = dict[str, float | str]


@dataclass(frozen=True, slots=True)
class Contender:
    """Someone who does the work of a race.

    Attributes:
        name: its name; `OURS` is the one that the others are compared with.
        run: does the work, and is timed; gets the number of the call, so that it can take another query each time.
        prepare: called before each run, and not timed.
        kind: what it is.
        facts: returns what is told beside its times, such as its recall; called after the race.
    """

    name: str
    run: Callable[[int], object]
    prepare: Callable[[], object] | None = None
    kind: Kind = "peer"
    facts: Callable[[], Facts] | None = None


@dataclass(frozen=True, slots=True)
class Times:
    """The times of a contender.

    Attributes:
        name: of the contender.
        kind: of the contender.
        seconds: one for each run; the median of a call, where a run has several.
        facts: what is told beside.
    """

    name: str
    kind: Kind
    seconds: tuple[float, ...]
    facts: Facts

    @property
    def median(self) -> float:
        """The median run, in seconds."""
        return statistics.median(self.seconds)


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times quicker ragknn was: the median run, and the lowest and highest of all runs."""

    median: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Race:
    """Who took how long for the same work.

    Attributes:
        name: what was done.
        times: of each contender; ragknn is among them.
        work: things done in a run.
        unit: what they are, in the plural; "" where one thing was done, and its time is what counts.
    """

    name: str
    times: tuple[Times, ...]
    work: int = 1
    unit: str = ""

    def of(self, name: str) -> Times:
        """Return the times of a contender."""
        return next(times for times in self.times if times.name == name)

    def amount(self, seconds: float) -> float:
        """Return the time of a run as the race shows it: things per second, or milliseconds."""
        return self.work / seconds if self.unit else 1000 * seconds

    def ratio(self, other: Times) -> Ratio:
        """Return the other's time as a multiple of ragknn's in the same run: above 1 ragknn is quicker."""
        ratios = [theirs / ours for theirs, ours in zip(other.seconds, self.of(OURS).seconds, strict=True)]
        return Ratio(statistics.median(ratios), min(ratios), max(ratios))

    @property
    def best(self) -> Times | None:
        """The quickest peer; where there is none, the floor, then what does less."""
        for kind in ("peer", "floor", "other"):
            if those := [times for times in self.times if times.kind == kind]:
                return min(those, key=lambda times: times.median)
        return None


def race(
    name: str, contenders: Sequence[Contender], *, runs: int = RUNS, calls: int = 1, work: int = 1, unit: str = ""
) -> Race:
    """Time the contenders, who take turns, after a warm-up of each.

    Args:
        name: what is done.
        contenders: who does it.
        runs: how often, at least once.
        calls: calls in a run; with several, the run's time is the median call, and the 95th percentile of all calls
            becomes a fact.
        work: things done in a call.
        unit: what they are; "" where one thing is done.
    """
    for contender in contenders:
        _timed(contender, 0)
    seconds: dict[str, list[list[float]]] = {contender.name: [] for contender in contenders}
    for run in range(runs):
        for contender in contenders:
            seconds[contender.name].append([])
        for turn, first in enumerate(range(run * calls, (run + 1) * calls, TURN)):
            start = turn % len(contenders)  # nobody always follows the same one
            for contender in (*contenders[start:], *contenders[:start]):
                own = seconds[contender.name][run]
                own += [_timed(contender, call) for call in range(first, min(first + TURN, (run + 1) * calls))]
    times = []
    for contender in contenders:
        own = seconds[contender.name]
        facts: Facts = contender.facts() if contender.facts else {}
        if calls > 1:
            facts["p95 ms"] = round(1000 * _percentile([one for run in own for one in run], 0.95), 3)
        times.append(Times(contender.name, contender.kind, tuple(map(statistics.median, own)), facts))
    return Race(name, tuple(times), work, unit)


def _timed(contender: Contender, call: int) -> float:
    if contender.prepare:
        contender.prepare()
        gc.collect()  # what is left of the one before shall not be collected in the time of this one
    began = time.perf_counter()
    result = contender.run(call)
    seconds = time.perf_counter() - began
    del result  # in nobody's time
    return seconds


def _percentile(values: list[float], share: float) -> float:
    return sorted(values)[math.ceil(share * len(values)) - 1]
