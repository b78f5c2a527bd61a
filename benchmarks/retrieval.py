"""Quality and speed of plain vector search on data sets in BEIR layout, compared with brute force.

python -m benchmarks.retrieval [FOLDER ...]

A folder has documents (corpus.jsonl, or any files that ragknn reads), queries.jsonl and qrels/test.tsv.
"""

import sys
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

import ragknn
from ragknn.embedding.sentence import SentenceEmbedder
from ragknn.evaluation import _metrics as metrics
from ragknn.evaluation import rank_documents
from ragknn.evaluation.questions import Questions, read_questions

K = 10
PASSAGES = 100  # retrieved for each query, to find K different documents among them
HANDBOOK = Path(__file__).parent.parent / "corpora" / "handbook"


def ndcg(ranked: list[list[str]], questions: Questions) -> float:
    """Return the mean nDCG@10 over the queries; `ranked` holds the best documents of each query."""
    pairs = zip(ranked, questions.queries, strict=True)
    return float(np.mean([metrics.ndcg(best, questions.grades[query], K) for best, query in pairs]))


def best_of_documents(similarities: NDArray[np.float32], owners: list[str]) -> list[list[str]]:
    """Return the K best documents for each query, each at the rank of its best passage."""
    return [list(dict.fromkeys(owners[passage] for passage in np.argsort(-row)))[:K] for row in similarities]


def measure(folder: Path, embedder: SentenceEmbedder) -> dict[str, str]:
    """Index the folder and return the results as a column of the table."""
    questions = read_questions(folder)
    source = ragknn.read_documents(folder)
    documents = [outcome for outcome in source.outcomes() if isinstance(outcome, ragknn.Document)]
    with ragknn.Index(f"benchmark-{folder.resolve().name}", embedder=embedder) as index:
        indexer = ragknn.Indexer(index)
        indexer.delete([document.id for document in documents])
        cold = indexer.sync(source)
        again = indexer.sync(source)
        retriever = ragknn.Retriever(index)
        vectors = embedder.embed_queries(list(questions.queries.values()))
        began = time.perf_counter()
        retrievals = retriever.kneighbors(vectors, PASSAGES)
        many = time.perf_counter() - began
        one_by_one = []
        for vector in vectors[:200]:
            began = time.perf_counter()
            retriever.kneighbors(vector, K)
            one_by_one.append(time.perf_counter() - began)
        index.drop()
    found = [rank_documents(retrieval)[:K] for retrieval in retrievals]
    splitter = ragknn.Splitter()
    passages = [
        passage
        for document in documents
        for passage in splitter.split(document, embedder.token_spans, embedder.max_tokens)
    ]
    owners = [passage.document_id for passage in passages]
    texts = [splitter.embedded_text(passage, embedder.token_spans, embedder.max_tokens) for passage in passages]
    exact = vectors @ embedder.embed_documents(texts).T
    # As in most pipelines: one vector for each document, cut silently at the model's limit.
    cut = [_cut(document.text, embedder) for document in documents]
    whole = vectors @ embedder.embed_documents(cut).T
    exact_ranked = best_of_documents(exact, owners)
    whole_ranked = best_of_documents(whole, [document.id for document in documents])
    return {
        "data set": folder.resolve().name,
        "documents": str(len(documents)),
        "passages": str(cold.passages),
        "queries": str(len(questions)),
        "nDCG@10": f"{ndcg(found, questions):.4f}",
        "brute force, same passages": f"{ndcg(exact_ranked, questions):.4f}",
        "brute force, cut documents": f"{ndcg(whole_ranked, questions):.4f}",
        "cold, documents/s": f"{len(documents) / cold.seconds:.1f}",
        "unchanged, documents/s": f"{len(documents) / again.seconds:.0f}",
        "p50 of one search, k=10": f"{1000 * float(np.median(one_by_one)):.2f} ms",
        f"searches/s pipelined, k={PASSAGES}": f"{len(questions) / many:.0f}",
    }


def _cut(text: str, embedder: SentenceEmbedder) -> str:
    spans = embedder.token_spans(text)[: embedder.max_tokens]
    return text[: spans[-1][1]] if spans else text


def print_columns(rows: list[dict[str, str]]) -> None:
    """Print results of data sets as a table with a column for each."""
    table = Table("figure", *(row["data set"] for row in rows))
    for figure in list(rows[0])[1:]:
        table.add_row(figure, *(row[figure] for row in rows))
    Console().print(table)


def main() -> None:
    """Measure the folders named on the command line, or the handbook."""
    embedder = SentenceEmbedder()
    print_columns([measure(folder, embedder) for folder in map(Path, sys.argv[1:] or [HANDBOOK])])


if __name__ == "__main__":
    main()
