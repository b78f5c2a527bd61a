"""An index that others drop while it is open, or with all else on the server, is missed by every call."""

import numpy as np
import pytest
from stores import search_index

from ragknn import (
    Document,
    HashingEmbedder,
    Index,
    Passage,
    Splitter,
    Verification,
    abuild_context,
    atune,
    build_context,
    tune,
)
from ragknn._protocol.rights import rules_of
from ragknn.errors import IndexNotFound
from ragknn.estimators import KNeighborsClassifier, KNeighborsRegressor, RadiusNeighborsClassifier
from ragknn.evaluation import Questions, aevaluate, evaluate

TEXTS = {"a": "red apple", "b": "green pear", "c": "blue plum"}
DOCUMENTS = [Document(name, text, "x" if name == "a" else "y", {"n": 1, "t": "v"}) for name, text in TEXTS.items()]
FIELDS = {"n": "numeric", "t": "tag"}
VECTOR = [1.0] * 16


@pytest.fixture(params=[2, 3], ids=["RESP2", "RESP3"])
def filled(request, faces, redis_url, index_name, monkeypatch):
    monkeypatch.setenv("RAGKNN_PROTOCOL", str(request.param))
    with faces.index(index_name, url=redis_url, embedder=HashingEmbedder(16), fields=FIELDS) as index:
        faces.indexer(index).add(DOCUMENTS)
        yield index


def emptied(client, name):
    """Take away what FLUSHALL would take away of one index, and as it does it: at once, with no write in between."""
    searched = search_index(client, name)
    with client.pipeline() as at_once:
        at_once.execute_command("FT.DROPINDEX", searched)
        at_once.eval("return redis.call('UNLINK', unpack(redis.call('KEYS', ARGV[1])))", 0, f"ragknn:{name}:*")
        at_once.execute()


def dropped(client, name):
    Index(name, client=client, create=False).open().drop()


def without_its_search_index(client, name):
    client.execute_command("FT.DROPINDEX", search_index(client, name), "DD")


def without_its_alias(client, name):
    client.execute_command("FT.ALIASDEL", f"ragknn:{name}")


def with_its_passages_left(client, name):
    client.execute_command("FT.DROPINDEX", search_index(client, name))


def calls(faces, index):
    indexer, retriever, voter = faces.indexer(index), faces.retriever(index), None
    voter = faces.voter(retriever, k=1)
    found = retriever.retrieve("apple", k=1)
    voter.vote("apple")
    questions = Questions(TEXTS, {name: {name: 1} for name in TEXTS})
    return {
        "vector": lambda: retriever.retrieve("apple"),
        "text": lambda: retriever.retrieve("apple", mode="text"),
        "text with a filter": lambda: retriever.retrieve("apple", mode="text", where={"n": 1}),
        "hybrid": lambda: retriever.retrieve("apple", mode="hybrid"),
        "radius": lambda: retriever.retrieve("apple", k=None, max_distance=1.0),
        "filter": lambda: retriever.retrieve("apple", where={"t": "v"}),
        "many": lambda: retriever.retrieve_many(["apple", "pear"]),
        "any": lambda: retriever.retrieve_any(["apple", "pear"]),
        "like": lambda: retriever.retrieve_like("apple", ["a red one"]),
        "kneighbors": lambda: retriever.kneighbors([VECTOR]),
        "vote": lambda: voter.vote("apple"),
        "vote_many": lambda: voter.vote_many(["apple"]),
        "predict": lambda: voter.predict(["apple"]),
        "predict_proba": lambda: voter.predict_proba(["apple"]),
        "refresh": voter.refresh,
        "voter.tune": lambda: voter.tune(ks=[1]),
        "tune": lambda: faces.call(tune, atune, index, ks=[1]),
        "context": lambda: faces.call(build_context, abuild_context, found, index, window=1),
        "evaluate": lambda: faces.call(evaluate, aevaluate, retriever, questions),
        "count": index.count,
        "count with a filter": lambda: index.count({"n": 1}),
        "count_documents": index.count_documents,
        "describe": index.describe,
        "documents": lambda: list(index.documents()),
        "documents by id": lambda: list(index.documents(["a"])),
        "documents by filter": lambda: list(index.documents(where={"n": 1})),
        "passages": lambda: list(index.passages()),
        "passages by id": lambda: list(index.passages(["a#0"])),
        "exists": lambda: index.exists(["a"]),
        "values": lambda: index.values("t"),
        "value_range": lambda: index.value_range("n"),
        "add_fields": lambda: index.add_fields({"m": "tag"}),
        "wait_until_searchable": index.wait_until_searchable,
        "add": lambda: indexer.add(DOCUMENTS),
        "sync": lambda: indexer.sync(DOCUMENTS),
        "dry run": lambda: indexer.sync(DOCUMENTS, dry_run=True),
        "add_vectors": lambda: indexer.add_vectors(["v"], [VECTOR]),
        "add_passages": lambda: indexer.add_passages(found.passages),
        "update": lambda: indexer.update(["a"], label="z"),
        "update by filter": lambda: indexer.update(where={"n": 1}, label="z"),
        "delete": lambda: indexer.delete(["a"]),
        "delete with a filter": lambda: indexer.delete(["a"], where={"n": 1}),
        "delete_where": lambda: indexer.delete_where({"n": 1}),
        "clear": indexer.clear,
    }


@pytest.mark.parametrize("go", [emptied, dropped, without_its_search_index, with_its_passages_left])
def test_every_call_says_that_the_index_is_gone(faces, filled, index_name, client, go):
    asked = calls(faces, filled)
    go(client, index_name)
    before = sorted(client.scan_iter(f"ragknn:{index_name}:*"))
    by_key = {"documents", "documents by id", "passages", "passages by id", "context"}
    by_key |= {"exists", "update", "delete", "clear"}
    is_stored = go in (without_its_search_index, with_its_passages_left)
    mend = {"add", "sync", "add_vectors", "add_passages", "update", "update by filter", "add_fields"}  # make it again
    words = f"'{index_name}' with its search index, .* call open" if is_stored else f"'{index_name}'"
    for call in [call for name, call in asked.items() if not (is_stored and name in by_key | mend)]:
        with pytest.raises(IndexNotFound, match=f"expected (index|an index named) {words}"):
            call()
    assert sorted(client.scan_iter(f"ragknn:{index_name}:*")) == before  # nothing was written


def test_an_index_that_is_gone_can_be_opened_anew_and_dropped(faces, filled, index_name, client):
    emptied(client, index_name)
    assert filled.drop() == 0
    filled.open()
    assert faces.indexer(filled).add(DOCUMENTS).added == 3


def test_a_search_index_that_others_dropped_is_made_again_of_what_is_stored(faces, filled, index_name, client):
    vectors = np.random.default_rng(1).standard_normal((3_000, 16))
    ids = [f"v{number}" for number in range(len(vectors))]
    indexer = faces.indexer(filled)
    indexer.add_vectors(ids, vectors)
    with_its_passages_left(client, index_name)
    filled.open()
    assert (filled.count(), filled.describe().percent_indexed) == (3_003, 1.0)
    found = faces.retriever(filled).kneighbors(vectors[[7]], k=1)
    assert found[0][0].passage.document_id == "v7"
    report = indexer.sync(DOCUMENTS, where={"t": "v"})
    assert (report.unchanged, report.verification) == (3, Verification(True, searchable=3_003))
    client.execute_command("FT.ALIASDEL", f"ragknn:{index_name}")
    with pytest.raises(IndexNotFound, match="or its alias; call open"):
        filled.describe()
    filled.open()
    assert filled.count() == 3_003


INGESTS = {
    "add": lambda indexer: indexer.add(DOCUMENTS),
    "sync": lambda indexer: indexer.sync(DOCUMENTS),
    "sync by filter": lambda indexer: indexer.sync(DOCUMENTS, where={"t": "v"}),
    "add_vectors": lambda indexer: indexer.add_vectors(["v"], [VECTOR]),
    "add_passages": lambda indexer: indexer.add_passages([Passage("p", "doc", "some text", 0, 9)]),
    "add_passages beside others": lambda indexer: indexer.add_passages(
        [Passage("p", "doc", "some text", 0, 9)], keep_others=True
    ),
    "update": lambda indexer: indexer.update(["a"], label="z"),
    "update by filter": lambda indexer: indexer.update(where={"n": 1}, label="z"),
}


@pytest.mark.parametrize("go", [with_its_passages_left, without_its_search_index, without_its_alias])
@pytest.mark.parametrize("name", INGESTS)
def test_whoever_writes_and_reports_makes_it_again_and_says_so(faces, filled, index_name, client, caplog, go, name):
    go(client, index_name)
    report = INGESTS[name](faces.indexer(filled))
    assert [one.kind for one in report.notes] == ["remade"]
    assert "its search index was gone" in str(report)
    assert "its search index was gone" in caplog.text
    assert report.verification.ok
    assert filled.count() == len(list(filled.passages()))
    assert faces.indexer(filled).sync([*DOCUMENTS], delete_most=True).notes == ()
    assert filled.count_documents() == 3


def test_who_may_not_make_it_is_told_that_it_is_gone(faces, filled, index_name, client, redis_url):
    rules = ["reset", "on", ">word", *rules_of(["writer"], index_name)]
    client.execute_command("ACL", "SETUSER", "nightly", *rules)
    with faces.index(index_name, url=redis_url.replace("//", "//nightly:word@"), create=False) as index:
        with_its_passages_left(client, index_name)
        before = sorted(client.scan_iter(f"ragknn:{index_name}:*"))
        with pytest.raises(IndexNotFound, match="with its search index, got its manifest without") as refused:
            faces.indexer(index).add(DOCUMENTS)
        assert "'ft.create' command" in str(refused.value.__cause__).lower()
    client.execute_command("ACL", "DELUSER", "nightly")
    assert sorted(client.scan_iter(f"ragknn:{index_name}:*")) == before


@pytest.mark.parametrize("go", [emptied, with_its_passages_left, without_its_search_index])
@pytest.mark.parametrize("method", ["add", "sync"])
def test_what_goes_under_a_writer_leaves_whole_documents(faces, filled, index_name, client, go, method):
    indexer = faces.indexer(filled, Splitter(size=2, overlap=0, unit="words"))
    new = [Document(f"n{number}", "one two three four five", "x", {"t": "v"}) for number in range(40)]

    def some():
        for number, document in enumerate([*DOCUMENTS, *new]):
            if number == 20:
                go(client, index_name)
            yield document

    if go is emptied:
        with pytest.raises(IndexNotFound, match=f"expected index '{index_name}'"):
            getattr(indexer, method)(some(), batch_size=4)
        assert list(client.scan_iter(f"ragknn:{index_name}:*")) == []
        filled.open()
    else:
        report = getattr(indexer, method)(some(), batch_size=4)
        lost = {one.document_id for one in report.failed}
        there = {one.id for one in filled.documents()}
        assert bool(lost) == (go is without_its_search_index) == (report.verification.ok is False)
        assert there == {one.id for one in [*DOCUMENTS, *new]} - lost
    assert filled.check().is_sound
    report = indexer.sync([*DOCUMENTS, *new])
    assert report.failed == ()
    assert report.verification == Verification(True, searchable=123, stored=123)
    assert indexer.sync([*DOCUMENTS, *new]).unchanged == 43
    assert {one.id: one.text for one in filled.documents()} == {one.id: one.text for one in [*DOCUMENTS, *new]}


@pytest.mark.parametrize("kind", [KNeighborsClassifier, KNeighborsRegressor, RadiusNeighborsClassifier])
@pytest.mark.parametrize("named", [False, True])
def test_estimators_say_that_their_index_is_gone(redis_url, index_name, client, kind, named):
    model = kind(url=redis_url, index=index_name if named else None).fit([[0.0], [1.0]] * 5, [0, 1] * 5)
    name = model._rows.name
    emptied(client, name)
    for ask in (lambda: model.predict([[0.0]]), lambda: model.predict(None)):
        with pytest.raises(IndexNotFound, match=f"expected index '{name}'"):
            ask()
    with pytest.raises(IndexNotFound, match=f"expected an index named '{name}'"):
        kind.from_index(name, url=redis_url)
    assert model.fit([[0.0], [1.0]] * 5, [0, 1] * 5).predict([[0.0]]) == [0]
