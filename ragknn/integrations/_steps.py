"""Operations of adapters that are written once, and run in sync code or in async code.

An operation is a generator. It yields steps, each a call of `Index`, `Indexer` or `Retriever`, or of their async twins,
which have the same names and arguments; and it is sent what they return: awaited where that is a coroutine, in a list
where it is a stream. An error of a step is raised where it was yielded.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Generator, Iterator
from dataclasses import dataclass
from inspect import isawaitable
from typing import Any, TypeAlias, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Each:
    """A call that streams; its reply is what `take` makes of each, so that not all need be kept."""

    call: Callable[..., Any]
    take: Callable[[Any], Any] = lambda one: one


Step: TypeAlias = Callable[..., Any] | Each
"""What to call; which of both faces it is called on cannot be told to a type checker."""

Steps: TypeAlias = Generator[Step, Any, T]


def run(steps: Steps[T], *on: Any) -> T:
    """Run an operation in sync code, and return what it returns; each step is called with `on`."""
    try:
        step = next(steps)
        while True:
            try:
                each = step if isinstance(step, Each) else Each(step)
                reply = each.call(*on)
                if isinstance(reply, Iterator):
                    reply = [each.take(one) for one in reply]
            except Exception as error:
                step = steps.throw(error)
            else:
                step = steps.send(reply)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


async def arun(steps: Steps[T], *on: Any) -> T:
    """Run an operation in async code, and return what it returns; each step is called with `on`."""
    try:
        step = next(steps)
        while True:
            try:
                each = step if isinstance(step, Each) else Each(step)
                reply = each.call(*on)
                if isinstance(reply, AsyncIterator):
                    reply = [each.take(one) async for one in reply]
                elif isawaitable(reply):
                    reply = await reply
            except Exception as error:
                step = steps.throw(error)
            else:
                step = steps.send(reply)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
