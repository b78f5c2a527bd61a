"""One of the indexes that a server answers from: opened when it is first asked, with the filter that always holds."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from ragknn import AsyncIndex, ConnectionFailed, Embedder, IndexNotFound, RagKNNError, Where, load_settings
from ragknn.integrations.mcp._facts import Facts, gather_facts

logger = logging.getLogger(__name__)

_T = TypeVar("_T")

FRESH = 60.0  # seconds for which what is told of an index is not looked up again


class OwnFilterRefused(Exception):
    """The filter of whoever started the server has no meaning in an index, or is not all that the index requires."""


class Served:
    """An index that is served.

    It is opened by the first call that needs it, and anew after the server or the index was gone, so that nothing that
    is missing when the program starts ends it.

    Attributes:
        name: name of the index.
        where: filter that holds in every call, whatever the model asks for; None where there is none.
    """

    def __init__(self, name: str, *, url: str | None, embedder: Embedder | None, where: Where | None) -> None:
        self.name, self.where = name, where
        self._index = AsyncIndex(name, url=url, embedder=embedder, create=False)
        self._fitting: AsyncIndex | None = None  # the index of which it is known that `where` fits it
        self._facts: tuple[float, Facts] | None = None

    async def ask(self, call: Callable[[AsyncIndex], Awaitable[_T]]) -> _T:
        """Return what a call, which only reads, returns of the index, in which `where` is known to mean something.

        Where an embedded Redis has answered before and does not any more, the call is made once more, for which it is
        started again.

        Raises:
            OwnFilterRefused: it means nothing there, or leaves out a field that the index requires.
            RagKNNError: the index cannot be opened, or what the call raises.
        """
        answered = self._fitting is self._index
        try:
            return await self._once(call)
        except ConnectionFailed:
            if not answered or self._index.url or load_settings().url:
                raise
        return await self._once(call)

    async def _once(self, call: Callable[[AsyncIndex], Awaitable[_T]]) -> _T:
        index = self._index
        try:
            if self._fitting is not index:
                await self._check(index)
                self._fitting = index
            return await call(index)
        except (IndexNotFound, ConnectionFailed):
            if self._index is index:  # the next call begins anew; those that still use this one end on their own
                self._index, self._facts = AsyncIndex.like(index), None
            raise

    async def _check(self, index: AsyncIndex) -> None:
        try:
            await index.exists([], where=self.where)
        except (ValueError, TypeError) as error:
            logger.error("index %s refuses the filter that this server was started with: %s", self.name, error)
            raise OwnFilterRefused from error

    def narrowed(self, asked: Mapping[str, Any] | None) -> Where | None:
        """Return the filter of a call: what always holds, and what the model asks for beside it."""
        if not asked:
            return self.where
        return asked if self.where is None else {"$and": [self.where, asked]}

    async def facts(self) -> Facts:
        """Return what there is to tell of the index, of late.

        Raises:
            OwnFilterRefused: as for `ask`.
            RagKNNError: as for `ask`.
        """
        now = asyncio.get_running_loop().time()
        if self._facts is None or now - self._facts[0] > FRESH:
            self._facts = now, await self.ask(lambda index: gather_facts(index, self.where))
        return self._facts[1]

    async def warm(self) -> None:
        """Open the index and load its model, so that the first question need not wait for that."""
        try:
            facts = await self.facts()
            if "vector" in facts.modes:
                await self.ask(lambda index: asyncio.to_thread(lambda: index.embedder.embed_queries(["warm"])))
        except (RagKNNError, OwnFilterRefused) as error:
            logger.warning("index %s cannot be searched yet: %s", self.name, error)
        except Exception:  # of an embedder of the user; the first question meets it again, and tells
            logger.exception("the model of index %s cannot be loaded yet", self.name)

    async def close(self) -> None:
        """Close the index."""
        await self._index.close()
