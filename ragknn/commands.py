"""Which commands opening, looking, writing and removing send, and what they make of the replies."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from ragknn.errors import CommandRefused, IndexNotFound, UnsupportedServer
from ragknn.flows import Command, Flow, Pause, Work
from ragknn.records import Label, Passage
from ragknn.replies import (
    SearchIndexInfo,
    ServerInfo,
    already_exists,
    as_text,
    checked,
    is_unknown_index,
    parse_aggregate,
    parse_configuration,
    parse_hello,
    parse_info,
    parse_search,
)
from ragknn.schema import (
    TAG_SEPARATOR,
    FieldType,
    Keys,
    Schema,
    decode_tag,
    digest,
    encode_tag,
    index_names,
    stored_name,
)
from ragknn.terms import EVERYTHING, TEXT_WORDS, Fragment, intersection, searchable
from ragknn.vectors import from_bytes

# RESP3 and 16-bit vectors need these. Redis 8 carries search 8, Redis Stack 7.4 carries 2.10.
OLDEST_REDIS = (7, 2)
OLDEST_SEARCH = (2, 10)

# What finds the passages that have a label.
LABELLED = Fragment("(-ismissing(@label))", {})

KEYS_PER_ROUND = 1_000  # keys looked for or removed in one round trip

COUNT_TIMEOUT = 60_000  # milliseconds; counting documents looks at every passage

# Removes the passages of a document, however many it has now. A script, since the number must be read and used
# in one step: another writer may be replacing the same document.
_DROP_PASSAGES = (
    "local n = redis.call('HGET', KEYS[1], 'passages') "
    "for i = 0, (tonumber(n) or 0) - 1 do redis.call('UNLINK', ARGV[1] .. i) end "
    "return redis.call('UNLINK', KEYS[1])"
)


# ---- opening and closing ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Opened:
    """What opening an index found."""

    server: ServerInfo
    schema: Schema


def open_index(
    keys: Keys, wanted: Callable[[], Mapping[str, Any]], create: Callable[[], Schema] | None, patience: float
) -> Flow[Opened]:
    """Open the index, or create it where there is none.

    A server that was just started builds the index again from what is stored; it is waited for, up to a point.

    Args:
        keys: of the index.
        wanted: tells the properties that the caller named, to be compared with the manifest; it may load a model.
        create: makes the schema of a new index; None if only an existing one will do.
        patience: seconds to wait for the server to build the index.

    Raises:
        UnsupportedServer: the server is too old or has no search.
        IndexNotFound: there is none, and `create` is None.
        SchemaMismatch: it was built otherwise.
    """
    hello, listed, manifest, info = yield [
        ("HELLO",),
        ("FT._LIST",),
        ("HGET", keys.manifest, "schema"),
        ("FT.INFO", keys.alias),
    ]
    server = check_server(hello, listed)
    is_new = False
    if checked(manifest) is None:
        if create is None:
            raise IndexNotFound(_not_found(keys.name, listed))
        schema = yield Work(create)
        # Of several processes that create at once, the first to set the field decides; the others compare.
        first, manifest = yield [
            ("HSETNX", keys.manifest, "schema", schema.dumps()),
            ("HGET", keys.manifest, "schema"),
        ]
        is_new = checked(first) == 1
    schema = Schema.loads(keys.name, as_text(checked(manifest)))
    schema.check(keys.name, (yield Work(wanted)))
    if is_unknown_index(info):
        replies = yield [_create_command(keys, schema), ("FT.ALIASADD", keys.alias, keys.search_index())]
        refused = [reply for reply in replies if isinstance(reply, Exception) and not already_exists(reply)]
        if refused and is_new:
            yield [("UNLINK", keys.manifest)]
        for reply in refused:
            checked(reply)
    if is_unknown_index(info) or parse_info(info).building:
        with suppress(TimeoutError):  # each search looks again, and says that it is incomplete
            yield from wait_until_searchable(keys, patience)
    return Opened(server, schema)


def check_server(hello: Any, listed: Any) -> ServerInfo:
    """Return what HELLO and FT._LIST say of the server.

    Raises:
        UnsupportedServer: it is too old or has no search.
    """
    server = parse_hello(hello)
    found = ".".join(map(str, server.version))
    advice = "use Redis 8, for instance `docker run -p 6379:6379 redis:8`, or the embedded server (no URL)"
    if server.version < OLDEST_REDIS:
        raise UnsupportedServer(f"expected Redis {_dotted(OLDEST_REDIS)} or later, got {found}: {advice}")
    if isinstance(listed, Exception) and "unknown command" in str(listed).lower():
        raise UnsupportedServer(f"expected a Redis with search (FT.* commands), got Redis {found} without: {advice}")
    checked(listed)
    if server.search is not None and server.search < OLDEST_SEARCH:
        raise UnsupportedServer(
            f"expected a search module {_dotted(OLDEST_SEARCH)} or later, got {_dotted(server.search)}: {advice}"
        )
    return server


def _dotted(version: Sequence[int]) -> str:
    return ".".join(map(str, version))


def _not_found(name: str, listed: Any) -> str:
    names = index_names([as_text(item) for item in checked(listed)])
    there = f"the server has {', '.join(names)}" if names else "the server has none"
    return f"expected an index named {name!r}, {there}. Create it with `ragknn index {name} PATH`, or check the URL"


def _create_command(keys: Keys, schema: Schema) -> Command:
    stop_words = schema.stop_words or ()
    tag = ("TAG", "SEPARATOR", TAG_SEPARATOR, "CASESENSITIVE")
    # The words of a text field are tags too. As TEXT the server would take the stem for the word, yet not behind `-`.
    words = ("TAG", "SEPARATOR", " ", "CASESENSITIVE")
    types: dict[FieldType, tuple[str, ...]] = {"tag": tag, "numeric": ("NUMERIC",), "text": words}
    vector: list[str | int] = ["TYPE", schema.dtype.upper(), "DIM", schema.dim]
    vector += ["DISTANCE_METRIC", schema.metric.upper()]
    if schema.algorithm == "hnsw":
        vector += ["M", schema.m, "EF_CONSTRUCTION", schema.ef_construction]
    return (
        *("FT.CREATE", keys.search_index(), "ON", "HASH", "PREFIX", 1, keys.passage_prefix),
        *("LANGUAGE", schema.language, "STOPWORDS", len(stop_words), *stop_words, "SCHEMA"),
        *("document_id", *tag),
        *("label", *tag, "INDEXMISSING"),  # so that a search can leave out what has no label
        *((TEXT_WORDS, "TEXT") if schema.text_search else ()),
        *(
            part
            for name, kind in schema.fields.items()
            for part in (stored_name(name), "AS", name, *types[kind], "INDEXMISSING")
        ),
        *("vector", "VECTOR", schema.algorithm.upper(), len(vector), *vector),
    )


def drop_index(keys: Keys) -> Flow[int]:
    """Remove the index and everything that it keeps; return the number of documents removed.

    The manifest goes last: a drop that was cut short can be repeated.
    """
    for reply in (yield [("FT.ALIASDEL", keys.alias), ("FT.DROPINDEX", keys.search_index())]):
        if not is_unknown_index(reply) and "does not exist" not in str(reply):
            checked(reply)
    removed = 0
    for prefix in (keys.passage_prefix, keys.document_prefix):
        cursor = 0
        while True:
            cursor, found = yield from _scan(prefix, cursor)
            if found:
                removed += prefix == keys.document_prefix and len(found)
                [reply] = yield [("UNLINK", *found)]
                checked(reply)
            if not cursor:
                break
    [reply] = yield [("UNLINK", keys.manifest)]
    checked(reply)
    return removed


def _scan(prefix: str, cursor: int) -> Flow[tuple[int, list[str]]]:
    [reply] = yield [("SCAN", cursor, "MATCH", f"{prefix}*", "COUNT", KEYS_PER_ROUND)]
    following, found = checked(reply)
    return int(following), [as_text(key) for key in found]


# ---- looking at what is there ----------------------------------------------------------------------------------


def listing() -> Flow[list[str]]:
    """Return the names of ragknn's indexes on the server.

    Raises:
        UnsupportedServer: the server is too old or has no search.
    """
    hello, listed = yield [("HELLO",), ("FT._LIST",)]
    check_server(hello, listed)
    return index_names([as_text(item) for item in listed])


@dataclass(frozen=True, slots=True)
class SearchLimits:
    """How long the server lets a search run, and what it does then.

    Attributes:
        timeout: milliseconds; 0 for no limit.
        policy: "return" hands out what was found so far, "fail" answers with an error.
    """

    timeout: int
    policy: str


def examine_server() -> Flow[tuple[ServerInfo, SearchLimits | None]]:
    """Return the server's versions and its limits on searches, None where it does not show them.

    Raises:
        UnsupportedServer: the server is too old or has no search.
    """
    hello, listed, *answers = yield [
        ("HELLO",),
        ("FT._LIST",),
        ("CONFIG", "GET", "search-timeout", "search-on-timeout"),  # from Redis 8 on
        ("FT.CONFIG", "GET", "TIMEOUT"),
        ("FT.CONFIG", "GET", "ON_TIMEOUT"),
    ]
    values = {key: value for answer in answers for key, value in parse_configuration(answer).items()}
    timeout = values.get("search-timeout", values.get("timeout"))
    policy = values.get("search-on-timeout", values.get("on_timeout"))
    limits = SearchLimits(int(timeout), policy.lower()) if timeout and policy else None
    return check_server(hello, listed), limits


def params(values: Mapping[str, str | int | float | bytes]) -> Command:
    """Return the part of a command that hands values to a query; values never become syntax."""
    return ("PARAMS", 2 * len(values), *(part for pair in values.items() for part in pair)) if values else ()


def index_info(keys: Keys) -> Flow[SearchIndexInfo]:
    """Return what the server says of the search index."""
    [reply] = yield [("FT.INFO", keys.alias)]
    return parse_info(reply)


def count_passages(keys: Keys, among: Fragment = EVERYTHING) -> Flow[int]:
    """Return the number of passages that the filter finds."""
    [reply] = yield [("FT.SEARCH", keys.alias, among.query, *params(among.params), "LIMIT", 0, 0, "DIALECT", 2)]
    return parse_search(reply).total


def count_documents(keys: Keys, among: Fragment = EVERYTHING) -> Flow[int]:
    """Return the number of documents that the filter finds."""
    [reply] = yield [
        (
            *("FT.AGGREGATE", keys.alias, among.query, *params(among.params)),
            *("GROUPBY", 0, "REDUCE", "COUNT_DISTINCT", 1, "@document_id", "AS", "n"),
            *("TIMEOUT", COUNT_TIMEOUT, "DIALECT", 2),
        )
    ]
    rows = parse_aggregate(reply)
    return int(rows[0]["n"]) if rows else 0


@dataclass(frozen=True, slots=True)
class LabelCensus:
    """The labels in an index.

    Attributes:
        documents: for each label the number of documents that have it.
        labelled: number of passages with a label.
        passages: number of all passages.
    """

    documents: Mapping[Label, int]
    labelled: int
    passages: int


def count_labels(keys: Keys, among: Fragment = EVERYTHING) -> Flow[LabelCensus]:
    """Count the documents of each label, of those that the filter finds."""
    labelled_only = intersection(among, LABELLED)
    [reply] = yield [
        (
            *("FT.AGGREGATE", keys.alias, labelled_only.query, *params(labelled_only.params), "GROUPBY", 1, "@label"),
            *("REDUCE", "COUNT_DISTINCT", 1, "@document_id", "AS", "n", "TIMEOUT", COUNT_TIMEOUT, "DIALECT", 2),
        )
    ]
    counts: Counter[Label] = Counter()
    for row in parse_aggregate(reply):
        counts[decode_tag(row["label"])] += int(row["n"])  # 1 and 1.0 are stored apart, and are one label
    labelled = yield from count_passages(keys, labelled_only)
    return LabelCensus(counts, labelled, (yield from count_passages(keys, among)))


@dataclass(frozen=True, slots=True)
class StoredVector:
    """A labelled passage as it is stored.

    Attributes:
        document_id: the document that it is cut from.
        label: the document's label.
        digest: equal for passages of the same text.
        vector: in the dtype of the index, shape (dim,).
    """

    document_id: str
    label: Label
    digest: str
    vector: NDArray[Any]


def labelled_vectors(keys: Keys, schema: Schema, among: Fragment = EVERYTHING) -> Flow[list[StoredVector]]:
    """Return all passages with a label that the fragment finds, sorted by their keys."""
    passages = yield from matching_passages(keys, intersection(among, LABELLED))
    found: list[StoredVector] = []
    for start in range(0, len(passages), KEYS_PER_ROUND):
        part = passages[start : start + KEYS_PER_ROUND]
        replies = yield [("HMGET", key, "label", "digest", "vector") for key in part]
        for key, reply in zip(part, replies, strict=True):
            label, digest_, blob = checked(reply)
            if label is not None and blob is not None:
                document_id = keys.passage_id(key).rpartition("#")[0]
                vector = from_bytes(blob, schema.dtype)
                found.append(StoredVector(document_id, decode_tag(as_text(label)), as_text(digest_), vector))
    return found


def stored_labels(keys: Keys) -> Flow[dict[str, Label]]:
    """Return the label of each labelled passage by the passage's id, in no order."""
    labels: dict[str, Label] = {}
    cursor = 0
    while True:
        cursor, passages = yield from _scan(keys.passage_prefix, cursor)
        replies = yield [("HGET", key, "label") for key in passages]
        for key, reply in zip(passages, replies, strict=True):
            if checked(reply) is not None:
                labels[keys.passage_id(key)] = decode_tag(as_text(reply))
        if not cursor:
            return labels


def stored_ids(keys: Keys) -> Flow[list[str]]:
    """Return the ids of all documents in the index, in no order."""
    ids: set[str] = set()  # a scan may show a key twice
    cursor = 0
    while True:
        cursor, found = yield from _scan(keys.document_prefix, cursor)
        ids.update(keys.document_id(key) for key in found)
        if not cursor:
            return list(ids)


def matching_passages(keys: Keys, among: Fragment) -> Flow[list[str]]:
    """Return the keys of all passages that the fragment finds, sorted."""
    [reply] = yield [
        (
            *("FT.AGGREGATE", keys.alias, among.query, *params(among.params), "LOAD", 1, "@__key"),
            *("WITHCURSOR", "COUNT", KEYS_PER_ROUND, "TIMEOUT", COUNT_TIMEOUT, "DIALECT", 2),
        )
    ]
    found: set[str] = set()
    while True:
        rows, cursor = checked(reply)
        found.update(row["__key"] for row in parse_aggregate(rows))
        if not int(cursor):
            return sorted(found)
        [reply] = yield [("FT.CURSOR", "READ", keys.alias, cursor, "COUNT", KEYS_PER_ROUND)]


def matching_ids(keys: Keys, among: Fragment) -> Flow[list[str]]:
    """Return the ids of all documents that the fragment finds, sorted."""
    found = yield from matching_passages(keys, among)
    return sorted({keys.passage_id(key).rpartition("#")[0] for key in found})


def wait_until_searchable(keys: Keys, patience: float) -> Flow[None]:
    """Wait until everything stored is indexed.

    Args:
        keys: of the index.
        patience: seconds.

    Raises:
        TimeoutError: it took longer.
    """
    deadline = time.monotonic() + patience
    pause = 0.01
    while True:
        info = yield from index_info(keys)
        if not info.building:
            return
        if time.monotonic() >= deadline:
            raise TimeoutError(
                f"expected index {keys.name!r} to be searchable, got {info.percent_indexed:.0%} of it: "
                "wait longer, the server goes on indexing"
            )
        yield Pause(pause)
        pause = min(2 * pause, 1.0)


# ---- writing ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Prepared:
    """A document as it is to be stored.

    Attributes:
        id: the document's id.
        content_hash: digest of all that decides what is stored.
        passages: at least one.
        vectors: one blob a passage.
        fields: the declared fields, as the server indexes them.
        metadata: JSON text.
        text_search: whether the words of the passages are stored for the server to index.
    """

    id: str
    content_hash: str
    passages: Sequence[Passage]
    vectors: Sequence[bytes]
    fields: Mapping[str, str]
    metadata: str
    text_search: bool = True


def content_hashes(keys: Keys, document_ids: Sequence[str]) -> Flow[list[str | None]]:
    """Return for each document the content hash of what is stored, or None if it is not."""
    replies = yield [("HGET", keys.document(document_id), "hash") for document_id in document_ids]
    return [None if checked(reply) is None else as_text(reply) for reply in replies]


def replace_documents(keys: Keys, documents: Sequence[Prepared]) -> Flow[list[str | None]]:
    """Store the documents, each in one transaction that first removes what was stored of it.

    Returns:
        For each document None, or why the server refused it; it then stays as it was.
    """
    transactions = [_replace_commands(keys, document) for document in documents]
    replies = yield [command for transaction in transactions for command in transaction]
    outcomes: list[str | None] = []
    position = 0
    for transaction in transactions:
        position += len(transaction)
        outcomes.append(_refusal(replies[position - len(transaction) : position]))
    return outcomes


def _replace_commands(keys: Keys, document: Prepared) -> list[Command]:
    prefix = keys.passages(document.id)
    key = keys.document(document.id)
    shared: list[str | bytes] = ["document_id", encode_tag(document.id), "metadata", document.metadata]
    if (label := document.passages[0].label) is not None:
        shared += ["label", encode_tag(label)]
    for name, value in document.fields.items():
        shared += [name, value]
    return [
        ("MULTI",),
        ("EVAL", _DROP_PASSAGES, 1, key, prefix),
        *(
            (
                *("HSET", f"{prefix}{number}", "text", passage.text, "start", passage.start, "end", passage.end),
                *("digest", digest(passage.text, blob), "vector", blob, *shared),
                *_words(document, passage),
            )
            for number, (passage, blob) in enumerate(zip(document.passages, document.vectors, strict=True))
        ),
        ("HSET", key, "hash", document.content_hash, "passages", len(document.passages)),
        ("EXEC",),
    ]


def _words(document: Prepared, passage: Passage) -> Command:
    found = searchable(passage.text) if document.text_search else ""
    return (TEXT_WORDS, found) if found else ()


def _refusal(replies: Sequence[Any]) -> str | None:
    executed = replies[-1]
    within = executed if isinstance(executed, list) else []
    # The first error says what was wrong; EXEC itself then only says that it did nothing.
    for reply in (*replies[:-1], *within, executed):
        if isinstance(reply, Exception):
            try:
                checked(reply)
            except CommandRefused as refused:
                return str(refused)
    return None


def delete_documents(keys: Keys, document_ids: Sequence[str]) -> Flow[int]:
    """Remove the documents with all their passages; return how many there were."""
    removed = 0
    for start in range(0, len(document_ids), KEYS_PER_ROUND):
        replies = yield [
            ("EVAL", _DROP_PASSAGES, 1, keys.document(document_id), keys.passages(document_id))
            for document_id in document_ids[start : start + KEYS_PER_ROUND]
        ]
        removed += sum(int(checked(reply)) for reply in replies)
    return removed


# ---- reading passages ------------------------------------------------------------------------------------------


def passages_around(keys: Keys, numbers: Mapping[str, Sequence[int]], window: int) -> Flow[dict[str, Passage]]:
    """Return passages and those before and after them by their ids, with text and offsets only.

    Each document is read in one transaction, so that its passages belong together however often it is replaced.
    What is not there is left out.

    Args:
        keys: of the index.
        numbers: for each document the numbers of passages in it.
        window: passages before and after each.
    """
    if not numbers:
        return {}
    counts = yield [("HGET", keys.document(document_id), "passages") for document_id in numbers]
    wanted: dict[str, list[int]] = {}
    for (document_id, centers), count in zip(numbers.items(), counts, strict=True):
        end = int(checked(count) or 0)
        near = {n for center in centers for n in range(max(0, center - window), min(end, center + window + 1))}
        if near:
            wanted[document_id] = sorted(near)
    commands: list[Command] = []
    for document_id, near_numbers in wanted.items():
        prefix = keys.passages(document_id)
        reads: list[Command] = [("HMGET", f"{prefix}{number}", "text", "start", "end") for number in near_numbers]
        commands += [("MULTI",), *reads, ("EXEC",)]
    replies = iter((yield commands) if commands else ())
    found: dict[str, Passage] = {}
    for document_id, near_numbers in wanted.items():
        # The first error says what was wrong; EXEC itself then only says that it did nothing.
        *_, rows = [checked(next(replies)) for _ in range(len(near_numbers) + 2)]
        for number, row in zip(near_numbers, rows, strict=True):
            text, start, end = checked(row)
            if text is not None:
                passage_id = f"{document_id}#{number}"
                found[passage_id] = Passage(passage_id, document_id, as_text(text), int(start), int(end))
    return found
