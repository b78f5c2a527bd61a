"""The command that lets assistants and editors search: mcp."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import sys
from pathlib import Path
from typing import Any

import click
from pydantic import SecretStr

from ragknn._secrets import without_password
from ragknn.cli.embedders import embedder_option
from ragknn.cli.options import COUNT, common, url_option, where_option
from ragknn.cli.screen import print_json, stderr, stdout
from ragknn.embedding.protocols import Embedder
from ragknn.settings import Settings, load_settings

_ADDRESS = re.compile(r"(?:(?P<host>\[[^\]]+\]|[^:\[\]]+):)?(?P<port>\d{1,5})")
_LAST_PORT = 65_535


def _address(ctx: click.Context, parameter: click.Parameter, value: str | None) -> tuple[str, int] | None:
    if value is None:
        return None
    found = _ADDRESS.fullmatch(value)
    if found is None or int(found["port"]) > _LAST_PORT:
        raise click.BadParameter(f"expected an address such as 127.0.0.1:8000, or a port, got {value!r}")
    return (found["host"] or "127.0.0.1").strip("[]"), int(found["port"])


def _token(ctx: click.Context, parameter: click.Parameter, path: Path | None) -> SecretStr | None:
    if path is None:
        return None
    try:
        return SecretStr(path.read_text(encoding="utf-8").strip())
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise click.BadParameter(f"expected a file with a token, got {str(path)!r}: {reason}") from error


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option(
    "--about", metavar="TEXT", default="", help="What the documents are about; by it a model knows when to ask."
)
@where_option("Show only passages that match, whatever is asked for.")
@click.option("--most", type=COUNT, default=50, show_default=True, help="Most passages that one search finds.")
@click.option("--http", "address", metavar="[HOST:]PORT", callback=_address, help="Listen for HTTP, at the path /mcp.")
@click.option(
    "--token-file",
    "token",
    type=click.Path(path_type=Path),
    callback=_token,
    metavar="FILE",
    help="File with the token that HTTP requests must bring.  [default: RAGKNN_MCP_TOKEN]",
)
@click.option(
    "--allow-host", "hosts", multiple=True, metavar="NAME", help="Name by which HTTP clients reach this machine."
)
@click.option("--config", is_flag=True, help="Print what the configuration of a client needs, and end.")
@embedder_option
@url_option
@common
def mcp(
    names: tuple[str, ...],
    about: str,
    where: dict[str, Any] | None,
    most: int,
    address: tuple[str, int] | None,
    token: SecretStr | None,
    hosts: tuple[str, ...],
    config: bool,
    embedder: Embedder | None,
    url: str | None,
    as_json: bool,
) -> None:
    """Let assistants and editors search the indexes NAME..., as a server of the Model Context Protocol.

    A client starts it by itself and talks with it over standard input and output: --config prints what to write into
    the client's configuration. With --http it is started once, and clients connect to it.
    """
    if address is None and (token is not None or hosts):
        raise click.UsageError("expected --http beside --token-file and --allow-host, got neither address nor port")
    if as_json and address is None and not config:
        raise click.UsageError("expected --http or --config beside --json: standard output is for the client")
    settings = load_settings()
    if config:
        entry = _entry(names[0], address, settings)
        print_json(entry) if as_json else stdout.print(json.dumps(entry, indent=2, ensure_ascii=False), soft_wrap=True)
        return
    from ragknn.integrations.mcp import create_server, serve_http, serve_stdio  # late: it is optional, and slow

    server = create_server(names, url=url, embedder=embedder, where=where, about=about, most=most)
    if address is None:
        if sys.stdin.isatty():
            stderr.print("A client is expected on standard input; `ragknn mcp --config` prints how it is set up.")
        # A thread waits for the client's next line, and nothing but the end of the process can end that.
        before = signal.signal(signal.SIGINT, signal.SIG_DFL)
        try:
            asyncio.run(serve_stdio(server))
        finally:
            signal.signal(signal.SIGINT, before)
        return

    def ready(at: str) -> None:
        if as_json:
            print_json({"url": at})
            sys.stdout.flush()
        else:
            stderr.print(f"serving at {at}", soft_wrap=True)

    chosen = token or settings.mcp_token
    secret = None if chosen is None else chosen.get_secret_value()
    asyncio.run(serve_http(server, *address, token=secret, allowed_hosts=hosts, ready=ready))


def _entry(name: str, address: tuple[str, int] | None, settings: Settings) -> dict[str, Any]:
    """Return what a client's configuration says of the server that this command line starts; no secret is in it."""
    if address is not None:
        host, port = address
        shown = f"[{host}]" if ":" in host else host
        return {"mcpServers": {name: {"type": "http", "url": f"http://{shown}:{port}/mcp"}}}
    program = Path(sys.argv[0])
    run = [str(program.absolute())] if program.stem == "ragknn" else [sys.executable, "-m", "ragknn"]
    given = [argument for argument in sys.argv[1:] if argument not in ("--config", "--json")]
    entry: dict[str, Any] = {"command": run[0], "args": [*run[1:], *given]}
    # Clients start it with next to nothing of the environment that it has here.
    there = {one: getattr(settings, one) for one in sorted(settings.model_fields_set)}
    environ = {f"RAGKNN_{one.upper()}": str(value) for one, value in there.items() if not isinstance(value, SecretStr)}
    if "RAGKNN_URL" in environ:
        environ["RAGKNN_URL"] = without_password(environ["RAGKNN_URL"])
    return {"mcpServers": {name: {**entry, **({"env": environ} if environ else {})}}}
