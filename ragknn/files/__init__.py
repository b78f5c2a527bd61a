"""Reading documents from files: choosing files, parsing formats, and checking rows.

This package does not know vectors or Redis; an indexer stores the documents. On the way from a folder to documents:

- `_selection` finds the files and says which are passed over;
- `_formats` lists the formats, and names the module that parses each;
- `_bytes` unpacks and decodes; `_isolation` and `_worker` parse in a process with limits;
- the parsers give rows (`_rows`), which `_documents` turns into documents;
- `reader` puts these together, and `frames` reads a table of pandas.
"""

from ragknn.files.frames import documents_from_pandas
from ragknn.files.limits import Limits
from ragknn.files.reader import DocumentReader, read_documents

__all__ = [
    "DocumentReader",
    "Limits",
    "documents_from_pandas",
    "read_documents",
]
