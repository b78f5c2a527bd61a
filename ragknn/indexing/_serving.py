"""What serves while something is written: another version after a rebuild, or one made again that others dropped."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from ragknn._logs import WRITING
from ragknn._protocol.counting import index_info, wait_until_searchable
from ragknn._protocol.flows import Flow
from ragknn._protocol.opening import made_again, serving
from ragknn._protocol.place import Place
from ragknn._protocol.replies import SearchIndexInfo
from ragknn.errors import CommandRefused, IndexNotFound
from ragknn.indexing._tally import Tally
from ragknn.reports import Note

_REMADE = (
    "its search index was gone, as others had dropped it, and was made again of what is stored; what was removed with "
    "it is lost until it is added again"
)


def as_it_serves(place: Place, info: SearchIndexInfo) -> Flow[Place]:
    """Return the index as it is by now, if the server says that another version serves than that of the place.

    Raises:
        SchemaMismatch: the index was dropped meanwhile, and made anew for other vectors.
    """
    if info.name == place.keys.searched:
        return place
    schema, keys = yield from serving(place.keys)
    if keys.store == place.keys.store:  # vectors of others are in a store of their own, unless it is another index
        schema.check_vectors(keys.name, place.schema)
    return replace(place, schema=schema, keys=keys)


def searched_by_now(place: Place, tally: Tally) -> Flow[SearchIndexInfo]:
    """Return what the server says of the search index; one that is gone is made again, which the tally notes.

    Raises:
        IndexNotFound: the index is gone, or this user may not make its search index.
    """
    try:
        return (yield from index_info(place.keys))
    except IndexNotFound as missing:
        if tally.dry_run:
            raise
        try:
            made = yield from made_again(place.keys)
        except CommandRefused as refused:
            raise missing from refused
        if not made:
            raise
    WRITING.warning("index %r: %s", place.keys.name, _REMADE)
    tally.notes.append(Note("remade", place.keys.name, _REMADE))
    with suppress(TimeoutError):  # which is then told as what is not known yet
        yield from wait_until_searchable(place.keys, place.timeout)
    return (yield from index_info(place.keys))
