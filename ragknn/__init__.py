"""Retrieval and nearest-neighbour voting on Redis: one KNN search, two uses."""

import lazy_loader

from ragknn import errors, filters  # noqa: F401  # modules that users name; both are light

# The names are in `__init__.pyi`, for type checkers too; each is imported when it is first asked for.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
