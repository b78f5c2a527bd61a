"""Evaluation of an index on judged questions: quality and latency of one or more settings."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from ragknn._checks import check_mapping, check_type, check_whole, shown
from ragknn._display.bars import bar_in_notebook
from ragknn._protocol.counting import index_info
from ragknn._protocol.finding import existing_documents
from ragknn._protocol.flows import Flow, Progress, repeatable
from ragknn._protocol.reading import matching
from ragknn.evaluation._latency import Latency, in_even_steps
from ragknn.evaluation._metrics import metrics_at
from ragknn.evaluation._recall import DEFAULT_EFS, SAMPLE, TARGET, RecallScan, scanning
from ragknn.evaluation._significance import CONFIDENCE, Comparison, bootstrap_means, check_confidence, compare
from ragknn.evaluation.questions import Questions
from ragknn.evaluation.results import Evaluation, SettingResult
from ragknn.indexing._reading import DOCUMENTS_PER_PART, in_parts, storable
from ragknn.indexing.async_index import AsyncIndex
from ragknn.indexing.index import Index
from ragknn.records import Retrieval
from ragknn.retrieval._asking import asking
from ragknn.retrieval.options import Options
from ragknn.retrieval.retriever import AsyncRetriever, Retriever

DEPTH = 100
LATENCY_SAMPLE = 100  # queries; p99 is then the second slowest call
QUERIES_PER_CALL = 64  # queries that are embedded and searched together, between two reports of progress

PLAIN: Mapping[str, Mapping[str, Any]] = {"vector": {}}


def evaluate(
    retriever: Retriever,
    questions: Questions,
    settings: Mapping[str, Mapping[str, Any]] = PLAIN,
    *,
    k: int = 10,
    depth: int = DEPTH,
    latency_sample: int = LATENCY_SAMPLE,
    confidence: float = CONFIDENCE,
    seed: int = 0,
    efs: Sequence[int] | None = None,
    target: float = TARGET,
    progress: Progress | None = None,
) -> Evaluation:
    """Retrieve for all questions with each setting, and score the rankings against the judgements.

    Documents are ranked, not passages: each by its best passage. To find k different documents, `depth` passages are
    retrieved; MAP uses all documents among them. Latency is measured separately, with single `retrieve` calls for k
    passages, embedding included; the settings take turns.

    The default of some options depends on the number of passages (candidates, ef_runtime): it is based on `depth` for
    the rankings and on `k` for the latency. Put such an option into the setting to use the same value for both.

    Args:
        retriever: the index's retriever.
        questions: questions and judgements, from `read_questions`.
        settings: options of `retrieve` by the name of the setting; each setting is compared with the first.
        k: number of documents that count.
        depth: number of passages to retrieve for each query.
        latency_sample: number of queries to time; 0 for no timing.
        confidence: confidence of the intervals.
        seed: random seed of the intervals and p-values.
        efs: values of ef_runtime to measure the recall against exact search with (`scan_recall`); `()` for the usual
            ones; None for no measurement.
        target: recall for the suggested ef_runtime.
        progress: called with the number done and the total, first for the searches of the recall scan, then for the
            queries of all settings. None: in a notebook, a bar.

    Raises:
        ValueError: an invalid argument, or none of the relevant documents is in the index.
        IncompleteRetrieval: the server stopped early.
        ServerError: the server cannot be reached, or refuses.
    """
    check_type("retriever", retriever, Retriever)
    with bar_in_notebook("queries", progress) as told:
        setup = _Setup(questions, settings, k, depth, latency_sample, confidence, seed, efs, target, told)
        return retriever.index._run(_evaluating(retriever, setup), asks=True)


async def aevaluate(
    retriever: AsyncRetriever,
    questions: Questions,
    settings: Mapping[str, Mapping[str, Any]] = PLAIN,
    *,
    k: int = 10,
    depth: int = DEPTH,
    latency_sample: int = LATENCY_SAMPLE,
    confidence: float = CONFIDENCE,
    seed: int = 0,
    efs: Sequence[int] | None = None,
    target: float = TARGET,
    progress: Progress | None = None,
) -> Evaluation:
    """Async twin of `evaluate`."""
    check_type("retriever", retriever, AsyncRetriever)
    with bar_in_notebook("queries", progress) as told:
        setup = _Setup(questions, settings, k, depth, latency_sample, confidence, seed, efs, target, told)
        return await retriever.index._run(_evaluating(retriever, setup), asks=True)


def rank_documents(retrieval: Retrieval) -> list[str]:
    """Return the ids of the passages' documents, each at the rank of its best passage."""
    check_type("retrieval", retrieval, Retrieval, "pass what retrieve() returned")
    return list(dict.fromkeys(passage.document_id for passage in retrieval.passages))


@dataclass(frozen=True, slots=True)
class _Setup:
    """The arguments of `evaluate`."""

    questions: Questions
    settings: Mapping[str, Mapping[str, Any]]
    k: int
    depth: int
    latency_sample: int
    confidence: float
    seed: int
    efs: Sequence[int] | None
    target: float
    progress: Progress

    def __post_init__(self) -> None:
        check_type("questions", self.questions, Questions, "pass read_questions(folder)")
        check_mapping("settings", self.settings, '{"vector": {"mode": "vector"}}')
        for name, options in self.settings.items():
            check_type("each name of settings", name, str)
            check_mapping(f"the options of {shown(name)}", options, '{"mode": "vector"}')
        if not self.settings or not len(self.questions):
            counts = f"{len(self.settings)} and {len(self.questions)}"
            raise ValueError(f"expected at least one setting and question, got {counts}")
        if not 1 <= check_whole("k", self.k, 0) <= check_whole("depth", self.depth, 0):
            raise ValueError(f"expected 1 <= k <= depth, got k={self.k} and depth={self.depth}")
        check_whole("latency_sample", self.latency_sample, 0)
        check_confidence(self.confidence)


@repeatable
def _evaluating(retriever: Retriever | AsyncRetriever, setup: _Setup) -> Flow[Evaluation]:
    questions, settings, k = setup.questions, setup.settings, setup.k
    texts = list(questions.queries.values())
    missing = yield from _missing(retriever.index, questions, settings)
    scan: RecallScan | None = None
    if setup.efs is not None:
        efs = setup.efs if len(setup.efs) else DEFAULT_EFS
        scan = yield from scanning(retriever, texts, k, efs, setup.target, SAMPLE, setup.progress)
    timed = in_even_steps(texts, setup.latency_sample) if setup.latency_sample else []
    report = _counter(setup.progress, len(settings) * (len(texts) + len(timed)))
    results = []
    warnings: dict[str, dict[str, None]] = {}  # each once, in order
    for name, options in settings.items():
        rankings, shallow, told = yield from _ranking(retriever, texts, k, setup.depth, options, report)
        for query, each in zip(questions.queries, told, strict=True):
            if each:
                warnings.setdefault(query, {}).update(dict.fromkeys(each))
        results.append(_result(setup, name, rankings, shallow))
    seconds = yield from _timing(retriever, settings, timed, k, report)
    return Evaluation(
        index=retriever.index.name,
        k=k,
        depth=setup.depth,
        confidence=setup.confidence,
        queries=dict(questions.queries),
        missing=missing,
        results=tuple(replace(one, latency=Latency.of(seconds[one.name]) if timed else None) for one in results),
        comparisons=_comparisons(setup, results),
        recall=scan,
        warnings={query: tuple(each) for query, each in warnings.items()},
    )


def _result(setup: _Setup, name: str, rankings: Sequence[Sequence[str]], shallow: int) -> SettingResult:
    """Return the scores of one setting; `rankings` are its documents for each query, best first."""
    metrics = metrics_at(setup.k)
    grades = setup.questions.grades
    judged = [(ranked, grades[query]) for ranked, query in zip(rankings, setup.questions.queries, strict=True)]
    scores = {metric: tuple(score(*pair) for pair in judged) for metric, score in metrics.items()}
    estimates = bootstrap_means(list(scores.values()), confidence=setup.confidence, seed=setup.seed)
    return SettingResult(
        name=name,
        options={option: repr(value) for option, value in setup.settings[name].items()},
        estimates=dict(zip(metrics, estimates, strict=True)),
        scores=scores,
        documents=tuple(tuple(ranked[: setup.k]) for ranked in rankings),
        shallow=shallow,
    )


def _comparisons(setup: _Setup, results: Sequence[SettingResult]) -> tuple[Comparison, ...]:
    """Return the comparison of each setting with the first, by each metric."""
    first, *others = results
    return tuple(
        compare(metric, first.column(metric), other.column(metric), confidence=setup.confidence, seed=setup.seed)
        for other in others
        for metric in metrics_at(setup.k)
    )


def _ranking(
    retriever: Retriever | AsyncRetriever,
    texts: Sequence[str],
    k: int,
    depth: int,
    options: Mapping[str, Any],
    report: Callable[[int], None],
) -> Flow[tuple[list[list[str]], int, list[tuple[str, ...]]]]:
    """Return each query's documents, best first, the number of queries with fewer than k, and the warnings."""
    rankings: list[list[str]] = []
    warnings: list[tuple[str, ...]] = []
    shallow = 0
    for start in range(0, len(texts), QUERIES_PER_CALL):
        part = texts[start : start + QUERIES_PER_CALL]
        for retrieval in (yield from asking(retriever, part, depth, _as_options(options))):
            rankings.append(rank_documents(retrieval))
            warnings.append(retrieval.warnings)
            # All `depth` passages come from fewer than k documents: a larger depth might find more.
            shallow += len(retrieval) >= depth and len(rankings[-1]) < k
        report(len(part))
    return rankings, shallow, warnings


def _timing(
    retriever: Retriever | AsyncRetriever,
    settings: Mapping[str, Mapping[str, Any]],
    texts: Sequence[str],
    k: int,
    report: Callable[[int], None],
) -> Flow[dict[str, list[float]]]:
    """Return the seconds of each single call, by setting.

    The settings take turns, so that a quiet or busy moment of the machine affects all of them.
    """
    seconds: dict[str, list[float]] = {name: [] for name in settings}
    for number, text in enumerate(texts):
        for name, options in settings.items():
            if not number:  # the first call of each kind is slower, and is not timed
                yield from asking(retriever, [text], k, _as_options(options))
            began = time.perf_counter()
            yield from asking(retriever, [text], k, _as_options(options))
            seconds[name].append(time.perf_counter() - began)
            report(1)
    return seconds


def _as_options(options: Mapping[str, Any]) -> Options:
    return cast(Options, options)  # `make_plan` checks them


def _missing(index: Index | AsyncIndex, questions: Questions, settings: Mapping[str, Mapping[str, Any]]) -> Flow[int]:
    """Return the number of relevant documents that are not in the index; no setting can find them.

    Where the index requires a filter, these are the ones that no setting's filter finds.

    Raises:
        ValueError: none is in the index: the ids differ, or it is another index.
    """
    relevant = list(
        dict.fromkeys(
            document for grades in questions.grades.values() for document, grade in grades.items() if grade > 0
        )
    )
    if index.schema.required_filter is None:
        present = sum((yield from existing_documents(index._keys, relevant)))
    else:
        found: set[str] = set()
        for options in settings.values():
            among = yield from index._filtering(options.get("where"))
            for part in in_parts(relevant, DOCUMENTS_PER_PART):
                found.update((yield from matching(index._place(), storable(part), among)))
        present = len(found)
    if not present:
        yield from index_info(index._keys)  # raises where the index itself is gone
        named = f"such as {relevant[0]!r}" if relevant else "but none has a grade of 1 or more"
        raise ValueError(
            f"expected documents of the judgements, {named}, in index {index.name!r}, got none: "
            "index the folder of the questions, and compare the ids"
        )
    return len(relevant) - present


def _counter(progress: Progress, total: int) -> Callable[[int], None]:
    done = 0

    def count(more: int) -> None:
        nonlocal done
        done += more
        progress(done, total)

    return count
