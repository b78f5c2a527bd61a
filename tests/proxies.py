"""A proxy before a Redis that cuts connections after so many bytes, or forwards nothing for a while."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

CHUNK = 65_536
UP, DOWN = "up", "down"  # to the server, and to the client


class Proxy:
    """Forwards what comes over any number of connections, by a pair of threads for each.

    Attributes:
        url: where it listens.
        forwarded: bytes that went in each direction.
        connections: that were made over it.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._door = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._flowing = threading.Event()
        self._flowing.set()
        self._left: dict[str, int] = {}
        self._cuts = 0
        self._due: tuple[str, int, Callable[[], bool]] | None = None
        self.url = f"redis://127.0.0.1:{self._door.getsockname()[1]}"
        self.forwarded = {UP: 0, DOWN: 0}
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self, direction: str, after: int, times: int = 1) -> None:
        """Let so many more bytes through in a direction, and then close the connection; as often over the next ones."""
        with self._lock:
            self._left, self._again, self._cuts = {direction: after}, after, times

    def at(self, direction: str, after: int, action: Callable[[], bool]) -> None:
        """Call something when so many more bytes went through in a direction; if it returns False, they are the last.

        With `after` 0, nothing is called any more that has not been yet.
        """
        with self._lock:
            self._due = (direction, after, action) if after else None

    @property
    def has_cut(self) -> bool:
        """Whether it has cut as often as it was told."""
        return not self._cuts

    def mend(self) -> None:
        """Cut nothing any more."""
        with self._lock:
            self._left, self._cuts = {}, 0

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Forward nothing while the block runs."""
        self._flowing.clear()
        try:
            yield
        finally:
            self._flowing.set()

    def close(self) -> None:
        """End all connections."""
        with contextlib.suppress(OSError):
            self._door.shutdown(socket.SHUT_RDWR)
        self._door.close()
        self._flowing.set()
        for one in list(self._open):
            self._end(one)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._door.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            try:
                server.connect(self._path)
            except OSError:
                client.close()
                server.close()
                continue
            self.connections += 1
            self._open |= {client, server}
            for source, target, direction in ((client, server, UP), (server, client, DOWN)):
                threading.Thread(target=self._forward, args=(source, target, direction), daemon=True).start()

    def _forward(self, source: socket.socket, target: socket.socket, direction: str) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(CHUNK):
                self._flowing.wait()
                early, action = self._until_due(direction, data)
                if action is not None:
                    target.sendall(early)
                    if not action():
                        break
                    data = data[len(early) :]
                passing, goes_on = self._passing(direction, data)
                target.sendall(passing)
                if not goes_on:
                    break
        self._end(source)
        self._end(target)

    def _until_due(self, direction: str, data: bytes) -> tuple[bytes, Callable[[], bool] | None]:
        with self._lock:
            if self._due is None or self._due[0] != direction:
                return b"", None
            _, after, action = self._due
            if len(data) < after:
                self._due = direction, after - len(data), action
                return b"", None
            self._due = None
            self.forwarded[direction] += after
            return data[:after], action

    def _passing(self, direction: str, data: bytes) -> tuple[bytes, bool]:
        with self._lock:
            left = self._left.get(direction)
            passing = data if left is None else data[:left]
            self.forwarded[direction] += len(passing)
            if left is None or len(data) <= left:
                if left is not None:
                    self._left[direction] = left - len(data)
                return passing, True
            self._cuts -= 1
            self._left = {direction: self._again} if self._cuts else {}
            return passing, False

    def _end(self, one: socket.socket) -> None:
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
        one.close()
        self._open.discard(one)


@contextmanager
def proxy_before(url: str) -> Iterator[Proxy]:
    """Run a proxy before the Redis at a unix:// URL."""
    proxy = Proxy(url.removeprefix("unix://"))
    try:
        yield proxy
    finally:
        proxy.close()
