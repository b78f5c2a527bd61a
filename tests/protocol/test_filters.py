import itertools
import json
import math
import os
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta, timezone

import numpy as np
import pytest
import redis
from filtering import Meaning, comparisons, compile_filter, conditions, one_of, wheres
from hypothesis import given, settings
from hypothesis import strategies as st

from ragknn import Document, HashingEmbedder, Index, Indexer
from ragknn._protocol.query import EVERYTHING, LABELLED, any_of_among, intersection
from ragknn._protocol.schema import Schema
from ragknn._protocol.where import DEEPEST, check_required

FIELDS = {"tags": "tag", "year": "numeric", "title": "text"}
SCHEMA = Schema(embedder="e", dim=2, fields=FIELDS)
MEANING = Meaning(FIELDS)
UNICODE = st.text(st.characters(exclude_categories=["Cs"]))


# ---- documents to filter ---------------------------------------------------------------------------------------

STRINGS = [
    "", " ", "a", "A", "b", "a b", " a ", "a,b", "a|b", "{a}", "a}", "a*", "*", "%", "%25", "\\", "a\\", "\\,", "%5C",
    "\x00", "a\x00b", "\x1f", "a\x1fb", "\n", "\t", "\x7f", "\u2028", '"', "'", "$w0", "@label:{a}", "]=>[KNN", "-a",
    "Ä", "ä", "e\u0301", "é", "名前", "🏷️", "true", "null", "1", "1.0", "-0.0", "inf", "nan", "ismissing(@tags)",
    "x" * 4_094, "日" * 1_364,
]  # fmt: skip
NUMBERS = [
    0, -0.0, 1, 1.0, 2, -1, 1.5, 0.1, 0.1 + 0.2, 0.3, 5e-324, -5e-324, 2.2250738585072014e-308, 1e-5, 1e22, 1e300,
    1e308, 1.7976931348623157e308, -1.7976931348623157e308, 2**53, 2**53 + 1, 2**53 + 2, 2**63, 2**70, 16777217,
    1 + 2**-52, 1 - 2**-53, 1 / 3,
]  # fmt: skip
MOMENTS = [
    date(2024, 2, 29),
    datetime(2024, 2, 29, 12, 30, 1, 999_999),
    datetime(2024, 2, 29, 13, 30, tzinfo=timezone(timedelta(hours=1))),
    date(1, 1, 1),
    datetime(9999, 12, 31, 23, 59, 59, 999_999, UTC),
]
SENTENCES = [
    "Quick brown foxes",
    "the quick\nfox",
    "Return the limit, the FORMAT and the quick fox's timeout",
    "The FOX's “den”—it",
    "größe Straße",
    "",
    "!!!",
    "the",
    "inf 1e5 _x",
]
TAGS = [*STRINGS, *NUMBERS, True, False]
EXACT = [number for number in NUMBERS if number == float(number)]  # a float holds no 2**53 + 1
STORED_YEARS = [*EXACT, True, *MOMENTS, "2024-02-29", "2024-02-29T13:30:00+01:00"]
YEARS = [*STORED_YEARS, math.inf, -math.inf]  # metadata is JSON, which has no infinity
LABELS = [*STRINGS[2:12], "1", *NUMBERS[:6], True, False]


def corpus():
    """Return documents that have each value above, some with several and some with none."""
    metadata = [{"tags": tag} for tag in TAGS]
    metadata += [{"tags": [one, other, f"{number}"]} for number, (one, other) in enumerate(itertools.pairwise(TAGS))]
    metadata += [{"tags": []}, {"tags": None}, {}, {"year": None, "title": None}, {"other": "a"}]
    metadata += [{"year": year, "tags": TAGS[number % 7]} for number, year in enumerate(STORED_YEARS)]
    metadata += [{"title": title, "year": number} for number, title in enumerate(SENTENCES)]
    labels = itertools.cycle([None, *LABELS])
    ids = itertools.chain(STRINGS[1:-2], (f"id {number}" for number in itertools.count()))
    texts = itertools.cycle([text for text in SENTENCES if text] + ["foxes"])
    return [Document(*values) for values in zip(ids, texts, labels, metadata, strict=False)]


DOCUMENTS = corpus()


class Server:
    """An index that holds the documents, and what the server finds in it."""

    def __init__(self, index, client):
        self.index, self.client = index, client

    def ids(self, query, params, *options):
        values = {**params, "vector": np.ones(self.index.schema.dim, "<f4").tobytes(), "k": 10_000, "radius": 2.5}
        parts = [part for pair in values.items() for part in pair]
        command = ["FT.SEARCH", self.index._keys.alias, query, "PARAMS", len(parts), *parts, "RETURN", 0]
        reply = self.client.execute_command(*command, "LIMIT", 0, 10_000, *options, "DIALECT", 2)
        found = [self.index._keys.split_passage(row[b"id"].decode())[0] for row in reply[b"results"]]
        assert len(set(found)) == len(found) == reply[b"total_results"]
        return set(found)

    def find(self, where):
        found = compile_filter(where, self.index.schema)
        return self.ids(found.query, found.params)


@pytest.fixture(scope="module", params=["flat", "hnsw"])
def server(request, redis_url):
    with (
        redis.Redis.from_url(redis_url, protocol=3) as client,
        Index(
            f"filters-{os.getpid()}-{request.param}",
            url=redis_url,
            embedder=HashingEmbedder(8),
            fields=FIELDS,
            algorithm=request.param,
        ) as index,
    ):
        report = Indexer(index).add(DOCUMENTS)
        assert report.failed == ()
        assert report.added == len(DOCUMENTS)
        yield Server(index, client)
        index.drop()


# ---- what a filter means, in Python ------------------------------------------------------------------------------


def expected(where):
    return {document.id for document in DOCUMENTS if MEANING.matches(document, where)}


# ---- any filter ------------------------------------------------------------------------------------------------


FLOATS = st.floats(allow_nan=False)
INTEGERS = st.integers(-(10**300), 10**300)
TAG_VALUES = st.one_of(one_of(TAGS), UNICODE, INTEGERS, st.booleans(), st.floats(allow_nan=False, allow_infinity=False))
DATES = st.one_of(st.dates(), st.datetimes(timezones=st.sampled_from([None, UTC, timezone(timedelta(hours=-5))])))
YEAR_VALUES = st.one_of(
    one_of(YEARS),
    FLOATS,
    INTEGERS.map(lambda number: int(float(number))),  # others are refused
    st.booleans(),
    DATES,
    st.builds(lambda moment: moment.isoformat(), DATES),
)
WORDS = st.lists(
    st.sampled_from(
        ["quick", "FOX", "foxes", "fox's the", "straße", "STRASSE", "den", "nosuch", "_x", "1e5", "the", "Limit"]
    ),
    min_size=1,
).map(" ".join)


ON_TAGS = conditions(comparisons(TAG_VALUES, "$contains"))
ON_LABEL = conditions(comparisons(TAG_VALUES))
ON_YEAR = conditions(comparisons(YEAR_VALUES, "$gt", "$gte", "$lt", "$lte"))
ON_WORDS = conditions(st.fixed_dictionaries({"$contains": WORDS}))
ON_ID = conditions(
    st.one_of(
        st.fixed_dictionaries({"$eq": UNICODE}),
        st.fixed_dictionaries({"$in": st.lists(st.one_of(UNICODE, one_of(STRINGS)), min_size=1)}),
    )
)
ENTRIES = st.one_of(
    st.fixed_dictionaries({"tags": st.one_of(TAG_VALUES, st.none(), ON_TAGS)}),
    st.fixed_dictionaries({"label": st.one_of(TAG_VALUES, st.none(), ON_LABEL)}),
    st.fixed_dictionaries({"year": st.one_of(YEAR_VALUES, st.none(), ON_YEAR)}),
    st.fixed_dictionaries({"title": st.one_of(st.none(), ON_WORDS)}),
    st.fixed_dictionaries({"document_id": ON_ID}),
)
WHERES = wheres(ENTRIES)


@settings(max_examples=500)
@given(where=WHERES)
def test_a_filter_finds_exactly_what_it_means(server, where):
    assert server.find(where) == expected(where)


@settings(max_examples=100)
@given(where=WHERES)
def test_a_filter_means_the_same_within_every_kind_of_search(server, where):
    found, wanted = compile_filter(where, server.index.schema), expected(where)
    knn = server.ids(f"{found.query}=>[KNN $k @vector $vector AS distance]", found.params, "SORTBY", "distance")
    assert knn == wanted
    within = "@vector:[VECTOR_RANGE $radius $vector]=>{$YIELD_DISTANCE_AS: distance}"
    assert server.ids(f"{within} {found.query}", found.params) == wanted
    labelled = server.ids(LABELLED.query, {})
    assert server.ids(intersection(found, LABELLED).query, found.params) == labelled & wanted
    terms = ("fox", "quick", "inf", "strasse", "foxes")
    for narrow in (found, intersection(found, LABELLED)):
        among = any_of_among(terms, narrow.query)
        assert server.ids(among.query, {**found.params, **among.params}, "VERBATIM") == server.ids(
            narrow.query, found.params
        )
    parts = [part for pair in found.params.items() for part in pair]
    options = ["PARAMS", len(parts), *parts] if parts else []
    counting = ["GROUPBY", 0, "REDUCE", "COUNT_DISTINCT", 1, "@document_id", "AS", "n", "DIALECT", 2]
    reply = server.client.execute_command("FT.AGGREGATE", server.index._keys.alias, found.query, *options, *counting)
    counts = [int(row[b"extra_attributes"][b"n"]) for row in reply[b"results"]]
    assert sum(counts) == len(wanted)


@pytest.mark.parametrize("value", TAGS, ids=lambda value: repr(value)[:20])
def test_each_tag_finds_the_documents_that_have_it(server, value):
    for where in ({"tags": value}, {"tags": {"$ne": value}}, {"tags": {"$contains": value}}, {"label": value}):
        assert server.find(where) == expected(where)
    assert server.find({"tags": value})


@pytest.mark.parametrize("operator", ["$eq", "$ne", "$gt", "$gte", "$lt", "$lte"])
def test_each_number_is_compared_exactly(server, operator):
    for value in YEARS:
        where = {"year": {operator: value}}
        assert server.find(where) == expected(where), value


def test_every_document_is_found_by_its_id(server):
    for document in DOCUMENTS[:60]:
        assert server.find({"document_id": document.id}) == {document.id}


def test_no_filter_and_an_empty_one_find_everything(server):
    everything = expected({})
    assert server.find(None) == server.find({}) == everything
    assert compile_filter(None, SCHEMA) is EVERYTHING
    assert len(everything) > 150


def test_booleans_are_another_kind_of_tag_than_numbers_and_strings(server):
    found = [server.find({"label": value}) for value in (True, 1, "1")]
    assert all(found)
    assert not any(one & other for one, other in itertools.combinations(found, 2))
    assert server.find({"label": 1}) == server.find({"label": 1.0}) == server.find({"label": np.int64(1)})


def test_a_missing_field_is_found_by_none_and_by_what_denies(server):
    missing = server.find({"year": None})
    assert missing == {d.id for d in DOCUMENTS if d.metadata.get("year") is None}
    assert missing <= server.find({"year": {"$ne": 2}})
    assert missing <= server.find({"year": {"$nin": [2, 3]}})
    assert missing <= server.find({"$not": {"year": {"$gte": -math.inf}}})
    assert not missing & server.find({"year": {"$gte": -math.inf}})
    assert server.find({"year": {"$in": [None]}}) == missing
    assert server.find({"year": {"$nin": [None]}}) == server.find({"year": {"$ne": None}})


def test_beyond_infinity_is_nothing(server):
    assert server.find({"year": {"$gt": math.inf}}) == server.find({"year": {"$lt": -math.inf}}) == set()


def test_ten_thousand_values_are_one_filter(server):
    words = [f"no such {number}" for number in range(10_000)]
    assert server.find({"tags": {"$in": [*words, "a"]}}) == server.find({"tags": "a"})
    assert server.find({"tags": {"$nin": [*words, "a"]}}) == server.find({"tags": {"$ne": "a"}})
    numbers = [float(number) + 0.25 for number in range(10_000)]
    assert server.find({"year": {"$in": [*numbers, 1.5]}}) == server.find({"year": 1.5})
    assert server.find({"$or": [{"tags": word} for word in [*words, "a"]]}) == server.find({"tags": "a"})
    assert server.find({"$and": [{"tags": {"$ne": word}} for word in words]}) == expected({})


def nested(depth, *wraps):
    where, wrap = {"tags": "a"}, itertools.cycle(wraps)
    for _ in range(depth):
        where = next(wrap)(where)
    return where


WRAPS = [
    [lambda inner: {"$not": inner}],
    [lambda inner: {"$and": [{"year": {"$ne": 3}}, inner]}, lambda inner: {"$or": [{"year": 7}, inner]}],
    [lambda inner: {"year": {"$ne": 3}, "$not": {"$or": [{"year": 7}, inner]}}],
    [lambda inner: {"$or": [{"title": {"$contains": "quick fox"}, "year": {"$gt": 1, "$lt": 9}}, inner]}],
]


@pytest.mark.parametrize("wraps", WRAPS)
def test_the_server_takes_the_deepest_filter_that_is_allowed(server, wraps):
    depth = max(depth for depth in range(1, DEEPEST + 1) if compiles(nested(depth, *wraps)))
    assert depth >= DEEPEST // 2
    where = nested(depth, *wraps)
    found = compile_filter(where, server.index.schema)
    assert server.find(where) == expected(where)
    query = f"({found.query}) @vector:[VECTOR_RANGE $radius $vector]"
    assert server.ids(query, found.params) == expected(where)
    with pytest.raises(ValueError, match="expected a filter of at most 32 levels, got a deeper one"):
        compile_filter(nested(depth + 1, *wraps), SCHEMA)


def compiles(where):
    try:
        compile_filter(where, SCHEMA)
    except ValueError:
        return False
    return True


def test_a_filter_that_holds_itself_is_refused():
    where = {}
    where["$and"] = [where]
    with pytest.raises(ValueError, match="at most 32 levels"):
        compile_filter(where, SCHEMA)
    with pytest.raises(ValueError, match="expected a filter on 'tags'"):
        check_required(where, "tags")


# ---- how it is written -----------------------------------------------------------------------------------------


@given(where=WHERES)
def test_no_value_is_part_of_the_query(where):
    found = compile_filter(where, SCHEMA)
    assert set(found.query) <= set("abcdefghijklmnopqrstuvwxyz_0123456789@:{}[]()|$-~' ")
    assert found.query.startswith("(")
    assert set(found.params) == {name.strip("|()[]{} ") for name in _names(found.query)}


def _names(query):
    for sign in "|()[]{}":
        query = query.replace(sign, " ")
    for part in query.split():
        if "$" in part:
            yield part.partition("$")[2]


@pytest.mark.parametrize(
    ("where", "query", "params"),
    [
        ({"label": "x"}, "(@label:{$w0})", {"w0": '"x"'}),
        ({"tags": 1}, "(@tags:{$w0|$w1})", {"w0": "1", "w1": "1.0"}),
        ({"year": {"$gte": 0.5}}, "(@year:[$w0 inf])", {"w0": "0.5"}),
        ({"year": {"$gt": 1, "$lt": 2}}, "(@year:[($w0 inf] @year:[-inf ($w1])", {"w0": "1.0", "w1": "2.0"}),
        ({"year": {"$ne": None}}, "((-ismissing(@year)) ~@document_id:{none})", {}),
        ({"$or": [{"label": "x"}, {"label": None}]}, "(@label:{$w0}|ismissing(@label))", {"w0": '"x"'}),
        ({"title": {"$contains": "The Fox"}}, "(@title:{$w0} @title:{$w1})", {"w0": "the", "w1": "fox"}),
        (
            {"title": {"$contains": "Return a fox"}},
            "(@title:{return} @title:{$w0} @title:{$w1})",
            {"w0": "a", "w1": "fox"},
        ),
        ({"title": {"$not": {"$contains": "Straße"}}}, "((-@title:{$w0}) ~@document_id:{none})", {"w0": "strasse"}),
        (
            {"$not": {"label": "x", "year": 1}},
            "((-(@label:{$w0} @year:[$w1 $w1])) ~@document_id:{none})",
            {"w0": '"x"', "w1": "1.0"},
        ),
    ],
)
def test_a_filter_is_written_so(where, query, params):
    found = compile_filter(where, SCHEMA)
    assert (found.query, dict(found.params)) == (query, params)


def test_filters_are_joined_and_everything_joins_as_nothing():
    one = compile_filter({"label": "x"}, SCHEMA)
    assert intersection(EVERYTHING, one, EVERYTHING) == one
    assert intersection(EVERYTHING) == intersection() == EVERYTHING


def test_the_filter_of_the_caller_is_not_changed():
    where = {"$and": [{"tags": {"$in": ["a", None]}}, {"year": {"$gt": 1}}]}
    before = json.dumps(where)
    compile_filter(where, SCHEMA)
    assert json.dumps(where) == before


# ---- what is refused -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("where", "error", "message"),
    [
        ("label", TypeError, "expected a filter as a mapping such as"),
        ([{"label": "x"}], TypeError, "expected a filter as a mapping such as"),
        ({"nosuch": 1}, ValueError, "expected a field that can be filtered on, got 'nosuch': there are label, "),
        ({"metadata": 1}, ValueError, r"document_id and tags \(tag\), year \(numeric\), title \(text\); declare"),
        ({1: 1}, ValueError, "expected a field that can be filtered on, got 1"),
        ({None: 1}, ValueError, "expected a field that can be filtered on, got None"),
        ({"$nor": [{"label": "x"}]}, ValueError, r"expected a field, \$and, \$or or \$not, got '\$nor'"),
        ({"$eq": 1}, ValueError, "other operators go below a field"),
        ({"year": {"$regex": "x"}}, ValueError, r"field 'year': expected an operator that numeric fields have, \$eq"),
        ({"year": {"$gt": 1, "label": 2}}, ValueError, "got 'label'"),
        ({"year": {"gte": 1}}, ValueError, "got 'gte'"),
        ({"year": {}}, ValueError, "field 'year': expected a value or an operator, got an empty mapping"),
        ({"year": {"$contains": 1}}, ValueError, "declare the field as text to look for words"),
        ({"tags": {"$gt": 1}}, ValueError, "declare the field as numeric to compare"),
        ({"label": {"$lte": 1}}, ValueError, "declare the field as numeric to compare"),
        ({"title": {"$eq": "x"}}, ValueError, "declare the field as tag to look for whole values"),
        ({"title": {"$in": ["x"]}}, ValueError, "declare the field as tag to look for whole values"),
        ({"title": "x"}, ValueError, "field 'title': expected an operator on text"),
        ({"title": {"$contains": 1}}, TypeError, r"field 'title': expected \$contains with words as a str, got 1"),
        ({"title": {"$contains": None}}, TypeError, "with words as a str, got None"),
        ({"title": {"$contains": "!"}}, ValueError, r"expected \$contains with at least one word, got '!'"),
        ({"title": {"$contains": ""}}, ValueError, r"expected \$contains with at least one word, got ''"),
        ({"tags": {"$in": []}}, ValueError, r"field 'tags': expected \$in with at least one value, got none"),
        ({"tags": {"$nin": ()}}, ValueError, r"field 'tags': expected \$nin with at least one value, got none"),
        ({"tags": {"$in": "abc"}}, TypeError, r"expected \$in with a list of values, got 'abc'"),
        ({"tags": {"$in": {"a": 1}}}, TypeError, r"expected \$in with a list of values"),
        ({"tags": {"$in": None}}, TypeError, r"expected \$in with a list of values, got None"),
        ({"tags": {"$in": [["a"]]}}, TypeError, "expected one value, got"),
        ({"tags": {"$in": [{"$eq": "a"}]}}, TypeError, "operators take no operators"),
        ({"tags": {"$eq": {"$eq": "a"}}}, TypeError, "operators take no operators"),
        ({"year": {"$gt": {"$eq": 1}}}, TypeError, "operators take no operators"),
        ({"tags": ["a", "b"]}, TypeError, r"for one of several take \{\"\$in\""),
        ({"year": [1]}, TypeError, r"for one of several take \{\"\$in\""),
        ({"tags": b"a"}, TypeError, "field 'tags': expected a str, a number or a bool, got b'a' of type bytes"),
        ({"tags": date(2024, 1, 1)}, TypeError, "field 'tags': expected a str, a number or a bool"),
        ({"tags": math.nan}, ValueError, "field 'tags': expected a finite number"),
        ({"tags": math.inf}, ValueError, "field 'tags': expected a finite number"),
        ({"tags": "x" * 5_000}, ValueError, "field 'tags': expected a document id, label or tag of at most 4096"),
        ({"tags": "\ud800"}, ValueError, "field 'tags': expected text that UTF-8 can hold, got a lone surrogate"),
        ({"document_id": 1}, TypeError, "field 'document_id': expected a str, got 1 of type int"),
        ({"document_id": None}, ValueError, "field 'document_id': expected a str, got None"),
        ({"text": {"$contains": "x"}}, ValueError, "expected a field that can be filtered on, got 'text'"),
        ({"year": "2020"}, ValueError, "field 'year': expected a number, a date or an ISO 8601 string"),
        ({"year": "20240229"}, ValueError, "field 'year': expected a number, a date or an ISO 8601 string"),
        ({"year": "2024-02-30"}, ValueError, "field 'year': expected a number, a date or an ISO 8601 string"),
        ({"year": math.nan}, ValueError, "field 'year': expected a number, .* got NaN"),
        ({"year": 10**400}, ValueError, "field 'year': expected a number"),
        ({"year": 1j}, TypeError, "field 'year': expected a number"),
        ({"year": object()}, TypeError, "field 'year': expected a number"),
        ({"year": {"$gt": None}}, TypeError, "field 'year': expected a number, .* got None"),
        ({"year": {"$not": 1}}, TypeError, r"field 'year': expected \$not with operators, got 1; for a value take"),
        ({"year": {"$not": {}}}, ValueError, "field 'year': expected a value or an operator"),
        ({"$and": []}, ValueError, r"expected \$and with at least one mapping, got an empty list"),
        ({"$or": []}, ValueError, r"expected \$or with at least one mapping, got an empty list"),
        ({"$or": {"label": "x"}}, TypeError, r"expected \$or with a list of mappings, got \{'label'"),
        ({"$and": "label"}, TypeError, r"expected \$and with a list of mappings, got 'label'"),
        ({"$and": [{}]}, ValueError, "expected at least one condition .* got an empty mapping"),
        ({"$and": ["label"]}, TypeError, "expected a filter as a mapping"),
        ({"$not": {}}, ValueError, "expected at least one condition"),
        ({"$not": [{"label": "x"}]}, TypeError, "expected a filter as a mapping"),
        ({"label": "x", "$or": [{"nosuch": 1}]}, ValueError, "got 'nosuch'"),
    ],
)
def test_what_cannot_be_meant_is_refused_and_says_what_can(where, error, message):
    with pytest.raises(error, match=message):
        compile_filter(where, SCHEMA)


def test_an_empty_sequence_is_no_empty_filter():
    with pytest.raises(TypeError, match="expected a filter as a mapping"):
        compile_filter([], SCHEMA)


# ---- a required filter -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "where",
    [
        {"tenant": "a"},
        {"tenant": 0},
        {"tenant": ""},
        {"tenant": {"$eq": "a"}},
        {"tenant": {"$in": ["a", "b"]}},
        {"tenant": {"$in": {"a"}}},
        {"tenant": {"$eq": "a", "$ne": "b"}},
        {"year": 1, "tenant": "a", "$or": [{"year": 2}]},
        {"$and": [{"year": 1}, {"tenant": "a"}]},
        {"$and": [{"$and": ({"tenant": "a"},)}]},
    ],
)
def test_a_required_field_is_pinned(where):
    check_required(where, "tenant")


@pytest.mark.parametrize(
    "where",
    [
        None,
        {},
        "tenant",
        {"year": 1},
        {"tenant": None},
        {"tenant": {}},
        {"tenant": {"$eq": None}},
        {"tenant": {"$in": []}},
        {"tenant": {"$in": ["a", None]}},
        {"tenant": {"$in": "a"}},
        {"tenant": {"$ne": "a"}},
        {"tenant": {"$nin": ["a"]}},
        {"tenant": {"$gte": 0}},
        {"tenant": {"$not": {"$eq": "a"}}},
        {"$not": {"tenant": "a"}},
        {"$or": [{"tenant": "a"}]},
        {"$or": [{"tenant": "a"}, {"tenant": "b"}]},
        {"$and": [{"$or": [{"tenant": "a"}, {"year": 1}]}]},
        {"$and": {"tenant": "a"}},
    ],
)
def test_a_required_field_that_is_not_pinned_is_an_error(where):
    with pytest.raises(ValueError, match="expected a filter on 'tenant', which this index requires, got ") as refused:
        check_required(where, "tenant")
    assert 'add {"tenant": VALUE}' in str(refused.value)


def pins(where):
    """Return the values of each condition that pins the tags: at the top of a filter, or in an `$and` there."""
    condition = where.get("tags")
    if not isinstance(condition, Mapping):
        condition = {"$eq": condition}
    choices = [[condition["$eq"]]] if "$eq" in condition else []
    choices += [condition["$in"]] if "$in" in condition else []
    return [values for values in choices if None not in values] + [
        pin for part in where.get("$and", []) for pin in pins(part)
    ]


def holds_what_is_pinned(document, where):
    return all(any(MEANING.holds(document, "tags", "$eq", value) for value in values) for values in pins(where))


@given(where=WHERES)
def test_a_filter_is_taken_if_and_only_if_it_pins_the_required_field(where):
    try:
        check_required(where, "tags")
        taken = True
    except ValueError:
        taken = False
    assert taken == bool(pins(where))
    assert all(holds_what_is_pinned(document, where) for document in DOCUMENTS if MEANING.matches(document, where))


@st.composite
def pinning(draw):
    """Draw a filter that pins the tags, and a document that it finds, whatever else stands in it."""
    document = draw(st.sampled_from([document for document in DOCUMENTS if document.metadata.get("tags")]))
    stored = document.metadata["tags"]
    tag = draw(st.sampled_from(stored)) if isinstance(stored, list) else stored
    among = st.lists(TAG_VALUES, max_size=3).flatmap(lambda others: st.permutations([tag, *others]))
    where = {"tags": draw(st.one_of(st.just(tag), st.just({"$eq": tag}), st.fixed_dictionaries({"$in": among})))}
    for other in draw(st.lists(WHERES, max_size=2)):
        beside = {"$or": draw(st.permutations([other, {"document_id": document.id}]))}
        joined = [{**where, **beside}, {"$and": [where, beside]}, {"$and": [beside, where]}]
        where = joined[draw(st.integers(0, 2))]
    return where, document


@given(pinning())
def test_what_pins_a_field_finds_only_what_has_one_of_its_values(pinned):
    where, document = pinned
    check_required(where, "tags")
    found = [document for document in DOCUMENTS if MEANING.matches(document, where)]
    assert document in found
    assert all(holds_what_is_pinned(document, where) for document in found)
