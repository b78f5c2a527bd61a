"""Text mode beside bm25s, on data sets in BEIR layout: the same passages, terms and parameters.

python -m benchmarks.words [FOLDER ...]

It shows that the scores that the server gives are those of BM25, with and without a filter, which is one that half of
the documents match. Nothing is embedded. Needs the package bm25s.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import ragknn
from benchmarks.retrieval import HANDBOOK, PASSAGES, K, ndcg, print_columns
from ragknn.embedding.sentence import SentenceEmbedder
from ragknn.evaluation import rank_documents, read_questions

K1 = 1.2


def reference(
    terms: list[list[str]], queries: list[list[str]], owners: list[str], allowed: NDArray[np.bool_], b: float
) -> list[list[str]]:
    """Return the documents of the best passages for each query, by bm25s; only those that are allowed."""
    import bm25s

    model = bm25s.BM25(method="lucene", k1=K1, b=b)
    model.index(terms, show_progress=False)
    ranked = []
    for query in queries:
        scores = np.where(allowed, model.get_scores(query), 0.0)
        best = [row for row in np.argsort(-scores, kind="stable")[:PASSAGES] if scores[row] > 0]
        ranked.append(list(dict.fromkeys(owners[row] for row in best))[:K])
    return ranked


def measure(folder: Path, embedder: SentenceEmbedder) -> dict[str, str]:
    """Index the folder without vectors, and return the results as a column of the table."""
    questions = read_questions(folder)
    splitter = ragknn.Splitter()
    passages = [
        passage
        for document in ragknn.read_documents(folder).outcomes()
        if isinstance(document, ragknn.Document)
        for passage in splitter.split(document, embedder.token_spans, embedder.max_tokens)
    ]
    halves = {owner: "ab"[number % 2] for number, owner in enumerate(dict.fromkeys(p.document_id for p in passages))}
    halved = [
        ragknn.Passage(p.id, p.document_id, p.text, p.start, p.end, metadata={"half": halves[p.document_id]})
        for p in passages
    ]
    name = f"words-{folder.resolve().name}"
    with ragknn.Index(name, embedder=embedder, fields={"half": "tag"}) as index:
        indexer = ragknn.Indexer(index)
        indexer.clear()
        indexer.add_passages(halved, embed=False)
        retriever = ragknn.Retriever(index)
        queries = list(questions.queries.values())

        def ask(**options: object) -> list[list[str]]:
            found = retriever.retrieve_many(queries, k=PASSAGES, mode="text", **options)
            return [rank_documents(retrieval)[:K] for retrieval in found]

        everywhere, in_half = ask(), ask(where={"half": "a"})
        analyze: Callable[[str], list[str]] = index.schema.analyzer.terms
        b = 0.75 if (index.server.search or (0,)) >= (8,) else 0.5
        index.drop()
    terms, asked = [analyze(p.text) for p in halved], [analyze(query) for query in queries]
    owners = [p.document_id for p in halved]
    allowed = np.array([p.metadata["half"] == "a" for p in halved])
    pairs = {
        "all": (everywhere, reference(terms, asked, owners, np.ones(len(halved), bool), b)),
        "filtered": (in_half, reference(terms, asked, owners, allowed, b)),
    }
    figures = {"data set": folder.resolve().name, "passages": str(len(halved)), "queries": str(len(questions))}
    for which, (ours, theirs) in pairs.items():
        figures[f"nDCG@10, {which}: ragknn"] = f"{ndcg(ours, questions):.4f}"
        figures[f"nDCG@10, {which}: bm25s"] = f"{ndcg(theirs, questions):.4f}"
    return figures


def main() -> None:
    """Measure the folders named on the command line, or the handbook."""
    embedder = SentenceEmbedder()  # for its tokenizer, by which the passages are cut
    print_columns([measure(folder, embedder) for folder in map(Path, sys.argv[1:] or [HANDBOOK])])


if __name__ == "__main__":
    main()
