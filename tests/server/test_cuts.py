"""A connection that is cut at any byte: what is read is whole, or an error says that it is not."""

import random

import pytest
from proxies import DOWN, UP, proxy_before
from servers import private_server

from ragknn import ConnectionFailed, Document, Index, Indexer, abuild_context, atune, build_context, tune
from ragknn._protocol.finding import matching_passages
from ragknn._protocol.query import Fragment
from ragknn.errors import RagKNNError
from ragknn.evaluation import Questions, aevaluate, evaluate

COUNT = 2_100  # keys come in parts of a thousand
IDS = [f"v{number:04}" for number in range(COUNT)]
FIELDS = {"n": "numeric", "t": "tag"}
WHERE = {"n": {"$gte": 0}}
QUESTIONS = Questions({"q": "pears"}, {"q": {"v0001": 1}})
DOCUMENTS = [Document(f"v{n:04}", f"pears number{n}", "ab"[n % 2], {"n": n, "t": f"t{n % 9}"}) for n in range(COUNT)]
FEW = 300
TRIED = 4  # calls of each world in a run


@pytest.fixture(scope="module")
def server(tmp_path_factory, embedder):
    with (
        private_server(tmp_path_factory.mktemp("cut")) as url,
        Index("k", url=url, embedder=embedder, fields=FIELDS) as index,
    ):
        Indexer(index).add(DOCUMENTS)
        yield url


@pytest.fixture(scope="module")
def proxy(server):
    with proxy_before(server) as proxy:
        yield proxy


def plain(retrievals):
    assert all(one.complete for one in retrievals)
    return [[(found.passage.id, found.passage.text) for found in one] for one in retrievals]


def calls(faces, index):
    """Return each call that reads, by name; what it returns can be compared."""
    retriever = faces.retriever(index)
    near = retriever.retrieve("number7 pears", k=3)
    many = [document.text for document in DOCUMENTS[:120]]
    return {
        "retrieve": lambda: plain([retriever.retrieve("number7 pears", k=3)]),
        "retrieve_many": lambda: plain(retriever.retrieve_many(many, k=3, where=WHERE)),
        "within a radius": lambda: plain([retriever.retrieve("number7 pears", k=None, max_distance=0.2)]),
        "text": lambda: plain([retriever.retrieve("number7", k=3, mode="text")]),
        "hybrid": lambda: plain([retriever.retrieve("number7 pears", k=3, mode="hybrid", where=WHERE)]),
        "count": lambda: index.count(WHERE),
        "count_documents": lambda: index.count_documents(WHERE),
        "values": lambda: index.values("t"),
        "value_range": lambda: index.value_range("n"),
        "exists": lambda: index.exists(IDS[:20], where=WHERE),
        "documents": lambda: [one.id for one in index.documents(where={"n": {"$lt": 1_500}})],
        "passages": lambda: [one.id for one in index.passages()],
        "map": lambda: index.map(where=WHERE, sample=9).ids,
        "describe": lambda: index.describe().documents,
        "context": lambda: faces.call(build_context, abuild_context, near, index, window=1).text,
        "census": lambda: faces.voter(retriever, k=3).vote("number7").shares,
        "tune": lambda: str(faces.call(tune, atune, index, ks=[1, 3], where={"n": {"$lt": 20}}).best),
        "evaluate": lambda: faces.call(evaluate, aevaluate, retriever, QUESTIONS, {"x": {"mode": "text"}}).k,
    }


@pytest.mark.parametrize("protocol", [2, 3])
def test_what_is_read_is_whole_or_an_error_wherever_the_connection_is_cut(faces, proxy, protocol, monkeypatch):
    monkeypatch.setenv("RAGKNN_PROTOCOL", str(protocol))
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    chance = random.Random(seed)
    with faces.index("k", url=proxy.url) as index:
        for name, call in chance.sample(list(calls(faces, index).items()), TRIED):
            before = dict(proxy.forwarded)
            expected = call()
            direction = chance.choice([UP, DOWN])
            after = chance.randrange(proxy.forwarded[direction] - before[direction])
            proxy.cut(direction, after, times=chance.choice([1, 1, 1, 9]))
            try:
                answer = call()
            except RagKNNError as error:
                answer = error
            proxy.mend()
            assert isinstance(answer, ConnectionFailed) or answer == expected, (name, direction, after)


@pytest.mark.parametrize("protocol", [2, 3])
def test_a_cursor_is_not_read_on_after_a_cut(faces, proxy, protocol, monkeypatch):
    monkeypatch.setenv("RAGKNN_PROTOCOL", str(protocol))
    with faces.index("k", url=proxy.url) as index:

        def read():
            return index._run(matching_passages(index._place(), Fragment("*", {})))

        before = proxy.forwarded[DOWN]
        assert len(read()) == index.count() == COUNT
        size = proxy.forwarded[DOWN] - before
        for share in (0.6, 0.9):  # within the second and the third part
            proxy.cut(DOWN, after=int(share * size))
            with pytest.raises(ConnectionFailed, match="expected Redis at"):
                read()
        proxy.cut(DOWN, after=int(0.2 * size))  # within the first, which can be asked for again
        assert len(read()) == COUNT
        assert proxy.has_cut


def test_a_deletion_that_was_cut_counts_right_or_raises_and_can_be_repeated(faces, server, proxy):
    chance = random.Random(seed := random.randrange(10**6))
    print(f"seed {seed}")
    with Index("k", url=server) as direct, faces.index("k", url=proxy.url) as index:
        indexer = faces.indexer(index)
        proxy.cut(UP, after=chance.randrange(60_000))
        try:
            assert indexer.delete_where({"n": {"$lt": FEW}}) == FEW
        except ConnectionFailed:
            assert indexer.delete_where({"n": {"$lt": FEW}}) <= FEW
        proxy.mend()
        assert direct.count() == COUNT - FEW
        Indexer(direct).add(DOCUMENTS[:FEW])
