"""Moving in and out: indexes of other libraries, and Parquet files; nothing is embedded."""

from ragknn.transfer.importer import aimport_index, import_index
from ragknn.transfer.layout import Layout
from ragknn.transfer.parquet import aexport_parquet, aimport_parquet, export_parquet, import_parquet

__all__ = [
    "Layout",
    "aexport_parquet",
    "aimport_index",
    "aimport_parquet",
    "export_parquet",
    "import_index",
    "import_parquet",
]
