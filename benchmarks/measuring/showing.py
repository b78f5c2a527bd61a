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
    "other": "another engine, does less",
}
_MARKS: dict[Kind, str] = {"peer": "o", "floor": "^", "other": "x"}
_COLORS: dict[Kind, str] = {"peer": "#c2410c", "floor": "#64748b", "other": "#a3a3a3"}
_LIMITS = 0.05, 50.0  # what is further away is not drawn: it does not do the same work
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

    heights = [0.6 + 0.45 * len(results.races)] * bool(results.races) + [3.2] * len(results.curves)
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
    shown: set[Kind] = set()
    for row, race in enumerate(races):
        others = [times for times in race.times if times.name != OURS] if every else [race.best]
        for times in filter(None, others):
            ratio = race.ratio(times)
            label = None if times.kind in shown else KINDS[times.kind]
            shown.add(times.kind)
            _draw_ratio(axes, row, ratio, times, label, named=True)
    axes.set_xscale("log")
    axes.axvline(1, color=_OWN_COLOR, linewidth=1)
    axes.set_yticks(range(len(races)), [race.name for race in races])
    axes.set_ylim(len(races) - 0.4, -0.6)
    low, high = axes.get_xlim()
    axes.set_xlim(max(min(low, 0.5), _LIMITS[0]), min(max(high, 2.0), _LIMITS[1]))
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:g} x")
    axes.xaxis.set_minor_formatter(lambda x, _: f"{x:g}" if f"{x:.0e}"[0] in "25" else "")
    axes.set_xlabel("ragknn takes longer  |  ragknn is so many times quicker")
    axes.grid(axis="x", color="#e5e7eb", linewidth=0.6)
    axes.legend(loc="best", fontsize=7, frameon=False)


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


def _draw_ratio(axes: Axes, row: int, ratio: Ratio, times: Times, label: str | None, *, named: bool) -> None:
    color, mark = _COLORS[times.kind], _MARKS[times.kind]
    axes.plot([ratio.low, ratio.high], [row, row], color=color, linewidth=1, alpha=0.6)
    axes.plot([ratio.median], [row], mark, color=color, markersize=5, label=label)
    if named:
        axes.annotate(
            times.name, (ratio.median, row), (0, 5), textcoords="offset points", ha="center", fontsize=6, color=color
        )


def _draw_curve(axes: Axes, curve: Curve) -> None:
    for line in curve.lines:
        own = {"color": _OWN_COLOR, "linewidth": 2} if line.name.startswith(OURS) else {"linewidth": 1}
        [drawn] = axes.plot(line.x, line.y, "o-", markersize=3, label=line.name, **own)
        axes.fill_between(line.x, line.low, line.high, color=drawn.get_color(), alpha=0.15, linewidth=0)
    if curve.logarithmic:
        axes.set_xscale("log")
        axes.set_yscale("log")
    axes.set_title(curve.name, loc="left", fontsize=9)
    axes.set_xlabel(curve.x, fontsize=8)
    axes.set_ylabel(curve.y, fontsize=8)
    axes.grid(color="#e5e7eb", linewidth=0.6)
    axes.legend(fontsize=7, frameon=False)
