"""Removing an index with its estimator: when that is garbage-collected, and at the end of the process."""

from __future__ import annotations

import atexit
import logging
import multiprocessing
import os
import weakref
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import redis.cluster

from ragknn._logs import WRITING as logger  # noqa: N811
from ragknn._protocol.keys import Keys
from ragknn.errors import ConnectionFailed, RagKNNError
from ragknn.estimators._rows import remove_rows
from ragknn.indexing._own_settings import load_own_settings
from ragknn.server._connection import is_cluster, run


class Address:
    """The connection settings of a client, to reach its server from another process or after the client is gone."""

    def __init__(self, client: Any) -> None:
        self._nodes: list[tuple[str, int]] = []
        self._remap: Any = None
        if is_cluster(client):
            manager = client.nodes_manager
            self._nodes = [(node.host, node.port) for node in manager.startup_nodes.values()]
            self._remap = manager.address_remap
            self._classes: tuple[Any, ...] = (type(client),)
            self._take(client.get_connection_kwargs())
            return
        pool = client.connection_pool
        self._classes = type(client), type(pool), pool.connection_class
        self._take(pool.connection_kwargs)

    def _take(self, options: Mapping[str, Any]) -> None:
        plain = str | bytes | int | float | None
        self._options = {key: value for key, value in options.items() if isinstance(value, plain) or key == "retry"}
        self._has_password = self._options.get("password") is not None

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the password, which another process takes from the settings."""
        options = {key: value for key, value in self._options.items() if key != "password"}
        return {**self.__dict__, "_options": options, "_remap": None}

    def __deepcopy__(self, memo: dict[int, Any]) -> Address:
        return self

    def client(self) -> Any:
        """Return a new client; it connects on first use, and one of a cluster at once."""
        options = dict(self._options)
        if self._has_password and "password" not in options and (password := load_own_settings().password):
            options["password"] = password.get_secret_value()
        if self._nodes:
            nodes = [redis.cluster.ClusterNode(*node) for node in self._nodes]  # type: ignore[no-untyped-call]
            return self._classes[0](startup_nodes=nodes, address_remap=self._remap, **options)
        client_class, pool_class, connection_class = self._classes
        return client_class.from_pool(pool_class(connection_class=connection_class, **options))


def remove_with(owner: Any, client: Any, name: str, size: int) -> None:
    """Remove an index of rows when its owner is garbage-collected, and at the end of the process.

    Args:
        owner: what the index is removed with.
        client: a client of the index's server.
        name: name of the index.
        size: number of its rows.
    """
    finalizer = weakref.finalize(owner, _remove, Address(client), Keys(name), size, os.getpid())
    finalizer.atexit = False  # `_remove_all` does it at exit, while the server still runs
    _finalizers[owner] = finalizer
    # The last registered function runs first, and the embedded server may have been registered just now.
    atexit.unregister(_remove_all)
    atexit.register(_remove_all)
    if is_worker():
        _remove_at_end_of_worker(os.getpid())


def is_worker() -> bool:
    """Tell whether this process works for another one, which gets the results as copies."""
    return multiprocessing.parent_process() is not None


_finalizers: weakref.WeakKeyDictionary[Any, Callable[[], Any]] = weakref.WeakKeyDictionary()


def _remove(address: Address, keys: Keys, size: int, pid: int) -> None:
    if os.getpid() != pid:  # in a forked child: the index belongs to the parent
        return
    client = None
    try:
        client = address.client()
        run(client, remove_rows(keys, size))
    except (RagKNNError, redis.RedisError) as error:
        # A server that has stopped, as at the end of a test, does not need a warning.
        level = logging.INFO if isinstance(error, ConnectionFailed | redis.RedisError) else logging.WARNING
        logger.log(level, "could not remove index %r of an estimator: %s", keys.name, error)
    finally:
        if client is not None:
            client.close()


def _remove_all() -> None:
    for finalizer in list(_finalizers.values()):
        finalizer()


@cache
def _remove_at_end_of_worker(pid: int) -> None:
    # A process that multiprocessing has forked ends without atexit, but runs these finalizers, by descending priority.
    from multiprocessing import util  # late: only a worker needs it

    util.Finalize(None, _remove_all, exitpriority=1)
