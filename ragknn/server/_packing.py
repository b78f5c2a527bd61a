"""Commands as the bytes that go to the server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ragknn._protocol.flows import Command
from ragknn._protocol.templates import Packed

try:
    import hiredis
except ImportError:  # it is a dependency, and redis-py goes without it all the same
    hiredis = None  # type: ignore[assignment]


def packed(connection: Any, commands: Sequence[Command]) -> list[bytes]:
    """Return commands as a connection, sync or async, sends them.

    The same as redis-py makes of them, in less than half of the time: their arguments need no look, and one piece is
    sent at once.
    """
    if hiredis is None:
        return list(connection.pack_commands(commands))
    pack: Any = hiredis.pack_command  # its stubs know one argument
    return [b"".join([one.wire if type(one) is Packed else pack(one) for one in commands])]


def packer() -> Any:
    """Return what packs the commands that redis-py sends by itself, such as the first of a connection.

    It makes text of numbers first: hiredis crashes where a signal's handler raises while it does so.
    """
    if hiredis is None:
        return None
    from redis.connection import HiredisRespSerializer

    class Packer(HiredisRespSerializer):
        def pack(self, *args: Any) -> Any:
            texts: list[Any] = [str(one) if type(one) in (int, float) else one for one in args]
            return super().pack(*texts)

    return Packer()
