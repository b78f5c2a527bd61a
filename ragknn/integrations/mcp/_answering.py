"""What each tool does: from checked arguments to an answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import chain, zip_longest
from typing import Any, TypeVar

from ragknn import AsyncIndex, AsyncLabelVoter, AsyncRetriever, Document, Mode, Retrieval
from ragknn.integrations.mcp._answers import (
    LONGEST_PART,
    ClassifyAnswer,
    FetchAnswer,
    FoundPassage,
    ListAnswer,
    SearchAnswer,
    ServedIndex,
    fetched,
    found,
    listed,
    voted,
)
from ragknn.integrations.mcp._arguments import (
    ClassifyArguments,
    FetchArguments,
    ListArguments,
    RefusedArguments,
    SearchArguments,
)
from ragknn.integrations.mcp._facts import modes_of
from ragknn.integrations.mcp._served import Served
from ragknn.integrations.mcp._wording import in_words

_T = TypeVar("_T")


class Answering:
    """Answers from the indexes that are served.

    Attributes:
        indexes: the indexes, by their names.
    """

    def __init__(self, indexes: Sequence[Served], most: int) -> None:
        self.indexes = {one.name: one for one in indexes}
        self._most = most

    async def search(self, asked: SearchArguments) -> SearchAnswer:
        """Find passages in one index, or in all of them; of several, their results take turns.

        Raises:
            RefusedArguments: the call cannot be answered; the message is for the model.
        """
        chosen, k = self._chosen(asked.index), min(asked.k, self._most)
        answers = await asyncio.gather(
            *(_told(one, _searching(one, asked, k)) for one in chosen), return_exceptions=True
        )
        failures = [answer for answer in answers if isinstance(answer, BaseException)]
        if len(failures) == len(answers):
            raise failures[0]
        retrievals = [
            (one, answer) for one, answer in zip(chosen, answers, strict=True) if isinstance(answer, Retrieval)
        ]
        ranked = zip_longest(*([self._found(one, neighbor) for neighbor in hits] for one, hits in retrievals))
        results = [passage for passage in chain.from_iterable(ranked) if passage is not None][:k]
        warnings = [warning for _, hits in retrievals for warning in hits.warnings] + [str(one) for one in failures]
        if asked.k > k:
            warnings.append(f"k was taken for {k}, the most that this server finds at once")
        complete = not failures and all(hits.complete for _, hits in retrievals)
        return SearchAnswer(results=results, complete=complete, warnings=warnings)

    def _found(self, one: Served, neighbor: Any) -> FoundPassage:
        return found(neighbor, one.name, self._prefix(one) + neighbor.passage.id)

    async def fetch(self, asked: FetchArguments) -> FetchAnswer:
        """Read a document, by its own id or that of one of its passages.

        Raises:
            RefusedArguments: as for `search`.
        """
        one, own = self._place_of(asked.id)
        document, begin = await _told(one, lambda index: _reading(index, one, own))
        start = begin if asked.start is None else asked.start
        if start and start >= len(document.text):
            raise RefusedArguments(f"start is {start}, and the document has {len(document.text)} characters")
        return fetched(document, one.name, asked.id, start)

    async def classify(self, asked: ClassifyArguments) -> ClassifyAnswer:
        """Let the nearest documents of an index vote on the label of a text.

        Raises:
            RefusedArguments: as for `search`.
        """
        [one, *others] = self._chosen(asked.index)
        if others:
            raise RefusedArguments(f"there are several indexes: name one with index, of {', '.join(self.indexes)}")

        async def voting(index: AsyncIndex) -> ClassifyAnswer:
            voter = AsyncLabelVoter(
                AsyncRetriever(index, on_incomplete="return"), min(asked.k, self._most), where=one.where
            )
            mode = await _mode(index, None)
            vote = await voter.vote(asked.text, where=asked.filter or None, mode=mode)
            return voted(vote, self._prefix(one))

        return await _told(one, voting)

    async def list_indexes(self, asked: ListArguments) -> ListAnswer:
        """Tell what there is to be searched; of an index that cannot be used, why."""

        async def telling(one: Served) -> ServedIndex:
            try:
                return listed(await one.facts())
            except Exception as error:
                return ServedIndex(name=one.name, problem=in_words(error, one.name))

        return ListAnswer(indexes=await asyncio.gather(*map(telling, self.indexes.values())))

    def _chosen(self, name: str | None) -> list[Served]:
        if not name:
            return list(self.indexes.values())
        if name not in self.indexes:
            raise RefusedArguments(f"there is no such index; there are {', '.join(self.indexes)}")
        return [self.indexes[name]]

    def _prefix(self, one: Served) -> str:
        """Return what ids begin with, so that a document can be fetched by its id alone."""
        return f"{one.name}/" if len(self.indexes) > 1 else ""

    def _place_of(self, id_: str) -> tuple[Served, str]:
        """Return the index that an id is of, and the id in it."""
        if len(self.indexes) == 1:
            return next(iter(self.indexes.values())), id_
        name, _, own = id_.partition("/")
        if name not in self.indexes or not own:
            raise RefusedArguments(
                f"the id must begin with the name of its index and a slash, one of {', '.join(self.indexes)}"
            )
        return self.indexes[name], own


async def _told(one: Served, ask: Callable[[AsyncIndex], Awaitable[_T]]) -> _T:
    """Ask an index.

    Raises:
        RefusedArguments: it cannot answer; why, in words for the model.
    """
    try:
        return await one.ask(ask)
    except RefusedArguments:
        raise
    except Exception as error:
        raise RefusedArguments(in_words(error, one.name)) from error


def _searching(one: Served, asked: SearchArguments, k: int) -> Callable[[AsyncIndex], Awaitable[Retrieval]]:
    async def search(index: AsyncIndex) -> Retrieval:
        mode = await _mode(index, asked.mode)
        retriever = AsyncRetriever(index, on_incomplete="return")
        return await retriever.retrieve(asked.query, k, where=one.narrowed(asked.filter), mode=mode)

    return search


async def _mode(index: AsyncIndex, asked: Mode | None) -> Mode:
    """Return how to search: as it is asked for, or else the usual way of the index."""
    modes = await modes_of(index)
    if not modes:
        raise RefusedArguments(
            f"index {index.name} holds ready vectors, and no words: tell the user to start the server with --embedder"
        )
    if asked is not None and asked not in modes:
        raise RefusedArguments(f"index {index.name} can be searched with mode {' or '.join(modes)}, not with {asked}")
    return asked or modes[0]


async def _reading(index: AsyncIndex, one: Served, id_: str) -> tuple[Document, int]:
    """Return the document of that id, or with that passage, and where to begin to read it.

    Raises:
        RefusedArguments: there is none, or it is not to be seen.
    """
    async for document in index.documents([id_], where=one.where):
        return document, 0
    async for passage in index.passages([id_], where=one.where):
        async for document in index.documents([passage.document_id], where=one.where):
            # So much before the passage that it stands in the middle, where the document does not fit as a whole.
            fits = len(document.text) <= LONGEST_PART
            return document, 0 if fits else max(0, passage.start - LONGEST_PART // 2)
    raise RefusedArguments(f"there is no document or passage of this id in index {one.name}: take one from search")
