"""The connection to Redis, and the embedded server.

The only files of ragknn that open a socket or start a process, and the place where errors of redis-py become
ragknn's own. Which commands are sent is decided in `ragknn._protocol` and above it.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ragknn.server.embedded import (
        RedisServer,
        ServerStatus,
        server_status,
        shared_server,
        start_to_stay,
        stop_server,
    )

__all__ = ["RedisServer", "ServerStatus", "server_status", "shared_server", "start_to_stay", "stop_server"]


def __getattr__(name: str) -> object:
    # Late, because those who run their own Redis need nothing of it, and it takes longer to import than all the rest.
    if name in __all__:
        from ragknn.server import embedded

        return getattr(embedded, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
