"""How an index looks on the server: its manifest, its keys, its fields. Pure: nothing here talks to Redis."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from datetime import UTC, date, datetime, time
from hashlib import blake2b
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from ragknn._protocol.vectors import DType, Metric
from ragknn.errors import SchemaMismatch
from ragknn.records import Document
from ragknn.text._words import LANGUAGES, TEXT_WORDS, default_stop_words, fold_stop_words, searchable

Algorithm: TypeAlias = Literal["flat", "hnsw"]
FieldType: TypeAlias = Literal["tag", "numeric", "text"]

FORMAT = 1  # of the manifest and of the keys; a later release that changes either counts up
READY_VECTORS = "ready vectors"  # stands for the embedder's name where the user brings the vectors

_INDEX_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_FIELD_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OWN_FIELDS = frozenset(
    {"id", "document_id", "text", "start", "end", "label", "metadata", "vector", "digest", "distance", "score"}
    | {TEXT_WORDS}
)
_UNSAFE_IN_KEY = re.compile(r"[%{}\x00-\x1f\x7f]")

# Tags end at the separator, so it must be a character that an encoded tag cannot hold.
TAG_SEPARATOR = "\x1f"
# The server indexes no more of a tag, and then finds nothing under the whole of it.
LONGEST_TAG = 4_096  # bytes

# ISO 8601 allows dates without hyphens too; those could as well be numbers in quotation marks.
_ISO_DATE = re.compile(r"\d{4}-(\d{2}-\d{2}|W\d{2}-\d)([T ].+)?")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EXPECTED_NUMBER = "expected a number, a date or an ISO 8601 string such as '2024-02-29'"


@dataclass(frozen=True, slots=True)
class Schema:
    """What an index is made of; kept with it as its manifest.

    Attributes:
        embedder: name of the embedder, or `READY_VECTORS`.
        dim: number of values in a vector.
        identity: what else of the embedder changes its vectors.
        metric: cosine, ip (inner product) or l2 (Euclidean).
        algorithm: flat looks at every vector and is exact; hnsw walks a graph and is approximate.
        dtype: in which the vectors are stored.
        m: hnsw only: edges of a node.
        ef_construction: hnsw only: candidates looked at while a node is added.
        fields: entries of the metadata that can be filtered on, and how.
        text_search: whether the words of the passages are indexed too.
        language: by whose rules the server finds the stems of words.
        stop_words: words that are not indexed; None becomes the default of the language.
        required_filter: declared tag field that every filter must pin and every document must have; None for none.
    """

    embedder: str
    dim: int
    identity: Mapping[str, Any] = field(default_factory=dict)
    metric: Metric = "cosine"
    algorithm: Algorithm = "flat"
    dtype: DType = "float32"
    m: int = 16
    ef_construction: int = 200
    fields: Mapping[str, FieldType] = field(default_factory=dict)
    text_search: bool = True
    language: str = "english"
    stop_words: tuple[str, ...] | None = None
    required_filter: str | None = None

    def __post_init__(self) -> None:
        _check_choice("metric", self.metric, get_args(Metric))
        _check_choice("algorithm", self.algorithm, get_args(Algorithm))
        _check_choice("dtype", self.dtype, get_args(DType))
        for name in ("dim", "m", "ef_construction"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"expected {name} >= 1, got {value!r}")
        for name, kind in self.fields.items():
            _check_choice(f"the type of field {name!r}", kind, get_args(FieldType))
            if name in _OWN_FIELDS or not _FIELD_NAME.fullmatch(name):
                raise ValueError(
                    f"expected a field name of letters, digits and underscores that is none of "
                    f"{sorted(_OWN_FIELDS)}, got {name!r}"
                )
        if self.required_filter is not None and self.fields.get(self.required_filter) != "tag":
            raise ValueError(
                f"expected required_filter to be a field declared as tag, got {self.required_filter!r}: declare it, "
                f'as in Index(..., fields={{{self.required_filter!r}: "tag"}})'
            )
        _check_choice("language", self.language, LANGUAGES)
        folded = default_stop_words(self.language) if self.stop_words is None else fold_stop_words(self.stop_words)
        object.__setattr__(self, "stop_words", folded)  # the manifest tells them, whatever a later default may be

    def dumps(self) -> str:
        """Return the schema as the JSON text that the manifest holds."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        return json.dumps({"format": FORMAT, **values}, default=dict, sort_keys=True)

    @classmethod
    def loads(cls, name: str, text: str) -> Schema:
        """Return the schema that the manifest of index `name` holds.

        Raises:
            SchemaMismatch: the manifest was written by a release with another format.
        """
        values = json.loads(text)
        found = values.pop("format", None)
        if found != FORMAT:
            raise SchemaMismatch(name, {"format": (FORMAT, found)})
        return cls(**values)

    def check(self, name: str, wanted: Mapping[str, Any]) -> None:
        """Compare with what the caller asks for; what it does not name is taken as it is.

        Any embedder may be used with an index of ready vectors; only its dimension is compared.

        Raises:
            SchemaMismatch: with each property that differs.
        """
        differences = {
            key: (expected, getattr(self, key))
            for key, expected in wanted.items()
            if getattr(self, key) != expected
            and not (self.embedder == READY_VECTORS and key in ("embedder", "identity"))
        }
        if differences:
            raise SchemaMismatch(name, differences)

    def field_values(self, metadata: Mapping[str, Any]) -> dict[str, str]:
        """Return the declared fields of a document as the server indexes them.

        Raises:
            ValueError: a value does not fit the type of its field.
        """
        values = {}
        for name, kind in self.fields.items():
            value = metadata.get(name)
            if value is not None:
                values[stored_name(name)] = _ENCODERS[kind](name, value)
            if name == self.required_filter and not values.get(stored_name(name)):
                raise ValueError(f"field {name!r}: expected a value, which this index requires, got {value!r}")
        return values


@dataclass(frozen=True, slots=True)
class Keys:
    """The names of everything that index `name` keeps in Redis.

    Every prefix ends in a separator, so that the index `doc` never swallows the keys of `doc2`. A document's
    id stands in braces: on a cluster all its keys then live in one slot, and it is replaced in one transaction.
    """

    name: str

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _INDEX_NAME.fullmatch(self.name):
            raise ValueError(
                "expected an index name of letters, digits, '_', '.' and '-' that begins with a letter or digit, "
                f"got {self.name!r}"
            )

    @property
    def manifest(self) -> str:
        """Key of the hash that holds the schema."""
        return f"ragknn:{self.name}:manifest"

    @property
    def alias(self) -> str:
        """Name under which the search index is asked."""
        return f"ragknn:{self.name}"

    def search_index(self, version: int = 1) -> str:
        """Name of one version of the search index."""
        return f"ragknn:{self.name}:v{version}"

    @property
    def passage_prefix(self) -> str:
        """Prefix of the keys of all passages."""
        return f"ragknn:{self.name}:p:"

    @property
    def document_prefix(self) -> str:
        """Prefix of the keys of all documents."""
        return f"ragknn:{self.name}:d:"

    def document(self, document_id: str) -> str:
        """Key of the hash with a document's content hash and number of passages."""
        return f"{self.document_prefix}{{{_encode_key(document_id)}}}"

    def passages(self, document_id: str) -> str:
        """Prefix of the keys of a document's passages."""
        return f"{self.passage_prefix}{{{_encode_key(document_id)}}}:"

    def document_id(self, document_key: str) -> str:
        """Return the document's id from the key that `document` made."""
        return _decode_percent(document_key.removeprefix(self.document_prefix)[1:-1])

    def passage_id(self, passage_key: str) -> str:
        """Return the passage's id, document id `#` number, from its key."""
        encoded, _, number = passage_key.removeprefix(self.passage_prefix).rpartition(":")
        return f"{_decode_percent(encoded[1:-1])}#{number}"


def index_names(search_indexes: list[str]) -> list[str]:
    """Return the names of ragknn's indexes among those of all search indexes on a server."""
    matches = (re.fullmatch(r"ragknn:(.+):v\d+", name) for name in search_indexes)
    return sorted({match[1] for match in matches if match})


def stored_name(field_name: str) -> str:
    """Return the name of a declared field in the hash; apart from ragknn's own, so that none can clash."""
    return f"f:{field_name}"


def encode_tag(value: str | int | float | bool) -> str:
    """Return the value as a tag: JSON, so that 1 and "1" stay apart and spaces at the ends stay on.

    The server takes a backslash in a tag for an escape, so that it and the percent sign are percent-encoded.

    Raises:
        ValueError: it is longer than the server indexes, or NaN or infinite.
    """
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"expected a finite number as a label or tag, got {value!r}")
    tag = json.dumps(value, ensure_ascii=False).replace("%", "%25").replace("\\", "%5C")
    if (size := len(tag.encode("utf-8", "surrogatepass"))) > LONGEST_TAG:
        raise ValueError(
            f"expected a document id, label or tag of at most {LONGEST_TAG} bytes, got {size}: {tag[:40]}…"
        )
    return tag


def decode_tag(tag: str) -> Any:
    """Return the value that `encode_tag` was given."""
    return json.loads(tag.replace("%5C", "\\").replace("%25", "%"))


def as_number(value: Any) -> float:
    """Return the value of a numeric field as the server keeps it: a float, and of a date the seconds since 1970 UTC.

    Args:
        value: a number, a bool (0 or 1), a date (its midnight), a datetime, or either as an ISO 8601 string; without a
            time zone they are taken as UTC.

    Raises:
        ValueError: it is none of these, NaN, or a number too large for a float.
    """
    moment = _parse_iso(value) if isinstance(value, str) else value
    if isinstance(moment, date) and not isinstance(moment, datetime):
        moment = datetime.combine(moment, time())
    if isinstance(moment, datetime):
        moment = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH
        number = moment.total_seconds()
    elif not isinstance(value, str) and hasattr(value, "__float__"):
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"{_EXPECTED_NUMBER}, got {value!r}: {error}") from error
    else:
        raise ValueError(f"{_EXPECTED_NUMBER}, got {value!r}")
    if number != number:
        raise ValueError(f"{_EXPECTED_NUMBER}, got NaN")
    return number


def _parse_iso(text: str) -> datetime | None:
    with suppress(ValueError):
        return datetime.fromisoformat(text) if _ISO_DATE.fullmatch(text) else None
    return None


def digest(text: str, vector: bytes) -> str:
    """Return what exact duplicates among passages have in common: a digest of the text, or of a ready vector."""
    return blake2b(text.encode() or vector, digest_size=8).hexdigest()


def content_hash(document: Document, splitter: str, vector: bytes = b"") -> str:
    """Return a digest of everything that decides what is stored of a document.

    Args:
        document: the document.
        splitter: fingerprint of the splitter.
        vector: the ready vector, where the user brings it.

    Raises:
        ValueError: the text, label or metadata hold what cannot be stored.
    """
    metadata = dump_metadata(document)
    encode_tag(document.id)  # refuses one that is too long
    label = None if document.label is None else encode_tag(document.label)
    try:
        content = json.dumps([document.id, document.text, label, metadata, splitter], ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"expected text that UTF-8 can hold, got a lone surrogate ({error.reason})") from error
    return blake2b(content + vector, digest_size=16).hexdigest()


def dump_metadata(document: Document) -> str:
    """Return the metadata as JSON text.

    Raises:
        ValueError: it holds what JSON cannot: other objects, NaN, or infinite numbers.
    """
    try:
        return json.dumps(document.metadata, ensure_ascii=False, allow_nan=False, sort_keys=True, default=_plain)
    except (TypeError, ValueError) as error:
        raise ValueError(f"expected metadata that JSON can hold, got: {error}") from error


def _plain(value: Any) -> Any:
    if isinstance(value, date | datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return dict(value)
    if hasattr(value, "item"):  # a NumPy scalar
        return value.item()
    raise TypeError(f"{value!r} of type {type(value).__name__}")


def _check_choice(what: str, value: Any, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"expected {what} to be one of {', '.join(choices)}, got {value!r}")


def _encode_key(document_id: str) -> str:
    return _UNSAFE_IN_KEY.sub(lambda match: f"%{ord(match[0]):02X}", document_id)


def _decode_percent(encoded: str) -> str:
    return re.sub(r"%([0-9A-F]{2})", lambda match: chr(int(match[1], 16)), encoded)


def _encode_tags(name: str, value: Any) -> str:
    values = value if isinstance(value, list | tuple | set | frozenset) else [value]
    values = [item.item() if isinstance(item, np.generic) else item for item in values]
    for item in values:
        if not isinstance(item, str | int | float):
            raise ValueError(  # noqa: TRY004  # a document's content is wrong, not an argument's type
                f"field {name!r}: expected a str, a number, a bool or a list of them, got {item!r}"
            )
    return TAG_SEPARATOR.join(encode_tag(item) for item in values)


def _encode_number(name: str, value: Any) -> str:
    try:
        return repr(as_number(value))
    except ValueError as error:
        raise ValueError(f"field {name!r}: {error}") from error


def _encode_text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"field {name!r}: expected a str, got {value!r}")  # noqa: TRY004  # as above
    return searchable(value)


_ENCODERS = {"tag": _encode_tags, "numeric": _encode_number, "text": _encode_text}
