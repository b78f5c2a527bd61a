"""Races and curves as tables in a terminal, and as plots."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from benchmarks.measuring.racing import OURS, Kind, Race, Ratio, Times
from benchmarks.measuring.results import Curve, Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes

KINDS: dict[Kind, str] = {
    "peer": "same work",
    "floor": "bare, the least there is",
    "other": "does less",
}
_MARKS: dict[Kind, str] = {"peer": "o", "floor": "^", "other": "x"}
_COLORS: dict[Kind, str] = {"peer": "#c2410c", "floor": "#64748b", "other": "#a3a3a3"}
_LIMITS = 0.05, 50.0  # what is further away is not drawn: it does not do the same work
_ROW = 0.8  # of the height between two races is drawn on
_OWN_COLOR = "#0f766e"


def print_race(race: Race) -> None:
    """Print who took how long, and how many times quicker ragknn was, with the lowest and highest of the runs."""
    facts = list(dict.fromkeys(name for times in race.times for name in times.facts))
    table = Table(title=race.name, title_justify="left", title_style="bold")
    table.add_column("")
    for heading in (f"{race.unit}/s" if race.unit else "ms", "from - to", "ragknn is quicker", "from - to", *facts):
        table.add_column(heading, justify="right")
    for times in race.times:
        values = sorted(map(race.amount, times.seconds))
        ratio = race.ratio(times)
        table.add_row(
            _labelled(times),
            short(race.amount(times.median)),
            f"{short(values[0])} - {short(values[-1])}",
            *(("", "") if times.name == OURS else (f"{ratio.median:.2f} x", f"{ratio.low:.2f} - {ratio.high:.2f}")),
            *(str(times.facts.get(name, "")) for name in facts),
        )
    Console(width=140).print(table)


def print_curve(curve: Curve) -> None:
    """Print y at each x for each line."""
    table = Table(curve.x, title=f"{curve.name}: {curve.y}", title_justify="left", title_style="bold")
    for line in curve.lines:
        table.add_column(line.name, justify="right")
    at = [dict(zip(line.x, line.y, strict=True)) for line in curve.lines]
    for x in sorted({x for line in curve.lines for x in line.x}):
        table.add_row(f"{x:g}", *(short(line[x]) if x in line else "" for line in at))
    Console(width=140).print(table)


def plot(results: Results, path: Path) -> None:
    """Draw all races of a benchmark in one picture, and each of its curves below."""
    from matplotlib.figure import Figure

    most = max((len(race.times) for race in results.races), default=0)
    heights = [0.8 + 0.13 * most * len(results.races)] * bool(results.races) + [2.6] * len(results.curves)
    if not heights:
        return
    figure = Figure(figsize=(9, sum(heights) + 0.5), layout="constrained")
    axes = figure.subplots(len(heights), squeeze=False, height_ratios=heights)[:, 0]
    if results.races:
        draw_races(axes[0], results.races, every=True)
        axes = axes[1:]
    for place, curve in zip(axes, results.curves, strict=True):
        _draw_curve(place, curve)
    save_figure(figure, path)


def draw_races(axes: Axes, races: Sequence[Race], *, every: bool) -> None:
    """Draw a row for each race: how many times quicker ragknn was than every other, or than the best peer."""
    told: set[Kind] = set()
    for row, race in enumerate(races):
        others = [times for times in race.times if times.name != OURS] if every else [race.best]
        drawn = [times for times in others if times is not None]
        for place, times in enumerate(drawn):
            height = row + (place + 0.5) / len(drawn) * _ROW - _ROW / 2
            _draw_ratio(axes, height, race.ratio(times), times, None if times.kind in told else KINDS[times.kind])
            told.add(times.kind)
    axes.set_xscale("log")
    axes.axvline(1, color=_OWN_COLOR, linewidth=1)
    axes.set_yticks(range(len(races)), [race.name for race in races], fontsize=8)
    axes.set_ylim(len(races) - 0.5, -0.5)
    low, high = axes.get_xlim()
    axes.set_xlim(max(min(low, 0.5), _LIMITS[0]), min(max(high, 2.0) * 4, _LIMITS[1]))  # room for the last name
    _mark_plainly(axes.xaxis, " x")
    axes.set_xlabel("ragknn takes longer  |  ragknn is so many times quicker", fontsize=8)
    axes.grid(axis="x", color="#e5e7eb", linewidth=0.6)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, fontsize=7, frameon=False)


def save_figure(figure: Any, path: Path) -> None:
    """Write a picture so that the same figures give the same file."""
    from matplotlib import rc_context

    with rc_context({"svg.hashsalt": "ragknn", "svg.fonttype": "none"}):
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def short(value: float) -> str:
    """Return a number with three digits that count."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _labelled(times: Times) -> str:
    return times.name if times.kind in ("ours", "peer") else f"{times.name} ({KINDS[times.kind]})"


def _draw_ratio(axes: Axes, height: float, ratio: Ratio, times: Times, label: str | None) -> None:
    color, mark = _COLORS[times.kind], _MARKS[times.kind]
    axes.plot([ratio.low, ratio.high], [height, height], color=color, linewidth=1, alpha=0.6)
    axes.plot([ratio.median], [height], mark, color=color, markersize=4, label=label)
    beside = (min(max(ratio.high, _LIMITS[0]), _LIMITS[1]), height)
    style = {"fontsize": 6.5, "color": color, "va": "center"}
    axes.annotate(times.name, beside, (4, 0), textcoords="offset points", annotation_clip=True, **style)


def _mark_plainly(axis: Any, unit: str = "") -> None:
    """Write numbers at a logarithmic axis as people do: 0.5, 1, 2, 5, 10."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(
        FuncFormatter(lambda value, _: f"{value:,.0f}{unit}" if value >= 1 else f"{value:g}{unit}")
    )


def _draw_curve(axes: Axes, curve: Curve) -> None:
    for line in curve.lines:
        own = {"color": _OWN_COLOR, "linewidth": 2} if line.name.startswith(OURS) else {"linewidth": 1}
        [drawn] = axes.plot(line.x, line.y, "o-", markersize=3, label=line.name, **own)
        axes.fill_between(line.x, line.low, line.high, color=drawn.get_color(), alpha=0.15, linewidth=0)
    if curve.logarithmic:
        axes.set_xscale("log")
        axes.set_yscale("log")
        _mark_plainly(axes.xaxis)
        _mark_plainly(axes.yaxis)
    axes.set_title(curve.name, loc="left", fontsize=9)
    axes.set_xlabel(curve.x, fontsize=8)
    axes.set_ylabel(curve.y, fontsize=8)
    axes.grid(color="#e5e7eb", linewidth=0.6)
    axes.legend(fontsize=7, frameon=False)
