"""How an operation says what it waits for, so that it is written once for sync and async.

An operation is a generator. It yields what it waits for and is sent what came of it:

    a list of commands    one round trip; the list of raw replies comes back, errors among them as values
    Each(commands, read)  the same; what `read` makes of each reply comes back, made while the others are under way
    Once(commands)        as a list; when the connection breaks they are not sent again, and the flow ends
    Work(call)            a long computation (reading, embedding); what `call` returns comes back
    Pause(seconds)        nothing comes back
    Ahead(flow)           another flow is begun and goes on beside this one; a `Begun` comes back at once
    a `Begun`             the end of that flow; what it returned comes back, or its error is raised

`connection.run` drives it in sync and `connection.arun` in async code. Each command is a tuple that could be
typed into redis-cli; numbers are text by then, since what packs commands cannot be interrupted while it makes them so.

What a step raises is raised in the flow, where it was yielded: so a flow can clean up after an error, with steps of its
own. After an interrupt, or where a task is cancelled, it is closed, and must not yield any more.

Flows that were begun work one at a time, in the order in which they were begun, and so do their commands reach the
server: those of one flow after those of the flows begun before. When a flow ends, however it ends, nothing of what it
began goes on.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator
from copy import copy
from dataclasses import dataclass
from functools import partial, wraps
from itertools import tee
from typing import Any, ParamSpec, TypeAlias, TypeVar

Command: TypeAlias = tuple[str | bytes, ...]


@dataclass(frozen=True, slots=True)
class Each:
    """Commands whose replies are read one by one as they come.

    Attributes:
        commands: what to send.
        read: called with the number of each command, from 0, and its reply; from the first again where a broken
            connection is tried again.
    """

    commands: list[Command]
    read: Callable[[int, Any], Any]


@dataclass(frozen=True, slots=True)
class Once:
    """Commands that must not be sent again when the connection breaks, since the server may have done them already.

    That is what moves on with each reading, such as a cursor, which would leave out a part; and what tells of a change
    that it makes, which would tell that there was nothing to change. All others are sent again.
    """

    commands: list[Command]


class SentAgain(list[Any]):
    """Replies to commands that were sent once more after the connection broke.

    The server may have done them before: what changes nothing a second time may have changed something the first time.
    """


@dataclass(frozen=True, slots=True)
class Work:
    """A computation that would keep an event loop from its other work.

    Attributes:
        call: what to call.
        borrows: whether it uses what the caller goes on to use, such as an iterator: a task that is cancelled meanwhile
            ends only when the call has ended.
        stage: what it is for, for those who take the time: "embed" or "rerank"; empty for all else.
    """

    call: Callable[[], Any]
    borrows: bool = False
    stage: str = ""


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait a moment before asking again."""

    seconds: float


def pauses(longest: float) -> Iterator[Pause]:
    """Yield pauses for who asks again and again: at first short ones, since what is small is done in a moment.

    The first is of a millisecond, and each twice as long as the one before, up to the longest, in seconds.
    """
    seconds = 0.001
    while True:
        yield Pause(min(seconds, longest))
        seconds *= 2


@dataclass(frozen=True, slots=True)
class Ahead:
    """Begin another flow, to wait for it later: its first step at least goes on beside this flow."""

    flow: Generator[Any, Any, Any]


class Begun(ABC):
    """A flow that was begun; to yield it is to wait for its end."""

    @property
    @abstractmethod
    def done(self) -> bool:
        """Whether there is nothing left to wait for."""


T = TypeVar("T")
P = ParamSpec("P")
Step: TypeAlias = list[Command] | Each | Once | Work | Pause | Ahead | Begun
Flow: TypeAlias = Generator[Step, Any, T]

Progress: TypeAlias = Callable[[int, int], None]
"""Called with how much is done and how much there is."""


def within(flow: Flow[T], answer: Callable[[Step], Flow[Any]]) -> Flow[T]:
    """Run a flow as a part of another one, by which its steps are answered; what is raised there is raised in it."""
    try:
        step = flow.send(None)
        while True:
            try:
                sent = yield from answer(step)
            except Exception as error:
                step = flow.throw(error)
            else:
                step = flow.send(sent)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]
    finally:
        flow.close()


class Repeatable(Generator[Step, Any, T]):
    """A flow that only reads, so that it can be begun again where it found that the index was rebuilt meanwhile.

    Args:
        begin: makes the flow from its beginning.

    Attributes:
        steps: the flow itself, for who runs it without a detour.
    """

    def __init__(self, begin: Callable[[], Flow[T]]) -> None:
        self._begin = begin
        self.steps = begin()

    def again(self) -> Repeatable[T]:
        """Return the flow from its beginning."""
        return Repeatable(self._begin)

    def send(self, value: Any) -> Step:
        return self.steps.send(value)

    def throw(self, *error: Any) -> Step:
        return self.steps.throw(*error)

    def close(self) -> None:
        self.steps.close()


def repeatable(flow: Callable[P, Flow[T]]) -> Callable[P, Flow[T]]:
    """Make the flows of a function that only reads ones that can be begun again.

    An argument that can be iterated over only once, such as a generator, is kept for that.
    """

    @wraps(flow)
    def made(*args: P.args, **options: P.kwargs) -> Flow[T]:
        for value in (*args, *options.values()):
            if hasattr(value, "__next__"):  # quicker to ask than whether it is an Iterator
                break
        else:
            return Repeatable(partial(flow, *args, **options))
        kept: Any = [tee(value, 1)[0] if isinstance(value, Iterator) else value for value in args]
        named: Any = {name: tee(one, 1)[0] if isinstance(one, Iterator) else one for name, one in options.items()}
        return Repeatable(lambda: flow(*map(_once_more, kept), **{name: _once_more(named[name]) for name in named}))

    return made


def _once_more(value: Any) -> Any:
    return copy(value) if isinstance(value, Iterator) else value
