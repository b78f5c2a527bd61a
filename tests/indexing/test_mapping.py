"""The map of an index: where its passages are, and a query among them."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from showing import read, words_of
from sklearn.decomposition import PCA

from ragknn import (
    Document,
    FunctionEmbedder,
    HashingEmbedder,
    Index,
    Indexer,
    InvalidVectors,
    LabelVoter,
    MissingDependency,
    Neighbor,
    Passage,
    Retrieval,
    Retriever,
)
from ragknn.indexing._map_pictures import grouped

DIM = 6
GENERATOR = np.random.default_rng(0)
CENTERS = GENERATOR.normal(size=(3, DIM)) * 3
VECTORS = np.concatenate([center + GENERATOR.normal(size=(20, DIM)) for center in CENTERS])
LABELS = [label for label in "abc" for _ in range(20)]
IDS = [f"p{number:02}" for number in range(60)]


@pytest.fixture
def filled(faces, redis_url, index_name):
    """Return a function that makes an open index of ready vectors."""
    opened = []

    def fill(vectors=VECTORS, labels=LABELS, **options):
        dim = np.shape(vectors)[1]
        index = faces.index(index_name, url=redis_url, dim=dim, text_search=False, **options)
        opened.append(index)
        index.__enter__()
        ids = IDS[: len(vectors)]
        if len(vectors):
            faces.indexer(index).add_vectors(ids, vectors, labels=labels)
        return index

    yield fill
    for index in opened:
        index.__exit__(None, None, None)


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize("metric", ["cosine", "l2", "ip"])
def test_the_coordinates_are_the_first_two_principal_components(filled, metric):
    found = filled(metric=metric).map()
    oracle = PCA(2).fit(unit(VECTORS) if metric == "cosine" else VECTORS)
    theirs = oracle.transform(unit(VECTORS) if metric == "cosine" else VECTORS)
    assert found.coordinates.shape == (60, 2)
    signs = np.sign((found.coordinates * theirs).sum(axis=0))
    np.testing.assert_allclose(found.coordinates, theirs * signs, atol=1e-5)
    np.testing.assert_allclose(found.explained, oracle.explained_variance_ratio_, atol=1e-6)
    assert [one.partition("#")[0] for one in found.ids] == IDS
    assert list(found.labels) == LABELS
    assert (found.total, len(found), found.metric) == (60, 60, metric)


def test_other_vectors_have_the_place_that_they_would_have_had(filled):
    found = filled().map()
    np.testing.assert_allclose(found.place(VECTORS), found.coordinates, atol=1e-5)
    np.testing.assert_allclose(found.place(VECTORS[3] * 7), found.coordinates[3:4], atol=1e-5)  # of cosine
    with pytest.raises(InvalidVectors, match="expected vectors of shape"):
        found.place(VECTORS[:, :2])
    with pytest.raises(InvalidVectors):
        found.place(np.full((1, DIM), np.nan))


def test_of_more_passages_a_seeded_sample_is_on_the_map_and_says_so(filled):
    index = filled()
    found = index.map(sample=10)
    assert (len(found), found.total) == (10, 60)
    assert found.ids == index.map(sample=10).ids == tuple(sorted(found.ids))
    assert found.ids != index.map(sample=10, seed=1).ids
    assert "a sample of 10 of 60 passages" in repr(found)
    assert index.map(sample=60).ids == index.map(sample=61).ids


def test_passages_that_are_asked_for_are_on_the_map_in_any_case(filled):
    index = filled()
    every = index.map().ids
    found = index.map(sample=5, include=[*every[7:9], "not there", "\ud800"])
    assert len(found) in (5, 6, 7)
    assert {*every[7:9]} <= {*found.ids}
    assert len({*found.ids}) == len(found.ids)


def test_a_filter_narrows_the_map(filled):
    found = filled().map(where={"label": {"$in": ["a", "c"]}})
    assert {*found.labels} == {"a", "c"}
    assert found.total == 40


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"method": "tsne"}, ValueError, "expected method to be one of pca, umap, got 'tsne'"),
        ({"sample": 0}, ValueError, "expected sample >= 1, got 0"),
        ({"sample": 2.5}, TypeError, "float"),
        ({"include": "p01#0"}, TypeError, "expected an iterable of ids, got 'p01#0'; put one id into a list"),
        ({"where": {"unknown": 1}}, ValueError, "unknown"),
    ],
)
def test_what_cannot_be_mapped_is_refused(filled, options, error, message):
    with pytest.raises(error, match=message):
        filled().map(**options)


# ---- small and odd indexes -------------------------------------------------------------------------------------

ODD = {
    "none": np.zeros((0, 3)),
    "one": np.array([[1.0, 2.0, 3.0]]),
    "two": np.array([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]]),
    "all equal": np.array([[0.1, 0.2, 0.3]] * 5),
    "of one value": np.array([[1.0], [2.0], [-3.0]]),
    "on a line": np.array([[1.0, 0.0], [2.0, 0.0], [5.0, 0.0]]),
}


@pytest.mark.parametrize("metric", ["cosine", "l2"])
@pytest.mark.parametrize("vectors", ODD.values(), ids=ODD)
def test_every_index_has_a_map(filled, vectors, metric):
    found = filled(vectors, ["a"] * len(vectors), metric=metric).map()
    assert found.coordinates.shape == (len(vectors), 2)
    assert np.isfinite(found.coordinates).all()
    assert 0 <= found.explained[0] + found.explained[1] <= 1 + 1e-9
    assert f"{len(vectors)} passage" in repr(found)
    read(found._repr_html_())
    figure = found.plot(vectors[0] if len(vectors) else np.ones(3))
    assert figure._repr_png_().startswith(b"\x89PNG")
    assert len(found.to_pandas()) == len(vectors)


def test_equal_vectors_are_one_point(filled):
    found = filled(ODD["all equal"], list("abcde"), metric="l2").map()
    assert not found.coordinates.any()
    assert found.explained == (0.0, 0.0)


def test_passages_without_a_vector_are_not_on_the_map(faces, redis_url, index_name):
    with faces.index(index_name, url=redis_url, embedder=HashingEmbedder(16)) as index:
        indexer = faces.indexer(index)
        indexer.add([Document("b", "one text"), Document("c", "another one")])
        indexer.add_passages([Passage("p", "a", "no vector", 0, 9)], embed=False)
        found = index.map(sample=2, include=["p", "b#0"])
    assert found.ids == ("b#0", "c#0")
    assert found.total == 2


def test_a_map_lasts_when_its_index_is_closed(faces, redis_url, index_name):
    with faces.index(index_name, url=redis_url, embedder=HashingEmbedder(16)) as index:
        faces.indexer(index).add([Document(f"d{n}", f"word{n} and word{n + 1}") for n in range(4)])
        found = index.map()
    assert "word2" in found.plot("word2 and word3").axes[0].get_title(loc="left")


# ---- queries ---------------------------------------------------------------------------------------------------


def marked(figure):
    """Return how many neighbors are ringed on a picture of a map, and the sizes of their points."""
    rings = [points for points in figure.axes[0].collections if points.get_linewidths()[:1] == [1.2]]
    return [len(points.get_offsets()) for points in rings[:-1]], [list(points.get_sizes()) for points in rings[:-1]]


def title(figure):
    return figure.axes[0].get_title(loc="left")


@pytest.mark.parametrize("metric", ["cosine", "l2", "ip"])
def test_the_neighbors_of_a_vector_are_the_nearest_on_the_map(filled, metric):
    index = filled(metric=metric)
    found = index.map()
    figure = found.plot(VECTORS[0], k=7)
    nearest = found._asked(VECTORS[0], 7, None).weights
    distances = {
        "cosine": 1 - unit(VECTORS) @ unit(VECTORS[:1])[0],
        "l2": np.linalg.norm(VECTORS - VECTORS[0], axis=1),
        "ip": -(VECTORS @ VECTORS[0]),
    }[metric]
    assert {one.partition("#")[0] for one in nearest} == {IDS[n] for n in np.argsort(distances)[:7]}
    assert marked(figure)[0] == [7]
    assert title(figure).startswith("a ready vector\na 100%")


def test_a_text_a_retrieval_and_a_vote_are_shown_with_what_they_found(redis_url, index_name):
    words = ["apple pear", "apple plum", "apple fig", "car bus", "car tram"]
    documents = [Document(f"d{n}", text, "vehicles" if "car" in text else "fruit") for n, text in enumerate(words)]
    with Index(index_name, url=redis_url, embedder=HashingEmbedder(64)) as index:
        Indexer(index).add(documents)
        found = index.map()
        retriever = Retriever(index)
        retrieval = retriever.retrieve("apple", k=3)
        vote = LabelVoter(retriever, k=4, weights="distance").vote("apple")
    assert title(found.plot("apple", k=3)) == "“apple”\nfruit 100%"
    assert title(found.plot(retrieval)) == "“apple”\nfruit 100%"
    figure = found.plot("apple", vote=vote)
    assert title(figure).startswith(f"“apple”\nfruit {vote.shares['fruit']:.0%}, vehicles")
    assert marked(figure)[0] == [4]
    [sizes] = marked(figure)[1]
    heaviest = max(vote.weights)
    assert sorted(sizes) == pytest.approx(sorted(40 + 140 * weight / heaviest for weight in vote.weights))


def test_neighbors_that_are_not_in_the_sample_are_counted(filled, faces):
    index = filled(embedder=None)
    found = index.map(sample=5)
    passages = [Passage(one, one, "", 0, 0) for one in (*found.ids[:2], "elsewhere#0")]
    embed = FunctionEmbedder("test", lambda texts: [VECTORS[0] for _ in texts], dim=DIM)
    figure = replace(found, embedder=embed).plot(Retrieval([Neighbor(one, 0.1) for one in passages], query="q"))
    assert figure.axes[0].get_xlabel().endswith("\n1 of 3 neighbors are not on this map")


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        (
            ["text"],
            {},
            ValueError,
            "expected a vector as the query, got a text, and index .* without an embedder",
        ),
        ([VECTORS[0]], {"k": 0}, ValueError, "expected k >= 1, got 0"),
        ([VECTORS[:2]], {}, ValueError, "expected one vector as the query, got 2"),
        ([VECTORS[0, :3]], {}, InvalidVectors, "expected vectors of shape"),
        ([VECTORS[0]], {"vote": "a"}, TypeError, r"expected vote of type Vote, got str: pass voter.vote\(text\)"),
        ([], {"vote": "a"}, ValueError, "expected a query beside the vote, got none"),
    ],
)
def test_what_cannot_be_drawn_is_refused(filled, arguments, options, error, message):
    with pytest.raises(error, match=message):
        filled().map().plot(*arguments, **options)


# ---- colors ----------------------------------------------------------------------------------------------------


def legend_of(found, **options):
    legend = found.plot(**options).axes[0].get_legend()
    return legend and [text.get_text() for text in legend.get_texts()]


def test_labels_are_colors_and_the_legend_counts_them(filled):
    assert legend_of(filled().map()) == ["a (20)", "b (20)", "c (20)"]


def test_without_labels_all_points_are_of_one_color(filled):
    found = filled(labels=None).map()
    assert legend_of(found) is None
    assert "60 passages" in words_of(found._repr_html_())


def test_of_many_labels_the_most_frequent_have_colors_and_the_others_are_gray(filled):
    found = filled(labels=[f"label {min(n, 40)}" for n in range(60)]).map()
    names = legend_of(found)
    assert names[0] == "label 40 (20)"
    assert names[-1] == "33 other labels (33)"
    assert len(names) == 9


def test_the_labels_of_neighbors_have_colors_however_rare_they_are():
    labels = [f"label {min(n, 40)}" for n in range(60)]
    assert "label 33 (1)" in [group.name for group in grouped(labels, ["label 33"])]
    assert sorted(number for group in grouped(labels, ["label 33"]) for number in group.numbers) == list(range(60))


def test_some_without_a_label_are_gray_and_come_last(filled):
    assert legend_of(filled(labels=["a"] * 30 + [None] * 30).map()) == ["a (30)", "no label (30)"]


def test_numbers_are_a_scale(filled):
    found = filled(labels=[n / 2 for n in range(59)] + [None]).map()
    figure = found.plot(VECTORS[2], k=3)
    assert figure.axes[1].get_ylabel() == "label"
    assert title(figure).startswith("a ready vector\nmean of 3 neighbors: ")
    assert words_of(found._repr_html_())[-2:] == ["0", "29"]


@pytest.mark.parametrize("labels", [[1] * 30 + [2] * 30, [True, False] * 30, [""] * 60, ["$x$", "<b>"] * 30])
def test_classes_of_any_kind_have_colors(filled, labels):
    found = filled(labels=labels).map()
    assert len(legend_of(found)) == len({*labels})
    read(found._repr_html_())


# ---- other forms -----------------------------------------------------------------------------------------------


def test_a_map_as_a_table_and_as_json(filled):
    found = filled().map()
    table = found.to_pandas()
    assert list(table.columns) == ["id", "document_id", "label", "x", "y", "text"]
    assert table[["x", "y"]].to_numpy().tolist() == found.coordinates.tolist()
    values = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert values["points"][0] == {
        **{"id": found.ids[0], "document_id": "p00", "label": "a"},
        **dict(zip("xy", found.coordinates[0].tolist(), strict=True)),
    }
    assert (values["total"], values["explained"]) == (60, list(found.explained))


def test_in_a_notebook_a_point_tells_its_passage(filled):
    html = filled(labels=["<b>"] * 60).map()._repr_html_()
    assert html.count("<circle") == 60
    assert any(words.startswith("p00") and "[<b>]" in words for words in words_of(html))


def test_the_picture_is_saved(filled, tmp_path):
    path = tmp_path / "map.svg"
    filled().map().plot(VECTORS[0], path=path)
    assert path.read_bytes().startswith(b"<?xml")


# ---- UMAP ------------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_umap_keeps_groups_together_and_is_the_same_each_time():
    # In a process of its own, where its compiler is off: to compile takes far longer than to map so few.
    program = """
import numpy as np
from ragknn.indexing._projection import plane_of
generator = np.random.default_rng(0)
vectors = np.concatenate([center * 20 + generator.normal(size=(6, 5)) for center in np.eye(5)[:2]])
planes = [plane_of(vectors, "l2", "umap", 0) for _ in range(2)]
assert (planes[0].points == planes[1].points).all()
assert planes[0].explained is None
points = planes[0].points
centers = points[:6].mean(axis=0), points[6:].mean(axis=0)
for row, point in enumerate(points):
    assert np.argmin([np.linalg.norm(point - center) for center in centers]) == (row >= 6)
assert planes[0].place(vectors[:1]).shape == (1, 2)
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_umap_needs_some_passages(filled):
    with pytest.raises(ValueError, match="expected at least 4 passages for UMAP, got 3: use method='pca'"):
        filled(VECTORS[:3], LABELS[:3]).map("umap")


def test_without_umap_the_error_names_the_extra(filled, monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(MissingDependency, match=r"pip install 'ragknn\[umap\]'"):
        filled().map("umap")
