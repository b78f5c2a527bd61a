"""Quality and speed of plain vector search on data sets in BEIR layout, beside brute force.

python -m benchmarks.retrieval [FOLDER ...]

A folder holds documents (corpus.jsonl, or any files that ragknn reads), queries.jsonl and qrels/test.tsv.
"""

import csv
import json
import sys
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from sklearn.metrics import ndcg_score

import ragknn
from ragknn.embedding import SentenceEmbedder

K = 10
PASSAGES = 100  # retrieved for each query, to see K different documents among them
HANDBOOK = Path(__file__).parent.parent / "corpora" / "handbook"


def read_questions(folder: Path) -> tuple[dict[str, str], dict[str, dict[str, int]]]:
    """Return the queries by id, and for each the grades of its documents."""
    lines = (folder / "queries.jsonl").read_text(encoding="utf-8").splitlines()
    queries = {row["_id"]: row["text"] for row in map(json.loads, lines)}
    grades: dict[str, dict[str, int]] = {}
    with (folder / "qrels" / "test.tsv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            grades.setdefault(row["query-id"], {})[row["corpus-id"]] = int(row["score"])
    return {query: text for query, text in queries.items() if query in grades}, grades


def ndcg(
    ranked: list[dict[str, float]], queries: dict[str, str], grades: dict[str, dict[str, int]], ids: list[str]
) -> float:
    """Return the mean nDCG@10 with linear gain, as trec_eval and BEIR have it; larger score, better rank."""
    column = {document_id: number for number, document_id in enumerate(ids)}
    truth, scores = np.zeros((len(queries), len(ids))), np.full((len(queries), len(ids)), -1e9)
    for row, (query, best) in enumerate(zip(queries, ranked, strict=True)):
        for document_id, grade in grades[query].items():
            truth[row, column[document_id]] = grade
        for document_id, score in best.items():
            scores[row, column[document_id]] = score
    return float(ndcg_score(truth, scores, k=K))


def best_of_documents(similarities: NDArray[np.float32], owners: list[str]) -> list[dict[str, float]]:
    """Return for each query the K best documents, each with the similarity of its best passage."""
    ranked = []
    for row in similarities:
        best: dict[str, float] = {}
        for passage in np.argsort(-row):
            best.setdefault(owners[passage], float(row[passage]))
            if len(best) == K:
                break
        ranked.append(best)
    return ranked


def measure(folder: Path, embedder: SentenceEmbedder) -> dict[str, str]:
    """Index the folder and return the figures as a row of the table."""
    queries, grades = read_questions(folder)
    source = ragknn.read_documents(folder)
    documents = [outcome for outcome in source.outcomes() if isinstance(outcome, ragknn.Document)]
    everything = [document.id for document in documents] + [
        document_id for query in grades.values() for document_id in query
    ]
    ids = list(dict.fromkeys(everything))
    with ragknn.Index(f"benchmark-{folder.resolve().name}", embedder=embedder) as index:
        indexer = ragknn.Indexer(index)
        indexer.delete(ids)
        cold = indexer.sync(source)
        again = indexer.sync(source)
        retriever = ragknn.Retriever(index)
        vectors = embedder.embed_queries(list(queries.values()))
        began = time.perf_counter()
        retrievals = retriever.kneighbors(vectors, PASSAGES)
        many = time.perf_counter() - began
        one_by_one = []
        for vector in vectors[:200]:
            began = time.perf_counter()
            retriever.kneighbors(vector, K)
            one_by_one.append(time.perf_counter() - began)
        index.drop()
    found = []
    for retrieval in retrievals:
        best: dict[str, float] = {}
        for neighbor in retrieval:
            best.setdefault(neighbor.passage.document_id, -neighbor.distance)
        found.append(dict(list(best.items())[:K]))
    passages = [
        passage
        for document in documents
        for passage in ragknn.Splitter().split(document, embedder.token_spans, embedder.max_tokens)
    ]
    owners = [passage.document_id for passage in passages]
    exact = vectors @ embedder.embed_documents([passage.text for passage in passages]).T
    # As most pipelines do it: each document one vector, cut without a word at what the model reads.
    cut = [_cut(document.text, embedder) for document in documents]
    whole = vectors @ embedder.embed_documents(cut).T
    exact_ranked = best_of_documents(exact, owners)
    whole_ranked = best_of_documents(whole, [document.id for document in documents])
    return {
        "data set": folder.resolve().name,
        "documents": str(len(documents)),
        "passages": str(cold.passages),
        "queries": str(len(queries)),
        "nDCG@10": f"{ndcg(found, queries, grades, ids):.4f}",
        "brute force, same passages": f"{ndcg(exact_ranked, queries, grades, ids):.4f}",
        "brute force, cut documents": f"{ndcg(whole_ranked, queries, grades, ids):.4f}",
        "cold, documents/s": f"{len(documents) / cold.seconds:.1f}",
        "unchanged, documents/s": f"{len(documents) / again.seconds:.0f}",
        "p50 of one search, k=10": f"{1000 * float(np.median(one_by_one)):.2f} ms",
        f"searches/s pipelined, k={PASSAGES}": f"{len(queries) / many:.0f}",
    }


def _cut(text: str, embedder: SentenceEmbedder) -> str:
    spans = embedder.token_spans(text)[: embedder.max_tokens]
    return text[: spans[-1][1]] if spans else text


def main() -> None:
    """Measure the folders named on the command line, or the handbook."""
    embedder = SentenceEmbedder()
    rows = [measure(folder, embedder) for folder in map(Path, sys.argv[1:] or [HANDBOOK])]
    table = Table("figure", *(row["data set"] for row in rows))
    for figure in list(rows[0])[1:]:
        table.add_row(figure, *(row[figure] for row in rows))
    Console().print(table)


if __name__ == "__main__":
    main()
