"""What the metadata of several documents have in common: types, ranges and values, as Haystack tells them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_TYPES = {bool: "boolean", int: "int", float: "float"}


def field_name(name: str) -> str:
    """Return the name of an entry of the metadata, which may be given as `meta.` and the name.

    Raises:
        TypeError: it is no string.
    """
    if not isinstance(name, str):
        raise TypeError(f"expected the name of a field such as 'meta.year', got {name!r} of type {type(name).__name__}")
    return name.removeprefix("meta.")


def types_of(metas: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """Return for each entry its type: keyword, int, float or boolean; keyword where they differ, but for numbers."""
    found: dict[str, set[str]] = {}
    for meta in metas:
        for name, value in meta.items():
            if value is not None:
                found.setdefault(name, set()).add(_TYPES.get(type(value), "keyword"))
    return {name: {"type": _common(types)} for name, types in found.items()}


def _common(types: set[str]) -> str:
    if types == {"int", "float"}:
        return "float"
    return types.pop() if len(types) == 1 else "keyword"


def range_of(values: Iterable[Any]) -> dict[str, Any]:
    """Return the smallest and the largest of the values; None where there are none, or they cannot be compared."""
    comparable = [value for value in values if isinstance(value, int | float | str)]
    try:
        return {"min": min(comparable, default=None), "max": max(comparable, default=None)}
    except TypeError:
        return {"min": None, "max": None}


def count_unique(metas: Sequence[Mapping[str, Any]], names: Iterable[str]) -> dict[str, int]:
    """Return for each entry how many different values it has; 1, 1.0 and True are one."""
    return {name: len({_key(meta[name]) for meta in metas if meta.get(name) is not None}) for name in names}


def unique_page(values: Iterable[Any], term: str | None, start: int, size: int) -> tuple[list[Any], int]:
    """Return some of the different values, sorted as strings, and how many there are; 1, 1.0 and True differ.

    Args:
        values: of which None is left out.
        term: only those that have it in them, without regard to case; None or empty: all.
        start: how many to pass over.
        size: how many to return at most.
    """
    different = {(type(value).__name__, _key(value)): value for value in values if value is not None}
    wanted = (term or "").lower()
    found = [(str(value), kind, value) for (kind, _), value in different.items() if wanted in str(value).lower()]
    found.sort(key=lambda one: one[:2])
    return [value for *_, value in found[start : start + size]], len(found)


def _key(value: Any) -> Any:
    """Return what is equal for equal values, and can be in a set."""
    return value if isinstance(value, str | int | float) else json.dumps(value, sort_keys=True)
