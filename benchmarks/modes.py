"""Quality, with intervals, and latency of each retrieval mode, on data sets in BEIR layout.

python -m benchmarks.modes [--queries N] [FOLDER ...]

The reranker is the embedding model itself, applied again to every candidate: it shows the cost of reranking and that
it works, not the gain of a cross-encoder. `--queries` uses that many queries of each set, evenly spaced.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import ragknn
from ragknn.embedding.sentence import SentenceEmbedder
from ragknn.evaluation import evaluate
from ragknn.evaluation.questions import Questions, read_questions

HANDBOOK = Path(__file__).parent.parent / "corpora" / "handbook"


class Remembering:
    """An embedder that embeds each document text only once, so that rescoring thousands of queries is fast enough."""

    def __init__(self, embedder: SentenceEmbedder) -> None:
        self.name, self.dim, self.max_tokens = embedder.name, embedder.dim, embedder.max_tokens
        self.embed_queries = embedder.embed_queries
        self.token_spans = embedder.token_spans
        self._embedder = embedder
        self._known: dict[str, NDArray[np.float32]] = {}

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one vector for each text, shape (n, dim)."""
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        if new:
            self._known.update(zip(new, self._embedder.embed_documents(new), strict=True))
        return np.stack([self._known[text] for text in texts])


def measure(folder: Path, embedder: SentenceEmbedder, most: int | None) -> None:
    """Print the results of one data set."""
    questions = read_questions(folder)
    if most is not None and most < len(questions):
        kept = np.linspace(0, len(questions) - 1, most).round().astype(int)
        names = [list(questions.queries)[row] for row in kept]
        questions = Questions(
            {name: questions.queries[name] for name in names}, {name: questions.grades[name] for name in names}
        )
    rescoring = ragknn.EmbeddingReranker(Remembering(embedder))
    settings = {
        "vector": {},
        "text": {"mode": "text"},
        "hybrid": {"mode": "hybrid", "candidates": 100},
        "hybrid, by rank": {"mode": "hybrid", "candidates": 100, "fusion": ragknn.ReciprocalRank()},
        "hybrid, rescored": {"mode": "hybrid", "candidates": 100, "rerank": rescoring},
    }
    with ragknn.Index(f"modes-{folder.resolve().name}", embedder=embedder) as index:
        ragknn.Indexer(index).sync(ragknn.read_documents(folder))
        evaluation = evaluate(ragknn.Retriever(index), questions, settings)
        print(f"{folder.resolve().name}\n{evaluation}\n")
        index.drop()


def main() -> None:
    """Measure the folders named on the command line, or the handbook."""
    arguments = sys.argv[1:]
    most = None
    if arguments[:1] == ["--queries"]:
        most, arguments = int(arguments[1]), arguments[2:]
    embedder = SentenceEmbedder()
    for folder in map(Path, arguments or [HANDBOOK]):
        measure(folder, embedder, most)


if __name__ == "__main__":
    main()
