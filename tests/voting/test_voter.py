import asyncio
import math
import re
from collections.abc import Sequence

import numpy as np
import pytest
import redis
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

from ragknn import (
    AsyncIndex,
    AsyncIndexer,
    AsyncLabelVoter,
    AsyncRetriever,
    Document,
    HashingEmbedder,
    Index,
    Indexer,
    InvalidVectors,
    LabelVoter,
    Neighbor,
    Passage,
    Retrieval,
    Retriever,
    Splitter,
    Vote,
)


class Plane:
    """Embeds a text that begins with two numbers at that point of the plane; what follows does not matter."""

    name, dim, max_tokens = "tests/plane", 2, None

    def embed_documents(self, texts: Sequence[str]):
        return np.array([[float(word) for word in text.split()[:2]] for text in texts], dtype=np.float32).reshape(-1, 2)

    embed_queries = embed_documents


HERE = "0 0"


@pytest.fixture
def plane(faces, redis_url, index_name):
    """An open index of the plane with Euclidean distances, empty."""
    with faces.index(index_name, url=redis_url, embedder=Plane(), metric="l2") as index:
        yield index


@pytest.fixture
def fill(faces, plane):
    """Adds documents to the plane: `fill(id=(text, label), ...)`, each one passage unless a splitter is named."""

    def add(documents, splitter=None):
        made = [Document(name, text, label) for name, (text, label) in documents.items()]
        report = faces.indexer(plane, *([splitter] if splitter else [])).add(made)
        assert (report.failed, report.added) == ((), len(made))

    return add


@pytest.fixture
def voter(faces, plane):
    """Makes voters on the plane."""
    return lambda *args, **kwargs: faces.voter(faces.retriever(plane), *args, **kwargs)


def neighbor(name, text, label, distance):
    return Neighbor(Passage(f"{name}#0", name, text, 0, len(text), label), distance)


def ids(vote):
    return [neighbor.passage.document_id for neighbor in vote.neighbors]


class Commands:
    """What reaches the server about one index while the block runs, each command as its words."""

    def __init__(self, client, index_name):
        self._client, self._marks = client, index_name
        self.all: list[list[str]] = []

    def __enter__(self):
        self._monitor = self._client.monitor()
        self._monitor.__enter__()
        return self.all

    def __exit__(self, *error):
        # The monitor shows the commands of all clients in order: what came before this one is all there was.
        self._client.echo(f"end of {self._marks}")
        while (command := self._monitor.next_command()["command"]) != f"ECHO end of {self._marks}":
            if f"ragknn:{self._marks}" in command:
                self.all.append(command.split())
        self._monitor.__exit__(*error)


@pytest.fixture
def commands(client, index_name):
    """`with commands as sent:` collects the commands about this test's index."""
    return Commands(client, index_name)


def searches(sent):
    return [words for words in sent if words[0] == "FT.SEARCH" and "[KNN" in " ".join(words)]


# ---- a vote ----------------------------------------------------------------------------------------------------

FIVE = {
    "one": ("1 0 east", "x"),
    "two": ("0 2 north", "y"),
    "four": ("0 -4 south", "y"),
    "five": ("3 4", "x"),
    "ten": ("-6 8", "z"),
}


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


# ---- as scikit-learn -------------------------------------------------------------------------------------------

TOPICS = ["bank", "loan", "card", "rate", "cash"]


def sentences(count, seed):
    """Texts of random words, half of them of their topic, and the topic of each; no two are equally far."""
    generator = np.random.default_rng(seed)
    topics = generator.integers(0, len(TOPICS), count)
    return [
        " ".join(
            f"{TOPICS[topic]}{generator.integers(9)}" if generator.random() < 0.3 else f"word{generator.integers(60)}"
            for _ in range(generator.integers(8, 20))
        )
        for topic in topics
    ], [TOPICS[topic] for topic in topics]


TRAIN, TRUTH = sentences(300, 1)
TEST, _ = sentences(80, 2)
EMBEDDER = HashingEmbedder(128)
TRAIN_VECTORS, TEST_VECTORS = EMBEDDER.embed_documents(TRAIN), EMBEDDER.embed_queries(TEST)
VALUES = np.random.default_rng(3).normal(size=300).round(3)
# The server reckons in float32. A neighbor that is nearer than the next one by more than this is so in both.
APART = 1e-6


@pytest.fixture
def filled(faces, redis_url, index_name):
    """An index of the 300 labelled texts, for voters that vote as scikit-learn does."""
    with faces.index(index_name, url=redis_url, embedder=EMBEDDER) as index:
        faces.indexer(index).add([Document(str(n), text, TRUTH[n]) for n, text in enumerate(TRAIN)])
        yield index


def determined(model, count):
    """Tell for which of the first test texts the k nearest are the same whatever the rounding; it is nearly all."""
    if model.n_neighbors == len(TRAIN):
        return np.full(count, True)
    distances, _ = model.kneighbors(TEST_VECTORS[:count], n_neighbors=model.n_neighbors + 1)
    found = distances[:, -1] - distances[:, -2] > APART
    assert found.mean() > 0.9
    return found


@pytest.mark.parametrize(("k", "count"), [(1, 80), (2, 80), (5, 80), (20, 20), (300, 5)])
@pytest.mark.parametrize(
    "weights", ["uniform", "distance", lambda d: np.exp(-4 * d)], ids=["uniform", "distance", "exp"]
)
def test_classes_are_predicted_as_scikit_learn_predicts_them(faces, filled, weights, k, count):
    model = KNeighborsClassifier(k, weights=weights, metric="cosine", algorithm="brute").fit(TRAIN_VECTORS, TRUTH)
    voter = faces.voter(faces.retriever(filled), k, weights=weights, count_duplicates=True)
    shares, expected = voter.predict_proba(TEST[:count]), model.predict_proba(TEST_VECTORS[:count])
    same = determined(model, count)
    assert voter.classes_.tolist() == model.classes_.tolist()
    np.testing.assert_allclose(shares[same], expected[same], rtol=0, atol=1e-5)
    # With equal weights every tie counts; else two shares closer than the roundings have no order.
    upper = np.sort(expected, axis=1)[:, ::-1]
    clear = same if weights == "uniform" else same & (upper[:, 0] - upper[:, 1] > 1e-5)
    assert clear.mean() > 0.9
    assert voter.predict(TEST[:count])[clear].tolist() == model.predict(TEST_VECTORS[:count])[clear].tolist()


@pytest.mark.parametrize("weights", ["uniform", "distance"])
def test_numbers_are_averaged_as_scikit_learn_averages_them(faces, redis_url, index_name, weights):
    with faces.index(index_name, url=redis_url, embedder=EMBEDDER) as index:
        faces.indexer(index).add([Document(str(n), text, float(VALUES[n])) for n, text in enumerate(TRAIN)])
        for k, count in ((1, 80), (7, 80), (300, 5)):
            model = KNeighborsRegressor(k, weights=weights, metric="cosine", algorithm="brute")
            model.fit(TRAIN_VECTORS, VALUES)
            voter = faces.voter(faces.retriever(index), k, weights=weights, count_duplicates=True)
            found, expected = voter.predict(TEST[:count]), model.predict(TEST_VECTORS[:count])
            same = determined(model, count)
            assert (found.dtype, found.shape) == (np.float64, (count,))
            np.testing.assert_allclose(found[same], expected[same], rtol=0, atol=1e-5)


def test_leaving_each_text_out_of_its_own_vote_is_what_kneighbors_without_x_does(filled, faces):
    model = KNeighborsClassifier(5, metric="cosine", algorithm="brute").fit(TRAIN_VECTORS, TRUTH)
    distances, rows = model.kneighbors()
    apart = np.diff(model.kneighbors(n_neighbors=6)[0], axis=1).min(axis=1) > APART
    voter = faces.voter(faces.retriever(filled), 5, count_duplicates=True)
    assert apart[:40].mean() > 0.9
    for n in np.flatnonzero(apart[:40]):
        vote = voter.vote(TRAIN[n], exclude=[str(n)])
        assert [int(name) for name in ids(vote)] == rows[n].tolist()
        assert [neighbor.distance for neighbor in vote.neighbors] == pytest.approx(distances[n], abs=1e-5)


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


# ---- who votes -------------------------------------------------------------------------------------------------

WORDS = Splitter(3, 0, "words")


def test_a_document_has_one_vote_for_its_nearest_passage(fill, voter):
    passages = ["1 0 a", "1.5 0 b", "2 0 c", "2.5 0 d"]
    fill({"long": (" ".join(passages), "many"), "b": ("3 0 e", "few"), "c": ("4 0 f", "few")}, WORDS)
    vote = voter(k=3).vote(HERE)
    assert (vote.label, ids(vote), [n.passage.id for n in vote.neighbors]) == (
        *("few", ["long", "b", "c"]),
        ["long#0", "b#0", "c#0"],
    )
    assert vote.shares == {"few": 2 / 3, "many": 1 / 3}


def test_a_document_has_as_many_votes_as_passages_if_it_is_told_so(fill, voter):
    passages = ["1 0 a", "1.5 0 b", "2 0 c", "2.5 0 d"]
    fill({"long": (" ".join(passages), "many"), "b": ("3 0 e", "few"), "c": ("4 0 f", "few")}, WORDS)
    vote = voter(k=3, one_vote_per_document=False).vote(HERE)
    assert (vote.label, [n.passage.id for n in vote.neighbors]) == ("many", ["long#0", "long#1", "long#2"])


def test_k_votes_need_k_labelled_passages_if_each_of_them_votes(fill, voter):
    fill({"long": ("1 0 a 1.5 0 b 2 0 c 2.5 0 d", "many"), "b": ("3 0 e", "few")}, WORDS)
    vote = voter(k=5, one_vote_per_document=False).vote(HERE)
    assert (vote.label, len(vote.neighbors)) == ("many", 5)
    with pytest.raises(ValueError, match="expected k <= 5, the number of labelled passages in index"):
        voter(k=6, one_vote_per_document=False).vote(HERE)


def test_exact_duplicates_vote_once_unless_they_are_counted(fill, voter):
    fill({"a": ("1 0 same", "x"), "b": ("1 0 same", "x"), "c": ("1 0 same", "x"), "d": ("2 0", "y"), "e": ("3 0", "y")})
    vote = voter(k=3).vote(HERE)
    assert (vote.label, vote.shares, ids(vote)[1:]) == ("y", {"y": 2 / 3, "x": 1 / 3}, ["d", "e"])
    counted = voter(k=3, count_duplicates=True).vote(HERE)
    assert (counted.label, sorted(ids(counted))) == ("x", ["a", "b", "c"])


def test_duplicates_with_different_labels_vote_for_each(fill, voter):
    fill({"a": ("1 0 same", "x"), "b": ("1 0 same", "y"), "c": ("1 0 same", "x"), "d": ("2 0", "z")})
    assert voter(k=3).vote(HERE).shares == {"x": 1 / 3, "y": 1 / 3, "z": 1 / 3}


def test_texts_that_differ_are_no_duplicates_though_they_lie_at_one_point(fill, voter):
    fill({"a": ("1 0 one", "x"), "b": ("1 0 two", "x"), "c": ("2 0", "y")})
    assert voter(k=3).vote(HERE).shares == {"x": 2 / 3, "y": 1 / 3}


def test_ready_vectors_are_duplicates_where_they_are_equal(faces, redis_url, index_name):
    with faces.index(index_name, url=redis_url, dim=2, metric="l2") as index:
        points = [[1, 0], [1, 0], [2, 0], [3, 0]]
        assert faces.indexer(index).add_vectors(["a", "b", "c", "d"], points, labels=["x", "x", "y", "y"]).added == 4
    with faces.index(index_name, url=redis_url, embedder=Plane()) as index:
        retriever = faces.retriever(index)
        assert faces.voter(retriever, 3).vote(HERE).shares == {"y": 2 / 3, "x": 1 / 3}
        assert faces.voter(retriever, 3, count_duplicates=True).vote(HERE).shares == {"x": 2 / 3, "y": 1 / 3}
        # No text and no digest: nothing tells that these two are equal, and both vote.
        found = [Neighbor(Passage(f"{name}#0", name, "", 0, 0, "x"), 1.0) for name in "ab"]
        assert ids(faces.voter(retriever, 3).vote_on(Retrieval(found))) == ["a", "b"]


def test_excluded_documents_do_not_vote_and_others_take_their_place(fill, voter):
    fill({f"d{n}": (f"{n} 1", "near" if n < 10 else "far") for n in range(30)})
    asked = voter(k=5)
    assert ids(asked.vote(HERE)) == ["d0", "d1", "d2", "d3", "d4"]
    assert ids(asked.vote(HERE, exclude=["d0"])) == ["d1", "d2", "d3", "d4", "d5"]
    assert ids(asked.vote(HERE, exclude={"d1", "d3", "nobody"})) == ["d0", "d2", "d4", "d5", "d6"]
    most = [f"d{n}" for n in range(20)]
    assert ids(asked.vote(HERE, exclude=most)) == ["d20", "d21", "d22", "d23", "d24"]
    assert asked.predict([HERE], exclude=most).tolist() == ["far"]
    assert asked.predict_proba([HERE], exclude=most).tolist() == [[1.0, 0.0]]
    assert [ids(vote) for vote in asked.vote_many([HERE], exclude=("d0",))] == [["d1", "d2", "d3", "d4", "d5"]]


def test_all_passages_of_an_excluded_document_are_left_out(fill, voter):
    fill(
        {"long": (" ".join(f"{n} 0 p{n}" for n in range(1, 40)), "x"), "b": ("90 0 e", "y"), "c": ("91 0 f", "y")},
        WORDS,
    )
    for one_vote in (True, False):
        assert ids(voter(k=2, one_vote_per_document=one_vote).vote(HERE, exclude=["long"])) == ["b", "c"]


def test_passages_without_a_label_never_vote_even_if_they_are_the_nearest(fill, voter):
    fill(
        {f"u{n}": (f"0.{n + 10} 0", None) for n in range(50)}
        | {"a": ("5 0", "x"), "b": ("6 0", "y"), "c": ("7 0", "y")}
    )
    vote = voter(k=3).vote(HERE)
    assert (vote.label, ids(vote)) == ("y", ["a", "b", "c"])


def test_passages_without_a_label_that_come_after_the_first_vote_do_not_vote_either(fill, voter):
    fill({"a": ("5 0", "x"), "b": ("6 0", "y"), "c": ("7 0", "y")})
    asked = voter(k=3)
    before = asked.vote(HERE)
    fill({f"u{n}": (f"0.{n + 10} 0", None) for n in range(50)})
    assert asked.vote(HERE) == before
    assert asked.predict([HERE]).tolist() == ["y"]


def test_k_documents_vote_though_the_nearest_passages_belong_to_few(fill, voter):
    near = {f"n{d}": (" ".join(f"{d + 1} 0.{p + 10} p{d}-{p}" for p in range(60)), "near") for d in range(3)}
    far = {f"f{d}": (f"{50 + d} 0 q{d}", "far") for d in range(10)}
    fill(near | far, WORDS)
    vote = voter(k=8).vote(HERE)
    assert ids(vote) == ["n0", "n1", "n2", "f0", "f1", "f2", "f3", "f4"]
    assert (vote.label, vote.complete) == ("far", True)


def test_k_different_texts_vote_though_the_nearest_are_duplicates(fill, voter):
    fill({f"s{n}": ("1 0 same", "x") for n in range(100)} | {f"d{n}": (f"{2 + n} 0", "y") for n in range(5)})
    vote = voter(k=4).vote(HERE)
    assert (vote.label, ids(vote)[1:]) == ("y", ["d0", "d1", "d2"])


def test_fewer_than_k_vote_where_the_index_has_no_more_that_may(fill, voter):
    fill({f"s{n}": ("1 0 same", "x") for n in range(9)} | {"d": ("2 0", "y")})
    vote = voter(k=5).vote(HERE)
    assert (vote.label, len(vote.neighbors), vote.shares) == ("x", 2, {"x": 0.5, "y": 0.5})


def test_only_queries_with_too_few_voters_are_asked_again(fill, voter, commands):
    fill({f"s{n}": ("1 0 same", "x") for n in range(40)} | {f"d{n}": (f"{50 + n} 0", "y") for n in range(30)})
    asked = voter(k=4)
    asked.refresh()
    with commands as sent:
        votes = asked.vote_many(["100 0", "0 0", "101 0", "102 0"])
    assert [len(vote.neighbors) for vote in votes] == [4] * 4
    breadths = [int(words[words.index("k") + 1]) for words in searches(sent)]
    assert breadths[:4] == [breadths[0]] * 4
    assert len(breadths) > 4
    assert breadths[3:] == sorted(set(breadths[3:]))  # one more search at a time, for the text in the middle of them


# ---- abstaining ------------------------------------------------------------------------------------------------


def test_a_vote_abstains_where_too_few_are_near_enough(fill, voter):
    fill(FIVE)
    asked = voter(k=3, max_distance=2.5, min_votes=3)
    vote = asked.vote(HERE)
    assert (vote.label, vote.abstained, vote.reason) == (
        *(None, True),
        "expected at least 3 votes within distance 2.5, got 2",
    )
    assert (ids(vote), vote.shares, vote.weights) == (["one", "two"], {"x": 0.5, "y": 0.5}, (0.5, 0.5))
    assert asked.predict([HERE]).tolist() == [None]
    assert asked.predict_proba([HERE]).tolist() == [[0.5, 0.5, 0.0]]


def test_max_distance_is_the_last_at_which_a_neighbor_votes(fill, voter):
    fill(FIVE)
    assert ids(voter(k=5, max_distance=2.0).vote(HERE)) == ["one", "two"]
    assert ids(voter(k=5, max_distance=1.999).vote(HERE)) == ["one"]
    nobody = voter(k=5, max_distance=0.5).vote(HERE)
    assert nobody == Vote(None, {}, (), (), True, "expected at least 1 votes within distance 0.5, got 0")
    assert voter(k=5, max_distance=0.5).predict_proba([HERE]).tolist() == [[0, 0, 0]]


def test_a_search_goes_no_further_than_max_distance(fill, voter, commands):
    # What lies behind is one text many times: without the limit, all of it would be looked through for a fourth voter.
    fill({f"s{n}": ("1 0 same", "x") for n in range(40)} | {f"d{n}": ("5 0 same", "y") for n in range(200)})
    asked = voter(k=4, max_distance=3.0)
    asked.refresh()
    with commands as sent:
        assert len(asked.vote(HERE).neighbors) == 1
    breadths = [int(words[words.index("k") + 1]) for words in searches(sent)]
    assert [breadth for breadth in breadths if breadth > 40] == breadths[-1:]
    assert breadths[-1] < 240


def test_a_vote_abstains_where_too_few_may_vote(fill, voter):
    fill(FIVE)
    vote = voter(k=5, min_votes=3).vote(HERE, exclude=["one", "two", "ten"])
    assert (vote.label, vote.abstained, vote.reason) == (None, True, "expected at least 3 votes, got 2")
    assert voter(k=5, min_votes=3).vote(HERE, exclude=["one", "two"]).abstained is False


def test_a_vote_abstains_where_the_winning_share_is_small(fill, voter):
    fill(FIVE)
    asked = voter(k=3, min_share=0.7)
    vote = asked.vote(HERE)
    assert (vote.label, vote.abstained, vote.reason) == (None, True, "expected a share of at least 0.7, got 0.67")
    assert vote.shares == {"y": 2 / 3, "x": 1 / 3}
    assert asked.predict([HERE, "0 3"]).tolist() == [None, None]
    assert asked.predict_proba([HERE]).tolist() == [[1 / 3, 2 / 3, 0]]  # abstaining hides the label, not the shares
    assert voter(k=3, min_share=2 / 3).vote(HERE).label == "y"  # as much as is asked for is enough


def test_a_vote_abstains_where_all_weights_are_zero(fill, voter):
    fill(FIVE)
    asked = voter(k=3, weights=np.zeros_like)
    vote = asked.vote(HERE)
    assert (vote.label, vote.shares, vote.weights) == (None, {}, (0, 0, 0))
    assert (vote.abstained, vote.reason) == (True, "expected votes that weigh something, got only weights of 0")
    assert asked.predict([HERE]).tolist() == [None]


def test_numbers_abstain_as_nan(fill, voter):
    fill({"a": ("1 0", 1.0), "b": ("0 2", 2.0), "c": ("90 90", 6.0)})
    asked = voter(k=2, max_distance=5, min_votes=2)
    found = asked.predict([HERE, "80 80", "1 1"])
    assert (found[0], math.isnan(found[1]), found[2]) == (1.5, True, 1.5)
    assert asked.vote("80 80") == Vote(None, {}, (), (), True, "expected at least 2 votes within distance 5, got 0")
    weightless = voter(k=2, weights=np.zeros_like).vote(HERE)
    assert (weightless.label, weightless.abstained) == (None, True)
    assert voter(k=2, min_share=1.0).vote(HERE).label == 1.5  # numbers have no shares


# ---- priors ----------------------------------------------------------------------------------------------------


def test_balanced_priors_divide_each_share_by_how_frequent_its_class_is(fill, voter):
    # Eight documents of x, two of y; among the five nearest stand three of x and both of y.
    near = {"x0": ("1 0", "x"), "x1": ("2 0", "x"), "x2": ("3 0", "x"), "y0": ("4 0", "y"), "y1": ("5 0", "y")}
    fill(near | {f"z{n}": (f"{10 + n} 0", "x") for n in range(5)})
    assert voter(k=5).vote(HERE).shares == {"x": 0.6, "y": 0.4}
    asked = voter(k=5, priors="balanced")
    vote = asked.vote(HERE)
    total = 0.6 / 8 + 0.4 / 2
    assert vote.label == "y"
    assert dict(vote.shares) == pytest.approx({"y": 0.4 / 2 / total, "x": 0.6 / 8 / total}, abs=1e-12)
    assert list(vote.shares) == ["y", "x"]
    assert vote.weights == (0.2,) * 5
    assert asked.predict_proba([HERE])[0].tolist() == [vote.shares["x"], vote.shares["y"]]
    assert (
        voter(k=5, priors="balanced", min_share=0.8).vote(HERE).reason == "expected a share of at least 0.8, got 0.73"
    )


def test_balanced_priors_count_documents_and_not_passages(fill, voter):
    fill({"long": ("1 0 a 2 0 b 3 0 c 4 0 d", "x"), "b": ("5 0 e", "y")}, WORDS)
    assert voter(k=2, priors="balanced").vote(HERE).shares == {"x": 0.5, "y": 0.5}


# ---- one retrieval serves both uses ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rules",
    [{}, {"weights": "distance"}, {"one_vote_per_document": False}, {"min_share": 0.9}, {"max_distance": 2.0}],
    ids=str,
)
def test_voting_on_a_retrieval_is_the_vote_of_its_query(faces, plane, fill, voter, rules):
    fill(FIVE | {"none": ("0.5 0", None), "long": ("1 1 a 1 2 b 1 3 c", "z")})
    retrieval = faces.retriever(plane).retrieve(HERE, k=20)
    asked = voter(k=4, **rules)
    assert asked.vote_on(retrieval) == asked.vote(HERE)
    assert voter(k=4, **rules).vote_on(retrieval) == asked.vote(HERE)  # one that never asked Redis
    assert asked.vote_on(retrieval, exclude=["one"]) == asked.vote(HERE, exclude=["one"])


def test_voting_on_a_retrieval_asks_redis_nothing(faces, plane, fill, voter, commands):
    fill(FIVE)
    retrieval = faces.retriever(plane).retrieve(HERE, k=3)
    asked = voter(k=3)
    with commands as sent:
        vote = asked.vote_on(retrieval)
    assert sent == []
    assert (vote.label, ids(vote)) == ("y", ["one", "two", "four"])


def test_a_closed_index_is_no_hindrance_to_voting_on_what_it_found(faces, redis_url, index_name):
    with faces.index(index_name, url=redis_url, embedder=Plane(), metric="l2") as index:
        faces.indexer(index).add([Document(name, *rest) for name, rest in FIVE.items()])
        retriever = faces.retriever(index)
        retrieval = retriever.retrieve(HERE, k=5)
    assert faces.voter(retriever, 3).vote_on(retrieval).label == "y"


def test_voting_on_a_retrieval_works_on_numbers(faces, plane, fill, voter):
    fill({"a": ("1 0", 1.0), "b": ("0 2", 2.0), "c": ("0 4", 6.0)})
    assert voter(k=3).vote_on(faces.retriever(plane).retrieve(HERE)).label == 3.0


@pytest.mark.parametrize("found", [[], [neighbor("u", "0 0", None, 0.0)]], ids=["nothing", "nothing labelled"])
def test_voting_on_a_retrieval_without_labels_abstains(faces, plane, fill, voter, found):
    expected = Vote(None, {}, (), (), True, "expected at least 1 votes, got 0")
    assert voter(k=3).vote_on(Retrieval(found)) == expected
    fill(FIVE)
    asked = voter(k=3)
    asked.refresh()
    assert asked.vote_on(Retrieval(found)) == expected


def test_what_a_retrieval_lacks_is_told_by_the_vote_on_it(voter):
    retrieval = Retrieval([neighbor("a", "1 0", "x", 1.0)], complete=False, warnings=["late"])
    expected = Vote("x", {"x": 1.0}, retrieval.neighbors, (1.0,), complete=False, warnings=("late",))
    assert voter(k=3).vote_on(retrieval) == expected


def test_duplicates_in_a_retrieval_made_elsewhere_are_known_by_their_text(voter):
    # They carry no digest, as passages that were stored do.
    found = [neighbor("a", "same", "x", 1.0), neighbor("b", "same", "x", 1.0), neighbor("c", "other", "y", 2.0)]
    assert ids(voter(k=3).vote_on(Retrieval(found))) == ["a", "c"]
    assert ids(voter(k=3, count_duplicates=True).vote_on(Retrieval(found))) == ["a", "b", "c"]


def test_priors_need_the_labels_to_be_counted(faces, plane, fill, voter):
    fill(FIVE)
    retrieval = faces.retriever(plane).retrieve(HERE)
    asked = voter(k=3, priors="balanced")
    with pytest.raises(ValueError, match=r"expected the labels to be counted before priors are balanced: call refresh"):
        asked.vote_on(retrieval)
    asked.refresh()
    assert asked.vote_on(retrieval) == asked.vote(HERE)


def test_voting_on_mixed_labels_is_refused(voter):
    found = Retrieval([neighbor("a", "1 0", "x", 1.0), neighbor("b", "2 0", 2, 2.0)])
    with pytest.raises(ValueError, match="expected labels that are all strings or all numbers, got 'x' and 2"):
        voter(k=2).vote_on(found)


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


# ---- what travels ----------------------------------------------------------------------------------------------


def returned(words):
    start = words.index("RETURN")
    return words[start + 2 : start + 2 + int(words[start + 1])]


def test_only_labels_digests_and_distances_travel_when_nobody_asks_for_text(fill, voter, commands):
    fill(FIVE)
    asked = voter(k=3)
    with commands as sent:
        asked.predict([HERE])
        asked.predict_proba([HERE])
    assert [returned(words) for words in searches(sent)] == [["label", "digest", "distance"]] * 2


def test_a_vote_brings_the_whole_passages(fill, voter, commands):
    fill(FIVE)
    with commands as sent:
        voter(k=3).vote(HERE)
    [words] = searches(sent)
    assert returned(words) == ["text", "start", "end", "label", "metadata", "digest", "distance"]


def test_many_texts_are_one_round_trip_of_searches_after_the_labels_are_counted(fill, voter, commands):
    fill(FIVE)
    asked = voter(k=2)
    asked.refresh()
    with commands as sent:
        asked.predict([HERE] * 50)
    assert {words[0] for words in sent} <= {"FT.SEARCH", "FT.INFO"}  # the latter looks whether the index is whole
    assert len(searches(sent)) == 50


def test_more_texts_than_go_into_one_round_trip_all_get_a_label(fill, voter):
    fill(FIVE)
    assert voter(k=1).predict([HERE, "0 2", "-6 8"] * 700).tolist() == ["x", "y", "z"] * 700


def test_metadata_come_with_the_neighbors_of_a_vote(faces, plane, voter):
    faces.indexer(plane).add([Document("a", "1 0", "x", {"source": "<file>", "n": [1, 2]})])
    assert voter(k=1).vote(HERE).neighbors[0].passage.metadata == {"source": "<file>", "n": [1, 2]}


@pytest.mark.parametrize("protocol", [2, 3])
def test_votes_are_the_same_over_both_protocols_and_with_decoded_replies(redis_url, index_name, protocol):
    for decode in (False, True):
        with (
            redis.Redis.from_url(redis_url, protocol=protocol, decode_responses=decode) as client,
            Index(index_name, client=client, embedder=Plane(), metric="l2") as index,
        ):
            Indexer(index).add([Document(name, *rest) for name, rest in FIVE.items()])
            voter = LabelVoter(Retriever(index), 3)
            assert (voter.vote(HERE).label, ids(voter.vote(HERE))) == ("y", ["one", "two", "four"])
            assert voter.predict([HERE]).tolist() == ["y"]


@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
@pytest.mark.parametrize("algorithm", ["flat", "hnsw"])
def test_every_metric_and_algorithm_votes(faces, redis_url, index_name, metric, algorithm):
    with faces.index(index_name, url=redis_url, embedder=Plane(), metric=metric, algorithm=algorithm) as index:
        documents = [Document(f"d{n}", f"{math.cos(n / 9)} {math.sin(n / 9)}", "ab"[n > 2]) for n in range(9)]
        faces.indexer(index).add([*documents, Document("none", "1 0", None)])
        retriever = faces.retriever(index)
        vote = faces.voter(retriever, 5).vote("1 0")
        assert (vote.label, ids(vote)) == ("a", ["d0", "d1", "d2", "d3", "d4"])
        assert vote.shares == {"a": 0.6, "b": 0.4}
        if metric == "ip":
            with pytest.raises(ValueError, match="expected distances >= 0 for weights='distance', got negative ones"):
                faces.voter(retriever, 5, weights="distance").vote("9 0")
        else:
            assert faces.voter(retriever, 5, weights="distance").vote("1 0").label == "a"


def test_async_voters_wait_side_by_side(redis_url, index_name):
    # Many tasks share one voter that has not counted the labels yet.
    async def votes():
        async with AsyncIndex(index_name, url=redis_url, embedder=Plane(), metric="l2") as index:
            await AsyncIndexer(index).add([Document(name, *rest) for name, rest in FIVE.items()])
            voter = AsyncLabelVoter(AsyncRetriever(index), 1)
            return await asyncio.gather(*(voter.vote(text) for text in [HERE, "0 2", "-6 8"] * 5))

    assert [vote.label for vote in asyncio.run(votes())] == ["x", "y", "z"] * 5


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
    with pytest.raises(TypeError, match="expected a query of type str, got"):
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
    for escaped in ("&lt;i&gt;", "&lt;script&gt;alert(1)", "&lt;b&gt;label&lt;/b&gt; 100%", "&amp; more"):
        assert escaped in html
    assert "<td>1.00</td><td>0.5000</td>" in html
    abstained = Vote(None, {}, (), (), True, "a share < 0.9")._repr_html_()
    assert "<b>abstained: a share &lt; 0.9</b>" in abstained


def test_the_repr_of_a_voter_names_its_index_and_rules():
    rules = (
        "Rules(k=3, weights='distance', one_vote_per_document=True, count_duplicates=False, max_distance=None, "
        "min_share=0.0, min_votes=1, priors=None)"
    )
    assert repr(LabelVoter(Retriever(Index("faq")), 3, weights="distance")) == f"LabelVoter('faq', {rules})"
    twin = AsyncLabelVoter(AsyncRetriever(AsyncIndex("faq")), 3, weights="distance")
    assert repr(twin) == f"AsyncLabelVoter('faq', {rules})"
