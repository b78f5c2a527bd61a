"""What a filter means, in Python, straight from what the documentation says; and filters drawn at random."""

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from typing import Any

from hypothesis import strategies as st

from ragknn import Document
from ragknn._protocol.where import compiled


def compile_filter(where, schema):
    """Return what a filter without `$prefix` means in an index."""
    found, prefixed = compiled(where, schema, {})
    assert not prefixed
    return found


def word_set(text):
    for mark in "“”—'!,":
        text = text.replace(mark, " ")
    return set(text.lower().replace("ß", "ss").split())


def seconds(value):
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    if isinstance(value, datetime):
        value = (value.replace(tzinfo=value.tzinfo or UTC) - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()
    return float(value)


def same_tag(one, other):
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def entries(metadata: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Iterate over all entries, those within others by their dotted names."""
    for name, value in metadata.items():
        if isinstance(value, Mapping):
            yield from entries(value, f"{prefix}{name}.")
        elif value is not None:
            yield f"{prefix}{name}", value


class Meaning:
    """What filters mean in an index that declares these fields; any other field is looked for among all entries."""

    def __init__(self, fields: Mapping[str, str]) -> None:
        self.fields = fields

    def matches(self, document: Document, where: Mapping[str, Any]) -> bool:
        return all(self._entry(document, key, value) for key, value in where.items())

    def _entry(self, document, key, value):
        if key == "$and":
            return all(self.matches(document, part) for part in value)
        if key == "$or":
            return any(self.matches(document, part) for part in value)
        if key == "$not":
            return not self.matches(document, value)
        if not isinstance(value, Mapping):
            value = {"$eq": value}
        return all(self.holds(document, key, operator, operand) for operator, operand in value.items())

    def holds(self, document, name, operator, operand):
        if operator == "$not":
            return not self._entry(document, name, operand)
        if operator in ("$ne", "$nin"):
            return not self.holds(document, name, {"$ne": "$eq", "$nin": "$in"}[operator], operand)
        if operator == "$in":
            return any(self.holds(document, name, "$eq", one) for one in operand)
        stored = self._stored(document, name)
        if stored is None or operand is None:
            return stored is operand
        kind = self.fields.get(name, "tag")
        if operator == "$prefix":
            several = stored if isinstance(stored, list) else [stored]
            return any(isinstance(one, str) and one.startswith(operand) for one in several)
        if kind == "text":
            return word_set(operand) <= word_set(stored)
        if kind == "numeric":
            mine, wanted = seconds(stored), seconds(operand)
            return {
                "$eq": mine == wanted,
                "$gt": mine > wanted,
                "$gte": mine >= wanted,
                "$lt": mine < wanted,
                "$lte": mine <= wanted,
            }[operator]
        return any(same_tag(one, operand) for one in (stored if isinstance(stored, list) else [stored]))

    def _stored(self, document, name):
        """Return the value of a field, a list where it has several, None where it is missing."""
        if name in ("label", "document_id"):
            return document.label if name == "label" else document.id
        found = [value for key, value in entries(document.metadata) if key == name]
        if name in self.fields:
            own = document.metadata.get(name)
            return own if own is not None else next(iter(found), None)
        return [one for value in found for one in (value if isinstance(value, list) else [value])] if found else None


def one_of(values):
    """Draw one of the values; they are too long for Hypothesis to show them all as part of a strategy."""
    return st.integers(0, len(values) - 1).map(lambda number: values[number])


def several(values):
    return st.lists(st.one_of(values, st.none()), min_size=1, max_size=4)


def comparisons(values, *operators):
    return st.one_of(
        st.fixed_dictionaries({"$eq": st.one_of(values, st.none())}),
        st.fixed_dictionaries({"$ne": st.one_of(values, st.none())}),
        st.fixed_dictionaries({"$in": several(values)}),
        st.fixed_dictionaries({"$nin": several(values)}),
        *(st.fixed_dictionaries({operator: values}) for operator in operators),
    )


def conditions(single):
    return st.recursive(
        single,
        lambda inner: st.one_of(
            st.lists(inner, min_size=1, max_size=3).map(
                lambda parts: {k: v for part in parts for k, v in part.items()}
            ),
            st.fixed_dictionaries({"$not": inner}),
        ),
        max_leaves=4,
    )


def wheres(fields):
    """Draw whole filters of conditions on single fields."""
    return st.recursive(
        fields,
        lambda inner: st.one_of(
            st.fixed_dictionaries({"$and": st.lists(inner, min_size=1, max_size=4)}),
            st.fixed_dictionaries({"$or": st.lists(inner, min_size=1, max_size=4)}),
            st.fixed_dictionaries({"$not": inner}),
            st.lists(inner, min_size=1, max_size=3).map(
                lambda parts: {k: v for part in parts for k, v in part.items()}
            ),
        ),
        max_leaves=8,
    )
