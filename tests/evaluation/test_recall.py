import json
from functools import partial

import numpy as np
import pytest

from ragknn import HashingEmbedder, IncompleteRetrieval
from ragknn.evaluation import RecallPoint, RecallScan, ascan_recall, scan_recall
from ragknn.evaluation._latency import Latency, in_even_steps
from ragknn.evaluation._recall import DEFAULT_EFS, ROUNDS

DIM = 16
COUNT = 1_500
K = 10


class Listed:
    """Embeds a text that is a JSON list of numbers as these numbers."""

    name, dim, max_tokens = "tests/listed", DIM, None

    def embed_documents(self, texts):
        return np.array([json.loads(text) for text in texts], dtype=np.float32)

    embed_queries = embed_documents


@pytest.fixture
def scanned(faces):
    """`scan_recall` or `ascan_recall`, called alike."""

    return partial(faces.call, scan_recall, ascan_recall)


def clustered(seed, count):
    """Vectors around forty centers: a graph of few edges loses its way between them."""
    centers = 3 * np.random.default_rng(0).normal(size=(40, DIM))
    generator = np.random.default_rng(seed)
    return (centers[generator.integers(0, 40, count)] + generator.normal(size=(count, DIM))).astype(np.float32)


def as_texts(vectors):
    return [json.dumps([float(value) for value in vector]) for vector in vectors]


def distances(queries, vectors, metric):
    """By NumPy alone, in float64, shape (n_queries, n)."""
    a, b = queries.astype(float), vectors.astype(float)
    if metric == "l2":
        return np.sqrt(((a[:, np.newaxis] - b) ** 2).sum(axis=2))
    if metric == "cosine":
        a, b = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (a, b))
    return 1 - a @ b.T


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
def test_recall_is_the_share_of_the_neighbors_that_brute_force_finds(
    faces, scanned, redis_url, index_name, metric, dtype
):
    vectors, queries = clustered(1, COUNT), clustered(2, 60)
    if dtype == "float16":  # as the server has them
        vectors, queries = vectors.astype(np.float16), queries.astype(np.float16)
    sparse = {"algorithm": "hnsw", "m": 4, "ef_construction": 10, "dtype": dtype, "text_search": False}
    with faces.index(index_name, url=redis_url, embedder=Listed(), metric=metric, **sparse) as index:
        faces.indexer(index).add_vectors([str(n) for n in range(COUNT)], vectors)
        retriever = faces.retriever(index)
        scan = scanned(retriever, as_texts(queries), K, efs=[200, 10, 40])
        assert [point.ef_runtime for point in scan.points] == [10, 40, 200]
        true = np.argsort(distances(queries, vectors, metric), axis=1)[:, :K]
        for point in scan.points:
            found = retriever.kneighbors(queries, K, ef_runtime=point.ef_runtime)
            ids = [{int(passage.document_id) for passage in one.passages} for one in found]
            expected = np.mean([len(mine & set(theirs)) / K for mine, theirs in zip(ids, true.tolist(), strict=True)])
            assert point.recall == pytest.approx(expected, abs=0.006 if dtype == "float16" else 1e-12)
            assert point.latency.calls == 60 * ROUNDS
            assert 0 < point.latency.p50 <= point.latency.p90 <= point.latency.p99
        recalls = [point.recall for point in scan.points]
        assert 0.1 < recalls[0] < recalls[1] < recalls[2] <= 1.0
    assert (scan.index, scan.algorithm, scan.k, scan.queries, scan.passages) == (index_name, "hnsw", K, 60, COUNT)


def test_a_flat_index_is_exact_and_has_nothing_to_choose(faces, scanned, redis_url, index_name):
    with faces.index(index_name, url=redis_url, embedder=Listed(), text_search=False) as index:
        faces.indexer(index).add_vectors([str(n) for n in range(COUNT)], clustered(1, COUNT))
        scan = scanned(faces.retriever(index), as_texts(clustered(2, 60)), K)
    [point] = scan.points
    assert (point.ef_runtime, point.recall) == (None, 1.0)
    assert scan.is_exact
    assert scan.suggestion is None
    assert scan.advice == f"{index_name} is flat: every search looks at every vector and is exact"


def test_equally_near_passages_are_equally_good(faces, scanned, redis_url, index_name):
    # Of twenty passages with the same vector any ten are the nearest ten.
    with faces.index(index_name, url=redis_url, embedder=Listed(), algorithm="hnsw", text_search=False) as index:
        faces.indexer(index).add_vectors([str(n) for n in range(20)], np.ones((20, DIM)))
        assert scanned(faces.retriever(index), as_texts(clustered(2, 5)), K).points[0].recall == 1.0


def test_fewer_passages_than_k_are_all_found(faces, scanned, redis_url, index_name):
    with faces.index(index_name, url=redis_url, embedder=Listed(), algorithm="hnsw", text_search=False) as index:
        faces.indexer(index).add_vectors(["a", "b", "c"], clustered(1, 3))
        scan = scanned(faces.retriever(index), as_texts(clustered(2, 5)), K, efs=[1, 5, 10, 20])
    # The server takes an ef_runtime below k for k, so that 1, 5 and 10 are one.
    assert [(point.ef_runtime, point.recall) for point in scan.points] == [(10, 1.0), (20, 1.0)]


def test_progress_counts_to_the_end_and_a_sample_is_spread_evenly(faces, scanned, redis_url, index_name):
    reports = []
    with faces.index(index_name, url=redis_url, embedder=Listed(), algorithm="hnsw", text_search=False) as index:
        faces.indexer(index).add_vectors([str(n) for n in range(30)], clustered(1, 30))
        scan = scanned(
            faces.retriever(index),
            as_texts(clustered(2, 9)),
            3,
            efs=[5, 6],
            sample=4,
            progress=lambda *counts: reports.append(counts),
        )
    assert scan.queries == 4
    total = 4 + 4 * 2 * ROUNDS
    assert reports == [(done, total) for done in range(4, total + 1, 2)]
    assert in_even_steps(list("abcdefghij"), 4) == ["a", "c", "f", "h"]
    assert in_even_steps(["a", "b"], 4) == ["a", "b"]


def test_a_truth_that_is_cut_short_is_no_truth(faces, scanned, client, redis_url, index_name):
    with faces.index(index_name, url=redis_url, embedder=Listed(), algorithm="hnsw", text_search=False) as index:
        faces.indexer(index).add_vectors(["a", "b", "c"], clustered(1, 3))
        client.hset(index._keys.passages("d") + "0", "document_id", '"d"')  # counted, and never found
        with pytest.raises(IncompleteRetrieval, match="3 of 4 true neighbors were found"):
            scanned(faces.retriever(index), as_texts(clustered(2, 5)), K)


@pytest.mark.parametrize(
    ("queries", "options", "message"),
    [
        ([], {}, "expected queries and numbers >= 1, got 0 queries"),
        (["x"], {"k": 0}, "expected queries and numbers >= 1, got 1 queries, k=0"),
        (["x"], {"efs": []}, r"expected queries and numbers >= 1, .* efs=\[\]"),
        (["x"], {"efs": [0, 5]}, r"expected queries and numbers >= 1, .* efs=\[0, 5\]"),
        (["x"], {"sample": 0}, "expected queries and numbers >= 1, .* sample=0"),
        (["x"], {"target": 0}, "expected a target recall above 0 and at most 1, got 0"),
        (["x"], {"target": 1.5}, "expected a target recall above 0 and at most 1, got 1.5"),
        (["x"], {}, "expected passages in index 'test-.*', got none; index documents first"),
        ([" "], {}, "expected a query with words in it"),
    ],
)
def test_what_cannot_be_scanned_is_refused(faces, scanned, redis_url, index_name, queries, options, message):
    with (
        faces.index(index_name, url=redis_url, embedder=HashingEmbedder(DIM)) as index,
        pytest.raises(ValueError, match=message),
    ):
        scanned(faces.retriever(index), queries, **options)


# ---- how it reads ----------------------------------------------------------------------------------------------


def scan_of(*recalls):
    latency = Latency.of([0.001, 0.002, 0.003])
    points = [RecallPoint(ef, recall, latency) for ef, recall in zip(DEFAULT_EFS, recalls, strict=False)]
    return RecallScan("<b>", "hnsw", 10, 100, 5_000, 0.99, tuple(points))


def test_the_smallest_ef_that_reaches_the_target_is_suggested():
    scan = scan_of(0.9, 0.98, 0.991, 1.0)
    assert scan.suggestion == 50
    assert str(scan).splitlines() == [
        "<b>: recall@10 against exact search, 100 queries, 5000 passages, without embedding",
        "  ef_runtime  recall@10  p50      p90      p99",
        "  10          0.9000     2.00 ms  2.80 ms  2.98 ms",
        "  20          0.9800     2.00 ms  2.80 ms  2.98 ms",
        "  50          0.9910     2.00 ms  2.80 ms  2.98 ms",
        "  100         1.0000     2.00 ms  2.80 ms  2.98 ms",
        "ef_runtime=50 is the smallest tried with recall@10 >= 0.99",
    ]
    assert ">0.9910</td>" in scan._repr_html_()
    assert "&lt;b&gt;" in scan._repr_html_()
    assert "<b>" not in scan._repr_html_()


def test_a_target_that_none_reaches_has_advice_in_place_of_a_number():
    scan = scan_of(0.9, 0.98)
    assert scan.suggestion is None
    assert scan.advice.startswith("no ef_runtime tried reaches recall@10 >= 0.99: try larger ones, or build the index")
