"""Results of an evaluation: per query, on average, and comparisons of settings."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragknn._checks import check_flag, check_type, shown
from ragknn._display.html import Html, notes, sheet, table
from ragknn._display.lines import Table, aligned
from ragknn._plain import Plain, frame, plain
from ragknn.evaluation._charts import draw
from ragknn.evaluation._latency import Latency
from ragknn.evaluation._recall import RecallScan
from ragknn.evaluation._significance import Comparison, Estimate, compare

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame


@dataclass(frozen=True, slots=True)
class SettingResult(Plain):
    """Results of one setting.

    Attributes:
        name: name of the setting.
        options: options of `retrieve`, each as its repr.
        estimates: mean over the queries by metric, with its confidence interval.
        scores: value of each query by metric, in the order of the queries.
        documents: ids of the k best documents of each query.
        shallow: number of queries whose passages came from fewer than k documents; a larger depth may improve them.
        latency: latency of single calls for k passages, query embedding included; None if it was not measured.
    """

    name: str
    options: Mapping[str, str]
    estimates: Mapping[str, Estimate]
    scores: Mapping[str, tuple[float, ...]]
    documents: tuple[tuple[str, ...], ...]
    shallow: int
    latency: Latency | None = None

    def column(self, metric: str) -> tuple[str, tuple[float, ...]]:
        """Return the setting's name and its values of one metric, as arguments of `compare`."""
        return self.name, self.scores[metric]

    def _repr_html_(self) -> str:
        """Show the means as a table in a notebook."""
        options = ", ".join(f"{option}={value}" for option, value in self.options.items())
        rows = [(metric, str(estimate)) for metric, estimate in self.estimates.items()]
        return sheet(table(f"{self.name} ({options})" if options else self.name, ("metric", "mean"), rows))


@dataclass(frozen=True, slots=True, repr=False)
class Evaluation(Plain):
    """Results of an evaluation; print them, show them in a notebook, plot them, or save them as JSON.

    Attributes:
        index: name of the index.
        k: number of documents that count.
        depth: number of passages retrieved for each query.
        confidence: confidence of all intervals.
        queries: texts by id, in the order of all values per query.
        missing: number of relevant documents that are not in the index, and so cannot be found.
        results: results of the settings, in the given order.
        comparisons: comparisons of each further setting with the first, by metric.
        recall: recall of the index against exact search, if it was measured.
        warnings: warnings of the retrievals by query id, for example that the query is too long for the model.
    """

    index: str
    k: int
    depth: int
    confidence: float
    queries: Mapping[str, str]
    missing: int
    results: tuple[SettingResult, ...]
    comparisons: tuple[Comparison, ...]
    recall: RecallScan | None = None
    warnings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics; plots show the first one."""
        return tuple(self.results[0].scores)

    def __getitem__(self, setting: str) -> SettingResult:
        for result in self.results:
            if result.name == setting:
                return result
        raise KeyError(
            f"expected one of the settings {', '.join(one.name for one in self.results)}, got {shown(setting)}"
        )

    def compare(self, first: str, second: str, metric: str | None = None, *, seed: int = 0) -> Comparison:
        """Compare any two settings query by query, by default on the first metric.

        Raises:
            TypeError: a name of another type.
            KeyError: no such setting or metric.
        """
        metric = self.metrics[0] if metric is None else metric
        for what, name in (("first", first), ("second", second), ("metric", metric)):
            check_type(what, name, str, "pass a name")
        if metric not in self.metrics:
            raise KeyError(f"expected one of the metrics {', '.join(self.metrics)}, got {shown(metric)}")
        columns = (self[first].column(metric), self[second].column(metric))
        return compare(metric, *columns, confidence=self.confidence, seed=seed)

    def per_query(self) -> Iterator[dict[str, Any]]:
        """Iterate over queries and settings: the id, the metrics and the k best documents of each, as a flat row."""
        for row, (query, text) in enumerate(self.queries.items()):
            for result in self.results:
                values = {metric: scores[row] for metric, scores in result.scores.items()}
                documents = list(result.documents[row])
                yield {"query": query, "text": text, "setting": result.name, **values, "documents": documents}

    def to_dict(self, *, per_query: bool = False) -> dict[str, Any]:
        """Return the results as plain values, for JSON; times are in seconds.

        Args:
            per_query: whether to include the rows of `per_query`.
        """
        per_query = check_flag("per_query", per_query)
        settings = [
            {
                "name": result.name,
                "options": result.options,
                "metrics": result.estimates,
                "latency": result.latency,
                "shallow": result.shallow,
            }
            for result in self.results
        ]
        values = {
            "index": self.index,
            "k": self.k,
            "depth": self.depth,
            "confidence": self.confidence,
            "queries": len(self.queries),
            "missing": self.missing,
            "warnings": self.warnings,
            "settings": settings,
            "comparisons": self.comparisons,
            "recall": self.recall,
        }
        if per_query:
            values["per_query"] = list(self.per_query())
        return {name: plain(value) for name, value in values.items()}

    def to_json(self, *, per_query: bool = False) -> str:
        """Return `to_dict` as one line of JSON."""
        return json.dumps(self.to_dict(per_query=per_query), ensure_ascii=False, allow_nan=False)

    def to_pandas(self) -> DataFrame:
        """Return a DataFrame with the rows of `per_query`, one for each query and setting.

        Raises:
            MissingDependency: pandas is not installed.
        """
        columns = ("query", "text", "setting", *self.metrics, "documents")
        return frame(columns, [tuple(row.values()) for row in self.per_query()])

    def plot(self, path: str | Path | None = None) -> Figure:
        """Draw quality against latency, recall against latency if it was measured, and the differences per query.

        Args:
            path: file to save the plot in; the suffix gives the format (.png, .svg, .pdf).

        Raises:
            MissingDependency: matplotlib is not installed.
        """
        return draw(self.results, self.metrics[0], self.confidence, self.recall, path)

    @property
    def heading(self) -> str:
        """Description of the evaluation, in one line."""
        return (
            f"{self.index}: {len(self.queries)} queries, documents ranked by their best of {self.depth} passages, "
            f"mean and {self.confidence:.0%} interval"
        )

    @property
    def table(self) -> Table:
        """The results of all settings as a table for display: a column for each setting, a row for each metric."""
        rows: list[tuple[str, ...]] = [
            (metric, *(str(result.estimates[metric]) for result in self.results)) for metric in self.metrics
        ]
        for percentile in ("p50", "p90", "p99"):
            latencies = [result.latency for result in self.results if result.latency]
            if latencies:
                rows.append((percentile, *(f"{1000 * getattr(one, percentile):.1f} ms" for one in latencies)))
        return ("", *(result.name for result in self.results)), rows

    @property
    def comparison_table(self) -> Table:
        """The comparisons as a table for display, one row each."""
        heads = ("metric", "setting", "against", "difference", "p", "better on", "worse on", "equal on")
        rows = []
        for one in self.comparisons:
            counts = (str(one.wins), str(one.losses), str(one.ties))
            rows.append((one.metric, one.second, one.first, f"{one.difference:+.4f}", f"{one.p_value:.4f}", *counts))
        return heads, rows

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes that qualify the results, one sentence each."""
        notes = []
        if self.missing:
            notes.append(f"relevant documents that are not in the index and cannot be found: {self.missing}")
        if self.warnings:
            query, [first, *_] = next(iter(self.warnings.items()))
            notes.append(f"queries with a warning: {len(self.warnings)}, the first is {query!r}: {first}")
        notes += [
            f"{result.name}: the {self.depth} passages of {result.shallow} queries come from fewer than {self.k} "
            "documents; raise the depth"
            for result in self.results
            if result.shallow
        ]
        if self.results[0].latency:
            notes.append(f"latency of one retrieve of {self.k} passages, query embedding included")
        return tuple(notes)

    def __repr__(self) -> str:
        lines = [self.heading, *aligned(self.table), *(f"note: {note}" for note in self.notes)]
        if self.comparisons:
            lines += ["", "query by query", *aligned(self.comparison_table)]
        if self.recall is not None:
            lines += ["", str(self.recall)]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """Show the means, the comparisons and the recall as tables in a notebook."""
        parts = [table(self.heading, *self.table), notes(self.notes)]
        if self.comparisons:
            parts.append(table("query by query", *self.comparison_table))
        if self.recall is not None:
            parts.append(Html(self.recall._repr_html_()))
        return sheet(*parts)
