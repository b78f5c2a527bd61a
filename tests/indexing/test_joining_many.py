"""Many passages that join what is there: full calls of the model, each stored before the next."""

from itertools import islice

import pytest

from ragknn import HashingEmbedder, Passage
from ragknn.indexing._line import PASSAGES_PER_CALL
from ragknn.indexing._merging import DOCUMENTS_TOGETHER, PASSAGES_HELD

MANY = DOCUMENTS_TOGETHER + PASSAGES_PER_CALL // 2


class Calls(HashingEmbedder):
    """Keeps how many texts each call had, and fails at one of them."""

    def __init__(self):
        super().__init__(16)
        self.sizes, self.fails_at = [], None

    def embed_documents(self, texts):
        if len(self.sizes) == self.fails_at:
            raise ConnectionError("the service is away")
        self.sizes.append(len(texts))
        return super().embed_documents(texts)


@pytest.fixture
def embedder():
    return Calls()


@pytest.fixture
def index(faces, redis_url, index_name, embedder):
    with faces.index(index_name, url=redis_url, embedder=embedder) as index:
        yield index
        index.drop()


def passages(version, documents=MANY, each=1):
    for n in range(documents):
        for part in range(each):
            yield Passage(f"p{n}/{part}", f"d{n}", f"{version} text {n} {part}", 0, 0)


def test_the_model_has_full_calls_for_what_is_new_and_for_what_is_there(faces, index, embedder):
    full = [PASSAGES_PER_CALL, PASSAGES_PER_CALL, PASSAGES_PER_CALL // 2]
    for version, counts in [("first", (MANY, 0, 0)), ("second", (0, MANY, 0)), ("second", (0, 0, MANY))]:
        report = faces.indexer(index).add_passages(passages(version), keep_others=True)
        assert (report.added, report.updated, report.unchanged) == counts
        assert embedder.sizes == (full if report.embedded else [])
        embedder.sizes.clear()
    assert {one.text for one in index.passages()} == {one.text for one in passages("second")}


def test_documents_of_which_much_is_there_are_brought_in_fewer_at_a_time(faces, index, embedder):
    each = PASSAGES_HELD // 3
    indexer = faces.indexer(index)
    indexer.add_passages(passages("first", 5, each))
    embedder.sizes.clear()
    new = [Passage(f"new{n}", f"d{n}", f"a new text {n}", 0, 0) for n in range(5)]
    assert indexer.add_passages(new, keep_others=True).updated == 5
    assert embedder.sizes == [3, 2]
    assert index.count() == 5 * (each + 1)


def test_what_the_model_made_before_it_fails_is_stored(faces, index, embedder):
    indexer, told = faces.indexer(index), []
    embedder.fails_at = 2
    with pytest.raises(ConnectionError, match="the service is away"):
        indexer.add_passages(passages("first"), keep_others=True, progress=told.append)
    assert index.count() == told[-1].added == 2 * PASSAGES_PER_CALL
    embedder.fails_at = None
    report = indexer.add_passages(passages("first"), keep_others=True)
    assert (report.unchanged, report.added) == (2 * PASSAGES_PER_CALL, MANY - 2 * PASSAGES_PER_CALL)
    assert embedder.sizes[2:] == [PASSAGES_PER_CALL // 2]


def test_what_comes_before_the_input_breaks_off_is_stored(faces, index):
    def breaking():
        yield from islice(passages("first"), 5)
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        faces.indexer(index).add_passages(breaking(), keep_others=True)
    assert index.count() == 4, "the fifth may have more passages"
