"""The splitter of an index: kept in its manifest, so that documents are cut alike whoever adds them."""

from __future__ import annotations

from dataclasses import replace

from ragknn._protocol.counting import count_documents
from ragknn._protocol.flows import Flow
from ragknn._protocol.opening import stored_manifest, swap_manifest
from ragknn._protocol.place import Place
from ragknn._protocol.schema import Schema
from ragknn.reports import Note
from ragknn.text.splitting import Splitter


def splitter_of(schema: Schema) -> Splitter:
    """Return the splitter of an index; that of one for which none was ever named is the default."""
    return schema.splitter or Splitter()


def keep_splitter(place: Place, splitter: Splitter) -> Flow[Schema]:
    """Put a splitter into the manifest in place of the one that is there; return the new schema.

    Raises:
        IndexNotFound: the index was dropped meanwhile.
    """
    while True:
        manifest = yield from stored_manifest(place.keys)
        new = replace(Schema.loads(place.keys.name, manifest), splitter=splitter)
        if (yield from swap_manifest(place.keys, manifest, new.dumps())):
            return new


def notes_on_change(place: Place, splitter: Splitter) -> Flow[tuple[Note, ...]]:
    """Return what another splitter means for the documents that are there; nothing if there are none."""
    if not (yield from count_documents(place)):
        return ()
    reason = (
        f"the splitter was {splitter_of(place.schema)} and is now {splitter}: documents are cut and embedded again as "
        "they are added, and others stay as they are"
    )
    return (Note("changed", place.keys.name, reason),)
