"""The translation of what redis-py raises into errors that say what to do."""

from __future__ import annotations

from types import TracebackType
from typing import Any

import redis
import redis.asyncio
from redis.exceptions import MaxConnectionsError

from ragknn.errors import CommandRefused, ConfigurationError, ConnectionFailed, ServerError
from ragknn.server._pool import AsyncPool, Pool
from ragknn.server._sentinel import Door

# In the words of redis-py and the system: what a server does that waits for TLS and gets a command. The last is how a
# notice of TLS begins.
HANGING_UP = ("reset by peer", "closed by server", "broken pipe", "\\x15")
# In the words of OpenSSL: what a server answers to a client without a certificate, or with one that it does not know.
REFUSING_CLIENT = ("CERTIFICATE_REQUIRED", "HANDSHAKE_FAILURE", "UNKNOWN_CA", "BAD_CERTIFICATE")
# In the words of asyncio: a connection was made under another event loop, which is closed by now, or is not.
OTHER_LOOP = ("Event loop is closed", "attached to a different loop")


class translated:  # noqa: N801  # read as the function that it stands for; a generator would take as long as a small reply
    """Raises what redis-py raises within it as errors of ours."""

    __slots__ = ("_client",)

    def __init__(self, client: Any) -> None:
        self._client = client

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, redis.RedisError | OSError):
            raise _explain(error, self._client) from error
        if isinstance(error, RuntimeError) and any(words in str(error) for words in OTHER_LOOP):
            raise ConfigurationError(
                "expected a client whose connections belong to the running event loop, got one that was used under "
                "another: pass url= in place of client=, with which the index has a client for each loop, or make a "
                "client in this one"
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
            advice = _advice_on_tls(cause, client) or _advice_on_time(client)
            return ConnectionFailed(
                f"expected an answer from Redis at {address}{_in_time(cause, client)}, got none ({cause}); {advice}"
            )
        case MaxConnectionsError():
            return ConnectionFailed(
                f"expected a free connection to Redis at {address}, got none: {cause}; {_advice_on_number(client)}"
            )
        case redis.ConnectionError() | OSError():
            advice = _advice_on_tls(cause, client) or "check the URL and that the server runs"
            return ConnectionFailed(
                f"expected Redis at {address}, got: {cause}; {advice} (`ragknn doctor` checks both)"
            )
        case _:
            return CommandRefused(f"Redis at {address} answered: {cause}")


def _in_time(cause: redis.TimeoutError, client: Any) -> str:
    options = client.connection_pool.connection_kwargs
    seconds = options.get("socket_connect_timeout" if "connecting" in str(cause) else "socket_timeout")
    return " in time" if seconds is None else f" within {seconds:g} seconds"


def _advice_on_time(client: Any) -> str:
    if _is_ours(client):
        return "check whether the server hangs or has too much to do, or raise the timeout, or RAGKNN_TIMEOUT"
    return "check whether the server hangs or has too much to do, or make the client with a longer socket_timeout"


def _advice_on_number(client: Any) -> str:
    if _is_ours(client):
        seconds = client.connection_pool.patience
        return f"in {seconds:g} seconds none became free: ask less at once, or end the URL in ?max_connections=NUMBER"
    return "make the client with a redis.BlockingConnectionPool, which waits for one, or with more max_connections"


def _is_ours(client: Any) -> bool:
    return isinstance(client.connection_pool, Pool | AsyncPool)


def _advice_on_tls(cause: Exception, client: Any) -> str:
    """Return what to do about an error of connecting that may come of TLS on one side only; else nothing."""
    secured = (redis.connection.SSLConnection, redis.asyncio.connection.SSLConnection)
    hung_up = any(sign in str(cause).lower() for sign in HANGING_UP)
    if not issubclass(client.connection_pool.connection_class, secured):
        return "if the port speaks TLS, use rediss:// in place of redis://" if hung_up else ""
    if "CERTIFICATE_VERIFY_FAILED" in str(cause):
        if "mismatch" in str(cause):
            return (
                "name the server in the URL as its certificate does, or end the URL in ?ssl_check_hostname=no to take "
                "the certificate for any name"
            )
        return "name the file with the authority of its certificate: rediss://host:6380?ssl_ca_certs=FILE"
    if "No such file" in str(cause):
        return "see that the files are there which its options ssl_ca_certs, ssl_certfile and ssl_keyfile name"
    if hung_up or any(sign in str(cause) for sign in REFUSING_CLIENT):
        return (
            "if the server asks for a certificate of the client, name one that it knows: "
            "rediss://host:6380?ssl_certfile=FILE&ssl_keyfile=FILE"
        )
    if isinstance(cause, redis.TimeoutError) or "[SSL" in str(cause):
        return "if the port does not speak TLS, use redis:// in place of rediss://"
    return ""


def _address(client: Any) -> str:
    options = client.connection_pool.connection_kwargs
    door = options.get("connection_pool")
    if isinstance(door, Door):
        return f"the service {door.service_name!r} of the Sentinel at {door.service.asked}"
    return str(options.get("path") or f"{options.get('host', 'localhost')}:{options.get('port', 6379)}")
