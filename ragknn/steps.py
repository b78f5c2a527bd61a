"""How an operation over retrievers is written once for sync and async.

Such an operation is a generator, one floor above a flow (`flows.py`). It yields what it waits for and is sent what
came of it:

    a flow         driven on the client; what it returns comes back
    a callable     of no arguments, such as a method of a retriever with its arguments; what it returns, or what its
                   coroutine returns, comes back

Between the two moments nothing else is done, so that it can take the time of what it yields.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, TypeAlias, TypeVar, cast

from ragknn.connection import arun, run
from ragknn.flows import Flow

T = TypeVar("T")
Steps: TypeAlias = Generator[Flow[Any] | Callable[[], Any], Any, T]


def follow(client: Any, steps: Steps[T]) -> T:
    """Take the steps in sync code and return what it returns."""
    sent: Any = None
    while True:
        try:
            step = steps.send(sent)
        except StopIteration as stop:
            return cast(T, stop.value)
        sent = run(client, step) if isinstance(step, Generator) else step()


async def afollow(client: Any, steps: Steps[T]) -> T:
    """Async twin of `follow`."""
    sent: Any = None
    while True:
        try:
            step = steps.send(sent)
        except StopIteration as stop:
            return cast(T, stop.value)
        sent = await arun(client, step) if isinstance(step, Generator) else await step()
