"""Which way a search of an hnsw index goes beside a filter, and what finding out costs."""

import numpy as np
import pytest
import redis

from ragknn import Index, Retriever
from ragknn._protocol import watch
from ragknn._protocol.keys import Keys
from ragknn._protocol.place import Place
from ragknn._protocol.query import EVERYTHING, Fragment
from ragknn._protocol.replies import SearchIndexInfo
from ragknn._protocol.schema import Schema
from ragknn.retrieval._effort import MOST_COUNTED, counting, effort, take_count

COUNT, DIM = 400, 8
FILTER = Fragment("(@topic:{$p0})", {"p0": '"a"'})


def made(seed, count=COUNT):
    return np.random.default_rng(seed).normal(size=(count, DIM)).astype(np.float32)


def place(passages=None, passing=None, algorithm="hnsw"):
    known = watch.Watch()
    if passages is not None:
        known.take(SearchIndexInfo("", passages, False, 1.0, 0, ("", ""), 0, {}))
    if passing is not None:
        known.take_count(FILTER, passing)
    return Place(Keys("name"), Schema("e", DIM, algorithm=algorithm), known, 1.0)


@pytest.mark.parametrize(
    ("passages", "k", "ef", "crossover"),
    [
        (20_000, 1, None, 2_000),
        (20_000, 10, None, 2_000),
        (100_000, 10, None, 4_472),
        (100_000, 10, 400, 8_000),
        (20_000, 100, None, 6_324),
        (100_000_000, 10, None, MOST_COUNTED),
    ],
)
def test_up_to_a_number_of_passing_passages_every_distance_is_computed_and_beyond_it_the_graph_is_walked(
    passages, k, ef, crossover
):
    candidates = ef or max(100, 2 * k)
    exact, walked = " HYBRID_POLICY ADHOC_BF", f" EF_RUNTIME {candidates} HYBRID_POLICY BATCHES"
    for passing, expected in ((0, exact), (crossover, exact), (crossover + 1, walked), (MOST_COUNTED + 1, walked)):
        assert effort(place(passages, passing), FILTER, k, ef) == expected


def test_what_is_not_known_is_left_to_the_server():
    for unknown in (place(), place(1_000), place(None, 500)):
        assert effort(unknown, FILTER, 10, None) == " EF_RUNTIME 100"
    assert effort(place(1_000, 500), EVERYTHING, 80, None) == " EF_RUNTIME 160"
    assert effort(place(1_000, 500, "flat"), FILTER, 10, None) == ""


def test_counts_are_made_again_after_a_while_and_are_not_kept_without_end(monkeypatch):
    counted = place(1_000)
    [command] = counting(counted, FILTER)
    assert command[:3] == ("FT.AGGREGATE", "ragknn:name", "(@topic:{$p0})")
    take_count(counted, FILTER, [500])
    assert counting(counted, FILTER) == []
    assert counting(counted, EVERYTHING) == counting(place(1_000, algorithm="flat"), FILTER) == []
    monkeypatch.setattr(watch, "COUNT_INTERVAL", 0.0)
    assert counting(counted, FILTER) == [command]
    assert counted.watch.passing(FILTER) == 500
    for number in range(3 * watch.MOST_FILTERS):
        counted.watch.take_count(Fragment("(@topic:{$p0})", {"p0": str(number)}), number)
    assert len(counted.watch._passing) <= watch.MOST_FILTERS


# ---- on a real server ------------------------------------------------------------------------------------------


@pytest.fixture
def index(faces, redis_url, index_name):
    """400 random vectors, "half" of 200 of them 1, and "few" of 20."""
    options = {"dim": DIM, "algorithm": "hnsw", "text_search": False, "fields": {"half": "numeric", "few": "numeric"}}
    with faces.index(index_name, url=redis_url, **options) as index:
        metadata = [{"half": n % 2, "few": int(n % 20 == 0)} for n in range(COUNT)]
        faces.indexer(index).add_vectors([str(n) for n in range(COUNT)], made(1), metadata=metadata)
        yield index


def names(sent):
    return [words[0] for words in sent]


def test_a_filter_is_counted_beside_the_first_search_and_decides_the_way_of_the_next(faces, index, commands):
    retriever = faces.retriever(index)
    with commands as first:
        retriever.kneighbors(made(2, 1), 2, where={"half": 1}, ef_runtime=5)
    assert names(first) == ["FT.INFO", "FT.AGGREGATE", "FT.SEARCH"]
    assert "HYBRID_POLICY" not in " ".join(first[-1])
    with commands as second:
        retriever.kneighbors(made(2, 1), 2, where={"half": 1}, ef_runtime=5)
        retriever.kneighbors(made(2, 1), 2, where={"half": 1}, ef_runtime=50)
        retriever.kneighbors(made(2, 1), 2, ef_runtime=5)
    assert [name for name in names(second) if name != "FT.INFO"] == ["FT.SEARCH"] * 3
    walked, exact, free = (" ".join(words) for words in second if words[0] == "FT.SEARCH")
    assert "EF_RUNTIME 5 HYBRID_POLICY BATCHES" in walked
    assert "HYBRID_POLICY ADHOC_BF" in exact
    assert "EF_RUNTIME 5" in free
    assert "HYBRID_POLICY" not in free
    with commands as other:
        retriever.kneighbors(made(2, 1), 2, where={"few": 1})
        retriever.kneighbors(made(2, 1), 2, where={"few": 1})
    assert names(other).count("FT.AGGREGATE") == 1


def test_many_first_searches_wait_for_the_count(faces, index, commands):
    retriever = faces.retriever(index)
    with commands as sent:
        retriever.kneighbors(made(2, 30), 2, where={"half": 1}, ef_runtime=5)
    assert names(sent) == ["FT.INFO", "FT.AGGREGATE"] + ["FT.SEARCH"] * 30
    assert all("HYBRID_POLICY BATCHES" in " ".join(words) for words in sent[2:])


def test_each_way_finds_the_passages_that_pass_and_the_exact_one_the_nearest_of_them(faces, index):
    retriever, vectors, queries = faces.retriever(index), made(1), made(2, 40)
    unit, asked = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (vectors, queries))
    for where, passing in (({"half": 1}, range(1, COUNT, 2)), ({"few": 1}, range(0, COUNT, 20))):
        true = np.sort(1 - asked @ unit[list(passing)].T, axis=1)[:, :5]
        for _ in range(2):
            found = retriever.kneighbors(queries, 5, where=where)
            assert np.allclose([one.distances for one in found], true, atol=1e-5)
        by_graph = retriever.kneighbors(queries, 5, where=where, ef_runtime=5)
        assert {int(one.document_id) for found in by_graph for one in found.passages} <= set(passing)


def test_a_server_that_does_not_count_goes_on_choosing_the_way_itself(index, index_name, redis_url, client, faces):
    client.execute_command("ACL", "SETUSER", index_name, "on", "nopass", "~*", "+@all", "-FT.AGGREGATE")
    try:
        path = redis_url.removeprefix("unix://")
        limited = redis.Redis(unix_socket_path=path, username=index_name, password="any")
        with Index(index_name, client=limited, create=False) as opened:
            for _ in range(3):
                [found] = Retriever(opened).kneighbors(made(2, 1), 5, where={"few": 1})
                assert len(found) == 5
        limited.close()
    finally:
        client.execute_command("ACL", "DELUSER", index_name)
