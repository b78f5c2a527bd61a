"""Options of a search that have no argument of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ragknn import Options
from ragknn.integrations.haystack._errors import Unfit

# What the arguments of a search say already; and an object, which cannot be written down.
_SAID = {"where", "mode", "with_vectors", "fusion", "rerank"}
_FREE = sorted(set(Options.__annotations__) - _SAID)


def checked_options(options: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Return the options; an empty mapping for None.

    Raises:
        ValueError: they are no mapping, or one of them does not exist.
    """
    if options is None:
        return {}
    if not isinstance(options, Mapping) or not set(_FREE).issuperset(options):
        raise Unfit(f"expected options as a mapping of {', '.join(_FREE)}, got {options!r}")
    return options
