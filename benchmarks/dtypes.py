"""What float16 costs and saves, on data sets in BEIR layout: bytes, time, nDCG@10, and how many rankings change.

python -m benchmarks.dtypes [FOLDER ...]

A folder has documents, queries.jsonl and qrels/test.tsv, as for `benchmarks.retrieval`. Default: the handbook. The same
passages with the same vectors are stored in each dtype, with their texts.
"""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import redis
from numpy.typing import NDArray

import ragknn
from benchmarks.retrieval import HANDBOOK, PASSAGES, K, ndcg, print_columns
from benchmarks.stores.choosing import server
from ragknn.embedding.sentence import SentenceEmbedder
from ragknn.evaluation import rank_documents
from ragknn.evaluation.questions import Questions, read_questions

CALLS = 200


@dataclass(frozen=True, slots=True)
class Stored:
    """A data set in one dtype.

    Attributes:
        hashed: bytes of the hash of a passage, with its text.
        index: bytes of the search index for a passage.
        seconds: median time of one search.
        found: ranking of each query, 100 passages.
        ndcg: nDCG@10.
    """

    hashed: float
    index: float
    seconds: float
    found: list[ragknn.Retrieval]
    ndcg: float

    @property
    def memory(self) -> float:
        """Bytes of a passage, hash and index."""
        return self.hashed + self.index


def stored(
    dtype: str, passages: Sequence[ragknn.Passage], vectors: NDArray[np.float32], questions: Questions, **options: str
) -> Stored:
    """Store the passages in a dtype, and ask for the vectors."""
    with server() as url, redis.Redis.from_url(url) as client:
        dim = vectors.shape[1]
        with ragknn.Index("dtypes", url=url, dim=dim, dtype=dtype, text_search=False, **options) as index:
            ragknn.Indexer(index).add_passages(passages)
            keys = list(client.scan_iter(f"{index._keys.passage_prefix}*", count=1_000))
            hashed = float(np.mean([client.memory_usage(key, samples=0) for key in keys]))
            retriever = ragknn.Retriever(index)
            found = retriever.kneighbors(vectors, PASSAGES)
            seconds = []
            for call in range(CALLS):
                began = time.perf_counter()
                retriever.kneighbors(vectors[call % len(vectors)], K)
                seconds.append(time.perf_counter() - began)
            ranked = [rank_documents(one)[:K] for one in found]
            of_index = (index.describe().memory_bytes or 0) / len(passages)
            return Stored(hashed, of_index, float(np.median(seconds)), found, ndcg(ranked, questions))


def measure(folder: Path, embedder: SentenceEmbedder) -> dict[str, str]:
    """Embed the folder once, and return the results as a column of the table."""
    questions = read_questions(folder)
    with server() as url, ragknn.Index("embedded", url=url, embedder=embedder) as index:
        ragknn.Indexer(index).add(ragknn.read_documents(folder))
        passages = list(index.passages(vectors=True))
    vectors = embedder.embed_queries(list(questions.queries.values()))
    return compared(folder.resolve().name, passages, vectors, questions)


def compared(
    name: str, passages: Sequence[ragknn.Passage], vectors: NDArray[np.float32], questions: Questions
) -> dict[str, str]:
    """Return the results of a data set as a column of the table."""
    full, half = (stored(dtype, passages, vectors, questions) for dtype in ("float32", "float16"))
    pairs = list(zip(full.found, half.found, strict=True))
    ids = [[[one.id for one in each.passages[:K]] for each in pair] for pair in pairs]
    same, same_ten = (np.mean([how(a) == how(b) for a, b in ids]) for how in (list, set))
    distances = [dict(zip((one.id for one in each.passages), each.distances, strict=True)) for each in full.found]
    changes = [
        (abs(known[passage.id] - distance), known[passage.id] - own[rank])
        for known, own, short in zip(distances, (each.distances for each in full.found), half.found, strict=True)
        for rank, (passage, distance) in enumerate(zip(short.passages[:K], short.distances, strict=False))
        if passage.id in known
    ]
    rounding, moved = (max(abs(pair[part]) for pair in changes) for part in (0, 1))
    return {
        "data set": name,
        "passages": str(len(passages)),
        "queries": str(len(questions)),
        "bytes a passage, hash with its text: float32": f"{full.hashed:,.0f}",
        "bytes a passage, hash with its text: float16": f"{half.hashed:,.0f} ({half.hashed / full.hashed:.2f})",
        "bytes a passage, search index: float32": f"{full.index:,.0f}",
        "bytes a passage, search index: float16": f"{half.index:,.0f} ({half.index / full.index:.2f})",
        "bytes a passage, both: float16": f"{half.memory:,.0f} ({half.memory / full.memory:.2f})",
        "p50 of one search: float32": f"{1000 * full.seconds:.2f} ms",
        "p50 of one search: float16": f"{1000 * half.seconds:.2f} ms",
        "nDCG@10: float32": f"{full.ndcg:.4f}",
        "nDCG@10: float16": f"{half.ndcg:.4f}",
        "the same ten, in the same order": f"{same:.1%}",
        "the same ten": f"{same_ten:.1%}",
        "largest change of a distance": f"{rounding:.6f}",
        "largest true difference of two that changed places": f"{moved:.6f}",
    }


def main() -> None:
    """Measure the folders named on the command line, or the handbook."""
    embedder = SentenceEmbedder()
    print_columns([measure(folder, embedder) for folder in map(Path, sys.argv[1:] or [HANDBOOK])])


if __name__ == "__main__":
    main()
