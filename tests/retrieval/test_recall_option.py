"""`recall=` in place of an ef_runtime: what it finds, what it costs at first and later, and what is kept of it."""

import threading

import numpy as np
import pytest
import redis

from ragknn import Document, HashingEmbedder, Index, Indexer, LabelVoter, Retriever
from ragknn._protocol.measured import Measured
from ragknn._protocol.replies import SearchIndexInfo

DIM, COUNT, K = 16, 1_500, 10
SPARSE = {"dim": DIM, "algorithm": "hnsw", "m": 4, "ef_construction": 10, "metric": "l2", "text_search": False}


def clustered(seed, count):
    """Vectors around forty centers: a graph of few edges loses its way between them."""
    centers = 3 * np.random.default_rng(0).normal(size=(40, DIM))
    generator = np.random.default_rng(seed)
    return (centers[generator.integers(0, 40, count)] + generator.normal(size=(count, DIM))).astype(np.float32)


def recall_of(retrievals, queries, vectors):
    """By NumPy alone."""
    true = np.argsort(((queries[:, np.newaxis] - vectors) ** 2).sum(axis=2), axis=1)[:, :K]
    found = [{int(passage.document_id) for passage in one.passages} for one in retrievals]
    return np.mean([len(mine & set(theirs)) / K for mine, theirs in zip(found, true.tolist(), strict=True)])


@pytest.fixture
def index(faces, redis_url, index_name):
    """An index of few edges, whose searches miss neighbors."""
    with faces.index(index_name, url=redis_url, fields={"n": "numeric"}, **SPARSE) as index:
        metadata = [{"n": n} for n in range(COUNT)]
        faces.indexer(index).add_vectors([str(n) for n in range(COUNT)], clustered(1, COUNT), metadata=metadata)
        yield index


@pytest.fixture
def opened(redis_url, index_name):
    """The same in sync code, for tests of what both faces share."""
    with Index(index_name, url=redis_url, fields={"n": "numeric"}, **SPARSE) as index:
        metadata = [{"n": n} for n in range(COUNT)]
        Indexer(index).add_vectors([str(n) for n in range(COUNT)], clustered(1, COUNT), metadata=metadata)
        yield index


def by_name(sent):
    return [words[0] for words in sent]


def kept(client, index_name):
    return sorted(name for name in client.hkeys(f"ragknn:{index_name}:manifest") if name.startswith(b"recall"))


def test_as_many_of_the_neighbors_are_found_as_were_asked_for(faces, index):
    retriever, vectors, queries = faces.retriever(index), clustered(1, COUNT), clustered(2, 100)
    few = recall_of(retriever.kneighbors(queries, K, ef_runtime=10), queries, vectors)
    most = recall_of(retriever.kneighbors(queries, K, recall=0.7), queries, vectors)
    ef_runtime = index._watch.measured[K].ef_runtime(0.7)
    assert ef_runtime is not None
    assert 10 < ef_runtime < COUNT / 20
    assert few < most
    assert 0.7 < most < 1.0
    assert recall_of(retriever.kneighbors(queries, K, recall=1.0), queries, vectors) == 1.0


def test_the_first_search_measures_and_the_next_ones_send_nothing_more(faces, index, commands, client, index_name):
    retriever = faces.retriever(index)
    with commands as first:
        retriever.kneighbors(clustered(2, 1), K, recall=0.8)
    *measuring, asked = first
    assert asked[0] == "FT.SEARCH"  # which may be exact too, where no search of this graph is good enough
    assert sum("ADHOC_BF" in words for words in measuring) == 200
    assert by_name(first)[:2] == ["FT.INFO", "HGET"]
    assert kept(client, index_name) == [b"recall@10"]
    with commands as second:
        retriever.kneighbors(clustered(3, 2), K, recall=0.8)
        retriever.kneighbors(clustered(3, 1), K, recall=0.7)
    assert [name for name in by_name(second) if name != "FT.INFO"] == ["FT.SEARCH"] * 3


def test_another_process_has_what_was_measured_after_one_round_trip(faces, index, commands, index_name, redis_url):
    faces.retriever(index).kneighbors(clustered(2, 1), K, recall=0.8)
    with faces.index(index_name, url=redis_url) as opened, commands as sent:
        for _ in range(2):
            faces.retriever(opened).kneighbors(clustered(2, 1), K, recall=0.8)
    assert by_name(sent).count("FT.SEARCH") == 2
    assert [name for name in by_name(sent) if name != "FT.INFO"] == ["HGET", "FT.SEARCH", "FT.SEARCH"]


def test_each_k_has_its_own_which_describe_tells(opened, client, index_name, commands):
    retriever = Retriever(opened)
    for k in (1, K):
        retriever.kneighbors(clustered(2, 1), k, recall=0.8)
    assert kept(client, index_name) == [b"recall@1", b"recall@10"]
    [(ef_runtime, *_), *_] = opened._watch.measured[K].points
    told = opened.describe().measured_recall
    assert sorted(told) == ["@1", "@10"]
    assert f"with ef_runtime {ef_runtime}, " in told["@10"]
    assert told["@10"].endswith("(200 of 1,500 passages)")
    with commands as sent:
        retriever.kneighbors(clustered(2, 1), K, recall=0.8, where={"n": {"$gte": 0}})
    assert "ADHOC_BF" in sent[-1]  # so few pass the filter that all distances are computed


def test_a_search_that_goes_on_for_more_candidates_keeps_more_of_them_in_proportion(opened, commands):
    Indexer(opened).add_vectors(["0"], clustered(1, 1))
    retriever = Retriever(opened)
    retriever.kneighbors(clustered(2, 1), K, recall=0.7, candidates=K)
    ef_runtime = opened._watch.measured[K].ef_runtime(0.7)
    with commands as sent:
        retriever.kneighbors(clustered(1, 1), K, recall=0.7, candidates=K, per_document=1, diversity=0.1)
    efs = [int(words[words.index("EF_RUNTIME") + 1]) for words in sent if words[0] == "FT.SEARCH"]
    assert efs[0] == ef_runtime
    assert efs == [ef_runtime * 4**turn for turn in range(len(efs))]


def test_an_index_that_has_grown_is_measured_again(opened, redis_url, index_name, commands):
    Retriever(opened).kneighbors(clustered(2, 1), K, recall=0.7)
    Indexer(opened).add_vectors([str(n) for n in range(COUNT, 2 * COUNT)], clustered(3, COUNT))
    with Index(index_name, url=redis_url) as later, commands as sent:
        Retriever(later).kneighbors(clustered(2, 1), K, recall=0.7)
        assert later._watch.measured[K].passages == 2 * COUNT
    assert sum("ADHOC_BF" in words for words in sent) == 200


@pytest.mark.parametrize(
    ("passages", "last_number", "holds"),
    [
        (1_000, 5_000, True),
        (1_400, 5_400, True),
        (1_600, 5_600, False),
        (600, 5_000, False),
        (1_000, 5_600, False),
        (1_400, 5_800, True),
        (1_400, 6_000, False),
        (1_000, 1_000, True),  # the server was started again
    ],
)
def test_what_was_measured_holds_until_half_as_much_is_other(passages, last_number, holds):
    measured = Measured(10, 1_000, 5_000, 200, ((10, 0.9, 0.01), (15, 0.99, 0.002)))
    info = SearchIndexInfo("", passages, False, 1.0, 0, ("", ""), 0, {}, last_number)
    assert measured.holds_for(info) == holds
    assert Measured.loads(10, measured.dumps()) == measured
    assert [measured.ef_runtime(recall) for recall in (0.5, 0.895, 0.988, 0.99)] == [10, 15, 15, None]


def test_a_small_index_and_a_graph_that_never_finds_enough_are_searched_exactly(opened, commands):
    vectors, queries, retriever = clustered(1, COUNT), clustered(2, 30), Retriever(opened)
    with commands as sent:
        found = retriever.kneighbors(queries, K, recall=0.9999999)
    assert recall_of(found, queries, vectors) == 1.0
    assert max(ef for ef, _, _ in opened._watch.measured[K].points) < COUNT / 20
    assert all("ADHOC_BF" in words for words in sent[-30:])
    with commands as sent:
        retriever.kneighbors(queries[:1], 400, recall=0.99)  # to keep 400 candidates takes longer
    assert by_name(sent) == ["FT.INFO", "HGET", "EVAL", "HEXISTS", "HSET", "FT.SEARCH"]
    assert opened.describe().measured_recall["@400"] == "an exact search is quicker (1,500 passages)"


def test_a_flat_index_needs_nothing(faces, redis_url, index_name, commands):
    with faces.index(index_name, url=redis_url, dim=DIM, metric="l2", text_search=False) as index:
        faces.indexer(index).add_vectors([str(n) for n in range(50)], clustered(1, 50))
        retriever = faces.retriever(index)
        with commands as sent:
            retriever.kneighbors(clustered(2, 1), K, recall=0.99)
            assert len(retriever.kneighbors(clustered(2, 1), None, recall=0.99, max_distance=100.0)[0]) == 50
        assert {words[0] for words in sent} == {"FT.INFO", "FT.SEARCH"}
        assert index.describe().measured_recall == {}


def test_threads_that_begin_at_once_measure_once(opened, commands):
    retriever, found = Retriever(opened), []

    def ask():
        found.append(len(retriever.kneighbors(clustered(2, 1), K, recall=0.7)[0]))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    with commands as sent:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == [K] * 4
    assert by_name(sent).count("EVAL") == 1
    assert opened._watch.measuring == set()


def test_who_may_not_write_measures_for_this_process(opened, index_name, redis_url, client, commands):
    client.execute_command("ACL", "SETUSER", index_name, "on", "nopass", "~*", "+@all", "-@write", "-eval")
    path = redis_url.removeprefix("unix://")
    try:
        with (
            redis.Redis(unix_socket_path=path, username=index_name, password="any") as limited,
            Index(index_name, client=limited, create=False) as reading,
        ):
            retriever = Retriever(reading)
            retriever.kneighbors(clustered(2, 1), K, recall=0.7)
            with commands as sent:
                retriever.kneighbors(clustered(2, 1), K, recall=0.7)
        assert [name for name in by_name(sent) if name != "FT.INFO"] == ["FT.SEARCH"]
        assert kept(client, index_name) == []
    finally:
        client.execute_command("ACL", "DELUSER", index_name)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"recall": 0}, ValueError, "expected a recall above 0 and at most 1, such as 0.99, got 0.0"),
        ({"recall": 99}, ValueError, "expected a recall above 0 and at most 1, such as 0.99, got 99.0"),
        ({"recall": float("nan")}, ValueError, "expected a recall above 0 and at most 1"),
        ({"recall": "high"}, TypeError, "expected recall as a number, got the str 'high'"),
        ({"recall": 0.9, "ef_runtime": 50}, ValueError, "expected either recall or ef_runtime, got both: 0.9 and 50"),
        ({"recall": 0.9, "k": None, "max_distance": 1.0}, ValueError, "expected k with recall=0.9, got None"),
    ],
)
def test_what_means_nothing_is_refused(redis_url, index_name, options, error, message):
    with Index(index_name, url=redis_url, **SPARSE) as index, pytest.raises(error, match=message):
        Retriever(index).kneighbors(clustered(2, 1), **options)


def test_a_vote_and_a_retrieval_of_text_take_it_too(redis_url, index_name, client):
    embedder = HashingEmbedder(64)
    documents = [Document(f"d{n}", f"text {n} of {n % 7}", "even" if n % 2 == 0 else "odd") for n in range(600)]
    with Index(index_name, url=redis_url, embedder=embedder, algorithm="hnsw") as index:
        Indexer(index).add(documents)
        retriever = Retriever(index)
        for mode in ("vector", "hybrid", "text"):
            assert len(retriever.retrieve("text 5", 5, mode=mode, recall=0.95)) == 5
        assert LabelVoter(retriever, 3).vote("text 8 of 1", recall=0.95).label in ("even", "odd")
        assert kept(client, index_name) == [b"recall@5", b"recall@50", b"recall@6"]
