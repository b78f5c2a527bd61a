"""A connection that is cut at any byte: what is read is whole, or an error says that it is not."""

import random

import pytest
from proxies import DOWN, UP, proxy_before
from reading import FLAT, calls, documents, fill
from servers import private_server

from ragknn import ConnectionFailed, Index, Indexer
from ragknn._protocol.finding import matching_passages
from ragknn._protocol.query import Fragment
from ragknn.errors import RagKNNError

COUNT = 2_100  # keys come in parts of a thousand
FEW = 300
TRIED = 3  # calls of each world in a run


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with private_server(tmp_path_factory.mktemp("cut")) as url:
        fill(url, COUNT, FLAT)
        yield url


@pytest.fixture(scope="module")
def proxy(server):
    with proxy_before(server) as proxy:
        yield proxy


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.usefixtures("no_pauses")
def test_what_is_read_is_whole_or_an_error_wherever_the_connection_is_cut(
    faces, proxy, protocol, tmp_path, monkeypatch
):
    monkeypatch.setenv("RAGKNN_PROTOCOL", str(protocol))
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    chance = random.Random(seed)
    with faces.index(FLAT, url=proxy.url) as index:
        for name, call in chance.sample(list(calls(faces, index, tmp_path).items()), TRIED):
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
@pytest.mark.usefixtures("no_pauses")
def test_a_cursor_is_not_read_on_after_a_cut(faces, proxy, protocol, monkeypatch):
    monkeypatch.setenv("RAGKNN_PROTOCOL", str(protocol))
    with faces.index(FLAT, url=proxy.url) as index:

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


@pytest.mark.usefixtures("no_pauses")
def test_a_deletion_that_was_cut_counts_right_or_raises_and_can_be_repeated(faces, server, proxy):
    chance = random.Random(seed := random.randrange(10**6))
    print(f"seed {seed}")
    with Index(FLAT, url=server) as direct, faces.index(FLAT, url=proxy.url) as index:
        indexer = faces.indexer(index)
        proxy.cut(UP, after=chance.randrange(60_000))
        try:
            assert indexer.delete_where({"n": {"$lt": FEW}}) == FEW
        except ConnectionFailed:
            assert indexer.delete_where({"n": {"$lt": FEW}}) <= FEW
        proxy.mend()
        assert direct.count() == COUNT - FEW
        Indexer(direct).add(documents(FEW))
