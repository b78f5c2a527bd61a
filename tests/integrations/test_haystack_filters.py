"""What filters of Haystack find, compared with what Haystack itself makes of them."""

from datetime import datetime

import pytest
from haystack import Document
from haystack.document_stores.in_memory import InMemoryDocumentStore
from haystack.errors import FilterError
from haystack_stores import both, ids, where
from hypothesis import given, settings
from hypothesis import strategies as st

from haystack_integrations.document_stores.ragknn import RagKNNDocumentStore

WORDS, NUMBERS = ["a", "B c", "ä", "1", ""], [0, 1, -3, 2.5, 10**6]
DAYS = ["2024-02-29", "2024-02-29T12:00:00", "1969-07-21T20:17:40"]
METAS = [
    {"word": WORDS[n % 5], "number": NUMBERS[n % 5], "day": DAYS[n % 3], "deep": {"word": WORDS[n % 4]}}
    for n in range(10)
]
# Of every fourth, one entry is missing or None.
for n, meta in enumerate(METAS):
    if n % 2:
        meta[["word", "number", "day", "deep"][n // 2 % 4]] = None
DOCUMENTS = [Document(id=f"d{n}", content=f"text {n}", meta=meta) for n, meta in enumerate([*METAS, {}])]

_EQUAL, _ORDER, _AMONG = ["==", "!="], [">", ">=", "<", "<="], ["in", "not in"]


def comparisons():
    """Comparisons that have a meaning: sizes of what is declared as numeric, equality of everything."""

    def of(field, values, ordered):
        one = st.builds(where, st.just(field), st.sampled_from(_EQUAL + _ORDER * ordered), values | st.none())
        many = st.builds(where, st.just(field), st.sampled_from(_AMONG), st.lists(values | st.none(), max_size=3))
        return one | many

    words, numbers, days = map(st.sampled_from, (WORDS, NUMBERS, DAYS))
    return st.one_of(
        of("meta.word", words, 0),
        of("word", words, 0),
        of("meta.deep.word", words, 0),
        of("meta.nobody.has.it", words, 0),
        of("meta.number", numbers, 1),
        of("meta.day", days | days.map(datetime.fromisoformat), 1),
        of("id", st.sampled_from(["d1", "d2", "x"]), 0),
    )


def junctions(parts):
    operators = st.sampled_from(["AND", "OR", "NOT"])
    return st.builds(
        lambda operator, conditions: {"operator": operator, "conditions": conditions},
        operators,
        st.lists(parts, min_size=1, max_size=3),
    )


def test_filters_find_what_haystack_says_they_find(redis_url, index_name):
    store = RagKNNDocumentStore(
        index_name, url=redis_url, embedding_dim=2, fields={"meta.number": "numeric", "day": "numeric"}
    )
    store.write_documents(DOCUMENTS)
    oracle = InMemoryDocumentStore(shared=False)
    oracle.write_documents(DOCUMENTS)

    @settings(max_examples=60)
    @given(filters=st.recursive(comparisons(), junctions, max_leaves=6))
    def check(filters):
        expected = sorted(ids(oracle.filter_documents(filters)))
        assert ids(store.filter_documents(filters)) == expected
        assert store.count_documents_by_filter(filters) == len(expected)

    check()
    store.close()


WRONG = [
    "word",
    [where("meta.word", "==", "a")],
    {"meta.word": "a"},
    {"operator": "AND"},
    {"operator": "AND", "conditions": []},
    {"operator": "XOR", "conditions": [where("meta.word", "==", "a")]},
    both(where("meta.word", "==", "a"), "b"),
    both({"field": "meta.word", "operator": "=="}),
    where("meta.word", "like", "a"),
    where("meta.word", ">", "a"),
    where("meta.word", "==", ["a"]),
    where("meta.word", "==", {"a": 1}),
    where("meta.word", "in", "a"),
    where("meta.number", "==", "many"),
    where("meta.number", ">", [1]),
    where("content", "==", "text 1"),
    where("id", ">", "d1"),
    where("meta.", "==", "a"),
    where(3, "==", "a"),
]


def test_a_filter_without_a_meaning_is_refused_by_every_method(redis_url, index_name):
    store = RagKNNDocumentStore(index_name, url=redis_url, embedding_dim=2, fields={"number": "numeric"})
    store.write_documents(DOCUMENTS)
    for filters in WRONG:
        for method in (
            store.filter_documents,
            store.count_documents_by_filter,
            store.delete_by_filter,
            lambda filters: store.update_by_filter(filters, {"word": "b"}),
            lambda filters: store.embedding_retrieval([1.0, 0.0], filters),
            lambda filters: store.get_metadata_field_unique_values("word", filters=filters),
        ):
            with pytest.raises(FilterError, match="expected"):
                method(filters)
    # Nothing would be left of these, or nothing as it was.
    for change in (store.delete_by_filter, lambda filters: store.update_by_filter(filters, {"word": "b"})):
        with pytest.raises(FilterError, match="expected"):
            change({})
    assert store.count_documents() == len(DOCUMENTS)
    store.close()


def test_entries_that_ragknn_has_other_uses_for_are_found_like_any_other(redis_url, index_name):
    store = RagKNNDocumentStore(index_name, url=redis_url)
    metas = [{"label": "a", "document_id": "x"}, {"label": 1}, {"label": True}, {"label": ["a", "b"]}, {}]
    store.write_documents([Document(id=str(n), embedding=[1.0, n], meta=meta) for n, meta in enumerate(metas)])
    assert [one.meta for one in store.filter_documents()] == metas
    for value, found in (("a", ["0"]), (1, ["1"]), (True, ["2"]), (None, ["3", "4"])):
        assert ids(store.filter_documents(where("meta.label", "==", value))) == found
    assert ids(store.filter_documents(where("meta.document_id", "==", "x"))) == ["0"]
    assert ids(store.filter_documents(where("meta.document_id", "!=", "x"))) == ["1", "2", "3", "4"]
    assert store.update_by_filter(where("id", "in", ["0", "3"]), {"label": "c", "document_id": "y"}) == 2
    assert store.filter_documents(where("meta.label", "==", "c"))[1].meta == {"label": "c", "document_id": "y"}
    assert store.update_by_filter(where("meta.document_id", "==", "y"), {"label": None}) == 2
    assert store.filter_documents(where("meta.document_id", "==", "y"))[0].meta == {"document_id": "y"}
    store.close()


def test_a_field_that_is_declared_later_is_filled_and_compared(redis_url, index_name):
    store = RagKNNDocumentStore(index_name, url=redis_url)
    store.write_documents([Document(id=str(n), embedding=[1.0, n], meta={"year": 2020 + n}) for n in range(4)])
    with pytest.raises(FilterError, match="declare the field as numeric"):
        store.filter_documents(where("meta.year", ">=", 2022))
    later = RagKNNDocumentStore(index_name, url=redis_url, fields={"meta.year": "numeric"})
    assert ids(later.filter_documents(where("meta.year", ">=", 2022))) == ["2", "3"]
    store.close()
    later.close()
