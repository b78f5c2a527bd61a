"""How searches are sent, and how the replies become neighbors."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragknn._protocol.counting import count_passages
from ragknn._protocol.encoding import decode_tag
from ragknn._protocol.flows import Flow
from ragknn._protocol.keys import Keys
from ragknn._protocol.query import EVERYTHING, TEXT_WORDS, any_words, params
from ragknn._protocol.replies import Row, SearchReply, as_text, checked, parse_info, parse_search
from ragknn._protocol.schema import Schema
from ragknn._protocol.vectors import distances_to, from_bytes, to_bytes, true_distance
from ragknn._protocol.watch import Watch
from ragknn.errors import CommandRefused, IncompleteRetrieval
from ragknn.records import Neighbor, Passage, Retrieval
from ragknn.retrieval._searches import SCORERS, SMALLEST_SCORE, Ask, Knn, OnIncomplete, Range, Search, Words

# Searches sent in one round trip. More would only fill buffers: 1,000 queries of 384 float32 are 1.5 MB.
SEARCHES_PER_ROUND = 1_000

# Passages within a radius that come with the first answer; a search that has more is sent again, for all of them.
RADIUS_PORTION = 1_000

# Words of which the stems are remembered, for each index that is open.
MOST_STEMS = 10_000
_STEM = re.compile(rf"^\s*@{TEXT_WORDS}:(\S+?)(?:\(expanded\))?$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found.

    Attributes:
        neighbors: the best first.
        vectors: the stored vectors by passage id, shape (dim,) each, where they were asked for.
        warnings: what speaks against the answer being complete.
        is_all: whether nothing more can be found.
    """

    neighbors: tuple[Neighbor, ...]
    vectors: Mapping[str, NDArray[Any]]
    warnings: tuple[str, ...]
    is_all: bool


NOTHING = Found((), {}, (), is_all=True)


def search(keys: Keys, schema: Schema, searches: Sequence[Search], ask: Ask, watch: Watch) -> Flow[list[Found]]:
    """Send the searches, a thousand in a round trip, and return what each found.

    A `Range` that has more than its limit is sent a second time, for all of them. In RESP2 the server cannot say that
    it ran out of time. How many passages are nearest is known beforehand, but not how many lie within a radius or
    have certain words: there only a RESP3 connection notices an incomplete answer.

    Args:
        keys: of the index.
        schema: of the index.
        searches: what to look for.
        ask: how to look.
        watch: of the index.
    """
    texts = [one for one in searches if isinstance(one, Words)]
    if texts and watch.scorer is None:
        watch.scorer = yield from _best_scorer(keys)
    if narrowed := [one.text for one in texts if ask.among != EVERYTHING or one.is_narrowed_by_itself]:
        yield from _learn_stems(keys, schema, narrowed, watch)
    answers = yield from _answers(keys, schema, searches, ask, watch)
    more = {
        row: replace(one, limit=answer.total)
        for row, (one, answer) in enumerate(zip(searches, answers, strict=True))
        if isinstance(one, Range) and answer.total > len(answer.rows) >= one.limit
    }
    if more:
        again = yield from _answers(keys, schema, list(more.values()), ask, watch)
        for row, answer in zip(more, again, strict=True):
            answers[row] = answer
    stored = yield from _passages_where_untold(keys, searches, answers, ask)
    building = () if watch.percent_indexed == 1 else (_still_building(watch.percent_indexed),)
    return [
        _found(keys, schema, one, answer, ask, stored, building) for one, answer in zip(searches, answers, strict=True)
    ]


def nearest(
    keys: Keys, schema: Schema, vectors: NDArray[np.floating[Any]], ask: Ask, watch: Watch
) -> Flow[list[Retrieval]]:
    """Return the k nearest passages of each row of `vectors`, shape (n, dim), nearest first.

    Raises:
        IncompleteRetrieval: a search was cut short, and `ask` says to raise.
    """
    searches = [Knn(blob) for blob in to_bytes(vectors, schema.dtype)]
    found = yield from search(keys, schema, searches, ask, watch)
    return [settled(one.neighbors, None, one.warnings, ask.on_incomplete) for one in found]


def within(
    keys: Keys, schema: Schema, vectors: NDArray[np.floating[Any]], radius: float, ask: Ask, watch: Watch
) -> Flow[list[Retrieval]]:
    """Return all passages within the radius of each row of `vectors`, shape (n, dim), nearest first.

    The radius is inclusive, and measured as `true_distance` has it; k and ef_runtime do not matter.

    Raises:
        IncompleteRetrieval: a search was cut short, and `ask` says to raise.
    """
    searches = [Range(blob, radius, RADIUS_PORTION) for blob in to_bytes(vectors, schema.dtype)]
    found = yield from search(keys, schema, searches, ask, watch)
    return [settled(one.neighbors, None, one.warnings, ask.on_incomplete) for one in found]


def settled(
    neighbors: Sequence[Neighbor],
    query: str | None,
    warnings: Sequence[str],
    on_incomplete: OnIncomplete,
    notes: Sequence[str] = (),
) -> Retrieval:
    """Return the neighbors as they are handed out; warnings say that they are not complete, notes say other things.

    Raises:
        IncompleteRetrieval: they are not, and that is to be an error.
    """
    retrieval = Retrieval(neighbors, query=query, complete=not warnings, warnings=(*warnings, *notes))
    if warnings and on_incomplete == "raise":
        raise IncompleteRetrieval(retrieval)
    return retrieval


def _best_scorer(keys: Keys) -> Flow[str]:
    replies = yield [("FT.SEARCH", keys.alias, "*", "SCORER", scorer, "LIMIT", 0, 0) for scorer in SCORERS]
    for scorer, reply in zip(SCORERS, replies, strict=True):
        if not isinstance(reply, Exception):
            return scorer
    raise CommandRefused(f"expected a server that scores words by {' or '.join(SCORERS)}, got: {replies[-1]}")


def _learn_stems(keys: Keys, schema: Schema, texts: Sequence[str], watch: Watch) -> Flow[None]:
    """Ask what the server looks for in place of words; where a word is optional, it does not see to that by itself."""
    found = [any_words(text, schema.stop_words or ()) for text in texts]
    asked = dict.fromkeys(word for terms in found if terms for word in terms.params.values())
    if len(watch.stems) > MOST_STEMS:
        watch.stems.clear()
    unknown = [word for word in asked if word not in watch.stems]
    query = f"@{TEXT_WORDS}:$word"
    replies = yield [("FT.EXPLAIN", keys.alias, query, *params({"word": word}), "DIALECT", 2) for word in unknown]
    for word, reply in zip(unknown, replies, strict=True):
        watch.stems[word] = tuple(dict.fromkeys(_STEM.findall(as_text(checked(reply))))) or (word,)


def _answers(keys: Keys, schema: Schema, searches: Sequence[Search], ask: Ask, watch: Watch) -> Flow[list[SearchReply]]:
    answers: list[SearchReply] = []
    for start in range(0, len(searches), SEARCHES_PER_ROUND):
        part = searches[start : start + SEARCHES_PER_ROUND]
        commands = [one.command(keys, schema, ask, watch) for one in part]
        if watch.is_due:
            info, *replies = yield [("FT.INFO", keys.alias), *commands]
            watch.take(parse_info(info))
        else:
            replies = yield commands
        answers += [
            parse_search(reply, scored=isinstance(one, Words)) for one, reply in zip(part, replies, strict=True)
        ]
    return answers


# ---- replies ---------------------------------------------------------------------------------------------------


def _passages_where_untold(
    keys: Keys, searches: Sequence[Search], answers: Sequence[SearchReply], ask: Ask
) -> Flow[int]:
    # A RESP2 reply cannot say that the time ran out, so a short one is compared with what there is.
    pairs = zip(searches, answers, strict=True)
    if any(isinstance(one, Knn) and not answer.tells and len(answer.rows) < ask.k for one, answer in pairs):
        return (yield from count_passages(keys, ask.among))
    return 0


def _found(
    keys: Keys, schema: Schema, one: Search, answer: SearchReply, ask: Ask, stored: int, building: tuple[str, ...]
) -> Found:
    rows = [row for row in answer.rows if row.fields and (isinstance(one, Words) or "distance" in row.fields)]
    warnings = [*answer.warnings, *building]
    if vanished := len(answer.rows) - len(rows):
        warnings.append(f"{vanished} passages were removed while they were read")
    match one:
        case Knn():
            expected = min(ask.k, stored)
            if not answer.tells and len(answer.rows) < expected:
                came = len(answer.rows)
                warnings.append(f"{came} of {expected} neighbors came; the server may have run out of time")
            is_all = len(answer.rows) < ask.k
        case Range():
            if (missing := answer.total - len(answer.rows)) and not warnings:
                reason = f"the server kept back {missing} of {answer.total} passages; see its MAXSEARCHRESULTS"
                warnings.append(reason)
            is_all = True
        case Words():
            rows = [row for row in rows if row.score is not None and row.score > SMALLEST_SCORE]
            is_all = len(rows) < ask.k
    passages = [_passage(keys, row) for row in rows]
    vectors = {
        passage.id: from_bytes(row.vector, schema.dtype)
        for passage, row in zip(passages, rows, strict=True)
        if row.vector is not None
    }
    distances = _distances(schema, one, passages, rows, vectors)
    neighbors = [
        Neighbor(passage, distance, row.score)
        for passage, distance, row in zip(passages, distances, rows, strict=True)
        if not isinstance(one, Range) or distance <= one.radius
    ]
    return Found(tuple(neighbors), vectors, tuple(warnings), is_all)


def _distances(
    schema: Schema, one: Search, passages: Sequence[Passage], rows: Sequence[Row], vectors: Mapping[str, NDArray[Any]]
) -> list[float]:
    if not isinstance(one, Words):
        return [true_distance(float((row.fields or {})["distance"]), schema.metric) for row in rows]
    if one.vector is None or not rows:
        return [math.nan] * len(rows)
    stored = np.stack([vectors[passage.id] for passage in passages])
    return [float(distance) for distance in distances_to(one.vector, stored, schema.metric)]


def _still_building(share: float) -> str:
    return f"the server is still building the index, {share:.0%} of it can be found"


def _passage(keys: Keys, row: Row) -> Passage:
    fields = row.fields or {}
    passage_id = keys.passage_id(row.key)
    return Passage(
        id=passage_id,
        document_id=passage_id.rpartition("#")[0],
        text=fields.get("text", ""),
        start=int(fields.get("start", 0)),
        end=int(fields.get("end", 0)),
        label=decode_tag(fields["label"]) if "label" in fields else None,
        metadata=json.loads(fields.get("metadata", "{}")),
        digest=fields.get("digest", ""),
    )
