"""Operations that are written once, and run in sync code or in async code.

An operation is a generator. It yields steps, each a function of the face that it runs on, and is sent what they return:
awaited where that is a coroutine, in a list where it is a stream. An error of a step is raised where it was yielded.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Generator, Iterator
from dataclasses import dataclass
from inspect import isawaitable
from typing import Any, Self, TypeAlias, TypeVar

from ragknn import AsyncIndex, AsyncIndexer, AsyncRetriever, Index, Indexer, Retriever

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Face:
    """An index with what writes to it and searches it: all of sync code, or all of async code."""

    index: Index | AsyncIndex
    indexer: Indexer | AsyncIndexer
    retriever: Retriever | AsyncRetriever

    @classmethod
    def of(cls, index: Index | AsyncIndex) -> Self:
        """Return the face of an index."""
        if isinstance(index, Index):
            return cls(index, Indexer(index), Retriever(index))
        return cls(index, AsyncIndexer(index), AsyncRetriever(index))


Step: TypeAlias = Callable[[Any], Any]
"""What to do with a face; which of both it is cannot be told to a type checker."""

Steps: TypeAlias = Generator[Step, Any, T]


def run(face: Face, steps: Steps[T]) -> T:
    """Run an operation in sync code."""
    try:
        step = next(steps)
        while True:
            try:
                value = step(face)
                value = list(value) if isinstance(value, Iterator) else value
            except Exception as error:
                step = steps.throw(error)
            else:
                step = steps.send(value)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


async def arun(face: Face, steps: Steps[T]) -> T:
    """Run an operation in async code."""
    try:
        step = next(steps)
        while True:
            try:
                value = step(face)
                if isinstance(value, AsyncIterator):
                    value = [each async for each in value]
                elif isawaitable(value):
                    value = await value
            except Exception as error:
                step = steps.throw(error)
            else:
                step = steps.send(value)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
