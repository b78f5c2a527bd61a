import math
import re
from functools import partial

import numpy as np
import pytest
from showing import without_styles
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

from ragknn import Document, HashingEmbedder, IndexNotOpen, Splitter
from ragknn.voting._defaults import DEFAULT_KS, PASSAGES_PER_ROUND
from ragknn.voting.rules import Rules
from ragknn.voting.tuning import Setting, Tuning, atune, tune

WORDS = Splitter(3, 0, "words")


@pytest.fixture
def tuned(faces):
    """`tune` or `atune`, called alike."""

    return partial(faces.call, tune, atune)


def scores(tuning):
    return {(setting.k, setting.weights): setting.score for setting in tuning.settings}


def gaussian(distances):
    return np.exp(-(distances**2))


# ---- against brute force ---------------------------------------------------------------------------------------

KS = (1, 2, 3, 7, 20, 149)
SKLEARN = {"cosine": "cosine", "l2": "euclidean"}


def clusters(seed, count=150, dim=6):
    """Vectors that lie around three centers, and around which of them; no two of them are equally far apart."""
    generator = np.random.default_rng(seed)
    centers = generator.integers(0, 3, count)
    return generator.normal(size=(count, dim)) + 1.2 * np.eye(dim)[centers], np.array(["c", "a", "b"])[centers]


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_accuracies_are_those_of_leaving_one_out_with_scikit_learn(faces, tuned, redis_url, index_name, metric):
    vectors, labels = clusters(1)
    with faces.index(index_name, url=redis_url, dim=6, metric=metric, text_search=False) as index:
        faces.indexer(index).add_vectors([str(n) for n in range(150)], vectors, labels=labels)
        tuning = tuned(index, KS, ["uniform", "distance", gaussian])
    assert (tuning.index, tuning.scoring, tuning.passages) == (index_name, "accuracy", 150)
    assert list(scores(tuning)) == [(k, name) for name in ("uniform", "distance", "gaussian") for k in KS]
    for weights in ("uniform", "distance", gaussian):
        for k in KS:
            model = KNeighborsClassifier(k, weights=weights, metric=SKLEARN[metric], algorithm="brute")
            predicted = model.fit(vectors, labels).predict(None)  # leaves each point out of its own vote
            name = getattr(weights, "__name__", weights)
            assert scores(tuning)[k, name] == pytest.approx(np.mean(predicted == labels), abs=1e-12)


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_errors_of_numbers_are_those_of_leaving_one_out_with_scikit_learn(faces, tuned, redis_url, index_name, metric):
    vectors, _ = clusters(2)
    numbers = vectors @ np.arange(6) + 100
    with faces.index(index_name, url=redis_url, dim=6, metric=metric, text_search=False) as index:
        faces.indexer(index).add_vectors([str(n) for n in range(150)], vectors, labels=numbers)
        tuning = tuned(index, KS)
    assert tuning.scoring == "mean absolute error"
    assert len(tuning.settings) == 2 * len(KS)
    for setting in tuning.settings:
        model = KNeighborsRegressor(setting.k, weights=setting.weights, metric=SKLEARN[metric], algorithm="brute")
        expected = np.mean(np.abs(model.fit(vectors, numbers).predict(None) - numbers))
        assert setting.score == pytest.approx(expected, rel=1e-5)
    assert tuning.best.score == min(setting.score for setting in tuning.settings)


@pytest.mark.parametrize(
    "rules",
    [{}, {"max_distance": 0.8}, {"priors": "balanced"}, {"count_duplicates": True}, {"one_vote_per_document": False}],
    ids=str,
)
def test_scores_are_those_of_a_voter_with_the_same_rules(faces, tuned, redis_url, index_name, rules):
    texts = [f"word{n % 7} word{n % 5} thing{n % 3} item{n}" for n in range(60)]
    labels = ["often" if n % 3 else "rare" for n in range(60)]
    with faces.index(index_name, url=redis_url, embedder=HashingEmbedder(64)) as index:
        faces.indexer(index).add([Document(str(n), text, labels[n]) for n, text in enumerate(texts)])
        tuning = tuned(index, [1, 5, 12], rules=Rules(**rules))
        for setting in tuning.settings:
            voter = faces.voter(faces.retriever(index), setting.k, weights=setting.weights, **rules)
            right = [voter.vote(text, exclude=[str(n)]).label == labels[n] for n, text in enumerate(texts)]
            assert setting.score == pytest.approx(np.mean(right), abs=1e-12), setting


# ---- who is left out -------------------------------------------------------------------------------------------


def test_the_other_passages_of_a_document_do_not_vote_on_it(fill, plane, tuned):
    # Each passage lies next to one of its own document. Without these a is next to b, and b and c to each other.
    fill({"a": ("0 0 a 0 1 b", "x"), "b": ("5 0 c 5 1 d", "y"), "c": ("9 0 e 9 1 f", "y")}, WORDS)
    tuning = tuned(plane, [1], ["uniform"])
    assert (tuning.passages, tuning.settings) == (6, (Setting(1, "uniform", 4 / 6),))


def test_exact_twins_do_not_vote_unless_duplicates_are_counted(fill, plane, tuned):
    fill({"a": ("0 0 same", "x"), "b": ("0 0 same", "x"), "c": ("5 0", "y"), "d": ("6 0", "y")})
    assert tuned(plane, [1], ["uniform"]).best.score == 2 / 4
    assert tuned(plane, [1], ["uniform"], rules=Rules(count_duplicates=True)).best.score == 1.0


def test_what_has_no_label_is_neither_asked_nor_votes(fill, plane, tuned):
    fill(
        {f"u{n}": (f"0.{n + 10} 0", None) for n in range(50)}
        | {"a": ("0 0", "x"), "b": ("1 0", "x"), "c": ("9 0", "y")}
    )
    tuning = tuned(plane, [1, 2], ["uniform"])
    assert (tuning.passages, scores(tuning)) == (3, {(1, "uniform"): 2 / 3, (2, "uniform"): 2 / 3})


def test_a_passage_on_which_nobody_votes_is_not_labelled_rightly(fill, plane, tuned):
    # d is alone; its class is the first in sorted order, which must not count as a hit.
    fill({"a": ("0 0", "x"), "b": ("1 0", "x"), "c": ("2 0", "x"), "d": ("9 0", "a")})
    assert tuned(plane, [1], rules=Rules(max_distance=1.0)).best.score == 3 / 4
    assert tuned(plane, [1], [np.zeros_like]).best.score == 0.0


def test_numbers_on_which_nobody_votes_have_no_error(fill, plane, tuned):
    fill({"a": ("0 0", 1.0), "b": ("1 0", 2.0), "c": ("9 0", 50.0)})
    assert tuned(plane, [1], ["uniform"], rules=Rules(max_distance=1.0)).best.score == 1.0
    nobody = tuned(plane, [1], [np.zeros_like, "uniform"])
    assert math.isnan(nobody.settings[0].score)
    assert nobody.best == Setting(1, "uniform", (1 + 1 + 48) / 3)
    assert math.isnan(tuned(plane, [1], rules=Rules(max_distance=0.5)).best.score)


# ---- which settings --------------------------------------------------------------------------------------------


def test_ks_for_which_there_are_too_few_documents_are_left_out(fill, plane, tuned):
    fill({f"d{n}": (f"{n} 0", "ab"[n % 2]) for n in range(6)})
    tuning = tuned(plane, weights=["uniform"])
    assert [setting.k for setting in tuning.settings] == [k for k in DEFAULT_KS if k < 6] == [1, 3, 5]
    assert [setting.k for setting in tuned(plane, [100, 5, 6, 2, 5], ["uniform"]).settings] == [2, 5]


def test_ks_may_be_an_array_of_numpy(fill, plane, tuned):
    fill({f"d{n}": (f"{n} 0", "ab"[n % 2]) for n in range(6)})
    assert [setting.k for setting in tuned(plane, np.arange(1, 4), ["uniform"]).settings] == [1, 2, 3]


def test_one_retrieval_of_the_largest_k_serves_all_settings(client, fill, plane, tuned, index_name):
    fill({f"d{n}": (f"{n} 0", "ab"[n % 2]) for n in range(30)})
    with client.monitor() as monitor:
        tuned(plane, [1, 3, 7], ["uniform", "distance", gaussian])
        client.echo(f"end of {index_name}")
        searches = 0
        while (command := monitor.next_command()["command"]) != f"ECHO end of {index_name}":
            searches += f"FT.SEARCH ragknn:{index_name}:v" in command and "[KNN" in command
            assert "RETURN" not in command or " text " not in command
    assert searches == 30


def test_the_rules_may_have_any_k_and_weights(fill, plane, tuned):
    fill({f"d{n}": (f"{n} 0", "aab"[n % 3]) for n in range(9)})
    expected = tuned(plane, [1, 3])
    assert tuned(plane, [1, 3], rules=Rules(k=100, weights=gaussian, min_votes=7)) == expected


@pytest.mark.parametrize(
    ("ks", "weights", "message"),
    [
        ([], ["uniform"], "expected at least one k and one kind of weights, got ks=[], weights=['uniform']"),
        ([1], [], "expected at least one k and one kind of weights, got ks=[1], weights=[]"),
        ([0, 1], ["uniform"], "expected each k >= 1, got 0"),
        ([3, -1], ["uniform"], "expected each k >= 1, got -1"),
        ([1], ["uniform", "x"], "expected weights to be 'uniform', 'distance' or a callable, got 'x'"),
        ([1], "uniform", "expected weights to be 'uniform', 'distance' or a callable, got 'u'"),
        ([9], ["uniform"], "expected k <= 3, the number of labelled documents in index"),
    ],
    ids=str,
)
def test_choices_that_cannot_be_are_refused(fill, plane, tuned, ks, weights, message):
    fill({"a": ("0 0", "x"), "b": ("1 0", "x"), "c": ("9 0", "y")})
    with pytest.raises(ValueError, match=re.escape(message)):
        tuned(plane, ks, weights)


def test_a_k_that_is_no_integer_is_a_type_error(plane, tuned):
    with pytest.raises(TypeError):
        tuned(plane, [1.5])


def test_labels_that_cannot_be_scored_are_refused(fill, plane, tuned, index_name):
    with pytest.raises(ValueError, match=f"expected documents with labels in index '{index_name}', got none among 0"):
        tuned(plane)
    fill({"a": ("0 0", "x")})
    with pytest.raises(ValueError, match="expected k <= 1, the number of labelled documents"):
        tuned(plane)
    fill({"b": ("1 0", 3), "c": ("2 0", 3)})
    with pytest.raises(ValueError, match="expected labels that are all strings or all numbers, got 'x' and 3"):
        tuned(plane, [1])


def test_an_index_that_is_not_open_is_refused(faces, plane, tuned):
    plane.close()
    with pytest.raises(IndexNotOpen):
        tuned(plane)


def test_progress_is_told_after_each_round(faces, tuned, redis_url, index_name):
    count = PASSAGES_PER_ROUND + 200
    vectors, told = np.random.default_rng(4).normal(size=(count, 4)), []
    with faces.index(index_name, url=redis_url, dim=4, text_search=False) as index:
        faces.indexer(index).add_vectors([str(n) for n in range(count)], vectors, labels=["a", "b"] * (count // 2))
        tuning = tuned(index, [1], ["uniform"], progress=lambda *numbers: told.append(numbers))
    assert told == [(PASSAGES_PER_ROUND, count), (count, count)]
    assert tuning.passages == count


# ---- the record ------------------------------------------------------------------------------------------------


def tuning_of(*settings, scoring="accuracy"):
    return Tuning("faq", scoring, 10, tuple(Setting(*setting) for setting in settings))


def test_the_best_setting_has_the_largest_accuracy_or_the_smallest_error():
    settings = (1, "uniform", 0.5), (3, "uniform", 0.7), (1, "distance", 0.6)
    assert tuning_of(*settings).best == Setting(3, "uniform", 0.7)
    assert tuning_of(*settings, scoring="mean absolute error").best == Setting(1, "uniform", 0.5)


def test_of_equal_settings_the_first_of_those_with_the_smallest_k_is_the_best():
    for scoring in ("accuracy", "mean absolute error"):
        settings = (5, "uniform", 0.7), (7, "uniform", 0.7), (3, "distance", 0.7), (3, "gaussian", 0.7)
        assert tuning_of(*settings, scoring=scoring).best == Setting(3, "distance", 0.7)


TUNING = tuning_of(*((k, w, 0.5 + k / 100) for w in ("uniform", "<lambda>") for k in (1, 3)), (5, "uniform", 0.25))
TUNING = Tuning("faq", "accuracy", 10, (*TUNING.settings[:2], TUNING.settings[4], *TUNING.settings[2:4]))


def test_a_tuning_says_which_setting_is_the_best():
    assert str(TUNING) == "best accuracy 0.5300 with k=3, weights='uniform'"
    errors = tuning_of((1, "distance", 1.5), scoring="mean absolute error")
    assert str(errors) == "best mean absolute error 1.5000 with k=1, weights='distance'"


def test_the_html_of_a_tuning_is_a_table_of_k_by_weights_with_the_best_in_bold():
    tuning = tuning_of((1, "uniform", 0.5), (3, "uniform", 0.75), (1, "<lambda>", 0.5), (3, "<lambda>", 0.75))
    assert without_styles(tuning._repr_html_()) == (
        "<div><div>accuracy, 10 passages of faq</div>"
        "<table><thead><tr><th>k</th><th>uniform</th><th>&lt;lambda&gt;</th></tr></thead>"
        "<tbody><tr><td>1</td><td>0.5000</td><td>0.5000</td></tr>"
        "<tr><td>3</td><td><b>0.7500</b></td><td>0.7500</td></tr></tbody></table></div>"
    )


@pytest.mark.parametrize(("suffix", "signature"), [("png", b"\x89PNG\r\n\x1a\n"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_the_plot_is_saved_in_the_format_of_its_suffix(tmp_path, suffix, signature):
    path = tmp_path / f"tuning.{suffix}"
    for where in (path, str(path)):
        tuning_of((1, "uniform", 0.5), (3, "uniform", 0.75), (1, "distance", 0.5), (3, "distance", 0.7)).plot(where)
        written = path.read_bytes()
        assert written.startswith(signature)
        assert len(written) > 4_000
        path.unlink()


def test_the_plot_has_a_line_for_each_kind_of_weights():
    figure = tuning_of((1, "uniform", 0.5), (3, "uniform", 0.75), (1, "distance", 0.5), (3, "distance", 0.7)).plot()
    [axes] = figure.axes
    lines = {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines}
    assert lines == {"uniform": ([1, 3], [0.5, 0.75]), "distance": ([1, 3], [0.5, 0.7])}
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_title()) == ("k", "accuracy", "faq: 10 passages")
    assert [text.get_text() for text in axes.texts] == ["k=3: 0.750"]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["uniform", "distance"]


def test_callables_of_any_name_stand_in_the_plot(fill, plane, tuned):
    def _private(distances):
        return 1 / (1 + distances)

    fill({f"d{n}": (f"{n} 0", "ab"[n % 2]) for n in range(6)})
    tuning = tuned(plane, [1, 3], [_private])
    figure = tuning.plot()
    assert [line.get_label() for line in figure.axes[0].lines] == ["_private"]
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["_private"]


def test_two_callables_of_one_name_keep_their_own_scores(fill, plane, tuned):
    fill({f"d{n}": (f"{n} 0", "ab"[n > 2]) for n in range(6)})
    tuning = tuned(plane, [1, 3], [lambda d: 1 / d, lambda d: d * 0])
    assert len(tuning.plot().axes[0].lines) == 2
    assert tuning._repr_html_().count("<th ") == 3


def test_a_picture_shows_itself_without_pyplot(fill, plane, tuned):
    fill({f"d{n}": (f"{n} 0", "ab"[n % 2]) for n in range(6)})
    assert tuned(plane, [1, 3]).plot()._repr_png_().startswith(b"\x89PNG")
