"""The hashes of an index, written and read: a passage's fields, and a document's."""

from __future__ import annotations

import json
from collections.abc import Mapping

from ragknn._protocol.encoding import decode_tag
from ragknn._protocol.keys import Keys
from ragknn.records import Passage, passage_id


def passage_of(keys: Keys, key: str, fields: Mapping[str, str]) -> Passage:
    """Return the passage that is stored under a key; fields that were not read stay empty."""
    document_id, number = keys.split_passage(key)
    return Passage(
        id=passage_id(document_id, number),
        document_id=document_id,
        text=fields.get("text", ""),
        start=int(fields.get("start", 0)),
        end=int(fields.get("end", 0)),
        label=decode_tag(fields["label"]) if "label" in fields else None,
        metadata=json.loads(fields.get("metadata", "{}")),
        digest=fields.get("digest", ""),
        number=number,
    )
