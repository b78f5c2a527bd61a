"""Calls under which the index is rebuilt, between any two of their steps: they go on in what serves then.

Each public call that asks an index is here, or is known not to be about what an index holds.
"""

import inspect
from functools import partial
from itertools import count, cycle

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from stepping import Steps
from stores import check_tidy

import ragknn
from ragknn import (
    Document,
    HashingEmbedder,
    Index,
    IndexRebuilt,
    Passage,
    Splitter,
    abuild_context,
    aexport_parquet,
    atune,
    build_context,
    export_parquet,
    tune,
)
from ragknn.estimators import KNeighborsClassifier
from ragknn.evaluation import Questions, aevaluate, ascan_recall, evaluate, scan_recall
from ragknn.transfer._restoring import Restoring

EMBEDDER = HashingEmbedder(8)
SHORT, LONG = (Splitter(size=size, overlap=0, unit="words") for size in (4, 9))
DOCUMENTS = [
    Document(f"d{n}", f"letter {n} of pears " * (n % 3 + 1), "ab"[n % 2], {"n": n, "kind": "xy"[n % 2], "year": n})
    for n in range(6)
]
NEW, CHANGED = Document("new", "a new one " * 6), Document("d0", "another text " * 6, metadata={"kind": "x"})
X = {"kind": "x"}
JUDGED = Questions({"q": "letter 5"}, {"q": {"d5": 1}})
OWN = [Passage("own", "d1", "some text", 0, 0)]


def ids(some):
    return [one.id for one in some]


def exported(faces, index, folder):
    faces.call(export_parquet, aexport_parquet, index, folder / "file.parquet")
    table = pq.read_table(folder / "file.parquet")
    return list(dict.fromkeys(table["document_id"].to_pylist()))


def context(faces, index):
    found = faces.retriever(index).retrieve("letter 5 of pears", 1)
    return faces.call(build_context, abuild_context, found, index, window=1).text[:6]


def added_fields(faces, index):
    report = index.add_fields({"year": "numeric"})
    return sorted(report.ids["updated"]), index.count_documents({"year": {"$lt": 3}})


def fitted(faces, index):
    model = KNeighborsClassifier(index=index.name, url=faces.bare(index)._reach.url, n_neighbors=1, bulk="never")
    model._attach(faces.bare(index))
    model.kneighbors()
    return sorted({name.partition("#")[0] for name in model.ids_})


def counts(report):
    kinds = {kind for note in report.notes if (kind := note.kind) != "changed"}
    return report.added, report.updated, report.unchanged, report.skipped, report.deleted, len(report.failed), kinds


def imported(faces, index, folder):
    columns = {"document_id": ["d1", "new"], "text": ["own text"] * 2, "vector": [[1.0] * 8] * 2}
    pq.write_table(pa.table(columns), file := folder / "more.parquet")
    restoring = Restoring(file, index.name, index._reach.url, EMBEDDER, None, None, dry_run=False)
    return counts(index._run(restoring.writing(index, None)))


READS = {
    "dry run": lambda faces, index, _: counts(faces.indexer(index).sync([NEW, CHANGED, *DOCUMENTS[1:]], dry_run=True)),
    "count": lambda faces, index, _: index.count(X) > 0,
    "count_documents": lambda faces, index, _: index.count_documents(X),
    "values": lambda faces, index, _: index.values("kind"),
    "value_range": lambda faces, index, _: index.value_range("n"),
    "exists": lambda faces, index, _: index.exists((one for one in ["d0", "no"]), where=X),
    "documents": lambda faces, index, _: ids(index.documents()),
    "documents(where)": lambda faces, index, _: ids(index.documents(where=X)),
    "passages": lambda faces, index, _: list(dict.fromkeys(one.document_id for one in index.passages())),
    "passages(where)": lambda faces, index, _: list(dict.fromkeys(one.document_id for one in index.passages(where=X))),
    "passages(ids)": lambda faces, index, _: ids(index.passages(["d0#0"])),
    "export_parquet": exported,
    "describe": lambda faces, index, _: index.describe(X).documents,
    "map": lambda faces, index, _: len(index.map(sample=4, include=(one for one in ["d0#0"])).passages) > 3,
    "check": lambda faces, index, _: (index.check(repair=True).is_sound, index.check().documents),
    "wait_until_searchable": lambda faces, index, _: index.wait_until_searchable(),
    "retrieve": lambda faces, index, _: len(faces.retriever(index).retrieve("letter 5", 3)),
    "retrieve(text)": lambda faces, index, _: len(faces.retriever(index).retrieve("letter 5", 3, mode="text")),
    "retrieve(hybrid)": lambda faces, index, _: len(
        faces.retriever(index).retrieve("letter 5", 2, mode="hybrid", diversity=0.4, where=X)
    ),
    "retrieve(recall)": lambda faces, index, _: len(faces.retriever(index).retrieve("letter 5", 3, recall=0.9)),
    "retrieve_many": lambda faces, index, _: len(faces.retriever(index).retrieve_many(iter(["letter 5", "pears"]), 3)),
    "retrieve_many(bulk)": lambda faces, index, _: len(
        faces.retriever(index, bulk="always").retrieve_many(["letter 5", "pears"], 3)
    ),
    "retrieve_any": lambda faces, index, _: len(faces.retriever(index).retrieve_any(["letter 5", "pears"], 3)),
    "retrieve_like": lambda faces, index, _: len(faces.retriever(index).retrieve_like("letter 5", ["pears"], 3)),
    "kneighbors": lambda faces, index, _: len(faces.retriever(index).kneighbors([[1.0] * 8], None, max_distance=2)),
    "build_context": lambda faces, index, _: context(faces, index),
    "vote": lambda faces, index, _: faces.voter(faces.retriever(index), 3).vote("letter 5").label in ("a", "b"),
    "vote_many": lambda faces, index, _: len(faces.voter(faces.retriever(index), 3).vote_many(["letter 5"])),
    "predict": lambda faces, index, _: len(faces.voter(faces.retriever(index), 3).predict(["letter 5"])),
    "predict_proba": lambda faces, index, _: faces.voter(faces.retriever(index), 3).predict_proba(["letter 5"]).shape,
    "refresh": lambda faces, index, _: faces.voter(faces.retriever(index), 3).refresh(),
    "LabelVoter.tune": lambda faces, index, _: len(faces.voter(faces.retriever(index), 3).tune([1]).settings),
    "tune": lambda faces, index, _: len(faces.call(tune, atune, index, [1, 3], where=X).settings),
    "evaluate": lambda faces, index, _: (
        faces.call(evaluate, aevaluate, faces.retriever(index), JUDGED, latency_sample=1).missing
    ),
    "scan_recall": lambda faces, index, _: (
        faces.call(scan_recall, ascan_recall, faces.retriever(index), ["letter 5"], 2, efs=[9]).queries
    ),
    "from_index": lambda faces, index, _: fitted(faces, index),
}
WRITES = {
    "add_fields": lambda faces, index, _: added_fields(faces, index),
    "add": lambda faces, index, _: counts(faces.indexer(index).add([NEW, CHANGED])),
    "add(skip)": lambda faces, index, _: counts(faces.indexer(index).add([NEW, *DOCUMENTS], on_existing="skip")),
    "import_parquet": lambda faces, index, folder: imported(faces, index, folder),
    "sync": lambda faces, index, _: counts(faces.indexer(index).sync([CHANGED, *DOCUMENTS[1:-2]])),
    "sync(where)": lambda faces, index, _: counts(faces.indexer(index).sync([CHANGED, DOCUMENTS[2]], where=X)),
    "add_vectors": lambda faces, index, _: faces.indexer(index).add_vectors(["v"], [[1.0] * 8], texts=["own"]).added,
    "add_passages": lambda faces, index, _: faces.indexer(index).add_passages(OWN).updated,
    "add_passages(keep_others)": lambda faces, index, _: (
        faces.indexer(index).add_passages(OWN, keep_others=True).updated
    ),
    "update": lambda faces, index, _: faces.indexer(index).update(["d1", "d2"], metadata={"z": 1}).updated,
    "update(where)": lambda faces, index, _: faces.indexer(index).update(where=X, label="c").updated,
    "delete": lambda faces, index, _: faces.indexer(index).delete(["d1", "d2"], where=X),
    "delete_where": lambda faces, index, _: faces.indexer(index).delete_where(X),
    "delete_passages": lambda faces, index, _: faces.indexer(index).delete_passages(["d0#0", "d2#0"], where=X),
    "clear": lambda faces, index, _: faces.indexer(index).clear(),
}
# What changes which version serves, makes an index or removes it, and what asks none.
ELSEWHERE = {"open", "close", "drop", "rebuild", "reembed", "abandon_rebuild", "like", "vote_on"}


def test_each_public_call_is_here():
    there = {name.partition("(")[0].rpartition(".")[2] for name in (*READS, *WRITES)} | ELSEWHERE
    for kind in (ragknn.Index, ragknn.Indexer, ragknn.Retriever, ragknn.LabelVoter):
        public = {name for name, one in inspect.getmembers(kind, callable) if not name.startswith("_")}
        assert public <= there


def rewritten(index):
    index.rebuild(dtype={"float32": "float16", "float16": "float32"}[index.schema.dtype], recall=0)


def rearranged(index):
    index.rebuild(algorithm={"flat": "hnsw", "hnsw": "flat"}[index.schema.algorithm], recall=0)


def recut(index):
    index.reembed(splitter=LONG if index.schema.splitter == SHORT else SHORT, recall=0)


def filled(url, name):
    with Index(name, url=url, embedder=EMBEDDER, fields={"kind": "tag", "n": "numeric"}) as index:
        ragknn.Indexer(index, SHORT).add(DOCUMENTS).raise_for_failures()


def state(index):
    return {one.id: (one.text, one.label, one.metadata) for one in index.documents()}


# One body is behind both worlds: what waits by itself is tried in both, and of the rest one of each kind.
ASYNC = ("documents(where)", "passages", "passages(where)", "retrieve", "export_parquet", "add_fields", "delete_where")


def both(names):
    return [("sync", name) for name in names] + [("async", name) for name in names if name in ASYNC]


@pytest.mark.parametrize(("faces", "name"), both(READS), indirect=["faces"])
def test_a_read_answers_as_if_nothing_had_been(faces, redis_url, index_name, tmp_path, name):
    filled(redis_url, index_name)
    switches, steps = (
        cycle([rewritten, rearranged] if name == "from_index" else [recut, rearranged, rewritten]),
        Steps(),
    )
    with Index(index_name, url=redis_url) as other, steps.index(faces, index_name, url=redis_url) as index:
        expected = READS[name](faces, index, tmp_path)
        for at in count():
            steps.disturb(at, partial(next(switches), other))
            assert READS[name](faces, index, tmp_path) == expected
            if steps.count <= at:
                break


@pytest.mark.long
@pytest.mark.parametrize(("faces", "name"), both(WRITES), indirect=["faces"])
def test_a_write_is_done_in_what_serves_in_the_end(faces, redis_url, index_name, client, tmp_path, name):
    filled(redis_url, index_name)
    steps = Steps()
    with steps.index(faces, index_name, url=redis_url) as index:
        expected = WRITES[name](faces, index, tmp_path), state(index)
        index.drop()
    turns = cycle([rewritten, rearranged] if name == "delete_passages" else [rewritten, rearranged, recut])
    for at in count():
        filled(redis_url, index_name)
        with Index(index_name, url=redis_url) as other, steps.index(faces, index_name, url=redis_url) as index:
            steps.disturb(at, partial(next(turns), other))
            assert (WRITES[name](faces, index, tmp_path), state(other)) == expected
            if steps.count <= at:
                break
            assert other.check().is_sound
            check_tidy(client, index_name)
            other.drop()


def test_passages_are_not_deleted_by_ids_that_others_have_by_now(faces, redis_url, index_name):
    filled(redis_url, index_name)
    with Index(index_name, url=redis_url) as other, faces.index(index_name, url=redis_url) as index:
        indexer, before = faces.indexer(index), state(other)
        recut(other)
        with pytest.raises(IndexRebuilt, match="0 were deleted before; look for the ids of the others"):
            indexer.delete_passages(["d0#0", "d1#1"])
        assert state(other) == before
        assert indexer.delete_passages(["d0#0", "d2#1"]) == 2
        ragknn.Indexer(other).add_passages([Passage("own", "d4", "some text", 0, 0)], keep_others=True)
        recut(other)
        assert indexer.delete_passages(["own"]) == 1  # an id of its own is that of the same passage
        steps = Steps()
        with steps.index(faces, index_name, url=redis_url) as late:
            steps.disturb(4, partial(recut, other))
            with pytest.raises(IndexRebuilt, match="got its documents cut anew meanwhile"):
                faces.indexer(late).delete_passages(["d3#0"])


def test_what_is_listed_by_a_cursor_begins_again_where_that_is_gone(faces, redis_url, index_name):
    steps, many = Steps(), [f"d{n}" for n in range(1_100)]
    with Index(index_name, url=redis_url, dim=2, metric="l2", fields={"kind": "tag"}) as other:
        ragknn.Indexer(other).add_vectors(many, [[1.0, 2.0]] * len(many), metadata=[X] * len(many))
        with steps.index(faces, index_name, url=redis_url) as index:
            steps.disturb(1, partial(rearranged, other))
            assert ids(index.documents(where=X)) == sorted(many)


def test_an_index_that_is_cleared_has_whole_documents_between_any_two_steps(faces, redis_url, index_name):
    steps, looks = Steps(), []
    many = [Document(f"d{n}", "one two three four five six") for n in range(1_200)]
    with Index(index_name, url=redis_url, embedder=EMBEDDER) as other:
        ragknn.Indexer(other, SHORT).add(many)

        def look():
            report = other.check()
            looks.append((report.is_sound, report.passages == 2 * report.documents))

        with steps.index(faces, index_name, url=redis_url) as index:
            steps.disturb(None, look)
            assert faces.indexer(index).clear() == 1_200
        assert set(looks) == {(True, True)}
        assert len(looks) > 4
        assert other.count() == 0
