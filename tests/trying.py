"""A trial of wrong objects: public callables with arguments that they take, and values to put in the place of each."""

import asyncio
import dataclasses
import decimal
import inspect
import math
import re
from collections.abc import AsyncIterator, Iterator

import numpy as np
import pandas as pd

from ragknn import (
    AsyncIndex,
    AsyncIndexer,
    AsyncLabelVoter,
    AsyncRetriever,
    CrossEncoderReranker,
    Document,
    EmbeddingReranker,
    FunctionEmbedder,
    HashingEmbedder,
    Index,
    Indexer,
    LabelVoter,
    Layout,
    Limits,
    Neighbor,
    OpenAIEmbedder,
    Passage,
    ReciprocalRank,
    Retrieval,
    Retriever,
    Rules,
    Schema,
    SentenceEmbedder,
    Splitter,
    Vote,
    WeightedScores,
    abuild_context,
    aexport_parquet,
    aimport_index,
    aimport_parquet,
    alist_indexes,
    atune,
    build_context,
    documents_from_pandas,
    export_parquet,
    import_index,
    import_parquet,
    list_indexes,
    read_documents,
    score_votes,
    tune,
)
from ragknn.embedding import CachedEmbedder, VectorCache, embed_documents, embed_queries
from ragknn.errors import RagKNNError
from ragknn.evaluation import Questions, aevaluate, ascan_recall, evaluate, rank_documents, read_questions, scan_recall
from ragknn.retrieval import numbered
from ragknn.text import sentence_starts

DIM = 16
DOCUMENTS = [Document(f"d{n}", f"text number {n} of pears", "ab"[n % 2], {"n": n, "t": "x"}) for n in range(6)]

# Classes of which one gets objects, and makes none.
RESULTS = {"Context", "Failure", "IndexInfo", "IndexMap", "IngestReport", "Note", "Scores", "Setting", "Source"}
RESULTS |= {"Tuning", "Comparison", "Estimate", "Evaluation", "Latency", "RecallPoint", "RecallScan", "SettingResult"}
RESULTS |= {"DocumentReader", "Engine", "ServerInfo", "RebuildReport", "CheckReport", "Verification"}
RESULTS |= {"ExportReport", "ImportReport", "Loss"}
SETTINGS = {"Settings", "load_settings", "RedisServer"}  # which other tests try


def deep(levels=3_000):
    nested = []
    for _ in range(levels):
        nested = [nested]
    return nested


class Rude:
    """An object whose own methods fail."""

    def __repr__(self):
        raise RuntimeError("no repr")

    def __len__(self):
        return -1


# Made anew for each trial, since some are used up.
WRONG = {
    "None": lambda: None,
    "True": lambda: True,
    "3": lambda: 3,
    "0": lambda: 0,
    "-1": lambda: -1,
    "10**400": lambda: 10**400,
    "10**5000": lambda: 10**5_000,
    "0.5": lambda: 0.5,
    "nan": lambda: math.nan,
    "inf": lambda: math.inf,
    "-inf": lambda: -math.inf,
    "complex": lambda: 1j,
    "sNaN": lambda: decimal.Decimal("sNaN"),
    "text": lambda: "text",
    "empty text": lambda: "",
    "long text": lambda: "w" * 100_000,
    "half a character": lambda: "\ud83d",
    "null": lambda: "\0",
    "bytes": lambda: b"text",
    "list of None": lambda: [None],
    "list of numbers": lambda: [1.0, 2.0],
    "list of texts": lambda: ["a", "b"],
    "empty list": lambda: [],
    "ragged list": lambda: [[1.0], [1.0, 2.0]],
    "mapping": lambda: {"a": 1},
    "odd mapping": lambda: {1: None, None: object()},
    "empty mapping": lambda: {},
    "set": lambda: {1, "a"},
    "object": lambda: object(),
    "class": lambda: Index,
    "function": lambda: lambda: None,
    "generator": lambda: (one for one in ("a", 1)),
    "range": lambda: range(3),
    "array": lambda: np.ones((2, 3)),
    "array of texts": lambda: np.array(["a", "b"]),
    "number of NumPy": lambda: np.float32(2.5),
    "NaT": lambda: np.datetime64("NaT"),
    "DataFrame": lambda: pd.DataFrame({"a": [1, 2]}),
    "Series": lambda: pd.Series(["a", "b"]),
    "NA": lambda: pd.NA,
    "deep": deep,
    "rude": lambda: Rude(),
    "module": lambda: math,
}


def embed(texts):
    return np.ones((len(texts), DIM))


def questions():
    return Questions({"q": "pears"}, {"q": {"d1": 1}})


def callables(world):
    """Return what is tried, by name: a callable, and arguments that it takes.

    Args:
        world: has a `url`, an open `index` of DOCUMENTS, one to write to (`scratch`), and their async twins.
    """
    index, scratch, aindex = world.index, world.scratch, world.asynchronous
    indexer, retriever, voter = Indexer(scratch), Retriever(index), LabelVoter(Retriever(index), 3)
    aindexer, aretriever = AsyncIndexer(world.ascratch), AsyncRetriever(aindex)
    avoter = AsyncLabelVoter(aretriever, 3)
    file = world.rows.with_name("index.parquet")
    export_parquet(index, file)
    passage = Passage("p", "d", "text", 0, 4)
    neighbor = Neighbor(passage, 0.5)
    retrieval = retriever.retrieve("pears", k=3)
    found = {
        "k": 3,
        "where": {"n": {"$gte": 1}},
        "mode": "vector",
        "max_distance": 2.0,
        "diversity": 0.0,
        "per_document": 2,
        "rerank": None,
        "candidates": 10,
        "fusion": WeightedScores(),
        "with_vectors": False,
        "recall": None,
    }
    options = {"where": {"t": "x"}, "mode": "vector", "rerank": None, "candidates": 10, "fusion": WeightedScores()}
    options |= {"recall": None}
    ingest = {
        "on_existing": "replace",
        "on_repeated": "first",
        "on_bad_field": "fail",
        "batch_size": 8,
        "progress": None,
    }
    sync = {"on_repeated": "first", "on_bad_field": "fail", "batch_size": 8, "progress": None}
    vectors = np.ones((2, DIM))
    ready = {
        "ids": ["v", "w"],
        "vectors": vectors,
        "texts": ["a", "b"],
        "labels": ["x", None],
        "metadata": [{}, {"n": 1}],
    }
    named = {
        "name": "trial",
        "url": "redis://localhost:1",
        "embedder": HashingEmbedder(DIM),
        "metric": "cosine",
        "algorithm": "hnsw",
        "m": 8,
        "ef_construction": 100,
        "dtype": "float32",
        "fields": {"n": "numeric"},
        "any_field": False,
        "text_search": True,
        "language": "english",
        "stop_words": ["the"],
        "required_filter": None,
        "create": True,
        "timeout": 2.0,
    }
    rules = {
        "k": 3,
        "weights": "uniform",
        "one_vote_per_document": True,
        "count_duplicates": False,
        "max_distance": None,
        "min_share": 0.0,
        "min_votes": 1,
        "priors": None,
    }
    table = {
        # records
        "Document": (Document, {"id": "a", "text": "text", "label": "x", "metadata": {}}),
        "Retrieval": (Retrieval, {"neighbors": [neighbor], "query": "q", "complete": True, "warnings": ["w"]}),
        # values without a server
        "Splitter": (Splitter, {"size": 20, "overlap": 5, "unit": "tokens"}),
        "Splitter.split": (Splitter().split, {"document": DOCUMENTS[0]}),
        "sentence_starts": (sentence_starts, {"text": "One. Two."}),
        "HashingEmbedder": (HashingEmbedder, {"dim": DIM}),
        "HashingEmbedder.embed_documents": (HashingEmbedder(DIM).embed_documents, {"texts": ["a"]}),
        "HashingEmbedder.embed_queries": (HashingEmbedder(DIM).embed_queries, {"texts": ["a"]}),
        "embed_documents": (embed_documents, {"embedder": HashingEmbedder(DIM), "texts": ["a"], "long_texts": "mean"}),
        "embed_queries": (embed_queries, {"embedder": HashingEmbedder(DIM), "texts": ["a"], "long_queries": "mean"}),
        "FunctionEmbedder": (
            lambda **given: FunctionEmbedder(**given).embed_documents(["a"]),
            {"name": "mine", "embed_documents": embed, "dim": DIM, "max_tokens": 10},
        ),
        "SentenceEmbedder": (
            SentenceEmbedder,
            {
                **{"model": "a/model", "name": None, "device": "cpu", "batch_size": 4, "query_prompt": "query: "},
                **{"document_prompt": "passage: ", "revision": "main", "truncate_dim": 8, "trust_remote_code": False},
                **{"model_kwargs": {"dtype": "float16"}, "backend": "torch"},
            },
        ),
        "VectorCache": (VectorCache, {"folder": None, "size": 5}),
        "CachedEmbedder": (CachedEmbedder, {"embedder": HashingEmbedder(DIM), "cache": None, "progress": None}),
        "CachedEmbedder.embed_documents": (CachedEmbedder(HashingEmbedder(DIM)).embed_documents, {"texts": ["a"]}),
        "CachedEmbedder.embed_queries": (CachedEmbedder(HashingEmbedder(DIM)).embed_queries, {"texts": ["a"]}),
        "Schema": (Schema, {**{k: named[k] for k in ("metric", "m", "dtype", "fields")}, "embedder": "e", "dim": 3}),
        "ReciprocalRank": (ReciprocalRank, {"constant": 60.0}),
        "ReciprocalRank.fuse": (ReciprocalRank().fuse, {"rankings": [[("a", 1.0)]]}),
        "WeightedScores.fuse": (WeightedScores().fuse, {"rankings": [[("a", 1.0)], [("b", 1.0)]]}),
        "EmbeddingReranker": (EmbeddingReranker, {"embedder": HashingEmbedder(DIM)}),
        "EmbeddingReranker()": (EmbeddingReranker(HashingEmbedder(DIM)), {"query": "q", "passages": [passage]}),
        "CrossEncoderReranker": (CrossEncoderReranker, {"batch_size": 4}),
        "Rules": (Rules, rules),
        "score_votes": (score_votes, {"truth": ["a"], "votes": [Vote("a", {"a": 1.0}, (), ())]}),
        "numbered": (numbered, {"source": build_context(retrieval).sources[0]}),
        "rank_documents": (rank_documents, {"retrieval": retrieval}),
        "Questions": (Questions, {"queries": {"q": "x"}, "grades": {"q": {"d": 1}}}),
        "read_questions": (read_questions, {"folder": "nowhere", "split": "test"}),
        "read_documents": (lambda **given: list(read_documents(**given).outcomes()), {"path": __file__}),
        # the index
        "Index": (Index, named),
        "AsyncIndex": (AsyncIndex, named),
        "Index(dim)": (lambda **given: Index("trial", **given), {"dim": 3}),
        "list_indexes": (list_indexes, {"url": world.url}),
        "alist_indexes": (alist_indexes, {"url": world.url}),
        "Indexer": (Indexer, {"index": index, "splitter": Splitter()}),
        "AsyncIndexer": (AsyncIndexer, {"index": aindex, "splitter": Splitter()}),
        "Retriever": (Retriever, {"index": index, "on_incomplete": "raise", "long_queries": "mean", "bulk": "auto"}),
        "AsyncRetriever": (
            AsyncRetriever,
            {"index": aindex, "on_incomplete": "raise", "long_queries": "mean", "bulk": "auto"},
        ),
        "LabelVoter": (LabelVoter, dict(retriever=retriever, where={"n": 1}, **rules)),
        "AsyncLabelVoter": (AsyncLabelVoter, dict(retriever=aretriever, where={"n": 1}, **rules)),
    }
    judged = evaluate(retriever, questions(), settings={"one": {}, "two": {"mode": "text"}})
    scan = scan_recall(retriever, ["pears"], k=2, efs=[10, 20], sample=2)
    tuning, scores = tune(index, [1, 2]), score_votes(["a"], [Vote("a", {"a": 1.0}, (), ())])
    table |= {
        "Index(client)": (lambda client: Index("trial", client=client), {"client": index.client}),
        "AsyncIndex(client)": (lambda client: AsyncIndex("trial", client=client), {"client": aindex.client}),
        "Evaluation.compare": (
            judged.compare,
            {"first": "one", "second": "two", "metric": judged.metrics[0], "seed": 1},
        ),
        "Evaluation.plot": (judged.plot, {"path": "a.png"}),
        "Evaluation.to_dict": (judged.to_dict, {"per_query": True}),
        "RecallScan.plot": (scan.plot, {"path": "a.png"}),
        "Tuning.plot": (tuning.plot, {"path": "a.png"}),
        "Scores.plot": (scores.plot, {"path": "a.png"}),
        "Context.citations": (build_context(retrieval).citations, {"answer": "as [1] says"}),
        "Limits": (Limits, {field.name: getattr(Limits(), field.name) for field in dataclasses.fields(Limits)}),
        "documents_from_pandas": (
            lambda **given: list(documents_from_pandas(**given).outcomes()),
            {"frame": pd.DataFrame({"id": ["a"], "text": ["b"]}), "text_field": "text", "id_field": "id"},
        ),
        "read_documents of rows": (
            lambda **given: list(read_documents(world.rows, **given).outcomes()),
            {
                **{
                    "text_field": "text",
                    "id_field": "id",
                    "label_field": "label",
                    "prefix": "p/",
                    "include": ["*.csv"],
                },
                **{"exclude": ["*.md"], "gitignore": False, "follow_links": False, "as_text": False, "format": "csv"},
                **{"encoding": "utf-8", "delimiter": ",", "limits": Limits()},
            },
        ),
        "OpenAIEmbedder": (
            OpenAIEmbedder,
            {
                **{"model": "m", "base_url": "http://localhost:1", "api_key": "k", "dimensions": 3, "max_tokens": 10},
                **{"token_spans": lambda text: [], "query_prompt": "query: ", "document_prompt": "passage: "},
                **{"batch_size": 8, "timeout": 2.0, "max_retries": 1},
            },
        ),
    }
    places = {"id": None, "document": None, "label": None, "metadata": None, "start": None, "end": None}
    table["Layout"] = (Layout, {"vector": "vector", "text": "text", **places, "left_out": ["terms"]})
    for kind, one, writer, reader, chooser in (
        ("", index, indexer, retriever, voter),
        ("a", aindex, aindexer, aretriever, avoter),
    ):
        context, tuning = (abuild_context, atune) if kind else (build_context, tune)
        importing = aimport_index if kind else import_index
        writing, restoring = (aexport_parquet, aimport_parquet) if kind else (export_parquet, import_parquet)
        evaluating, scanning = (aevaluate, ascan_recall) if kind else (evaluate, scan_recall)
        table |= {
            f"{kind} count": (one.count, {"where": {"n": 1}}),
            f"{kind} count_documents": (one.count_documents, {"where": {"n": 1}}),
            f"{kind} documents": (one.documents, {"ids": ["d1"], "where": {"n": 1}, "vectors": True}),
            f"{kind} passages": (one.passages, {"ids": ["d1#0"], "where": {"n": 1}, "vectors": True}),
            f"{kind} exists": (one.exists, {"ids": ["d1"], "where": {"n": 1}}),
            f"{kind} values": (one.values, {"field": "t", "where": {"n": 1}}),
            f"{kind} value_range": (one.value_range, {"field": "n", "where": {"n": 1}}),
            f"{kind} describe": (one.describe, {"where": {"n": 1}}),
            f"{kind} rebuild": (
                writer.index.rebuild,
                {"recall": 0.9, "progress": None, "dry_run": True, "m": 8, "ef_construction": 100, "metric": "cosine"},
            ),
            f"{kind} import_index": (
                importing,
                {
                    **{"source": index._keys.searched, "name": "trial", "url": world.url, "from_url": world.url},
                    **{"layout": Layout("vector", "text"), "embedder": None, "dry_run": True, "progress": None},
                },
            ),
            f"{kind} export_parquet": (
                writing,
                {"index": one, "path": "some.parquet", "where": {"n": 1}, "progress": None},
            ),
            f"{kind} import_parquet": (
                restoring,
                {
                    **{"path": file, "name": "trial", "url": world.url, "embedder": HashingEmbedder(DIM)},
                    **{"algorithm": "flat", "dtype": "float32", "dry_run": True, "progress": None},
                },
            ),
            f"{kind} check": (one.check, {"repair": False, "progress": None}),
            f"{kind} add_fields": (writer.index.add_fields, {"fields": {"n": "numeric"}}),
            f"{kind} wait_until_searchable": (one.wait_until_searchable, {"timeout": 1.0}),
            f"{kind} add": (writer.add, dict(documents=DOCUMENTS, **ingest)),
            f"{kind} add of one": (lambda document, add=writer.add: add([document]), {"document": DOCUMENTS[0]}),
            f"{kind} sync": (writer.sync, dict(documents=DOCUMENTS, where={"n": 1}, dry_run=True, **sync)),
            f"{kind} add_vectors": (writer.add_vectors, {**ready, **ingest}),
            f"{kind} add_passages": (writer.add_passages, dict(passages=[passage], embed=True, **ingest)),
            f"{kind} update": (
                writer.update,
                {"ids": ["d1"], "where": {"n": 1}, "metadata": {"n": 1}, "label": "x", "on_bad_field": "fail"},
            ),
            f"{kind} delete": (writer.delete, {"document_ids": ["d1"], "where": {"n": 1}}),
            f"{kind} delete_where": (writer.delete_where, {"where": {"n": 1}}),
            f"{kind} retrieve": (reader.retrieve, dict(query="pears", vector=vectors[0], **found)),
            f"{kind} retrieve_many": (reader.retrieve_many, dict(queries=["pears", "x"], vectors=vectors, **found)),
            f"{kind} retrieve_any": (reader.retrieve_any, dict(phrasings=["pears", "x"], **found)),
            f"{kind} retrieve_like": (reader.retrieve_like, dict(query="pears", answers=["x"], **found)),
            f"{kind} kneighbors": (
                reader.kneighbors,
                {"vectors": vectors, "k": 3, "where": {"n": 1}, "max_distance": 2.0},
            ),
            f"{kind} vote": (chooser.vote, dict(text="pears", vector=vectors[0], exclude=["d1"], **options)),
            f"{kind} vote_many": (chooser.vote_many, {"texts": ["pears"], "vectors": vectors[:1], "exclude": ["d1"]}),
            f"{kind} predict": (chooser.predict, dict(texts=["pears"], vectors=vectors[:1], **options)),
            f"{kind} predict_proba": (chooser.predict_proba, {"texts": ["pears"], "vectors": vectors[:1]}),
            f"{kind} vote_on": (chooser.vote_on, {"retrieval": retrieval, "exclude": ["d1"]}),
            f"{kind} voter.tune": (chooser.tune, {"ks": [1, 2], "weights": ["uniform"], "progress": None}),
            f"{kind} tune": (
                tuning,
                {
                    "index": one,
                    "ks": [1, 2],
                    "weights": ["uniform"],
                    "rules": Rules(),
                    "where": {"t": "x"},
                    "progress": None,
                },
            ),
            f"{kind} context": (
                context,
                {
                    "retrieval": retrieval,
                    "index": one,
                    "budget": 100,
                    "window": 1,
                    "where": {"n": {"$gte": 0}},
                    "separator": "\n",
                    "template": numbered,
                },
            ),
            f"{kind} map": (one.map, {"method": "pca", "where": {"t": "x"}, "sample": 5, "include": ["d1"], "seed": 1}),
            f"{kind} evaluate": (
                evaluating,
                {
                    "retriever": reader,
                    "questions": questions(),
                    "settings": {"one": {"mode": "text"}},
                    "confidence": 0.9,
                },
            ),
            f"{kind} recall": (
                scanning,
                {"retriever": reader, "queries": ["pears"], "k": 2, "efs": [10, 20], "target": 0.9, "sample": 5},
            ),
        }
    return {name: (call, only_known(call, given)) for name, (call, given) in table.items()}


def only_known(call, given):
    """Leave out arguments that this release does not have."""
    known = inspect.signature(call).parameters
    if any(one.kind is inspect.Parameter.VAR_KEYWORD for one in known.values()):
        return given
    return {name: value for name, value in given.items() if name in known}


def run(loop: asyncio.AbstractEventLoop, made):
    """Wait for what is async, and read what comes bit by bit."""
    if inspect.iscoroutine(made):
        made = loop.run_until_complete(made)
    if isinstance(made, AsyncIterator):

        async def read():
            return [one async for one in made]

        return loop.run_until_complete(read())
    return list(made) if isinstance(made, Iterator) else made


# In the words of Python and NumPy, which say nothing of what to pass.
FOREIGN = re.compile(
    r"could not be broadcast|inhomogeneous|truth value|not iterable|has no len|not supported between|unhashable|"
    r"cannot be interpreted as an integer|object is not|could not convert|not aligned|cannot convert|must be str|"
    r"bad operand|unsupported operand|invalid literal|must be a string|can't|unexpected keyword|missing \d+ required"
)
LONGEST = 500  # characters of a message that one can read


def foreign(error: BaseException) -> str:
    """Return what is wrong with an error that a wrong argument raised; empty if it is one of ours and can be read."""
    message = str(error)
    if "positional argument" in message:
        return ""  # of a function that was passed and takes other arguments
    of_a_lookup = isinstance(error, KeyError) and "xpected one of" in message
    if not of_a_lookup and type(error) not in (ValueError, TypeError) and not isinstance(error, RagKNNError):
        return type(error).__name__
    if len(message) > LONGEST:
        return f"a message of {len(message)} characters"
    if "xpected" not in message or (FOREIGN.search(message) and not re.match(r"[^:]*xpected", message)):
        return f"says nothing of what to pass: {message[:80]!r}"
    return ""
