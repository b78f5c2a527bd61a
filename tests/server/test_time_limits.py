"""A server that runs out of time is noticed by every call that reads, whatever it is configured to answer then."""

import numpy as np
import pytest
import redis
from servers import private_server

from ragknn import CommandRefused, IncompleteRetrieval, Index, Indexer, atune, tune
from ragknn.evaluation import Questions, aevaluate, evaluate

COUNT = 8_000  # which takes the server longer than a millisecond to go through, by each of the calls
WHERE = {"n": {"$gte": 0}}
IDS = [f"v{number:05}" for number in range(COUNT)]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A Redis of its own, with an index of many passages; of a server that others use the configuration stays."""
    with private_server(tmp_path_factory.mktemp("slow")) as url, Index("k", url=url, dim=2, fields=FIELDS) as index:
        vectors = np.random.default_rng(7).normal(size=(COUNT, 2))
        labels, metadata = ["ab"[n % 2] for n in range(COUNT)], [{"n": n, "t": f"t{n % 9}"} for n in range(COUNT)]
        Indexer(index).add_vectors(IDS, vectors, texts=["pears and apples"] * COUNT, labels=labels, metadata=metadata)
        yield url


FIELDS = {"n": "numeric", "t": "tag"}


@pytest.fixture(scope="module")
def known():
    return {}


@pytest.fixture
def expected(faces, server, known):
    """What the calls answer when there is time enough; the first to ask finds out."""
    if not known:
        with faces.index("k", url=server) as index:
            known.update({name: call() for name, call in answers(faces, index).items()})
        assert [known[name] for name in ("count", "count_documents", "map")] == [COUNT] * 3
        assert known["delete_where"] == 0
    return known


@pytest.fixture(params=["return", "fail"])
def policy(request, server):
    with redis.Redis.from_url(server) as client:
        client.execute_command("FT.CONFIG", "SET", "ON_TIMEOUT", request.param)
        yield request.param


def answers(faces, index):
    """Return what each call that reads answers, by name; what is drawn from the index is compared by its size."""
    retriever, indexer = faces.retriever(index), faces.indexer(index)
    vector = np.ones((1, 2))

    def vote():
        return faces.voter(faces.retriever(index, on_incomplete="raise"), k=3).vote("pears", mode="text").label

    questions = Questions({"q": "pears"}, {"q": {"v00001": 1}})
    return {
        "count": lambda: index.count(),
        "count where": lambda: index.count(WHERE),
        "count_documents": lambda: index.count_documents(),
        "values": lambda: index.values("t"),
        "value_range": lambda: index.value_range("n"),
        "describe": lambda: index.describe().documents,
        "exists": lambda: sum(index.exists(IDS[:400], where=WHERE)),
        "documents": lambda: next(iter(index.documents(where=WHERE))).id,
        "passages": lambda: next(iter(index.passages(where=WHERE))).id,
        "map": lambda: index.map(where=WHERE, sample=20).total,
        "text": lambda: len(retriever.retrieve("pears", k=500, mode="text")),
        "range": lambda: len(retriever.kneighbors(vector, k=None, max_distance=0.001)[0]),
        "kneighbors": lambda: len(retriever.kneighbors(vector, k=5, where=WHERE)[0]),
        "vote": vote,
        "tune": lambda: str(faces.call(tune, atune, index, ks=[1], where={"n": {"$lt": 30}}).best),
        "evaluate": lambda: faces.call(evaluate, aevaluate, retriever, questions, {"x": {"mode": "text"}}) and 1,
        "delete_where": lambda: indexer.delete_where({"n": {"$gt": 1e9}, "$or": [WHERE]}),
    }


@pytest.mark.parametrize("protocol", [2, 3])
def test_an_answer_is_complete_or_refused_however_little_time_there_is(
    faces, server, policy, expected, protocol, monkeypatch
):
    monkeypatch.setenv("RAGKNN_PROTOCOL", str(protocol))
    refused = {}
    with faces.index("k", url=server, timeout=0.001) as index:
        for name, call in answers(faces, index).items():
            try:
                answer = call()
            except (CommandRefused, IncompleteRetrieval) as error:
                refused[name] = str(error).lower()
            else:
                assert answer == expected[name], name
    assert refused.keys() >= {"count_documents", "values", "describe"}
    assert all("raise the timeout" in told for told in refused.values()), refused
