"""The way of a look through all keys of a cluster: node by node, and once more where keys were moved meanwhile. Pure.

A key that is moved from a node that was not looked at yet to one that was is not seen. So where a slot was moved while
the nodes were looked at, or is being moved, all are looked at a second time: on its way a key has been on one of them
before it was on the other, and is seen there or here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self
from zlib import crc32

from ragknn.server._cluster.views import View

_RAW, _TAG, _MARK = 64, 32, 32  # bits of the parts of a cursor's number
_BEGUN = 1  # the highest bit, so that no number is 0


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where to go on; its number is what commands and replies have in place of it.

    Attributes:
        raw: the cursor of the node itself; 0 at its beginning.
        tag: of the node; nodes are looked at in the order of their tags.
        is_second: whether all nodes were looked at once before.
        mark: tells the view of the cluster at the beginning of this round from others.
    """

    raw: int
    tag: int
    is_second: bool
    mark: int

    @classmethod
    def of(cls, number: int) -> Self | None:
        """Return the cursor with a number; None for 0, with which a look begins."""
        if not number:
            return None
        parts = []
        for bits in (_RAW, _TAG, 1, _MARK):
            parts.append(number & (1 << bits) - 1)
            number >>= bits
        raw, tag, second, mark = parts
        return cls(raw, tag, bool(second), mark)

    @classmethod
    def begin(cls, view: View) -> Self:
        """Return the cursor with which all nodes are looked at."""
        return cls(0, 0, False, _mark_of(view))

    @property
    def number(self) -> int:
        """Another one for each cursor, and never 0."""
        number = _BEGUN
        for value, bits in ((self.mark, _MARK), (int(self.is_second), 1), (self.tag, _TAG), (self.raw, _RAW)):
            number = number << bits | value
        return number

    def here(self, names: Sequence[str]) -> tuple[str, Self] | None:
        """Return the node to look at, and the cursor there; None where all were looked at.

        A node that is gone is passed over: another one has its slots, so that there is a second round.
        """
        tag = min((tag for tag in map(_tag_of, names) if tag >= self.tag), default=None)
        if tag is None:
            return None
        name = next(name for name in names if _tag_of(name) == tag)
        return name, self if tag == self.tag else replace(self, tag=tag, raw=0)

    def after(self, raw: int) -> Self:
        """Return the cursor behind a part of a node's keys, given the node's own."""
        return replace(self, raw=raw) if raw else replace(self, raw=0, tag=self.tag + 1)

    def after_round(self, view: View) -> Self | None:
        """Return the cursor behind the last node; None where nothing is left to look at."""
        mark = _mark_of(view)
        if self.is_second or (mark == self.mark and not view.leaving and not view.trouble):
            return None
        return replace(self, raw=0, tag=0, is_second=True, mark=mark)


def _tag_of(name: str) -> int:
    return crc32(name.encode()) % ((1 << _TAG) - 1)


def _mark_of(view: View) -> int:
    return crc32(repr((sorted(view.owners), sorted(view.epochs), view.leaving, view.trouble)).encode())
