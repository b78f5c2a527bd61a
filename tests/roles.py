"""The calls of each role on an index in Redis: what a reader, a writer and an admin of it do."""

from collections.abc import Callable, Iterator, Mapping
from itertools import count

import numpy as np

from ragknn import (
    Document,
    HashingEmbedder,
    Index,
    Indexer,
    LabelVoter,
    Passage,
    RagKNNError,
    Retriever,
    Splitter,
    build_context,
    list_indexes,
    tune,
)
from ragknn.estimators import KNeighborsClassifier
from ragknn.evaluation import Questions, evaluate, scan_recall
from ragknn.reports import IngestReport

DIM = 8
EMBEDDER = HashingEmbedder(DIM)
OPTIONS = {"embedder": EMBEDDER, "fields": {"n": "numeric", "t": "tag"}, "algorithm": "hnsw"}
_numbers = count()


def documents(many: int = 6) -> list[Document]:
    return [Document(f"d{n}", f"text {n} of pears. " * 15, "ab"[n % 2], {"n": n, "t": "x"}) for n in range(many)]


MANY = 1_001  # passages, more than come in one reply


def make(url: str, name: str, *, large: bool = False) -> None:
    """Make the index, with many passages of the tag "many" in it if it is to be large."""
    with Index(name, url=url, **OPTIONS) as index:
        indexer = Indexer(index, Splitter(size=40))
        indexer.add(documents()).raise_for_failures()
        many = [f"many-{number}" for number in range(MANY * large)]
        indexer.add_vectors(
            many, np.ones((len(many), DIM)), texts=many, metadata=[{"t": "many"}] * len(many)
        ).raise_for_failures()


class Calls:
    """What is called, as one user and on one index; each call opens the index anew.

    Args:
        url: with the user's login.
        name: of the index.
    """

    def __init__(self, url: str, name: str) -> None:
        self.url, self.name = url, name

    def opened(self, **options) -> Index:
        return Index(self.name, url=self.url, create=False, **options)

    def _reading(self, call: Callable, **options):
        with self.opened(**options) as index:
            return call(index)

    def _writing(self, call: Callable):
        with self.opened(embedder=EMBEDDER) as index:
            return call(Indexer(index))

    def reader(self) -> Mapping[str, Callable[[], object]]:
        ask = self._reading
        vectors = np.ones((2, DIM))
        return {
            "Index.open": lambda: self.opened().open().close(),
            "Index.count": lambda: ask(lambda index: index.count({"t": "x"})),
            "Index.count_documents": lambda: ask(lambda index: index.count_documents()),
            "Index.exists": lambda: ask(lambda index: index.exists(["d1"])),
            "Index.documents": lambda: ask(lambda index: list(index.documents(vectors=True))),
            "Index.documents(ids)": lambda: ask(lambda index: list(index.documents(["d1"], where={"t": "x"}))),
            "Index.passages": lambda: ask(lambda index: list(index.passages())),
            "Index.passages(where)": lambda: ask(lambda index: list(index.passages(where={"t": {"$prefix": "x"}}))),
            "Index.passages(many)": lambda: ask(lambda index: list(index.passages(where={"t": "many"}))),
            "Index.values": lambda: ask(lambda index: index.values("t")),
            "Index.value_range": lambda: ask(lambda index: index.value_range("n")),
            "Index.describe": lambda: ask(lambda index: index.describe()),
            "Index.map": lambda: ask(lambda index: index.map()),
            "Index.wait_until_searchable": lambda: ask(lambda index: index.wait_until_searchable()),
            "list_indexes": lambda: list_indexes(self.url),
            "Retriever.retrieve": lambda: ask(lambda index: Retriever(index).retrieve("pears")),
            "Retriever.retrieve(text)": lambda: ask(lambda index: Retriever(index).retrieve("pears", mode="text")),
            "Retriever.retrieve(where)": lambda: ask(
                lambda index: Retriever(index).retrieve("pears", mode="hybrid", where={"t": "x"}, diversity=0.3)
            ),
            "Retriever.retrieve(recall)": lambda: ask(lambda index: Retriever(index).retrieve("pears", recall=0.9)),
            "Retriever.retrieve_many": lambda: ask(lambda index: Retriever(index).retrieve_many(["pears", "x"])),
            "Retriever.retrieve_any": lambda: ask(lambda index: Retriever(index).retrieve_any(["pears", "x"])),
            "Retriever.retrieve_like": lambda: ask(lambda index: Retriever(index).retrieve_like("pears", ["x"])),
            "Retriever.kneighbors": lambda: ask(lambda index: Retriever(index).kneighbors(vectors)),
            "Retriever.kneighbors(k=None)": lambda: ask(
                lambda index: Retriever(index).kneighbors(vectors, None, max_distance=2.0)
            ),
            "build_context": lambda: ask(
                lambda index: build_context(Retriever(index).retrieve("pears", where={"t": "x"}), index, window=1)
            ),
            "LabelVoter.vote": lambda: ask(lambda index: LabelVoter(Retriever(index), 3).vote("pears")),
            "LabelVoter.vote_many": lambda: ask(lambda index: LabelVoter(Retriever(index), 3).vote_many(["pears"])),
            "LabelVoter.predict": lambda: ask(lambda index: LabelVoter(Retriever(index), 3).predict(["pears"])),
            "LabelVoter.predict_proba": lambda: ask(
                lambda index: LabelVoter(Retriever(index), 3).predict_proba(["pears"])
            ),
            "LabelVoter.refresh": lambda: ask(lambda index: LabelVoter(Retriever(index), 3).refresh()),
            "LabelVoter.tune": lambda: ask(lambda index: LabelVoter(Retriever(index), 3).tune([1, 2])),
            "tune": lambda: ask(lambda index: tune(index, [1, 2])),
            "evaluate": lambda: ask(
                lambda index: evaluate(Retriever(index), Questions({"q": "pears"}, {"q": {"d1": 1}}))
            ),
            "scan_recall": lambda: ask(lambda index: scan_recall(Retriever(index), ["pears"], k=2, efs=[10, 20])),
            "estimators": lambda: KNeighborsClassifier.from_index(self.name, url=self.url).predict(np.ones((1, DIM))),
        }

    def writer(self) -> Mapping[str, Callable[[], object]]:
        write, rows = self._writing, np.ones((1, DIM))
        new = f"new-{next(_numbers)}"
        return {
            "Index.open": lambda: self.opened().open().close(),
            "Indexer.add": lambda: write(lambda to: to.add([Document(new, "one"), *documents(3)])),
            "Indexer.add(changed)": lambda: write(
                lambda to: to.add([Document("d1", f"{new} " * 100, "a", {"t": "x"})])
            ),
            "Indexer.delete_where(many)": lambda: write(lambda to: to.delete_where({"t": "many"})),
            "Indexer.sync": lambda: write(lambda to: to.sync(documents())),
            "Indexer.add_vectors": lambda: write(lambda to: to.add_vectors([f"v-{new}"], rows)),
            "Indexer.add_passages": lambda: write(lambda to: to.add_passages([Passage(new, f"p-{new}", "text", 0, 4)])),
            "Indexer.add_passages(keep_others)": lambda: write(
                lambda to: to.add_passages([Passage(new, "d4", "text", 0, 4)], keep_others=True)
            ),
            "Indexer.delete_passages": lambda: write(lambda to: to.delete_passages(["d4#0", "nobody"])),
            "Indexer.update": lambda: write(lambda to: to.update(["d2"], where={"t": "x"}, metadata={"n": None})),
            "Indexer.update(where)": lambda: write(lambda to: to.update(where={"t": "x"}, metadata={"m": new})),
            "Indexer.delete": lambda: write(lambda to: to.delete(["d3"])),
            "Indexer.delete_where": lambda: write(lambda to: to.delete_where({"label": "a"})),
            "Indexer.clear": lambda: write(lambda to: to.clear()),
        }

    def admin(self) -> Mapping[str, Callable[[], object]]:
        fields = {f"z{next(_numbers)}": "tag", "n2": "numeric"}
        ef_construction = 100 + next(_numbers)

        def create() -> None:
            self._reading(lambda index: index.drop())
            Index(self.name, url=self.url, **OPTIONS).open().close()

        return {
            "Index.add_fields": lambda: self._reading(lambda index: index.add_fields(fields)),
            "Index.rebuild": lambda: self._reading(
                lambda index: index.rebuild(algorithm="hnsw", ef_construction=ef_construction)
            ),
            "Index.rebuild(anew)": lambda: self._reading(
                lambda index: index.rebuild(dtype="float16" if index.schema.dtype == "float32" else "float32")
            ),
            "Index.reembed": lambda: self._reading(
                lambda index: index.reembed(splitter=Splitter(size=ef_construction))
            ),
            "Index.abandon_rebuild": lambda: self._reading(lambda index: index.abandon_rebuild()),
            "Index.check": lambda: self._reading(lambda index: index.check()),
            "Index.check(repair)": lambda: self._reading(lambda index: index.check(repair=True)),
            "Index.drop, Index.open": create,
        }

    def first_writer(self) -> Mapping[str, Callable[[], object]]:
        """What the first writer to an index of an earlier release does."""
        return {"Indexer.add(moving)": lambda: self._writing(lambda to: to.delete(["nobody"]))}


def refusals(calls: Mapping[str, Callable[[], object]]) -> Iterator[str]:
    """Make the calls, and yield what each says that the server refuses."""
    for name, call in calls.items():
        try:
            made = call()
        except RagKNNError as error:
            yield f"{name}: {error}"
            continue
        if isinstance(made, IngestReport) and made.failed:
            yield f"{name}: {made.failed[0]}"
