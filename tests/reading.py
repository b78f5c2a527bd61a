"""Each call that reads an index, whose answer must be whole, or say that it is not, whatever befalls the server."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ragknn import (
    Document,
    HashingEmbedder,
    Index,
    Indexer,
    Retriever,
    abuild_context,
    aexport_parquet,
    aimport_index,
    alist_indexes,
    atune,
    build_context,
    export_parquet,
    import_index,
    list_indexes,
    tune,
)
from ragknn.estimators import KNeighborsClassifier, RadiusNeighborsClassifier
from ragknn.evaluation import Questions, aevaluate, ascan_recall, evaluate, scan_recall

DIM = 16
EMBEDDER = HashingEmbedder(DIM)
FIELDS = {"n": "numeric", "t": "tag"}
WHERE = {"n": {"$gte": 0}}
QUESTIONS = Questions({"q": "pears"}, {"q": {"v0001": 1}})
FLAT, GRAPH = "flat", "graph"  # two indexes of the same passages


class Told(Exception):
    """An answer that says that it is not complete."""


def documents(count: int) -> list[Document]:
    return [Document(f"v{n:04}", f"pears number{n}", "ab"[n % 2], {"n": n, "t": f"t{n % 9}"}) for n in range(count)]


def fill(url: str, count: int, *names: str) -> None:
    """Make indexes of so many documents."""
    for name in names:
        graph = {"algorithm": "hnsw", "m": 4, "ef_construction": 20} if name == GRAPH else {}
        with Index(name, url=url, embedder=EMBEDDER, fields=FIELDS, **graph) as index:
            Indexer(index).add(documents(count)).raise_for_failures()


def plain(retrievals: Any) -> list[list[tuple[str, str]]]:
    """Return what was found in a form that can be compared.

    Raises:
        Told: an answer says that it is not complete, and why.
    """
    for one in retrievals:
        if not one.complete:
            assert one.warnings
            raise Told(str(one.warnings))
    return [[(found.passage.id, found.passage.text) for found in one] for one in retrievals]


def calls(faces: Any, index: Any, folder: Path, **options: Any) -> Mapping[str, Callable[[], Any]]:
    """Return each call that reads, by name; what it returns can be compared.

    Args:
        faces: of one world.
        index: an open one, of this world, with a URL.
        folder: for files.
        options: of the retrievers.
    """
    indexer, retriever = faces.indexer(index), faces.retriever(index, **options)
    with Index(index.name, url=index.url, embedder=EMBEDDER, timeout=10) as patient:
        near = Retriever(patient).retrieve("number7 pears", k=3)
        count = patient.count()
    ids = [f"v{number:04}" for number in range(count)]
    many = [f"pears number{number}" for number in range(120)]
    vectors = np.asarray(EMBEDDER.embed_queries(many[:2]))

    def voter(**settings: Any) -> Any:
        return faces.voter(faces.retriever(index), **settings)

    def estimated(kind: Any, **settings: Any) -> list[Any]:
        return kind.from_index(index.name, url=index.url, **settings).predict(vectors).tolist()

    def exported() -> int:
        return faces.call(export_parquet, aexport_parquet, index, folder / f"{index.name}.parquet").documents

    def imported() -> int:
        source = index._keys.alias
        return faces.call(import_index, aimport_index, source, "copy", url=index.url, dry_run=True).passages

    return {
        "retrieve": lambda: plain([retriever.retrieve("number7 pears", k=3)]),
        "retrieve with a filter": lambda: plain([retriever.retrieve("number7 pears", k=3, where=WHERE)]),
        "retrieve diversely": lambda: plain([retriever.retrieve("number7 pears", k=3, diversity=0.3)]),
        "retrieve with a recall": lambda: len(plain([retriever.retrieve("number7 pears", k=3, recall=0.9)])[0]),
        "retrieve exactly": lambda: plain([retriever.retrieve("number7 pears", k=3, recall=1)]),
        "retrieve_many": lambda: plain(retriever.retrieve_many(many, k=3, where=WHERE)),
        "retrieve_any": lambda: plain([retriever.retrieve_any(["number7", "pears"], k=3)]),
        "retrieve_like": lambda: plain([retriever.retrieve_like("number7", ["pears"], k=3)]),
        "within a radius": lambda: plain([retriever.retrieve("number7 pears", k=None, max_distance=0.2)]),
        "text": lambda: plain([retriever.retrieve("number7", k=3, mode="text")]),
        "much text": lambda: plain([retriever.retrieve("pears", k=500, mode="text", where=WHERE)]),
        "hybrid": lambda: plain([retriever.retrieve("number7 pears", k=3, mode="hybrid", where=WHERE)]),
        "kneighbors": lambda: plain(retriever.kneighbors(vectors, k=3)),
        "kneighbors with a filter": lambda: plain(retriever.kneighbors(vectors, k=3, where=WHERE)),
        "count": lambda: index.count(),
        "count with a filter": lambda: index.count(WHERE),
        "count_documents": lambda: index.count_documents(WHERE),
        "values": lambda: index.values("t"),
        "value_range": lambda: index.value_range("n"),
        "exists": lambda: index.exists(ids[:400], where=WHERE),
        "documents": lambda: [one.id for one in index.documents(where={"n": {"$lt": 1_500}})],
        "all documents": lambda: sum(1 for _ in index.documents()),
        "passages": lambda: [one.id for one in index.passages()],
        "passages with a filter": lambda: sum(1 for _ in index.passages(where=WHERE)),
        "map": lambda: index.map(where=WHERE, sample=9).ids,
        "describe": lambda: index.describe().documents,
        "check": lambda: index.check().is_sound,
        "list_indexes": lambda: len(faces.call(list_indexes, alist_indexes, index.url)),
        "context": lambda: faces.call(build_context, abuild_context, near, index, window=1).text,
        "vote": lambda: voter(k=3).vote("number7").shares,
        "vote on a text": lambda: voter(k=3).vote("number7", mode="text").label,
        "vote with priors": lambda: voter(k=3, priors="balanced").vote("number7").shares,
        "predict": lambda: list(voter(k=3).predict(many[:3])),
        "classes": lambda: voter(k=3).refresh(),
        "tune": lambda: str(faces.call(tune, atune, index, ks=[1, 3], where={"n": {"$lt": 30}}).best),
        "tune a voter": lambda: str(voter(k=3, where={"n": {"$lt": 30}}).tune([1, 3]).best),
        "evaluate": lambda: faces.call(evaluate, aevaluate, retriever, QUESTIONS, {"x": {"mode": "text"}}).k,
        "scan_recall": lambda: faces.call(scan_recall, ascan_recall, retriever, many[:3], k=2, efs=[10]).k,
        "delete_where": lambda: indexer.delete_where({"n": {"$gt": 1e9}, "$or": [WHERE]}),
        "export": exported,
        "import": imported,
        "classifier": lambda: estimated(KNeighborsClassifier, n_neighbors=3),
        "within a radius, classified": lambda: estimated(RadiusNeighborsClassifier, radius=0.5),
    }
