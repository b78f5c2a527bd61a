"""Recall of the live index against exact search, and its cost in latency."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ragknn._checks import check_number, check_several, check_type, check_whole
from ragknn._display.bars import bar_in_notebook
from ragknn._display.html import element, sheet, table
from ragknn._display.lines import Table, aligned
from ragknn._plain import Plain, plain_fields
from ragknn._protocol.counting import count_passages
from ragknn._protocol.flows import Flow, Progress, Work, repeatable
from ragknn._protocol.query import WITH_VECTOR
from ragknn._protocol.vectors import check_vectors, to_bytes
from ragknn.embedding._long_texts import embed_queries
from ragknn.evaluation._charts import draw_scan
from ragknn.evaluation._latency import Latency, in_even_steps
from ragknn.retrieval._asking import asking_near, checked_queries, same_place
from ragknn.retrieval._recall import found_within, furthest_neighbors
from ragknn.retrieval.retriever import AsyncRetriever, Retriever

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DEFAULT_EFS = (10, 20, 50, 100, 200, 500)
TARGET = 0.99
SAMPLE = 500  # queries; a recall of .99 then has an error of about .002 at k=10

# Times that each query is timed with each ef_runtime: the differences between small ones are as small as the noise.
ROUNDS = 3

# Exact searches in one round trip: each looks at every vector, and may take 25 ms with 100,000 passages.
SEARCHES_PER_ROUND = 50


@dataclass(frozen=True, slots=True)
class RecallPoint(Plain):
    """Recall and latency with one ef_runtime.

    Attributes:
        ef_runtime: candidates that the search kept; None for a flat index, which does not have this option.
        recall: share of the k true neighbors that were found, mean over the queries.
        latency: latency of one search with a ready vector, passages included, embedding not included.
    """

    ef_runtime: int | None
    recall: float
    latency: Latency


@dataclass(frozen=True, slots=True)
class RecallScan(Plain):
    """The recall of an index against exact search.

    Attributes:
        index: name of the index.
        algorithm: flat, which is exact, or hnsw.
        k: number of neighbors for each query.
        queries: number of queries.
        passages: number of passages in the index.
        target: recall for `suggestion`.
        points: results by ef_runtime, smallest first.
    """

    index: str
    algorithm: str
    k: int
    queries: int
    passages: int
    target: float
    points: tuple[RecallPoint, ...]

    @property
    def is_exact(self) -> bool:
        """Whether the index looks at every vector, so that there is no ef_runtime to choose."""
        return self.algorithm == "flat"

    @property
    def suggestion(self) -> int | None:
        """The smallest tested ef_runtime whose recall reaches the target; None if none does or the index is exact."""
        return next((point.ef_runtime for point in self.points if point.recall >= self.target), None)

    @property
    def advice(self) -> str:
        """Advice in one sentence."""
        if self.is_exact:
            return f"{self.index} is flat: every search looks at every vector and is exact"
        if self.suggestion is not None:
            return f"ef_runtime={self.suggestion} is the smallest tried with recall@{self.k} >= {self.target:g}"
        return (
            f"no ef_runtime tried reaches recall@{self.k} >= {self.target:g}: try larger ones, "
            "or build the index with a larger m and ef_construction"
        )

    @property
    def heading(self) -> str:
        """Description of the measurement, in one line."""
        return (
            f"{self.index}: recall@{self.k} against exact search, {self.queries} queries, {self.passages} passages, "
            "without embedding"
        )

    @property
    def table(self) -> Table:
        """The points as a table for display, one row each."""
        return ("ef_runtime", f"recall@{self.k}", "p50", "p90", "p99"), [
            (
                "-" if point.ef_runtime is None else str(point.ef_runtime),
                f"{point.recall:.4f}",
                *(f"{1000 * getattr(point.latency, name):.2f} ms" for name in ("p50", "p90", "p99")),
            )
            for point in self.points
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as plain values, for JSON, with `suggestion` and `advice`; times are in seconds."""
        return {**plain_fields(self), "suggestion": self.suggestion, "advice": self.advice}

    def plot(self, path: str | Path | None = None) -> Figure:
        """Draw the recall against the median latency, one point for each ef_runtime.

        Args:
            path: file to save the plot in; the suffix gives the format (.png, .svg, .pdf).

        Raises:
            MissingDependency: matplotlib is not installed.
        """
        return draw_scan(self, path)

    def __str__(self) -> str:
        return "\n".join([self.heading, *aligned(self.table), self.advice])

    def _repr_html_(self) -> str:
        """Show the points as a table in a notebook."""
        return sheet(table(self.heading, *self.table), element("p", self.advice))


def scan_recall(
    retriever: Retriever,
    queries: Sequence[str],
    k: int = 10,
    *,
    efs: Sequence[int] = DEFAULT_EFS,
    target: float = TARGET,
    sample: int = SAMPLE,
    progress: Progress | None = None,
) -> RecallScan:
    """Measure which share of the k true neighbors searches find, for several values of ef_runtime.

    The true neighbors come from exact searches in the live index, without the graph. A found passage counts if it is
    at most as far away as the k-th true neighbor, since equally near passages are equally good (as in M. Aumüller,
    E. Bernhardsson, A. Faithfull: ANN-Benchmarks. Information Systems 87, 2020).

    Args:
        retriever: the index's retriever.
        queries: typical queries.
        k: number of neighbors for each query.
        efs: values of ef_runtime to test; the server raises values below k to k.
        target: share of the true neighbors that is sufficient.
        sample: maximum number of queries; from more, this many evenly spaced ones are used.
        progress: called with the number of finished searches and of all; None: in a notebook, a bar.

    Raises:
        ValueError: no queries, no passages, or an invalid argument.
        IncompleteRetrieval: the server stopped early.
        ServerError: the server cannot be reached, or refuses.
    """
    check_type("retriever", retriever, Retriever)
    with bar_in_notebook("searches", progress) as told:
        return retriever.index._run(scanning(retriever, queries, k, efs, target, sample, told), asks=True)


async def ascan_recall(
    retriever: AsyncRetriever,
    queries: Sequence[str],
    k: int = 10,
    *,
    efs: Sequence[int] = DEFAULT_EFS,
    target: float = TARGET,
    sample: int = SAMPLE,
    progress: Progress | None = None,
) -> RecallScan:
    """Async twin of `scan_recall`."""
    check_type("retriever", retriever, AsyncRetriever)
    with bar_in_notebook("searches", progress) as told:
        return await retriever.index._run(scanning(retriever, queries, k, efs, target, sample, told), asks=True)


@repeatable
def scanning(
    retriever: Retriever | AsyncRetriever,
    queries: Sequence[str],
    k: int,
    efs: Sequence[int],
    target: float,
    sample: int,
    progress: Progress,
) -> Flow[RecallScan]:
    """Measure the recall inside another flow; see `scan_recall`."""
    queries = checked_queries(queries)
    k, sample = check_whole("k", k, 0), check_whole("sample", sample, 0)
    efs = [check_whole("each of efs", ef, 0) for ef in check_several("efs", efs, "[10, 50, 200]")]
    wanted = sorted({max(ef, k) for ef in efs})
    if not queries or not wanted or min(*efs, k, sample) < 1:
        raise ValueError(
            f"expected queries and numbers >= 1, got {len(queries)} queries, k={k}, efs={efs!r}, sample={sample}"
        )
    if not 0 < check_number("target", target) <= 1:
        raise ValueError(f"expected a target recall above 0 and at most 1, got {target}")
    index = retriever.index
    schema = index.schema
    if schema.required_filter is not None:
        raise ValueError(
            f"expected an index without a required filter, got {index.name!r}, which requires one on "
            f"{schema.required_filter!r}: the recall is that of searches of the whole index; compare settings with "
            "evaluate(..., settings=...), which take where"
        )
    asked, keys = in_even_steps(queries, sample), index._keys
    choices: list[int | None] = list(wanted) if schema.algorithm == "hnsw" else [None]
    vectors = yield from _embedding(retriever, asked)
    passages = yield from count_passages(index._place(), WITH_VECTOR)
    if not passages:
        raise ValueError(f"expected passages in index {index.name!r}, got none; index documents first")
    count = min(k, passages)
    total, done = len(asked) * (ROUNDS * len(choices) + 1), 0
    furthest: list[float] = []
    for start in range(0, len(asked), SEARCHES_PER_ROUND):
        part = to_bytes(vectors[start : start + SEARCHES_PER_ROUND], schema.dtype)
        furthest += yield from furthest_neighbors(index._place(), part, count)
        done = len(furthest)
        progress(done, total)
    shares = np.zeros((len(choices), len(asked)))
    seconds = np.zeros((len(choices), ROUNDS, len(asked)))
    # They take turns, so that load on the machine affects all of them.
    for turn, row in product(range(ROUNDS), range(len(asked))):
        same_place(retriever, keys)
        for number, ef in enumerate(choices):
            if not turn and not row:
                # The first search of each kind is slower, and is not timed.
                yield from asking_near(retriever, vectors[row], k, {"ef_runtime": ef}, ready=False)
            began = time.perf_counter()
            [retrieval] = yield from asking_near(retriever, vectors[row], k, {"ef_runtime": ef}, ready=False)
            seconds[number, turn, row] = time.perf_counter() - began
            shares[number, row] = found_within(retrieval.distances, furthest[row]) / count
        done += len(choices)
        progress(done, total)
    points = [RecallPoint(ef, float(shares[n].mean()), Latency.of(seconds[n])) for n, ef in enumerate(choices)]
    return RecallScan(index.name, schema.algorithm, k, len(asked), passages, target, tuple(points))


def _embedding(retriever: Retriever | AsyncRetriever, texts: list[str]) -> Flow[NDArray[Any]]:
    index = retriever.index
    embedder = index.embedder
    vectors, _ = yield Work(lambda: embed_queries(embedder, texts, retriever.long_queries))
    return check_vectors(vectors, index.schema.dim, index.schema.metric, index.schema.dtype)
