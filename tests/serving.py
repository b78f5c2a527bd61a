"""Servers of the Model Context Protocol in tests, and clients that are called as plain functions."""

import asyncio
import json
import os
import sys
from pathlib import Path

from mcp import Client, StdioServerParameters

from ragknn import Document, HashingEmbedder, Index, Indexer

SECRET = "acme"  # the tenant that no other may see: in its ids, texts, labels and values, and nowhere else
OWN = {"tenant": "bolt"}
ROOT = Path(__file__).parent.parent

FIELDS = {"tenant": "tag", "year": "numeric", "title": "text", "source": "tag"}
EMBEDDER = HashingEmbedder(64)


def letters(tenant: str, many: int = 6) -> list[Document]:
    return [
        Document(
            f"{tenant}/letter {n}",
            f"{tenant} writes letter {n} about pears, and sends {2000 + n} of them.",
            f"{tenant}-{'odd' if n % 2 else 'even'}",
            {"tenant": tenant, "year": 2000 + n, "title": f"Letter {n} of {tenant}", "source": f"{tenant}.txt"},
        )
        for n in range(many)
    ]


def fill(url: str | None, name: str, documents: list[Document], **options) -> None:
    with Index(name, url=url, **{"embedder": EMBEDDER, "fields": FIELDS, **options}) as index:
        Indexer(index).add(documents).raise_for_failures()


def program(*args: str, **environ: str) -> StdioServerParameters:
    """Return how a client starts the command: with next to nothing of the environment."""
    here = {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "RAGKNN_DATA": os.environ["RAGKNN_DATA"], **environ}
    return StdioServerParameters(command=sys.executable, args=["-m", "ragknn", "mcp", *args], env=here)


def talk(server, conversation, **options):
    """Connect a client to a server, let it talk, and return what the conversation returns."""

    async def talking():
        async with Client(server, **options) as client:
            return await conversation(client)

    return asyncio.run(talking())


async def ask(client: Client, tool: str, **arguments):
    """Call a tool and return its answer, which is the same in both of its forms."""
    result = await client.call_tool(tool, arguments)
    [content] = result.content
    assert not result.is_error, content.text
    assert json.loads(content.text) == result.structured_content
    return result.structured_content


async def refusal(client: Client, tool: str, **arguments) -> str:
    """Call a tool that refuses, and return what it says."""
    result = await client.call_tool(tool, arguments)
    [content] = result.content
    assert result.is_error, content.text
    assert "Traceback" not in content.text
    return content.text
