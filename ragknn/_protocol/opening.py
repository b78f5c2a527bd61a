"""Which commands opening, creating and dropping an index sends."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from ragknn._display.inert import visible
from ragknn._logs import WRITING
from ragknn._protocol.counting import index_info, wait_until_searchable
from ragknn._protocol.dropping import LEAVING, drop_index, remove_remains, remove_stores
from ragknn._protocol.encoding import TAG_SEPARATOR
from ragknn._protocol.flows import Command, Flow, Work
from ragknn._protocol.keys import Keys, field_alias, first_version, index_names, stored_name
from ragknn._protocol.query import TERMS, TERMS_ALIAS
from ragknn._protocol.replies import already_exists, as_text, checked, is_unknown_index, parse_info
from ragknn._protocol.schema import ANY_FIELD, FieldType, Schema
from ragknn._protocol.server import ServerInfo, checked_server
from ragknn.errors import IndexNotFound, ManifestMissing, SchemaMismatch

# Field of the manifest with what a rebuild is making of the index, until that serves.
REBUILD = "rebuild"


@dataclass(frozen=True, slots=True)
class Opened:
    """What opening an index found; `keys` are those of the version of its search index that serves."""

    server: ServerInfo
    schema: Schema
    keys: Keys


def open_index(
    keys: Keys, wanted: Callable[[], Mapping[str, Any]], create: Callable[[], Schema] | None, patience: float
) -> Flow[Opened]:
    """Open the index, or create it where there is none.

    A server that was just started builds the index again from what is stored; it is waited for, up to a point.

    Args:
        keys: the index's keys.
        wanted: tells the properties that the caller named, to be compared with the manifest; it may load a model.
        create: makes the schema of a new index; None if only an existing one will do.
        patience: seconds to wait for the server to build the index.

    Raises:
        UnsupportedServer: the server cannot do it; `checked_server` explains.
        IndexNotFound: there is none, and `create` is None.
        SchemaMismatch: it was built with different settings.
    """
    hello, listed, manifest, info, leaving = yield [
        ("HELLO",),
        ("FT._LIST",),
        ("HGET", keys.manifest, "schema"),
        ("FT.INFO", keys.alias),
        ("HGET", keys.manifest, LEAVING),
    ]
    server = yield from checked_server(hello, listed)
    is_new, was_there = False, checked(manifest) is not None
    if not was_there:
        if create is None:
            raise _not_found(keys, listed)
        if (yield from _made_room(keys, listed)):
            return (yield from open_index(keys, wanted, create, patience))
        schema = replace((yield Work(create)), version=first_version())
        # Of several processes that create at once, the first to set the field decides; the others compare.
        first, manifest = yield [
            ("HSETNX", keys.manifest, "schema", schema.dumps()),
            ("HGET", keys.manifest, "schema"),
        ]
        is_new = checked(first) == 1
    schema = Schema.loads(keys.name, as_text(checked(manifest)))
    schema.check(keys.name, (yield Work(wanted)))
    keys = keys.of_version(served_version(keys, schema, info), schema.store)
    is_gone = was_there and not server.cluster and is_unknown_index(info) and not _is_listed(keys, listed)
    if is_gone and schema.version is not None:
        if (made := (yield from _made_under_another_name(keys, schema, as_text(manifest)))) is None:
            return (yield from open_index(keys, wanted, create, patience))
        schema, keys = made
        _tell_made(keys, schema, is_new=False)
    elif is_unknown_index(info):
        *replies, still = yield [*_making(keys, schema), ("HGET", keys.manifest, "schema")]
        refused = _refused(replies)
        if refused and is_new:
            yield [("UNLINK", keys.manifest)]
        for reply in refused:
            checked(reply)
        if not _is_of(keys, still):  # others, who were making the index, have dropped it again
            yield [("FT.DROPINDEX", keys.searched)]
            return (yield from open_index(keys, wanted, create, patience))
        _tell_made(keys, schema, is_new=is_new)
    elif checked(leaving) is not None or len(keys.search_versions([as_text(name) for name in listed])) > 1:
        yield from clean_up(keys)
    if is_unknown_index(info) or parse_info(info).building:
        with suppress(TimeoutError):  # each search looks again, and says that it is incomplete
            yield from wait_until_searchable(keys, patience)
    return Opened(server, schema, keys)


def _making(keys: Keys, schema: Schema) -> list[Command]:
    return [create_command(keys, schema), ("FT.ALIASADD", keys.alias, keys.searched)]


def _is_listed(keys: Keys, listed: Any) -> bool:
    return keys.searched in {as_text(name) for name in checked(listed)}


def _made_under_another_name(keys: Keys, schema: Schema, manifest: str) -> Flow[tuple[Schema, Keys] | None]:
    """Make a search index that is gone again of what is stored; None if the manifest is another by now.

    While the server reads what is stored, whoever has the index open asks for the one that is gone, looks anew, and so
    learns of it: by the old name a part of the index would pass for all of it.
    """
    new = replace(schema, version=first_version())
    made = keys.of_version(new.version)
    [created] = yield [create_command(made, new)]
    checked(created)
    if not (yield from swap_manifest(keys, manifest, new.dumps())):
        yield [("FT.DROPINDEX", made.searched)]
        return None
    # A writer may have made it again by the old name.
    pointed, _ = yield [("FT.ALIASUPDATE", made.alias, made.searched), ("FT.DROPINDEX", keys.searched)]
    checked(pointed)
    return new, made


def _is_of(keys: Keys, manifest: Any) -> bool:
    """Tell whether the search index of these keys is that of the manifest, which may be gone, or of a later index."""
    if checked(manifest) is None:
        return False
    return Schema.loads(keys.name, as_text(manifest)).version in (None, keys.version)


def _refused(replies: Sequence[Any]) -> list[Exception]:
    return [reply for reply in replies if isinstance(reply, Exception) and not already_exists(reply)]


def made_again(keys: Keys) -> Flow[bool]:
    """Make the search index, or its alias, of an index that is there without; return whether it was.

    Raises:
        CommandRefused: this user may not.
    """
    [manifest] = yield [("HGET", keys.manifest, "schema")]
    if checked(manifest) is None:
        return False
    schema = Schema.loads(keys.name, as_text(manifest))
    keys = keys.of_version(schema.version or keys.version, schema.store)
    *replies, manifest = yield [*_making(keys, schema), ("HGET", keys.manifest, "schema")]
    for reply in _refused(replies):
        checked(reply)
    if not _is_of(keys, manifest):  # the index was dropped meanwhile, or rebuilt
        yield [("FT.DROPINDEX", keys.searched)]
        return (yield from made_again(keys))
    if not all(isinstance(reply, Exception) for reply in replies):
        return True
    # A cluster answers so where one of its nodes had none, which has it now.
    [info] = yield [("FT.INFO", keys.searched)]
    return not is_unknown_index(info)


def _tell_made(keys: Keys, schema: Schema, *, is_new: bool) -> None:
    if is_new:
        kind = (schema.algorithm, schema.dim, schema.dtype, schema.metric, visible(schema.embedder))
        WRITING.info("index %r: made, %s of %d %s by %s, for %s", keys.name, *kind)
    else:
        WRITING.warning("index %r: its search index was gone, and is made again of what is stored", keys.name)


def served_version(keys: Keys, schema: Schema, info: Any) -> int | None:
    """Return which version of the search index serves: the manifest says so, or the alias, of which `info` tells."""
    if schema.version is not None:
        return schema.version
    return 1 if is_unknown_index(info) else max(keys.search_versions([parse_info(info).name]), default=None)


def serving(keys: Keys) -> Flow[tuple[Schema, Keys]]:
    """Return the schema of the index as it is now, and its keys with the version that serves.

    Raises:
        IndexNotFound: the index was dropped meanwhile.
    """
    manifest, info, listed = yield [("HGET", keys.manifest, "schema"), ("FT.INFO", keys.alias), ("FT._LIST",)]
    if checked(manifest) is None:
        raise _not_found(keys, listed)
    schema = Schema.loads(keys.name, as_text(manifest))
    return schema, keys.of_version(served_version(keys, schema, info), schema.store)


def reopened(opened: Opened) -> Flow[Opened | None]:
    """Return the index as it is now if it was rebuilt or made anew since it was opened; else, or if gone, None."""
    try:
        schema, keys = yield from serving(opened.keys)
    except IndexNotFound:
        return None
    return None if keys == opened.keys and schema.has_vectors_of(opened.schema) else Opened(opened.server, schema, keys)


def spread(opened: Opened, patience: float) -> Flow[bool]:
    """Make the search index on nodes that were added to a cluster, which have none; return whether all have it.

    Args:
        opened: the index.
        patience: seconds to wait for these nodes to read what they have.
    """
    if not opened.server.cluster or not (yield from made_again(opened.keys)):
        return False
    WRITING.warning("index %r: a node of the cluster had no search index; it is made there", opened.keys.name)
    with suppress(TimeoutError):
        yield from wait_until_searchable(opened.keys, patience)
    return True


def clean_up(keys: Keys) -> Flow[None]:
    """Drop the versions of the search index and the stores that serve no more, which a rebuild cut short has left.

    While one is under way, or can be resumed, nothing is dropped; nor where this process may not.
    """
    version, building, held, info, listed = yield [
        ("HGET", keys.manifest, "schema"),
        ("HGET", keys.manifest, REBUILD),
        ("EXISTS", keys.moving),
        ("FT.INFO", keys.alias),
        ("FT._LIST",),
    ]
    if checked(version) is None or checked(building) is not None or int(checked(held)):
        return
    serves = served_version(keys, Schema.loads(keys.name, as_text(version)), info)
    left = [one for one in keys.search_versions([as_text(name) for name in checked(listed)]) if one != serves]
    if serves == keys.version and keys.searched in {as_text(name) for name in listed}:
        updating = [] if parse_info(info).name == keys.searched else [("FT.ALIASUPDATE", keys.alias, keys.searched)]
        replies = yield [*updating, *(("FT.DROPINDEX", keys.search_index(one)) for one in left)]
        if not any(isinstance(reply, Exception) and not is_unknown_index(reply) for reply in replies):
            yield from remove_stores(keys)


def _made_room(keys: Keys, listed: Any) -> Flow[bool]:
    """Remove what is left of an index of the same name; return whether that ended a removal that was cut short.

    Raises:
        ManifestMissing: there is a search index whose manifest others have taken away.
    """
    [dropping] = yield [("EXISTS", keys.dropping)]
    if int(checked(dropping)):
        yield from drop_index(keys)
        return True
    if keys.search_versions([as_text(name) for name in listed]):
        raise _not_found(keys, listed)
    yield from remove_remains(keys)
    return False


def drop_unopened(keys: Keys, *, must_exist: bool) -> Flow[int]:
    """Do what `drop_index` does, for an index that cannot be opened, or was not.

    Raises:
        UnsupportedServer: the server cannot do it; `checked_server` explains.
        IndexNotFound: nothing of it is there, though it must be.
    """
    hello, listed, manifest, dropping = yield [
        ("HELLO",),
        ("FT._LIST",),
        ("EXISTS", keys.manifest),
        ("EXISTS", keys.dropping),
    ]
    yield from checked_server(hello, listed)
    is_there = int(checked(manifest)) or int(checked(dropping))
    if must_exist and not is_there and not keys.search_versions([as_text(name) for name in listed]):
        raise _not_found(keys, listed)
    return (yield from drop_index(keys))


def _not_found(keys: Keys, listed: Any) -> IndexNotFound:
    indexes = [as_text(item) for item in checked(listed)]
    if keys.search_versions(indexes):
        return ManifestMissing(
            f"expected the manifest of index {keys.name!r}, got the rest of the index without it: it was evicted or "
            f"deleted, or the index is being removed; `ragknn drop {keys.name}` removes the rest, then index the "
            "documents again, on a server that evicts nothing (`ragknn doctor` looks)"
        )
    names = index_names(indexes)
    return IndexNotFound(
        f"expected an index named {keys.name!r}, the server has {'others only' if names else 'none'}. Create it with "
        f"`ragknn index {keys.name} PATH`, or check the name and the URL: `ragknn list` names those that there are",
        names,
    )


_TAG = ("TAG", "SEPARATOR", TAG_SEPARATOR, "CASESENSITIVE")
# The words of a text field are tags too. As TEXT the server would take the stem for the word, yet not behind `-`.
_FIELD_TYPES: Mapping[FieldType, tuple[str, ...]] = {
    "tag": _TAG,
    "numeric": ("NUMERIC",),
    "text": ("TAG", "SEPARATOR", " ", "CASESENSITIVE"),
}


def field_definitions(fields: Mapping[str, FieldType]) -> Command:
    """Return the part of a command that declares fields of the metadata to the server."""
    return tuple(
        part
        for name, kind in fields.items()
        for part in (stored_name(name), "AS", field_alias(name), *_FIELD_TYPES[kind], "INDEXMISSING")
    )


def create_command(keys: Keys, schema: Schema) -> Command:
    """Return the command that makes the search index of a schema, of everything that is stored."""
    name = keys.search_index(schema.version or keys.version or 1)
    vector = ["TYPE", schema.dtype.upper(), "DIM", str(schema.dim)]
    vector += ["DISTANCE_METRIC", schema.metric.upper()]
    if schema.algorithm == "hnsw":
        vector += ["M", str(schema.m), "EF_CONSTRUCTION", str(schema.ef_construction)]
    return (
        *("FT.CREATE", name, "ON", "HASH", "PREFIX", "1", keys.passage_prefix),
        *("STOPWORDS", "0", "SCHEMA"),
        *("document_id", *_TAG),
        *("label", *_TAG, "INDEXMISSING"),  # so that a search can leave out what has no label
        *("id", "AS", "passage_id", *_TAG),
        *("no_vector", *_TAG),
        *((ANY_FIELD, *_TAG) if schema.any_field else ()),
        *((TERMS, "AS", TERMS_ALIAS, "TEXT", "NOSTEM") if schema.text_search else ()),
        *field_definitions(schema.fields),
        *("vector", "VECTOR", schema.algorithm.upper(), str(len(vector)), *vector),
    )


# Replaces the schema, if it is still the expected one.
_SWAP_SCHEMA = """
if redis.call('HGET', KEYS[1], 'schema') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'schema', ARGV[2])
return 1
"""


def declare_fields(keys: Keys, fields: Mapping[str, FieldType]) -> Flow[None]:
    """Declare fields to the server; those that it has already are left as they are.

    Raises:
        SchemaMismatch: the server has a field as another type, from a declaration that was broken off.
    """
    while True:
        info = yield from index_info(keys)
        there = info.attributes
        declared = {name: _declared_as(there[field_alias(name)]) for name in fields if field_alias(name) in there}
        differing = {f"field {n!r}": (fields[n], kind) for n, kind in declared.items() if kind != fields[n]}
        if differing:
            raise SchemaMismatch(keys.name, differing)
        missing = {name: kind for name, kind in fields.items() if name not in declared}
        if not missing:
            return
        [reply] = yield [("FT.ALTER", info.name, "SCHEMA", "ADD", *field_definitions(missing))]
        if not (isinstance(reply, Exception) and "duplicate field" in str(reply).lower()):  # by another process
            checked(reply)


def _declared_as(attribute: tuple[str, str]) -> FieldType:
    kind, separator = attribute
    if kind == "numeric":
        return "numeric"
    return "tag" if separator == TAG_SEPARATOR else "text"


def stored_manifest(keys: Keys) -> Flow[str]:
    """Return the schema as the manifest has it now, as text.

    Raises:
        IndexNotFound: the index was dropped meanwhile.
    """
    [manifest, listed] = yield [("HGET", keys.manifest, "schema"), ("FT._LIST",)]
    if checked(manifest) is None:
        raise _not_found(keys, listed)
    return as_text(manifest)


def swap_manifest(keys: Keys, old: str, new: str) -> Flow[bool]:
    """Put another text into the manifest; False if it does not have the old one any more."""
    [reply] = yield [("EVAL", _SWAP_SCHEMA, "1", keys.manifest, old, new)]
    return bool(checked(reply))


def listing() -> Flow[list[str]]:
    """Return the names of ragknn's indexes on the server.

    Raises:
        UnsupportedServer: the server cannot do it; `checked_server` explains.
    """
    hello, listed = yield [("HELLO",), ("FT._LIST",)]
    yield from checked_server(hello, listed)
    return index_names([as_text(item) for item in listed])
