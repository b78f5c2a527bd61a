"""From texts or vectors to retrievals: the flows behind both retrievers, for use inside other flows too."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ragknn._checks import checked_texts, shown
from ragknn._protocol.flows import Flow, Work, repeatable
from ragknn._protocol.keys import Keys
from ragknn._protocol.place import Place
from ragknn._protocol.presence import rebuilt
from ragknn._protocol.query import EVERYTHING
from ragknn._protocol.schema import Schema
from ragknn._protocol.vectors import check_vectors
from ragknn.embedding._long_texts import Notes, embed_documents, embed_queries
from ragknn.errors import InvalidVectors
from ragknn.indexing.async_index import AsyncIndex
from ragknn.indexing.index import Index
from ragknn.records import Retrieval
from ragknn.retrieval._pipeline import Phrasing, Question, select
from ragknn.retrieval._plan import Plan, make_plan
from ragknn.retrieval._spans import Asked
from ragknn.retrieval._timing import timed
from ragknn.retrieval._tracing import traced
from ragknn.retrieval.options import Options

if TYPE_CHECKING:
    from ragknn.retrieval.retriever import AsyncRetriever, Retriever

    AnyRetriever: TypeAlias = Retriever | AsyncRetriever


@repeatable
@traced(
    lambda retriever, queries, k, options, vectors=None: Asked("retrieve", retriever, k, options, queries),
)
@timed
def asking(
    retriever: AnyRetriever, queries: Iterable[str], k: int | None, options: Options, vectors: ArrayLike | None = None
) -> Flow[list[Retrieval]]:
    """The flow behind `Retriever.retrieve_many`, for use inside other flows."""
    texts, keys = checked_queries(queries), retriever.index._keys
    if vectors is not None:
        retriever.index._check_ready()
    plan = yield from planned(retriever.index, k, options)
    questions = yield from posed(retriever, texts, plan, vectors)
    return (yield from select(same_place(retriever, keys), questions, plan))


@repeatable
@traced(lambda retriever, phrasings, k, options: Asked("retrieve", retriever, k, options, phrasings))
@timed
def asking_any(
    retriever: AnyRetriever, phrasings: Iterable[str], k: int | None, options: Options
) -> Flow[list[Retrieval]]:
    """The flow behind `Retriever.retrieve_any`."""
    texts, keys = checked_queries(phrasings, "phrasing"), retriever.index._keys
    if not texts:
        raise ValueError("expected at least one phrasing, got none")
    plan = yield from planned(retriever.index, k, options)
    questions = yield from posed(retriever, texts, plan)
    phrased = tuple(one for question in questions for one in question.phrasings)
    notes = tuple(note for question in questions for note in question.notes)
    question = Question(texts[0], phrased, notes)
    return (yield from select(same_place(retriever, keys), [question], plan))


@repeatable
@traced(lambda retriever, query, answers, k, options: Asked("retrieve", retriever, k, options, [query]))
@timed
def asking_like(
    retriever: AnyRetriever, query: str, answers: Iterable[str], k: int | None, options: Options
) -> Flow[list[Retrieval]]:
    """The flow behind `Retriever.retrieve_like`."""
    asked, texts, keys = checked_queries([query]), checked_queries(answers, "answer"), retriever.index._keys
    if not texts:
        raise ValueError("expected at least one answer, got none; use retrieve() without")
    plan = yield from planned(retriever.index, k, options)
    embedder = retriever.index.embedder

    def embed() -> tuple[NDArray[np.float64], Notes]:
        of_query, about_query = embed_queries(embedder, asked, retriever.long_queries)
        of_answers, about_answers = embed_documents(embedder, texts, retriever.long_queries, option="long_queries")
        mean = np.concatenate([of_query, of_answers]).mean(axis=0, dtype=np.float64)
        return mean, tuple(chain.from_iterable([*about_query, *about_answers]))

    vector, notes = yield Work(embed, stage="embed")
    [row] = _checked(retriever.index.schema, vector)
    question = Question(query, (Phrasing(query, row),), notes)
    return (yield from select(same_place(retriever, keys), [question], plan))


@repeatable
@traced(lambda retriever, vectors, k, options, ready=True: Asked("retrieve", retriever, k, options))
@timed
def asking_near(
    retriever: AnyRetriever, vectors: ArrayLike, k: int | None, options: Options, ready: bool = True
) -> Flow[list[Retrieval]]:
    """The flow behind `Retriever.kneighbors`, for use inside other flows, which may have made the vectors just now."""
    check_wordless(options)
    if ready:
        retriever.index._check_ready()
    plan, place = (yield from planned(retriever.index, k, options)), place_of(retriever)
    return (yield from select(place, near(place.schema, vectors), plan))


def place_of(retriever: AnyRetriever) -> Place:
    """Return where a retriever looks, and what it does about answers that are not complete."""
    return retriever.index._place(retriever.on_incomplete, retriever.bulk)


def same_place(retriever: AnyRetriever, keys: Keys) -> Place:
    """Return where a retriever looks.

    Raises:
        IndexNotFound: it is another place than when the keys were its own, while the question was embedded: another
            thread or task found the index rebuilt. The question is embedded again then.
    """
    if retriever.index._keys != keys:
        raise rebuilt(keys)
    return place_of(retriever)


def planned(index: Index | AsyncIndex, k: int | None, options: Options) -> Flow[Plan]:
    """Return the plan of a retrieval in an index; `make_plan` says what is refused."""
    schema, where = index.schema, options.get("where")
    is_narrowed = where is not None or schema.required_filter is not None
    among = (yield from index._filtering(where)) if is_narrowed else EVERYTHING
    return make_plan(schema, among, k, options)


def posed(
    retriever: AnyRetriever, texts: Sequence[str], plan: Plan, vectors: ArrayLike | None = None
) -> Flow[list[Question]]:
    """Return the texts as questions, embedded where the plan needs vectors and none are given.

    Args:
        retriever: of an open index.
        texts: n texts.
        plan: the retrieval's plan.
        vectors: ready vectors of the texts, shape (n, dim), or None.

    Raises:
        InvalidVectors: a wrong shape or number, or a row without a distance.
        TextTooLong: a text has more tokens than the model reads, and `long_queries` is "fail".
    """
    if vectors is None and not plan.needs_vectors:
        return [Question(text, (Phrasing(text, None),)) for text in texts]
    index = retriever.index
    notes: Sequence[Notes] = [()] * len(texts)
    if vectors is None:
        embedder = index.embedder
        vectors, notes = yield Work(lambda: embed_queries(embedder, texts, retriever.long_queries), stage="embed")
    rows = _checked(index.schema, vectors)
    if len(rows) != len(texts):
        raise InvalidVectors(f"expected one vector for each of {len(texts)} queries, got {len(rows)}")
    return [
        Question(text, (Phrasing(text, row),), of_text) for text, row, of_text in zip(texts, rows, notes, strict=True)
    ]


def check_wordless(options: Mapping[str, Any]) -> None:
    """Refuse options that need the words of a question.

    Raises:
        ValueError: there are such.
    """
    mode, rerank = options.get("mode", "vector"), options.get("rerank")
    if not (isinstance(mode, str) and mode == "vector" and rerank is None):
        raise ValueError(
            "expected neither mode nor rerank with vectors alone, which have no words: pass the texts too, as in "
            "retrieve_many(queries, vectors=...)"
        )


def near(schema: Schema, vectors: ArrayLike) -> list[Question]:
    """Return vectors, shape (n, dim), as questions without words, to an index of that schema.

    Raises:
        InvalidVectors: a wrong shape, or a row without a distance.
    """
    return [Question(None, (Phrasing(None, row),)) for row in _checked(schema, vectors)]


def one_row(vector: ArrayLike | None) -> ArrayLike | None:
    """Return a vector, shape (dim,), as vectors, shape (1, dim)."""
    if vector is None:
        return None
    try:
        return np.asarray(vector)[np.newaxis]
    except ValueError as error:
        raise InvalidVectors(f"expected a vector of numbers, got {shown(vector)}: {error}") from error


def _checked(schema: Schema, vectors: ArrayLike) -> NDArray[np.float64]:
    return check_vectors(vectors, schema.dim, schema.metric, schema.dtype)


def checked_queries(queries: Iterable[str], what: str = "query") -> list[str]:
    """Return texts from any iterable, each with words in it.

    Raises:
        TypeError: a str in place of several, no iterable in an order, or a query of another type.
        ValueError: an empty query, or one with a lone surrogate.
    """
    texts = checked_texts(queries, what, "use retrieve() for one")
    for text in texts:
        if not text.strip():
            raise ValueError(f"expected a {what} with words in it, got {text!r}")
    return texts
