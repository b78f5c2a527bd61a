"""What is stored of an index, in whichever store of passages it has, and what must hold when another one serves."""

import json
from typing import Any

from ragknn import Index
from ragknn._protocol.keys import Keys

Hashes = dict[str, dict[int, dict[bytes, bytes]]]


def keys_of(client: Any, name: str) -> Keys:
    """Return the keys of the search index and of the store that serve."""
    told = json.loads(client.hget(f"ragknn:{name}:manifest", "schema"))
    return Keys(name, told["version"], told.get("store", 1))


def search_index(client: Any, name: str) -> str:
    """Return the name of the search index that serves."""
    return keys_of(client, name).searched


def stored(client: Any, name: str) -> Hashes:
    """Read all passages as they are stored, for each document by their numbers; tags in an order of their own."""
    keys, found = keys_of(client, name), {}
    names = sorted(client.scan_iter(f"{keys.passage_prefix}*", count=1000))
    pipe = client.pipeline(transaction=True)
    for one in names:
        pipe.hgetall(one)
    for one, fields in zip(names, pipe.execute(), strict=True):
        document, number = keys.split_passage(one.decode())
        if b"any" in fields:
            fields[b"any"] = b"\x1f".join(sorted(fields[b"any"].split(b"\x1f")))
        found.setdefault(document, {})[number] = fields
    return found


def check_tidy(client: Any, name: str) -> None:
    """Check that there is nothing but the index that serves: one search index, one store, no marks."""
    keys = keys_of(client, name)
    begin = f"ragknn:{name}:"
    kept = client.hgetall(keys.manifest)
    assert not {b"rebuild", b"leaving"} & kept.keys()
    assert not kept.get(b"birth", b"").startswith(b"closed:")
    [_] = [one for one in client.execute_command("FT._LIST") if one.decode().startswith(begin)]
    others = {one.decode() for one in client.scan_iter(f"{begin}*", count=1000)} - {keys.manifest}
    assert [one for one in others if not one.startswith(keys.passage_prefix)] == []


def same_as_fresh(client: Any, name: str, fresh: Any, url: str) -> None:
    """Check that the index holds what another one of the same documents does, to the last byte.

    Args:
        client: of the server.
        name: of the index.
        fresh: makes and fills the other index, of the name that it is given.
        url: of the server.
    """
    other = f"{name}-fresh"
    fresh(other)
    try:
        assert stored(client, name) == stored(client, other)
    finally:
        Index(other, url=url, create=False).drop()
