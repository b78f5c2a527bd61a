"""Where a passage stands: its page and the headings above it, kept with it and given back everywhere."""

import numpy as np
import pytest
import redis
import redis.asyncio

from ragknn import Document, HashingEmbedder, Passage, Splitter

TEXT = "Read this first of all.\n\n# Install\n\n## On Linux\n\nRun the script as root.\n\n## On Mac\n\nDrag it."
PAGES = (0, TEXT.index("script"), TEXT.index("Drag"))
MANUAL = Document("manual", TEXT, metadata={"page": "metadata has a page too"}, page_starts=PAGES)
CUT = Splitter(10, 0, "words", headings=False)
PLACES = {
    "manual#0": (1, ()),
    "manual#1": (1, ("Install", "On Linux")),
    "manual#2": (2, ("Install", "On Mac")),
}


def places(passages):
    return {passage.id: (passage.page, passage.headings) for passage in passages}


def test_a_cut_document_has_its_pages_and_headings():
    assert places(CUT.split(MANUAL)) == PLACES


@pytest.mark.parametrize("protocol", [2, 3])
def test_page_and_headings_come_back_with_every_passage(faces, redis_url, index_name, protocol):
    kind = redis.Redis if faces.kind == "sync" else redis.asyncio.Redis
    client = kind.from_url(redis_url, protocol=protocol)
    fields = {"page": "tag"}  # of the metadata, and another thing
    with faces.index(index_name, client=client, embedder=HashingEmbedder(16), fields=fields) as index:
        assert faces.indexer(index, CUT).add([MANUAL, Document("plain", "no pages")]).failed == ()
        retriever = faces.retriever(index)
        expected = {**PLACES, "plain#0": (None, ())}
        for mode in ("vector", "text", "hybrid"):
            found = retriever.retrieve("run the script first, drag it to pages", k=9, mode=mode)
            assert places(found.passages) == {one.id: expected[one.id] for one in found.passages}
            assert len(found) >= 3
        assert places(index.passages()) == expected
        assert list(index.documents(["manual", "plain"])) == [MANUAL, Document("plain", "no pages")]
        [linux] = retriever.retrieve("run the script", k=1, where={"page": "metadata has a page too"})
        row = linux.to_dict()
        assert (row["page"], row["headings"]) == (1, ["Install", "On Linux"])
        assert (row["metadata"]["page"], row["text"][:10]) == ("metadata has a page too", "# Install\n")
        if faces.kind == "async":
            faces.again(client).aclose()
        else:
            client.close()


def test_a_document_of_other_pages_is_another_and_one_without_is_what_it_was(faces, redis_url, index_name, client):
    with faces.index(index_name, url=redis_url, embedder=HashingEmbedder(16)) as index:
        indexer = faces.indexer(index, CUT)
        indexer.add([MANUAL, Document("plain", "no pages")])
        assert indexer.add([MANUAL, Document("plain", "no pages", page_starts=())]).unchanged == 2
        moved = Document("manual", TEXT, metadata=MANUAL.metadata, page_starts=(0, 3))
        assert indexer.add([moved]).updated == 1
        assert [document.page_starts for document in index.documents(["manual"])] == [(0, 3)]
        names = "document_id text start end digest vector terms metadata text_hash details_hash passages"
        assert sorted(client.hgetall(f"ragknn:{index_name}:p:{{plain}}:0")) == sorted(names.encode().split())
        indexer.update(["manual"], label="x")
        assert [document.page_starts for document in index.documents(["manual"])] == [(0, 3)]
        assert {passage.page for passage in index.passages()} == {1, 2, None}


def test_ready_passages_keep_their_place(faces, redis_url, index_name):
    passages = [
        Passage("a#0", "a", "one", 0, 3, page=np.int64(4), headings=["A", "B"]),
        Passage("a#1", "a", "two", 4, 7),
        Passage("b#0", "b", "three", 0, 5, headings=("é \N{DEVANAGARI DANDA}",)),
    ]
    with faces.index(index_name, url=redis_url, embedder=HashingEmbedder(16)) as index:
        indexer = faces.indexer(index)
        assert indexer.add_passages(passages).added == 2
        assert places(index.passages()) == {
            "a#0": (4, ("A", "B")),
            "a#1": (None, ()),
            "b#0": (None, ("é \N{DEVANAGARI DANDA}",)),
        }
        assert indexer.add_passages(list(index.passages(vectors=True))).updated == 2  # they bring their vectors now
        assert indexer.add_passages(list(index.passages(vectors=True))).unchanged == 2
        assert indexer.add_passages([Passage("a#0", "a", "one", 0, 3, page=5, headings=("A", "B"))]).updated == 1


def test_a_place_that_cannot_be_is_refused(faces, redis_url, index_name):
    with faces.index(index_name, url=redis_url, embedder=HashingEmbedder(16)) as index:
        indexer = faces.indexer(index)
        [failure] = indexer.add_passages(
            [Passage("a#0", "a", "one", 0, 3, page=0), Passage("b#0", "b", "x", 0, 1)]
        ).failed
        assert failure.reason == "passage 'a#0': expected a page of 1 or more, or None, got 0"
        for wrong in ("A", [1], None):
            with pytest.raises(TypeError, match="expected the headings of passage 'a#0' as a tuple of str, got"):
                indexer.add_passages([Passage("a#0", "a", "one", 0, 3, headings=wrong)])
        for wrong in ("1", 1.5):
            with pytest.raises(TypeError, match="expected the page of passage 'a#0' as an integer or None, got"):
                indexer.add_passages([Passage("a#0", "a", "one", 0, 3, page=wrong)])


@pytest.mark.parametrize("starts", [(1, 0), (-1,), (0, 4), [0, 2, 1]])
def test_page_starts_that_cannot_be_are_refused(starts):
    message = r"expected the page starts of document 'a' to be ascending offsets in its text, 0 to 3, got \["
    with pytest.raises(ValueError, match=message):
        Document("a", "abc", page_starts=starts)


@pytest.mark.parametrize("starts", [None, 3, "01", [0, "1"], [0.5]])
def test_page_starts_that_are_no_integers_are_refused(starts):
    with pytest.raises(TypeError, match="expected the page starts of document 'a' as integers, got"):
        Document("a", "abc", page_starts=starts)


@pytest.mark.parametrize("starts", [[0, 2, 2, 3], np.array([0, 2, 2, 3]), range(4)])
def test_page_starts_are_kept_as_a_tuple_of_int(starts):
    document = Document("a", "abc", page_starts=starts)
    assert document.page_starts == tuple(map(int, starts))
    assert {type(start) for start in document.page_starts} == {int}


def test_a_page_without_text_and_text_before_the_first_page_count():
    text = "title. one. two. four."
    starts = [text.index("one"), text.index("two"), text.index("four"), text.index("four"), len(text)]
    cut = Splitter(1, 0, "words").split(Document("a", text, page_starts=starts))
    assert [(passage.text, passage.page) for passage in cut] == [("title.", 1), ("one.", 1), ("two.", 2), ("four.", 4)]
