"""Moving in: indexes that other libraries made in Redis become indexes of ragknn, without embedding a text again."""

from ragknn.importing.importer import aimport_index, import_index
from ragknn.importing.layout import Layout

__all__ = ["Layout", "aimport_index", "import_index"]
