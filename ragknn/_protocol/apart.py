"""Commands on the keys of several documents, which one server does in one step and several servers cannot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any, Self, TypeVar

from ragknn._protocol.flows import Command, Flow

T = TypeVar("T")


class Apart(tuple[str | bytes, ...]):
    """A command on the keys of several documents; where these may be on several servers, a flow does the same.

    Attributes:
        flow: makes this flow, which returns what the command would be answered, errors as values.
    """

    flow: Callable[[], Flow[Any]]

    def __new__(cls, command: Command, flow: Callable[[], Flow[Any]]) -> Self:
        made = super().__new__(cls, command)
        made.flow = flow
        return made


def for_each(command: Callable[[Sequence[T]], Command], documents: Sequence[T]) -> Apart:
    """Return the command for documents, which is answered with a list of which each of them has a piece."""

    def flow() -> Flow[Any]:
        replies = yield [command([one]) for one in documents]
        failed = next((reply for reply in replies if isinstance(reply, Exception)), None)
        return list(chain.from_iterable(replies)) if failed is None else failed

    return Apart(command(documents), flow)
