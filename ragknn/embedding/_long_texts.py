"""Embedding of texts that have more tokens than the model reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate, chain, pairwise
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from ragknn._checks import check_embedder, checked_texts, shown
from ragknn.embedding._pieces import cut_evenly, cut_off, tokens_beyond
from ragknn.embedding.protocols import Embedder, Tokenizing
from ragknn.errors import InvalidVectors, TextTooLong
from ragknn.text._folding import fold

LongTexts: TypeAlias = Literal["mean", "cut", "fail"]
"""What to do with a text that is too long: the mean of its pieces, its beginning alone, or `TextTooLong`."""

Notes: TypeAlias = tuple[str, ...]
"""Notes on how a text was embedded, one sentence each; usually none."""

_BEGINNING = 40  # characters of a text in a message


def checked_choice(option: str, choice: LongTexts) -> LongTexts:
    """Return the choice.

    Raises:
        ValueError: an unknown choice; the message names the option.
    """
    if not isinstance(choice, str) or choice not in get_args(LongTexts):
        raise ValueError(f"expected {option} to be 'mean', 'cut' or 'fail', got {shown(choice)}")
    return choice


def embed_queries(
    embedder: Embedder, texts: Sequence[str], long_queries: LongTexts = "mean"
) -> tuple[NDArray[Any], list[Notes]]:
    """Embed queries as an index does: long ones too, and with letters in other shapes as the letters.

    A long text is cut into pieces, which are embedded in the same call as all other texts. An embedder without
    `token_spans` (`Tokenizing`) or without a limit gets each text whole.

    Args:
        embedder: embedder to use.
        texts: n texts.
        long_queries: what to do with texts that have more tokens than the embedder reads.

    Returns:
        The vectors, shape (n, dim), and the notes on each text.

    Raises:
        TypeError: no embedder, or something else than texts.
        ValueError: an unknown choice, or a text that is no Unicode.
        TextTooLong: a text is too long, and `long_queries` is "fail".
    """
    check_embedder(embedder)
    checked_choice("long_queries", long_queries)
    return _embed(embedder.embed_queries, embedder, checked_texts(texts, "query"), long_queries, "long_queries")


def embed_documents(
    embedder: Embedder, texts: Sequence[str], long_texts: LongTexts = "mean", *, option: str = "long_texts"
) -> tuple[NDArray[Any], list[Notes]]:
    """Embed documents likewise; see `embed_queries`. `option` is the name of `long_texts` in messages."""
    check_embedder(embedder)
    checked_choice(option, long_texts)
    return _embed(embedder.embed_documents, embedder, checked_texts(texts, "text"), long_texts, option)


def _embed(
    embed: Callable[[Sequence[str]], NDArray[Any]],
    embedder: Embedder,
    texts: Sequence[str],
    choice: LongTexts,
    option: str,
) -> tuple[NDArray[Any], list[Notes]]:
    folded = [fold(text) for text in texts]
    notes: list[Notes] = [()] * len(texts)
    limit = embedder.max_tokens if isinstance(embedder, Tokenizing) else None
    if limit is None or limit < 1:
        return embed(folded), notes
    token_spans = embedder.token_spans  # type: ignore[attr-defined]  # looked at above
    pieces = [[text] for text in folded]
    for row, text in enumerate(folded):
        count = tokens_beyond(text, token_spans, limit)
        if not count:
            continue
        reads = f"{count} tokens are more than the {limit} that {embedder.name} reads"
        begins = f"the text that begins {texts[row][:_BEGINNING]!r}"
        match choice:
            case "mean":
                pieces[row] = cut_evenly(text, token_spans, limit)
                notes[row] = (f"{reads}: the mean of the vectors of {len(pieces[row])} pieces represents {begins}",)
            case "cut":
                pieces[row] = [cut_off(text, token_spans, limit)]
                read = len(token_spans(pieces[row][0]))
                notes[row] = (f"{reads}: it read only the first {read} of {begins}",)
            case _:
                raise TextTooLong(f"{reads}: shorten {begins}, or embed it in pieces with {option}='mean'")
    if not any(notes):
        return embed(folded), notes
    vectors = np.asarray(embed(list(chain.from_iterable(pieces))))
    ends = list(accumulate(map(len, pieces), initial=0))
    if len(vectors) != ends[-1]:
        raise InvalidVectors(f"expected one vector for each of {ends[-1]} texts, got {len(vectors)}")
    rows = [
        vectors[start] if end - start == 1 else _mean(vectors[start:end], [len(token_spans(one)) for one in own])
        for (start, end), own in zip(pairwise(ends), pieces, strict=True)
    ]
    return np.stack(rows), notes


def _mean(vectors: NDArray[Any], counts: Sequence[int]) -> NDArray[Any]:
    """Return one vector, shape (dim,), for the vectors of the pieces, shape (n, dim).

    It has the direction of their mean, weighted by the tokens of each piece, and their mean length. So it has unit
    length if they have. (OpenAI's cookbook does the same for vectors of unit length: "Embedding texts that are longer
    than the model's maximum context length", 2023.)
    """
    rows = vectors.astype(np.float64)
    weights = np.asarray(counts, dtype=np.float64)
    weights /= weights.sum()
    lengths = np.linalg.norm(rows, axis=1)
    mean = weights @ (rows / np.where(lengths == 0, 1.0, lengths)[:, np.newaxis])
    length = np.linalg.norm(mean) or 1.0
    return (mean * (weights @ lengths / length)).astype(vectors.dtype)  # type: ignore[no-any-return]
