"""The connection to Redis, and the embedded server.

Only this package connects to Redis or starts a process. It translates the errors that redis-py raises. Other packages
decide which commands to send: `ragknn._protocol` and those that use it.
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
