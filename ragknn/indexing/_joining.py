"""Passages that are given and passages that are there, put together to one document."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from ragknn._protocol.layout import dump_details
from ragknn.records import Passage


def merged(there: Sequence[Passage], given: Sequence[Passage], embeds: bool) -> tuple[Passage, ...]:
    """Return the passages of a document with those that are given in the place of those that have their ids.

    Where all that are given have offsets, they stand by these; else new ones come last.
    """
    new = {passage.id: passage for passage in given}
    if len(new) < len(given):
        return (*there, *given)  # which is refused as such
    whole: list[Passage] = []
    moved = False
    for old in there:
        one = new.pop(old.id, None)
        if one is None:
            whole.append(old)
            continue
        if one.vector is None and one.text == old.text and embeds:
            one = replace(one, vector=old.vector)
        if not _has_offsets(one):
            if len(one.text) == len(old.text):
                one = replace(one, start=old.start, end=old.end)
            else:
                moved = True
        whole.append(one)
    whole += new.values()
    if moved:  # there is no place for it where the other one was
        return tuple(replace(one, start=0, end=0) for one in whole)
    if all(map(_has_offsets, given)):
        whole.sort(key=lambda one: one.start)
    return tuple(whole)


def _has_offsets(passage: Passage) -> bool:
    return (passage.start, passage.end) != (0, 0)


def same(there: Sequence[Passage], whole: Sequence[Passage]) -> bool:
    """Tell whether nothing is to be written."""
    if len(there) != len(whole):
        return False
    try:
        return all(_state(old) == _state(one) and _same_vector(old, one) for old, one in zip(there, whole, strict=True))
    except (ValueError, RecursionError):  # what cannot be stored is told of by who stores it
        return False


def differences(there: Sequence[Passage], whole: Sequence[Passage]) -> Iterator[str]:
    """Yield why a document is written."""
    before = {one.id: one for one in there}
    if not {one.id for one in whole} <= before.keys() or any(
        (old := before[one.id]).text != one.text or not _same_vector(old, one) for one in whole
    ):
        yield "text"
    pairs = [(before[one.id], one) for one in whole if one.id in before]
    states = [(dump_details(old.label, old.metadata), dump_details(one.label, one.metadata)) for old, one in pairs]
    for at, what in enumerate(("label", "metadata")):
        if any(old[at] != new[at] for old, new in states):
            yield what


def _state(one: Passage) -> tuple[Any, ...]:
    return (one.id, one.text, one.start, one.end, one.page, one.headings, dump_details(one.label, one.metadata))


def _same_vector(old: Passage, one: Passage) -> bool:
    if one.vector is None or old.vector is None:
        return one.vector is old.vector
    return one.vector is old.vector or (
        getattr(one.vector, "dtype", None) == old.vector.dtype and bytes(one.vector.data) == bytes(old.vector.data)
    )
