"""Which state of an index it is: of equal versions nothing was written to it or removed from it in between."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import uuid4

from ragknn._protocol.closing import BIRTH, is_closed, open_birth, store_of
from ragknn._protocol.flows import Flow
from ragknn._protocol.keys import Keys
from ragknn._protocol.presence import gone
from ragknn._protocol.replies import as_text, checked, parse_info
from ragknn._protocol.schema import Schema
from ragknn._protocol.server import run_id


@dataclass(frozen=True, slots=True)
class Version:
    """A state of an index.

    The server gives each write to a hash of the index a new number, whoever writes and whatever field, and none twice;
    a hash that is removed, expires or is renamed away is counted out. So the last number and how many hashes there are
    tell a state from all before it, as long as the same server process has the same search index. One that others drop
    and make again under the same name begins at 1 anew, and tells by the time that it took. Only where a hash is
    renamed within the index all stays the same: so does its vector, but its key is another.

    Attributes:
        birth: name of the index; "" where it has none yet.
        server: name of the server process; "" where it is not to be known.
        search_index: name of the search index, another after each rebuild.
        milliseconds: that it has taken to index all that was ever written.
        last_number: the number given last.
        passages: how many hashes there are.
        building: whether the server is still reading what is stored.
    """

    birth: str
    server: str
    search_index: str
    milliseconds: float
    last_number: int
    passages: int
    building: bool = False

    @property
    def is_certain(self) -> bool:
        """Whether an equal version means an equal index."""
        return bool(self.birth and self.server) and not self.building


def read_version(keys: Keys) -> Flow[Version]:
    """Return the version of the index as it is now.

    Raises:
        CommandRefused: there is no search index.
    """
    birth, server, search_index = yield [("HGET", keys.manifest, BIRTH), ("INFO", "server"), ("FT.INFO", keys.searched)]
    info = parse_info(search_index)
    return Version(
        birth="" if birth is None or isinstance(birth, Exception) else as_text(birth),
        server=run_id(server),
        search_index=info.name,
        milliseconds=info.milliseconds,
        last_number=info.last_number,
        passages=info.passages,
        building=info.building,
    )


def name_birth(keys: Keys) -> Flow[None]:
    """Give the index a name if it has none; one that may only be read stays without."""
    yield [("HSETNX", keys.manifest, BIRTH, uuid4().hex)]


def named_birth(keys: Keys, opened: Schema) -> Flow[tuple[str, int]]:
    """Return the name of the index, which is given one if it has none, and the store that serves; once that is open.

    Args:
        keys: the index.
        opened: what it was made of when it was opened.

    Raises:
        IndexNotFound: there is no index.
        SchemaMismatch: it was dropped meanwhile, and made anew for other vectors.
    """
    schema, birth = map(checked, (yield [("HGET", keys.manifest, name) for name in ("schema", BIRTH)]))
    if schema is None:
        raise gone(keys)
    found = Schema.loads(keys.name, as_text(schema))
    if found.store == keys.store:  # vectors of others are in a store of their own, unless all of it is another index
        found.check_vectors(keys.name, opened)
    if birth is None:
        yield from name_birth(keys)
        return (yield from named_birth(keys, opened))
    if not is_closed(as_text(birth)):
        return as_text(birth), store_of(as_text(birth))
    if (now := (yield from open_birth(keys))) is None:
        raise gone(keys)
    return now
