"""Reading later: what candidates were chosen without is read of those that are returned."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragknn._protocol.flows import Each, Flow
from ragknn._protocol.layout import found_passages
from ragknn._protocol.place import Place
from ragknn._protocol.replies import SearchReply, as_text, parse_search
from ragknn._protocol.vectors import distances_to, from_bytes
from ragknn.records import Neighbor
from ragknn.retrieval._commands import WHOLE, reading
from ragknn.retrieval._plan import Plan


def read_whole(
    place: Place, chosen: Sequence[Sequence[Neighbor]], vectors: Sequence[NDArray[Any] | None], plan: Plan
) -> Flow[list[Sequence[Neighbor] | None]]:
    """Return the neighbors with all that is read of passages; None where one is not any more what was chosen.

    They are looked for with the filter again: one that passes it no longer, or has another text by now, is not
    returned.

    Args:
        place: where they were found.
        chosen: the neighbors of each question.
        vectors: that of each question, shape (dim,), for the distances that are not known yet.
        plan: by which they were chosen.
    """
    asked = [row for row, neighbors in enumerate(chosen) if neighbors]
    keys = {row: [_key(place, one) for one in chosen[row]] for row in asked}
    fields = {row: _fields(chosen[row], plan) for row in asked}
    commands = [reading(place, keys[row], fields[row], plan.among) for row in asked]
    answers = (yield Each(commands, lambda _, reply: parse_search(reply))) if commands else []
    whole: list[Sequence[Neighbor] | None] = [()] * len(chosen)
    for row, answer in zip(asked, answers, strict=True):
        whole[row] = _matched(place, chosen[row], keys[row], answer, vectors[row], plan)
    return whole


def _key(place: Place, neighbor: Neighbor) -> str:
    return place.keys.passage(neighbor.passage.document_id, neighbor.passage.number or 0)


def _fields(neighbors: Sequence[Neighbor], plan: Plan) -> tuple[str, ...]:
    wants_vector = plan.with_vectors or any(math.isnan(one.distance) for one in neighbors)
    return (*WHOLE, "vector") if wants_vector else WHOLE


def _matched(
    place: Place,
    neighbors: Sequence[Neighbor],
    keys: Sequence[str],
    answer: SearchReply,
    query: NDArray[Any] | None,
    plan: Plan,
) -> list[Neighbor] | None:
    there = {key: fields for key, fields, _ in answer.rows}
    stored = [(key, there.get(key) or {}) for key in map(str.encode, keys)]
    for (_, fields), neighbor in zip(stored, neighbors, strict=True):
        if not fields or as_text(fields.get(b"digest", b"")) != neighbor.passage.digest:
            return None
    passages = found_passages(place.keys, stored)
    vectors = {
        row: from_bytes(fields[b"vector"], place.schema.dtype)
        for row, (_, fields) in enumerate(stored)
        if b"vector" in fields
    }
    distances = [neighbor.distance for neighbor in neighbors]
    unknown = [row for row in vectors if math.isnan(distances[row])]
    if unknown and query is not None:
        computed = distances_to(query, np.stack([vectors[row] for row in unknown]), place.schema.metric)
        for row, distance in zip(unknown, computed.tolist(), strict=True):
            distances[row] = distance
    if plan.with_vectors:
        passages = [replace(passage, vector=vectors.get(row)) for row, passage in enumerate(passages)]
    scores, metric = [neighbor.score for neighbor in neighbors], place.schema.metric
    vector_ranks = [neighbor.vector_rank for neighbor in neighbors]
    text_ranks = [neighbor.text_rank for neighbor in neighbors]
    return Neighbor._many(passages, distances, scores, vector_ranks, text_ranks, metric)
