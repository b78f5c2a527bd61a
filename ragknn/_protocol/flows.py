"""How an operation says what it waits for, so that it is written once for sync and async.

An operation is a generator. It yields what it waits for and is sent what came of it:

    a list of commands    one round trip; the list of raw replies comes back, errors among them as values
    Work(call)            a long computation (reading, embedding); what `call` returns comes back
    Pause(seconds)        nothing comes back

`connection.run` drives it in sync and `connection.arun` in async code. Each command is a tuple that could be
typed into redis-cli.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

Command: TypeAlias = tuple[str | bytes | int | float, ...]


@dataclass(frozen=True, slots=True)
class Work:
    """A computation that would keep an event loop from its other work."""

    call: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait a moment before asking again."""

    seconds: float


T = TypeVar("T")
Step: TypeAlias = list[Command] | Work | Pause
Flow: TypeAlias = Generator[Step, Any, T]

Progress: TypeAlias = Callable[[int, int], None]
"""Called with how much is done and how much there is."""
