"""A drill of rebuilding: SIGKILL of the process that rebuilds, or of the server, at points of time drawn by chance.

    python -m drill_rebuilding --seed 1 --trials 20 --kill process      (in the folder tests)
    python -m drill_rebuilding --seed 1 --trials 20 --kill server

Meanwhile an index that was opened before is searched all the time, and another writes to it (not where the server is
killed). After each kill the index must answer rightly, the next call must go on or begin anew, and nothing may be left
but the version that serves.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from servers import private_server

from ragknn import Index, Indexer, Retriever
from ragknn._protocol.replies import parse_info

NAME, ROWS, DIM, K = "drill", 2_000, 32, 5
VECTORS = np.random.default_rng(0).standard_normal((ROWS, DIM)).astype(np.float32)
QUERIES = np.random.default_rng(1).standard_normal((20, DIM)).astype(np.float32)
LEAST_OF_A_GRAPH = 0.95  # recall of an hnsw index

# What is changed, and the two values that it has in turn: the passages stay as they are, or are written anew.
CHANGES = {"algorithm": ("flat", "hnsw"), "dtype": ("float32", "float64")}

REBUILDING = """
import sys
from ragknn import Index
url, name, what, one, other = sys.argv[1:]
with Index(name, url=url) as index:
    print("ready", flush=True)
    index.rebuild(**{what: other if getattr(index.schema, what) == one else one})
    print("done", flush=True)
"""


@dataclass
class Found:
    """What came of the trials."""

    faults: list[str] = field(default_factory=list)
    trials: Counter[str] = field(default_factory=Counter)
    searches: int = 0
    written: list[str] = field(default_factory=list)


def truth() -> list[set[str]]:
    """Return the nearest documents of each query, by brute force."""
    rows = VECTORS / np.linalg.norm(VECTORS, axis=1, keepdims=True)
    return [{f"d{row}" for row in np.argsort(-(rows @ query))[:K]} for query in QUERIES]


def look(retriever: Retriever, found: Found) -> None:
    """Search, and compare with what is right for one of the versions that served meanwhile."""
    algorithms = {retriever.index.schema.algorithm}
    shares = [
        len({neighbor.passage.document_id for neighbor in neighbors} & right) / K
        for neighbors, right in zip(retriever.kneighbors(QUERIES, K), truth(), strict=True)
    ]
    algorithms.add(retriever.index.schema.algorithm)
    found.searches += len(shares)
    if sum(shares) / len(shares) < (1 if algorithms == {"flat"} else LEAST_OF_A_GRAPH):
        found.faults.append(f"wrong neighbors: {sum(shares) / len(shares):.3f} of them by {algorithms}")


@contextmanager
def busy(url: str, found: Found) -> Iterator[None]:
    """Search and write all the time, in threads with an index each that is opened once."""
    ended = threading.Event()

    def searching() -> None:
        with Index(NAME, url=url) as index:
            retriever = Retriever(index)
            while not ended.is_set():
                try:
                    look(retriever, found)
                except Exception as error:
                    found.faults.append(f"a search failed: {error!r}")

    def writing() -> None:
        with Index(NAME, url=url) as index:
            indexer = Indexer(index)
            while not ended.wait(0.005):
                own = f"w{len(found.written)}"
                try:
                    indexer.add_vectors([own], [None], texts=["none"]).raise_for_failures()
                    found.written.append(own)
                except Exception as error:
                    found.faults.append(f"a write failed: {error!r}")

    threads = [threading.Thread(target=searching), threading.Thread(target=writing)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def killed(url: str, victim: str, after: float, what: str) -> bool:
    """Begin a rebuild in a process, and kill it or the server after so many seconds; return whether it had ended."""
    with Index(NAME, url=url) as index:
        server = index.client.info("server")["process_id"]
    command = [sys.executable, "-c", REBUILDING, url, NAME, what, *CHANGES[what]]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(after)
        os.kill(process.pid if victim == "process" else server, signal.SIGKILL)
        return "done" in process.stdout.read()


def go_on(url: str, found: Found, what: str) -> None:
    """Open the index, look, rebuild it, and look at what is left."""
    with Index(NAME, url=url) as index:
        look(Retriever(index), found)
        one, other = CHANGES[what]
        report = index.rebuild(**{what: other if getattr(index.schema, what) == one else one})
        found.trials["gone on with" if report.resumed else "begun anew"] += 1
        look(Retriever(index), found)
        client = index.client
        there = [one.decode() for one in client.execute_command("FT._LIST")]
        serving = parse_info(client.execute_command("FT.INFO", f"ragknn:{NAME}")).name
        if there != [serving] or client.hexists(f"ragknn:{NAME}:manifest", "rebuild"):
            found.faults.append(f"left over: {there}, of which {serving} serves")
        if stores := {key.partition(b"{")[0] for key in client.scan_iter("*{*", count=1000)} - {
            index._keys.passage_prefix.encode()
        }:
            found.faults.append(f"left over: passages in {sorted(stores)}")


def drill(seed: int, trials: int, victim: str, folder: Path) -> Found:
    """Kill so many times, and return what was found."""
    found = Found()
    (_killing_servers if victim == "server" else _killing_processes)(random.Random(seed), trials, folder, found)
    return found


@contextmanager
def started(folder: Path) -> Iterator[str]:
    """Run the server of the folder, and yield its URL; the index is made where there is none."""
    (folder / "s.sock").unlink(missing_ok=True)
    with private_server(folder, "--appendonly", "yes", "--appendfsync", "always") as url:
        with Index(NAME, url=url, dim=DIM) as index:
            if index.count() == 0:
                Indexer(index).add_vectors([f"d{row}" for row in range(ROWS)], VECTORS)
        yield url


def _killing_processes(chance: random.Random, trials: int, folder: Path, found: Found) -> None:
    longest = 0.5
    with started(folder) as url:
        with busy(url, found):
            for _ in range(trials):
                what = chance.choice(list(CHANGES))
                longest *= 0.9 if killed(url, "process", chance.random() * longest, what) else 1.05
                go_on(url, found, what)
        with Index(NAME, url=url) as index:
            lost = index.exists(found.written).count(False)
            if lost or index.count() != ROWS + len(found.written):
                found.faults.append(f"{lost} of {len(found.written)} documents lost, {index.count()} passages")


def _killing_servers(chance: random.Random, trials: int, folder: Path, found: Found) -> None:
    longest = 0.5
    for _ in range(trials):
        what = chance.choice(list(CHANGES))
        with started(folder) as url:
            longest *= 0.9 if killed(url, "server", chance.random() * longest, what) else 1.05
        with started(folder) as url:
            go_on(url, found, what)


def main() -> None:
    """Run the drill on a server of its own, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--kill", choices=["process", "server"], default="process")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = drill(options.seed, options.trials, options.kill, Path(folder))
    print(
        f"seed {options.seed}: {options.trials} kills of the {options.kill}; the next calls: {dict(found.trials)}; "
        f"{found.searches} searches, {len(found.written)} documents written meanwhile"
    )
    for fault in found.faults[:20]:
        print(f"FAULT {fault}")
    print(f"{len(found.faults)} faults")
    sys.exit(bool(found.faults))


if __name__ == "__main__":
    main()
