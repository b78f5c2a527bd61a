"""Clients of a cluster, made of its URL: redis+cluster://host:port,host:port, or rediss+cluster:// with TLS."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from inspect import signature
from typing import Any, Self, TypeAlias
from urllib.parse import parse_qsl, urlencode

import redis
import redis.asyncio.cluster
import redis.cluster
from redis.connection import parse_url

from ragknn._checks import shown
from ragknn._secrets import mask_password
from ragknn.errors import ConfigurationError
from ragknn.server._translation import explain_cluster
from ragknn.server._urls import CLUSTER_FORM, check_form

_PORT = 6379
# What can be said in a URL: of connections. The others are about how redis-py sends single commands.
_OPTION = re.compile(
    r"username|password|protocol|client_name|max_connections|health_check_interval|decode_responses|encoding(_errors)?"
    r"|(socket|lib|ssl)_.+"
)
_PLACE = re.compile(r"(\[[^\]]+\]|[^:,=\[\]]+):(\d{1,5})")

Address: TypeAlias = tuple[str, int]
Remap: TypeAlias = Callable[[Address], Address]


@dataclass(frozen=True, slots=True)
class Seeds:
    """The first nodes of a cluster, by which the others are found.

    Attributes:
        nodes: host and port of each.
        options: of all connections, by the names of redis-py.
        remap: what the address of a node is here, given what the cluster says of it; the host may be None or empty.
    """

    nodes: tuple[Address, ...]
    options: dict[str, Any]
    remap: Remap

    @property
    def shown(self) -> str:
        """The nodes as text."""
        return ",".join(f"{host}:{port}" for host, port in self.nodes)


def connect_cluster(url: str, options: dict[str, Any]) -> redis.cluster.RedisCluster:
    """Return a client of a cluster, which has read by then where its slots are.

    Raises:
        ConfigurationError: the URL has another form.
        ConnectionFailed: none of its nodes can be reached, or lets the client in.
        UnsupportedServer: it is no cluster.
    """
    seeds = seeds_of(url, options)
    nodes = [redis.cluster.ClusterNode(*node) for node in seeds.nodes]  # type: ignore[no-untyped-call]
    try:
        return redis.cluster.RedisCluster(startup_nodes=nodes, address_remap=seeds.remap, **seeds.options)
    except (redis.RedisError, redis.exceptions.RedisClusterException, OSError) as error:
        raise explain_cluster(error, seeds.shown, seeds.options) from error


def aconnect_cluster(url: str, options: dict[str, Any]) -> AsyncCluster:
    """Return a client of a cluster, which connects when it is first used."""
    seeds = seeds_of(url, options)
    nodes = [redis.asyncio.cluster.ClusterNode(*node) for node in seeds.nodes]
    return AsyncCluster(startup_nodes=nodes, address_remap=seeds.remap, **seeds.options)


class AsyncCluster(redis.asyncio.cluster.RedisCluster):
    """A client that reads only what is needed of the cluster when it begins: where the slots are."""

    async def initialize(self, *args: Any, **options: Any) -> Self:
        """Read where the slots are, if that was not done yet."""
        if self._initialize:
            try:
                await self.nodes_manager.initialize(*args, **options)
            except BaseException:
                await self.nodes_manager.aclose("startup_nodes")
                raise
            self._initialize = False
        return self


def seeds_of(url: str, options: dict[str, Any]) -> Seeds:
    """Return what a URL says, with options for what it does not say.

    Raises:
        ConfigurationError: it has another form, or an option that there is not.
    """
    scheme, _, rest = url.partition("://")
    before, _, asked = rest.partition("?")
    places, slash, database = before.partition("/")
    login, at, hosts = places.rpartition("@")
    plain = scheme.partition("+")[0]
    values = parse_qsl(asked, keep_blank_values=True)
    remap = _remap_of(next((value for name, value in values if name == "address_map"), None), url)
    given = urlencode([(name, value) for name, value in values if name != "address_map"])
    check_form(url)
    nodes = []
    parsed: dict[str, Any] = {}
    for host in hosts.split(","):
        one = f"{plain}://{login}{at}{host}{slash}{database}{'?' if given else ''}{given}"
        try:
            parsed = dict(parse_url(one))  # type: ignore[no-untyped-call]
        except ValueError as error:
            raise ConfigurationError(
                f"expected a URL like {CLUSTER_FORM}, got {mask_password(url)!r}: {error}"
            ) from None
        if parsed.pop("db", 0):
            raise ConfigurationError(
                f"expected no number of a database, as a Redis Cluster has number 0 only, got {mask_password(url)!r}: "
                "end the addresses in /0 or in nothing"
            )
        nodes.append((parsed.pop("host", "localhost"), parsed.pop("port", _PORT)))
    remap = _without_nameless(remap, nodes[0][0])
    parsed.pop("connection_class", None)
    parsed.pop("path", None)
    known = signature(redis.asyncio.cluster.RedisCluster.__init__).parameters
    if unknown := sorted(name for name in parsed if name not in known or not _OPTION.fullmatch(name)):
        raise ConfigurationError(
            "expected options of connections to a cluster that redis-py knows, such as socket_timeout, got "
            f"{', '.join(unknown)}, in {mask_password(url)!r}"
        )
    return Seeds(tuple(nodes), {**options, **parsed, **({"ssl": True} if plain == "rediss" else {})}, remap)


def _without_nameless(remap: Remap | None, host: str) -> Remap:
    """Return what also takes a node without a host for one on the host that was asked, as the protocol says."""

    def remapped(address: Address) -> Address:
        named = (address[0] or host, address[1])
        return named if remap is None else remap(named)

    return remapped


def _remap_of(text: str | None, url: str) -> Remap | None:
    """Return what turns the addresses that the cluster announces into those that can be reached from here."""
    if text is None:
        return None
    there: dict[Address, Address] = {}
    for pair in text.split(","):
        announced, equals, reached = pair.partition("=")
        found = [_PLACE.fullmatch(one) for one in (announced, reached)]
        if not equals or not all(found):
            raise ConfigurationError(
                "expected address_map as pairs, address_map=10.0.0.1:6379=proxy:7001,10.0.0.2:6379=proxy:7002, what "
                f"the cluster says first, got {shown(pair)} in {mask_password(url)!r}"
            )
        one, other = [(match[1].strip("[]"), int(match[2])) for match in found if match]
        there[one] = other
    return lambda address: there.get((str(address[0]), int(address[1])), address)
