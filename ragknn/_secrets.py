"""Secrets in URLs and options: what of them may be shown, and what may be kept outside of this process. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Self

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_IN_OPTIONS = re.compile(r"([a-z_]{0,20}(?:password|passwd|secret|token|key)=).*", re.IGNORECASE | re.DOTALL)
_NO_PORT = re.compile(r"^([^:\[\]]*):(?!\d{1,5}(?:[/?]|$)).*", re.DOTALL)
_NO_PORT_OF_SOME = re.compile(r"^((?:[^:\[\],]*:\d{1,5},)*[^:\[\],]*):(?!\d{1,5}(?:[/?,]|$)).*", re.DOTALL)
# Arguments of transformers that open a door, and do not change what a model makes.
_KEYS_OF_DOORS = frozenset({"token", "use_auth_token", "hf_token", "api_key", "password"})

_MASK = "***"


def mask_password(url: str) -> str:
    """Return the URL with three stars for its password, if any, and for what may be one.

    Whatever form it has: what stands between the first colon behind the scheme and the last @, what follows a colon
    and is no port, and all that follows `password=`.
    """
    scheme, rest = _parts(url)
    rest = _IN_OPTIONS.sub(rf"\g<1>{_MASK}", rest)
    login, at, host = rest.rpartition("@")
    if at:
        user, colon, _ = login.partition(":")
        return f"{scheme}{user}{colon}{_MASK if colon else ''}{at}{host}"
    return scheme + _no_port(scheme).sub(rf"\g<1>:{_MASK}", host)


def without_password(url: str) -> str:
    """Return the URL without a password, and without what may be one."""
    scheme, rest = _parts(url)
    rest = _IN_OPTIONS.sub("", rest).rstrip("?&")
    login, at, host = rest.rpartition("@")
    if not at:
        return scheme + _no_port(scheme).sub(r"\g<1>", host)
    user = login.partition(":")[0]
    return f"{scheme}{user}{at if user else ''}{host}"


def without_login(url: str) -> str:
    """Return the URL without user and password, and with stars for what may be a secret behind its path."""
    scheme, rest = _parts(mask_password(url))
    return scheme + rest.rpartition("@")[2]


def _no_port(scheme: str) -> re.Pattern[str]:
    return _NO_PORT_OF_SOME if "+" in scheme else _NO_PORT  # redis+sentinel:// has several hosts


def _parts(url: str) -> tuple[str, str]:
    found = _SCHEME.match(url)
    return (found[0], url[found.end() :]) if found else ("", url)


class SecretUrl(str):
    """A URL with a password: shown with stars in its place, and copied to no other process.

    Where it is pickled, the password is left out: it is to be taken from the environment there.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(mask_password(self))

    def __reduce__(self) -> tuple[Any, ...]:
        return str, (without_password(self),)

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return self.__reduce__()

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


def guarded_url(url: str | None) -> str | None:
    """Return the URL so that what may be a password in it is not shown; as it is if there is none."""
    if not isinstance(url, str) or isinstance(url, SecretUrl) or mask_password(url) == url:
        return url
    return SecretUrl(url)


def without_keys(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options, and those within, without what only opens a door, such as a token."""
    return {
        name: without_keys(value) if isinstance(value, Mapping) else value
        for name, value in options.items()
        if str(name).lower() not in _KEYS_OF_DOORS
    }
