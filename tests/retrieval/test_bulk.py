"""Many searches at once in memory: the same answers as the server's, and what travels for them."""

import itertools

import numpy as np
import pytest
import redis

from ragknn import Document, FunctionEmbedder, Index, Indexer, Retriever, Splitter
from ragknn._protocol import pulling
from ragknn._protocol.flows import Each
from ragknn._protocol.pulling import pull
from ragknn._protocol.version import read_version

METRICS = ["cosine", "l2", "ip"]
DTYPES = {"float32": 2e-6, "float16": 2e-6, "bfloat16": 2e-6, "float64": 1e-10}  # and how near distances are
DIM = 8


def vectors(n, seed=0):
    return np.random.default_rng(seed).normal(size=(n, DIM))


QUERIES = vectors(12, seed=1)


def as_pairs(retrievals):
    return [[neighbor.passage for neighbor in retrieval] for retrieval in retrievals]


def same(found, expected, tolerance=2e-6):
    assert as_pairs(found) == as_pairs(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.distances == pytest.approx(other.distances, abs=tolerance)
        assert (one.complete, one.warnings, one.query) == (other.complete, other.warnings, other.query)


@pytest.fixture(params=[2, 3], ids=["resp2", "resp3"])
def url(request, redis_url):
    return f"{redis_url}?protocol={request.param}"


@pytest.fixture
def index(faces, url, index_name):
    """An index of 90 ready vectors with a label and a number each."""
    options = {"dim": DIM, "fields": {"n": "numeric"}, "text_search": False}
    with faces.index(index_name, url=url, **options) as index:
        fill(faces.indexer(index))
        yield index


def fill(indexer, n=90, seed=0):
    names = [f"d{number}" for number in range(n)]
    labels = [None if number % 5 == 0 else number % 3 for number in range(n)]
    indexer.add_vectors(names, vectors(n, seed), labels=labels, metadata=[{"n": number} for number in range(n)])


def names(sent):
    return {words[0] for words in sent}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("metric", METRICS)
def test_neighbors_are_those_of_the_server_in_every_metric_and_dtype(redis_url, index_name, metric, dtype):
    with Index(index_name, url=redis_url, dim=DIM, metric=metric, dtype=dtype, text_search=False) as index:
        fill(Indexer(index))
        asked = Retriever(index, bulk="never").kneighbors(QUERIES, 9)
        found = Retriever(index, bulk="always").kneighbors(QUERIES, 9)
        same(found, asked, DTYPES[dtype])
        assert len(index._kept.pulled.keys) == 90


OPTIONS = {
    "more than there are": {"k": 200},
    "near": {"max_distance": 0.6},
    "filter": {"where": {"n": {"$lt": 40}, "label": {"$in": [0, 1]}}},
    "nothing": {"where": {"n": {"$gt": 1000}}},
    "diverse": {"diversity": 0.4},
    "with vectors": {"with_vectors": True},
    "per document": {"per_document": 1, "max_distance": 0.9},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_every_option_of_a_retrieval_has_the_same_answer(faces, index, options):
    asked = faces.retriever(index, bulk="never").kneighbors(QUERIES, **{"k": 6, **options})
    found = faces.retriever(index, bulk="always").kneighbors(QUERIES, **{"k": 6, **options})
    same(found, asked)
    for one, other in zip(itertools.chain(*found), itertools.chain(*asked), strict=True):
        assert np.array_equal(one.passage.vector, other.passage.vector)


def test_texts_are_found_too_and_passages_without_a_vector_are_not(redis_url, index_name):
    embedder = FunctionEmbedder("letters", lambda texts: [[len(text), text.count("a") + 1.0] for text in texts])
    texts = [" ".join(["aba", "cd", "ea"] * (number % 7 + 1)) for number in range(30)]
    with Index(index_name, url=redis_url, embedder=embedder, metric="l2") as index:
        indexer = Indexer(index, Splitter(12, unit="characters"))
        indexer.add(Document(f"d{number}", text, f"label{number % 3}") for number, text in enumerate(texts))
        index.client.hset(index._keys.passage("bare", 0), mapping={"document_id": '"bare"', "no_vector": "1"})
        for options in ({"k": 300}, {"k": 4, "per_document": 1}):
            asked, found = (
                Retriever(index, bulk=bulk).retrieve_many(texts[:12], **options) for bulk in ("never", "always")
            )
            for one, other in zip(found, asked, strict=True):  # many are equally near
                assert one.distances == pytest.approx(other.distances, abs=2e-6)
        assert {n.passage.document_id for n in found[0]} <= {f"d{number}" for number in range(30)}
        by_id = {neighbor.passage.id: neighbor.passage for one in asked for neighbor in one}
        assert all(by_id.get(n.passage.id, n.passage) == n.passage for one in found for n in one)


def test_votes_are_the_same(faces, index):
    voters = [faces.voter(faces.retriever(index, bulk=bulk), 5, weights="distance") for bulk in ("never", "always")]
    asked, found = (voter.predict_proba(QUERIES) for voter in voters)
    assert found == pytest.approx(asked, abs=1e-5)
    assert voters[0].predict(QUERIES).tolist() == voters[1].predict(QUERIES).tolist()
    assert index._kept.pulled is not None


# ---- what travels ----------------------------------------------------------------------------------------------------


def test_nothing_is_pulled_again_while_the_index_is_as_it_was(faces, index, commands):
    retriever = faces.retriever(index, bulk="always")
    with commands as sent:
        retriever.kneighbors(QUERIES, 3)
    assert names(sent) == {"HGET", "FT.INFO", "FT.AGGREGATE", "HMGET"}
    with commands as sent:
        found = retriever.kneighbors(QUERIES, 3)
    assert names(sent) == {"HGET", "FT.INFO", "HMGET"}  # the first two tell the version
    different = {neighbor.passage.id for one in found for neighbor in one}
    assert len([words for words in sent if words[0] == "HMGET"]) == len(different) < 36


def test_an_index_that_an_earlier_release_filled_is_named_first(faces, index, commands, client):
    client.hdel(f"ragknn:{index.name}:manifest", "birth")
    with commands as sent:
        faces.retriever(index, bulk="always").kneighbors(QUERIES, 3)
    assert names(sent) == {"HGET", "FT.INFO", "HSETNX", "FT.AGGREGATE", "HMGET"}


def test_vectors_come_in_as_many_parts_as_they_need(faces, index, commands, monkeypatch):
    monkeypatch.setattr(pulling, "PART_BYTES", 4 * DIM * 7)
    with commands as sent:
        found = faces.retriever(index, bulk="always").kneighbors(QUERIES, 3)
    same(found, faces.retriever(index, bulk="never").kneighbors(QUERIES, 3))
    assert len([words for words in sent if words[:2] == ["FT.CURSOR", "READ"]]) == 12  # 13 parts of 7


def test_only_labels_are_read_for_votes(faces, index, commands):
    voter = faces.voter(faces.retriever(index, bulk="always"), 3)
    voter.predict(QUERIES)
    with commands as sent:
        voter.predict(QUERIES)
    assert {tuple(words[2:]) for words in sent if words[0] == "HMGET"} == {("label", "digest")}


@pytest.mark.parametrize(("bulk", "queries"), [("never", 500), ("auto", 2)])
def test_the_server_is_asked_where_that_is_quicker_or_wanted(faces, index, bulk, queries):
    retriever = faces.retriever(index, bulk=bulk)
    retriever.kneighbors(vectors(queries), 3)
    assert index._kept.pulled is None


def test_many_queries_are_searched_in_memory_without_being_asked_to(faces, index):
    faces.retriever(index).kneighbors(vectors(500), 3)
    assert index._kept.pulled is not None


def test_vectors_that_need_more_memory_than_is_allowed_stay_on_the_server(faces, url, index, index_name, monkeypatch):
    monkeypatch.setenv("RAGKNN_BULK_BYTES", "1000")
    with faces.index(index_name, url=url) as small:
        found = faces.retriever(small, bulk="always").kneighbors(QUERIES)
        assert small._kept.pulled is None
    same(found, faces.retriever(index, bulk="always").kneighbors(QUERIES))


def test_an_hnsw_index_is_searched_by_its_graph(faces, url, index_name):
    with faces.index(index_name, url=url, dim=DIM, algorithm="hnsw", text_search=False) as index:
        fill(faces.indexer(index))
        faces.retriever(index, bulk="always").kneighbors(vectors(500), 3)
        assert index._kept.pulled is None


def test_what_is_kept_goes_when_the_index_is_closed(redis_url, index_name):
    with Index(index_name, url=redis_url, dim=DIM) as index:
        fill(Indexer(index))
        Retriever(index, bulk="always").kneighbors(QUERIES)
        kept = index._kept
        assert kept.pulled is not None
    assert kept.pulled is None


def test_another_choice_is_refused(redis_url, index_name):
    with pytest.raises(ValueError, match="expected bulk to be one of auto, always, never, got 'sometimes'"):
        Retriever(Index(index_name, url=redis_url), bulk="sometimes")


# ---- changes ---------------------------------------------------------------------------------------------------------


def of(index, number):
    return index._keys.passage(f"d{number}", 0)


def stored(number):
    return vectors(1, seed=100 + number)[0].astype(np.float32).tobytes()


def made_again(client, index):
    with Index(index.name, client=client) as other:
        other.drop()
    with Index(index.name, client=client, dim=DIM, fields={"n": "numeric"}, text_search=False) as other:
        fill(Indexer(other), seed=7)


CHANGES = {
    "a vector": lambda client, index: client.hset(of(index, 1), "vector", stored(1)),
    "a label": lambda client, index: client.hset(of(index, 1), "label", '"other"'),
    "metadata": lambda client, index: client.hset(of(index, 1), "metadata", '{"n": 1, "more": 2}'),
    "a vector is gone": lambda client, index: client.hdel(of(index, 1), "vector"),
    "deleted": lambda client, index: client.delete(*(of(index, number) for number in range(40))),
    "deleted and added": lambda client, index: (
        client.copy(of(index, 1), "aside"),
        client.delete(of(index, 1)),
        client.rename("aside", of(index, 1)),
        client.hset(of(index, 2), "vector", stored(2)),
    ),
    "expired": lambda client, index: [client.pexpireat(of(index, number), 1) for number in range(40)],
    "renamed away": lambda client, index: [client.rename(of(index, number), f"x{number}") for number in range(40)],
    "renamed within": lambda client, index: [
        client.rename(of(index, number), index._keys.passage(f"e{number}", 0)) for number in range(90)
    ],
    "copied": lambda client, index: client.copy(of(index, 1), index._keys.passage("twin", 0)),
    "rebuilt": lambda client, index: (
        client.hset(of(index, 1), "vector", stored(1)),
        client.execute_command("FT.DROPINDEX", index._keys.search_index()),
        client.execute_command(
            *("FT.CREATE", index._keys.search_index(), "ON", "HASH", "PREFIX", 1, index._keys.passage_prefix, "SCHEMA"),
            *("document_id", "TAG", "label", "TAG", "INDEXMISSING", "no_vector", "TAG"),
            *("vector", "VECTOR", "FLAT", 6, "TYPE", "FLOAT32", "DIM", DIM, "DISTANCE_METRIC", "COSINE"),
        ),
        client.execute_command("FT.ALIASADD", index._keys.alias, index._keys.search_index()),
        index.wait_until_searchable(),
    ),
    "dropped and made again": made_again,
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_by_anyone_is_seen_by_the_next_search(redis_url, index_name, client, change):
    with Index(index_name, url=redis_url, dim=DIM, fields={"n": "numeric"}, text_search=False) as index:
        fill(Indexer(index))
        retriever = Retriever(index, bulk="always")
        before = retriever.kneighbors(QUERIES, 60)
        change(client, index)
        client.delete("aside", *(f"x{number}" for number in range(40)))
        found, asked = (Retriever(index, bulk=bulk).kneighbors(QUERIES, 60) for bulk in ("always", "never"))
        same(found, asked)
        assert as_pairs(found) != as_pairs(before)


def test_a_change_while_vectors_are_pulled_is_not_missed(redis_url, index_name, client):
    with Index(index_name, url=redis_url, dim=DIM, text_search=False) as index:
        fill(Indexer(index))
        place, changed = index._place(bulk="always"), []

        def meddled(flow, times):
            sent = None
            while True:
                try:
                    step = flow.send(sent)
                except StopIteration as stop:
                    return stop.value
                sent = yield step
                # Replies are read as they come, so that no more than one is held.
                if isinstance(step, Each) and step.commands[0][0] == "FT.AGGREGATE" and len(changed) < times:
                    changed.append(client.hset(of(index, len(changed)), "vector", stored(len(changed))))

        now = index._run(read_version(index._keys))
        assert index._run(meddled(pull(place, now), 5)) is None
        assert (len(changed), index._kept.pulled) == (2, None)  # tried twice
        changed.clear()
        pulled = index._run(meddled(pull(place, index._run(read_version(index._keys))), 1))
        assert index._kept.pulled is pulled
        assert pulled.version == index._run(read_version(index._keys))
        same(Retriever(index, bulk="always").kneighbors(QUERIES), Retriever(index, bulk="never").kneighbors(QUERIES))


def test_the_numbers_of_writes_are_never_given_twice(redis_url, index_name, client):
    """What the version of an index relies on, also when the server has cleaned up."""
    with Index(index_name, url=redis_url, dim=DIM, text_search=False) as index:
        indexer, seen = Indexer(index), []
        for round_ in range(6):
            fill(indexer, n=20, seed=round_)
            client.delete(*(of(index, number) for number in range(0, 20, 2)))
            client.execute_command("FT.DEBUG", "GC_FORCEINVOKE", index._keys.search_index())
            seen.append(index._run(read_version(index._keys)))
        assert len({(one.last_number, one.passages) for one in seen}) == 6
        assert [one.last_number for one in seen] == sorted(one.last_number for one in seen)
        assert len({(one.birth, one.server) for one in seen}) == 1


@pytest.mark.parametrize("command", ["HSETNX", "INFO", "HMGET", "FT.AGGREGATE", "FT.CURSOR"])
def test_a_user_who_may_search_only_is_answered_by_the_server(redis_url, index_name, client, command, monkeypatch):
    monkeypatch.setattr(pulling, "PART_BYTES", 4 * DIM * 7)
    user = f"reader-{index_name}"
    with Index(index_name, url=redis_url, dim=DIM, text_search=False) as index:
        fill(Indexer(index))
        client.hdel(f"ragknn:{index_name}:manifest", "birth")  # as where an earlier release filled it
        expected = Retriever(index, bulk="never").kneighbors(QUERIES)
    client.execute_command("ACL", "SETUSER", user, "on", ">pw", "~*", "+@all", f"-{command}")
    try:
        with (
            redis.Redis.from_url(redis_url, username=user, password="pw") as reader,
            Index(index_name, client=reader) as index,
        ):
            same(Retriever(index, bulk="always").kneighbors(QUERIES), expected)
            assert (index._kept.pulled is None) == (command != "HMGET")
    finally:
        client.execute_command("ACL", "DELUSER", user)
