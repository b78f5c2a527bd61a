"""The pictures of a map: drawn with matplotlib, and for notebooks as SVG, whose points tell what they are."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ragknn._display.html import MUTED, Html, element, escaped, row, sheet, span
from ragknn._display.lines import brief, label_text
from ragknn._display.pictures import COLORS, GRAY, MARKERS, RING, picture
from ragknn.records import Label, Passage, Vote

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ragknn.indexing.mapping import IndexMap

# From small to large numbers, dark to light as well, as matplotlib's "cividis" for the color-blind.
SCALE = ("#00224E", "#35456C", "#666970", "#948E77", "#C8B866", "#FEE838")
NAME_CHARACTERS = 24
WIDTH, HEIGHT, EDGE = 640, 420, 14  # of the SVG, in its own units
TOLD_CHARACTERS = 60
OUTLINE = "rgba(160,160,160,.8)"  # lets dark points be seen on dark ground


@dataclass(frozen=True, slots=True)
class Asked:
    """A query on a map.

    Attributes:
        words: the text; None for a ready vector.
        point: where it is, shape (2,).
        weights: how much each of its neighbors weighs, by the ids of their passages.
        vote: a vote on it, or None.
    """

    words: str | None
    point: NDArray[np.float64]
    weights: Mapping[str, float]
    vote: Vote | None


@dataclass(frozen=True, slots=True)
class Group:
    """Passages of one color.

    Attributes:
        name: as the legend tells it.
        color: of its points.
        marker: the sign of its points.
        numbers: which passages of the map are in it.
    """

    name: str
    color: str
    marker: str
    numbers: Sequence[int]


def are_a_scale(labels: Sequence[Label | None]) -> bool:
    """Tell whether labels are numbers to be drawn as a scale of colors: there is a float among them, and no text."""
    return any(isinstance(one, float) for one in labels) and not any(isinstance(one, str) for one in labels)


def grouped(labels: Sequence[Label | None], wanted: Sequence[Label | None] = ()) -> list[Group]:
    """Return the passages by label: the most frequent labels first, then all others and those without, in gray.

    Wanted labels have a color of their own, however rare they are.
    """
    numbers: dict[str, list[int]] = {}
    for number, label in enumerate(labels):
        if label is not None:
            numbers.setdefault(label_text(label), []).append(number)
    counts = Counter({name: len(some) for name, some in numbers.items()})
    # Where one color would be left over for all others, it goes to the last label.
    most = len(COLORS) if len(counts) <= len(COLORS) else len(COLORS) - 1
    asked_for = {label_text(label): counts.total() for label in wanted if label is not None}
    named = [name for name, _ in (counts + Counter(asked_for)).most_common(most)]
    groups = [
        Group(f"{brief(name, NAME_CHARACTERS) or repr(name)} ({counts[name]:,})", color, marker, numbers[name])
        for name, color, marker in zip(named, COLORS, MARKERS, strict=False)
    ]
    others = sorted(number for name in counts.keys() - set(named) for number in numbers[name])
    if others:
        groups.append(Group(f"{len(counts) - len(named)} other labels ({len(others):,})", GRAY, ".", others))
    without = [number for number, label in enumerate(labels) if label is None]
    if without:
        name = f"no label ({len(without):,})" if groups else f"{len(without):,} passages"
        groups.append(Group(name, GRAY if groups else COLORS[0], "." if groups else "o", without))
    return groups


# ---- matplotlib ------------------------------------------------------------------------------------------------


def draw_map(found: IndexMap, asked: Asked | None, path: str | Path | None) -> Figure:
    """Draw a map, and a query on it."""
    with picture(7.4, 4.8, path) as figure:
        axes = figure.add_subplot()
        axes.set_title(found.heading if asked is None else _title(found, asked), loc="left")
        axes.set(xticks=[], yticks=[], xlabel=_axis(found, 0), ylabel=_axis(found, 1))
        axes.set_aspect("equal", adjustable="datalim")
        faint = 0.45 if asked else 0.75
        if not len(found):
            axes.text(0.5, 0.5, "no passages", transform=axes.transAxes, ha="center", va="center", color=GRAY)
        elif are_a_scale(found.labels):
            _draw_scale(figure, axes, found, faint)
        else:
            _draw_groups(axes, found, faint, asked.weights if asked else ())
        if asked is not None:
            _draw_query(axes, found, asked)
    return figure


def _draw_groups(axes: Any, found: IndexMap, alpha: float, neighbors: Collection[str]) -> None:
    groups = grouped(found.labels, [one.label for one in found.passages if one.id in neighbors])
    size = 36 if len(found) < 300 else 18
    # The gray ones lie below; the legend has them last.
    handles = [
        axes.scatter(
            *found.coordinates[list(group.numbers)].T,
            **{"c": group.color, "marker": group.marker, "s": size, "alpha": alpha, "linewidths": 0},
            zorder=1 if group.color == GRAY else 2,
        )
        for group in groups
    ]
    if len(groups) > 1 or any(label is not None for label in found.labels):
        names = [group.name for group in groups]
        legend = axes.legend(handles, names, title="label", loc="upper left", bbox_to_anchor=(1, 1))
        for handle in legend.legend_handles:
            handle.set(alpha=1, sizes=[36])


def _draw_scale(figure: Any, axes: Any, found: IndexMap, alpha: float) -> None:
    numbers = [number for number, label in enumerate(found.labels) if label is not None]
    without = [number for number, label in enumerate(found.labels) if label is None]
    values = [float(found.labels[number] or 0) for number in numbers]
    axes.scatter(*found.coordinates[without].T, c=GRAY, marker=".", s=24, alpha=alpha)
    points = axes.scatter(*found.coordinates[numbers].T, c=values, cmap="cividis", s=24, alpha=alpha, linewidths=0)
    bar = figure.colorbar(points, ax=axes, fraction=0.05, pad=0.02, label="label")
    bar.solids.set_alpha(1)


def _draw_query(axes: Any, found: IndexMap, asked: Asked) -> None:
    ids = found.ids
    here = [number for number, one in enumerate(ids) if one in asked.weights]
    heaviest = max((asked.weights[ids[number]] for number in here), default=0.0) or 1.0
    for number in here:
        line = np.stack([asked.point, found.coordinates[number]])
        axes.plot(*line.T, color=RING, linewidth=0.8, alpha=0.6, zorder=3)
    sizes = [40 + 140 * asked.weights[ids[number]] / heaviest for number in here]
    if here:
        colors = _colors(found, here)
        axes.scatter(*found.coordinates[here].T, s=sizes, c=colors, edgecolors=RING, linewidths=1.2, zorder=4)
    axes.scatter(*asked.point, marker="*", s=320, c="black", edgecolors="white", linewidths=1.2, zorder=5)
    if missing := len(asked.weights) - len(here):
        axes.set_xlabel(f"{axes.get_xlabel()}\n{missing} of {len(asked.weights)} neighbors are not on this map")


def _colors(found: IndexMap, numbers: Sequence[int]) -> list[str]:
    """Return the colors of some passages."""
    if are_a_scale(found.labels):
        every = _scale_colors(found.labels)
        return [every[number] for number in numbers]
    groups = grouped(found.labels, [found.labels[number] for number in numbers])
    by_number = {number: group.color for group in groups for number in group.numbers}
    return [by_number[number] for number in numbers]


def _scale_colors(labels: Sequence[Label | None]) -> list[str]:
    values = [float(label) for label in labels if label is not None and math.isfinite(float(label))]
    low, high = min(values, default=0.0), max(values, default=0.0)
    step = (high - low) / (len(SCALE) - 1) or 1.0
    return [
        GRAY if label is None or not math.isfinite(float(label)) else SCALE[round((float(label) - low) / step)]
        for label in labels
    ]


def _title(found: IndexMap, asked: Asked) -> str:
    words = "a ready vector" if asked.words is None else f"“{brief(asked.words, TOLD_CHARACTERS)}”"
    return f"{words}\n{_outcome(found, asked)}"


def _outcome(found: IndexMap, asked: Asked) -> str:
    """Return what the neighbors of a query vote for, in one line."""
    vote = asked.vote
    if vote is not None and (vote.abstained or not vote.shares):
        return brief(f"abstained: {vote.reason}" if vote.abstained else label_text(vote.label), 80)
    if vote is not None:
        shares = {label_text(label): share for label, share in vote.shares.items()}
    else:
        labels = [one.label for one in found.passages if one.id in asked.weights and one.label is not None]
        if are_a_scale(labels):
            return f"mean of {len(labels)} neighbors: {float(np.mean([float(one) for one in labels])):.4g}"
        counts = Counter(map(label_text, labels))
        shares = {label: count / counts.total() for label, count in counts.most_common()}
    told = [f"{brief(label, NAME_CHARACTERS)} {share:.0%}" for label, share in shares.items()][:3]
    more = [f"{len(shares) - 3} more"] if len(shares) > 3 else []
    return ", ".join([*told, *more]) or f"{len(asked.weights)} neighbors"


def _axis(found: IndexMap, number: int) -> str:
    if found.explained is None:
        return f"UMAP, axis {number + 1} (no unit)"
    return f"{('first', 'second')[number]} component, {found.explained[number]:.0%} of the variance"


# ---- SVG -------------------------------------------------------------------------------------------------------


def map_html(found: IndexMap) -> str:
    """Return a map as HTML: points that tell what they are, and what their colors mean."""
    scale = are_a_scale(found.labels)
    if not len(found):
        return sheet(element("div", found.heading, style="font-weight:600"))
    colors = _colors(found, range(len(found)))
    points = _on_canvas(found.coordinates)
    told = [_told(passage) for passage in found.passages]
    dots = [_circle(x, y, color, words) for (x, y), color, words in zip(points, colors, told, strict=True)]
    style = f"max-width:{WIDTH}px;width:100%;stroke:{OUTLINE};stroke-width:.8"
    canvas = Html(f'<svg viewbox="0 0 {WIDTH} {HEIGHT}" style="{style}">{"".join(dots)}</svg>')
    if scale:
        values = [float(label) for label in found.labels if label is not None and math.isfinite(float(label))]
        legend = [f"{min(values, default=0):.4g}", *(_dot(color) for color in SCALE), f"{max(values, default=0):.4g}"]
    else:
        legend = [span(_dot(group.color), " ", group.name) for group in grouped(found.labels)]
    return sheet(element("div", found.heading, style="font-weight:600"), canvas, row(*legend, style=MUTED))


def _circle(x: float, y: float, color: str, told: str) -> Html:
    return Html(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{color}"><title>{escaped(told)}</title></circle>')


def _dot(color: str) -> Html:
    shape = f"display:inline-block;width:.7em;height:.7em;border-radius:50%;outline:1px solid {OUTLINE}"
    return element("span", style=f"{shape};background:{color}")


def _told(passage: Passage) -> str:
    label = f" [{label_text(passage.label)}]" if passage.label is not None else ""
    return f"{brief(passage.id, TOLD_CHARACTERS)}{label}: {brief(passage.text, TOLD_CHARACTERS)}"


def _on_canvas(coordinates: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the points in the units of the SVG, whose second axis points down; both axes have one scale."""
    if not len(coordinates):
        return coordinates
    low, high = coordinates.min(axis=0), coordinates.max(axis=0)
    room = np.array([WIDTH, HEIGHT]) - 2 * EDGE
    scale = float(np.min(room / np.maximum(high - low, 1e-12))) if (high > low).any() else 0.0
    points: NDArray[np.float64] = (coordinates - (low + high) / 2) * scale * [1, -1] + np.array([WIDTH, HEIGHT]) / 2
    return points
