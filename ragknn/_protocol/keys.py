"""The names of everything that an index keeps in Redis."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import blake2b
from secrets import randbits

from ragknn._checks import check_unicode, shown

_INDEX_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_UNSAFE_IN_KEY = re.compile(r"[%{}\x00-\x1f\x7f]")


_PLAIN_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_]*")

# Fields of the search index that are not declared by the user, fields of the hash that searches bring back, and names
# that replies use themselves: a declared field of such a name would be returned instead.
OWN_FIELDS = frozenset(
    {"document_id", "passage_id", "label", "any", "no_vector", "vector", "text_words"}
    | {"id", "text", "start", "end", "metadata", "digest"}
    | {"distance", "score", "n", "stored", "value"}
)

# Where a passage stands: fields of the hash that searches bring back too. No declared field can have such a name, so
# that indexes that have declared a field "page" keep it under its own name.
PAGE = "at:page"
HEADINGS = "at:headings"

_BITS = 40  # of chance in the number of a first version: 13 digits

# What the keys of the first passages of documents end in, and no others.
FIRST = "}:0"


@dataclass(frozen=True, slots=True)
class Keys:
    """The names of everything that index `name` keeps in Redis.

    Every prefix ends in a separator, so that the index `doc` never swallows the keys of `doc2`. A document's
    id is in braces: on a cluster all its keys are then in one slot, and it is replaced in one transaction.

    Attributes:
        name: name of the index.
        version: of the search index that is asked; None where it is not known yet.
        store: which store of passages is meant. An index begins with the first; one whose passages were all written
            anew while it served has another.
    """

    name: str
    version: int | None = None
    store: int = 1

    def __post_init__(self) -> None:
        if isinstance(self.name, str):
            check_unicode(self.name, "the index name")
        if not isinstance(self.name, str) or not _INDEX_NAME.fullmatch(self.name):
            raise ValueError(
                "expected an index name of letters, digits, '_', '.' and '-' that begins with a letter or digit, "
                f"got {shown(self.name)}"
            )

    @property
    def manifest(self) -> str:
        """Key of the hash that holds the schema."""
        return f"ragknn:{self.name}:manifest"

    @property
    def moving(self) -> str:
        """Key that one process holds while it moves the index to the form of a later release, or rebuilds it."""
        return f"ragknn:{self.name}:moving{self._beside_manifest}"

    @property
    def dropping(self) -> str:
        """Key that is there from the beginning of a removal of the index to its end."""
        return f"ragknn:{self.name}:dropping{self._beside_manifest}"

    @property
    def _beside_manifest(self) -> str:
        """End of a key that is in the slot of the manifest on a cluster, as scripts take both."""
        return f"{{{self.manifest}}}"

    @property
    def alias(self) -> str:
        """Name by which whoever looks from outside finds the search index that serves, whichever version that is."""
        return f"ragknn:{self.name}"

    @property
    def searched(self) -> str:
        """Name under which the search index is asked: of one version, so that what is asked of it fits it.

        A search made for another version would find too little, or distances that are none; the version that it is made
        for is either there or is not.
        """
        return self.alias if self.version is None else self.search_index(self.version)

    def of_version(self, version: int | None, store: int | None = None) -> Keys:
        """Return the names with those of another version of the search index, and of its store if that is another."""
        store = self.store if store is None else store
        return self if (version, store) == (self.version, self.store) else replace(self, version=version, store=store)

    def search_index(self, version: int | None = None) -> str:
        """Name of one version of the search index; None: of that which is asked, or v1 where it is not known yet."""
        return f"ragknn:{self.name}:v{self.version or 1 if version is None else version}"

    def search_versions(self, search_indexes: list[str]) -> list[int]:
        """Return which versions are among all search indexes on a server, the oldest first."""
        begin = self.search_index(0)[:-1]
        numbers = (name.removeprefix(begin) for name in search_indexes if name.startswith(begin))
        return sorted(int(number) for number in numbers if number.isdecimal())

    @property
    def passage_prefix(self) -> str:
        """Prefix of the keys of all passages."""
        return f"ragknn:{self.name}:p{'' if self.store == 1 else self.store}:"

    @property
    def all_stores(self) -> str:
        """What the keys of the passages of all stores begin with, and no others."""
        return f"ragknn:{self.name}:p"

    @property
    def copied(self) -> str:
        """Key of a hash that tells of which documents the store has a copy, while it is filled from another one."""
        return f"{self.all_copied}{self.store}"

    @property
    def all_copied(self) -> str:
        """Prefix of such keys of all stores."""
        return f"ragknn:{self.name}:copied:"

    @property
    def earlier_prefix(self) -> str:
        """Prefix of the keys under which an earlier release kept the records of documents."""
        return f"ragknn:{self.name}:d:"

    def earlier_record(self, document_id: str) -> str:
        """Key under which an earlier release kept the record of a document."""
        return f"{self.earlier_prefix}{{{_encode_key(document_id)}}}"

    def record(self, document_id: str) -> str:
        """Key of the hash with the record of a document: that of its first passage."""
        return f"{self.passage_prefix}{{{_encode_key(document_id)}}}:0"

    def records(self, document_ids: Sequence[str]) -> list[str]:
        """Return the keys of the records of several documents."""
        begin = f"{self.passage_prefix}{{"
        if _UNSAFE_IN_KEY.search("".join(document_ids)) is not None:
            document_ids = list(map(_encode_key, document_ids))
        return [f"{begin}{one}{FIRST}" for one in document_ids]

    def passages(self, document_id: str) -> str:
        """Prefix of the keys of a document's passages."""
        return f"{self.passage_prefix}{{{_encode_key(document_id)}}}:"

    def earlier_id(self, earlier_key: str) -> str:
        """Return the document's id from the key that `earlier_record` made."""
        return _decode_percent(earlier_key.removeprefix(self.earlier_prefix)[1:-1])

    def passage(self, document_id: str, number: int) -> str:
        """Key of the hash with one passage of a document."""
        return f"{self.passages(document_id)}{number}"

    def split_passage(self, passage_key: str) -> tuple[str, int]:
        """Return the document's id and the passage's number from the key that `passage` made."""
        # Neither the name of an index nor an encoded id has braces.
        encoded, _, number = passage_key[passage_key.index("{") + 1 :].rpartition("}:")
        return _decode_percent(encoded) if "%" in encoded else encoded, int(number)

    def split_passages(self, passage_keys: Iterable[str]) -> Iterator[tuple[str, int]]:
        """Do the same for many keys of this store."""
        begin = len(self.passage_prefix) + 1
        for key in passage_keys:
            encoded, _, number = key[begin:].rpartition("}:")
            yield _decode_percent(encoded) if "%" in encoded else encoded, int(number)


def first_version() -> int:
    """Return a number for the search index of a new index, which no index of its name had before.

    Who has an index open that others drop, and make anew by the same name, then asks for a search index that is not
    there, and is not answered by the new one, whose vectors may be of another embedder. A rebuild counts up from it.
    """
    return 1 << _BITS | randbits(_BITS)


def field_alias(field_name: str) -> str:
    """Return the name by which a query calls a declared field: its own name if that is a plain word, else an alias."""
    if _PLAIN_WORD.fullmatch(field_name) and field_name not in OWN_FIELDS:
        return field_name
    return f"_{blake2b(field_name.encode(), digest_size=8).hexdigest()}"


def index_names(search_indexes: list[str]) -> list[str]:
    """Return the names of ragknn's indexes among those of all search indexes on a server."""
    matches = (re.fullmatch(r"ragknn:(.+):v\d+", name) for name in search_indexes)
    return sorted({match[1] for match in matches if match})


@lru_cache
def stored_name(field_name: str) -> str:
    """Return the name of a declared field in the hash; apart from ragknn's own, so that none can clash.

    The search module takes a null character for the end of a name.
    """
    return f"f:{field_name.replace('%', '%25')}".replace("\x00", "%00")


def _encode_key(document_id: str) -> str:
    if _UNSAFE_IN_KEY.search(document_id) is None:
        return document_id
    return _UNSAFE_IN_KEY.sub(lambda match: f"%{ord(match[0]):02X}", document_id)


def _decode_percent(encoded: str) -> str:
    return re.sub(r"%([0-9A-F]{2})", lambda match: chr(int(match[1], 16)), encoded)
