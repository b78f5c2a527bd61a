"""What is said of a wrong argument: what was expected, what came, and what to pass."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Mapping
from decimal import Decimal
from numbers import Real
from operator import index as as_integer
from typing import Any

# The largest count that goes anywhere: what a C int holds, as the search module reads counts.
LARGEST = 2**31 - 1
LONGEST_TIMEOUT = 1e6  # seconds; what is far longer does not fit into the numbers of the system


class _Short(reprlib.Repr):
    """Values as messages show them, however long or deeply nested they are."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 4
        self.maxstring = self.maxother = 120  # characters

    def repr_int(self, x: int, level: int) -> str:
        try:
            return super().repr_int(x, level)
        except ValueError:  # Python writes no number of more than some thousand digits
            return f"an int of {x.bit_length()} bits"

    def repr_bytes(self, x: bytes, level: int) -> str:
        part = x[: self.maxother]
        return repr(part) if len(part) == len(x) else f"{part!r}..."


_SHORT = _Short()


def shown(value: object) -> str:
    """Return the value as messages show it: its `repr`, shortened where that is long or deep."""
    return _SHORT.repr(value)


def check_unicode(text: str, what: str) -> None:
    """Refuse text that no server and no file can hold.

    Args:
        text: what came.
        what: names it, such as "the id".

    Raises:
        ValueError: it has a lone surrogate, which is half of a character; the message names it and its place.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = ord(text[error.start])
        raise ValueError(
            f"expected text that UTF-8 can hold, got a lone surrogate, U+{half:04X}, which is half of a character, in "
            f"{what} at character {error.start}: decode the text anew, or leave it out"
        ) from None


def check_str(name: str, value: object) -> None:
    """Refuse what is no text.

    Raises:
        TypeError: it is no str.
        ValueError: it has a lone surrogate.
    """
    if not isinstance(value, str):
        raise TypeError(f"expected {name} as str, got {type(value).__name__}")
    check_unicode(value, name)


# What is made of what: LabelVoter(Retriever(Index("name"))), each the attribute of the next one named below.
_CHAIN = ("str", "Index", "Retriever", "LabelVoter")
_ATTRIBUTES = {"Retriever": "index", "LabelVoter": "retriever", "Indexer": "index"}


def check_type(argument: str, value: object, expected: type[Any], advice: str = "") -> None:
    """Refuse a value of another type.

    Args:
        argument: name of the argument.
        value: what came.
        expected: of what type it must be.
        advice: what to pass; empty: what can be told from the two types.

    Raises:
        TypeError: it is of another type.
    """
    if not isinstance(value, expected):
        advice = advice or _advice(value, expected.__name__)
        raise TypeError(
            f"expected {argument} of type {expected.__name__}, got {described(value)}{f': {advice}' if advice else ''}"
        )


def check_embedder(embedder: object, argument: str = "embedder") -> None:
    """Refuse what cannot embed.

    Raises:
        TypeError: it has not the two methods of an embedder.
    """
    if not isinstance(embedder, type) and all(hasattr(embedder, name) for name in ("embed_documents", "embed_queries")):
        return
    advice = "pass an object with the members of ragknn.Embedder"
    if isinstance(embedder, type):
        advice = f"pass an object, {embedder.__name__}(...)"
    elif isinstance(embedder, str):
        advice = f"pass SentenceEmbedder({shown(embedder)})"
    elif hasattr(embedder, "encode"):  # a model of sentence-transformers
        advice = "pass SentenceEmbedder(model)"
    elif hasattr(embedder, "embed_documents"):  # as LangChain has it
        advice = "pass FunctionEmbedder(name, embedder.embed_documents, ...)"
    elif callable(embedder):
        advice = "pass FunctionEmbedder(name, function)"
    raise TypeError(f"expected {argument} to be an embedder, got {described(embedder)}: {advice}")


def checked_texts(values: Iterable[str], what: str, advice: str = "put one into a list") -> list[str]:
    """Return texts from any iterable in order, such as a list, an array, a column of a table or a generator.

    Args:
        values: n texts.
        what: names one of them in messages.
        advice: what to do with a single text.

    Raises:
        TypeError: no such iterable, or something in it that is no str.
        ValueError: a text with a lone surrogate.
    """
    texts = in_order(values, f"{what[:-1]}ies" if what.endswith("y") else f"{what}s", advice)
    for place, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(f"expected a {what} of type str, got {described(text)} at place {place}")
        check_unicode(text, f"the {what} at place {place}" if len(texts) > 1 else f"the {what}")
    return [str(text) for text in texts]  # of NumPy's strings Python's


def in_order(values: Iterable[Any], what: str, advice: str) -> list[Any]:
    """Return what an iterable holds.

    Raises:
        TypeError: it is none, has no order, or holds something else than one thinks: keys, letters, names of columns.
    """
    if hasattr(values, "columns"):  # of a DataFrame, which iterates over their names
        raise TypeError(f"expected a sequence of {what}, got {described(values)}; choose one of its columns")
    is_several = isinstance(values, Iterable) and getattr(values, "shape", None) != ()
    if not is_several or isinstance(values, str | bytes | Mapping | set | frozenset):
        raise TypeError(f"expected a sequence of {what}, got {described(values)}; {advice}")
    return list(values)


def check_whole(name: str, value: Any, least: int = 1) -> int:
    """Return a count as Python's own int.

    Raises:
        TypeError: it is no integer.
        ValueError: it is too small, or larger than a server could count.
    """
    try:
        number = as_integer(value)
    except TypeError:
        raise TypeError(f"expected {name} as an integer >= {least}, got {described(value)}") from None
    if number < least:
        raise ValueError(f"expected {name} >= {least}, got {shown(number)}")
    if number > LARGEST:
        raise ValueError(f"expected {name} of at most {LARGEST}, got {shown(number)}")
    return number


def check_number(name: str, value: Any) -> float:
    """Return a number as Python's own float, be it NaN or infinite.

    Raises:
        TypeError: it is no number.
        ValueError: it is too large for a float.
    """
    if not isinstance(value, Real | Decimal):
        raise TypeError(f"expected {name} as a number, got {described(value)}")
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"expected {name} as a number that a float holds, got {shown(value)}") from None


def check_timeout(value: Any) -> float:
    """Return a time to wait, in seconds.

    Raises:
        TypeError: it is no number.
        ValueError: it is not positive, or longer than the system can count.
    """
    seconds = check_number("timeout", value)
    if not seconds > 0:
        raise ValueError(f"expected timeout > 0 seconds, got {value!r}")
    if seconds > LONGEST_TIMEOUT:
        raise ValueError(f"expected timeout of at most {LONGEST_TIMEOUT:,.0f} seconds, got {shown(value)}")
    return seconds


def check_choice(what: str, value: object, choices: Iterable[str]) -> None:
    """Refuse what is none of the choices.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(value, str) or value not in tuple(choices):
        raise ValueError(f"expected {what} to be one of {', '.join(choices)}, got {shown(value)}")


def check_flag(name: str, value: Any) -> bool:
    """Return a flag as Python's own bool; 0 and 1 will do.

    Raises:
        TypeError: it is neither true nor false.
    """
    if isinstance(value, Real) and value in (0, 1):
        return bool(value)
    if type(value).__name__ in ("bool", "bool_"):  # NumPy's is no number
        return bool(value)
    raise TypeError(f"expected {name} to be True or False, got {described(value)}")


def check_call(name: str, value: object, example: str) -> None:
    """Refuse what cannot be called.

    Raises:
        TypeError: it cannot; the message shows an example.
    """
    if not callable(value) or isinstance(value, type):
        raise TypeError(f"expected {name} as a function such as {example}, got {described(value)}")


def check_mapping(name: str, value: object, example: str) -> None:
    """Refuse what is no mapping.

    Raises:
        TypeError: it is none; the message shows an example.
    """
    if not isinstance(value, Mapping):
        raise TypeError(f"expected {name} as a mapping such as {example}, got {described(value)}")


def check_several(name: str, value: Any, example: str) -> list[Any]:
    """Return several things as a list.

    Raises:
        TypeError: it is one str, a mapping, or what cannot be iterated over; the message shows an example.
    """
    if isinstance(value, str | bytes | Mapping | type) or not hasattr(value, "__iter__"):
        raise TypeError(f"expected {name} as several values such as {example}, got {described(value)}")
    return list(value)


def described(value: object) -> str:
    """Return what a value is, in words: short ones are shown, and of a class its name."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    kind = type(value).__name__
    if isinstance(value, str) and "://" in value:
        return f"a {kind} that is a URL"  # it may hold a password
    if isinstance(value, str | int | float):
        return f"the {kind} {shown(value)}"
    return "None" if value is None else f"{'an' if kind[0] in 'AEIOUaeiou' else 'a'} {kind}"


def _advice(value: object, expected: str) -> str:
    if isinstance(value, type):
        return f"pass an object, {expected}(...)"
    if value is None:
        return f"pass {expected}(...)" if expected.removeprefix("Async") in _CHAIN else ""
    prefix, goal = "Async" * expected.startswith("Async"), expected.removeprefix("Async")
    came = next((cls.__name__ for cls in type(value).__mro__ if cls.__name__.removeprefix("Async") in _KNOWN), "")
    start = came.removeprefix("Async")
    if not start or goal not in _CHAIN:
        return ""
    if came.startswith("Async") != bool(prefix) and start != "str":
        others = "those without Async in their names" if prefix else "the Async classes"
        return f"sync and async objects do not mix; pass {expected}(...), or use {others} throughout"
    if start in _CHAIN and _CHAIN.index(start) < _CHAIN.index(goal):
        made = shown(value) if start == "str" else start.lower()
        for name in _CHAIN[_CHAIN.index(start) + 1 : _CHAIN.index(goal) + 1]:
            made = f"{prefix}{name}({made})"
        return f"pass {made}"
    path, name = start.removeprefix("Label").lower(), start
    while name in _ATTRIBUTES and name != goal:
        path += f".{_ATTRIBUTES[name]}"
        name = _ATTRIBUTES[name].capitalize()
    return f"pass {path}" if name == goal else ""


_KNOWN = {*_CHAIN, *_ATTRIBUTES}
