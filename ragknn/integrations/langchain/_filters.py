"""Filters as LangChain's users pass them, and as ragknn takes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ragknn import Where


def take_where(options: dict[str, Any], scope: Where | None = None) -> Where | None:
    """Take the filter out of the options of a call, and return it within a scope; None for everything.

    Args:
        options: may have it as `filter` or as `where`.
        scope: what all passages must match.

    Raises:
        TypeError: a filter of another kind, such as a function.
        ValueError: both `filter` and `where`.
    """
    given = [checked(options.pop(name)) for name in ("filter", "where") if name in options]
    some = [where for where in given if where is not None]
    if len(some) > 1:
        raise ValueError("expected filter or where, which mean the same, got both")
    return within(scope, some[0] if some else None)


def within(scope: Where | None, where: Where | None) -> Where | None:
    """Return the filter that both make together."""
    if not scope:
        return where
    return {"$and": [scope, where]} if where else scope


def checked(where: Any) -> Where | None:
    """Return a filter.

    Raises:
        TypeError: it is none of ragknn's.
    """
    if where is None or isinstance(where, Mapping):
        return where
    got = "a function" if callable(where) and not isinstance(where, type) else f"a {type(where).__name__}"
    raise TypeError(
        f"expected filter as a mapping such as {{'year': {{'$gte': 2020}}}} (ragknn.filters explains it), got {got}, "
        "which means something in another store"
    )
