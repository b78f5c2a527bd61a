"""URLs of Redis: what is wrong with one, and where its password comes from. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import parse_qsl, quote, unquote, urlencode

from ragknn._checks import shown
from ragknn._secrets import mask_password
from ragknn._secrets import without_password as without_password
from ragknn.errors import ConfigurationError

_FORMS = "redis://localhost:6379, rediss://user:password@host:6380/0 or unix:///run/redis.sock"
_SERVICE_FORM = "redis+sentinel://host:26379,host:26379/service"
CLUSTER_FORM = "redis+cluster://user:password@host:7000,host:7001"
_OPTION = re.compile(r"[a-z_]+=")
_HOST = re.compile(r"(\[[^\]]*\]|[^:]*)(?::(\d*))?")

SENTINEL_SCHEMES = ("redis+sentinel", "rediss+sentinel")
CLUSTER_SCHEMES = ("redis+cluster", "rediss+cluster")
_PLAIN_SCHEMES = ("redis", "rediss")
SENTINEL_PORT = 26379
_YES, _NO = ("yes", "true", "1", "on"), ("no", "false", "0", "off")

Address: TypeAlias = tuple[str, int]
"""Host and port."""


@dataclass(frozen=True, slots=True)
class Service:
    """A service that Sentinels watch over, as its URL names it.

    Attributes:
        name: of the service.
        sentinels: where to ask for it.
        url: how to connect to one of its servers: login, database and options, with nothing for its address.
        login: user and password of the Sentinels, as far as there are.
        reads_from_replicas: whether its replicas answer what is only asked.
    """

    name: str
    sentinels: tuple[Address, ...]
    url: str
    login: tuple[str | None, str | None] = (None, None)
    reads_from_replicas: bool = False

    @property
    def asked(self) -> str:
        """Where to ask for it, as text."""
        return shown_addresses(self.sentinels)


def shown_addresses(addresses: tuple[Address, ...]) -> str:
    """Return addresses as text."""
    return ", ".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in addresses)


def service_of(url: str) -> Service | None:
    """Return the service that a URL of good form names; None where it names a server.

    Raises:
        ConfigurationError: an option of ours has a wrong value.
    """
    scheme, _, rest = url.partition("://")
    if scheme not in SENTINEL_SCHEMES:
        return None
    place, path, options = _parts(rest)
    login, at, named = place.rpartition("@")
    hosts = [_HOST.fullmatch(one) for one in named.split(",")]
    name, _, database = path[1:].partition("/")
    values = dict(parse_qsl(options, keep_blank_values=True))
    user, password = (values.pop(f"sentinel_{one}", None) for one in ("username", "password"))
    reads = values.pop("read_from_replicas", "no").lower()
    if reads not in (*_YES, *_NO):
        raise ConfigurationError(
            f"expected read_from_replicas as yes or no, got {shown(reads)} in {mask_password(url)!r}: correct it"
        )
    question = f"?{urlencode(values)}" if values else ""
    return Service(
        unquote(name),
        tuple((host[1].strip("[]") or "localhost", int(host[2] or SENTINEL_PORT)) for host in hosts if host),
        f"{scheme.partition('+')[0]}://{login}{at}/{database}{question}",
        (user, password),
        reads in _YES,
    )


def check_form(url: str) -> None:
    """Refuse a URL that cannot be meant: redis-py would take its host from the password, or pass over a part of it.

    Raises:
        ConfigurationError: it has another form; the message says what to do, and shows no password.
    """
    scheme, slashes, rest = url.partition("://")
    forms = CLUSTER_FORM if "cluster" in scheme else _SERVICE_FORM if "sentinel" in scheme else _FORMS
    if not slashes or scheme not in (*_PLAIN_SCHEMES, "unix", *SENTINEL_SCHEMES, *CLUSTER_SCHEMES):
        raise ConfigurationError(f"expected a URL like {forms}, got {shown(mask_password(url))}: name the scheme")
    if scheme == "unix":
        if not rest.partition("?")[0].rpartition("@")[2].strip("/"):
            raise ConfigurationError(f"expected a URL like {_FORMS}, got {mask_password(url)!r}, without a path")
        return
    place, path, options = _parts(rest)
    of_service, of_cluster = scheme in SENTINEL_SCHEMES, scheme in CLUSTER_SCHEMES
    login, _, named = place.rpartition("@")
    hosts = [_HOST.fullmatch(one) for one in (named.split(",") if of_service or of_cluster else [named])]
    is_port = all(host is not None and (not host[2] or int(host[2]) <= 65535) for host in hosts)
    beyond = [path, *(one for one in options.split("&") if not (is_port and _OPTION.match(one)))]
    if "#" in rest or any("@" in one for one in beyond):
        raise ConfigurationError(
            "expected a URL in which / ? # @ and % of the password are percent-encoded (%2F %3F %23 %40 %25), got "
            f"{mask_password(url)!r}: encode them, or leave the password out and set RAGKNN_PASSWORD"
        )
    if (of_service or of_cluster) and re.search("@.*,", login):
        raise ConfigurationError(
            f"expected user and password once, before the first host, got {mask_password(url)!r}: all have the same"
        )
    if not is_port:
        raise ConfigurationError(
            f"expected a URL like {forms}, got {mask_password(url)!r}: a port is a number up to 65535, and after a "
            "password come @ and the host"
        )
    may_be_empty = not of_service and len(hosts) == 1  # which is this machine
    if not all(host is None or (_is_name(host[1]) and (host[1] or may_be_empty)) for host in hosts):
        raise ConfigurationError(
            f"expected a URL like {forms}, got {shown(mask_password(url))}: the parts of a host's name have 1 to 63 "
            "letters, digits and hyphens, with dots between them"
        )
    if of_service and not re.fullmatch(r"/[^/]+(?:/\d*)?", path):
        raise ConfigurationError(
            f"expected the name of a service behind the addresses, as in {_SERVICE_FORM}, got {mask_password(url)!r}"
        )
    if of_cluster and not re.fullmatch(r"(?:/\d*)?", path):
        raise ConfigurationError(
            f"expected hosts with commas between them and nothing behind the last, as in {CLUSTER_FORM}, got "
            f"{mask_password(url)!r}"
        )
    if not of_service and not re.fullmatch(r"(?:/\d*)?", path):
        raise ConfigurationError(
            f"expected the number of a database after the host, as in redis://host:6379/0, got {mask_password(url)!r}"
        )


def is_cluster_url(url: str) -> bool:
    """Tell whether a URL is one of a cluster."""
    return url.partition("://")[0] in CLUSTER_SCHEMES


def as_cluster_url(url: str) -> str:
    """Return a URL of one server as that of the cluster that it is a node of.

    Raises:
        ConfigurationError: it cannot be one.
    """
    scheme, _, rest = url.partition("://")
    if scheme in CLUSTER_SCHEMES:
        return url
    if scheme not in _PLAIN_SCHEMES:
        raise ConfigurationError(
            f"expected the URL of a node with cluster=True, such as redis://host:7000, got {shown(mask_password(url))}"
        )
    return f"{scheme}+cluster://{rest}"


def reads_from_replicas(url: str) -> bool:
    """Tell whether a URL says that replicas are to answer what is only asked."""
    check_form(url)
    service = service_of(url)
    return service is not None and service.reads_from_replicas


def _is_name(host: str) -> bool:
    try:
        host.encode("idna")  # as Python does when it looks for the address
    except UnicodeError:
        return False
    return True


def _parts(rest: str) -> tuple[str, str, str]:
    """Return what follows the scheme as login and host, path, and options, as redis-py reads it."""
    before, _, options = rest.partition("?")
    place, slash, path = before.partition("/")
    return place, slash + path, options


def with_password(url: str, password: str | None) -> str:
    """Return the URL with the password, unless there is none or the URL has one itself."""
    if not password:
        return url
    scheme, _, rest = url.partition("://")
    place, path, options = _parts(rest)
    user, at, host = place.rpartition("@")
    if ":" in user or re.search(r"(?:^|&)password=", options):
        return url
    question = f"?{options}" if options else ""
    return f"{scheme}://{user if at else ''}:{quote(password, safe='')}@{host}{path}{question}"
