"""What LlamaIndex's users expect of a vector store, as cases that any store can be put to; there is no official suite.

A case is a function of one that makes an empty store; it raises where something is not as expected. Run as a program,
it puts LlamaIndex's own store for Redis to them, in an environment that has it, and prints which it passes:

    PYTHONPATH=.:tests python -m llama_index_cases
"""

import asyncio
import contextlib
import math
import traceback
from collections.abc import Callable

import numpy as np
import pytest
from llama_index.core import Document, MockEmbedding, StorageContext, VectorStoreIndex
from llama_index.core.ingestion import DocstoreStrategy, IngestionPipeline
from llama_index.core.llms import MockLLM
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import ImageNode, IndexNode, NodeRelationship, ObjectType, RelatedNodeInfo, TextNode
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.core.vector_stores.types import (
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
)

DIM = 8
# The fields that cases filter on, for stores that must know them beforehand.
FIELDS = {"genre": "tag", "tags": "tag", "maker": "tag", "year": "numeric", "rating": "numeric"}

CASES: dict[str, Callable] = {}
FILTER_CASES: set[str] = set()


def case(function):
    CASES[function.__name__] = function
    return function


def filter_case(function):
    FILTER_CASES.add(function.__name__)
    return case(function)


def node(name, document, text, vector, **metadata):
    relationships = {}
    if document is not None:
        source = RelatedNodeInfo(node_id=document, node_type=ObjectType.DOCUMENT, metadata={"from": document}, hash="h")
        relationships[NodeRelationship.SOURCE] = source
    embedding = [*map(float, vector), *[0.0] * (DIM - len(vector))]
    return TextNode(id_=name, text=text, embedding=embedding, metadata=metadata, relationships=relationships)


def nodes():
    fruit, traffic = {"genre": "fruit"}, {"genre": "traffic"}
    return [
        node("a1", "apples", "the red apple", (1, 0, 0.1), **fruit, year=2020, rating=4.5),
        node("a2", "apples", "apples are sweet", (0.9, 0.2, 0), **fruit, year=2020, rating=4.0),
        node("b1", "pears", "a green pear", (0.6, 0.6, 0), **fruit, year=2021, maker="umbra"),
        node("c1", "cars", "fast cars on the road", (0, 1, 0.2), **traffic, year=2022, maker=""),
        node("c2", "cars", "slow trains", (0.1, 0.8, 0.7), **traffic, year=2023, maker="Umbra, Co | x"),
        node("d1", None, "a stone", (0, 0, 1)),
    ]


def filled(make):
    store = make()
    store.add(nodes())
    return store


def tagged(make):
    """Return a store of the nodes with lists among their metadata."""
    tags = {"a1": ["red", "sweet"], "a2": ["sweet"], "b1": ["green"], "c1": ["red", "fast"], "c2": []}
    store, several = make(), nodes()
    for one in several[:5]:
        one.metadata["tags"] = tags[one.node_id]
    store.add(several)
    return store


def asked(store, vector=(1.0, 0.0, 0.1), k=10, kwargs=None, **query):
    """Return the result of a query, with the ids of its nodes as they have them: some stores give keys of Redis."""
    embedding = None if vector is None else [*vector, *[0.0] * (DIM - len(vector))]
    result = store.query(VectorStoreQuery(query_embedding=embedding, similarity_top_k=k, **query), **(kwargs or {}))
    result.ids = ids_of(result)
    return result


def ids_of(result):
    return [one.node_id for one in result.nodes or []]


def refused(call):
    """Return what a call that must fail says."""
    with pytest.raises(Exception, match=r".") as failed:
        call()
    return str(failed.value)


def only(*conditions, condition="and"):
    """Return filters of (key, operator, value), or of filters."""
    made = [one if isinstance(one, MetadataFilters) else _filter(*one) for one in conditions]
    return MetadataFilters(filters=made, condition=condition)


def _filter(key, operator, value):
    return MetadataFilter(key=key, operator=FilterOperator[operator], value=value)


def found(store, filters, **query):
    """Return the ids that filters find in a query, which must be those that they find in a read."""
    ids = sorted(asked(store, filters=filters, **query).ids)
    assert sorted(one.node_id for one in store.get_nodes(filters=filters)) == ids
    return " ".join(ids)


# ---- nodes -----------------------------------------------------------------------------------------------------


@case
def add_returns_the_ids_in_order(make):
    assert make().add(nodes()) == ["a1", "a2", "b1", "c1", "c2", "d1"]
    assert make().add([]) == []


@case
def nodes_come_back_as_they_were_stored(make):
    store, stored = make(), nodes()
    stored[0].relationships[NodeRelationship.NEXT] = RelatedNodeInfo(node_id="a2", metadata=dict(stored[0].metadata))
    stored[0].relationships[NodeRelationship.CHILD] = [RelatedNodeInfo(node_id="x"), RelatedNodeInfo(node_id="y")]
    stored[0].start_char_idx, stored[0].end_char_idx = 3, 16
    stored[1].excluded_embed_metadata_keys = ["year"]
    stored[1].excluded_llm_metadata_keys = ["genre"]
    stored[1].metadata_template, stored[1].text_template = "{key}={value}", "{content} ({metadata_str})"
    stored[2].metadata = {"z": 1, "a": {"deep": [1, 2.5, None, True]}, "n": None, "é": "ü\n"}
    store.add(stored)
    back = {one.node_id: one for one in asked(store).nodes}
    for one in stored:
        assert back[one.node_id].model_copy(update={"embedding": one.embedding}) == one
        assert back[one.node_id].hash == one.hash
        assert back[one.node_id].get_content("llm") == one.get_content("llm")


@case
def nodes_of_images_and_of_other_objects_keep_their_class(make):
    store = make()
    image = ImageNode(id_="i", text="a picture", image_url="http://host/p.png", embedding=[1.0] * DIM)
    index = IndexNode(id_="o", text="a table", index_id="table", obj=TextNode(text="x"), embedding=[0.5] * DIM)
    store.add([image, index])
    back = {one.node_id: one for one in asked(store).nodes}
    assert (type(back["i"]), back["i"].image_url) == (ImageNode, "http://host/p.png")
    assert (type(back["o"]), back["o"].index_id, back["o"].obj.text) == (IndexNode, "table", "x")


@case
def nodes_are_read_by_their_ids(make):
    store = filled(make)
    assert {one.node_id for one in store.get_nodes(["c1", "nobody", "a1"])} == {"a1", "c1"}
    assert store.get_nodes(["c1"])[0].text == "fast cars on the road"


@case
def a_node_replaces_that_of_its_id(make):
    store = filled(make)
    store.add([node("a1", "apples", "an old apple", (0, 0, 0, 1), genre="relic", year=1900)])
    assert [one.text for one in store.get_nodes(["a1"])] == ["an old apple"]
    assert found(store, only(("genre", "EQ", "fruit"))) == "a2 b1"
    assert found(store, only(("rating", "GT", 0.0))) == "a2"


@case
def a_document_is_deleted_with_all_its_nodes(make):
    store = filled(make)
    store.delete("apples")
    store.delete("nobody")
    assert sorted(asked(store).ids) == ["b1", "c1", "c2", "d1"]


@case
def nodes_are_deleted_by_their_ids(make):
    store = filled(make)
    store.delete_nodes(["a1", "c2", "nobody"])
    assert sorted(asked(store).ids) == ["a2", "b1", "c1", "d1"]


@case
def nodes_are_deleted_by_filters(make):
    store = filled(make)
    store.delete_nodes(filters=only(("genre", "EQ", "fruit"), ("year", "LT", 2021)))
    assert sorted(asked(store).ids) == ["b1", "c1", "c2", "d1"]


@case
def everything_is_cleared_and_the_store_can_be_used_again(make):
    store = filled(make)
    store.clear()
    assert list(asked(store).ids) == []
    store.add(nodes()[:1])
    assert list(asked(store).ids) == ["a1"]


# ---- queries ---------------------------------------------------------------------------------------------------


@case
def the_nearest_come_first(make):
    store, query = filled(make), np.array((1.0, 0.0, 0.1))
    vectors = {one.node_id: np.array(one.embedding[:3]) for one in nodes()}
    cosine = {name: row @ query / np.linalg.norm(row) / np.linalg.norm(query) for name, row in vectors.items()}
    expected = sorted(cosine, key=cosine.__getitem__, reverse=True)
    assert list(asked(store).ids) == expected
    assert list(asked(store, k=2).ids) == expected[:2]


@case
def a_result_has_the_ids_of_its_nodes(make):
    result = filled(make).query(VectorStoreQuery([1.0] * DIM, 6))
    assert list(result.ids) == ids_of(result)


@case
def similarities_are_from_0_to_1_and_descend(make):
    result = asked(filled(make))
    assert math.isclose(result.similarities[0], 1, abs_tol=1e-6)
    assert list(result.similarities) == sorted(result.similarities, reverse=True)
    assert all(0 <= each <= 1 for each in result.similarities)
    opposite = asked(filled(make), (-1.0, 0.0, -0.1)).similarities
    assert all(0 <= each <= 1 for each in opposite)


@case
def none_are_asked_for_and_none_come(make):
    assert list(asked(filled(make), k=0).ids) == []


@case
def an_empty_store_finds_nothing(make):
    assert list(asked(make()).ids) == []


@case
def a_query_may_name_documents(make):
    assert sorted(asked(filled(make), doc_ids=["cars", "pears"]).ids) == ["b1", "c1", "c2"]


@case
def a_query_may_name_nodes(make):
    assert list(asked(filled(make), node_ids=["c2", "a2", "nobody"]).ids) == ["a2", "c2"]


@case
def words_find_what_has_them(make):
    result = asked(filled(make), None, query_str="green pear", mode=VectorStoreQueryMode.TEXT_SEARCH)
    assert result.ids[0] == "b1"
    assert "d1" not in result.ids
    assert all(0 <= each <= 1 for each in result.similarities)


@case
def hybrid_weighs_vectors_and_words(make):
    def first(alpha):
        return asked(filled(make), query_str="fast cars", mode=VectorStoreQueryMode.HYBRID, alpha=alpha).ids[0]

    assert [first(1.0), first(0.0)] == ["a1", "c1"]


@case
def hybrid_may_be_asked_for_another_number(make):
    result = asked(
        filled(make), query_str="fast cars", k=5, hybrid_top_k=2, mode=VectorStoreQueryMode.HYBRID, alpha=0.5
    )
    assert len(result.ids) == 2
    assert all(0 <= each <= 1 for each in result.similarities)


@case
def mmr_prefers_what_differs(make):
    result = asked(filled(make), k=2, mode=VectorStoreQueryMode.MMR, kwargs={"mmr_threshold": 0.3})
    assert result.ids[0] == "a1"
    assert result.ids[1] not in ("a1", "a2")
    relevant = asked(filled(make), k=2, mode=VectorStoreQueryMode.MMR, kwargs={"mmr_threshold": 1.0})
    assert list(relevant.ids) == ["a1", "a2"]


@case
def a_mode_that_there_is_not_is_an_error(make):
    store = filled(make)
    assert "mode" in refused(lambda: asked(store, mode=VectorStoreQueryMode.SVM))
    assert asked(store).ids


@case
def an_embedding_of_another_size_is_an_error_and_the_next_call_works(make):
    store = filled(make)
    wrong = TextNode(id_="w", text="w", embedding=[1.0] * (DIM + 1))
    for call in (lambda: store.add([wrong]), lambda: store.query(VectorStoreQuery([1.0] * (DIM + 1), 2))):
        assert str(DIM + 1) in refused(call)
    assert len(asked(store).ids) == 6


# ---- filters ---------------------------------------------------------------------------------------------------


@filter_case
def equal_and_unequal(make):
    store = filled(make)
    assert found(store, only(("genre", "EQ", "fruit"))) == "a1 a2 b1"
    assert found(store, only(("year", "EQ", 2021))) == "b1"
    assert found(store, only(("rating", "EQ", 4.5))) == "a1"
    assert found(store, only(("genre", "NE", "fruit"))) == "c1 c2 d1"


@filter_case
def greater_and_less(make):
    store = filled(make)
    assert found(store, only(("year", "GT", 2021))) == "c1 c2"
    assert found(store, only(("year", "GTE", 2021))) == "b1 c1 c2"
    assert found(store, only(("rating", "LT", 4.5))) == "a2"
    assert found(store, only(("rating", "LTE", 4.5))) == "a1 a2"


@filter_case
def one_of_several_texts(make):
    store = filled(make)
    assert found(store, only(("genre", "IN", ["traffic", "music"]))) == "c1 c2"
    assert found(store, only(("genre", "NIN", ["traffic", "music"]))) == "a1 a2 b1 d1"


@filter_case
def one_of_several_numbers(make):
    store = filled(make)
    assert found(store, only(("year", "IN", [2020, 2023]))) == "a1 a2 c2"
    assert found(store, only(("year", "NIN", [2020, 2023]))) == "b1 c1 d1"


@filter_case
def one_of_none(make):
    store = filled(make)
    assert found(store, only(("genre", "IN", []))) == ""
    assert found(store, only(("genre", "NIN", []))) == "a1 a2 b1 c1 c2 d1"


@filter_case
def any_and_all_of_a_list(make):
    store = tagged(make)
    assert found(store, only(("tags", "ANY", ["green", "fast"]))) == "b1 c1"
    assert found(store, only(("tags", "ALL", ["red", "sweet"]))) == "a1"


@filter_case
def a_list_contains(make):
    assert found(tagged(make), only(("tags", "CONTAINS", "red"))) == "a1 c1"


@filter_case
def a_part_of_a_text(make):
    store = filled(make)
    assert found(store, only(("maker", "TEXT_MATCH", "Umbra"))) == "c2"
    assert found(store, only(("maker", "TEXT_MATCH", "mbra"))) == "b1 c2"
    assert found(store, only(("maker", "TEXT_MATCH_INSENSITIVE", "UMBRA"))) == "b1 c2"


@filter_case
def empty_or_missing(make):
    assert found(filled(make), only(("maker", "IS_EMPTY", None))) == "a1 a2 c1 d1"


@filter_case
def an_empty_list(make):
    assert found(tagged(make), only(("tags", "IS_EMPTY", None))) == "c2 d1"


@filter_case
def all_and_any_of_several(make):
    store = filled(make)
    assert found(store, only(("genre", "EQ", "fruit"), ("year", "EQ", 2020))) == "a1 a2"
    assert found(store, only(("genre", "EQ", "traffic"), ("year", "EQ", 2020), condition="or")) == "a1 a2 c1 c2"


@filter_case
def none_of_several(make):
    store = filled(make)
    assert found(store, only(("genre", "EQ", "traffic"), ("year", "EQ", 2020), condition="not")) == "b1 d1"
    assert found(store, only(("genre", "EQ", "fruit"), condition="not")) == "c1 c2 d1"


@filter_case
def groups_within_groups(make):
    store = filled(make)
    late = only(("year", "GTE", 2021), ("rating", "EQ", 4.5), condition="or")
    assert found(store, only(("genre", "EQ", "fruit"), late)) == "a1 b1"
    neither = only(only(("year", "EQ", 2020), ("rating", "GT", 4.2)), ("maker", "IN", ["umbra"]), condition="not")
    assert found(store, only(("genre", "NE", "x"), neither)) == "a2 c1 c2 d1"


@filter_case
def values_mean_themselves(make):
    store = filled(make)
    assert found(store, only(("maker", "EQ", "Umbra, Co | x"))) == "c2"
    assert found(store, only(("maker", "EQ", "Umbra"))) == ""
    assert found(store, only(("genre", "EQ", "Fruit"))) == ""
    assert found(store, only(("maker", "EQ", '*} | (@year:[0 9999]) "'))) == ""


@filter_case
def the_document_can_be_filtered_on(make):
    store = filled(make)
    assert found(store, only(("doc_id", "EQ", "cars"))) == "c1 c2"


@filter_case
def an_entry_that_was_not_declared_is_found_or_an_error(make):
    store = make()
    store.add([node("u", "u", "u", (1, 0), color="blue"), node("v", "v", "v", (0, 1), color="red")])
    with contextlib.suppress(ValueError, TypeError):
        assert list(asked(store, filters=only(("color", "EQ", "blue"))).ids) == ["u"]


@filter_case
def filters_hold_for_words_and_hybrid_too(make):
    store, filters = filled(make), only(("year", "GTE", 2021))
    words = {"query_str": "apple pear cars", "filters": filters}
    assert sorted(asked(store, None, mode=VectorStoreQueryMode.TEXT_SEARCH, **words).ids) == ["b1", "c1"]
    assert sorted(asked(store, mode=VectorStoreQueryMode.HYBRID, alpha=0.5, **words).ids) == ["b1", "c1", "c2"]


# ---- async code ------------------------------------------------------------------------------------------------


@case
def the_async_methods_do_the_same(make):
    store = make()

    async def work():
        assert await store.async_add(nodes()) == [one.node_id for one in nodes()]
        result = await store.aquery(VectorStoreQuery([1.0, *[0.0] * (DIM - 1)], 2))
        assert ids_of(result) == ["a1", "a2"]
        assert [one.text for one in await store.aget_nodes(["c1"])] == ["fast cars on the road"]
        await store.adelete("apples")
        await store.adelete_nodes(["d1"])
        filters = only(("year", "GT", 2020))
        assert sorted(one.node_id for one in await store.aget_nodes(filters=filters)) == ["b1", "c1", "c2"]
        await store.aclear()
        assert ids_of(await store.aquery(VectorStoreQuery([1.0] * DIM, 2))) == []

    asyncio.run(work())


@case
def two_event_loops_use_one_store(make):
    store = filled(make)

    async def first():
        return ids_of(await store.aquery(VectorStoreQuery([1.0, *[0.0] * (DIM - 1)], 1)))[0]

    assert [asyncio.run(first()), asyncio.run(first())] == ["a1", "a1"]


@case
def fifty_queries_at_once_have_each_their_answer(make):
    store = filled(make)
    wanted = [nodes()[number % 6] for number in range(50)]

    async def all_at_once():
        queries = [VectorStoreQuery(one.embedding, 1) for one in wanted]
        return [ids_of(result)[0] for result in await asyncio.gather(*map(store.aquery, queries))]

    assert asyncio.run(all_at_once()) == [one.node_id for one in wanted]


# ---- the rest of LlamaIndex ------------------------------------------------------------------------------------


def documents():
    texts = {"one": "Apples are red. " * 30, "two": "Cars are fast. " * 30, "three": "Stones are grey."}
    return [Document(id_=name, text=text, metadata={"genre": name}) for name, text in texts.items()]


SPLITTING = {"chunk_size": 60, "chunk_overlap": 0}


@case
def an_index_is_built_from_documents_and_answers(make):
    model = MockEmbedding(embed_dim=DIM)
    context = StorageContext.from_defaults(vector_store=make())
    index = VectorStoreIndex.from_documents(
        documents(), storage_context=context, embed_model=model, transformations=[SentenceSplitter(**SPLITTING)]
    )
    assert len(index.as_retriever(similarity_top_k=100).retrieve("apples")) > 5
    answer = index.as_query_engine(llm=MockLLM(), similarity_top_k=2).query("What is red?")
    assert "What is red?" in str(answer)
    assert len(answer.source_nodes) == 2


@case
def an_index_is_opened_from_a_store_and_changed(make):
    store = filled(make)
    index = VectorStoreIndex.from_vector_store(store, embed_model=MockEmbedding(embed_dim=DIM))
    index.insert(Document(id_="new", text="something new"))
    filters = only(("doc_id", "EQ", "new"))
    retriever = index.as_retriever(similarity_top_k=10, filters=filters)
    assert [one.node.ref_doc_id for one in retriever.retrieve("new")] == ["new"]
    index.update_ref_doc(Document(id_="new", text="something else"))
    assert [one.text for one in retriever.retrieve("new")] == ["something else"]
    index.delete_ref_doc("new")
    assert len(index.as_retriever(similarity_top_k=10).retrieve("new")) == 6


def ran(pipeline, several):
    pipeline.run(documents=several)
    by_document = {}
    for one in pipeline.vector_store.query(VectorStoreQuery([0.5] * DIM, 1000)).nodes:
        by_document.setdefault(one.ref_doc_id, []).append(one.text)
    return {name: " ".join(sorted(texts)) for name, texts in by_document.items()}


def pipeline_of(make, strategy):
    return IngestionPipeline(
        transformations=[SentenceSplitter(**SPLITTING), MockEmbedding(embed_dim=DIM)],
        vector_store=make(),
        docstore=SimpleDocumentStore(),
        docstore_strategy=strategy,
    )


@case
def a_pipeline_of_upserts_ends_right(make):
    pipeline, several = pipeline_of(make, DocstoreStrategy.UPSERTS), documents()
    before = ran(pipeline, several)
    assert sorted(before) == ["one", "three", "two"]
    several[1].set_content("Cars are slow.")
    assert ran(pipeline, several) == {**before, "two": "Cars are slow."}
    assert ran(pipeline, several[:1]) == {**before, "two": "Cars are slow."}


@case
def a_pipeline_of_upserts_and_deletions_ends_right(make):
    pipeline, several = pipeline_of(make, DocstoreStrategy.UPSERTS_AND_DELETE), documents()
    before = ran(pipeline, several)
    several[0].set_content("Apples are green.")
    assert ran(pipeline, several[:2]) == {"one": "Apples are green.", "two": before["two"]}


@case
def a_pipeline_without_duplicates_ends_right(make):
    pipeline, several = pipeline_of(make, DocstoreStrategy.DUPLICATES_ONLY), documents()
    before = ran(pipeline, several)
    assert ran(pipeline, documents()) == before


def main():
    """Put LlamaIndex's store for Redis to the cases."""
    from itertools import count
    from tempfile import TemporaryDirectory

    import redis
    import redis.asyncio
    from llama_index.vector_stores.redis import RedisVectorStore
    from redisvl.schema import IndexSchema

    from ragknn import RedisServer

    numbers = count()
    fixed = [{"name": name, "type": "tag"} for name in ("id", "doc_id")]
    vector = {"dims": DIM, "algorithm": "flat", "distance_metric": "cosine"}
    fixed += [{"name": "text", "type": "text"}, {"name": "vector", "type": "vector", "attrs": vector}]
    declared = [{"name": name, "type": kind} for name, kind in FIELDS.items()]

    with TemporaryDirectory() as folder, RedisServer(folder) as server:

        def make():
            number = next(numbers)
            index = {"name": f"i{number}", "prefix": f"p{number}:"}
            schema = IndexSchema.from_dict({"index": index, "fields": fixed + declared})
            clients = (redis.Redis.from_url(server.url), redis.asyncio.Redis.from_url(server.url))
            return RedisVectorStore(schema=schema, redis_client=clients[0], redis_client_async=clients[1])

        passed = 0
        for name, run in CASES.items():
            try:
                run(make)
                passed += 1
                print("passed ", name)
            except (Exception, pytest.fail.Exception) as error:
                last = traceback.extract_tb(error.__traceback__)[-1]
                print("FAILED ", name, f"{type(error).__name__}: {error}"[:150].replace("\n", " "), f"({last.lineno})")
        print(f"{passed} of {len(CASES)} passed")


if __name__ == "__main__":
    main()
