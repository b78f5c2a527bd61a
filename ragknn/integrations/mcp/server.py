"""The server: which tools it lists, and what happens when one is called."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from mcp import MCPError
from mcp.server import Server, ServerRequestContext
from mcp.types import (
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
)
from pydantic import BaseModel

from ragknn import Embedder, Where, __version__
from ragknn.integrations.mcp._answering import Answering
from ragknn.integrations.mcp._arguments import RefusedArguments, checked
from ragknn.integrations.mcp._facts import Facts
from ragknn.integrations.mcp._served import Served
from ragknn.integrations.mcp._tools import KINDS, describe
from ragknn.integrations.mcp._wording import in_words

_PATIENCE = 5.0  # seconds that the list of tools waits for what is told of the indexes
_MOST = 50


def create_server(
    names: str | Sequence[str],
    *,
    url: str | None = None,
    embedder: Embedder | None = None,
    where: Where | None = None,
    about: str = "",
    most: int = _MOST,
) -> Server[Answering]:
    """Return a server of the Model Context Protocol that answers from indexes; it is not running yet.

    The indexes are opened when they are first asked for, and need not be there before.

    Args:
        names: name of the index, or of several.
        url: as for `ragknn.Index`.
        embedder: as for `ragknn.Index`; for all of the indexes.
        where: filter that holds in every call, whatever the model asks for, such as `{"tenant": "acme"}`. An index that
            requires a filter is not answered from without one here.
        about: what the indexes hold, in a sentence: by it a model knows when to search.
        most: largest k that a model may ask for; a larger one is taken for this.

    Raises:
        TypeError: an argument of another type.
        ValueError: no name, one twice, or one that no index can have; a `most` below 1.
    """
    listed = [names] if isinstance(names, str) else list(names)
    if not listed or len(set(listed)) < len(listed):
        raise ValueError(f"expected names of indexes, each once, got {listed!r}")
    if isinstance(most, bool) or not isinstance(most, int):
        raise TypeError(f"expected the largest k as an integer, got {most!r}")
    if most < 1:
        raise ValueError(f"expected the largest k to be at least 1, got {most}")
    if where is not None and not isinstance(where, Mapping):
        raise TypeError(f"expected where to be a mapping such as {{'tenant': 'acme'}}, got {type(where).__name__}")

    def served() -> list[Served]:
        return [Served(name, url=url, embedder=embedder, where=where or None) for name in listed]

    served()  # a name that no index can have is refused here

    @asynccontextmanager
    async def lifespan(_: Server[Answering]) -> AsyncIterator[Answering]:
        indexes = served()
        warming = [asyncio.create_task(one.warm()) for one in indexes]
        try:
            yield Answering(indexes, most)
        finally:
            for task in warming:
                task.cancel()
            await asyncio.gather(*warming, return_exceptions=True)
            for one in indexes:
                await one.close()

    async def list_tools(context: ServerRequestContext[Answering], _: PaginatedRequestParams | None) -> ListToolsResult:
        known = await _known(context.lifespan_context)
        return ListToolsResult(tools=describe(listed, known, about, most))

    return Server(
        "ragknn",
        version=__version__,
        title=f"ragknn: {', '.join(listed)}",
        instructions=_instructions(listed, about),
        lifespan=lifespan,
        on_list_tools=list_tools,
        on_call_tool=_call,
    )


def _instructions(names: Sequence[str], about: str) -> str:
    held = f" They hold: {about}" if about else ""
    return (
        f"Documents of {', '.join(names)}, to be searched.{held} Search first; fetch a result where its passage is not "
        "enough. Say so if nothing that was found answers the question."
    )


async def _known(answering: Answering) -> list[Facts]:
    """Return what is known of the indexes that can be reached in time."""
    looked = (asyncio.wait_for(one.facts(), _PATIENCE) for one in answering.indexes.values())
    found = await asyncio.gather(*looked, return_exceptions=True)
    return [facts for facts in found if isinstance(facts, Facts)]


async def _call(context: ServerRequestContext[Answering], params: CallToolRequestParams) -> CallToolResult:
    """Answer a call; what goes wrong is told to the model as an error of the tool."""
    if params.name not in KINDS:
        raise MCPError(INVALID_PARAMS, f"there is no tool {params.name[:100]!r}; there are {', '.join(KINDS)}")
    answering = context.lifespan_context
    tools: Mapping[str, Callable[[Any], Awaitable[BaseModel]]] = {
        "search": answering.search,
        "fetch": answering.fetch,
        "classify": answering.classify,
        "list_indexes": answering.list_indexes,
    }
    try:
        answer = await tools[params.name](checked(KINDS[params.name].takes, params.arguments or {}))
    except RefusedArguments as error:
        return _text(in_words(error, ""), is_error=True)
    content = answer.model_dump(mode="json")
    result = _text(json.dumps(content, ensure_ascii=False))
    result.structured_content = content
    return result


def _text(text: str, *, is_error: bool = False) -> CallToolResult:
    return CallToolResult(content=[TextContent(type="text", text=text)], is_error=is_error)
