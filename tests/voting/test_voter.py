import math
import re

import numpy as np
import pytest
from points import FIVE, HERE, ids, neighbor
from showing import words_of

from ragknn import (
    AsyncIndex,
    AsyncLabelVoter,
    AsyncRetriever,
    Index,
    InvalidVectors,
    LabelVoter,
    Neighbor,
    Passage,
    Retrieval,
    Retriever,
    Vote,
)

# ---- a vote ----------------------------------------------------------------------------------------------------


def test_a_vote_names_the_label_the_shares_and_the_neighbors_behind_it(fill, voter):
    fill(FIVE)
    neighbors = (
        neighbor("one", "1 0 east", "x", 1.0),
        neighbor("two", "0 2 north", "y", 2.0),
        neighbor("four", "0 -4 south", "y", 4.0),
    )
    third = 1 / 3
    assert voter(k=3).vote(HERE) == Vote("y", {"y": 2 / 3, "x": third}, neighbors, (third, third, third))
    assert voter(k=3, weights="distance").vote(HERE) == Vote(
        "x", {"x": 1 / 1.75, "y": 0.75 / 1.75}, neighbors, (1 / 1.75, 0.5 / 1.75, 0.25 / 1.75)
    )
    assert voter(k=3, weights=lambda d: d).vote(HERE) == Vote(
        "y", {"y": 6 / 7, "x": 1 / 7}, neighbors, (1 / 7, 2 / 7, 4 / 7)
    )
    assert voter(k=1).vote(HERE) == Vote("x", {"x": 1.0}, neighbors[:1], (1.0,))


def test_k_is_5_unless_it_is_named(fill, voter):
    fill(FIVE)
    vote = voter().vote(HERE)
    assert (ids(vote), vote.shares) == (["one", "two", "four", "five", "ten"], {"x": 0.4, "y": 0.4, "z": 0.2})
    assert voter(np.int64(2)).vote(HERE) == voter(2).vote(HERE)


def test_a_neighbor_at_distance_zero_outweighs_all_others(fill, voter):
    fill(FIVE)
    vote = voter(k=3, weights="distance").vote("0 2 query")
    assert (vote.label, dict(vote.shares), vote.weights) == ("y", {"y": 1.0}, (1.0, 0.0, 0.0))


def test_shares_come_largest_first_and_equal_ones_sorted(fill, voter):
    fill({"a": ("1 0", "m"), "b": ("2 0", "c"), "c": ("3 0", "a"), "d": ("4 0", "m"), "e": ("5 0", "z")})
    vote = voter(k=5).vote(HERE)
    assert list(vote.shares.items()) == [("m", 0.4), ("a", 0.2), ("c", 0.2), ("z", 0.2)]


def test_many_votes_are_those_of_each_text(fill, voter):
    fill(FIVE)
    texts = [HERE, "3 3", HERE, "-6 8 q", "100 100"]
    asked = voter(k=3, weights="distance")
    assert asked.vote_many(texts) == [asked.vote(text) for text in texts]
    assert asked.predict(texts).tolist() == [asked.vote(text).label for text in texts]
    assert asked.predict(tuple(texts)).tolist() == asked.predict(texts).tolist()


def test_asking_for_nothing_gives_nothing(fill, voter):
    fill(FIVE)
    asked = voter(k=3)
    assert asked.vote_many([]) == []
    assert asked.predict([]).shape == (0,)
    assert asked.predict_proba([]).shape == (0, 3)


def test_predict_and_predict_proba_are_the_labels_and_shares_of_the_votes(fill, voter):
    fill(FIVE)
    asked = voter(k=3)
    labels, shares = asked.predict([HERE, "-6 8"]), asked.predict_proba([HERE, "-6 8"])
    assert (labels.tolist(), labels.dtype, labels.shape) == (["y", "x"], object, (2,))
    assert asked.classes_.tolist() == ["x", "y", "z"]
    # -6 8 lies nearest to z, then two (0 2) and one (1 0) or five (3 4).
    assert shares.tolist() == [[1 / 3, 2 / 3, 0], [1 / 3, 1 / 3, 1 / 3]]
    assert shares.dtype == np.float64


def test_the_columns_of_predict_proba_hold_classes_that_numpy_would_shorten(fill, voter):
    fill({"a": ("1 0", "n\x00"), "b": ("2 0", "n"), "c": ("3 0", "n\x00")})
    assert voter(k=3).predict_proba([HERE]).tolist() == [[1 / 3, 2 / 3]]


def test_ties_fall_to_the_first_class_in_sorted_order(fill, voter):
    fill({"a": ("1 0", "z"), "b": ("2 0", "a"), "c": ("0 3", "m"), "d": ("0 3 again", "b")})
    assert voter(k=2).vote(HERE).label == "a"
    assert voter(k=4).vote(HERE).label == "a"
    assert voter(k=1).vote(HERE).label == "z"
    assert voter(k=2, weights="distance").vote("1.5 0").label == "a"  # half way between a and z
    assert voter(k=2, weights="distance").vote("0 3").label == "b"  # two at distance zero


# ---- kinds of labels -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "expected", "classes"),
    [
        ([10, 9, 9, 100], 9, [9, 10, 100]),  # sorted as numbers, not as their digits
        ([-1, 1, 0, -1], -1, [-1, 0, 1]),
        ([True, True, True, False], True, [False, True]),
        ([False, True, False, True], False, [False, True]),
        (["10", "9", "9", "100"], "9", ["10", "100", "9"]),
        (["", "ä", "ä", " "], "ä", ["", " ", "ä"]),
    ],
    ids=str,
)
def test_classes_keep_their_type(fill, voter, labels, expected, classes):
    fill({f"d{n}": (f"{n} 1", label) for n, label in enumerate(labels)})
    asked = voter(k=4)
    vote, [predicted] = asked.vote(HERE), asked.predict([HERE])
    assert (vote.label, type(vote.label)) == (expected, type(expected))
    assert (predicted, type(predicted)) == (expected, type(expected))
    assert [(label, type(label)) for label in sorted(vote.shares)] == [(label, type(label)) for label in classes]
    assert asked.classes_.tolist() == classes
    assert asked.classes_.dtype.kind == np.array(classes).dtype.kind
    assert asked.predict_proba([HERE])[0, classes.index(expected)] == vote.shares[expected]


def test_floats_are_averaged_and_have_no_shares(fill, voter):
    fill({"a": ("1 0", 1.0), "b": ("0 2", 2.0), "c": ("0 4", 6.0), "d": ("9 9", -3.0)})
    expected = (
        neighbor("a", "1 0", 1.0, 1.0),
        neighbor("b", "0 2", 2.0, 2.0),
        neighbor("c", "0 4", 6.0, 4.0),
    )
    asked = voter(k=3)
    assert asked.vote(HERE) == Vote(3.0, {}, expected, (1 / 3, 1 / 3, 1 / 3))
    by_distance = voter(k=3, weights="distance").vote(HERE)
    assert by_distance.label == pytest.approx((1 + 1 + 1.5) / 1.75, abs=1e-12)
    assert asked.predict([HERE]).tolist() == [3.0]
    with pytest.raises(ValueError, match="expected classes, got numbers as labels, which are averaged"):
        asked.predict_proba([HERE])
    with pytest.raises(ValueError, match="expected classes, got numbers as labels, which are averaged"):
        asked.classes_  # noqa: B018  # asking raises


def test_one_float_among_integers_makes_numbers_of_them_all(fill, voter):
    fill({"a": ("1 0", 1), "b": ("2 0", 2), "c": ("50 50", 2.5)})
    assert voter(k=2).vote(HERE).label == 1.5
    assert voter(k=2).predict([HERE]).tolist() == [1.5]


def test_equal_labels_written_as_integer_and_float_are_counted_together(fill, voter):
    fill({"a": ("1 0", 1), "b": ("2 0", 1), "c": ("3 0", 1.0), "d": ("4 0", 2.5), "e": ("5 0", 2.5)})
    asked = voter(k=5)
    assert asked.vote(HERE).label == pytest.approx((1 + 1 + 1 + 2.5 + 2.5) / 5)


@pytest.mark.parametrize("labels", [("billing", 3), ("3", 3.5), (True, "True")])
def test_strings_and_numbers_as_labels_of_one_index_are_refused(fill, voter, labels):
    fill({f"d{n}": (f"{n} 1", label) for n, label in enumerate([*labels, labels[0]])})
    text, number = sorted(labels, key=lambda label: not isinstance(label, str))
    message = re.escape(
        f"expected labels that are all strings or all numbers, got {text!r} and {number!r}: "
        "write the numbers as strings, or keep the two kinds in indexes of their own"
    )
    asked = voter(k=1)
    for ask in (lambda: asked.vote(HERE), lambda: asked.predict([HERE]), lambda: asked.classes_):
        with pytest.raises(ValueError, match=message):
            ask()


# ---- labels that change ----------------------------------------------------------------------------------------


def test_labels_added_after_the_first_vote_are_noticed(fill, voter):
    fill(FIVE)
    asked = voter(k=3)
    assert asked.predict_proba([HERE]).tolist() == [[1 / 3, 2 / 3, 0]]
    fill({"new": ("0 0 new", "a"), "newer": ("0 0 newer", "a")})
    assert asked.vote(HERE).label == "a"
    assert asked.classes_.tolist() == ["a", "x", "y", "z"]
    assert asked.predict_proba([HERE]).tolist() == [[2 / 3, 1 / 3, 0, 0]]


def test_a_float_that_votes_makes_numbers_of_what_were_classes(fill, voter):
    fill({"a": ("1 0", 1), "b": ("2 0", 2)})
    asked = voter(k=2)
    assert asked.predict([HERE]).tolist() == [1]
    fill({"c": ("0 0", 3.5)})
    assert asked.predict([HERE]).tolist() == [2.25]


def test_documents_added_after_a_refusal_are_noticed(fill, voter):
    asked = voter(k=2)
    with pytest.raises(ValueError, match="expected documents with labels"):
        asked.vote(HERE)
    fill({"a": ("1 0", "x")})
    with pytest.raises(ValueError, match="expected k <= 1, the number of labelled documents"):
        asked.vote(HERE)
    fill({"b": ("2 0", "y")})
    assert asked.vote(HERE).label == "x"


def test_refresh_counts_labels_again(fill, voter):
    fill(FIVE)
    asked = voter(k=1)
    asked.refresh()
    assert asked.classes_.tolist() == ["x", "y", "z"]
    fill({"far": ("99 99", "a")})
    assert asked.classes_.tolist() == ["x", "y", "z"]
    asked.refresh()
    assert asked.classes_.tolist() == ["a", "x", "y", "z"]


def test_classes_have_to_be_counted_first(fill, voter):
    fill(FIVE)
    with pytest.raises(ValueError, match=r"expected the labels to be counted: call refresh\(\), or vote, first"):
        voter(k=1).classes_  # noqa: B018  # asking raises


# ---- wrong input -----------------------------------------------------------------------------------------------


def test_an_index_without_labels_is_refused_and_told_how_to_get_some(fill, voter, index_name):
    for passages in (0, 2):
        if passages:
            fill({"a": ("1 0", None), "b": ("2 0", None)})
        message = (
            f"expected documents with labels in index '{index_name}', got none among {passages} passages: "
            "add documents with a label (Document(label=...), a field `label` in files)"
        )
        for ask in (lambda: voter(k=1).vote(HERE), lambda: voter(k=1).predict([HERE])):
            with pytest.raises(ValueError, match=re.escape(message)):
                ask()


def test_a_k_beyond_the_labelled_documents_is_refused(fill, voter, index_name):
    fill(FIVE | {"none": ("0 0", None)})
    message = f"expected k <= 5, the number of labelled documents in index '{index_name}', got k = 6"
    with pytest.raises(ValueError, match=re.escape(message)):
        voter(k=6).vote(HERE)
    with pytest.raises(ValueError, match=re.escape(message)):
        voter(k=6).predict_proba([HERE])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"k": 0}, "expected k >= 1, got 0"),
        ({"k": -3}, "expected k >= 1, got -3"),
        ({"weights": "x"}, "expected weights to be 'uniform', 'distance' or a callable, got 'x'"),
        ({"weights": None}, "expected weights to be 'uniform', 'distance' or a callable, got None"),
        ({"min_share": 2}, "expected min_share between 0 and 1, got 2"),
        ({"min_share": -0.1}, "expected min_share between 0 and 1, got -0.1"),
        ({"min_share": math.nan}, "expected min_share between 0 and 1, got nan"),
        ({"min_votes": 0}, "expected min_votes >= 1, got 0"),
        ({"min_votes": 6}, "expected min_votes <= k = 5, got 6: no vote could ever count"),
        ({"priors": "uniform"}, "expected priors to be None or 'balanced', got 'uniform'"),
    ],
    ids=str,
)
def test_rules_that_cannot_be_are_refused_at_once(faces, plane, arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        faces.voter(faces.retriever(plane), **arguments)


@pytest.mark.parametrize("arguments", [{"k": 2.0}, {"k": "2"}, {"k": None}, {"min_votes": 1.5}], ids=str)
def test_numbers_that_are_no_integers_are_type_errors(faces, plane, arguments):
    with pytest.raises(TypeError):
        faces.voter(faces.retriever(plane), **arguments)


def test_one_id_in_place_of_many_to_exclude_is_a_type_error(fill, voter):
    fill(FIVE)
    asked = voter(k=1)
    for ask in (
        lambda: asked.vote(HERE, exclude="one"),
        lambda: asked.vote_many([HERE], exclude="one"),
        lambda: asked.predict([HERE], exclude="one"),
        lambda: asked.predict_proba([HERE], exclude="one"),
        lambda: asked.vote_on(Retrieval([]), exclude="one"),
    ):
        with pytest.raises(TypeError, match="expected a collection of document ids to exclude, got the str 'one'"):
            ask()


def test_one_text_in_place_of_many_is_a_type_error(fill, voter):
    fill(FIVE)
    asked = voter(k=1)
    for ask in (asked.predict, asked.predict_proba, asked.vote_many):
        with pytest.raises(TypeError, match=f"expected a sequence of queries, got the str '{HERE}'"):
            ask(HERE)


@pytest.mark.parametrize("text", ["", " ", "\n\t"])
def test_a_text_without_words_is_refused(fill, voter, text):
    fill(FIVE)
    asked = voter(k=1)
    for ask in (lambda: asked.vote(text), lambda: asked.predict([HERE, text])):
        with pytest.raises(ValueError, match="expected a query with words in it, got"):
            ask()


@pytest.mark.parametrize("text", [None, 3, b"0 0", ["0 0"]])
def test_a_text_of_another_type_is_a_type_error(fill, voter, text):
    fill(FIVE)
    with pytest.raises(
        TypeError, match=r"expected a (query of type str|sequence of texts, or of vectors in their place)"
    ):
        voter(k=1).vote(text)


def test_an_embedder_that_gives_nan_is_told_so(fill, voter):
    fill(FIVE)
    with pytest.raises(InvalidVectors, match="in row 1: NaN or infinite values"):
        voter(k=1).predict([HERE, "nan 0"])


def test_weights_of_another_shape_are_refused(fill, voter):
    fill(FIVE)
    with pytest.raises(ValueError, match=re.escape("expected weights of shape (1, 3), got (3,) from <function")):
        voter(k=3, weights=lambda d: d[0]).vote(HERE)


# ---- the record ------------------------------------------------------------------------------------------------


def test_the_repr_of_a_vote_shows_a_line_for_each_neighbor():
    found = (neighbor("a", "text", "x", 0.25), neighbor("b", "text", "y", 0.5))
    assert repr(Vote("x", {"x": 2 / 3, "y": 1 / 3}, found, (2 / 3, 1 / 3))) == (
        f"Vote('x', {{x: 0.67, y: 0.33}})\n  0.67  0.2500  {'x':24} a\n  0.33  0.5000  {'y':24} b"
    )
    assert repr(Vote(2.5, {}, found[:1], (1.0,))) == f"Vote(2.5, {{}})\n  1.00  0.2500  {'x':24} a"
    assert repr(Vote(None, {}, (), (), True, "too few")) == "Vote(None, {}, abstained: too few)"


def test_the_html_of_a_vote_escapes_whatever_comes_from_outside():
    passage = Passage("<i>#0", "<i>", "<script>alert(1)</script> & more", 0, 5, "<b>label</b>")
    html = Vote("<b>label</b>", {"<b>label</b>": 1.0}, (Neighbor(passage, 0.5),), (1.0,))._repr_html_()
    for raw in ("<i>", "<script>", "<b>label", "& more"):
        assert raw not in html
    for escaped in ("&lt;i&gt;", "&lt;script&gt;alert(1)", "&lt;b&gt;label&lt;/b&gt;", "100%", "&amp; more"):
        assert escaped in html
    assert words_of(html)[-4:-1] == ["<i>", "weight 1.00", "distance 0.5000"]
    abstained = Vote(None, {}, (), (), True, "a share < 0.9")._repr_html_()
    assert words_of(abstained) == ["abstained", "a share < 0.9", "0 votes"]


def test_the_repr_of_a_voter_names_its_index_and_rules():
    rules = (
        "Rules(k=3, weights='distance', one_vote_per_document=True, count_duplicates=False, max_distance=None, "
        "min_share=0.0, min_votes=1, priors=None)"
    )
    assert repr(LabelVoter(Retriever(Index("faq")), 3, weights="distance")) == f"LabelVoter('faq', {rules})"
    twin = AsyncLabelVoter(AsyncRetriever(AsyncIndex("faq")), 3, weights="distance")
    assert repr(twin) == f"AsyncLabelVoter('faq', {rules})"
