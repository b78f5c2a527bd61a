"""From LlamaIndex's metadata filters to a `where`.

Most operators have a twin in `ragknn.filters`. An order between values, or a part of a text, is something that an index
cannot look for in a field that was not declared for it. There the index is asked first which values the field has, and
then for those among them that are meant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from operator import ge, gt, le, lt
from typing import Any, TypeAlias

from llama_index.core.vector_stores.types import FilterCondition, FilterOperator, MetadataFilter, MetadataFilters

from ragknn import Schema, Where
from ragknn.integrations._steps import Steps

Condition: TypeAlias = Where | bool
"""A `where`, or True for everything, False for nothing."""

# Under these names LlamaIndex's stores keep the document of a node, whatever its metadata say.
_OF_DOCUMENT = frozenset({"document_id", "doc_id", "ref_doc_id"})
_ORDER: Mapping[FilterOperator, tuple[str, Callable[[Any, Any], bool]]] = {
    FilterOperator.GT: ("$gt", gt),
    FilterOperator.GTE: ("$gte", ge),
    FilterOperator.LT: ("$lt", lt),
    FilterOperator.LTE: ("$lte", le),
}
_PARTS = (FilterOperator.TEXT_MATCH, FilterOperator.TEXT_MATCH_INSENSITIVE)
_SEVERAL = (FilterOperator.IN, FilterOperator.NIN, FilterOperator.ANY, FilterOperator.ALL)


def all_of(conditions: Iterable[Condition]) -> Condition:
    """Return what is true where all conditions are."""
    parts = [one for one in conditions if one is not True]
    if any(one is False for one in parts):
        return False
    return True if not parts else parts[0] if len(parts) == 1 else {"$and": parts}


def any_of(conditions: Iterable[Condition]) -> Condition:
    """Return what is true where one of the conditions is."""
    parts = [one for one in conditions if one is not False]
    if any(one is True for one in parts):
        return True
    return False if not parts else parts[0] if len(parts) == 1 else {"$or": parts}


def none_of(conditions: Iterable[Condition]) -> Condition:
    """Return what is true where none of the conditions is."""
    found = any_of(conditions)
    return not found if isinstance(found, bool) else {"$not": found}


def as_where(condition: Condition) -> Where | None:
    """Return a condition that something meets, as the methods of ragknn take it."""
    return None if isinstance(condition, bool) else condition


def equal(key: str, values: Iterable[Any]) -> Condition:
    """Return what is true where an entry is one of several values."""
    several = list(values)
    return False if not several else {key: several[0]} if len(several) == 1 else {key: {"$in": several}}


def translating(
    filters: MetadataFilters, schema: Schema, label_key: str | None, among: Condition = True
) -> Steps[Condition]:
    """Return what filters mean in an index.

    Args:
        filters: may hold others.
        schema: what the index is made of.
        label_key: the entry of the metadata that is the label of a passage.
        among: what is asked beside these filters; only the values that are left by it are looked at.

    Raises:
        TypeError: something else than filters.
        ValueError: a filter has no meaning.
    """
    if not isinstance(filters, MetadataFilters):
        raise TypeError(f"expected MetadataFilters, got {filters!r} of type {type(filters).__name__}")
    return (yield from _Translator(schema, label_key).group(filters, among))


class _Translator:
    def __init__(self, schema: Schema, label_key: str | None) -> None:
        self._schema = schema
        self._label_key = label_key

    def group(self, filters: MetadataFilters, among: Condition) -> Steps[Condition]:
        """Return what a group means; `among` is what is asked beside it."""
        joins_all = filters.condition in (None, FilterCondition.AND)
        parts: list[Condition] = []
        for one in sorted(filters.filters, key=self._is_asked_first):
            beside = all_of([among, *parts]) if joins_all else among
            if isinstance(one, MetadataFilters):
                parts.append((yield from self.group(one, beside)))
            else:
                parts.append((yield from self._single(one, beside)))
        if joins_all or not parts:
            return all_of(parts)
        return any_of(parts) if filters.condition == FilterCondition.OR else none_of(parts)

    def _is_asked_first(self, one: MetadataFilter | MetadataFilters) -> bool:
        """Tell whether the index is asked for values first: then the other conditions leave fewer of them."""
        return isinstance(one, MetadataFilters) or one.operator in (*_ORDER, *_PARTS, FilterOperator.IS_EMPTY)

    def _single(self, one: MetadataFilter, among: Condition) -> Steps[Condition]:
        key, kind = self._place(one.key)
        operator, value = FilterOperator(one.operator), one.value
        self._check_value(one)
        if operator in _ORDER and kind == "numeric":
            return {key: {_ORDER[operator][0]: value}}
        if operator in _PARTS and kind == "text":
            return {key: {"$contains": value}}
        if operator in _ORDER or operator in _PARTS:
            return (yield from self._asking(one, key, kind, among))
        if operator == FilterOperator.IS_EMPTY and kind == "tag":
            return (yield from self._empty(key, among))
        return _equality(key, kind, operator, value)

    def _place(self, key: str) -> tuple[str, str]:
        """Return the name by which the index knows an entry, and its type there."""
        if key in _OF_DOCUMENT:
            return "document_id", "document"
        if key == self._label_key:
            return "label", "tag"
        if key == "label":
            raise ValueError(
                f"expected label_key='label' for a filter on 'label', got label_key={self._label_key!r}: an index has "
                "under this name the label of a passage, and no entry of its metadata"
            )
        return key, self._schema.fields.get(key, "tag")

    def _check_value(self, one: MetadataFilter) -> None:
        operator, value = FilterOperator(one.operator), one.value
        expected = "one value"
        if operator in _SEVERAL:
            expected, fits = "a list of values", isinstance(value, list)
        elif operator in _PARTS:
            expected, fits = "a str that is not empty", isinstance(value, str) and bool(value)
        elif operator in (FilterOperator.EQ, FilterOperator.NE):
            fits = not isinstance(value, list)
        else:
            fits = operator == FilterOperator.IS_EMPTY or not (value is None or isinstance(value, list))
        if not fits:
            raise ValueError(f"filter on {one.key!r}: expected {expected} with {operator.name}, got {value!r}")

    def _asking(self, one: MetadataFilter, key: str, kind: str, among: Condition) -> Steps[Condition]:
        if kind == "numeric":  # and so the operator is one for parts of a text
            raise ValueError(
                f"filter on {one.key!r}: expected a field of text with {one.operator.name}, got one declared as numeric"
            )
        if among is False:
            return False
        fits = _predicate(FilterOperator(one.operator), one.value)
        values = yield lambda face: face.index.values(key, as_where(among))
        return _equals_any(key, [value for value in values if fits(value)], "tag")

    def _empty(self, key: str, among: Condition) -> Steps[Condition]:
        """Return what is true where an entry is missing, or an empty text or list, which is there without a value."""
        if among is False:
            return False
        values = yield lambda face: face.index.values(key, as_where(among))
        there_without = all_of([{key: {"$ne": None}}, none_of([_equals_any(key, values, "tag")])])
        return any_of([{key: {"$in": [None, ""]}}, there_without])


def _predicate(operator: FilterOperator, value: Any) -> Callable[[Any], bool]:
    if operator in _ORDER:
        is_so = _ORDER[operator][1]
        alike = str if isinstance(value, str) else (int, float)
        return lambda stored: isinstance(stored, alike) and is_so(stored, value)
    if operator == FilterOperator.TEXT_MATCH:
        return lambda stored: isinstance(stored, str) and value in stored
    folded = value.casefold()
    return lambda stored: isinstance(stored, str) and folded in stored.casefold()


def _equality(key: str, kind: str, operator: FilterOperator, value: Any) -> Condition:
    match operator:
        case FilterOperator.EQ | FilterOperator.NE:
            found: Condition = {key: None} if value is None else _equals_any(key, [value], kind)
            return found if operator == FilterOperator.EQ else none_of([found])
        case FilterOperator.CONTAINS:
            return {key: {"$contains": value}} if kind == "text" else _equals_any(key, [value], kind)
        case FilterOperator.IN | FilterOperator.ANY:
            return _equals_any(key, value, kind)
        case FilterOperator.NIN:
            return none_of([_equals_any(key, value, kind)])
        case FilterOperator.ALL:
            return all_of([_equals_any(key, [each], kind) for each in value] or [{key: {"$ne": None}}])
        case FilterOperator.IS_EMPTY:
            return {key: None}
    raise ValueError(f"filter on {key!r}: expected another operator than {operator.name}, which ragknn does not know")


def _equals_any(key: str, values: Iterable[Any], kind: str) -> Condition:
    """Return what is true where an entry equals one of the values.

    As in Python, 1 equals True: no filter of LlamaIndex can hold that.
    """
    alike: list[Any] = []
    for value in values:
        is_both = kind == "tag" and not isinstance(value, str) and value in (0, 1)
        alike += [int(value), bool(value)] if is_both else [value]
    return equal(key, alike)
