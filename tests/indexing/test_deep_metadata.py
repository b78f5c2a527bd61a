"""Metadata that is nested deeper than it could be read back is told, and stops no batch."""

import pytest

from ragknn import Document, HashingEmbedder, Passage

OPTIONS = [{}, {"any_field": True}, {"fields": {"k.k": "tag", "k": "text"}}]


def nested(levels, kind):
    value = 1
    for _ in range(levels):
        value = {"k": value} if kind is dict else [value]
    return {"k": value}


@pytest.fixture(params=OPTIONS, ids=str)
def index(request, faces, redis_url, index_name):
    with faces.index(index_name, url=redis_url, embedder=HashingEmbedder(16), **request.param) as index:
        yield index


@pytest.mark.parametrize("kind", [dict, list])
@pytest.mark.parametrize("levels", [101, 500, 2_000, 100_000])
def test_a_document_that_is_nested_too_deeply_fails_and_keeps_no_other_out(faces, index, levels, kind):
    indexer, deep = faces.indexer(index), nested(levels, kind)
    documents = [Document("a", "before"), Document("deep", "text", None, deep), Document("z", "behind")]
    for report in (
        indexer.add(documents),
        indexer.add_vectors(["deep"], [[1.0] * 16], metadata=[deep]),
        *(
            indexer.add_passages([Passage("deep#0", "deep", "text", 0, 4, metadata=deep)], keep_others=keep_others)
            for keep_others in (False, True)
        ),
    ):
        [failure] = report.failed
        assert (failure.document_id, len(failure.reason) < 400) == ("deep", True)
        assert "nested too deeply" in failure.reason or failure.reason.startswith("field 'k'")
    assert [document.id for document in index.documents()] == ["a", "z"]
    with pytest.raises(ValueError, match="nested too deeply"):
        indexer.update(["a"], metadata=deep)


def test_what_is_nested_less_comes_back(faces, redis_url, index_name):
    with faces.index(index_name, url=redis_url, embedder=HashingEmbedder(16), any_field=True) as index:
        deep = nested(90, dict)
        assert faces.indexer(index).add([Document("deep", "text", None, deep)]).failed == ()
        assert [document.metadata for document in index.documents()] == [deep]
        assert index.count({".".join(["k"] * 91): 1}) == 1


def test_metadata_that_holds_itself_fails(faces, index):
    circular = {}
    circular["k"] = [circular]
    [failure] = faces.indexer(index).add([Document("a", "text", None, circular)]).failed
    assert "Circular" in failure.reason or "nested too deeply" in failure.reason or "field 'k'" in failure.reason


def test_a_record_that_is_nested_too_deeply_has_no_plain_form():
    with pytest.raises(ValueError, match="nested too deeply"):
        Document("a", "text", None, nested(2_000, dict)).to_dict()
