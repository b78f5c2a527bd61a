"""Half of a character has no place in Redis: it is refused by its code point, and stops no batch."""

from dataclasses import replace

import pytest

from ragknn import AsyncIndex, Document, HashingEmbedder, Index, Passage

HALF = "half \ud83d"
REFUSED = r"expected text that UTF-8 can hold, got a lone surrogate, U\+D83D, which is half of a character, in "
FIELDS = {"tag": "tag", "words": "text"}
GOOD = Passage("p", "d", "text", 0, 4)

DOCUMENTS = {
    "the id": Document(HALF, "text"),
    "the text": Document("d", HALF),
    "the label": Document("d", "text", HALF),
    "metadata['k']": Document("d", "text", None, {"k": HALF}),
    "metadata['k']['l']": Document("d", "text", None, {"k": {"l": [1, {"m": 2}, HALF]}}),
    "a key of metadata": Document("d", "text", None, {HALF: 1}),
    "a key of metadata['k']": Document("d", "text", None, {"k": {HALF: 1}}),
    "metadata['tag']": Document("d", "text", None, {"tag": ["a", HALF]}),
    "metadata['words']": Document("d", "text", None, {"words": HALF}),
}
PASSAGES = {
    "the id of passage 0": replace(GOOD, id=HALF),
    "the id": replace(GOOD, document_id=HALF),
    "the text of passage 'p'": replace(GOOD, text=HALF, end=6),
    "the label": replace(GOOD, label=HALF),
    "metadata['k']": replace(GOOD, metadata={"k": HALF}),
}


@pytest.fixture(params=[False, True], ids=["declared", "any field"])
def index(request, faces, redis_url, index_name):
    options = {"embedder": HashingEmbedder(16), "fields": FIELDS, "any_field": request.param}
    with faces.index(index_name, url=redis_url, **options) as index:
        yield index


@pytest.mark.parametrize(("place", "document"), DOCUMENTS.items(), ids=DOCUMENTS)
def test_a_document_with_half_a_character_fails_and_keeps_no_other_out(faces, index, place, document):
    indexer = faces.indexer(index)
    for report in (indexer.add([Document("a", "before"), document, Document("z", "behind")]), indexer.sync([document])):
        [failure] = report.failed
        assert failure.reason.startswith(REFUSED.replace("\\", "") + place)
    vectors = {"texts": [document.text], "labels": [document.label], "metadata": [document.metadata]}
    [failure] = indexer.add_vectors([document.id], [[1.0] * 16], **vectors).failed
    assert place in failure.reason
    assert not [one for one in index.documents() if one.id not in ("a", "z")]


@pytest.mark.parametrize(("place", "passage"), PASSAGES.items(), ids=PASSAGES)
def test_a_ready_passage_with_half_a_character_fails(faces, index, place, passage):
    report = faces.indexer(index).add_passages([replace(GOOD, document_id="a"), passage])
    [failure] = report.failed
    assert failure.reason.startswith(REFUSED.replace("\\", "") + place)
    assert [one.id for one in index.documents()] == ["a"]


@pytest.mark.parametrize(
    "where",
    [
        {"label": HALF},
        {"document_id": HALF},
        {"tag": {"$in": ["a", HALF]}},
        {"tag": {"$ne": HALF}},
        {"tag": {"$contains": HALF}},
        {"words": {"$contains": HALF}},
        {"$or": [{"label": "x"}, {"$not": {"label": HALF}}]},
    ],
)
def test_a_filter_with_half_a_character_is_refused_and_nothing_is_deleted(faces, index, where):
    indexer = faces.indexer(index)
    indexer.add([Document("a", "text", "x", {"tag": "t", "words": "w"})])
    for ask in (
        lambda: index.count(where),
        lambda: list(index.documents(where=where)),
        lambda: faces.retriever(index).retrieve("text", where=where),
        lambda: indexer.delete_where(where),
        lambda: indexer.update(where=where, label="y"),
    ):
        with pytest.raises(ValueError, match=REFUSED):
            ask()
    assert [document.label for document in index.documents()] == ["x"]


def test_names_of_fields_with_half_a_character_are_refused(faces, index):
    for ask in (lambda: index.values(HALF), lambda: index.count({HALF: 1}), lambda: index.count({HALF: None})):
        with pytest.raises(ValueError, match=f"{REFUSED}|expected a field that can be filtered on"):
            ask()
    with pytest.raises(ValueError, match=REFUSED):
        index.add_fields({HALF: "tag"})


@pytest.mark.parametrize("change", [{"label": HALF}, {"metadata": {"k": HALF}}, {"metadata": {HALF: 1}}])
def test_an_update_with_half_a_character_is_refused_before_anything_is_changed(faces, index, change):
    faces.indexer(index).add([Document("a", "text")])
    with pytest.raises(ValueError, match=REFUSED):
        faces.indexer(index).update(["a"], **change)


@pytest.mark.parametrize("kind", [Index, AsyncIndex])
def test_an_index_with_half_a_character_is_refused(kind):
    for make in (lambda: kind(HALF), lambda: kind("name", fields={HALF: "tag"})):
        with pytest.raises(ValueError, match=REFUSED):
            make()
