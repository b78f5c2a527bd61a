"""A primary with its replicas and a Sentinel that watches over them, each a process of its own on loopback."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import redis
from servers import READY_SECONDS, private_server

from ragknn.server._programs import find_programs
from ragknn.settings import Settings

SERVICE = "handbook"
DOWN_AFTER = 200  # milliseconds until the Sentinel takes a silent server for one that is down


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(is_so: Callable[[], object]) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            if is_so():
                return
        except redis.ConnectionError:
            pass
        assert time.monotonic() < deadline
        time.sleep(0.01)


@dataclass
class Replicated:
    """Ports of the processes; the first of the servers is the primary at the beginning.

    Attributes:
        servers: of the primary and its replicas.
        sentinel: of the Sentinel.
        password: of the servers.
        sentinel_password: of the Sentinel.
    """

    servers: list[int]
    sentinel: int
    password: str | None = None
    sentinel_password: str | None = None
    clients: dict[int, redis.Redis] = field(default_factory=dict)

    @property
    def url(self) -> str:
        login = f":{quote(self.password, safe='')}@" if self.password else ""
        options = f"?sentinel_password={self.sentinel_password}" if self.sentinel_password else ""
        return f"redis+sentinel://{login}127.0.0.1:{self.sentinel}/{SERVICE}{options}"

    def client(self, port: int) -> redis.Redis:
        """A client of one of the processes."""
        if port not in self.clients:
            password = self.sentinel_password if port == self.sentinel else self.password
            self.clients[port] = redis.Redis(port=port, password=password, decode_responses=True)
        return self.clients[port]

    @property
    def primary(self) -> int:
        """Port of the server that the Sentinel takes for the primary."""
        told = self.client(self.sentinel).execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)
        return int(told[1])

    def fit_replicas(self) -> list[int]:
        """Ports of the replicas that the Sentinel takes for being in touch with the primary."""
        told = self.client(self.sentinel).execute_command("SENTINEL", "REPLICAS", SERVICE)
        replicas = [one if isinstance(one, dict) else dict(zip(one[::2], one[1::2], strict=True)) for one in told]
        fit = [one for one in replicas if one["flags"] == "slave" and one["master-link-status"] == "ok"]
        return [int(one["port"]) for one in fit]

    def searches(self, port: int) -> int:
        """How many searches a server has answered."""
        stats = self.client(port).info("commandstats")
        return next((one["calls"] for name, one in stats.items() if name.lower() == "cmdstat_ft.search"), 0)

    def kill(self, port: int, how: signal.Signals = signal.SIGKILL) -> None:
        """Kill a server as a lack of memory would, or send it another signal."""
        os.kill(self.client(port).info("server")["process_id"], how)

    def switch(self) -> None:
        """Have the Sentinel make a replica the primary, while all of them run."""
        before = self.primary
        self.client(self.sentinel).execute_command("SENTINEL", "FAILOVER", SERVICE)
        wait_until(lambda: self.primary != before)

    def announce(self, port: int) -> None:
        """Have the Sentinel name another port of the primary, at which it finds it down itself."""
        sentinel = self.client(self.sentinel)
        sentinel.execute_command("SENTINEL", "REMOVE", SERVICE)
        sentinel.execute_command("SENTINEL", "MONITOR", SERVICE, "127.0.0.1", port, 1)

    def wait_until_in_step(self) -> None:
        """Wait until all servers have what the primary has, and can find it."""
        primary = self.client(self.primary)
        for port in self.servers:
            wait_until(
                lambda port=port: (
                    self.client(port).info("replication")["master_repl_offset"]
                    >= primary.info("replication")["master_repl_offset"]
                )
            )
            wait_until(lambda port=port: self.finds_all(port))

    def finds_all(self, port: int) -> bool:
        """Tell whether a server has all that it stores in its search indexes."""
        client = self.client(port)
        told = [client.execute_command("FT.INFO", name) for name in client.execute_command("FT._LIST")]
        infos = [one if isinstance(one, dict) else dict(zip(one[::2], one[1::2], strict=True)) for one in told]
        return all(int(info["indexing"]) == 0 for info in infos)


@contextmanager
def replicated(
    folder: Path, replicas: int = 1, *, password: str | None = None, sentinel_password: str | None = None
) -> Iterator[Replicated]:
    """Run a primary, its replicas, all in step, and a Sentinel that knows them."""
    common = ["--repl-diskless-sync-delay", "0", "--repl-diskless-load", "on-empty-db"]
    common += ["--requirepass", password, "--masterauth", password] if password else []
    with ExitStack() as stack:
        set_up = Replicated([], free_port(), password, sentinel_password)
        for number in range(1 + replicas):
            port, home = free_port(), folder / f"s{number}"
            home.mkdir()
            following = ["--replicaof", f"127.0.0.1 {set_up.servers[0]}"] if set_up.servers else []
            stack.enter_context(private_server(home, "--port", str(port), *common, *following))
            set_up.servers.append(port)
        for port in set_up.servers[1:]:
            wait_until(lambda port=port: set_up.client(port).info("replication")["master_link_status"] == "up")
        stack.enter_context(_sentinel(folder, set_up))
        wait_until(lambda: len(set_up.fit_replicas()) == replicas)
        try:
            yield set_up
        finally:
            for client in set_up.clients.values():
                client.close()


@contextmanager
def _sentinel(folder: Path, of: Replicated) -> Iterator[None]:
    lines = [f"port {of.sentinel}", f"dir {folder}", f"sentinel monitor {SERVICE} 127.0.0.1 {of.servers[0]} 1"]
    lines += [f"sentinel down-after-milliseconds {SERVICE} {DOWN_AFTER}", f"sentinel failover-timeout {SERVICE} 2000"]
    lines += [f"sentinel auth-pass {SERVICE} {of.password}"] if of.password else []
    lines += [f"requirepass {of.sentinel_password}"] if of.sentinel_password else []
    configuration = folder / "sentinel.conf"
    configuration.write_text("\n".join(lines) + "\n")
    program = [str(find_programs(Settings()).server), str(configuration), "--sentinel"]
    with (folder / "sentinel.log").open("w") as log, subprocess.Popen(program, stdout=log) as process:
        try:
            yield
        finally:
            process.kill()
