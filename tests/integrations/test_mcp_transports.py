"""`ragknn mcp` as a process of its own, by the client of the SDK: over standard input and output, and over HTTP."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
from commands import run_here
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from serving import OWN, ROOT, SECRET, ask, fill, letters, program, refusal, talk

from ragknn import Index

TOKEN = "0123456789abcdef-only-for-tests"
LOUD = """
import os
from ragknn import HashingEmbedder

print("imported")

class Loud(HashingEmbedder):
    def __init__(self):
        print("made")
        super().__init__(64)

    def embed_queries(self, texts):
        print("asked for", texts)
        os.write(1, b"as a library in C does\\n")
        return super().embed_queries(texts)
"""


@pytest.fixture(scope="module")
def url(redis_url):
    fill(redis_url, "mcp-served", [*letters(SECRET), *letters("bolt")], required_filter="tenant")
    yield redis_url
    with Index("mcp-served", url=redis_url, create=False) as index:
        index.drop()


@contextmanager
def running(args: list[str], folder: Path, **environ: str):
    """Start the command with pipes, and end it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "ragknn", "mcp", *args],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environ},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


async def both(client):
    """What holds over either transport."""
    tools = [tool.name for tool in (await client.list_tools()).tools]
    found = await ask(client, "search", query="pears", k=50)
    [best, *_] = found["results"]
    document = await ask(client, "fetch", id=best["id"])
    vote = await ask(client, "classify", text="letter 3")
    indexes = await ask(client, "list_indexes")
    refused = await refusal(client, "search", query="pears", k=-1, filter={"tenant": SECRET}, other=1)
    theirs = await refusal(client, "fetch", id=f"{SECRET}/letter 1")
    assert tools == ["search", "fetch", "classify", "list_indexes"]
    assert len(found["results"]) == indexes["indexes"][0]["documents"] == 6
    assert best["text"] == document["text"]
    assert vote["label"].startswith("bolt")
    assert "there is no argument 'other'" in refused
    assert "there is no document or passage" in theirs
    assert SECRET not in json.dumps([found, document, vote, indexes])


async def over_http(at: str, headers: dict[str, str], mode: str) -> None:
    async with (
        httpx2.AsyncClient(headers=headers) as http,
        Client(streamable_http_client(at, http_client=http), mode=mode) as client,
    ):
        await both(client)


def test_a_client_starts_the_command_and_talks_with_it(url):
    talk(program("mcp-served", "--where", json.dumps(OWN), RAGKNN_URL=url), both)


def test_nothing_but_the_protocol_is_on_standard_output(url, tmp_path):
    (tmp_path / "loud.py").write_text(LOUD)
    hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
    messages = [
        {"id": 1, "method": "initialize", "params": hello},
        {"method": "notifications/initialized"},
        {"id": 2, "method": "tools/call", "params": {"name": "search", "arguments": {"query": "p\ud800\n", "k": 1}}},
        {"id": 3, "method": "tools/call", "params": {"name": "search", "arguments": {"query": "pears", "k": 1}}},
        {"id": 4, "method": "tools/call", "params": {"name": "fetch", "arguments": {"id": "\x1b[31m"}}},
    ]
    args = ["mcp-served", "--url", url, "--where", json.dumps(OWN), "--embedder", "loud:Loud", "--log", "log"]
    with running(args, tmp_path) as process:
        for message in messages[:3]:
            process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        process.stdin.write("no JSON\n" + "\x00\n" + "[" * 3000 + "\n")
        for message in messages[3:]:
            process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        process.stdin.flush()
        answers = {}
        while not {1, 3, 4} <= {*answers}:
            line = json.loads(process.stdout.readline())
            assert line["jsonrpc"] == "2.0"
            answers[line.get("id")] = line
        rest, noise = process.communicate(timeout=30)  # the end of its input ends it
    assert (process.returncode, rest) == (0, "")
    assert answers[1]["result"]["serverInfo"]["name"] == "ragknn"
    assert answers[3]["result"]["structuredContent"]["results"][0]["document_id"].startswith("bolt")
    assert answers[4]["result"]["isError"]
    assert {"imported", "made", "asked for ['pears']", "as a library in C does"} <= {*noise.splitlines()}
    assert "Traceback" not in noise
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_an_interrupt_ends_it_while_it_waits_for_its_client(tmp_path):
    with running(["mcp-nobody"], tmp_path) as process:
        process.stdin.write('{"jsonrpc": "2.0", "id": 1, "method": "ping"}\n')
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["id"] == 1
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == -signal.SIGINT


def test_over_http_every_request_brings_the_token_and_names_a_host_that_is_meant(url, tmp_path):
    args = [
        "mcp-served",
        "--where",
        json.dumps(OWN),
        "--http",
        "127.0.0.1:0",
        "--json",
        "--allow-host",
        "search.example",
    ]
    args += ["--log", "log", "--log-level", "debug"]
    with running(args, tmp_path, RAGKNN_URL=url, RAGKNN_MCP_TOKEN=TOKEN) as process:
        at = json.loads(process.stdout.readline())["url"]
        assert at.startswith("http://127.0.0.1:")
        seen = [Path(f"/proc/{process.pid}/cmdline").read_text()] if Path("/proc").exists() else []
        right = {"Authorization": f"Bearer {TOKEN}"}

        for mode in ("auto", "legacy"):
            asyncio.run(over_http(at, right, mode))
        with httpx2.Client() as client:
            ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}

            def status(**headers: str | bytes) -> int:
                return client.post(at, json=ping, headers={"Accept": "application/json", **headers}).status_code

            refused = [{}, {"Authorization": TOKEN}, {"Authorization": f"Basic {TOKEN}"}]
            refused += [{"Authorization": f"Bearer {TOKEN[:-1]}"}, {"Authorization": f"Bearer {TOKEN}x"}]
            refused += [{"Authorization": b"Bearer \xff"}, {"Authorization": f"Bearer {TOKEN}, Bearer x"}]
            assert [status(**one) for one in refused] == [401] * len(refused)
            assert client.get(at).status_code == client.get(at.removesuffix("/mcp")).status_code == 401
            assert status(**right, Host="evil.example") == 421
            assert status(**right, Origin="https://evil.example") == 403
            assert status(**right, Host="search.example") not in (401, 403, 421)
            seen.append(client.post(at, json=ping).text)
        process.send_signal(signal.SIGTERM)
        seen += process.communicate(timeout=20)
    seen.append((tmp_path / "log").read_text())
    assert len(seen[-1]) > 100
    assert not any(TOKEN in text or "Traceback" in text for text in seen)


# ---- the command line ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        ([], 2, "Missing argument 'NAME...'"),
        (["x", "--http", "0.0.0.0:0"], 1, "expected a token beside an address that others can reach"),
        (["x", "--http", "[::]:0"], 1, "set RAGKNN_MCP_TOKEN, or listen at 127.0.0.1"),
        (["x", "--http", "192.0.2.1:9"], 1, "expected a token"),
        (["x", "--http", "somewhere"], 2, "expected an address such as 127.0.0.1:8000, or a port"),
        (["x", "--http", "localhost:70000"], 2, "expected an address such as"),
        (["x", "--token-file", "token"], 2, "expected --http beside --token-file"),
        (["x", "--http", "0", "--token-file", "none"], 2, "expected a file with a token, got 'none': No such file"),
        (["x", "--http", "0", "--token-file", "short"], 2, "at least 16 characters"),
        (["x", "--json"], 2, "standard output is for the client"),
        (["x", "x"], 2, "expected names of indexes, each once"),
        (["x", "--where", "tenant"], 2, "expected JSON such as"),
        (["x", "--most", "0"], 2, "at least 1"),
    ],
)
def test_a_command_line_that_makes_no_sense_is_refused(args, code, message, tmp_path):
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "short").write_text("hush-hush")
    done = run_here(["mcp", *args], "", tmp_path, {})
    assert (done.returncode, done.stdout) == (code, "")
    assert message in done.stderr
    assert "hush" not in done.stderr


def test_without_the_sdk_the_command_says_what_to_install(tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("ragknn.integrations.mcp")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "mcp", None)
    done = run_here(["mcp", "x"], "", tmp_path, {})
    assert done.returncode == 1
    assert "pip install 'ragknn[mcp]'" in done.stderr


def test_a_port_that_is_taken_is_told(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = run_here(["mcp", "x", "--http", str(taken.getsockname()[1])], "", tmp_path, {})
    assert done.returncode == 1
    assert "Address already in use; choose another port or address" in done.stderr


def test_the_entry_of_a_client_starts_the_server_with_what_it_needs_and_has_no_secret(url, tmp_path, monkeypatch):
    secret = {"RAGKNN_PASSWORD": "hush", "RAGKNN_MCP_TOKEN": TOKEN, "RAGKNN_URL": "redis://me:hush@db.example:6379"}
    monkeypatch.setattr(sys, "argv", ["/usr/bin/ragknn", "mcp", "letters", "--config", "--about", "the letters"])
    done = run_here(["mcp", "letters", "--config", "--about", "the letters"], "", tmp_path, secret)
    entry = json.loads(done.stdout)["mcpServers"]["letters"]
    assert (entry["command"], entry["args"]) == ("/usr/bin/ragknn", ["mcp", "letters", "--about", "the letters"])
    assert entry["env"]["RAGKNN_URL"] == "redis://me@db.example:6379"
    assert "hush" not in done.stdout
    assert TOKEN not in done.stdout
    done = run_here(["mcp", "letters", "--config", "--json", "--http", "[::1]:8000"], "", tmp_path, {})
    assert json.loads(done.stdout) == {"mcpServers": {"letters": {"type": "http", "url": "http://[::1]:8000/mcp"}}}
