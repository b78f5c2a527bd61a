"""Parts of a query in the search language, and their parameters."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from ragknn._protocol.flows import Command
from ragknn.text._words import words

# The field with the words of a passage, in the hash and in the search index.
TEXT_WORDS = "text_words"


@dataclass(frozen=True, slots=True)
class Fragment:
    """A part of a query in the search language, DIALECT 2.

    Attributes:
        query: `*`, or an expression in parentheses.
        params: values of its `$names`. A value from outside is always one of these and never a part
            of `query`, so that it cannot become syntax.
    """

    query: str
    params: Mapping[str, str]


EVERYTHING = Fragment("*", {})


def intersection(*fragments: Fragment) -> Fragment:
    """Return what all of the fragments find; their params must have different names."""
    narrowing = [fragment for fragment in fragments if fragment.query != EVERYTHING.query]
    if len(narrowing) < 2:
        return narrowing[0] if narrowing else EVERYTHING
    params = {name: value for fragment in narrowing for name, value in fragment.params.items()}
    return Fragment(f"({' '.join(fragment.query for fragment in narrowing)})", params)


def any_words(text: str, stop_words: Collection[str], *, prefix: str = "t") -> Fragment | None:
    """Return what finds the passages with at least one of the text's words, or with a word of the same stem.

    Args:
        text: any text; nothing in it is syntax.
        stop_words: the index's stop words; they are left out of the query.
        prefix: of the names of the params, which a number follows.

    Returns:
        None where the text has no words but stop words: nothing can be found by them.
    """
    stopped = frozenset(stop_words)
    asked = dict.fromkeys(word for word in words(text) if word not in stopped)
    params = {f"{prefix}{number}": word for number, word in enumerate(asked)}
    return Fragment(f"(@{TEXT_WORDS}:({'|'.join(f'${name}' for name in params)}))", params) if params else None


# What finds the passages that have a label.
LABELLED = Fragment("(-ismissing(@label))", {})

# What finds the passages that have a vector.
WITH_VECTOR = Fragment("(-@no_vector:{1})", {})


def params(values: Mapping[str, str | int | float | bytes]) -> Command:
    """Return the part of a command that hands values to a query; values never become syntax."""
    return ("PARAMS", 2 * len(values), *(part for pair in values.items() for part in pair)) if values else ()
