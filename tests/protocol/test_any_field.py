"""Fields of any name, declared or not, found as the documentation says; the oracle is that of `test_filters`."""

import os

import pytest
from filtering import Meaning, comparisons, compile_filter, conditions, entries, one_of, same_tag, wheres
from hypothesis import given, settings
from hypothesis import strategies as st

from ragknn import Document, HashingEmbedder, Index, Indexer
from ragknn._protocol.encoding import ENCODERS, TAG_SEPARATOR
from ragknn._protocol.finding import matching_ids

DECLARED = {
    "ms.date": "numeric",
    "Module Name": "tag",
    "text": "tag",
    "id": "numeric",
    "a b": "text",
    "日": "tag",
    "1st": "numeric",
    "@x": "tag",
    "v" * 5_000: "tag",
    "a.b": "tag",
    "\x00": "tag",
    "metadata": "text",
    "distance": "numeric",
    "-": "tag",
    "%": "tag",
    "%00": "tag",
}
MEANING = Meaning(DECLARED)
UNDECLARED = [
    "k", "K", "a", "a.c", "ms", "", "x y", "日本", "9", "%25", "\\", "\x1f", "@k", "f:k", "ms.date.x", "any", "vector",
    "w" * 5_000, '"', "year", "a.b.c",
]  # fmt: skip
STRINGS = ["", " ", "a", "A", "b", "1", "true", "null", "日", '"', "%25", "%", "\\", "\x1f", "\x00", "x" * 5_000, "[1]"]
SHORT = [one for one in STRINGS if len(one) < 4_000]
NUMBERS = [0, -0.0, 1, 1.0, 2, -1, 1.5, 2**53, 2**53 + 1, 1e22, 5e-324]
EXACT = [number for number in NUMBERS if number == float(number)]
SCALARS = one_of([*STRINGS, *NUMBERS, True, False])
TAGS = one_of([*SHORT, *NUMBERS, True, False])
SENTENCES = one_of(["quick fox", "The FOX", "größe", "the", "!"])
WORDS = one_of(["fox", "THE", "quick the", "nosuch", "GRÖSSE"])
OF_KIND = {
    "tag": st.one_of(TAGS, st.lists(TAGS, max_size=3)),
    "numeric": one_of([*EXACT, True, "2024-02-29"]),
    "text": SENTENCES,
}
ANYTHING = st.one_of(
    st.none(), SCALARS, st.lists(st.one_of(st.none(), SCALARS, st.lists(SCALARS), st.just({"k": 1})), max_size=3)
)


def declared(names):
    """Draw entries of the declared fields among these names that fit them."""
    return st.fixed_dictionaries({}, optional={name: st.one_of(st.none(), OF_KIND[DECLARED[name]]) for name in names})


@st.composite
def metadata(draw):
    drawn = draw(st.dictionaries(one_of(UNDECLARED), ANYTHING, max_size=5))
    drawn |= draw(declared(list(DECLARED)))
    if draw(st.booleans()):
        inner = draw(st.dictionaries(one_of(["c", "k", "", "日", "x y"]), ANYTHING, max_size=3))
        drawn["a"] = inner | draw(st.fixed_dictionaries({}, optional={"b": OF_KIND["tag"]}))
    if draw(st.booleans()):
        drawn["ms"] = {"date": draw(OF_KIND["numeric"])}
    return drawn


CONDITIONS = {
    "tag": conditions(comparisons(TAGS, "$contains")),
    "numeric": conditions(comparisons(one_of([*EXACT, "2024-02-29"]), "$gt", "$gte", "$lt", "$lte")),
    "text": conditions(st.fixed_dictionaries({"$contains": WORDS})),
}
ON_ANYTHING = st.one_of(SCALARS, st.none(), conditions(comparisons(SCALARS, "$contains")))
ON_DECLARED = [st.fixed_dictionaries({name: st.one_of(st.none(), CONDITIONS[kind])}) for name, kind in DECLARED.items()]
WHERES = wheres(
    st.one_of(
        one_of(UNDECLARED).flatmap(lambda name: st.fixed_dictionaries({name: ON_ANYTHING})),
        *ON_DECLARED,
        st.fixed_dictionaries({"label": st.one_of(SCALARS.filter(lambda one: one in SHORT), st.none())}),
        st.fixed_dictionaries({"document_id": conditions(st.fixed_dictionaries({"$in": st.just(["n0", "n1"])}))}),
    )
)


class Server:
    def __init__(self, index):
        self.index, self.indexer = index, Indexer(index)
        self.documents = []

    def hold(self, documents):
        names = {document.id for document in documents}
        self.indexer.delete([document.id for document in self.documents if document.id not in names])
        assert self.indexer.add(documents).failed == ()
        self.documents = documents

    def find(self, where):
        return set(self.index._run(matching_ids(self.index._place(), compile_filter(where, self.index.schema))))

    def check(self, where):
        assert self.find(where) == {one.id for one in self.documents if MEANING.matches(one, where)}


@pytest.fixture(scope="module")
def server(redis_url):
    name = f"any-field-{os.getpid()}"
    with Index(name, url=redis_url, embedder=HashingEmbedder(8), fields=DECLARED, any_field=True) as index:
        yield Server(index)
        index.drop()


def documents_of(several):
    return [Document(f"n{number}", "text", *details) for number, details in enumerate(several)]


@settings(max_examples=50)
@given(
    several=st.lists(st.tuples(one_of([None, "a", 1]), metadata()), min_size=1, max_size=8),
    asked=st.lists(WHERES, min_size=1, max_size=12),
)
def test_a_filter_on_any_field_finds_exactly_what_it_means(server, several, asked):
    server.hold(documents_of(several))
    for where in asked:
        server.check(where)


@settings(max_examples=40)
@given(st.lists(st.tuples(st.none(), metadata()), min_size=1, max_size=8))
def test_every_entry_is_found_by_what_it_holds_and_missed_by_what_it_does_not(server, several):
    server.hold(documents_of(several))
    for document in server.documents:
        for name, value in entries(document.metadata):
            if name in DECLARED or name.startswith("$"):
                continue
            for one in value if isinstance(value, list) else [value]:
                if isinstance(one, str | int | float):
                    assert document.id in server.find({name: one})
                    for where in ({name: one}, {name: {"$ne": one}}, {name: {"$nin": [one, None]}}):
                        server.check(where)
            for where in ({name: None}, {name: {"$ne": None}}, {name: {"$in": [None, "a"]}}):
                server.check(where)


@settings(max_examples=40)
@given(st.lists(st.tuples(one_of([None, "a", 1]), metadata()), min_size=1, max_size=8))
def test_the_values_of_any_field_are_counted(server, several):
    server.hold(documents_of(several))
    for name in [*UNDECLARED, "a.k", "a.日"]:
        expected = {}
        for document in server.documents:
            mine = [value for key, value in entries(document.metadata) if key == name]
            flat = [one for value in mine for one in (value if isinstance(value, list) else [value])]
            for one in flat:
                # A value that is too long for a tag is found, and cannot be told.
                if isinstance(one, str | int | float) and len(str(one)) < 4_000 and len(name) < 4_000:
                    expected.setdefault((isinstance(one, bool), one), set()).add(document.id)
        found = server.index.values(name)
        if not any(is_bool and (False, one) in expected for is_bool, one in expected):  # 1 and True are equal as keys
            alike = {one: len(ids) for (_, one), ids in expected.items()}
            assert {key: count for key, count in found.items() if count != alike.get(key)} == {}
            assert found.keys() == alike.keys()


def test_a_document_counts_once_for_equal_numbers(server):
    several = [(None, {"k": [1, 1.0, True, 1]}), (None, {"a": {"k": 2}, "a.k": [2.0, "2"]})]
    server.hold(documents_of(several))
    assert server.index.values("a.k") == {2: 1, "2": 1}
    assert server.find({"k": 1.0}) == server.find({"k": True}) == {"n0"}
    assert ENCODERS["tag"]("declared", [1, 1.0, True, 1]) == TAG_SEPARATOR.join(["1", "true"])


def test_an_entry_of_another_kind_is_another_value(server):
    several = [(None, {"k": value}) for value in (1, 1.0, True, "1", "true", [1], {"1": 1}, None, [], [None])]
    server.hold(documents_of(several))
    assert server.find({"k": 1}) == {"n0", "n1", "n5"}
    assert server.find({"k": True}) == {"n2"}
    assert server.find({"k": "1"}) == {"n3"}
    assert server.find({"k": None}) == {"n6", "n7"}
    assert server.find({"k.1": 1.0}) == {"n6"}
    assert same_tag(1, 1.0)


@pytest.mark.parametrize("operator", ["$gt", "$lte"])
def test_what_is_not_declared_is_not_compared(server, operator):
    with pytest.raises(ValueError, match="declare the field as numeric to compare"):
        server.find({"k": {operator: 1}})


def test_no_name_can_become_part_of_a_query(server):
    server.hold(documents_of([(None, {"k": 1})]))
    for name in ("*", "k:{1}", "k|any", "*=>[KNN 1 @vector $v]", "w0", "any:{*}", "k]", "(k"):
        assert server.find({name: 1}) == set()
        assert server.find({name: {"$ne": 1}}) == {"n0"}


def test_without_any_field_an_undeclared_one_is_refused(redis_url, index_name):
    with Index(index_name, url=redis_url, dim=2, fields=DECLARED) as index:
        for name in UNDECLARED:
            with pytest.raises(ValueError, match="expected a field that can be filtered on"):
                index.count({name: 1})
        index.drop()


@pytest.mark.parametrize("name", ["$x", "", "label", "document_id"])
def test_names_that_mean_something_else_cannot_be_declared(name):
    with pytest.raises(ValueError, match="expected a field name"):
        Index("x", fields={name: "tag"})
