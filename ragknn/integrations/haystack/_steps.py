"""How an operation runs in sync code and in async code: it is written once, as a generator of calls.

It yields a call of `Index`, `Indexer` or `Retriever`, or of their async twins, which have the same names and arguments,
and is sent what the call returns.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from ragknn import Passage

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Each:
    """A call that streams passages; its reply is what `take` makes of each, so that not all need be kept."""

    call: Callable[[], Any]
    take: Callable[[Passage], Any]


Steps: TypeAlias = Generator[Callable[[], Any] | Each, Any, _T]


def run(steps: Steps[_T]) -> _T:
    """Run an operation in sync code, and return what it returns."""
    reply: Any = None
    error: Exception | None = None
    while True:
        try:
            step = steps.send(reply) if error is None else steps.throw(error)
        except StopIteration as stop:
            returned: _T = stop.value
            return returned
        reply, error = None, None
        try:
            if isinstance(step, Each):
                passages: Iterable[Passage] = step.call()
                reply = [step.take(passage) for passage in passages]
            else:
                reply = step()
        except Exception as raised:
            error = raised


async def arun(steps: Steps[_T]) -> _T:
    """Run an operation in async code, and return what it returns."""
    reply: Any = None
    error: Exception | None = None
    while True:
        try:
            step = steps.send(reply) if error is None else steps.throw(error)
        except StopIteration as stop:
            returned: _T = stop.value
            return returned
        reply, error = None, None
        try:
            if isinstance(step, Each):
                passages: AsyncIterator[Passage] = step.call()
                reply = [step.take(passage) async for passage in passages]
            else:
                awaited: Awaitable[Any] = step()
                reply = await awaited
        except Exception as raised:
            error = raised
