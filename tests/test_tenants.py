"""In an index that requires a filter on the tenant, no call shows or changes what another tenant has.

Each public name has a decision here: a call that is made as one tenant, in an index of two and in one that it has to
itself, where both must answer alike; or why there is nothing to call.
"""

import inspect
import json
import re
import tempfile
from pathlib import Path
from typing import is_typeddict

import numpy as np
import pyarrow.parquet as pq
import pytest
from commands import run_here

import ragknn
from ragknn import (
    Document,
    HashingEmbedder,
    Index,
    Indexer,
    LabelVoter,
    Neighbor,
    Passage,
    Retriever,
    Splitter,
    build_context,
    evaluation,
    export_parquet,
    tune,
)
from ragknn._plain import plain
from ragknn.estimators import KNeighborsClassifier, RadiusNeighborsClassifier
from ragknn.evaluation import Questions, evaluate, scan_recall

DIM = 16
OPTIONS = {
    "embedder": HashingEmbedder(DIM),
    "fields": {"tenant": "tag", "year": "numeric"},
    "required_filter": "tenant",
    "algorithm": "hnsw",
}
MINE = {"tenant": "beta"}
THEIRS = "alpha"  # is in every id, text, label and value of theirs
FOREIGN = ["alpha-1", "alpha-2"]


def documents(tenant: str, many: int = 8) -> list[Document]:
    return [
        Document(
            f"{tenant}-{n}",
            " ".join(f"{tenant} speaks of pears and of number {n}, sentence {m}." for m in range(12)),
            f"{tenant}-{n % 2}",
            {"tenant": tenant, "year": {"alpha": 1900, "beta": 2000}[tenant] + n, "note": f"note of {tenant}"},
        )
        for n in range(many)
    ]


@pytest.fixture
def pair(redis_url, index_name):
    """An index of two tenants, and one that the second has to itself."""
    both, alone = (Index(f"{index_name}-{what}", url=redis_url, **OPTIONS).open() for what in ("both", "alone"))
    for index, tenants in ((both, ("alpha", "beta")), (alone, ("beta",))):
        Indexer(index, Splitter(size=40)).add([one for tenant in tenants for one in documents(tenant)])
    yield both, alone
    both.drop()
    alone.drop()


# ---- the decisions ---------------------------------------------------------------------------------------------

QUERY, VECTOR = "alpha speaks of pears", np.ones((1, DIM))
JUDGED = Questions({"q": QUERY}, {"q": {"alpha-1": 1, "beta-1": 1}})
MADE_UP = Neighbor(Passage("alpha-1#1", "alpha-1", "beta", 0, 4, metadata=MINE), 0.1)


def voter(index, where):
    return LabelVoter(Retriever(index), 3, where=where)


# What only reads: called with the index and the filter.
READS = {
    "Index.count": lambda index, where: index.count(where),
    "Index.count_documents": lambda index, where: index.count_documents(where),
    "Index.documents": lambda index, where: list(index.documents(where=where)),
    "Index.documents(ids)": lambda index, where: list(index.documents([*FOREIGN, "beta-1"], where=where)),
    "Index.passages": lambda index, where: list(index.passages(where=where)),
    "Index.passages(ids)": lambda index, where: list(index.passages(["alpha-1#0", "beta-1#0"], where=where)),
    "Index.exists": lambda index, where: index.exists([*FOREIGN, "beta-1"], where=where),
    "Index.values": lambda index, where: index.values("tenant", where) | index.values("document_id", where),
    "Index.values(label)": lambda index, where: index.values("label", where),
    "Index.value_range": lambda index, where: index.value_range("year", where),
    "export_parquet": lambda index, where: exported(index, where),
    "Index.map": lambda index, where: index.map(where=where, include=["alpha-1#0", "alpha-2#0"]).passages,
    "Retriever.retrieve": lambda index, where: Retriever(index).retrieve(QUERY, 50, where=where),
    "Retriever.retrieve(text)": lambda index, where: sorted(
        one.passage.id for one in Retriever(index).retrieve(QUERY, 50, where=where, mode="text")
    ),
    "Retriever.retrieve(hybrid)": lambda index, where: sorted(
        one.passage.id for one in Retriever(index).retrieve(QUERY, 50, where=where, mode="hybrid", diversity=0.4)
    ),
    "Retriever.retrieve(recall)": lambda index, where: Retriever(index).retrieve(QUERY, 50, where=where, recall=1.0),
    "Retriever.retrieve_many": lambda index, where: Retriever(index).retrieve_many([QUERY] * 40, 50, where=where),
    "Retriever.retrieve_many(bulk)": lambda index, where: Retriever(index, bulk="always").retrieve_many(
        [QUERY] * 40, 50, where=where
    ),
    "Retriever.retrieve_any": lambda index, where: Retriever(index).retrieve_any([QUERY, "x"], 50, where=where),
    "Retriever.retrieve_like": lambda index, where: Retriever(index).retrieve_like(QUERY, ["x"], 50, where=where),
    "Retriever.kneighbors": lambda index, where: Retriever(index).kneighbors(VECTOR, 50, where=where),
    "Retriever.kneighbors(k=None)": lambda index, where: Retriever(index).kneighbors(
        VECTOR, None, max_distance=2.0, where=where
    ),
    "build_context": lambda index, where: build_context([MADE_UP], index, window=3, where=where).text,
    "LabelVoter.vote": lambda index, where: voter(index, where).vote(QUERY),
    "LabelVoter.vote_many": lambda index, where: voter(index, where).vote_many([QUERY]),
    "LabelVoter.predict": lambda index, where: voter(index, where).predict([QUERY]).tolist(),
    "LabelVoter.predict_proba": lambda index, where: voter(index, where).predict_proba([QUERY]).tolist(),
    "LabelVoter.refresh": lambda index, where: counted(voter(index, where)),
    "LabelVoter.tune": lambda index, where: voter(index, where).tune([1, 3]),
    "tune": lambda index, where: tune(index, [1, 3], where=where),
    "evaluate": lambda index, where: (
        evaluate(Retriever(index), JUDGED, settings={"one": {"where": where}}, latency_sample=0).missing
    ),
}
# What changes: likewise; what it returns is looked at, and what the index then has.
CHANGES = {
    "Indexer.sync": lambda index, where: Indexer(index).sync(documents("beta", 3), where=where).ids,
    "Indexer.update": lambda index, where: Indexer(index).update(FOREIGN, where=where, label="taken").ids,
    "Indexer.update(where)": lambda index, where: Indexer(index).update(where=where, label="mine").ids,
    "Indexer.delete": lambda index, where: Indexer(index).delete([*FOREIGN, "beta-1"], where=where),
    "Indexer.delete_passages": lambda index, where: Indexer(index).delete_passages(
        ["alpha-1#0", "alpha-2#1", "beta-1#0", "beta-2#1"], where=where
    ),
    "Indexer.delete_where": lambda index, where: Indexer(index).delete_where(where),
}
# What takes no filter, and so refuses such an index.
REFUSES = {
    "Indexer.clear": lambda index: Indexer(index).clear(),
    "scan_recall": lambda index: scan_recall(Retriever(index), [QUERY], 2, efs=[10]),
    "KNeighborsClassifier.from_index": lambda index: KNeighborsClassifier.from_index(index.name, url=index._reach.url),
    "RadiusNeighborsClassifier.from_index": lambda index: RadiusNeighborsClassifier.from_index(
        index.name, url=index._reach.url
    ),
    "KNeighborsClassifier.fit": lambda index: KNeighborsClassifier(url=index._reach.url, index=index.name).fit(
        np.ones((4, DIM)), [0, 1, 0, 1]
    ),
}
# What brings documents in is tried below, with ids of theirs.
BRINGS_IN = {"Indexer.add", "Indexer.add_vectors", "Indexer.add_passages", "import_index", "import_parquet"}
# About the index as a whole, for who has made it; `describe` counts nothing without a filter.
WHOLE = {"Index.open", "Index.close", "Index.drop", "Index.add_fields", "Index.describe"}
WHOLE |= {"Index.wait_until_searchable", "Index.rebuild", "Index.reembed", "Index.abandon_rebuild", "Index.check"}
WHOLE |= {"list_indexes"}
# Votes with what it is handed, and asks nothing.
HANDED = {"LabelVoter.vote_on"}
# Has no index, or one of its own.
ELSEWHERE = {"RedisServer", "Settings", "load_settings", "read_documents", "documents_from_pandas", "score_votes"}
ELSEWHERE |= {"read_questions", "rank_documents", "Splitter", "Schema", "VectorCache", "IndexMap", "Limits", "Rules"}
EMBEDDERS = r"\w*(Embedder|Reranker|Rank|WeightedScores)$"


def exported(index: Index, where: object) -> list[object]:
    with tempfile.TemporaryDirectory() as folder:
        export_parquet(index, file := Path(folder) / "file.parquet", where=where)
        return pq.read_table(file).drop_columns("vector").to_pylist()


def counted(one: LabelVoter):
    one.refresh()
    return one.census.documents, one.census.labelled


def decided() -> set[str]:
    names = {*READS, *CHANGES, *REFUSES, *BRINGS_IN, *WHOLE, *HANDED}
    return {name.partition("(")[0] for name in names}


def reaches_an_index(name: str, value: object) -> bool:
    """Whether a public name may ask an index: not a record, an error, a type or what has no index."""
    is_record = inspect.isclass(value) and (issubclass(value, Exception | ragknn._plain.Plain) or is_typeddict(value))
    if is_record or getattr(value, "_is_protocol", False) or name in ELSEWHERE or re.match(EMBEDDERS, name):
        return False
    return inspect.isclass(value) or inspect.isfunction(value)


@pytest.mark.parametrize("package", [ragknn, evaluation])
def test_each_public_call_has_a_decision(package):
    undecided = set()
    for name in package.__all__:
        value = getattr(package, name)
        if not reaches_an_index(name, value) or name.startswith("Async") or name in TWINS:
            continue
        if inspect.isfunction(value):
            undecided |= {name} - decided()
        else:
            methods = [one for one, method in vars(value).items() if not one.startswith("_") and callable(method)]
            inherited = ["vote_on"] if value is LabelVoter else []
            undecided |= {f"{name}.{one}" for one in [*methods, *inherited]} - decided()
    assert undecided == set()


TWINS = {
    *("abuild_context", "aevaluate", "aexport_parquet", "aimport_index", "aimport_parquet"),
    *("alist_indexes", "ascan_recall", "atune"),
}  # of one body with those above


def shown(value: object, index: Index) -> str:
    return json.dumps(plain(value), sort_keys=True, default=repr).replace(index.name, "INDEX")


@pytest.mark.parametrize("name", READS)
def test_what_is_read_is_as_if_one_were_alone(pair, name):
    both, alone = (shown(READS[name](index, MINE), index) for index in pair)
    assert both == alone
    if name != "build_context":
        assert THEIRS not in both.replace(QUERY, "")


@pytest.mark.parametrize("name", CHANGES)
def test_what_is_changed_is_as_if_one_were_alone(pair, name):
    before = list(pair[0].documents(where={"tenant": THEIRS}))
    both, alone = (shown(CHANGES[name](index, MINE), index) for index in pair)
    assert both == alone
    assert list(pair[0].documents(where={"tenant": THEIRS})) == before
    mine, copy = (list(index.documents(where=MINE)) for index in pair)
    assert mine == copy


@pytest.mark.parametrize("where", [None, {"year": {"$gt": 0}}, {"$or": [MINE, {"year": 1}]}, {"$not": MINE}], ids=str)
def test_nothing_is_done_without_the_filter(pair, where):
    before = list(pair[0].documents(where={"tenant": {"$in": [THEIRS, "beta"]}}))
    for name, call in {**READS, **CHANGES}.items():
        with pytest.raises(ValueError, match=r"expected .*filter"):
            print(name, call(pair[0], where))
    assert list(pair[0].documents(where={"tenant": {"$in": [THEIRS, "beta"]}})) == before


@pytest.mark.parametrize("name", REFUSES)
def test_what_takes_no_filter_refuses_the_index(pair, name):
    before = pair[0].count({"tenant": THEIRS})
    with pytest.raises((ValueError, ragknn.RagKNNError), match=r"required|requires|different settings"):
        REFUSES[name](pair[0])
    assert pair[0].count({"tenant": THEIRS}) == before


def test_totals_are_those_of_the_filter(pair, tmp_path):
    both, alone = pair
    total, mine = both.describe(), both.describe(MINE)
    assert (total.documents, total.passages, total.memory_bytes, total.measured_recall) == (None, None, None, {})
    assert (mine.documents, mine.passages) == (8, alone.count(MINE))
    assert "not counted without a filter on" in total._repr_html_()
    with pytest.raises(ValueError, match="expected a filter on 'tenant'"):
        both.describe({"year": 1})
    environ = {"RAGKNN_URL": both._reach.url}
    printed = run_here(["info", both.name, "--where", json.dumps(MINE), "--json"], "", tmp_path, environ)
    assert json.loads(printed.stdout)["documents"] == 8
    assert "documents" not in run_here(["info", both.name], "", tmp_path, environ).stdout
    assert re.search(rf"{both.name} +- +- ", run_here(["list"], "", tmp_path, {**environ, "COLUMNS": "140"}).stdout)


# ---- ids -------------------------------------------------------------------------------------------------------

STOLEN = Document("alpha-1", "beta writes in the place of another", "taken", MINE)


def stored_as(indexer, way: str, document: Document, **options):
    match way:
        case "add":
            return indexer.add([document], **options)
        case "sync":
            return indexer.sync([document], where=MINE)
        case "vectors":
            return indexer.add_vectors([document.id], VECTOR, metadata=[document.metadata], **options)
        case "single passages":
            return indexer.add_passages(
                [Passage("p", document.id, "text", 0, 4, metadata=document.metadata)], keep_others=True, **options
            )
        case "passages":
            return indexer.add_passages(
                [Passage("p", document.id, "text", 0, 4, metadata=document.metadata)], **options
            )


@pytest.mark.parametrize("way", ["add", "sync", "vectors", "passages"])
@pytest.mark.parametrize(
    "options", [{}, {"on_existing": "skip"}, {"on_existing": "fail"}, {"on_repeated": "last"}], ids=str
)
def test_nobody_takes_the_id_of_another(faces, pair, redis_url, way, options):
    both, _ = pair
    before = list(both.documents(where={"tenant": THEIRS}, vectors=True))
    with faces.index(both.name, url=redis_url, embedder=OPTIONS["embedder"]) as index:
        report = stored_as(faces.indexer(index), way, STOLEN, **options)
        [failure] = report.failed
        assert (failure.document_id, report.added + report.updated + report.unchanged + report.skipped) == (
            "alpha-1",
            0,
        )
        assert "expected an id of its own" in failure.reason
    after = list(both.documents(where={"tenant": THEIRS}, vectors=True))
    assert [one.to_dict() for one in after] == [one.to_dict() for one in before]


@pytest.mark.parametrize("options", [{}, {"dry_run": True}], ids=str)
def test_nobody_adds_a_passage_to_a_document_of_another(faces, pair, redis_url, options):
    both, _ = pair
    before = list(both.documents(where={"tenant": THEIRS}, vectors=True))
    with faces.index(both.name, url=redis_url, embedder=OPTIONS["embedder"]) as index:
        [failure] = stored_as(faces.indexer(index), "single passages", STOLEN, **options).failed
        assert "expected an id of its own" in failure.reason
    after = list(both.documents(where={"tenant": THEIRS}, vectors=True))
    assert [one.to_dict() for one in after] == [one.to_dict() for one in before]


def test_a_text_of_another_is_not_taken_over_by_new_details(faces, pair):
    both, _ = pair
    theirs = documents("alpha")[1]
    mine = Document(theirs.id, theirs.text, "taken", MINE)  # the same text, so that nothing would be embedded
    indexer = Indexer(both)
    [dry], [wet] = indexer.add([mine], dry_run=True).failed, indexer.add([mine]).failed
    assert dry.reason == wet.reason
    assert list(both.documents([theirs.id], where={"tenant": THEIRS})) == [theirs]
    assert indexer.add([theirs]).unchanged == 1


def test_a_sync_by_the_filter_of_one_brings_in_nothing_of_others(faces, pair, redis_url):
    both, _ = pair
    before = list(both.documents(where={"tenant": THEIRS}))
    foreign, shared = (
        Document(f"new-{n}", "text", None, {"tenant": of}) for n, of in enumerate([THEIRS, ["beta", "x"]])
    )
    with faces.index(both.name, url=redis_url, embedder=OPTIONS["embedder"]) as index:
        report = faces.indexer(index).sync([foreign, shared, *documents("beta")], where=MINE)
        assert [(one.document_id, report.added, report.deleted) for one in report.failed] == [("new-0", 1, 0)]
        assert "expected a document that the filter on 'tenant' matches" in report.failed[0].reason
        other = {"$and": [{"tenant": {"$in": [THEIRS, "beta"]}}, {"year": 0}]}
        assert faces.indexer(index).sync([foreign], where=other).added == 1
        faces.indexer(index).delete(["new-0"], where={"tenant": THEIRS})
    assert list(both.documents(where={"tenant": THEIRS})) == before


class Interrupted(HashingEmbedder):
    """Lets another writer store a document while this one embeds, which is between its look-up and its write."""

    def __init__(self, call) -> None:
        super().__init__(DIM)
        self._call = call

    def embed_documents(self, texts):
        self._call()
        return super().embed_documents(texts)


@pytest.mark.parametrize("many", [1, 40], ids=["one passage", "several"])
def test_of_two_that_store_a_new_id_at_once_the_first_has_it(pair, many):
    both, _ = pair
    mine, theirs = (Document("new", "a sentence. " * many, None, {"tenant": tenant}) for tenant in ("beta", THEIRS))
    slow = Interrupted(lambda: Indexer(both).add([theirs]))
    with Index(both.name, url=both._reach.url, embedder=slow) as index:
        assert [failure.document_id for failure in Indexer(index).add([mine]).failed] == ["new"]
    assert list(both.documents(["new"], where={"tenant": {"$in": [THEIRS, "beta"]}})) == [theirs]


def test_who_shares_a_document_may_share_it_with_more_and_takes_it_from_nobody(pair):
    both, _ = pair
    indexer = Indexer(both)
    one, two, three = (
        Document("shared", "text", None, {"tenant": tenants}) for tenants in (["beta"], ["beta", "alpha"], ["alpha"])
    )
    assert indexer.add([one]).added == 1
    assert indexer.add([two]).updated == 1
    assert [failure.document_id for failure in indexer.add([three]).failed] == ["shared"]
    assert indexer.update(["shared"], where=MINE, metadata={"tenant": ["alpha"]}).updated == 1
    assert indexer.add([three]).unchanged == 1


def test_an_index_that_requires_nothing_is_asked_nothing_more(redis_url, index_name, commands):
    with Index(index_name, url=redis_url, embedder=OPTIONS["embedder"], fields={"tenant": "tag"}) as index:
        indexer = Indexer(index)
        indexer.add(documents("alpha", 2))
        with commands as sent:
            indexer.add([Document("alpha-1", "another " * 100, None, MINE)], on_existing="replace")
        assert [name for name, *_ in sent if name.startswith(("FT.", "EVAL"))] == [
            "FT.INFO",
            "EVAL_RO",
            "EVAL_RO",  # what has changed, for the report
            "EVAL",
            "FT.INFO",
        ]
        assert "table.remove(ARGV)" not in str(sent)
