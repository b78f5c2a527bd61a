"""What reading, indexing and moving tell of their work, and an index of itself."""

from ragknn.reports.indexes import CheckReport, IndexInfo, RebuildReport
from ragknn.reports.ingests import DocumentSource, Failure, IngestReport, Note, NoteKind, Verification
from ragknn.reports.transfers import ExportReport, ImportReport, Loss

__all__ = [
    "CheckReport",
    "DocumentSource",
    "ExportReport",
    "Failure",
    "ImportReport",
    "IndexInfo",
    "IngestReport",
    "Loss",
    "Note",
    "NoteKind",
    "RebuildReport",
    "Verification",
]
