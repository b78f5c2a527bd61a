"""Filters of Haystack as a `where` of ragknn.

A filter is a comparison, {"field": "meta.year", "operator": ">=", "value": 2020}, or joins several:
{"operator": "AND", "conditions": [...]}, where NOT means that not all of them hold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from haystack.errors import FilterError

from ragknn import Where
from ragknn.integrations.haystack._names import stored_name

# What every document passes, and none: the server decides even that, so that both can stand within other conditions.
_EVERY: Where = {"$or": [{"label": None}, {"label": {"$ne": None}}]}
_NONE: Where = {"$and": [{"label": None}, {"label": {"$ne": None}}]}

_ORDER = {">": "$gt", ">=": "$gte", "<": "$lt", "<=": "$lte"}
_AMONG = {"in": "$in", "not in": "$nin"}
_COMPARISONS = ("==", "!=", *_ORDER, *_AMONG)
# Fields of a document that are not in its metadata; only the id can be filtered on.
_OWN = ("content", "blob", "score", "embedding", "sparse_embedding", "meta")


def where_of(filters: Mapping[str, Any] | None) -> Where | None:
    """Return what filters mean in ragknn; None for None and for an empty mapping.

    Raises:
        FilterError: they have no meaning.
    """
    return None if filters is None or filters == {} else _part(filters)


def _part(filters: Any) -> Where:
    if not isinstance(filters, Mapping):
        raise FilterError(f"expected a filter as a dict, got {filters!r} of type {type(filters).__name__}")
    return _comparison(filters) if "field" in filters else _junction(filters)


def _junction(filters: Mapping[str, Any]) -> Where:
    _expect(filters, ("operator", "conditions"))
    operator, conditions = filters["operator"], filters["conditions"]
    if operator not in _JUNCTIONS:
        raise FilterError(f"expected the operator {', '.join(_JUNCTIONS)} with conditions, got {operator!r}")
    if not isinstance(conditions, list | tuple) or not conditions:
        raise FilterError(f"expected {operator} with a list of at least one condition, got {conditions!r}")
    return _JUNCTIONS[operator]([_part(one) for one in conditions])


_JUNCTIONS: dict[str, Callable[[list[Where]], Where]] = {
    "AND": lambda parts: {"$and": parts},
    "OR": lambda parts: {"$or": parts},
    "NOT": lambda parts: {"$not": {"$and": parts}},
}


def _comparison(condition: Mapping[str, Any]) -> Where:
    _expect(condition, ("field", "operator", "value"))
    field, operator, value = _field(condition["field"]), condition["operator"], condition["value"]
    if operator not in _COMPARISONS:
        raise FilterError(f"expected an operator among {', '.join(_COMPARISONS)}, got {operator!r}")
    if operator in _ORDER:
        return _NONE if value is None else {field: {_ORDER[operator]: value}}
    if operator in _AMONG:
        if not isinstance(value, list):
            raise FilterError(f"expected a list as value of {operator!r}, got {value!r} of type {type(value).__name__}")
        values = [one for one in value if one is not None or field != _ID]
        return {field: {_AMONG[operator]: values}} if values else (_NONE if operator == "in" else _EVERY)
    if value is None and field == _ID:
        return _NONE if operator == "==" else _EVERY
    return {field: {"$eq" if operator == "==" else "$ne": value}}


_ID = "document_id"


def _field(name: Any) -> str:
    """Return what ragknn calls a field; one that does not say so is in the metadata too."""
    if not isinstance(name, str) or not name.removeprefix("meta."):
        raise FilterError(f"expected the name of a field such as 'meta.year', got {name!r}")
    if name == "id":
        return _ID
    if name in _OWN:
        raise FilterError(f"expected a field of the metadata such as 'meta.year', or 'id', got {name!r}")
    return stored_name(name.removeprefix("meta."))


def _expect(condition: Mapping[str, Any], keys: tuple[str, ...]) -> None:
    missing = [key for key in keys if key not in condition]
    if missing:
        raise FilterError(
            f"expected a filter with {', '.join(map(repr, keys))}, got one without {missing[0]!r}: {condition}"
        )
