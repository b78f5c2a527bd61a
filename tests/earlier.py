"""Making what an earlier release left out of what this one stores."""

import json

from ragknn._protocol.keys import FIRST

RECORD = ("text_hash", "details_hash", "passages", "gaps", "page_starts")  # "digests" is of this one


def part_records(client, keys):
    """Put the records of documents into hashes of their own."""
    for key in client.scan_iter(f"{keys.passage_prefix}*{FIRST}"):
        record = {name: value for name in RECORD if (value := client.hget(key, name)) is not None}
        client.hset(keys.earlier_record(keys.split_passage(key.decode())[0]), mapping=record)
        client.hdel(key, *RECORD, "digests")


def set_manifest(client, keys, **values):
    manifest = {**json.loads(client.hget(keys.manifest, "schema")), **values}
    kept = {name: value for name, value in manifest.items() if value is not None}
    client.hset(keys.manifest, "schema", json.dumps(kept))
