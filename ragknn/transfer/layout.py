"""Where another library has the text, the vector and all else of what it stores."""

from __future__ import annotations

from dataclasses import dataclass, fields

from ragknn._checks import check_several, shown


@dataclass(frozen=True, slots=True)
class Layout:
    """Where an index of another maker has what a passage is made of.

    Each is the name of a field of the hashes, or of an entry of the JSON documents. A dotted name is an entry within
    another, also within a field of a hash that holds JSON: "_node_content.metadata".

    Attributes:
        vector: the vector that is searched.
        text: the text; None: there is none.
        id: what becomes the id of the passage; None: what stands behind the prefix in the key.
        document: the id of the document that the passage is a part of; None: each passage is a document of its own.
        label: what becomes the label, a class or a number; None: nothing.
        metadata: where all metadata are; None: all other fields are the metadata.
        start: offset of the text in its document; None: it is not known.
        end: offset of its end.
        left_out: other fields that are of no use outside the library that made the index.
    """

    vector: str
    text: str | None = None
    id: str | None = None
    document: str | None = None
    label: str | None = None
    metadata: str | None = None
    start: str | None = None
    end: str | None = None
    left_out: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if one.name == "left_out":
                names = check_several("left_out", value, '("name",)')
                if not all(isinstance(name, str) for name in names):
                    raise TypeError(f"expected left_out as names of fields, got {shown(value)}")
                object.__setattr__(self, "left_out", tuple(names))
            elif not isinstance(value, str) and (value is not None or one.name == "vector"):
                raise TypeError(f"expected {one.name} as the name of a field, got {shown(value)}")

    @property
    def used(self) -> set[str]:
        """The fields that are no metadata, by their names at the top."""
        named = (self.vector, self.text, self.id, self.document, self.label, self.metadata, self.start, self.end)
        return {name.partition(".")[0] for name in named if name} | set(self.left_out)
