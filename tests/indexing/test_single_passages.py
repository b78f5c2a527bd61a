"""Single passages are added to documents and removed from them, and the others stay as they are."""

import asyncio
import random
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from embedders import CountingEmbedder
from proxies import DOWN, UP, proxy_before
from servers import private_server

from ragknn import AsyncIndex, AsyncIndexer, Document, Index, Indexer, Passage


def passage(name, text=None, document="doc", start=0, end=0, **more):
    return Passage(name, document, text or f"text of {name}", start, end, **more)


@pytest.fixture
def embedder():
    return CountingEmbedder()


@pytest.fixture
def index(faces, redis_url, index_name, embedder):
    with faces.index(index_name, url=redis_url, embedder=embedder, fields={"year": "numeric"}) as index:
        yield index


@pytest.fixture
def indexer(faces, index):
    return faces.indexer(index)


def stored(index, **options):
    return list(index.passages(**options))


def test_new_passages_come_last_and_those_of_known_ids_stand_where_they_were(index, indexer, embedder):
    indexer.add_passages([passage("a"), passage("b"), passage("c", document="other")])
    before = {one.id: one.vector for one in stored(index, vectors=True)}
    embedder.texts.clear()
    report = indexer.add_passages([passage("d"), passage("a", "a new text", metadata={"n": 1})], keep_others=True)
    assert (report.added, report.updated, report.embedded, report.ids["updated"]) == (0, 1, 2, ("doc",))
    assert report.reasons == {"doc": ("text", "metadata")}
    found = stored(index, vectors=True)
    assert [(one.document_id, one.id, one.number) for one in found] == [
        *(("doc", name, number) for number, name in enumerate("abd")),
        ("other", "c", 0),
    ]
    assert [one.text for one in found[:3]] == ["a new text", "text of b", "text of d"]
    assert (found[0].metadata, found[1].metadata) == ({"n": 1}, {})
    assert np.array_equal(found[1].vector, before["b"])
    assert embedder.texts == ["a new text", "text of d"]
    [document, _] = index.documents()
    assert document.text == "a new text\n\ntext of b\n\ntext of d"


def test_a_passage_of_the_same_text_is_not_embedded_and_what_is_the_same_is_not_written(index, indexer, embedder):
    indexer.add_passages([passage("a", metadata={"at": "x"}), passage("b")])
    embedder.texts.clear()
    again = indexer.add_passages([passage("a", metadata={"at": "x"})], keep_others=True)
    assert (again.unchanged, again.updated, again.passages) == (1, 0, 0)
    changed = indexer.add_passages([passage("a", metadata={"at": "y"})], keep_others=True)
    assert (changed.unchanged, changed.updated, changed.reasons) == (0, 1, {"doc": ("metadata",)})
    assert embedder.texts == []
    assert [one.metadata for one in index.passages()] == [{"at": "y"}, {}]
    indexer.add_passages([passage("a", metadata={})], keep_others=True)
    assert [one.metadata for one in index.passages()] == [{}, {}]


def test_passages_with_offsets_stand_by_these(index, indexer):
    text = "one two three"
    cut = {
        name: passage(name, text[start:end], start=start, end=end)
        for name, start, end in [("a", 0, 3), ("b", 4, 7), ("c", 8, 13)]
    }
    indexer.add_passages([cut["a"], cut["c"]])
    indexer.add_passages([cut["b"]], keep_others=True)
    assert [one.id for one in index.passages()] == ["a", "b", "c"]
    [document] = index.documents()
    assert document.text == text


def test_a_document_that_was_cut_here_takes_passages_and_loses_some(index, indexer):
    indexer.add([Document("doc", "first words. " * 40, 3, {"year": 2020})])
    before = stored(index, vectors=True)
    indexer.add_passages([passage("mine", metadata={"year": 1999})], keep_others=True)
    assert [one.id for one in index.passages()] == [*(one.id for one in before), "mine"]
    assert index.count({"year": 1999}) == 1
    assert indexer.delete_passages(["mine", "nobody"]) == 1
    after = stored(index, vectors=True)
    assert after == before
    assert all(np.array_equal(one.vector, other.vector) for one, other in zip(after, before, strict=True))


def test_removing_keeps_the_others_and_a_document_without_passages_is_gone(index, indexer):
    indexer.add_passages([passage("a"), passage("b"), passage("c", document="other")])
    assert indexer.delete_passages([]) == 0
    assert indexer.delete_passages(["a", "a", "c", "\ud800"]) == 2
    assert [one.id for one in index.passages()] == ["b"]
    assert index.count_documents() == 1
    assert indexer.delete_passages(["b"], where={"document_id": "other"}) == 0
    assert indexer.delete_passages(["b"]) == 1
    assert (index.count(), index.count_documents(), index.check().is_sound) == (0, 0, True)


def test_a_passage_without_a_vector_stays_without_unless_it_is_given_again(index, indexer, embedder):
    indexer.add_passages([passage("a"), passage("b")], embed=False)
    indexer.add_passages([passage("c")], keep_others=True)
    assert [one.vector is None for one in index.passages(vectors=True)] == [True, True, False]
    indexer.add_passages([passage("a")], keep_others=True)
    assert [one.vector is None for one in index.passages(vectors=True)] == [False, True, False]
    assert embedder.texts == ["text of c", "text of a"]


def test_what_cannot_be_stored_changes_nothing_of_its_document(index, indexer):
    indexer.add_passages([passage("a"), passage("z", document="other")])
    unfit = [
        *(passage("b"), passage("b", "twice")),
        passage("z2", document="other", metadata={"year": "unknown"}),
        passage("y", document="third"),
    ]
    report = indexer.add_passages(unfit, keep_others=True)
    assert [failure.document_id for failure in report.failed] == ["doc", "other"]
    assert "'b' twice" in report.failed[0].reason
    assert "year" in report.failed[1].reason
    assert [one.id for one in index.passages()] == ["a", "z", "y"]
    lenient = indexer.add_passages([unfit[2]], keep_others=True, on_bad_field="leave_out")
    assert [one.document_id for one in lenient.left_out] == ["other"]
    # What is there already with a value that does not fit is no reason to refuse what fits.
    assert indexer.add_passages([passage("z3", document="other")], keep_others=True).updated == 1
    assert indexer.delete_passages(["z"]) == 1
    assert [one.id for one in index.passages(where={"document_id": "other"})] == ["z2", "z3"]


def test_a_document_may_come_again_and_a_dry_run_writes_nothing(index, indexer):
    several = [passage("a"), passage("x", document="other"), passage("b"), passage("a", "newer")]
    told = indexer.add_passages([several[0]], keep_others=True, dry_run=True)
    assert (told.added, told.dry_run, index.count()) == (1, True, 0)
    reports = []
    report = indexer.add_passages(
        [*several[:3], replace(several[1], id="y"), several[3]], keep_others=True, progress=reports.append
    )
    assert (report.added, report.updated, report.ids["added"]) == (2, 0, ("doc", "other"))
    assert reports[-1].added == 2
    assert [(one.id, one.text) for one in index.passages()] == [
        *(("a", "newer"), ("b", "text of b")),
        *(("x", "text of x"), ("y", "text of x")),
    ]


class Short(CountingEmbedder):
    """Reads three words."""

    max_tokens = 3

    def token_spans(self, text):
        return [match.span() for match in re.finditer(r"\S+", text)]


@pytest.mark.parametrize("keep_others", [False, True])
def test_a_text_that_is_too_long_is_embedded_as_it_is_asked_for(faces, redis_url, index_name, keep_others):
    embedder = Short()
    with faces.index(index_name, url=redis_url, embedder=embedder) as index:
        indexer = faces.indexer(index)
        indexer.add_passages([passage("a", "one two three four")], long_texts="mean", keep_others=keep_others)
        assert embedder.texts == ["one two ", "three four"]
        [stored_vector] = [one.vector for one in index.passages(vectors=True)]
        mean = embedder.embed_documents(["one two ", "three four"]).mean(axis=0)
        assert np.allclose(stored_vector / np.linalg.norm(stored_vector), mean / np.linalg.norm(mean), atol=1e-6)
        with pytest.raises(ValueError, match="expected long_texts to be"):
            indexer.add_passages([passage("b")], long_texts="all", keep_others=keep_others)


def test_a_policy_that_has_no_meaning_is_refused(indexer):
    with pytest.raises(ValueError, match="on_existing='replace' with keep_others, got 'skip'"):
        indexer.add_passages([passage("a")], keep_others=True, on_existing="skip")
    with pytest.raises(TypeError, match="keep_others"):
        indexer.add_passages([passage("a")], keep_others="yes")
    with pytest.raises(TypeError, match="iterable of ids"):
        indexer.delete_passages("abc")


def test_many_threads_add_to_one_document_and_remove_from_it_and_nothing_is_lost(redis_url, index_name, embedder):
    with Index(index_name, url=redis_url, embedder=embedder) as index, ThreadPoolExecutor(8) as threads:
        indexer = Indexer(index)
        indexer.add_passages([passage(f"old{number}") for number in range(8)])

        def work(number):
            added = indexer.add_passages([passage(f"new{number}")], keep_others=True)
            return added.failed, indexer.delete_passages([f"old{number}"])

        assert list(threads.map(work, range(8))) == [((), 1)] * 8
        assert sorted(one.id for one in index.passages()) == [f"new{number}" for number in range(8)]
        assert sorted(text for text in embedder.texts if "new" in text) == [f"text of new{n}" for n in range(8)]
        assert index.check().is_sound


def test_many_tasks_make_one_document(redis_url, index_name, embedder):
    async def work():
        async with AsyncIndex(index_name, url=redis_url, embedder=embedder) as index:
            indexer = AsyncIndexer(index)
            adding = (indexer.add_passages([passage(f"p{number}")], keep_others=True) for number in range(12))
            reports = await asyncio.gather(*adding)
            return sum(one.added + one.updated for one in reports), sorted([one.id async for one in index.passages()])

    assert asyncio.run(work()) == (12, sorted(f"p{number}" for number in range(12)))


@pytest.mark.usefixtures("no_pauses")
def test_what_is_sent_again_after_a_cut_is_done_once_and_counted(faces, embedder, tmp_path):
    chance = random.Random(seed := random.randrange(10**6))
    print(f"seed {seed}")
    with (
        private_server(tmp_path) as server,
        proxy_before(server) as proxy,
        faces.index("c", url=proxy.url, embedder=embedder) as index,
    ):
        indexer = faces.indexer(index)
        several = [passage(f"{letter}{number}", document=letter) for letter in "abc" for number in range(3)]
        firsts, others = several[::3], [one for one in several if one not in several[::3]]
        for _ in range(4):
            indexer.clear()
            indexer.add_passages(firsts)
            proxy.cut(chance.choice([UP, DOWN]), after=chance.randrange(2_000))
            report = indexer.add_passages(others, keep_others=True)
            proxy.mend()
            assert (report.updated, report.unchanged, report.failed) == (3, 0, ())
            assert [one.id for one in index.passages()] == [one.id for one in several]
            proxy.cut(chance.choice([UP, DOWN]), after=chance.randrange(2_000))
            assert indexer.delete_passages([one.id for one in several[1:]]) == 8
            proxy.mend()
            assert [one.id for one in index.passages()] == ["a0"]
