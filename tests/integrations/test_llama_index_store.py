"""The vector store for LlamaIndex, in what only ragknn promises of one."""

import asyncio
import copy
import json
import pickle
from itertools import count

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llama_index.core import Document, StorageContext, VectorStoreIndex
from llama_index.core.schema import IndexNode, NodeRelationship, ObjectType, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores.types import (
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
)
from llama_index_cases import asked, ids_of, node, nodes, only

import ragknn
from ragknn import AsyncIndex, Index, LabelVoter, Retriever
from ragknn.integrations.llama_index import RagKNNEmbedding, RagKNNVectorStore


@pytest.fixture
def store(redis_url, index_name):
    """An empty store whose index is not made yet."""
    with_years = RagKNNVectorStore(index_name, url=redis_url, fields={"year": "numeric"})
    yield with_years
    with_years.close()


def hundred(first=0, document="doc"):
    rows = np.random.default_rng(first).normal(size=(5, 8))
    return [node(f"{document}-{first + n}", document, f"text {first + n}", row) for n, row in enumerate(rows)]


# ---- documents -------------------------------------------------------------------------------------------------


def test_the_nodes_of_a_document_are_its_passages_however_they_are_added(store):
    for first in (0, 5, 10):
        store.add(hundred(first))
    store.add(hundred(0, "other"))
    with store.index as index:
        assert (index.count(), index.count_documents()) == (20, 2)
        [document] = index.documents(["doc"])
        assert document.text.split() == " ".join(f"text {n}" for n in range(15)).split()
        assert [one.number for one in index.passages(where={"document_id": "doc"})] == [*range(15)]
        assert not index.check().counts.get("missing")


def test_options_and_votes_count_documents(store):
    labelled = nodes()
    for one in labelled:
        one.metadata["label"] = one.ref_doc_id or "stone"
    store.add(labelled)
    result = asked(store, kwargs={"per_document": 1})
    assert [one.ref_doc_id or one.node_id for one in result.nodes] == ["apples", "pears", "cars", "d1"]
    vote = LabelVoter(Retriever(store.index), k=3).vote(vector=labelled[0].embedding, text="x")
    assert (vote.label, len(vote.neighbors)) == ("apples", 3)
    assert store.index.values("label") == {"apples": 1, "pears": 1, "cars": 1, "stone": 1}
    assert [one.node_id for one in store.get_nodes(filters=only(("label", "EQ", "pears")))] == ["b1"]


def test_nodes_with_offsets_stand_in_the_order_of_the_text(store):
    text = "one two three four"
    late, early = node("late", "d", "four", (1,)), node("early", "d", "one two three ", (0, 1))
    late.start_char_idx, late.end_char_idx = 14, 18
    early.start_char_idx, early.end_char_idx = 0, 14
    store.add([late])
    store.add([early])
    assert [one.text for one in store.index.documents()] == [text]
    assert [one.node_id for one in store.get_nodes()] == ["early", "late"]


def test_a_node_that_belongs_to_another_document_now_is_there_once(store):
    store.add(nodes())
    store.add([node("a1", "elsewhere", "moved", (1, 0, 0.1), year=1)])
    assert [one.ref_doc_id for one in store.get_nodes() if one.node_id == "a1"] == ["elsewhere"]
    assert len(asked(store).ids) == 6


def test_text_and_metadata_are_kept_once(store, client, index_name):
    source = RelatedNodeInfo(node_id="d", node_type=ObjectType.DOCUMENT, metadata={"kind": "unmistakable"})
    one = TextNode(id_="n", text="word " * 200, embedding=[1.0], metadata={"kind": "unmistakable"})
    one.relationships[NodeRelationship.SOURCE] = source
    store.add([one])
    stored = client.hgetall(f"ragknn:{index_name}:p:{{d}}:0")
    assert stored[b"metadata"].count(b"unmistakable") == 1
    # In order by their names: the server has the fields of a hash in none.
    assert sorted(name for name, value in stored.items() if b"word word" in value) == [b"terms", b"text"]
    assert b"class_name" not in stored[b"any"]  # nothing of it can be filtered on, and takes room for it
    [back] = store.get_nodes()
    assert back == one.model_copy(update={"embedding": None})


def test_nodes_that_are_added_again_as_they_were_are_not_written(store, commands):
    store.add(nodes())
    with commands as sent:
        store.add(nodes())
    assert [words for words in sent if words[0] == "EVAL"] == []


metadata = st.dictionaries(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=5).filter(lambda key: key != "label"),
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**60), 2**60)
        | st.floats(allow_nan=False, allow_infinity=False)
        # what JSON cannot tell apart from other text is for the tests of metadata
        | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=2), inner, max_size=2),
        max_leaves=4,
    ),
    max_size=4,
)
related = st.builds(
    RelatedNodeInfo,
    node_id=st.text("xyz", min_size=1),
    node_type=st.sampled_from(ObjectType) | st.none(),
    metadata=metadata,
    hash=st.none() | st.text("0123"),
)
relationships = st.fixed_dictionaries(
    {},
    optional={
        NodeRelationship.SOURCE: related,
        NodeRelationship.PREVIOUS: related,
        NodeRelationship.NEXT: related,
        NodeRelationship.PARENT: related,
        NodeRelationship.CHILD: st.lists(related, max_size=2),
    },
)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
numbers = count()


@settings(max_examples=40)
@given(
    st.builds(
        TextNode,
        text=texts,
        metadata=metadata,
        relationships=relationships,
        start_char_idx=st.none() | st.just(3),
        end_char_idx=st.integers(0, 40),
        excluded_llm_metadata_keys=st.lists(texts, max_size=2),
        metadata_separator=texts,
        mimetype=st.sampled_from(["text/plain", "text/html"]),
    )
    | st.builds(Document, text=texts, metadata=metadata, relationships=relationships)
    | st.builds(IndexNode, text=texts, metadata=metadata, index_id=texts)
)
def test_any_node_comes_back_equal(shared_store, drawn):
    drawn.id_ = f"n{next(numbers)}"
    drawn.embedding = [1.0, 2.0]
    shared_store.add([drawn])
    [back] = shared_store.get_nodes([drawn.id_])
    assert type(back) is type(drawn)
    assert back == drawn.model_copy(update={"embedding": None})
    found = shared_store.query(VectorStoreQuery([1.0, 2.0], 1000), with_vectors=True)
    assert dict(zip(found.ids, found.nodes, strict=True))[drawn.id_] == drawn


@pytest.fixture(scope="module")
def shared_store(redis_url):
    """A store for many examples."""
    with_vectors = RagKNNVectorStore("test-llama-index-any-node", url=redis_url, label_key=None)
    yield with_vectors
    with_vectors.index.drop()


# ---- an index that is there ------------------------------------------------------------------------------------


def test_an_index_that_ragknn_built_is_a_store(redis_url, index_name, embedder):
    documents = [
        ragknn.Document("a", "Red apples are sweet. " * 20, "fruit", {"year": 2020, "author": {"name": "Ann"}}),
        ragknn.Document("b", "Fast cars.", "traffic", {"year": 2021}),
    ]
    with Index(index_name, url=redis_url, embedder=embedder, fields={"year": "numeric"}) as index:
        ragknn.Indexer(index, ragknn.Splitter(size=20, overlap=0)).add(documents)
        store = RagKNNVectorStore.from_index(index)
        first, *others = store.get_nodes()
        assert (first.node_id, first.ref_doc_id, first.metadata["label"], first.metadata["year"]) == (
            *("a#0", "a", "fruit", 2020),
        )
        assert documents[0].text[first.start_char_idx : first.end_char_idx] == first.text
        assert {one.ref_doc_id for one in others} == {"a", "b"}
        by_vector = VectorStoreIndex.from_vector_store(store, embed_model=RagKNNEmbedding(embedder)).as_retriever()
        [nearest, *_] = by_vector.retrieve("red apples are sweet")
        assert nearest.node.text == Retriever(index).retrieve("red apples are sweet")[0].passage.text
        words_alone = store.query(VectorStoreQuery(query_str="fast cars", similarity_top_k=1))
        assert words_alone.ids == ["b#0"]  # embedded by the index
        assert store.query(VectorStoreQuery(query_str="cars", similarity_top_k=3, node_ids=["a#1", "b#0"])).ids == [
            *("b#0", "a#1"),
        ]
        assert [one.node_id for one in store.get_nodes(filters=only(("year", "GT", 2020)))] == ["b#0"]
        store.delete_nodes(["a#1"])
        assert "a#1" not in [one.node_id for one in store.get_nodes()]
        assert [one.node_id for one in asyncio.run(store.aget_nodes(["b#0"]))] == ["b#0"]
        store.close()
        assert index.count_documents() == 2  # it is not the store's to close


def test_a_store_of_an_async_index_works_in_both_worlds(redis_url, index_name):
    RagKNNVectorStore(index_name, url=redis_url).add(nodes())
    store = RagKNNVectorStore.from_index(AsyncIndex(index_name, url=redis_url))
    assert len(asyncio.run(store.aget_nodes())) == len(store.get_nodes()) == 6
    with pytest.raises(TypeError, match="expected index of type AsyncIndex, got the str"):
        RagKNNVectorStore.from_index(index_name)


# ---- what belongs to the store alone ---------------------------------------------------------------------------


def test_a_store_of_a_tenant_sees_and_changes_nothing_of_others(redis_url, index_name):
    settings = {"url": redis_url, "fields": {"tenant": "tag"}, "required_filter": "tenant"}
    ann, bob = (RagKNNVectorStore(index_name, where={"tenant": name}, **settings) for name in ("ann", "bob"))
    for name, store in (("ann", ann), ("bob", bob)):
        store.add(
            [node(f"{name}-1", name, "secret", (1,), tenant=name), node(f"{name}-2", name, "x", (0, 1), tenant=name)]
        )
    assert sorted(one.node_id for one in ann.get_nodes()) == ["ann-1", "ann-2"]
    assert ids_of(asked(bob, (1.0,), k=1)) == ["bob-1"]
    assert ids_of(asked(ann, (1.0,), filters=only(("tenant", "EQ", "bob")))) == []
    assert ids_of(asked(ann, (1.0,), kwargs={"where": {"tenant": "bob"}})) == []
    assert ids_of(asked(ann, (1.0,), node_ids=["bob-1", "ann-1"])) == ["ann-1"]
    bob.delete("ann")
    bob.delete_nodes(["ann-1"])
    bob.clear()
    assert (len(ann.get_nodes()), len(bob.get_nodes())) == (2, 0)
    with pytest.raises(ValueError, match="expected a filter on 'tenant', which this index requires"):
        RagKNNVectorStore(index_name, url=redis_url).get_nodes()


def test_nothing_connects_before_the_first_call_and_a_dump_has_no_secret(monkeypatch):
    store = RagKNNVectorStore(
        "later", url="redis://ann:secret@nowhere:1/2", fields={"year": "numeric"}, algorithm="hnsw"
    )
    dumped = store.to_dict()
    assert (dumped["url"], dumped["algorithm"], dumped["fields"]) == (
        "redis://ann@nowhere:1/2",
        "hnsw",
        {"year": "numeric"},
    )
    assert store.client is None
    assert "secret" not in json.dumps(dumped) + store.to_json() + repr(store) + str(store)
    assert b"secret" not in pickle.dumps(store)
    for twin in (RagKNNVectorStore.from_dict(dumped), RagKNNVectorStore.from_json(store.to_json())):
        assert twin.to_dict() == dumped
    assert pickle.loads(pickle.dumps(store)).to_dict() == dumped
    assert copy.deepcopy(store).index is store.index


def test_a_pickled_store_connects_by_itself(store):
    store.add(nodes())
    twin = pickle.loads(pickle.dumps(store))
    assert len(twin.get_nodes()) == 6
    assert len(asyncio.run(twin.aget_nodes())) == 6
    twin.close()


def test_a_storage_context_keeps_its_other_stores_and_this_one_stays_where_it_is(store, tmp_path):
    context = StorageContext.from_defaults(vector_store=store)
    index = VectorStoreIndex(nodes(), storage_context=context, embed_model=RagKNNEmbedding(ragknn.HashingEmbedder(8)))
    context.persist(tmp_path)
    assert len(index.as_retriever(similarity_top_k=10).retrieve("the red apple")) == 6


def test_nodes_of_objects_that_an_index_lists_hide_no_others(store):
    """LlamaIndex names them in each query of an index in which there are some."""
    inner = IndexNode(id_="o", text="a table", index_id="table")
    index = VectorStoreIndex(
        [*nodes(), inner],
        storage_context=StorageContext.from_defaults(vector_store=store),
        embed_model=RagKNNEmbedding(ragknn.HashingEmbedder(8)),
    )
    assert len(index.as_retriever(similarity_top_k=10).retrieve("apple")) == 7


# ---- queries ---------------------------------------------------------------------------------------------------


def test_filters_in_front_of_others_leave_fewer_values_to_look_at(store, commands):
    """A part of a text is looked for among the values of what the other filters find."""
    store.add(nodes())
    filters = only(("maker", "TEXT_MATCH", "mb"), ("year", "EQ", 2021))
    with commands as sent:
        assert [one.node_id for one in store.get_nodes(filters=filters)] == ["b1"]
    [aggregation, _] = [words for words in sent if words[0] == "FT.AGGREGATE"]
    assert "@year:[$w0" in " ".join(aggregation)


def test_a_query_is_one_round_trip_of_commands_for_filters_that_are_looked_up(store, commands):
    store.add(nodes())
    filters = only(("genre", "EQ", "fruit"), ("year", "GT", 2019))
    with commands as sent:
        assert len(asked(store, filters=filters).ids) == 3
    assert [words[0] for words in sent if words[0] != "FT.INFO"] == ["FT.SEARCH"]  # which looks whether it is built


def test_parts_of_a_text_that_is_declared_as_text_are_words(redis_url, index_name):
    store = RagKNNVectorStore(index_name, url=redis_url, fields={"title": "text", "year": "numeric"})
    store.add([node("a", "a", "x", (1,), title="Password reset", year=1), node("b", "b", "x", (1,), title="Passwords")])
    for operator in ("TEXT_MATCH", "TEXT_MATCH_INSENSITIVE", "CONTAINS"):
        assert [one.node_id for one in store.get_nodes(filters=only(("title", operator, "password")))] == ["a"]
    for key, operator, value, message in [
        ("title", "EQ", "x", "expected an operator on text"),
        ("title", "GT", 3, "expected the name|expected an operator|expected a tag or numeric"),
        ("year", "TEXT_MATCH", "x", "expected a field of text with TEXT_MATCH, got one declared as numeric"),
        ("year", "EQ", "soon", "year"),
        ("genre", "IN", "fruit", "expected a list of values with IN, got 'fruit'"),
        ("genre", "EQ", ["fruit"], "expected one value with EQ"),
        ("year", "GT", None, "expected one value with GT, got None"),
        ("genre", "TEXT_MATCH", "", "expected a str that is not empty"),
    ]:
        with pytest.raises(ValueError, match=message):
            store.get_nodes(filters=only((key, operator, value)))
    with pytest.raises(TypeError, match="expected MetadataFilters, got"):
        store.get_nodes(filters={"genre": "fruit"})


VALUES = [None, 1, 2, 2.5, True, "a", "ab", "B", ["a", "b"], [1], []]
OPERATORS = ["EQ", "NE", "GT", "LTE", "IN", "NIN", "ANY", "ALL", "CONTAINS", "TEXT_MATCH", "IS_EMPTY"]


def matches(operator, value, stored):
    """What LlamaIndex's own filters say of one stored value, where they are not an error; a list has each element."""
    several = stored if isinstance(stored, list) else [] if stored is None else [stored]
    ordered = [one for one in several if isinstance(one, int | float) and isinstance(value, int | float)]
    ordered += [one for one in several if isinstance(one, str) and isinstance(value, str)]
    return {
        "EQ": lambda: value in several,
        "NE": lambda: value not in several,
        "GT": lambda: any(one > value for one in ordered),
        "LTE": lambda: any(one <= value for one in ordered),
        "IN": lambda: any(one in value for one in several),
        "ANY": lambda: any(one in value for one in several),
        "NIN": lambda: not any(one in value for one in several),
        "ALL": lambda: all(one in several for one in value),
        "CONTAINS": lambda: value in several,
        "TEXT_MATCH": lambda: any(isinstance(one, str) and value in one for one in several),
        "IS_EMPTY": lambda: stored in (None, "", []),
    }[operator]()


single = st.sampled_from([1, 2, 3, 2.5, "a", "ab", "z"])
conditions = st.one_of(
    st.tuples(st.just("x"), st.sampled_from(["EQ", "NE", "GT", "LTE", "CONTAINS", "IS_EMPTY"]), single),
    st.tuples(st.just("x"), st.just("TEXT_MATCH"), st.sampled_from(["a", "b", "ab"])),
    st.tuples(
        st.just("x"),
        st.sampled_from(["IN", "NIN", "ANY", "ALL"]),
        st.lists(st.sampled_from([1, 2, 3]), min_size=1) | st.lists(st.sampled_from(["a", "ab", "z"]), min_size=1),
    ),
)
groups = st.recursive(
    conditions,
    lambda inner: st.tuples(st.sampled_from(["and", "or", "not"]), st.lists(inner, min_size=1, max_size=3)),
    max_leaves=5,
)


def as_filters(group):
    if isinstance(group[1], str):
        key, operator, value = group
        return MetadataFilter(key=key, operator=FilterOperator[operator], value=value)
    condition, inner = group
    return MetadataFilters(filters=[as_filters(one) for one in inner], condition=condition)


def holds(group, stored):
    if isinstance(group[1], str):
        return matches(group[1], group[2], stored)
    condition, inner = group
    found = [holds(one, stored) for one in inner]
    return {"and": all, "or": any, "not": lambda several: not any(several)}[condition](found)


@settings(max_examples=60)
@given(groups)
def test_filters_find_what_they_say(filter_store, group):
    expected = {f"v{number}" for number, stored in enumerate(VALUES) if holds(group, stored)}
    made = as_filters(group)
    made = made if isinstance(made, MetadataFilters) else MetadataFilters(filters=[made])
    assert {one.node_id for one in filter_store.get_nodes(filters=made)} == expected


@pytest.fixture(scope="module")
def filter_store(redis_url):
    """A store with a node for each of `VALUES` under the key x."""
    store = RagKNNVectorStore("test-llama-index-filters", url=redis_url)
    several = [node(f"v{number}", None, "t", (1,), other=1) for number in range(len(VALUES))]
    for one, value in zip(several, VALUES, strict=True):
        one.metadata |= {} if value is None else {"x": value}
    store.add(several)
    yield store
    store.index.drop()


def test_options_of_ragknn_go_along_with_a_query(store):
    store.add(nodes())
    near = asked(store, kwargs={"max_distance": 0.1})
    assert near.ids == ["a1", "a2"]
    assert asked(store, kwargs={"where": {"genre": "traffic"}}).ids == ["c2", "c1"]
    reranked = asked(
        store, k=2, query_str="x", kwargs={"rerank": lambda query, passages: [len(one.text) for one in passages]}
    )
    assert (reranked.ids[0], reranked.similarities[0]) == ("c1", 21)
    with pytest.raises(TypeError, match="expected options among"):
        asked(store, kwargs={"top": 3})
    with pytest.raises(ValueError, match="expected either mmr_prefetch_factor or mmr_prefetch_k"):
        asked(store, mode=VectorStoreQueryMode.MMR, kwargs={"mmr_prefetch_factor": 2, "mmr_prefetch_k": 3})
    assert len(asked(store, k=2, mode=VectorStoreQueryMode.MMR, kwargs={"mmr_prefetch_factor": 3}).ids) == 2
    [sparse, text] = (
        asked(store, None, query_str="green pear", mode=mode, sparse_top_k=1)
        for mode in (VectorStoreQueryMode.SPARSE, VectorStoreQueryMode.TEXT_SEARCH)
    )
    assert sparse.ids == text.ids[:1] == ["b1"]
