"""Pictures that are readable at a glance: nothing that is written covers anything else that is written."""

import sys
from itertools import combinations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from ragknn import MissingDependency, Scores, Setting, Tuning, Vote, score_votes
from ragknn._display import pictures
from ragknn._display.pictures import add_words, picture
from ragknn.evaluation import Evaluation, Latency, RecallPoint, RecallScan
from ragknn.evaluation._significance import Estimate
from ragknn.evaluation.results import SettingResult


def boxes_of(figure):
    """Return where each text stands on the figure, in pixels, with what it says."""
    figure.draw_without_rendering()
    texts = []
    for axes in figure.axes:
        texts += [*axes.texts, axes.title, axes.xaxis.label, axes.yaxis.label]
        texts += axes.get_legend().get_texts() if axes.get_legend() else []
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            slack = (high - low) / 1000
            ticks = [tick for tick in axis.get_major_ticks() if low - slack <= tick.get_loc() <= high + slack]
            texts += [label for tick in ticks for label in (tick.label1, tick.label2) if label.get_visible()]
    return [(text.get_text(), text.get_window_extent()) for text in texts if text.get_text()]


def check_readable(figure):
    """Refuse a figure with a text that covers another or leaves the figure, or a word that leaves its axes."""
    boxes = boxes_of(figure)
    for (words, box), (others, other) in combinations(boxes, 2):
        common = [min(box.x1, other.x1) - max(box.x0, other.x0), min(box.y1, other.y1) - max(box.y0, other.y0)]
        assert min(common) <= 2, (words, others)  # pixels
    for words, box in boxes:
        assert figure.bbox.padded(1).contains(box.x1, box.y1), words
    for axes in figure.axes:
        frame = axes.get_window_extent().padded(1)
        for text in axes.texts:
            box = text.get_window_extent()
            assert frame.contains(box.x0, box.y0), text
            assert frame.contains(box.x1, box.y1), text


coordinates = st.integers(0, 20)


@hypothesis_settings(max_examples=10)
@given(st.lists(st.tuples(coordinates, coordinates), min_size=1, max_size=7))
@example([(0, 0)] * 7)
@example([(0, 0), (20, 20), (0, 20), (20, 0)])
def test_words_cover_neither_each_other_nor_the_frame_wherever_their_points_are(places):
    with picture(5, 3.8) as figure:
        axes = figure.add_subplot(title="title", xlabel="x", ylabel="y")
        axes.plot(*zip(*places, strict=True), "o")
        add_words(axes, places, [f"word {n}" for n in range(len(places))])
    check_readable(figure)


def scan_of(times, recalls, efs=(10, 20, 50, 100, 200, 500)):
    points = [
        RecallPoint(ef, recall, Latency(time / 1000, time / 500, time / 400, 5))
        for ef, time, recall in zip(efs, times, recalls, strict=False)
    ]
    return RecallScan("$index$", "hnsw", 10, 100, 5_000, 0.99, tuple(points))


SCANS = {
    "steady": scan_of([0.2, 0.25, 0.4, 0.7, 1.2, 2.5], [0.7, 0.85, 0.95, 0.98, 0.995, 1.0]),
    "as quick with each": scan_of([0.53, 0.51, 0.52, 0.53, 0.54, 0.53], [0.69, 0.82, 0.96, 0.997, 1.0, 1.0]),
    "all alike": scan_of([0.5] * 6, [1.0] * 6),
    "one": scan_of([0.5], [0.9]),
    "exact": scan_of([0.5], [1.0], [None]),
}


@pytest.mark.parametrize("scan", SCANS.values(), ids=SCANS)
def test_the_recall_of_an_index_is_readable(scan):
    figure = scan.plot()
    [axes] = figure.axes
    check_readable(figure)
    named = " ".join(text.get_text() for text in axes.texts)
    assert named.startswith("exact" if scan.points[0].ef_runtime is None else "ef 10")
    assert axes.get_xlabel().startswith("median time of one search with a ready vector (ms)")


def result_of(name, mean, time, scores=(0.5, 0.25)):
    latency = None if time is None else Latency(time / 1000, time / 500, time / 400, 5)
    return SettingResult(
        name, {}, {"nDCG@10": Estimate(mean, mean - 0.05, mean + 0.04)}, {"nDCG@10": scores}, (), 0, latency
    )


@pytest.mark.parametrize("times", [(37, 1, 42, 43), (40, 40, 40, 40), (None,) * 4])
def test_an_evaluation_is_readable_where_settings_are_alike(times):
    names = ("vector", "text", "hybrid", "by rank with a long name of its own")
    means = (0.788, 0.68, 0.827, 0.79)
    results = tuple(map(result_of, names, means, times))
    figure = Evaluation("faq", 10, 100, 0.95, {"a": "b"}, 0, results, (), SCANS["steady"]).plot()
    check_readable(figure)
    assert len({axes.get_ylim() for axes in figure.axes[2:]}) == 1  # their bars can be compared


@pytest.mark.parametrize("time", [40.0, None])
def test_of_many_settings_a_legend_tells_the_names(time):
    results = tuple(result_of(f"setting number {n}", 0.7 + n / 1000, time and time + n) for n in range(12))
    figure = Evaluation("faq", 10, 100, 0.95, {"a": "b"}, 0, results, ()).plot()
    check_readable(figure)
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()][1] == "0.701  setting number 1"


def test_a_tuning_is_readable_where_its_lines_are_crowded():
    generator = np.random.default_rng(0)
    kinds = ["uniform", "distance", "a callable with a long name indeed"]
    settings = [Setting(k, kind, 0.7 + generator.random() / 50) for kind in kinds for k in range(1, 30)]
    for scoring in ("accuracy", "mean absolute error"):
        check_readable(Tuning("faq", scoring, 500, tuple(settings)).plot())
    check_readable(Tuning("faq", "mean absolute error", 5, (Setting(1, "uniform", float("nan")),)).plot())
    check_readable(Tuning("faq", "accuracy", 5, (Setting(1, "uniform", 0.5),)).plot())


# ---- confusion -------------------------------------------------------------------------------------------------


def voted(label):
    return Vote(label, {}, (), (), label is None)


def cells_of(figure):
    """Return the numbers in the cells by true and voted label, and the shares by which they are colored."""
    axes = figure.axes[0]
    columns, rows = ([tick.get_text() for tick in ticks] for ticks in (axes.get_xticklabels(), axes.get_yticklabels()))
    numbers = {
        (rows[round(t.get_position()[1])], columns[round(t.get_position()[0])]): t.get_text() for t in axes.texts
    }
    return numbers, np.asarray(axes.images[0].get_array())


def test_a_row_of_the_confusion_picture_is_a_true_label_and_a_column_a_voted_one():
    figure = score_votes(
        ["a", "a", "a", "b", "b"], [voted("a"), voted("a"), voted("b"), voted("b"), voted(None)]
    ).plot()
    numbers, shares = cells_of(figure)
    assert numbers == {("a", "a"): "2", ("a", "b"): "1", ("b", "b"): "1", ("b", "abstained"): "1"}
    np.testing.assert_allclose(shares, [[2 / 3, 1 / 3, 0], [0, 0.5, 0.5]])
    assert figure.axes[0].get_title() == "3 of 5 texts voted right"
    assert (figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()) == ("voted label", "true label")
    check_readable(figure)


@pytest.mark.parametrize(
    "labels", [["a", 'b"', "$c$"], [1, 2, 10], [True, False], ["x" * 60, "y" * 60], ["請求", "🚲", "ไทย"]]
)
def test_labels_of_any_kind_stand_in_the_confusion_picture(labels):
    truth = labels * 3
    check_readable(score_votes(truth, [voted(label) for label in reversed(truth)]).plot())


def test_of_many_labels_those_with_the_most_mistakes_are_drawn():
    labels = [f"label {n:02}" for n in range(50)]
    truth, votes = list(labels), [voted(label) for label in labels]
    truth += labels[::2] * 9
    votes += [voted(label) for label in labels[::-2] * 9]
    figure = score_votes(truth, votes).plot()
    axes = figure.axes[0]
    assert len(axes.get_yticklabels()) == 30
    assert axes.get_title().endswith("the 30 of 50 labels with the most mistakes")
    check_readable(figure)


def test_numbers_are_drawn_voted_against_true():
    figure = score_votes([1.0, 2.0, 3.0, 4.0], [voted(1.5), voted(2.0), voted(None), voted(3.5)]).plot()
    [axes] = figure.axes
    assert axes.collections[0].get_offsets().tolist() == [[1.0, 1.5], [2.0, 2.0], [4.0, 3.5]]
    assert axes.get_title() == "3 texts"


def test_scores_without_outcomes_have_no_picture():
    with pytest.raises(ValueError, match="expected scores with the outcomes of votes, got none"):
        Scores(3, 1.0).plot()


def test_the_confusion_picture_is_saved(tmp_path):
    path = tmp_path / "confusion.png"
    score_votes(["a"], [voted("a")]).plot(path)
    assert path.read_bytes().startswith(b"\x89PNG")


# ---- style -----------------------------------------------------------------------------------------------------


# What the color-blind see of red, green and blue, linear: G. Machado, M. Oliveira, L. Fernandes:
# A physiologically based model for simulation of color vision deficiency. IEEE TVCG 15, 2009; at full severity.
EYES = {
    "most": np.eye(3),
    "protanopia": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    "deuteranopia": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    "tritanopia": [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
}


def seen(color, eyes):
    """Return a color in CIELAB, in which equal distances look equally large, shape (3,)."""
    values = np.array([int(color[place : place + 2], 16) for place in (1, 3, 5)]) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    linear = np.clip(np.asarray(eyes) @ linear, 0, 1)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    x, y, z = (to_xyz @ linear) / (0.9505, 1.0, 1.089)
    x, y, z = (np.cbrt(one) if one > 0.008856 else 7.787 * one + 16 / 116 for one in (x, y, z))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("eyes", EYES.values(), ids=EYES)
def test_colors_can_be_told_apart_by_everyone(eyes):
    pairs = combinations((*pictures.COLORS, pictures.GRAY), 2)
    # About 2 can just be told apart side by side.
    assert min(np.linalg.norm(seen(one, eyes) - seen(other, eyes)) for one, other in pairs) > 10


def test_each_color_has_a_sign_of_its_own():
    assert len(pictures.COLORS) == len(pictures.MARKERS) == len({*pictures.COLORS}) == len({*pictures.MARKERS})
    assert len({pictures.sign(number) for number in range(81)}) == 81


def test_a_picture_leaves_the_settings_of_matplotlib_as_they_were():
    from matplotlib import rcParams

    before = dict(rcParams)
    SCANS["steady"].plot()
    assert dict(rcParams) == before


def test_without_matplotlib_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    pictures.figure_class.cache_clear()
    with pytest.raises(MissingDependency, match=r"ragknn\[plot\]"):
        SCANS["steady"].plot()
    pictures.figure_class.cache_clear()
