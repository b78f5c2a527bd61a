"""Noticing that an index is gone: another process dropped it, or emptied the server."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from functools import partial
from typing import Any, TypeVar

from ragknn._protocol.flows import Each, Flow, Once, Repeatable
from ragknn._protocol.keys import Keys
from ragknn._protocol.replies import checked, is_unknown_index
from ragknn.errors import IndexNotFound

T = TypeVar("T")


def while_there(keys: Keys, flow: Flow[T]) -> Flow[T]:
    """Run the flow on an index that was opened before.

    A search tells by itself that there is no index to search. Where the first round trip has none, the manifest is
    asked for as well: if not, keys that are gone would count as documents that never were, and a deletion would answer
    0.

    Raises:
        IndexNotFound: the index, or its search index, is gone.
    """
    sent: Any = None
    asked = False
    steps = flow.steps if isinstance(flow, Repeatable) else flow
    with closing(steps):
        while True:
            try:
                step = steps.send(sent)
            except StopIteration as stop:
                return stop.value  # type: ignore[no-any-return]
            if isinstance(step, Each):
                asked = True
                sent = yield Each(step.commands, partial(_read, keys, step.read))
                continue
            commands = step.commands if isinstance(step, Once) else step
            if not isinstance(commands, list):
                sent = yield step
                continue
            if asked or not commands or any(str(name).startswith("FT.") for name, *_ in commands):
                sent = yield step
            else:
                all_commands = [("HGET", keys.manifest, "schema"), *commands]
                manifest, *sent = yield Once(all_commands) if isinstance(step, Once) else all_commands
                if checked(manifest) is None:
                    raise gone(keys)
            asked = asked or bool(commands)
            if any(is_unknown_index(reply) for reply in sent):
                raise gone(keys)


def _read(keys: Keys, read: Callable[[int, Any], Any], number: int, reply: Any) -> Any:
    if is_unknown_index(reply):
        raise gone(keys)
    return read(number, reply)


def gone(keys: Keys) -> IndexNotFound:
    """Return the error that says so."""
    return IndexNotFound(
        f"expected index {keys.name!r}, which was there when it was opened, got none: it was dropped, or the server "
        "was emptied; call open() to create it again, and add the documents again. If it was rebuilt, call again"
    )
