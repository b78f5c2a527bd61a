"""What the tools answer: the shapes that clients of `search` and `fetch` expect, made from the records of ragknn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias
from urllib.parse import quote

from pydantic import BaseModel, Field

from ragknn import Document, Neighbor, Vote
from ragknn.integrations.mcp._facts import Facts

LONGEST_PART = 50_000  # characters of a document that one answer has

_LINKS = (
    "url",
    "link",
    "source_url",
    "source",
    "uri",
)  # entries of the metadata that may hold the address of a document

_AnyLabel: TypeAlias = bool | int | float | str | None


class FoundPassage(BaseModel):
    """A passage that was found."""

    id: str = Field(description="Pass it to fetch for the document around the passage.")
    title: str
    url: str = Field(description="Where the document is, to be cited.")
    text: str = Field(description="The passage, whole.")
    index: str
    document_id: str
    similarity: float | None = Field(description="0 to 1, larger is nearer; null after a search for words alone.")
    score: float | None = Field(description="What the results are ordered by; null where that is the similarity.")
    label: _AnyLabel
    page: int | None
    headings: list[str]
    metadata: dict[str, Any]


class SearchAnswer(BaseModel):
    """What `search` answers."""

    results: list[FoundPassage] = Field(description="The best first.")
    complete: bool = Field(description="False: the search ended early, and better passages may be missing.")
    warnings: list[str]


class FetchAnswer(BaseModel):
    """What `fetch` answers."""

    id: str
    title: str
    text: str
    url: str
    metadata: dict[str, Any]
    index: str
    label: _AnyLabel
    start: int = Field(description="Where in the document the text begins; 0: at its beginning.")
    length: int = Field(description="Characters of the whole document.")
    next_start: int | None = Field(description="Pass it as start for what follows; null at the end of the document.")


class Voter(BaseModel):
    """A neighbor that voted."""

    id: str
    label: _AnyLabel
    weight: float
    text: str


class ClassifyAnswer(BaseModel):
    """What `classify` answers."""

    label: _AnyLabel = Field(description="The label of the nearest documents; null if they are not clear enough.")
    shares: dict[str, float] = Field(description="The share of the votes of each label.")
    abstained: bool
    reason: str
    complete: bool
    warnings: list[str]
    neighbors: list[Voter] = Field(description="Who voted, the nearest first.")


class ServedField(BaseModel):
    """A field that an index can be filtered by."""

    name: str
    type: str
    values: list[Any] = Field(description="Values, or the smallest and the largest number.")


class ServedIndex(BaseModel):
    """An index."""

    name: str
    documents: int | None = None
    passages: int | None = None
    modes: list[str] = []
    fields: list[ServedField] = []
    labels: dict[str, int] | None = Field(None, description="The labels, with the number of documents of each.")
    problem: str | None = Field(None, description="Why the index cannot be used now.")


class ListAnswer(BaseModel):
    """What `list_indexes` answers."""

    indexes: list[ServedIndex]


def found(neighbor: Neighbor, index: str, id_: str) -> FoundPassage:
    """Return a neighbor as a result."""
    plain = neighbor.to_dict()
    return FoundPassage(
        id=id_,
        title=_title(plain["document_id"], plain["metadata"]),
        url=_url(plain["document_id"], plain["metadata"], index),
        index=index,
        **{name: plain[name] for name in FoundPassage.model_fields if name not in ("id", "title", "url", "index")},
    )


def fetched(document: Document, index: str, id_: str, start: int) -> FetchAnswer:
    """Return a document, or the part of a long one that begins at `start`."""
    plain = document.to_dict()
    end = start + LONGEST_PART
    return FetchAnswer(
        id=id_,
        title=_title(document.id, plain["metadata"]),
        text=document.text[start:end],
        url=_url(document.id, plain["metadata"], index),
        metadata=plain["metadata"],
        index=index,
        label=plain["label"],
        start=start,
        length=len(document.text),
        next_start=end if end < len(document.text) else None,
    )


def voted(vote: Vote, prefix: str) -> ClassifyAnswer:
    """Return a vote; `prefix` is what ids begin with."""
    plain = vote.to_dict()
    voters = [{**one, "id": prefix + one["id"]} for one in plain.pop("neighbors")]
    return ClassifyAnswer(
        neighbors=[Voter(**{name: one[name] for name in Voter.model_fields}) for one in voters], **plain
    )


def listed(facts: Facts) -> ServedIndex:
    """Return what is known of an index."""
    fields = [ServedField(name=one.name, type=one.kind, values=list(one.values)) for one in facts.fields]
    labels = None if facts.labels is None else {str(label): count for label, count in facts.labels.items()}
    return ServedIndex(
        name=facts.name,
        documents=facts.documents,
        passages=facts.passages,
        modes=list(facts.modes),
        fields=fields,
        labels=labels,
    )


def _title(document_id: str, metadata: Mapping[str, Any]) -> str:
    title = metadata.get("title")
    return title if isinstance(title, str) and title.strip() else document_id


def _url(document_id: str, metadata: Mapping[str, Any], index: str) -> str:
    """Return the address of a document on the web where its metadata have one, else one that names it."""
    links = (metadata.get(name) for name in _LINKS)
    web = (link for link in links if isinstance(link, str) and link.startswith(("https://", "http://")))
    return next(web, f"ragknn://{index}/{quote(document_id)}")
