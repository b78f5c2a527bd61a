"""Which server is the primary of a service, and which are its replicas, as Redis Sentinel tells.

A connection asks when it is made. Sentinel has those to a primary that is one no more closed, so that they are made
anew; where it cannot, as the server hangs, the first that finds another primary has the idle ones closed.
"""

from __future__ import annotations

import random
import weakref
from collections.abc import AsyncIterator, Iterator
from typing import Any, TypeVar

import redis
import redis.asyncio
import redis.asyncio.sentinel
import redis.sentinel

from ragknn._logs import SERVER
from ragknn._protocol.flows import Command
from ragknn._protocol.replies import as_mapping, as_text
from ragknn.errors import ConnectionFailed
from ragknn.server._exchange import aexchange, exchange
from ragknn.server._pool import AsyncPool, Pool
from ragknn.server._retries import ASYNC_NEVER, NEVER, NoSentinel
from ragknn.server._urls import Address, Service, shown_addresses

P = TypeVar("P", Pool, AsyncPool)

# What Sentinel says of a replica that cannot be asked.
_UNFIT = {"s_down", "o_down", "disconnected"}
# What it takes to connect to a Sentinel, of what it takes to connect to a server.
_TO_SENTINEL = ("socket_timeout", "socket_connect_timeout")


def through_sentinel(kind: type[P], service: Service, options: dict[str, Any], *, is_master: bool) -> P:
    """Return a pool of connections to the primary of a service, or to one of its replicas.

    Raises:
        ValueError: an option of the URL that redis-py does not take.
    """
    secured, asynchronous = service.url.startswith("rediss"), issubclass(kind, AsyncPool)
    classes = redis.asyncio.sentinel if asynchronous else redis.sentinel
    connections = classes.SentinelManagedSSLConnection if secured else classes.SentinelManagedConnection
    pool = kind.from_url(service.url, **options)
    pool.connection_class = connections
    given = pool.connection_kwargs
    to_sentinel = {name: value for name, value in given.items() if name in _TO_SENTINEL or name.startswith("ssl_")}
    to_sentinel |= {"ssl": secured, "username": service.login[0], "password": service.login[1]}
    door = (AsyncDoor if asynchronous else Door)(pool, service, to_sentinel, is_master=is_master)
    pool.connection_kwargs = {**given, "connection_pool": door}
    return pool


class Door:
    """How the connections of one pool find their server; in the attributes that redis-py asks for.

    Attributes:
        service: what is looked for.
        is_master: whether the connections are to the primary; else to one of the replicas.
    """

    check_connection = False

    def __init__(self, pool: Any, service: Service, options: dict[str, Any], *, is_master: bool) -> None:
        self._pool = weakref.ref(pool)
        self.service = service
        self.is_master = is_master
        self._options = options
        self._chosen: Address | None = None

    @property
    def service_name(self) -> str:
        """Name of the service."""
        return self.service.name

    def get_master_address(self) -> Address:
        """Return where the primary is.

        Raises:
            NoSentinel: no Sentinel answers.
            ConnectionFailed: they refuse the login, or do not know the service.
        """
        primary = self._told().primary
        if (pool := self._moved(primary)) is not None:
            pool.let_idle_go()
        return primary

    def _moved(self, primary: Address) -> Any:
        """Return the pool if its connections were to another primary; else None."""
        before, self._chosen = self._chosen, primary
        return None if before in (None, primary) else self._pool()

    def rotate_slaves(self) -> Iterator[Address]:
        """Yield where a replica is, and where the next ones are while they do not answer; the primary is the last."""
        yield from self._in_turn(self._told())

    def _in_turn(self, told: _Told) -> Iterator[Address]:
        # All connections of a pool are to the same replica, so that what one answer has the next one has too.
        random.shuffle(told.replicas)
        for address in sorted(told.replicas, key=lambda one: one != self._chosen):
            self._chosen = address
            yield address
        SERVER.info("no replica of %r is in touch with its primary, which is asked in their place", self.service.name)
        yield told.primary
        raise redis.ConnectionError(f"no server of the service {self.service.name!r} takes connections")

    def _told(self) -> _Told:
        answers: dict[Address, list[Any] | Exception] = {}
        for host, port in self.service.sentinels:
            client = redis.Redis(host=host, port=port, retry=NEVER, **self._options)
            try:
                answers[host, port] = exchange(client, _questions(self.service))
            except (redis.RedisError, OSError) as error:
                answers[host, port] = error
            finally:
                client.close()
            if (told := _read(answers[host, port])) is not None:
                return told
        raise _untold(self.service, answers)


class AsyncDoor(Door):
    """Async twin of `Door`."""

    async def get_master_address(self) -> Address:  # type: ignore[override]
        """Async twin of `Door.get_master_address`."""
        primary = (await self._atold()).primary
        if (pool := self._moved(primary)) is not None:
            await pool.let_idle_go()
        return primary

    async def rotate_slaves(self) -> AsyncIterator[Address]:  # type: ignore[override]
        """Async twin of `Door.rotate_slaves`."""
        for address in self._in_turn(await self._atold()):
            yield address

    async def _atold(self) -> _Told:
        answers: dict[Address, list[Any] | Exception] = {}
        for host, port in self.service.sentinels:
            client = redis.asyncio.Redis(host=host, port=port, retry=ASYNC_NEVER, **self._options)
            try:
                answers[host, port] = await aexchange(client, _questions(self.service))
            except (redis.RedisError, OSError) as error:
                answers[host, port] = error
            finally:
                await client.aclose()
            if (told := _read(answers[host, port])) is not None:
                return told
        raise _untold(self.service, answers)


class _Told:
    """Where a Sentinel says that the servers of a service are."""

    def __init__(self, primary: Address, replicas: list[Address]) -> None:
        self.primary = primary
        self.replicas = replicas


def _questions(service: Service) -> list[Command]:
    return [
        ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", service.name),
        ("SENTINEL", "REPLICAS", service.name),
        ("SENTINEL", "MASTERS"),
    ]


def _read(answer: list[Any] | Exception) -> _Told | None:
    """Return what a Sentinel says of the service; None where it says nothing."""
    if isinstance(answer, Exception) or isinstance(answer[0], Exception) or answer[0] is None:
        return None
    (host, port), replicas, _ = answer
    known = [] if isinstance(replicas, Exception) else [_texts(one) for one in replicas]
    return _Told(_address(host, port), [_address(one["ip"], one["port"]) for one in known if _is_fit(one)])


def _texts(reply: Any) -> dict[str, str]:
    return {key: as_text(value) for key, value in as_mapping(reply).items()}


def _is_fit(replica: dict[str, str]) -> bool:
    return not _UNFIT & set(replica["flags"].split(",")) and replica.get("master-link-status") == "ok"


def _address(host: Any, port: Any) -> Address:
    return as_text(host), int(as_text(port))


def _untold(service: Service, answers: dict[Address, list[Any] | Exception]) -> Exception:
    """Return what to raise where no Sentinel tells of the service."""
    told = [answer for answer in answers.values() if not isinstance(answer, Exception)]
    if any(answer[0] is None for answer in told):
        names = {_texts(one)["name"] for *_, masters in told if isinstance(masters, list) for one in masters}
        known = f"knows {', '.join(map(repr, sorted(names)))}" if names else "knows none"
        return ConnectionFailed(
            f"expected a service that the Sentinel at {service.asked} knows, got {service.name!r}: it {known}; correct "
            "the name behind the addresses in the URL"
        )
    refused = {address: answer if isinstance(answer, Exception) else answer[0] for address, answer in answers.items()}
    reasons = "; ".join(f"{shown_addresses((address,))}: {why}" for address, why in refused.items())
    if any(isinstance(why, redis.AuthenticationError | redis.ResponseError) for why in refused.values()):
        return ConnectionFailed(
            f"expected a login that the Sentinel at {service.asked} accepts, got: {reasons}; end the URL in "
            "?sentinel_password=PASSWORD, and in &sentinel_username=USER too if it has users"
        )
    return NoSentinel(f"no Sentinel answers ({reasons})")
