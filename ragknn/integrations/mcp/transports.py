"""How a server talks with its clients: over standard input and output, or over HTTP."""

from __future__ import annotations

import hmac
import ipaddress
import socket
from collections.abc import Callable, Iterable
from hashlib import sha256
from typing import Any

import uvicorn
from mcp import stdio_server
from mcp.server import Server
from mcp.server.transport_security import TransportSecuritySettings
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from ragknn import ConfigurationError

_PATH = "/mcp"
_LOCAL = ("127.0.0.1", "localhost", "[::1]")
_SHORTEST_TOKEN = 16  # characters
_FAREWELL = 2  # seconds that open streams are given at the end


async def serve_stdio(server: Server[Any]) -> None:
    """Answer one client over standard input and output, until it closes them.

    Whatever else writes to standard output meanwhile is led to standard error.
    """
    async with stdio_server() as (reading, writing):
        await server.run(reading, writing, server.create_initialization_options())


async def serve_http(
    server: Server[Any],
    host: str = "127.0.0.1",
    port: int = 8000,
    *,
    token: str | None = None,
    allowed_hosts: Iterable[str] = (),
    ready: Callable[[str], None] | None = None,
) -> None:
    """Answer clients over HTTP (streamable HTTP, at the path /mcp), until the program is interrupted.

    Args:
        server: what `create_server` returned.
        host: address to listen at. Without a token, one of this machine that no other reaches.
        port: port to listen at; 0 for any that is free.
        token: what every request must bring, as `Authorization: Bearer TOKEN`; at least 16 characters.
        allowed_hosts: names by which clients reach the server beside `host`, such as `search.example.org`. Requests to
            any other are refused, so that a page in a browser cannot reach the server under a name of its own.
        ready: called with the URL as soon as clients can connect.

    Raises:
        ConfigurationError: the address cannot be listened at, or others can reach it and there is no token.
        ValueError: a token that is too short or cannot stand in a header.
    """
    _check_token(token, host)
    app: ASGIApp = server.streamable_http_app(
        streamable_http_path=_PATH, host=host, transport_security=_security(host, allowed_hosts)
    )
    if token is not None:
        app = _Guard(app, token)
    with _listening(host, port) as listener:
        running = _Running(
            uvicorn.Config(
                app, log_config=None, access_log=False, server_header=False, timeout_graceful_shutdown=_FAREWELL
            )
        )
        running.tell = lambda: ready and ready(_url(host, listener.getsockname()[1]))
        await running.serve(sockets=[listener])


class _Running(uvicorn.Server):
    """A server of uvicorn that tells when it can be asked."""

    tell: Callable[[], Any]

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self.tell()


class _Guard:
    """Lets requests pass that bring the token."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._expected = _digest(token.encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or self._admits(scope):
            await self._app(scope, receive, send)
        else:
            refusal = {"error": "invalid_token", "error_description": "expected Authorization: Bearer TOKEN"}
            await JSONResponse(refusal, 401, {"WWW-Authenticate": "Bearer"})(scope, receive, send)

    def _admits(self, scope: Scope) -> bool:
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        if scope["type"] != "http" or len(given) != 1:
            return False
        kind, _, token = given[0].partition(b" ")
        # Of digests, so that not even the length of the token shows in the time that it takes.
        return kind.lower() == b"bearer" and hmac.compare_digest(_digest(token.strip()), self._expected)


def _digest(token: bytes) -> bytes:
    return sha256(token).digest()


def _check_token(token: str | None, host: str) -> None:
    if token is None:
        if not _is_local(host):
            raise ConfigurationError(
                f"expected a token beside an address that others can reach, got {host} alone: set RAGKNN_MCP_TOKEN, or "
                "listen at 127.0.0.1"
            )
    elif len(token) < _SHORTEST_TOKEN or not all("!" <= character <= "~" for character in token):
        raise ValueError(
            f"expected a token of at least {_SHORTEST_TOKEN} characters of ASCII without spaces, got another: "
            "`openssl rand -hex 32` makes one"
        )


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _security(host: str, others: Iterable[str]) -> TransportSecuritySettings:
    names = dict.fromkeys([*_LOCAL, _in_url(host), *others])
    hosts = [form for name in names for form in (name, f"{name}:*")]
    return TransportSecuritySettings(
        allowed_hosts=hosts, allowed_origins=[f"{scheme}://{one}" for one in hosts for scheme in ("http", "https")]
    )


def _listening(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        # What asyncio and socket add in brackets repeats the address.
        reason = str(error.strerror if isinstance(error, OSError) else error).partition(" (")[0]
        raise ConfigurationError(
            f"expected to listen at {_in_url(host)}:{port}, got: {reason}; choose another port or address"
        ) from error


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _url(host: str, port: int) -> str:
    return f"http://{_in_url(host)}:{port}{_PATH}"
