"""Every public operation on a cluster, in both worlds, beside the same on one server."""

import asyncio
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import redis
from clusters import slot_of
from sklearn.datasets import make_blobs
from sklearn.neighbors import KNeighborsClassifier as Reference

import ragknn
from ragknn import (
    AsyncIndex,
    AsyncRetriever,
    Document,
    HashingEmbedder,
    Index,
    Indexer,
    Retriever,
    Splitter,
    aexport_parquet,
    aimport_parquet,
    alist_indexes,
    export_parquet,
    import_parquet,
    list_indexes,
)
from ragknn.estimators import KNeighborsClassifier

WORDS = Splitter(12, 0, unit="words")
TOPICS = ("billing", "accounts", "shipping")
FIELDS = {"year": "numeric", "source": "tag"}


def text_of(number):
    topic = TOPICS[number % 3]
    return " ".join(
        f"{topic} question {number} has word{number * 7 % 50} in part {part}" for part in range(number % 4 + 1)
    )


DOCUMENTS = [
    Document(f"d{number}", text_of(number), TOPICS[number % 3], {"year": 2000 + number % 9, "source": f"s{number % 4}"})
    for number in range(90)
]
QUERIES = [text_of(number) for number in (4, 40, 77)]


@pytest.fixture(scope="module")
def embedder():
    return HashingEmbedder(48)


@pytest.fixture(scope="module")
def single(redis_url, embedder):
    """The same documents on one server."""
    with Index("beside-a-cluster", url=redis_url, embedder=embedder, fields=FIELDS) as index:
        Indexer(index, WORDS).sync(DOCUMENTS)
        yield index
        index.drop()


@pytest.fixture(scope="module")
def filled(bed, embedder):
    """Name of an index that is only read."""
    with Index("filled", url=bed.url, embedder=embedder, fields=FIELDS) as index:
        Indexer(index, WORDS).sync(DOCUMENTS)
    return "filled"


def pairs(retrieval):
    return sorted((round(one.distance, 4), one.passage.id) for one in retrieval)


def test_an_index_from_its_making_to_its_end(faces, bed, name, left, embedder):
    with faces.index(name, url=bed.url, embedder=embedder, fields=FIELDS) as index:
        assert (index.server.cluster, index.server.primaries) == (True, 3)
        indexer = faces.indexer(index, WORDS)
        assert indexer.sync(DOCUMENTS).added == len(DOCUMENTS)
        assert indexer.sync(DOCUMENTS).unchanged == len(DOCUMENTS)
        assert index.count_documents() == len(DOCUMENTS)
        assert sorted(one.id for one in index.documents()) == sorted(one.id for one in DOCUMENTS)
        assert {one.id: one.text for one in index.documents()} == {one.id: one.text for one in DOCUMENTS}
        assert len(list(index.passages())) == index.count()
        assert index.exists(["d3", "nobody", "d88"]) == [True, False, True]
        assert index.values("label") == dict.fromkeys(TOPICS, 30)
        assert index.values("document_id") == {one.id: 1 for one in DOCUMENTS}
        assert index.value_range("year") == (2000, 2008)
        assert index.describe().passages == index.count()
        assert faces.call(list_indexes, alist_indexes, bed.url).count(name) == 1
        assert index.drop() == len(DOCUMENTS)
    assert left(name) == []


def test_documents_are_replaced_changed_and_deleted_whole(faces, bed, name, left, embedder):
    with faces.index(name, url=bed.url, embedder=embedder, fields=FIELDS) as index:
        indexer = faces.indexer(index, WORDS)
        indexer.add(DOCUMENTS)
        shorter = [Document(one.id, one.text[:30], one.label, {"year": 1999}) for one in DOCUMENTS[:40]]
        assert indexer.add(shorter).updated == 40
        assert {one.id: one.text for one in index.documents(["d3", "d39", "d40"])} == {
            "d3": shorter[3].text,
            "d39": shorter[39].text,
            "d40": DOCUMENTS[40].text,
        }
        assert index.count({"year": 1999}) == 40
        assert indexer.delete(["d0", "d1", "nobody"]) == 2
        assert indexer.delete_where({"label": "shipping"}) == 30
        indexer.sync(DOCUMENTS[45:])
        assert index.count_documents() == 45
        assert {one.id: one.text for one in index.documents()} == {one.id: one.text for one in DOCUMENTS[45:]}
        index.drop()
    assert left(name) == []


def test_searches_find_what_one_server_finds(faces, bed, filled, single, embedder):
    beside = Retriever(single)
    with faces.index(filled, url=bed.url, embedder=embedder) as index:
        retriever = faces.retriever(index)
        for query in QUERIES:
            for options in ({}, {"where": {"year": {"$gte": 2005}}}, {"where": {"source": {"$in": ["s1", "s2"]}}}):
                assert pairs(retriever.retrieve(query, k=10, **options)) == pairs(
                    beside.retrieve(query, k=10, **options)
                )
            within = {"k": None, "max_distance": 0.8}
            assert pairs(retriever.retrieve(query, **within)) == pairs(beside.retrieve(query, **within))
            assert retriever.retrieve(query, k=5, diversity=0.5, per_document=1).complete
        many = retriever.retrieve_many(QUERIES * 20, k=7)
        assert list(map(pairs, many)) == list(map(pairs, beside.retrieve_many(QUERIES * 20, k=7)))
        vectors = embedder.embed_queries(QUERIES)
        near = list(map(pairs, retriever.kneighbors(vectors, k=9)))
        assert near == list(map(pairs, beside.kneighbors(vectors, k=9)))


@pytest.mark.parametrize("mode", ["text", "hybrid"])
def test_words_are_found_on_all_nodes(faces, bed, filled, single, embedder, mode):
    beside = Retriever(single)
    with faces.index(filled, url=bed.url, embedder=embedder) as index:
        retriever = faces.retriever(index)
        for query in ("word14", "shipping word7", "billing"):
            found = {one.passage.id for one in retriever.retrieve(query, k=300, mode=mode)}
            assert found == {one.passage.id for one in beside.retrieve(query, k=300, mode=mode)}
            narrowed = retriever.retrieve(query, k=300, mode=mode, where={"year": 2003})
            assert {one.passage.metadata["year"] for one in narrowed} <= {2003}


def test_words_that_are_names_of_arguments_are_found(faces, bed, name, left, embedder):
    texts = ["return it within the limit", "the format of a timeout", "a dialect, sortby and verbatim", "shipping"]
    documents = [Document(str(n), text, metadata={"body": text}) for n, text in enumerate(texts)]
    with faces.index(name, url=bed.url, embedder=embedder, fields={"body": "text"}) as index:
        faces.indexer(index, WORDS).add(documents)
        retriever = faces.retriever(index)
        for word in ("return", "Limits", "format", "timeout", "dialect", "sortby", "verbatim"):
            own = next(text for text in texts if word.lower().removesuffix("s") in text)
            options = ({"mode": "text"}, {"mode": "text", "where": {"body": {"$contains": own}}}, {"mode": "hybrid"})
            for option in options:
                assert retriever.retrieve(word, k=4, **option).passages[0].text == own
            [found] = retriever.retrieve("shipping", k=4, where={"body": {"$contains": own}}).passages
            assert found.text == own
            assert index.count({"body": {"$contains": own}}) == index.count_documents({"body": {"$contains": own}}) == 1
        index.drop()
    assert left(name) == []


def test_contexts_and_votes(faces, bed, filled, single, embedder):
    with faces.index(filled, url=bed.url, embedder=embedder) as index:
        retriever = faces.retriever(index)
        retrieval = retriever.retrieve(QUERIES[0], k=3)
        context = faces.call(
            ragknn.build_context, ragknn.abuild_context, retrieval, faces.bare(index), budget=2000, window=1
        )
        beside = ragknn.build_context(Retriever(single).retrieve(QUERIES[0], k=3), single, budget=2000, window=1)
        assert context.text == beside.text
        voter = faces.voter(retriever, k=5)
        votes = [voter.vote(query).label for query in QUERIES]
        assert votes == [ragknn.LabelVoter(Retriever(single), k=5).vote(query).label for query in QUERIES]


def test_checks_find_and_mend(faces, bed, name, embedder):
    with faces.index(name, url=bed.url, embedder=embedder) as index:
        indexer = faces.indexer(index, WORDS)
        indexer.add(DOCUMENTS[:20])
        key = f"ragknn:{name}:p:{{d3}}:1"
        assert bed.owner(slot_of(key))("DEL", key) == 1
        assert list(index.check().missing) == ["d3"]
        index.check(repair=True)
        indexer.add(DOCUMENTS[:20])
        assert not index.check().counts["missing"]
        index.drop()


@pytest.mark.parametrize("changes", [{"algorithm": "hnsw"}, {"dtype": "float16"}])
def test_an_index_is_rebuilt_while_it_serves(faces, bed, name, left, embedder, changes):
    with faces.index(name, url=bed.url, embedder=embedder) as index:
        faces.indexer(index, WORDS).add(DOCUMENTS)
        before = faces.retriever(index).retrieve(QUERIES[0], k=5).passages
        index.rebuild(**changes)
        assert {key: getattr(index.schema, key) for key in changes} == changes
        assert index.count_documents() == len(DOCUMENTS)
        after = faces.retriever(index).retrieve(QUERIES[0], k=5).passages
        assert {one.id for one in after} == {one.id for one in before}
        index.drop()
    assert left(name) == []


def test_an_index_is_embedded_anew_and_gets_fields(faces, bed, name, left, embedder):
    with faces.index(name, url=bed.url, embedder=embedder) as index:
        faces.indexer(index, WORDS).add(DOCUMENTS)
        index.reembed(HashingEmbedder(32))
        assert index.schema.dim == 32
        assert index.add_fields({"year": "numeric"}).updated == len(DOCUMENTS)
        assert index.count({"year": {"$lt": 2003}}) > 0
        index.drop()
    assert left(name) == []


def test_an_index_travels_as_a_file(faces, bed, name, filled, embedder, tmp_path):
    path = tmp_path / "index.parquet"
    with faces.index(filled, url=bed.url, embedder=embedder) as index:
        faces.call(export_parquet, aexport_parquet, index, path)
    faces.call(import_parquet, aimport_parquet, path, name, url=bed.url)
    with Index(name, url=bed.url, embedder=embedder) as index, Index(filled, url=bed.url, embedder=embedder) as other:
        assert list(index.documents()) == list(other.documents())
        index.drop()


def test_estimators_are_those_of_scikit_learn(bed, name, left):
    X, y = make_blobs(n_samples=300, centers=4, n_features=6, cluster_std=6.0, random_state=0)
    X = X.astype(np.float32)
    mine = KNeighborsClassifier(5, index=name, url=bed.url).fit(X[:250], y[:250])
    reference = Reference(5, algorithm="brute").fit(X[:250], y[:250])
    assert (mine.predict(X[250:]) == reference.predict(X[250:])).all()
    mine.fit(X[:100], y[:100])
    assert (mine.predict(X[250:]) == reference.fit(X[:100], y[:100]).predict(X[250:])).all()
    with Index(name, url=bed.url) as index:
        assert index.count() == 100
        index.drop()
    assert left(name) == []


def test_estimators_go_through_a_client_too(bed, left):
    X, y = make_blobs(n_samples=60, centers=2, n_features=3, random_state=0)
    with redis.RedisCluster(host="127.0.0.1", port=bed.primaries[0].proxy, protocol=3) as client:
        mine = KNeighborsClassifier(3, client=client).fit(X, y)
        own = mine._rows.name
        copied = pickle.loads(pickle.dumps(mine))
        assert (copied.predict(X) == mine.predict(X)).all()
        del mine, copied
        assert left(own) == []


def test_threads_share_an_index(bed, filled, embedder):
    with Index(filled, url=bed.url, embedder=embedder) as index, ThreadPoolExecutor(8) as pool:
        retriever = Retriever(index)
        expected = [pairs(retriever.retrieve(query, k=5)) for query in QUERIES]
        found = pool.map(lambda number: pairs(retriever.retrieve(QUERIES[number % 3], k=5)), range(120))
        assert all(one == expected[number % 3] for number, one in enumerate(found))


def test_tasks_share_an_index(bed, filled, embedder):
    async def ask():
        async with AsyncIndex(filled, url=bed.url, embedder=embedder) as index:
            retriever = AsyncRetriever(index)
            expected = [pairs(await retriever.retrieve(query, k=5)) for query in QUERIES]
            found = await asyncio.gather(*(retriever.retrieve(QUERIES[number % 3], k=5) for number in range(60)))
            assert all(pairs(one) == expected[number % 3] for number, one in enumerate(found))

    asyncio.run(ask())


def test_an_estimator_takes_its_index_with_it(bed, left):
    X, y = make_blobs(n_samples=60, centers=2, n_features=3, random_state=0)
    mine = KNeighborsClassifier(3, url=bed.url).fit(X, y)
    own = mine._rows.name
    assert left(own)
    del mine
    assert left(own) == []
