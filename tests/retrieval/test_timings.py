"""How long the stages of a retrieval took, where a retriever is asked to tell."""

import numpy as np
import pytest

from ragknn import Document, HashingEmbedder, Index, Indexer, Retriever

DOCUMENTS = [Document(f"d{n}", f"letter {n} on pears") for n in range(12)]
CALLS = {
    "retrieve": lambda retriever: [retriever.retrieve("letter 3", 3)],
    "text": lambda retriever: [retriever.retrieve("letter 3", 3, mode="text")],
    "hybrid": lambda retriever: [retriever.retrieve("letter 3", 3, mode="hybrid")],
    "retrieve_many": lambda retriever: retriever.retrieve_many(["letter 3", "letter 4"], 3),
    "retrieve_any": lambda retriever: [retriever.retrieve_any(["letter 3", "letter 4"], 3)],
    "retrieve_like": lambda retriever: [retriever.retrieve_like("letter 3", ["on pears"], 3)],
    "kneighbors": lambda retriever: retriever.kneighbors(np.ones((2, 64)), 3),
}
WORDS_OR_VECTORS = {"text", "kneighbors"}


@pytest.fixture(scope="module")
def url(redis_url):
    with Index("timed", url=redis_url, embedder=HashingEmbedder(64)) as index:
        Indexer(index).add(DOCUMENTS)
        yield redis_url
        index.drop()


@pytest.mark.parametrize("name", CALLS)
def test_a_timed_retriever_tells_the_seconds_of_each_stage_and_finds_the_same(faces, url, name):
    with faces.index("timed", url=url) as index:
        plain, timed = (CALLS[name](faces.retriever(index, timed=flag)) for flag in (False, True))
    assert str(plain) == str(timed)
    assert all(one.timings is None and "timings" not in one.to_dict() for one in plain)
    for one in timed:
        assert list(one.timings) == ["embed", "search", "parse"]
        assert min(one.timings["search"], one.timings["parse"]) > 0
        assert (one.timings["embed"] > 0) == (name not in WORDS_OR_VECTORS)
        assert one[:2].timings == one.to_dict()["timings"] == one.timings


def test_reranking_is_a_stage_of_its_own(faces, url):
    with faces.index("timed", url=url) as index:
        retriever = faces.retriever(index, timed=True)
        found = retriever.retrieve("letter 3", 3, rerank=lambda query, passages: [len(one.text) for one in passages])
    assert list(found.timings) == ["embed", "search", "rerank", "parse"]


def test_timed_is_true_or_false(faces, url):
    with pytest.raises(TypeError, match="timed"):
        Retriever(Index("timed", url=url), timed="yes")
