"""`dtype="auto"`: what it becomes, that it changes no ranking, and what `describe` says of it."""

import numpy as np
import pytest

from ragknn import Document

TEXTS = [
    f"{a} {b} {c}" for a in ("red", "blue", "old") for b in ("apples", "pears", "stones") for c in ("fall", "roll")
]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "float16"),
        ({"metric": "cosine", "algorithm": "hnsw"}, "float16"),
        ({"metric": "ip"}, "float32"),
        ({"metric": "l2"}, "float32"),
        ({"dim": 8}, "float32"),
    ],
)
def test_texts_by_cosine_are_stored_in_half_the_space_and_what_may_not_fit_is_not(
    faces, redis_url, index_name, embedder, options, expected
):
    options = {"url": redis_url, **({} if "dim" in options else {"embedder": embedder}), **options}
    with faces.index(index_name, dtype="auto", **options) as index:
        assert index.schema.dtype == expected
    with faces.index(index_name, dtype=expected, **options) as index:  # as another process may name it
        assert index.schema.dtype == expected


def test_an_index_that_is_there_is_taken_as_it_is(faces, redis_url, index_name, embedder):
    with faces.index(index_name, url=redis_url, embedder=embedder) as index:
        assert index.schema.dtype == "float32"  # nobody asked for another
    with faces.index(index_name, url=redis_url, embedder=embedder, dtype="auto") as index:
        assert index.schema.dtype == "float32"


def test_distances_differ_by_less_than_is_said_and_rankings_but_by_near_ties(faces, redis_url, index_name, embedder):
    found = {}
    for dtype in ("float32", "auto"):
        with faces.index(f"{index_name}{dtype}", url=redis_url, embedder=embedder, dtype=dtype) as index:
            faces.indexer(index).add([Document(text, text) for text in TEXTS])
            found[dtype] = faces.retriever(index).retrieve_many(
                ["apples roll", "old stones", "a blue pear"], len(TEXTS)
            )
            index.drop()
    for exact, short in zip(found["float32"], found["auto"], strict=True):
        distances = {one.passage.id: one.distance for one in exact}
        assert np.allclose([distances[one.passage.id] for one in short], short.distances, atol=3e-4)
        assert np.all(np.diff([distances[one.passage.id] for one in short]) > -6e-4)


def test_describe_says_what_vectors_take_and_whether_less_would_do(faces, redis_url, index_name, embedder):
    with faces.index(index_name, url=redis_url, embedder=embedder) as index:
        assert index.describe().storage == (
            "256 bytes a vector, in its hash and in the search index; 128 after rebuild(dtype='auto') (float16), "
            "with the same rankings but for near ties"
        )
        index.drop()
    with faces.index(index_name, url=redis_url, embedder=embedder, dtype="auto") as index:
        assert index.describe().storage == "128 bytes a vector, in its hash and in the search index"
        index.drop()
    with faces.index(index_name, url=redis_url, dim=8, dtype="float64") as index:
        assert index.describe().storage.endswith(
            "; 32 after rebuild(dtype='auto') (float32), with the same rankings but for near ties"
        )
