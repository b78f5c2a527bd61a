"""Parts of a query in the search language, and their parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ragknn._protocol.flows import Command

# The field with the terms of a passage, in the hash and, by a name that no declared field has, in queries.
TERMS = "terms"
TERMS_ALIAS = "_terms"


@dataclass(frozen=True, slots=True)
class Fragment:
    """A part of a query in the search language, DIALECT 2.

    Attributes:
        query: `*`, or an expression in parentheses.
        params: values of its `$names`. A value from outside is one of these and no part of `query`, so that it cannot
            become syntax; but for the few that `operand` knows to be harmless there.
    """

    query: str
    params: Mapping[str, str]

    @property
    def is_everything(self) -> bool:
        """Whether it finds all passages."""
        return self.query == "*"


EVERYTHING = Fragment("*", {})

# Arguments of FT.SEARCH and FT.AGGREGATE that the coordinator of a cluster looks for by their names, in either case and
# anywhere behind the query. It does not skip the values of parameters: with "return" among them it leaves out the
# fields of all passages, and "limit" makes it overwrite what is behind.
_ARGUMENTS = frozenset(
    {
        *("ADDSCORES", "DIALECT", "EXPLAINSCORE", "FORMAT", "LIMIT", "NOCONTENT", "PARAMS", "RETURN", "SCORER"),
        *("SORTBY", "TIMEOUT", "VERBATIM", "WITHCOUNT", "WITHCURSOR", "WITHOUTCOUNT", "WITHPAYLOADS", "WITHSCORES"),
        *("WITHSORTKEYS",),
    }
)

# Weight of a filter's clauses, so that they add nothing to BM25; and the score below which no term was found.
NO_WEIGHT = "1e-15"
SMALLEST_SCORE = 1e-12
_NO_TERM = "!"


def intersection(*fragments: Fragment) -> Fragment:
    """Return what all of the fragments find; their params must have different names."""
    narrowing = [fragment for fragment in fragments if fragment.query != EVERYTHING.query]
    if len(narrowing) < 2:
        return narrowing[0] if narrowing else EVERYTHING
    params = {name: value for fragment in narrowing for name, value in fragment.params.items()}
    return Fragment(f"({' '.join(fragment.query for fragment in narrowing)})", params)


def any_of(terms: Sequence[str]) -> Fragment:
    """Return what finds the passages that have at least one of the terms, of which there must be some.

    To be sent with VERBATIM, since the terms are stems already. One that is repeated counts as often for the score.
    """
    params: dict[str, str] = {}
    return Fragment(f"(@{TERMS_ALIAS}:({'|'.join(_operands(terms, params))}))", params)


def any_of_among(terms: Sequence[str], among: str) -> Fragment:
    """Return what finds the passages that a query finds, scored by the terms alone, as `any_of` scores them.

    An OR of words beside a filter is scored wrong, so each term is optional, and passages with none of them score next
    to nothing. What a filter finds counts for the score as well, rare tags most; so it weighs next to nothing, in a
    group of two. Some servers take that weight for a lone term to the left of it, which the term that no passage has
    prevents.
    """
    params: dict[str, str] = {}
    operands = [*_operands(terms, params), operand("nothing", _NO_TERM, params)]
    optional = " ".join(f"~@{TERMS_ALIAS}:{one}" for one in operands)
    return Fragment(f"{optional} ({among} -{NOWHERE})=>{{$weight: {NO_WEIGHT}}}", params)


def _operands(terms: Sequence[str], params: dict[str, str]) -> list[str]:
    return [operand(f"t{number}", term, params) for number, term in enumerate(terms)]


def operand(name: str, value: str, params: dict[str, str]) -> str:
    """Return what stands for a value in a query: `$name`, with the value in `params`, where it cannot become syntax.

    A value that is the name of an argument stands there itself: it is one of a few plain words.
    """
    if value.isascii() and value.upper() in _ARGUMENTS:
        return value
    params[name] = value
    return f"${name}"


# Finds no passage: the ids of documents are stored as JSON, which this is not.
NOWHERE = "@document_id:{none}"


def all_but(query: str) -> str:
    """Return what finds all passages that a query, in which nothing is denied, does not find.

    Search 2.10 loses passages of `(a -b)` where it is an alternative beside other conditions, as in `((a -b)|c) d`, but
    none if something optional stands beside `-b`.
    """
    return f"((-{query}) ~{NOWHERE})"


def all_of(queries: Sequence[str]) -> str:
    """Return what finds the passages that each of several queries finds.

    Where all of them are alternatives, one of which is a group with a value that no passage has, as in
    `(a|(b nowhere)) (a|(c nowhere))`, a vector search of search 2.10 finds nothing, but for something optional beside.
    """
    optional = f" ~{NOWHERE}" if all("|" in query for query in queries) else ""
    return f"({' '.join(queries)}{optional})"


# What finds the passages that have a label.
LABELLED = Fragment(all_but("ismissing(@label)"), {})

# What finds the passages that have a vector.
WITH_VECTOR = Fragment(all_but("@no_vector:{1}"), {})


def params(values: Mapping[str, str | bytes]) -> Command:
    """Return the part of a command that hands values to a query; values never become syntax."""
    return ("PARAMS", str(2 * len(values)), *(part for pair in values.items() for part in pair)) if values else ()
