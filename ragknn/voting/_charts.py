"""The pictures of votes, drawn with matplotlib."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from ragknn._display.lines import brief, label_text
from ragknn._display.pictures import COLORS, GRAY, RING, add_words, along, picture, sign
from ragknn.records import Label
from ragknn.voting._ballots import are_numbers

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ragknn.voting.tuning import Tuning

# True and voted label, None where the vote abstained, and how often.
Outcomes: TypeAlias = tuple[tuple[tuple[Label, Label | None], int], ...]

MOST_CLASSES = 30
NAME_CHARACTERS = 24
CELL = 0.36  # inches
ABSTAINED = "abstained"


def draw_tuning(tuning: Tuning, path: str | Path | None) -> Figure:
    """Draw the scores against k, a line for each kind of weights, and name the best one."""
    kinds = list(dict.fromkeys(setting.weights for setting in tuning.settings))
    title = f"{tuning.index}: {tuning.passages} passages"
    with picture(6.4, 3.6, path) as figure:
        axes: Any = figure.add_subplot(xlabel="k", ylabel=tuning.scoring, title=title)
        lines, seen = [], []
        for number, weights in enumerate(kinds):
            line = [(setting.k, setting.score) for setting in tuning.settings if setting.weights == weights]
            color, marker = sign(number)
            lines += axes.plot(*zip(*line, strict=True), label=weights, color=color, marker=marker)
            seen += along(line)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.margins(y=0.12)
        # Named, since matplotlib leaves out labels like "_private"; outside, where it covers nothing.
        names = [brief(weights, NAME_CHARACTERS) for weights in kinds]
        axes.legend(lines, names, title="weights", loc="upper left", bbox_to_anchor=(1, 1))
        best = tuning.best
        if np.isfinite(best.score):
            axes.scatter([best.k], [best.score], s=140, facecolors="none", edgecolors=RING, zorder=3)
            add_words(axes, [(best.k, best.score)], [f"k={best.k}: {best.score:.3f}"], seen)
    return figure


def draw_outcomes(outcomes: Outcomes, path: str | Path | None) -> Figure:
    """Draw a confusion matrix, or of numbers voted against true ones.

    Raises:
        ValueError: there are no outcomes.
    """
    if not outcomes:
        raise ValueError("expected scores with the outcomes of votes, got none: take those that score_votes returns")
    labels = [label for pair, _ in outcomes for label in pair if label is not None]
    return _draw_numbers(outcomes, path) if are_numbers(labels) else _draw_matrix(outcomes, path)


def _draw_matrix(outcomes: Outcomes, path: str | Path | None) -> Figure:
    rows, columns, classes = _axes_of(outcomes)
    counts = _counted(outcomes, rows, columns)
    texts: Counter[Label] = Counter()
    for (true, _), count in outcomes:
        texts[true] += count
    shares = counts / np.array([[max(texts[true], 1)] for true in rows])
    names = [[ABSTAINED if one is None else brief(label_text(one), NAME_CHARACTERS) for one in columns]]
    names.append(names[0][: len(rows)])
    longest = 0.085 * max(map(len, names[0]))  # inches
    width, height = (CELL * len(some) + longest + 1.4 for some in names)
    with picture(max(width, 4.2), max(height, 2.8), path) as figure:
        axes = figure.add_subplot(xlabel="voted label", ylabel="true label", title=_title(outcomes, len(rows), classes))
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        axes.set_xticks(range(len(columns)), names[0], rotation=90)
        axes.set_yticks(range(len(rows)), names[1])
        axes.tick_params(length=0)
        for (row, column), cell in np.ndenumerate(counts):
            if cell:
                ink = "white" if shares[row, column] > 0.55 else "black"
                size = min(9.0, 24 / len(f"{cell:.0f}"))  # points, so that the number fits into the cell
                axes.text(column, row, f"{cell:.0f}", ha="center", va="center", color=ink, fontsize=size)
        figure.colorbar(image, ax=axes, fraction=0.04, pad=0.02, label="share of a row")
    return figure


def _axes_of(outcomes: Outcomes) -> tuple[list[Label], list[Label | None], int]:
    """Return the true labels that are drawn, the voted ones, and how many classes there are."""
    mistakes: Counter[Label] = Counter()
    for (true, voted), count in outcomes:
        wrong = count if true != voted else 0
        mistakes[true] += wrong
        if voted is not None:
            mistakes[voted] += wrong
    worst = {label for label, _ in mistakes.most_common(MOST_CLASSES)}
    drawn = sorted(worst, key=lambda label: (isinstance(label, str), label))
    abstained: list[Label | None] = [None] if any(voted is None for (_, voted), _ in outcomes) else []
    return drawn, [*drawn, *abstained], len(mistakes)


def _counted(outcomes: Outcomes, rows: Sequence[Label], columns: Sequence[Label | None]) -> Any:
    """Return how often each true label of the rows was given each label of the columns, shape (n_rows, n_columns)."""
    counts = np.zeros((len(rows), len(columns)))
    places = {label: place for place, label in enumerate(columns)}
    for (true, voted), count in outcomes:
        if true in places and voted in places:
            counts[places[true], places[voted]] += count
    return counts


def _title(outcomes: Outcomes, drawn: int, classes: int) -> str:
    texts = sum(count for _, count in outcomes)
    right = sum(count for (true, voted), count in outcomes if true == voted)
    part = f"\nthe {drawn} of {classes} labels with the most mistakes" if drawn < classes else ""
    return f"{right} of {texts} texts voted right{part}"


def _draw_numbers(outcomes: Outcomes, path: str | Path | None) -> Figure:
    pairs: Any = np.array([pair for pair, _ in outcomes if pair[1] is not None], dtype=float).reshape(-1, 2)
    title = f"{sum(count for (_, voted), count in outcomes if voted is not None)} texts"
    with picture(4.8, 4.6, path) as figure:
        axes = figure.add_subplot(xlabel="true number", ylabel="voted number", title=title)
        axes.scatter(pairs[:, 0], pairs[:, 1], s=18, alpha=0.5, color=COLORS[0], edgecolors="none")
        axes.axline((0, 0), slope=1, color=GRAY, linewidth=1, zorder=0)
        axes.set_aspect("equal", adjustable="datalim")
    return figure
