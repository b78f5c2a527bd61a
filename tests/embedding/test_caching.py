"""An embedder that embeds no text twice: in memory, on disk, in several processes and threads."""

import pickle
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from embedders import CountingEmbedder
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline

from ragknn import CachedEmbedder, FunctionEmbedder, HashingEmbedder, VectorCache
from ragknn.embedding import Tokenizing
from ragknn.estimators import TextEmbedder

TEXTS = ["a pear", "a plum", "a pear", "an apple", ""]


@pytest.mark.parametrize("place", [None, "vectors"])
@given(calls=st.lists(st.lists(st.sampled_from([f"word {number}" for number in range(9)]), max_size=9), max_size=4))
@settings(max_examples=25)
def test_vectors_are_the_same_and_each_text_is_embedded_once(tmp_path_factory, place, calls):
    counting = CountingEmbedder()
    cached = CachedEmbedder(counting, place and tmp_path_factory.mktemp("cache") / place)
    for texts in calls:
        assert cached.embed_documents(texts).tobytes() == HashingEmbedder(16).embed_documents(texts).tobytes()
    assert sorted(counting.texts) == sorted({text for texts in calls for text in texts})


def test_it_is_the_other_embedder_in_all_but_that(sentence_embedder):
    cached = CachedEmbedder(sentence_embedder)
    for same in ("name", "content", "identity", "dim", "max_tokens"):
        assert getattr(cached, same) == getattr(sentence_embedder, same)
    assert isinstance(cached, Tokenizing)
    assert cached.token_spans("a cat") == [(0, 1), (2, 5)]
    plain = CachedEmbedder(FunctionEmbedder("mine", lambda texts: [[1.0, 2.0]] * len(texts)))
    assert (plain.dim, plain.content, plain.embed_queries([]).shape) == (2, None, (0, 2))
    assert not isinstance(plain, Tokenizing)
    assert repr(cached) == f"CachedEmbedder({sentence_embedder!r})"


def test_questions_and_passages_and_other_models_are_kept_apart(tmp_path):
    def numbered(name, number):
        return CachedEmbedder(
            FunctionEmbedder(name, lambda t: [[number]] * len(t), lambda t: [[-number]] * len(t)), tmp_path
        )

    assert [numbered("a", 1).embed_documents(["x"]), numbered("a", 1).embed_queries(["x"])] == [[[1.0]], [[-1.0]]]
    assert numbered("b", 2).embed_documents(["x"]) == [[2.0]]
    assert numbered("a", 3).embed_documents(["x"]) == [[1.0]]  # by name: it is the same model


def test_memory_is_bounded():
    counting = CountingEmbedder()
    cached = CachedEmbedder(counting, VectorCache(size=2))
    for text in ("a", "b", "a", "c", "a", "b"):
        cached.embed_queries([text])
    assert counting.texts == ["a", "b", "c", "b"]
    assert len(cached.embed_queries(list("abcdef"))) == 6
    with pytest.raises(ValueError, match="expected size >= 1, got 0"):
        VectorCache(size=0)


def test_what_is_embedded_before_an_error_is_kept(tmp_path):
    asked = []

    def embed(texts):
        asked.append(len(texts))
        if len(asked) == 2:
            raise RuntimeError("gone")
        return [[1.0]] * len(texts)

    cached = CachedEmbedder(FunctionEmbedder("mine", embed), tmp_path)
    texts = [f"text {number}" for number in range(300)]
    with pytest.raises(RuntimeError, match="gone"):
        cached.embed_documents(texts)
    assert cached.embed_documents(texts).shape == (300, 1)
    assert asked == [256, 44, 44]


def test_another_process_finds_what_is_kept_to_the_last_bit(tmp_path):
    script = """
import sys
from ragknn import CachedEmbedder, FunctionEmbedder
cached = CachedEmbedder(FunctionEmbedder("ragged", lambda texts: 1 / 0, dim=16), sys.argv[1])
sys.stdout.write(cached.embed_documents(["a pear", "a plum"]).tobytes().hex())
"""
    counting = CountingEmbedder()
    embedder = CachedEmbedder(FunctionEmbedder("ragged", counting.embed_documents), tmp_path)
    expected = embedder.embed_documents(TEXTS)[:2].tobytes().hex()
    command = [sys.executable, "-c", script, str(tmp_path)]
    assert subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout == expected
    copy = pickle.loads(pickle.dumps(CachedEmbedder(HashingEmbedder(16), tmp_path)))
    assert copy.embed_queries(TEXTS).tobytes() == HashingEmbedder(16).embed_queries(TEXTS).tobytes()


def test_threads_embed_a_text_once(tmp_path):
    counting = CountingEmbedder()
    with ThreadPoolExecutor(4) as pool:
        caches = [CachedEmbedder(counting, tmp_path) for _ in range(4)]  # as processes have them
        found = list(pool.map(lambda cached: cached.embed_documents(TEXTS).tobytes(), caches))
    assert len(set(found)) == 1
    assert sorted(counting.texts) == sorted(set(TEXTS))


def test_a_file_that_is_no_cache_is_replaced(tmp_path):
    (tmp_path / "vectors.sqlite").write_text("this is no database " * 99)
    assert len(CachedEmbedder(HashingEmbedder(16), tmp_path).embed_queries(TEXTS)) == 5
    counting = CountingEmbedder()
    CachedEmbedder(counting, tmp_path).embed_queries(TEXTS)
    assert counting.texts == []


def test_a_folder_that_cannot_be_used_is_done_without(tmp_path):
    (tmp_path / "file").write_text("no folder")
    (tmp_path / "vectors.sqlite").mkdir()
    for place in (tmp_path / "file", tmp_path):
        assert len(CachedEmbedder(HashingEmbedder(16), place).embed_queries(TEXTS)) == 5


def test_a_table_of_another_kind_is_done_without(tmp_path):
    with sqlite3.connect(tmp_path / "vectors.sqlite") as database:
        database.execute("CREATE TABLE vectors (other TEXT)")
    database.close()
    assert len(CachedEmbedder(HashingEmbedder(16), tmp_path).embed_queries(TEXTS)) == 5


# ---- in pipelines ----------------------------------------------------------------------------------------------

LABELED = [(f"{fruit} number {number}", fruit) for number in range(8) for fruit in ("pear", "plum")]


def search(transformer, **options):
    grid = {"kneighborsclassifier__n_neighbors": [1, 2, 3], "kneighborsclassifier__weights": ["uniform", "distance"]}
    model = GridSearchCV(make_pipeline(transformer, KNeighborsClassifier()), grid, cv=3, **options)
    return model.fit([text for text, _ in LABELED], [fruit for _, fruit in LABELED])


def test_a_search_over_parameters_embeds_each_text_once():
    counting = CountingEmbedder()
    search(TextEmbedder(counting))
    assert sorted(counting.texts) == sorted(text for text, _ in LABELED)
    without = CountingEmbedder()
    search(TextEmbedder(without, cache=False))
    assert len(without.texts) > 10 * len(LABELED)


def test_processes_of_a_search_share_a_folder(tmp_path):
    model = search(TextEmbedder(HashingEmbedder(16), cache=tmp_path), n_jobs=2)
    assert model.best_score_ == 1.0
    with sqlite3.connect(tmp_path / "vectors.sqlite") as database:
        assert database.execute("SELECT COUNT(*) FROM vectors").fetchone() == (len(LABELED),)
    database.close()


def test_what_is_no_cache_is_refused():
    with pytest.raises(TypeError, match="expected cache as True, False or a folder, got the int 3"):
        TextEmbedder(HashingEmbedder(16), cache=3).transform(["a"])
    assert TextEmbedder(cache=Path("here")).get_params()["cache"] == Path("here")
