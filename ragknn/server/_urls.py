"""URLs of Redis: what is wrong with one, and where its password comes from. Pure."""

from __future__ import annotations

import re
from urllib.parse import quote

from ragknn._checks import shown
from ragknn._secrets import mask_password
from ragknn._secrets import without_password as without_password
from ragknn.errors import ConfigurationError

_FORMS = "redis://localhost:6379, rediss://user:password@host:6380/0 or unix:///run/redis.sock"
_OPTION = re.compile(r"[a-z_]+=")
_HOST = re.compile(r"(\[[^\]]*\]|[^:]*)(?::(\d*))?")


def check_form(url: str) -> None:
    """Refuse a URL that cannot be meant: redis-py would take its host from the password, or pass over a part of it.

    Raises:
        ConfigurationError: it has another form; the message says what to do, and shows no password.
    """
    scheme, slashes, rest = url.partition("://")
    if not slashes or scheme not in ("redis", "rediss", "unix"):
        raise ConfigurationError(f"expected a URL like {_FORMS}, got {shown(mask_password(url))}: name the scheme")
    if scheme == "unix":
        if not rest.partition("?")[0].rpartition("@")[2].strip("/"):
            raise ConfigurationError(f"expected a URL like {_FORMS}, got {mask_password(url)!r}, without a path")
        return
    place, path, options = _parts(rest)
    host = _HOST.fullmatch(place.rpartition("@")[2])
    is_port = host is not None and (not host[2] or int(host[2]) <= 65535)
    beyond = [path, *(one for one in options.split("&") if not (is_port and _OPTION.match(one)))]
    if "#" in rest or any("@" in one for one in beyond):
        raise ConfigurationError(
            "expected a URL in which / ? # @ and % of the password are percent-encoded (%2F %3F %23 %40 %25), got "
            f"{mask_password(url)!r}: encode them, or leave the password out and set RAGKNN_PASSWORD"
        )
    if not is_port:
        raise ConfigurationError(
            f"expected a URL like {_FORMS}, got {mask_password(url)!r}: a port is a number up to 65535, and after a "
            "password come @ and the host"
        )
    if host is not None and not _is_name(host[1]):
        raise ConfigurationError(
            f"expected a URL like {_FORMS}, got {shown(mask_password(url))}: the parts of a host's name have 1 to 63 "
            "letters, digits and hyphens, with dots between them"
        )
    if not re.fullmatch(r"(?:/\d*)?", path):
        raise ConfigurationError(
            f"expected the number of a database after the host, as in redis://host:6379/0, got {mask_password(url)!r}"
        )


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
