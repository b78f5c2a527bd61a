"""The translation of what redis-py raises into errors that say what to do."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import redis
import redis.asyncio
from redis.exceptions import MaxConnectionsError

from ragknn.errors import CommandRefused, ConfigurationError, ConnectionFailed, ServerError, UnsupportedServer
from ragknn.server._pool import AsyncPool, Pool

# In the words of redis-py and the system: what a server does that waits for TLS and gets a command. The last is how a
# notice of TLS begins.
HANGING_UP = ("reset by peer", "closed by server", "broken pipe", "\\x15")
# In the words of OpenSSL: what a server answers to a client without a certificate, or with one that it does not know.
REFUSING_CLIENT = ("CERTIFICATE_REQUIRED", "HANDSHAKE_FAILURE", "UNKNOWN_CA", "BAD_CERTIFICATE")
_SECURED = (redis.connection.SSLConnection, redis.asyncio.connection.SSLConnection)
# In the words of asyncio: a connection was made under another event loop, which is closed by now, or is not.
OTHER_LOOP = ("Event loop is closed", "attached to a different loop")


@dataclass(frozen=True, slots=True)
class _About:
    """What is connected to.

    Attributes:
        address: as it is shown.
        options: of its connections.
        is_secured: whether they are TLS.
        patience: seconds in which a client of ours waits for a free connection; None: the client is another's.
        cluster: whether it is a node of a cluster, or its first ones.
        is_new: whether it has not answered yet, so that it may be that it cannot be reached by this address.
    """

    address: str
    options: Mapping[str, Any]
    is_secured: bool
    patience: float | None
    cluster: bool = False
    is_new: bool = False


# What redis-py raises: to be caught wherever it is called, and handed to `reraise`. A context manager around each round
# trip would take as long as a small reply.
FOREIGN = (redis.RedisError, redis.exceptions.RedisClusterException, OSError, RuntimeError)


def reraise(error: Exception, client: Any) -> NoReturn:
    """Raise an error of redis-py as one of ours, and any other as it is."""
    if not isinstance(error, RuntimeError):
        raise explain(error, client) from error
    if any(words in str(error) for words in OTHER_LOOP):
        raise ConfigurationError(
            "expected a client whose connections belong to the running event loop, got one that was used under "
            "another: pass url= in place of client=, with which the index has a client for each loop, or make a "
            "client in this one"
        ) from error
    raise error


def explain(error: Exception, client: Any, node: str = "", *, is_new: bool = False) -> ServerError:
    """Return the error that says what is wrong; of a cluster, with the node by its name, and if none knows it yet."""
    if not node and not hasattr(client, "connection_pool"):  # a cluster none of whose first nodes lets its client in
        nodes = ",".join(sorted(client.nodes_manager.startup_nodes))
        return explain_cluster(error, nodes, client.get_connection_kwargs())
    # The async client wraps errors of connecting.
    cause = error.__cause__ if isinstance(error.__cause__, redis.RedisError) else error
    return _explained(cause, _about(client, node, is_new))


def explain_cluster(error: Exception, address: str, options: Mapping[str, Any]) -> ServerError:
    """Return the error that says why none of the first nodes of a cluster lets its client in."""
    about = _About(address, options, _is_secured(options), None, cluster=True)
    cause = error
    while isinstance(cause, redis.exceptions.RedisClusterException) and (under := cause.__cause__ or cause.__context__):
        if not isinstance(under, redis.RedisError | redis.exceptions.RedisClusterException | OSError):
            break
        cause = under
    if "cluster support disabled" in str(cause).lower():
        return UnsupportedServer(
            f"expected a Redis Cluster at {address}, got a single Redis: begin its URL with redis:// in place of "
            "redis+cluster://"
        )
    if isinstance(cause, redis.exceptions.RedisClusterException):
        return ConnectionFailed(f"expected a Redis Cluster at {address}, got: {cause}; `CLUSTER INFO` tells more")
    if isinstance(cause, redis.ConnectionError | OSError) and not isinstance(cause, redis.AuthenticationError):
        advice = (
            _advice_on_tls(cause, about) or _advice_on_address(cause, about) or "check the URL and that the nodes run"
        )
        return ConnectionFailed(f"expected a node of a Redis Cluster at {address}, got: {cause}; {advice}")
    return _explained(cause, about)


def _explained(cause: BaseException, about: _About) -> ServerError:
    address = about.address
    match cause:
        case redis.AuthenticationError():
            every = ", and have every node of the cluster take it" if about.cluster else ""
            scheme = "redis+cluster" if about.cluster else "redis"
            got = "got none" if "HELLO must be called" in str(cause) else f"got: {cause}"
            return ConnectionFailed(
                f"expected a login that Redis at {address} accepts, {got}; "
                f"put user and password into the URL, {scheme}://user:password@host:6379, with / ? # @ and % "
                f"percent-encoded, or the password into RAGKNN_PASSWORD{every}"
            )
        case redis.BusyLoadingError():
            return ConnectionFailed(f"Redis at {address} is still loading its data; try again soon")
        case redis.TimeoutError():
            advice = _advice_on_tls(cause, about) or _advice_on_address(cause, about) or _advice_on_time(about)
            return ConnectionFailed(
                f"expected an answer from Redis at {address}{_in_time(cause, about)}, got none ({cause}); {advice}"
            )
        case MaxConnectionsError():
            return ConnectionFailed(
                f"expected a free connection to Redis at {address}, got none: {cause}; {_advice_on_number(about)}"
            )
        case redis.exceptions.ClusterDownError() | redis.exceptions.SlotNotCoveredError():
            return ConnectionFailed(
                f"expected a Redis Cluster that is whole, got from the node at {address}: {cause}; try again when it "
                "is (`CLUSTER INFO` tells more)"
            )
        case redis.ConnectionError() | OSError():
            if about.cluster:  # a node that is killed hangs up too
                advice = (about.is_secured and _advice_on_tls(cause, about)) or _advice_on_address(cause, about)
                advice = advice or "try again when the cluster is whole"
                return ConnectionFailed(f"expected the cluster's node at {address}, got: {cause}; {advice}")
            advice = _advice_on_tls(cause, about) or "check the URL and that the server runs"
            return ConnectionFailed(
                f"expected Redis at {address}, got: {cause}; {advice} (`ragknn doctor` checks both)"
            )
        case redis.ResponseError() if "not allowed in cluster mode" in str(cause):
            return UnsupportedServer(
                f"expected a single Redis at {address}, got a node of a Redis Cluster: begin the URL with "
                "redis+cluster:// in place of redis://, and name no database, since it has number 0 only"
            )
        case redis.exceptions.NoPermissionError() if about.cluster:
            return CommandRefused(
                f"the cluster's node at {address} refused a command: {cause}; give the user on each node the rights "
                "that `ragknn acl NAME --cluster` prints"
            )
        case _:
            return CommandRefused(f"Redis at {address} answered: {cause}")


def _in_time(cause: redis.TimeoutError, about: _About) -> str:
    seconds = about.options.get("socket_connect_timeout" if "connecting" in str(cause) else "socket_timeout")
    return " in time" if seconds is None else f" within {seconds:g} seconds"


def _advice_on_time(about: _About) -> str:
    if about.patience is not None:
        return "check whether the server hangs or has too much to do, or raise the timeout, or RAGKNN_TIMEOUT"
    if about.cluster:
        return "check whether the node hangs or has too much to do, or raise the timeout"
    return "check whether the server hangs or has too much to do, or make the client with a longer socket_timeout"


def _advice_on_address(cause: BaseException, about: _About) -> str:
    """Return what to do about a node of a cluster that cannot be reached by the address that the cluster says."""
    if isinstance(cause, redis.TimeoutError) and "connecting" not in str(cause):  # it was reached
        return ""
    named = re.search(r"connecting to (\S+:\d+)", str(cause))
    address = about.address if about.is_new else named[1] if named else ""
    seeds = about.address.replace("localhost:", "127.0.0.1:").split(",")  # as redis-py has it
    if not about.cluster or not address or (not about.is_new and address in seeds):
        return ""
    return (
        "see that the node runs; if this address, which the cluster announces, cannot be reached from here, say in the "
        f"URL what can: ?address_map={address}=HOST:PORT"
    )


def _advice_on_number(about: _About) -> str:
    if about.patience is not None:
        seconds = about.patience
        return f"in {seconds:g} seconds none became free: ask less at once, or end the URL in ?max_connections=NUMBER"
    return "make the client with a redis.BlockingConnectionPool, which waits for one, or with more max_connections"


def _advice_on_tls(cause: Exception, about: _About) -> str:
    """Return what to do about an error of connecting that may come of TLS on one side only; else nothing."""
    plain, secured = ("redis+cluster://", "rediss+cluster://") if about.cluster else ("redis://", "rediss://")
    hung_up = any(sign in str(cause).lower() for sign in HANGING_UP)
    if not about.is_secured:
        return f"if the port speaks TLS, use {secured} in place of {plain}" if hung_up else ""
    if "CERTIFICATE_VERIFY_FAILED" in str(cause):
        if "mismatch" in str(cause):
            return (
                "name the server in the URL as its certificate does, or end the URL in ?ssl_check_hostname=no to take "
                "the certificate for any name"
            )
        return f"name the file with the authority of its certificate: {secured}host:6380?ssl_ca_certs=FILE"
    if "No such file" in str(cause):
        return "see that the files are there which its options ssl_ca_certs, ssl_certfile and ssl_keyfile name"
    speaks_none = f"if the port does not speak TLS, use {plain} in place of {secured}"
    if "connecting to" in str(cause) and isinstance(cause.__context__, ConnectionResetError):  # before the handshake
        return speaks_none
    if hung_up or any(sign in str(cause) for sign in REFUSING_CLIENT):
        return (
            "if the server asks for a certificate of the client, name one that it knows: "
            f"{secured}host:6380?ssl_certfile=FILE&ssl_keyfile=FILE"
        )
    if isinstance(cause, redis.TimeoutError) or "[SSL" in str(cause):
        return speaks_none
    return ""


def _is_secured(options: Mapping[str, Any]) -> bool:
    return bool(options.get("ssl")) or options.get("connection_class") in _SECURED  # a cluster's; the latter in asyncio


def _about(client: Any, node: str, is_new: bool) -> _About:
    pool = getattr(client, "connection_pool", None)
    if pool is None:  # of a cluster
        options = client.get_connection_kwargs()
        return _About(node, options, _is_secured(options), None, True, is_new)
    options = pool.connection_kwargs
    if (service := getattr(options.get("connection_pool"), "service", None)) is not None:  # a `Door`
        address = f"the service {service.name!r} of the Sentinel at {service.asked}"
    else:
        address = str(options.get("path") or f"{options.get('host', 'localhost')}:{options.get('port', 6379)}")
    patience = pool.patience if isinstance(pool, Pool | AsyncPool) else None
    return _About(address, options, issubclass(pool.connection_class, _SECURED), patience)
