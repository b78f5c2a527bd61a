"""How a `where`, which `ragknn.filters` explains, becomes a query."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ragknn._checks import check_unicode, described, shown
from ragknn._plain import as_python
from ragknn._protocol.encoding import any_field_tag, encode_tag, has_field_tag
from ragknn._protocol.flows import Flow
from ragknn._protocol.keys import field_alias
from ragknn._protocol.numeric import as_number
from ragknn._protocol.place import Place
from ragknn._protocol.query import EVERYTHING, NOWHERE, Fragment, all_but, all_of, operand
from ragknn._protocol.replies import as_text, checked
from ragknn._protocol.schema import ANY_FIELD, FieldType, Schema
from ragknn._protocol.whole import answered
from ragknn.filters import Where
from ragknn.text._words import words

# The server's parser runs out of stack at 83 nested expressions; some room is left for the search
# that the filter becomes a part of.
DEEPEST = 32

_EQUALITY = ("$eq", "$ne", "$in", "$nin")
_SINGLE = ("label", "document_id")  # fields that have one value, not several
_ORDER = ("$gt", "$gte", "$lt", "$lte")
_OPERATORS: dict[FieldType, tuple[str, ...]] = {
    "tag": (*_EQUALITY, "$contains", "$prefix", "$not"),
    "numeric": (*_EQUALITY, *_ORDER, "$not"),
    "text": ("$contains", "$not"),
}


def filtering(place: Place, where: Where | None) -> Flow[Fragment]:
    """Return what `where` means in an index, which may require one.

    Raises:
        TypeError: a value of a type that does not fit.
        ValueError: it means nothing here, or leaves out the filter that the index requires.
    """
    if place.schema.required_filter is not None:
        check_required(where, place.schema.required_filter)
    return EVERYTHING if where is None else (yield from compiling(place, where))


def compiling(place: Place, where: Where | None) -> Flow[Fragment]:
    """Return the filter that `where` means in an index; its params are named w0, w1, and so on.

    For a `$prefix` the server is asked for all tags that there are. If it looked for those that begin so itself, it
    would stop after 200 of them, and say nothing.

    Raises:
        TypeError: a value of a type that does not fit.
        ValueError: an unknown field or operator, an empty list, an invalid value, or too deep a nesting.
    """
    found, prefixed = compiled(where, place.schema, {})
    if prefixed:
        names = sorted(prefixed)
        replies, _ = yield from answered(place, [("FT.TAGVALS", place.keys.searched, name) for name in names])
        tags = {name: sorted(map(as_text, checked(reply))) for name, reply in zip(names, replies, strict=True)}
        found, _ = compiled(where, place.schema, tags)
    return found


def compiled(where: Where | None, schema: Schema, tags: Mapping[str, Sequence[str]]) -> tuple[Fragment, set[str]]:
    """Return the filter, and the fields of which some tag must begin with something; `tags` holds all tags of these."""
    if where is None or (isinstance(where, Mapping) and not where):
        return EVERYTHING, set()
    compiler = _Compiler(schema, tags)
    query = compiler.mapping(where).as_query()
    return Fragment(query if query.startswith("(") else f"({query})", compiler.params), compiler.prefixed


def check_required(where: Where | None, field: str) -> None:
    """Check that `where` pins the field: that it must equal a value, or one of several, whatever else is asked.

    Only conditions at the top, or in a `$and` there, can promise that.

    Raises:
        ValueError: it does not.
    """
    if not pinned(where, field):
        raise ValueError(
            f"expected a filter on {field!r}, which this index requires, got {shown(where)}: "
            f'add {{"{field}": VALUE}} or {{"{field}": {{"$in": [VALUE, ...]}}}} at the top of where'
        )


def pinned(where: Any, field: str, depth: int = 0) -> list[Any]:
    """Return the values to one of which `where` pins the field; none where it does not."""
    if not isinstance(where, Mapping) or depth > DEEPEST:
        return []
    condition = where.get(field)
    if isinstance(condition, Mapping):
        choices = list(condition["$in"]) if _is_several(condition.get("$in")) else []
        if condition.get("$eq") is not None:
            return [condition["$eq"]]
        if choices and None not in choices:
            return choices
    elif condition is not None:
        return [condition]
    parts = where.get("$and")
    found = (pinned(part, field, depth + 1) for part in parts) if isinstance(parts, Sequence) else ()
    return next(filter(None, found), [])


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of a filter.

    Attributes:
        query: in the search language.
        denied: whether the part finds what the query does not find; then the query itself denies nothing.
    """

    query: str
    denied: bool = False

    def as_query(self) -> str:
        """Return the query for what the part finds."""
        return all_but(self.query) if self.denied else self.query


class _Compiler:
    """Turns a `where` into a query, and gathers its values as params on the way.

    Negation is pushed down to the leaves (De Morgan), and what a group denies is put together behind one `-`, since the
    server finds wrong passages if one `-` is within another.
    """

    def __init__(self, schema: Schema, tags: Mapping[str, Sequence[str]]) -> None:
        self.params: dict[str, str] = {}
        self.prefixed: set[str] = set()
        self._tags = tags
        self._declared = schema.fields
        self._any_field = schema.any_field
        self._kinds: dict[str, FieldType] = {"label": "tag", "document_id": "tag", **schema.fields}

    def mapping(self, where: Any, depth: int = 0, denied: bool = False) -> _Part:
        """Return the part for all of `where`; denied, for what `where` does not find."""
        if not isinstance(where, Mapping):
            raise TypeError(
                f'expected a filter as a mapping such as {{"label": "billing"}}, got {shown(where)} of type '
                f"{type(where).__name__}"
            )
        if not where:
            raise ValueError('expected at least one condition such as {"label": "billing"}, got an empty mapping')
        if depth > DEEPEST:
            raise ValueError(f"expected a filter of at most {DEEPEST} levels, got a deeper one: $in takes many values")
        return _joined([self._entry(key, value, depth, denied) for key, value in where.items()], denied)

    def _entry(self, key: Any, value: Any, depth: int, denied: bool) -> _Part:
        if key == "$not":
            return self.mapping(value, depth + 1, not denied)
        if key in ("$and", "$or"):
            if isinstance(value, str) or not isinstance(value, Sequence):
                raise TypeError(f"expected {key} with a list of mappings, got {shown(value)}")
            if not value:
                raise ValueError(f"expected {key} with at least one mapping, got an empty list; leave {key} out")
            return _joined([self.mapping(part, depth + 1, denied) for part in value], (key == "$or") != denied)
        if isinstance(key, str) and key.startswith("$"):
            raise ValueError(
                f"expected a field, $and, $or or $not, got {shown(key)}: other operators go below a field, as in "
                '{"year": {"$gte": 2020}}'
            )
        if not isinstance(key, str) or (key not in self._kinds and not self._any_field):
            raise ValueError(f"expected a field that can be filtered on, got {shown(key)}: {self._fields_there_are()}")
        return self._field(key, value, depth, denied)

    def _kind(self, name: str) -> FieldType:
        return self._kinds.get(name, "tag")  # of a field that was not declared, only equality is known

    def _fields_there_are(self) -> str:
        declared = ", ".join(f"{name} ({kind})" for name, kind in self._declared.items())
        return (
            f"there are label, document_id and {declared or 'no declared ones'}; declare others when the index is "
            'built, as in Index(..., fields={"year": "numeric"}), or add them with Index.add_fields'
        )

    def _field(self, name: str, value: Any, depth: int, denied: bool) -> _Part:
        if not isinstance(value, Mapping):
            if value is not None and self._kind(name) == "text":
                raise ValueError(
                    f"field {name!r}: expected an operator on text, $contains, got the value {shown(value)}: declare "
                    "the field as tag to look for whole values"
                )
            return self._condition(name, "$eq", value, depth, denied)
        if not value:
            raise ValueError(f"field {name!r}: expected a value or an operator, got an empty mapping")
        if depth > DEEPEST:
            raise ValueError(f"field {name!r}: expected at most {DEEPEST} levels of $not, got more")
        conditions = [self._condition(name, operator, operand, depth, denied) for operator, operand in value.items()]
        return _joined(conditions, denied)

    def _condition(self, name: str, operator: Any, value: Any, depth: int, denied: bool) -> _Part:
        kind = self._kind(name)
        if operator not in _OPERATORS[kind] and not (value is None and operator in ("$eq", "$ne")):
            raise ValueError(
                f"field {name!r}: expected an operator that {kind} fields have, {', '.join(_OPERATORS[kind])}, or "
                f"None as value of $eq or $ne, got {shown(operator)}{_advice(kind, operator)}"
            )
        if operator == "$contains" and name in _SINGLE:
            raise ValueError(
                f"field {name!r}: expected an operator for a single value, got $contains: take $prefix for what begins "
                "with it, or $eq for all of it"
            )
        if operator == "$not":
            if not isinstance(value, Mapping):
                raise TypeError(
                    f"field {name!r}: expected $not with operators, got {shown(value)}; for a value take $ne"
                )
            return self._field(name, value, depth + 1, not denied)
        denied = (operator in ("$ne", "$nin")) != denied
        if name not in self._kinds and operator in _EQUALITY:
            return self._undeclared(name, operator, value, denied)
        return _Part(self._affirmed(name, operator, value), denied)

    def _undeclared(self, name: str, operator: str, value: Any, denied: bool) -> _Part:
        """Return the part for equality with an entry that was not declared.

        Each entry has a tag that says that it is there. So a missing one is what is denied, and the other way round.
        """
        values = self._several(name, operator, value) if operator in ("$in", "$nin") else [value]
        present = [each for each in values if each is not None]
        parts = [_Part(self._equal(name, present), denied)] if present else []
        if len(present) < len(values):
            parts.append(_Part(f"@{ANY_FIELD}:{{{self._param(has_field_tag(name))}}}", not denied))
        return _joined(parts, either=not denied)

    def _affirmed(self, name: str, operator: str, value: Any) -> str:
        if operator in ("$eq", "$ne"):
            return self._missing(name) if value is None else self._equal(name, [value])
        if operator in ("$in", "$nin"):
            return self._one_of(name, operator, value)
        if operator == "$prefix":
            return self._begins(name, value)
        if operator == "$contains":
            return self._equal(name, [value]) if self._kind(name) == "tag" else self._words(name, value)
        return self._range(name, operator, value)

    def _missing(self, name: str) -> str:
        if name == "document_id":
            raise ValueError(f"field {name!r}: expected a str, got None, but every document has an id")
        return f"ismissing(@{self._alias(name)})"

    def _one_of(self, name: str, operator: str, value: Any) -> str:
        values = self._several(name, operator, value)
        present = [each for each in values if each is not None]
        parts = [self._equal(name, present)] if present else []
        return _grouped(parts if len(present) == len(values) else [*parts, self._missing(name)], either=True)

    def _several(self, name: str, operator: str, values: Any) -> list[Any]:
        if not _is_several(values):
            raise TypeError(f"field {name!r}: expected {operator} with a list of values, got {shown(values)}")
        if not (several := list(values)):
            raise ValueError(f"field {name!r}: expected {operator} with at least one value, got none")
        return several

    def _equal(self, name: str, values: Sequence[Any]) -> str:
        if self._kind(name) == "numeric":
            bounds = self._bounds(name, values)
            return _grouped([f"@{self._alias(name)}:[{bound} {bound}]" for bound in bounds], either=True)
        encode = encode_tag if name in self._kinds else partial(any_field_tag, name)
        tags = dict.fromkeys(tag for value in values for tag in _tags_of(name, value, encode))
        return f"@{self._alias(name)}:{{{'|'.join(map(self._param, tags))}}}"

    def _begins(self, name: str, value: Any) -> str:
        if not isinstance(value, str):
            raise TypeError(f"field {name!r}: expected $prefix with a str, got {described(value)}")
        if not value:
            raise ValueError(f"field {name!r}: expected $prefix with at least one character, got an empty str")
        [tag] = _tags_of(name, value, encode_tag if name in self._kinds else partial(any_field_tag, name))
        begin = tag.removesuffix('"' if name in self._kinds else '"]')
        self.prefixed.add(self._alias(name))
        found = [each for each in self._tags.get(self._alias(name), ()) if each.startswith(begin)]
        return f"@{self._alias(name)}:{{{'|'.join(map(self._param, found))}}}" if found else NOWHERE

    def _alias(self, name: str) -> str:
        if name in self._declared:
            return field_alias(name)
        return name if name in self._kinds else ANY_FIELD

    def _range(self, name: str, operator: str, value: Any) -> str:
        [bound] = self._bounds(name, [value])
        edge = bound if operator.endswith("e") else f"({bound}"
        alias = self._alias(name)
        return f"@{alias}:[{edge} inf]" if operator.startswith("$g") else f"@{alias}:[-inf {edge}]"

    def _bounds(self, name: str, values: Sequence[Any]) -> list[str]:
        numbers = dict.fromkeys(_number(name, value) for value in values)
        # The server takes infinity within a query but not as a param; repr names every float exactly.
        return [repr(number) if number in (np.inf, -np.inf) else self._param(repr(number)) for number in numbers]

    def _words(self, name: str, value: Any) -> str:
        if not isinstance(value, str):
            raise TypeError(f"field {name!r}: expected $contains with words as a str, got {shown(value)}")
        check_unicode(value, f"the words for field {name!r}")
        found = dict.fromkeys(words(value))
        if not found:
            raise ValueError(
                f"field {name!r}: expected $contains with at least one word, got {shown(value)}, which has none"
            )
        return _grouped([f"@{self._alias(name)}:{{{self._param(word)}}}" for word in found], either=False)

    def _param(self, value: str) -> str:
        return operand(f"w{len(self.params)}", value, self.params)


def _advice(kind: FieldType, operator: Any) -> str:
    if operator in _ORDER:
        return "; declare the field as numeric to compare"
    if kind == "text" and operator in _EQUALITY:
        return "; declare the field as tag to look for whole values"
    if operator == "$prefix":
        return "; declare the field as tag to look for how values begin"
    return "; declare the field as text to look for words" if operator == "$contains" else ""


def _is_several(values: Any) -> bool:
    return isinstance(values, Collection) and not isinstance(values, str | bytes | Mapping)


def _number(name: str, value: Any) -> float:
    _refuse_several(name, value)
    try:
        number = as_number(value)
    except TypeError as error:
        raise TypeError(f"field {name!r}: {error}") from error
    except ValueError as error:
        raise ValueError(f"field {name!r}: {error}") from error
    return number or 0.0  # -0.0 equals it


def _tags_of(name: str, value: Any, encode: Callable[[Any], str]) -> list[str]:
    """Return all tags under which what equals the value may be stored: 1 and 1.0 have different ones."""
    _refuse_several(name, value)
    plain = as_python(value)
    expected = "a str" if name == "document_id" else "a str, a number or a bool"
    if not isinstance(plain, str if name == "document_id" else str | int | float):
        raise TypeError(f"field {name!r}: expected {expected}, got {shown(value)} of type {type(value).__name__}")
    equals: list[str | int | float] = [plain]
    if isinstance(plain, float) and plain.is_integer():
        equals += [int(plain)]
    elif isinstance(plain, int) and not isinstance(plain, bool) and _is_float(plain):
        equals += [float(plain)]
    if plain == 0 and not isinstance(plain, bool):
        equals = [0, 0.0, -0.0]
    try:
        return [encode(equal) for equal in equals]
    except ValueError as error:
        raise ValueError(f"field {name!r}: {error}") from error


def _is_float(number: int) -> bool:
    try:
        return float(number) == number
    except OverflowError:
        return False


def _refuse_several(name: str, value: Any) -> None:
    if isinstance(value, Mapping):
        raise TypeError(
            f"field {name!r}: expected a value, got the mapping {shown(value)}; operators take no operators"
        )
    if _is_several(value):
        raise TypeError(
            f'field {name!r}: expected one value, got {shown(value)}; for one of several take {{"$in": [...]}}'
        )


def _joined(parts: Sequence[_Part], either: bool) -> _Part:
    affirmed = [part.query for part in parts if not part.denied]
    denied = [part.query for part in parts if part.denied]
    if not denied:
        return _Part(_grouped(affirmed, either))
    together = _Part(_grouped(denied, not either), denied=True)
    return _Part(_grouped([*affirmed, together.as_query()], either)) if affirmed else together


def _grouped(queries: Sequence[str], either: bool) -> str:
    if len(queries) == 1:
        return queries[0]
    return f"({'|'.join(queries)})" if either else all_of(queries)
