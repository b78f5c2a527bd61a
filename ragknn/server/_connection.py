"""Clients, the two drivers of flows, and the translation of errors.

All commands go through this file, except those that start, stop and examine the embedded server.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from inspect import iscoroutinefunction
from typing import Any, TypeVar, cast

import redis
import redis.asyncio
import redis.asyncio.cluster
import redis.cluster
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from ragknn._checks import described, shown
from ragknn._protocol.flows import Command, Flow, Pause, Work
from ragknn.errors import CommandRefused, ConfigurationError, ConnectionFailed, ServerError, UnsupportedServer
from ragknn.server._urls import check_form, mask_password

T = TypeVar("T")
C = TypeVar("C")

CONNECT_TIMEOUT = 5.0  # seconds; a running server answers in milliseconds
# During a restart or a failover a few connections are refused: try again after 0.05, 0.1 and 0.2 seconds.
# Not after a time limit: the second attempt would reach it as well.
RETRIES = 3
RETRIED = (redis.ConnectionError,)
FIRST_RETRY, LONGEST_RETRY = 0.05, 0.5
# Seconds that the client waits longer than the server may search, so that the server's own limit is reached first.
GRACE = 2.0
# In the words of redis-py and the system: what a server does that waits for TLS and gets a command. The last is how a
# notice of TLS begins.
HANGING_UP = ("reset by peer", "closed by server", "broken pipe", "\\x15")
# In the words of asyncio: a connection was made under another event loop, which is closed by now, or is not.
OTHER_LOOP = ("Event loop is closed", "attached to a different loop")


def connect(url: str, *, timeout: float, protocol: int) -> redis.Redis:
    """Return a client for the URL; it connects on first use.

    Args:
        url: redis://, rediss:// or unix://.
        timeout: longest time for a search, in seconds.
        protocol: RESP version, 2 or 3.

    Raises:
        ConfigurationError: the URL has another form.
    """
    check_form(url)
    with _checked_url(url):
        backoff = ExponentialBackoff(cap=LONGEST_RETRY, base=FIRST_RETRY)
        return _tried(redis.Redis.from_url(url, **_options(timeout, protocol), retry=Retry(backoff, RETRIES, RETRIED)))


def aconnect(url: str, *, timeout: float, protocol: int) -> redis.asyncio.Redis:
    """Async twin of `connect`."""
    check_form(url)
    with _checked_url(url):
        retry = AsyncRetry(ExponentialBackoff(cap=LONGEST_RETRY, base=FIRST_RETRY), RETRIES, RETRIED)
        return _tried(redis.asyncio.Redis.from_url(url, **_options(timeout, protocol), retry=retry))


def close(client: redis.Redis) -> None:
    """Close the connections of a client; that they are broken already is no error."""
    with suppress(redis.RedisError, OSError):
        client.close()


async def aclose(client: redis.asyncio.Redis) -> None:
    """Async twin of `close`; connections of an event loop that is closed are let go of."""
    with suppress(redis.RedisError, OSError, RuntimeError):
        await client.aclose()


def check_client(client: Any, *, asynchronous: bool) -> None:
    """Refuse what is no client of redis-py, or one of the other world.

    Raises:
        TypeError: it is; the message says what to pass.
        UnsupportedServer: it is one for a cluster.
    """
    if isinstance(client, redis.cluster.RedisCluster | redis.asyncio.cluster.RedisCluster):
        raise UnsupportedServer(
            f"expected a client of a single Redis, got {described(client)}: ragknn does not run on a Redis Cluster; "
            "pass the client or the URL of a single server with search"
        )
    expected = "redis.asyncio.Redis" if asynchronous else "redis.Redis"
    if not hasattr(client, "pipeline") or not hasattr(client, "execute_command") or isinstance(client, type):
        raise TypeError(
            f"expected client as a {expected} object, got {described(client)}"
            + (f": pass url={shown(mask_password(client))}" if isinstance(client, str) else "")
        )
    if iscoroutinefunction(client.execute_command) != asynchronous:
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
    return {"protocol": protocol, "socket_timeout": timeout + GRACE, "socket_connect_timeout": CONNECT_TIMEOUT}


@contextmanager
def _checked_url(url: str) -> Iterator[None]:
    try:
        yield
    except (ValueError, TypeError, redis.RedisError) as error:
        reason = str(error).partition("__init__() got an ")[2] or str(error)
        raise ConfigurationError(
            f"expected a URL that redis-py takes, with options that it knows, got {mask_password(url)!r}: {reason}"
        ) from error


def _tried(client: C) -> C:
    # Connections are made on first use, and an option that there is not would come to light only then.
    pool = cast(Any, client).connection_pool
    pool.connection_class(**pool.connection_kwargs)
    return client


def run(client: redis.Redis | None, flow: Flow[T]) -> T:
    """Run a flow in sync code and return its result; a flow without commands needs no client.

    Raises:
        ConnectionFailed: the server cannot be reached, closed the connection, or refused the login.
        CommandRefused: redis-py raised another error.
    """
    sent: Any = None
    with closing(flow):
        while True:
            try:
                step = flow.send(sent)
            except StopIteration as stop:
                return cast(T, stop.value)
            match step:
                case Work(call):
                    sent = call()
                case Pause(seconds):
                    time.sleep(seconds)
                    sent = None
                case commands:
                    with _translated(client):
                        sent = _pipeline(client, commands).execute(raise_on_error=False)


async def arun(client: redis.asyncio.Redis | None, flow: Flow[T]) -> T:
    """Async twin of `run`."""
    sent: Any = None
    with closing(flow):
        while True:
            try:
                step = flow.send(sent)
            except StopIteration as stop:
                return cast(T, stop.value)
            match step:
                case Work(call):
                    sent = await asyncio.to_thread(call)
                case Pause(seconds):
                    await asyncio.sleep(seconds)
                    sent = None
                case commands:
                    with _translated(client):
                        sent = await _pipeline(client, commands).execute(raise_on_error=False)


def _pipeline(client: Any, commands: list[Command]) -> Any:
    pipeline = client.pipeline(transaction=False)
    for command in commands:
        # Only buffers the command, in sync and async clients. Decoding replies would fail on vectors.
        pipeline.execute_command(*command, NEVER_DECODE=True)
    return pipeline


@contextmanager
def _translated(client: Any) -> Iterator[None]:
    try:
        yield
    except (redis.RedisError, OSError) as error:
        raise _explain(error, client) from error
    except RuntimeError as error:
        if not any(words in str(error) for words in OTHER_LOOP):
            raise
        raise ConfigurationError(
            "expected a client whose connections belong to the running event loop, got one that was used under "
            "another: pass url= in place of client=, with which the index has a client for each loop, or make a client "
            "in this one"
        ) from error


def _explain(error: Exception, client: Any) -> ServerError:
    # The async client wraps errors of connecting.
    cause = error.__cause__ if isinstance(error.__cause__, redis.RedisError) else error
    address = _address(client)
    match cause:
        case redis.AuthenticationError():
            return ConnectionFailed(
                f"expected a login that Redis at {address} accepts, got: {cause}; "
                "put user and password into the URL, redis://user:password@host:6379, with / ? # @ and % "
                "percent-encoded, or the password into RAGKNN_PASSWORD"
            )
        case redis.BusyLoadingError():
            return ConnectionFailed(f"Redis at {address} is still loading its data; try again soon")
        case redis.TimeoutError():
            advice = _advice_on_tls(cause, client) or "check the server's load, or raise the timeout"
            return ConnectionFailed(f"expected an answer from Redis at {address} in time, got none ({cause}); {advice}")
        case redis.ConnectionError() | OSError():
            advice = _advice_on_tls(cause, client) or "check the URL and that the server runs"
            return ConnectionFailed(
                f"expected Redis at {address}, got: {cause}; {advice} (`ragknn doctor` checks both)"
            )
        case _:
            return CommandRefused(f"Redis at {address} answered: {cause}")


def _advice_on_tls(cause: Exception, client: Any) -> str:
    """Return what to do about an error of connecting that may come of TLS on one side only; else nothing."""
    secured = (redis.connection.SSLConnection, redis.asyncio.connection.SSLConnection)
    if not issubclass(client.connection_pool.connection_class, secured):
        hung_up = any(sign in str(cause).lower() for sign in HANGING_UP)
        return "if the port speaks TLS, use rediss:// in place of redis://" if hung_up else ""
    if "CERTIFICATE_VERIFY_FAILED" in str(cause):
        return "name the file with the authority of its certificate: rediss://host:6380?ssl_ca_certs=FILE"
    if isinstance(cause, redis.TimeoutError) or "[SSL" in str(cause):
        return "if the port does not speak TLS, use redis:// in place of rediss://"
    return ""


def _address(client: Any) -> str:
    options = client.connection_pool.connection_kwargs
    return str(options.get("path") or f"{options.get('host', 'localhost')}:{options.get('port', 6379)}")
