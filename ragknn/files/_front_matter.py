"""Fields in YAML or TOML, as they stand above a text in Markdown.

YAML is read as YAML 1.2 would, and a little more carefully: what could be a surprise stays the text that was written.
`no`, `010`, `10:30`, `1.10` and dates are text; `true`, `false`, `null`, `7` and `1.5` are what they look like.
"""

from __future__ import annotations

import json
import math
import re
import reprlib
import tomllib
from collections.abc import Hashable
from datetime import date, time
from typing import Any

import yaml

from ragknn.files._rows import folded

LONGEST = 65_536  # characters; the parser takes about a second for them
_MOST_VALUES = 10_000  # after aliases and merge keys are followed

_PLAIN_NUMBER = re.compile(r"(?:0|-?[1-9][0-9]{0,17}|-?(?:0|[1-9][0-9]{0,17})\.[0-9]{1,17})\Z")


class Flawed(Exception):
    """The fields cannot be read; `line` is where, from 0."""

    def __init__(self, reason: str, line: int = 0) -> None:
        super().__init__(reason)
        self.line = line


def yaml_fields(source: str, depth: int) -> dict[str, Any]:
    """Return the fields in a block of YAML.

    Raises:
        Flawed: it is no mapping of YAML, or has values that JSON cannot hold, or too many or too deep ones.
    """
    _check_length(source)
    expected = "expected YAML between the --- lines"
    try:
        values = _Loader(source, depth).get_single_data()
    except yaml.MarkedYAMLError as error:
        line = 0 if error.problem_mark is None else error.problem_mark.line
        raise Flawed(f"{expected}, got {folded(error.problem or str(error))}; correct it", line) from error
    except (yaml.YAMLError, ValueError, TypeError) as error:
        raise Flawed(f"{expected}, got {folded(str(error))}; correct it") from error
    except RecursionError as error:
        raise Flawed(f"{expected}, got values nested too deeply; flatten them") from error
    if not isinstance(values, dict | None):
        got = reprlib.repr(values)
        raise Flawed(f"expected `name: value` lines between the --- lines, got {got}; correct them")
    return {_key(name): _plain(value, depth, expected) for name, value in (values or {}).items()}


def toml_fields(source: str, depth: int) -> dict[str, Any]:
    """Return the fields in a block of TOML.

    Raises:
        Flawed: as `yaml_fields`.
    """
    _check_length(source)
    expected = "expected TOML between the +++ lines"
    try:
        values = tomllib.loads(source)
    except tomllib.TOMLDecodeError as error:
        place = re.search(r"at line (\d+)", str(error))
        raise Flawed(f"{expected}, got {error}; correct it", int(place[1]) - 1 if place else 0) from error
    except (RecursionError, ValueError) as error:
        raise Flawed(f"{expected}, got {error}; correct it") from error
    return {name: _plain(value, depth, expected) for name, value in values.items()}


def _check_length(source: str) -> None:
    if len(source) > LONGEST:
        raise Flawed(f"expected at most {LONGEST} characters of fields above the text, got {len(source)}; shorten them")


def _plain(values: Any, depth: int, expected: str) -> Any:
    """Return a copy that JSON can hold: nothing shared, nothing circular."""
    count = 0

    def copy(value: Any, levels: int) -> Any:
        nonlocal count
        count += 1
        if count > _MOST_VALUES or levels < 0:
            problem = f"more than {_MOST_VALUES} values" if levels >= 0 else f"more than {depth} levels"
            raise Flawed(f"{expected}, got {problem}, aliases followed; write less")
        match value:
            case dict():
                return {_key(key): copy(each, levels - 1) for key, each in value.items()}
            case list() | tuple():
                return [copy(each, levels - 1) for each in value]
            case date() | time():
                return value.isoformat()
            case float() if not math.isfinite(value):
                raise Flawed(f"{expected}, got {value}, which is not a finite number; correct it")
            case None | bool() | int() | float() | str():
                return value
        raise Flawed(f"{expected}, got a value of type {type(value).__name__}; correct it")

    return copy(values, depth)


def _key(key: object) -> str:
    return json.dumps(key) if key is None or isinstance(key, bool) else str(key)


class _Loader(yaml.SafeLoader):
    """Takes a word for a text unless it is plainly a number, true, false or null."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  # the base class has it so; filled below

    def __init__(self, source: str, depth: int) -> None:
        super().__init__(source)
        self._levels = depth + 1

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self._levels == 0:
            raise yaml.composer.ComposerError(None, None, "values nested too deeply", self.get_mark())
        self._levels -= 1
        node = super().compose_node(parent, index)
        self._levels += 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key, _ in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else None
            if name in seen:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key.value!r} twice", key.start_mark)
            if name is not None and key.tag != "tag:yaml.org,2002:merge":
                seen.add(name)
        return super().construct_mapping(node, deep)

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        super().flatten_mapping(node)
        if len(node.value) > _MOST_VALUES:  # merges of merges multiply
            problem = f"more than {_MOST_VALUES} values, merge keys followed"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


def _number(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int | float | str:
    written = str(loader.construct_scalar(node))
    if "." not in written:
        return int(written)
    # Only where nothing of what was written gets lost: a version 1.10 is not 1.1.
    return float(written) if repr(float(written)) == written else written


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile("(?:true|True|TRUE|false|False|FALSE)\\Z"), [*"tTfF"]
)
_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"(?:~|null|Null|NULL|)\Z"), ["~", "n", "N", ""])
_Loader.add_implicit_resolver("tag:yaml.org,2002:merge", re.compile(r"<<\Z"), ["<"])
_Loader.add_implicit_resolver("!number", _PLAIN_NUMBER, [*"-0123456789"])
_Loader.add_constructor("!number", _number)
