"""Figures of matplotlib that display themselves in a notebook, even where pyplot was not imported."""

from __future__ import annotations

import io
from functools import cache
from typing import TYPE_CHECKING

from ragknn.errors import MissingDependency

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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
        def _repr_png_(self) -> bytes:
            buffer = io.BytesIO()
            self.savefig(buffer, format="png")
            return buffer.getvalue()

    return Picture
