"""A Redis Cluster on this machine, with the stand-in for the coordinator of its search before each node."""

import json
import signal
import socket
import subprocess
import sys
import time
from binascii import crc_hqx
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from typing import Self

import redis
from servers import READY_SECONDS

from ragknn.server._programs import find_programs
from ragknn.settings import Settings

SLOTS = 16_384
PRIMARIES = 3
NODE_TIMEOUT = 800  # milliseconds after which a node that does not answer counts as failed
FIRST = (0, 5_462, 10_923)  # slot of each primary


def slot_of(key: str) -> int:
    """Return the slot of a key."""
    _, brace, rest = key.partition("{")
    tag, end, _ = rest.partition("}")
    return crc_hqx((tag if brace and end and tag else key).encode(), 0) % SLOTS


def until(holds: Callable[[], object], seconds: float = READY_SECONDS) -> None:
    """Wait until something holds, which is asked for all the time."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.01)


def free_ports(number: int) -> list[int]:
    doors = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [door.getsockname()[1] for door in doors]
    for door in doors:
        door.close()
    return ports


class Node:
    """One server, the port of the proxy before it, and the shadow that has its search indexes."""

    def __init__(self, folder: Path, ports: list[int], options: tuple[str, ...]) -> None:
        self.port, self.bus, self.proxy, self.shadow = ports
        self._folder, self._options = folder, options
        folder.mkdir()
        self.start()

    def start(self) -> None:
        programs = find_programs(Settings())
        module = ["--loadmodule", str(programs.module)] if programs.module else []
        where = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._folder), "--save", ""]
        cluster = ["--cluster-enabled", "yes", "--cluster-port", str(self.bus), "--cluster-announce-ip", "127.0.0.1"]
        announced = ["--cluster-announce-port", str(self.proxy), "--cluster-announce-bus-port", str(self.bus)]
        timing = ["--cluster-node-timeout", str(NODE_TIMEOUT), "--cluster-replica-validity-factor", "0"]
        replica = ["--repl-diskless-sync-delay", "0", "--cluster-allow-replica-migration", "no", "--appendonly", "no"]
        with (self._folder / "log").open("a") as log:
            self._process = subprocess.Popen(
                [str(programs.server), *where, *cluster, *announced, *timing, *replica, *module, *self._options],
                stdout=log,
            )
            follows = ["--replicaof", f"127.0.0.1 {self.port}", "--replica-read-only", "no", "--save", ""]
            where = ["--port", str(self.shadow), "--bind", "127.0.0.1", "--dir", str(self._folder)]
            self._shadow = subprocess.Popen([str(programs.server), *where, *follows, *module], stdout=log)
        self.client = redis.Redis(port=self.port)
        until(self.answers)
        self.id = self("CLUSTER", "MYID").decode()

    def answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except redis.BusyLoadingError:
            return False
        except redis.ConnectionError:
            assert self._process.poll() is None, (self._folder / "log").read_text()
            return False

    def __call__(self, *command: object) -> object:
        """Return what the server answers, without the proxy."""
        return self.client.execute_command(*command)

    @property
    def state(self) -> dict[str, str]:
        lines = self("CLUSTER", "INFO").decode().splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def sees(self) -> dict[str, list[str]]:
        """Return what it knows of each node: the words of its line, by the node's id."""
        return {line.split()[0]: line.split()[1:] for line in self("CLUSTER", "NODES").decode().splitlines()}

    @property
    def is_primary(self) -> bool:
        return "master" in self.sees()[self.id][1]

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self.client.close()

    def stop(self) -> None:
        """Let it answer nothing, and keep its connections."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def end(self) -> None:
        self._shadow.kill()
        self._shadow.wait()
        if self._process.poll() is None:
            self.go_on()
            self.kill()


class Bed:
    """Three primaries, a replica of the first, and one node more that is not in the cluster yet."""

    def __init__(self, folder: Path, *options: str) -> None:
        ports = free_ports(4 * (PRIMARIES + 2))
        self.nodes = [
            Node(folder / f"node{number}", ports[4 * number : 4 * number + 4], options)
            for number in range(PRIMARIES + 2)
        ]
        *self.primaries, self.replica, self.spare = self.nodes
        told = [(node.proxy, node.port, node.shadow) for node in self.nodes]
        self._proxies = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("coordinator.py"), json.dumps(told)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def form(self) -> None:
        """Make one cluster of the nodes."""
        assert self._proxies.stdout is not None
        assert self._proxies.stdout.readline() == b"ready\n"
        bounds = [*FIRST, SLOTS]
        for node, first, end in zip(self.primaries, bounds, bounds[1:], strict=False):
            node("CLUSTER", "ADDSLOTSRANGE", first, end - 1)
        for node in self.nodes[: PRIMARIES + 1]:  # each of them, which is quicker than to let them tell each other
            for other in self.nodes[: PRIMARIES + 1]:
                if other is not node:
                    node("CLUSTER", "MEET", "127.0.0.1", other.proxy, other.bus)
        until(lambda: all(self.know_each_other(node) for node in self.nodes[: PRIMARIES + 1]))
        self.replica("CLUSTER", "REPLICATE", self.primaries[0].id)
        until(lambda: all(node.state["cluster_state"] == "ok" for node in self.nodes[: PRIMARIES + 1]))
        until(lambda: self.replica.client.info("replication").get("master_link_status") == "up")

    @property
    def url(self) -> str:
        return f"redis+cluster://127.0.0.1:{self.primaries[0].proxy},127.0.0.1:{self.primaries[1].proxy}"

    def know_each_other(self, node: Node) -> bool:
        seen = node.sees().values()
        return len(seen) == PRIMARIES + 1 and not any("handshake" in words[1] for words in seen)

    def meet(self, node: Node) -> None:
        self.primaries[0]("CLUSTER", "MEET", "127.0.0.1", node.proxy, node.bus)

    def take_over(self, node: Node) -> None:
        """Make a replica the primary of its slots, as soon as the one that is knows of it."""
        until(lambda: not node.is_primary)  # it may have to learn that it is none any more
        followed = node.sees()[node.id][2]
        [primary] = (one for one in self.nodes if one.id == followed)
        until(lambda: primary.sees()[node.id][2] == primary.id)
        until(lambda: node.client.info("replication").get("master_link_status") == "up")
        node("CLUSTER", "FAILOVER")
        until(lambda: node.is_primary)

    def surprise(self, what: str, is_on: bool) -> None:
        with redis.Redis(port=self.primaries[1].proxy) as client:
            client.execute_command("STANDIN", what, "yes" if is_on else "no")

    def owner(self, slot: int) -> Node:
        """Return the node that has a slot, as the second primary knows it."""
        for first, last, (_, port, *_), *_ in self.primaries[1].client.execute_command("CLUSTER SLOTS"):
            if first <= slot <= last:
                return next(node for node in self.nodes if node.proxy == port)
        raise LookupError(slot)

    def close(self) -> None:
        assert self._proxies.stdin is not None
        self._proxies.stdin.close()
        self._proxies.wait()
        self._proxies.stdout.close()
        for node in self.nodes:
            node.end()
            node.client.close()


@contextmanager
def running_cluster(folder: Path, *options: str) -> Iterator[Bed]:
    bed = Bed(folder, *options)
    try:
        bed.form()
        yield bed
    finally:
        bed.close()


class Beds:
    """Clusters, of which the next one is made while one is used: to make one is to wait for two seconds."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = count()
        self._maker = ThreadPoolExecutor(1)
        self._next: Future[tuple[ExitStack, Bed]] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._next is not None:
            self._next.result()[0].close()
        self._maker.shutdown()

    @contextmanager
    def one(self) -> Iterator[Bed]:
        """Yield one that nobody else has."""
        made = self._next or self._maker.submit(self._made)
        self._next = self._maker.submit(self._made)
        stack, bed = made.result()
        with stack:
            yield bed

    def _made(self) -> tuple[ExitStack, Bed]:
        folder = self._folder / str(next(self._numbers))
        folder.mkdir()
        stack = ExitStack()
        return stack, stack.enter_context(running_cluster(folder))


def begin_to_move(slot: int, source: Node, target: Node) -> None:
    """Open a slot: from now on its keys may be moved."""
    target("CLUSTER", "SETSLOT", slot, "IMPORTING", source.id)
    source("CLUSTER", "SETSLOT", slot, "MIGRATING", target.id)


def move_keys(slot: int, source: Node, target: Node, number: int = 1_000) -> int:
    """Move some keys of a slot that is open; return how many."""
    keys = source("CLUSTER", "GETKEYSINSLOT", slot, number)
    if keys:
        source("MIGRATE", "127.0.0.1", target.port, "", 0, 5_000, "KEYS", *keys)
    return len(keys)


def end_move(slot: int, target: Node, nodes: list[Node]) -> None:
    """Give a slot to its new node."""
    target("CLUSTER", "SETSLOT", slot, "NODE", target.id)
    for node in nodes:
        if node is not target:
            node("CLUSTER", "SETSLOT", slot, "NODE", target.id)


def move_slot(slot: int, source: Node, target: Node, nodes: list[Node]) -> None:
    """Move a slot with all its keys."""
    begin_to_move(slot, source, target)
    while move_keys(slot, source, target):
        pass
    end_move(slot, target, nodes)
