"""The plots of an evaluation, drawn with matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np

from ragknn._display.lines import brief
from ragknn._display.pictures import COLORS, GRAY, add_words, along, picture, sign

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ragknn.evaluation._recall import RecallPoint, RecallScan
    from ragknn.evaluation.results import SettingResult

PANELS_A_ROW = 3
PANEL = (5.0, 3.8)  # inches
NAME_CHARACTERS = 20
TICK_CHARACTERS = 44  # of all names below a panel, side by side
MOST_WORDS = 5  # points with words beside them; more are told by a legend
LABEL_CHARACTERS = 40
COVERED = 0.1  # inches between points that cover each other


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
    with picture(PANEL[0] * columns, PANEL[1] * rows, path) as figure:
        panels = [figure.add_subplot(rows, columns, number + 1) for number in range(count)]
        for number, other in enumerate(others, start=count - len(others)):
            draw_differences(panels[number], first, other, metric)
        span = [axes.get_ylim() for axes in panels[count - len(others) :]]
        for axes in panels[count - len(others) :]:  # so that their bars can be compared
            axes.set_ylim(min(low for low, _ in span), max(high for _, high in span))
        # Last, since words take their places on what is finished.
        if scan is not None:
            draw_recall(panels[1], scan)
        draw_quality(panels[0], results, metric, confidence)
    return figure


def draw_scan(scan: RecallScan, path: str | Path | None) -> Figure:
    """Draw the recall of an index against the latency, as a picture of its own."""
    with picture(*PANEL, path) as figure:
        draw_recall(figure.add_subplot(), scan)
    return figure


def draw_quality(axes: Any, results: Sequence[SettingResult], metric: str, confidence: float) -> None:
    """Draw the mean of each setting with its interval, against the p50 latency if that was measured."""
    timed = all(result.latency for result in results)
    crowded = len(results) > MOST_WORDS
    handles = []
    places: list[tuple[float, float]] = []
    bars: list[tuple[float, float]] = []
    for number, result in enumerate(results):
        estimate = result.estimates[metric]
        place = 1000 * result.latency.p50 if timed and result.latency else number
        sizes = [[estimate.mean - estimate.low], [estimate.high - estimate.mean]]
        color, marker = sign(number)
        style = {"marker": marker, "color": color, "capsize": 4}
        handles.append(axes.errorbar([place], [estimate.mean], yerr=np.maximum(sizes, 0), **style))
        places.append((place, estimate.mean))
        bars += along([(place, estimate.low), (place, estimate.high)])
    axes.set(ylabel=f"{metric}, mean over the queries", title=f"quality, {confidence:.0%} intervals")
    axes.margins(x=0.3, y=0.15)
    names = [brief(result.name, NAME_CHARACTERS) for result in results]
    if timed:
        axes.set(xlabel="median time of one retrieve, embedding included (ms)")
        axes.set_xlim(left=0, right=1.3 * max(place for place, _ in places))
        words = [f"{name}\n{mean:.3f}" for name, (_, mean) in zip(names, places, strict=True)]
    else:
        width = max(TICK_CHARACTERS // len(results), 4)
        axes.set(xticks=range(len(results)), xticklabels=[] if crowded else [fill(name, width) for name in names])
        words = [f"{mean:.3f}" for _, mean in places]
    if crowded:
        words = [f"{mean:.3f}  {name}" for name, (_, mean) in zip(names, places, strict=True)]
        axes.legend(handles, words, loc="upper left", bbox_to_anchor=(1, 1), fontsize=8)
    else:
        add_words(axes, places, words, bars)


def draw_recall(axes: Any, scan: RecallScan) -> None:
    """Draw the recall of the index against the median latency, one point for each ef_runtime."""
    places = [(1000 * point.latency.p50, point.recall) for point in scan.points]
    axes.plot(*zip(*places, strict=True), marker="o", color=COLORS[0], linewidth=1)
    axes.axhline(scan.target, linestyle="--", linewidth=1, color=GRAY, zorder=0)
    axes.set(
        xlabel=f"median time of one search with a ready vector (ms)\ndashed: the target recall, {scan.target:g}",
        ylabel=f"recall@{scan.k} against exact search",
        title=f"{scan.index}: {scan.passages} passages, {scan.algorithm}",
    )
    axes.margins(y=0.2)
    times = [time for time, _ in places]
    # Wide enough that noise does not look like a difference.
    middle, width = (min(times) + max(times)) / 2, max(max(times) - min(times), max(times) / 2)
    axes.set_xlim(max(middle - 0.7 * width, 0), middle + 0.7 * width)
    groups = _near(axes, places)
    words = [_efs([scan.points[number] for number in group]) for group in groups]
    add_words(axes, [places[group[0]] for group in groups], words, along(places))


def _near(axes: Any, places: Sequence[tuple[float, float]]) -> list[list[int]]:
    """Return the numbers of the places, those together that cover each other on the figure."""
    axes.figure.draw_without_rendering()
    pixels = axes.transData.transform(np.array(places))
    groups = [[0]]
    for number in range(1, len(places)):
        near = np.abs(pixels[number] - pixels[groups[-1][0]]).max() < COVERED * axes.figure.dpi
        if near:
            groups[-1].append(number)
        else:
            groups.append([number])
    return groups


def _efs(points: Sequence[RecallPoint]) -> str:
    first, last = points[0].ef_runtime, points[-1].ef_runtime
    if first is None:
        return "exact"
    return f"ef {first}" if first == last else f"ef {first} to {last}"


def draw_differences(axes: Any, first: SettingResult, second: SettingResult, metric: str) -> None:
    """Draw a bar for each query: the difference between the second setting and the first, sorted."""
    differences = np.sort(np.subtract(second.scores[metric], first.scores[metric]))[::-1]
    better, worse = np.count_nonzero(differences > 0), np.count_nonzero(differences < 0)
    axes.bar(np.arange(len(differences)), differences, width=1.0, color=np.where(differences > 0, COLORS[0], COLORS[1]))
    axes.axhline(0, linewidth=1, color=GRAY)
    names = (brief(one.name, NAME_CHARACTERS) for one in (second, first))
    axes.set(
        xlabel=f"{len(differences)} queries, by difference",
        ylabel=fill(f"{metric}: {' - '.join(names)}", LABEL_CHARACTERS),
        title=f"better on {better}, worse on {worse}",
    )
