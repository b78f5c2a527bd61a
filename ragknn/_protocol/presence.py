"""Noticing that an index is gone: another process dropped it, or emptied the server."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, TypeVar

from ragknn._protocol.flows import Command, Each, Flow, Once, Repeatable, Step, within
from ragknn._protocol.keys import Keys
from ragknn._protocol.replies import as_text, checked, fits_no_query, is_unknown_index
from ragknn.errors import IndexNotFound, IndexRebuilt

T = TypeVar("T")


def while_there(keys: Keys, flow: Flow[T]) -> Flow[T]:
    """Run the flow on an index that was opened before.

    A search tells by itself that there is no index to search. Where the first round trip has none, the manifest is
    asked for as well: if not, keys that are gone would count as documents that never were, and a deletion would answer
    0. A flow that can be begun again, and has read passages by their keys, is told where these were of a store that
    serves no more, or of another index, made anew by the same name; one that writes asks so itself.

    Raises:
        IndexNotFound: the index, its search index, or the store of its passages is gone.
    """
    if isinstance(flow, Repeatable):
        return within(flow.steps, _Looking(keys, only_reads=True).answer)
    return within(flow, _Looking(keys, only_reads=False).answer)


class _Looking:
    """Answers the steps of a flow, and looks whether the index is there."""

    __slots__ = ("_asked", "_keys", "_only_reads")

    def __init__(self, keys: Keys, *, only_reads: bool) -> None:
        self._keys = keys
        self._only_reads = only_reads
        self._asked = False  # whether the server has told already that the index is there

    def answer(self, step: Step) -> Flow[Any]:
        """Return what came of a step."""
        if isinstance(step, Each):
            self._asked = True
            missing: list[Any] = []  # replies that tell of no search index
            read = yield Each(step.commands, partial(_read, missing, step.read))
            if missing:
                raise (yield from _why_missing(self._keys, missing[0]))
            return read
        commands = step.commands if isinstance(step, Once) else step
        if not isinstance(commands, list):
            return (yield step)
        before: list[Command] = [] if self._asked else [("HGET", self._keys.manifest, "schema")]
        behind: list[Command] = []
        if self._only_reads and _reads_passages(self._keys, commands):
            behind = [("HGET", self._keys.manifest, "schema")]
        if not (before or behind) or not commands or any(str(name).startswith("FT.") for name, *_ in commands):
            sent = yield step
        else:
            all_commands = [*before, *commands, *behind]
            replies = yield Once(all_commands) if isinstance(step, Once) else all_commands
            sent = replies[len(before) : len(replies) - len(behind)]
            if before and checked(replies[0]) is None:
                raise gone(self._keys)
            if behind and (manifest := checked(replies[-1])) is None:
                raise gone(self._keys)
            if behind and not _serves(self._keys, as_text(manifest)):
                raise rebuilt(self._keys)
        self._asked = self._asked or bool(commands)
        for reply in sent:
            if is_unknown_index(reply) or fits_no_query(reply):
                raise (yield from _why_missing(self._keys, reply))
        return sent


def _serves(keys: Keys, manifest: str) -> bool:
    """Tell whether the index that the manifest is of is still that of the keys, where these know which it was."""
    store, version = _versions(manifest)
    return keys.version is None or (store == keys.store and version in (None, keys.version))


@lru_cache(maxsize=64)
def _versions(manifest: str) -> tuple[int, int | None]:
    """Return the store and the version of the search index that a manifest tells, the latter where it does."""
    told = json.loads(manifest)
    return told.get("store", 1), told.get("version")


def _reads_passages(keys: Keys, commands: list[Command]) -> bool:
    """Tell whether commands read passages by their keys, and do not ask themselves whether their store serves."""
    if not commands or commands[-1][1:2] == (keys.manifest,):
        return False
    prefix = keys.passage_prefix
    return any(str(part).startswith(prefix) for part in commands[0][1:5])


def _read(missing: list[Any], read: Callable[[int, Any], Any], number: int, reply: Any) -> Any:
    if isinstance(reply, Exception) and (is_unknown_index(reply) or fits_no_query(reply)):
        missing.append(reply)
        return None
    return read(number, reply)


def _why_missing(keys: Keys, reply: Any) -> Flow[IndexNotFound]:
    """Return the error that says why the search index that was asked is not there, or is of other vectors."""
    manifest, listed = yield [("HGET", keys.manifest, "schema"), ("FT._LIST",)]
    if checked(manifest) is None:
        return gone(keys)
    versions = keys.search_versions([as_text(name) for name in checked(listed)])
    if versions and (keys.version not in (None, *versions) or fits_no_query(reply)):
        return rebuilt(keys)
    return IndexNotFound(
        f"expected index {keys.name!r} with its search index, got its manifest without: others have dropped the search "
        "index, or its alias; call open(), which makes it again of what is stored, and then call again"
    )


def rebuilt(keys: Keys) -> IndexRebuilt:
    """Return the error that says that another version of the index serves by now."""
    return IndexRebuilt(f"expected index {keys.name!r} as it was opened, got it rebuilt meanwhile; call again")


def gone(keys: Keys) -> IndexNotFound:
    """Return the error that says that nothing of the index is there."""
    return IndexNotFound(
        f"expected index {keys.name!r}, which was there when it was opened, got none: it was dropped, or the server "
        "was emptied; call open() to create it again, and add the documents again"
    )
