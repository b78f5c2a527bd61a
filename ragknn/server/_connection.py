"""Clients, and the running of flows over them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import cache
from inspect import iscoroutinefunction
from typing import Any, TypeAlias, TypeVar

import redis
import redis.asyncio
import redis.asyncio.cluster
import redis.cluster
from redis.maint_notifications import MaintNotificationsConfig

from ragknn._checks import described, shown
from ragknn._protocol.flows import Flow
from ragknn._secrets import mask_password
from ragknn.errors import ConfigurationError
from ragknn.server._driving import AsyncDriver, Driver
from ragknn.server._exchange import is_cluster as is_cluster
from ragknn.server._packing import packer
from ragknn.server._pool import AsyncPool, Pool
from ragknn.server._retries import RETRIES, AsyncReconnecting, Reconnecting, retries_within
from ragknn.server._urls import check_form, is_cluster_url, service_of

Client: TypeAlias = redis.Redis | redis.cluster.RedisCluster
AsyncClient: TypeAlias = redis.asyncio.Redis | redis.asyncio.cluster.RedisCluster

T = TypeVar("T")
P = TypeVar("P", Pool, AsyncPool)

CONNECT_TIMEOUT = 5.0  # seconds; a running server answers in milliseconds
# What the client waits longer than the server may search, so that the server's own limit is reached first: a part of
# that time, within these seconds.
GRACE, LEAST_GRACE, MOST_GRACE = 0.25, 0.5, 2.0


def connect(url: str, *, timeout: float, protocol: int, from_replicas: bool = False) -> Client:
    """Return a client for the URL; it connects on first use, and one of a cluster at once.

    Args:
        url: redis://, rediss://, unix://, redis+sentinel:// or redis+cluster://.
        timeout: longest time for a search, in seconds.
        protocol: RESP version, 2 or 3.
        from_replicas: whether it is to ask a replica, which the Sentinels of the URL name.

    Raises:
        ConfigurationError: the URL has another form.
        ConnectionFailed: none of the nodes of a cluster can be reached.
    """
    if is_cluster_url(url):
        from ragknn.server._cluster.clients import connect_cluster  # late: few use a cluster

        return connect_cluster(url, _cluster_options(url, timeout, protocol, from_replicas))
    return redis.Redis.from_pool(_pool(Pool, url, timeout, protocol, from_replicas))


def aconnect(url: str, *, timeout: float, protocol: int, from_replicas: bool = False) -> AsyncClient:
    """Async twin of `connect`; it connects on first use."""
    if is_cluster_url(url):
        from ragknn.server._cluster.clients import aconnect_cluster  # late, as above

        return aconnect_cluster(url, _cluster_options(url, timeout, protocol, from_replicas))
    return redis.asyncio.Redis.from_pool(_pool(AsyncPool, url, timeout, protocol, from_replicas))


def _pool(kind: type[P], url: str, timeout: float, protocol: int, from_replicas: bool) -> P:
    check_form(url)
    service = service_of(url)
    options = _options(timeout, protocol)
    # Sentinels take some seconds to make a replica the primary.
    retries = RETRIES if service is None else retries_within(timeout)
    options |= (
        {"retry": AsyncReconnecting(retries)}
        if issubclass(kind, AsyncPool)
        else {"retry": Reconnecting(retries), "command_packer": packer()}
    )
    if service is not None:
        from ragknn.server._sentinel import through_sentinel  # late, as above

        return _made(url, lambda: _tried(through_sentinel(kind, service, options, is_master=not from_replicas)))
    if from_replicas:
        raise _no_replicas(url, "which names one server: name that of a replica where nothing is written")
    return _made(url, lambda: _tried(kind.from_url(url, **options)))


def close(client: Client) -> None:
    """Close the connections of a client; that they are broken already is no error."""
    with suppress(redis.RedisError, OSError):
        client.close()


async def aclose(client: AsyncClient) -> None:
    """Async twin of `close`; connections of an event loop that is closed are let go of."""
    with suppress(redis.RedisError, OSError, RuntimeError):
        await client.aclose()


def check_client(client: Any, *, asynchronous: bool) -> None:
    """Refuse what is no client of redis-py, or one of the other world.

    Raises:
        TypeError: it is; the message says what to pass.
    """
    expected = "redis.asyncio.Redis" if asynchronous else "redis.Redis"
    if not hasattr(client, "pipeline") or not hasattr(client, "execute_command") or isinstance(client, type):
        if isinstance(client, str):
            url = shown(mask_password(client))
            raise TypeError(f"expected client as a {expected} object, got the str {url}: pass url={url}")
        raise TypeError(f"expected client as a {expected} object, got {described(client)}")
    if is_cluster(client):
        expected += "Cluster"
        is_async = isinstance(client, redis.asyncio.cluster.RedisCluster)
    else:
        is_async = iscoroutinefunction(client.execute_command)
    if is_async != asynchronous:
        found, face = ("redis", "Index") if asynchronous else ("redis.asyncio", "AsyncIndex")
        raise TypeError(f"expected client as a {expected} object, got one of {found}, which is a client for {face}")


def check_url(url: object) -> None:
    """Refuse what is no string as a URL.

    Raises:
        TypeError: it is none; the message says what to pass.
    """
    if url is not None and not isinstance(url, str):
        advice = "; a client is passed as client=" if hasattr(url, "execute_command") else ""
        raise TypeError(f"expected url as a str such as 'redis://localhost:6379', got {described(url)}{advice}")


def _options(timeout: float, protocol: int) -> dict[str, Any]:
    waiting = timeout + min(MOST_GRACE, max(LEAST_GRACE, GRACE * timeout))
    return {
        "protocol": protocol,
        "patience": timeout,
        "socket_timeout": waiting,
        "socket_connect_timeout": min(CONNECT_TIMEOUT, waiting),
    }


def _cluster_options(url: str, timeout: float, protocol: int, from_replicas: bool) -> dict[str, Any]:
    if from_replicas:
        raise _no_replicas(url, "whose nodes search without their replicas")
    options = {name: value for name, value in _options(timeout, protocol).items() if name != "patience"}
    # The notices that it asks for are of managed clusters, and cost a round trip for each connection.
    return {**options, **_driver(), "maint_notifications_config": MaintNotificationsConfig(enabled=False)}


def _no_replicas(url: str, why: str) -> ConfigurationError:
    return ConfigurationError(
        "expected a URL that knows of replicas to read from, redis+sentinel://host:26379/service, got "
        f"{mask_password(url)!r}, {why}"
    )


def _made(url: str, make: Callable[[], P]) -> P:
    """Return what is made of a URL; what redis-py says of one that it does not take may repeat it."""
    try:
        return make()
    except (ValueError, TypeError, redis.RedisError) as error:
        words = str(error).partition("__init__() got an ")[2] or str(error)
    # Outside, so that nothing that repeats a password hangs on the error.
    reason = words if mask_password(url) == url else "one of its options or characters is not taken"
    raise ConfigurationError(
        f"expected a URL that redis-py takes, with options that it knows, got {mask_password(url)!r}: {reason}"
    )


def _tried(pool: P) -> P:
    if not pool.connection_kwargs.keys() & {"lib_name", "lib_version"}:  # of the URL
        pool.connection_kwargs = {**_driver(), **pool.connection_kwargs}
    # Connections are made on first use, and an option that there is not would come to light only then.
    pool.connection_class(**pool.connection_kwargs)
    return pool


@cache
def _driver() -> dict[str, Any]:
    """Return the option by which connections tell the server of redis-py.

    Left to itself, it looks its version up for each connection, which takes longer than to connect.
    """
    try:
        from redis.driver_info import DriverInfo
    except ImportError:  # an older redis-py, which looks it up once
        return {}
    return {"driver_info": DriverInfo()}


def run(client: Client | None, flow: Flow[T]) -> T:
    """Run a flow in sync code and return its result; a flow without commands needs no client.

    Raises:
        ConnectionFailed: the server cannot be reached, closed the connection, or refused the login.
        CommandRefused: redis-py raised another error.
    """
    with Driver(client) as driver:
        return driver.run(flow)


async def arun(client: AsyncClient | None, flow: Flow[T]) -> T:
    """Async twin of `run`."""
    async with AsyncDriver(client) as driver:
        return await driver.run(flow)
