"""The plots of an evaluation, drawn with matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ragknn._display.pictures import figure_class
from ragknn.evaluation._recall import RecallScan

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ragknn.evaluation.results import SettingResult

SUFFIXES = (".png", ".svg", ".pdf")
PANELS_A_ROW = 3
PANEL = (5.0, 3.8)  # inches


def draw(
    results: Sequence[SettingResult],
    metric: str,
    confidence: float,
    scan: RecallScan | None,
    path: str | Path | None,
) -> Figure:
    """Draw an evaluation: quality against latency, recall against latency, and each setting against the first.

    Args:
        results: results of the settings.
        metric: metric to plot.
        confidence: confidence of the intervals.
        scan: recall of the index, if it was measured.
        path: file to save the plot in, or None.

    Raises:
        MissingDependency: matplotlib is not installed.
    """
    first, *others = results
    count = 1 + (scan is not None) + len(others)
    columns = min(count, PANELS_A_ROW)
    rows = -(-count // columns)
    figure = figure_class()(figsize=(PANEL[0] * columns, PANEL[1] * rows), layout="constrained")
    panels = iter([figure.add_subplot(rows, columns, number + 1) for number in range(count)])
    draw_quality(next(panels), results, metric, confidence)
    if scan is not None:
        draw_recall(next(panels), scan)
    for other in others:
        draw_differences(next(panels), first, other, metric)
    if path is not None:
        figure.savefig(path)
    return figure


def draw_quality(axes: Any, results: Sequence[SettingResult], metric: str, confidence: float) -> None:
    """Draw the mean of each setting with its interval, against the p50 latency if that was measured."""
    timed = all(result.latency for result in results)
    for number, result in enumerate(results):
        estimate = result.estimates[metric]
        place = 1000 * result.latency.p50 if timed and result.latency else number
        bars = [[estimate.mean - estimate.low], [estimate.high - estimate.mean]]
        axes.errorbar([place], [estimate.mean], yerr=np.maximum(bars, 0), marker="o", capsize=4)
        axes.annotate(f"{result.name}\n{estimate.mean:.3f}", (place, estimate.mean), (7, 4), textcoords="offset points")
    axes.set(ylabel=metric, title=f"quality, {confidence:.0%} intervals")
    axes.margins(x=0.3)
    if timed:
        axes.set(xlabel="p50 of one retrieve, embedding included (ms)")
        axes.set_xlim(left=0)
    else:
        axes.set(xticks=range(len(results)), xticklabels=[result.name for result in results])
    axes.grid(alpha=0.3)


def draw_recall(axes: Any, scan: RecallScan) -> None:
    """Draw the recall of the index against the p50 latency, one point for each ef_runtime."""
    places = [1000 * point.latency.p50 for point in scan.points]
    axes.plot(places, [point.recall for point in scan.points], marker="o")
    for place, point in zip(places, scan.points, strict=True):
        name = "exact" if point.ef_runtime is None else f"ef {point.ef_runtime}"
        axes.annotate(name, (place, point.recall), (5, -11), textcoords="offset points")
    axes.axhline(scan.target, linestyle="--", linewidth=1, color="gray")
    axes.set(
        xlabel="p50 of one search with a ready vector (ms)",
        ylabel=f"recall@{scan.k} against exact search",
        title=f"{scan.index}: {scan.passages} passages, {scan.algorithm}",
    )
    axes.margins(x=0.15)
    axes.set_xlim(left=0)
    axes.grid(alpha=0.3)


def draw_differences(axes: Any, first: SettingResult, second: SettingResult, metric: str) -> None:
    """Draw a bar for each query: the difference between the second setting and the first, sorted."""
    differences = np.sort(np.subtract(second.scores[metric], first.scores[metric]))[::-1]
    axes.bar(np.arange(len(differences)), differences, width=1.0, color=np.where(differences > 0, "C0", "C1"))
    axes.axhline(0, linewidth=1, color="gray")
    axes.set(
        xlabel=f"{len(differences)} queries, by difference",
        ylabel=f"{metric}: {second.name} - {first.name}",
        title=f"better on {np.count_nonzero(differences > 0)}, worse on {np.count_nonzero(differences < 0)}",
    )
    axes.grid(alpha=0.3)
