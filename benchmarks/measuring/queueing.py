"""Searches that wait for several nodes, simulated: what a cluster answers in a second, and how long that takes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SEARCHES = 20_000  # simulated; the 99th percentile of fewer is left to chance
SHARE = 0.99  # of the searches that are to be answered in time
STEPS = 12  # halvings of the interval in which the rate is looked for


@dataclass(frozen=True, slots=True)
class Nodes:
    """A cluster of equal nodes, each of which has its share of the passages, and searches it for every question.

    Attributes:
        number: of primaries.
        search: seconds that one thread of a node takes for its share.
        threads: of a node that search at the same time.
        merging: seconds that the node which was asked takes for the answer of each.
        network: seconds on the way to another node and back.
        spread: standard deviation of the logarithm of a search's time, which differs from question to question.
    """

    number: int
    search: float
    threads: int = 1
    merging: float = 20e-6
    network: float = 200e-6
    spread: float = 0.3


def waits(nodes: Nodes, rate: float, seed: int = 0) -> NDArray[np.float64]:
    """Return how long each of many searches takes that come at a rate a second, independently of each other.

    All nodes are asked at once, and the slowest decides; each works on as many searches at a time as it has threads, in
    the order in which they come. The nodes take turns in being asked, and merging.

    Returns:
        Seconds, shape (SEARCHES,).
    """
    random = np.random.default_rng(seed)
    comes = np.cumsum(random.exponential(1 / rate, SEARCHES))
    merging = nodes.merging * nodes.number
    slowest = np.zeros(SEARCHES)
    for node in range(nodes.number):
        takes = nodes.search * random.lognormal(-(nodes.spread**2) / 2, nodes.spread, SEARCHES)
        takes[node :: nodes.number] += merging  # of what this node was asked itself
        np.maximum(slowest, _ends(comes, takes, nodes.threads), out=slowest)
    return slowest - comes + (nodes.network if nodes.number > 1 else 0.0)


def _ends(comes: NDArray[np.float64], takes: NDArray[np.float64], threads: int) -> NDArray[np.float64]:
    """Return when a node has done what comes, in its order, by so many threads that take turns."""
    ends = np.empty_like(comes)
    for thread in range(threads):
        own = slice(thread, None, threads)
        done = np.cumsum(takes[own])
        # It begins when it comes or when the one before ends (Lindley 1952): the latest beginning of all so far counts.
        ends[own] = done + np.maximum.accumulate(comes[own] - (done - takes[own]))
    return ends


def most_searches(nodes: Nodes, within: float) -> float:
    """Return how many searches a second can come while 99 of 100 are answered within so many seconds; 0 for none."""
    high = nodes.threads / (nodes.search + nodes.merging)
    low = 0.0
    for _ in range(STEPS):
        rate = (low + high) / 2
        if np.quantile(waits(nodes, rate), SHARE) <= within:
            low = rate
        else:
            high = rate
    return low
