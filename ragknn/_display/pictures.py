"""Pictures by matplotlib in one style: colors that the color-blind can tell apart, and words that do not overlap."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import pairwise, product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ragknn._checks import described, shown
from ragknn.errors import MissingDependency

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".svg", ".pdf")

# Told apart with each of the common kinds of color blindness: the scheme "muted" of P. Tol, Colour Schemes,
# SRON/EPS/TN/09-002, 2021. Those that are used together most often come first.
COLORS = ("#332288", "#CC6677", "#117733", "#DDCC77", "#88CCEE", "#882255", "#44AA99", "#999933", "#AA4499")
GRAY = "#C8C8C8"
RING = "#222222"  # around a point that matters
# A second sign beside the color.
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")

_STYLE = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "legend.frameon": False,
    "text.parse_math": False,  # a dollar in a label is a dollar
}

# With the letters of scripts that DejaVu Sans lacks: on Linux, macOS and Windows.
_FURTHER_FONTS = (
    *("Noto Sans CJK JP", "Noto Sans CJK SC", "Noto Sans Thai", "Noto Sans Devanagari", "WenQuanYi Zen Hei"),
    *("Hiragino Sans", "PingFang SC", "Arial Unicode MS", "Microsoft YaHei", "Yu Gothic", "Malgun Gothic"),
)


def sign(number: int) -> tuple[str, str]:
    """Return color and marker of the n-th of many things, from 0; they repeat after 81."""
    rounds, place = divmod(number, len(COLORS))
    return COLORS[place], MARKERS[(place + rounds) % len(MARKERS)]


# Where a word may stand beside its point: directions, and distances in points, the first choice first.
_DIRECTIONS = ((1, 1), (1, -1), (-1, 1), (-1, -1), (0, 1), (0, -1), (1, 0), (-1, 0))
_DISTANCES = (4, 9, 16, 26, 40, 60)
_FAR = 16  # from this distance on a line joins the word to its point
_POINT = 4  # half the width of a point


@cache
def figure_class() -> type[Figure]:
    """Return the class of figures. pyplot does not know them, so no figure is shown twice or kept in memory.

    Raises:
        MissingDependency: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure  # optional, and slow to import
    except ImportError as error:
        raise MissingDependency("matplotlib", "plotting", "plot") from error

    class Picture(Figure):
        def draw(self, *args: Any, **options: Any) -> Any:
            with _letters_of_all_scripts():
                return super().draw(*args, **options)

        def savefig(self, *args: Any, **options: Any) -> Any:
            with _letters_of_all_scripts():
                return super().savefig(*args, **options)

        def _repr_png_(self) -> bytes:
            buffer = io.BytesIO()
            self.savefig(buffer, format="png")
            return buffer.getvalue()

    return Picture


@contextmanager
def _letters_of_all_scripts() -> Iterator[None]:
    """Take the letters that the usual font lacks from another one, where there is one; a box stands for the others."""
    from matplotlib import font_manager, rc_context  # late as above

    installed = set(font_manager.fontManager.get_font_names())
    fonts = ["DejaVu Sans", *(name for name in _FURTHER_FONTS if name in installed)]
    with rc_context({"font.family": fonts}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font|Matplotlib currently does not support")
        yield


@contextmanager
def picture(width: float, height: float, path: str | Path | None = None) -> Iterator[Figure]:
    """Make a figure in the style of all pictures; what is drawn on it in the block is saved at the end.

    Args:
        width: in inches.
        height: in inches.
        path: file to save it in, or None.

    Raises:
        MissingDependency: matplotlib is not installed.
        TypeError: the path is none.
        ValueError: no picture can be saved there.
    """
    if path is not None:
        _check_path(path)
    kind = figure_class()
    from matplotlib import rc_context  # late as above

    with rc_context(_STYLE), _letters_of_all_scripts():
        figure = kind(figsize=(width, height), layout="constrained")
        yield figure
        if path is not None:
            save(figure, path)


def save(figure: Any, path: str | Path) -> None:
    """Save a picture in a file.

    Raises:
        TypeError: the path is none.
        ValueError: no picture can be saved there.
    """
    _check_path(path)
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"expected a path to save a picture under, in a folder that is there and with a suffix such as .png, got "
            f"{shown(str(path))}: {str(error)[:LONGEST_REASON]}"
        ) from error


LONGEST_REASON = 200  # characters


def _check_path(path: object) -> None:
    if not isinstance(path, str | Path):
        raise TypeError(f"expected path as a str or Path such as 'picture.png', got {described(path)}")


def add_words(axes: Any, places: Sequence[tuple[float, float]], words: Sequence[str], crowd: Any = ()) -> None:
    """Write a word beside each place so that it covers no other, no place, and stays within the axes.

    To be called last: a word stands where the room is on the finished figure.

    Args:
        axes: axes of matplotlib.
        places: points in the units of the data.
        words: one for each place.
        crowd: further points that words should not cover, shape (n, 2).
    """
    figure = axes.figure
    figure.draw_without_rendering()
    unit = figure.dpi / 72  # pixels in a point
    frame = np.array(axes.get_window_extent().extents)
    points = axes.transData.transform(np.array([*places, *crowd], dtype=float).reshape(-1, 2))
    around = _POINT * unit * np.array([-1, -1, 1, 1])
    crowded = np.tile(points, 2) + around
    written: list[Any] = []
    for point, place, word in zip(points, places, words, strict=False):
        text = axes.annotate(word, place, (0, 0), textcoords="offset points", ha="center", va="center", fontsize=9)
        text.set_in_layout(False)
        size = np.array(text.get_window_extent().size) / 2
        choices = [
            (distance, np.array(direction) * (size + distance * unit))
            for distance, direction in product(_DISTANCES, _DIRECTIONS)
        ]
        boxes = [np.concatenate([point + shift - size, point + shift + size]) for _, shift in choices]
        best = int(np.argmin([_conflict(box, crowded, np.array(written).reshape(-1, 4), frame) for box in boxes]))
        distance, shift = choices[best]
        text.set_position(tuple(shift / unit))
        written.append(boxes[best])
        if distance >= _FAR:
            axes.annotate(
                *("", place, tuple(shift / unit)),
                textcoords="offset points",
                arrowprops={"arrowstyle": "-", "linewidth": 0.6, "color": GRAY, "shrinkA": 8, "shrinkB": 3},
            ).set_in_layout(False)


def along(corners: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return points along a line through finite corners, so near to each other that no word fits between them."""
    ends = [np.array(corner, dtype=float) for corner in corners if np.isfinite(corner).all()]
    steps = np.linspace(0, 1, 12)[:, np.newaxis]
    return [tuple(point) for a, b in pairwise(ends) for point in a + steps * (b - a)] or [tuple(end) for end in ends]


def _conflict(box: Any, crowded: Any, written: Any, frame: Any) -> float:
    """Return how bad it is to write into a box: to cover other words or the frame is worse than to cover points."""
    outside = np.prod(box[2:] - box[:2]) - _common(box, frame[np.newaxis])
    return float(_common(box, crowded) + 100 * (_common(box, written) + outside))


def _common(box: Any, others: Any) -> float:
    """Return the area that a box has in common with others, shape (n, 4), in square pixels."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    return float(np.maximum(sides, 0).prod(axis=1).sum())
