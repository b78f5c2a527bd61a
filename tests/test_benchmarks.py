"""The benchmarks can be run: they import, find what they need in the library, and measure what they say."""

import importlib
import json
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
PROGRAMS = sorted(path.stem for path in (ROOT / "benchmarks").glob("*.py"))
# Small runs of what takes neither a model nor new processes.
SMALLEST = [
    ("storing", "hnsw", "--size", "30"),
    ("searching", "one-words", "--size", "40", "--queries", "4"),
    ("searching", "many", "--size", "40", "--queries", "4"),
    ("searching", "tasks", "--size", "40", "--queries", "8"),
    ("searching", "hybrid", "--size", "40", "--queries", "4"),
    ("integrations", "langchain", "--size", "40", "--tasks", "4"),
    ("integrations", "llama-index", "--size", "40", "--tasks", "4"),
    ("syncing", "unchanged", "--size", "40"),
    ("classifying", "pulled", "--size", "60", "--queries", "20"),
    ("growth", "documents", "--largest", "1000"),
]


@pytest.fixture(autouse=True)
def found(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_benchmark_can_be_loaded_and_stands_in_the_readme(name):
    assert callable(importlib.import_module(f"benchmarks.{name}").main)
    assert f"benchmarks.{name}" in (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("run", SMALLEST, ids=lambda run: "-".join(run[:2]))
def test_a_benchmark_keeps_who_took_part_and_how_long_they_took(run, tmp_path, capsys):
    name, part, *sizes = run
    importlib.import_module(f"benchmarks.{name}").main(["--part", part, "--runs", "1", "--save", str(tmp_path), *sizes])
    kept = json.loads((tmp_path / f"{name}.json").read_text(encoding="utf-8"))
    timed = [times for race in kept["races"] for times in race["times"]]
    lines = [line for curve in kept["curves"] for line in curve["lines"]]
    assert "ragknn" in {one["name"] for one in (*timed, *lines)}
    assert all(seconds > 0 for times in timed for seconds in times["seconds"])
    assert all(times["facts"].get("recall", 1) == 1 for times in timed)
    assert kept["where"]["versions"]["redis"]
    assert (tmp_path / f"{name}.svg").stat().st_size > 1_000


def test_other_servers_are_measured_beside_one_here_and_nothing_is_left_on_them(redis_url, client, tmp_path, capsys):
    before = client.execute_command("FT._LIST")
    scale = importlib.import_module("benchmarks.scale")
    scale.main(["--part", "against", "--runs", "1", "--size", "40", "--against", redis_url, "--save", str(tmp_path)])
    kept = json.loads((tmp_path / "scale.json").read_text(encoding="utf-8"))
    assert [[times["name"] for times in race["times"]] for race in kept["races"]] == [["ragknn", redis_url]] * 2
    assert client.execute_command("FT._LIST") == before


def test_contenders_take_turns_and_each_call_is_another():
    racing = importlib.import_module("benchmarks.measuring.racing")
    calls = []
    pair = [racing.Contender(name, lambda call, name=name: calls.append((name, call))) for name in ("ragknn", "other")]
    racing.race("a race", pair, runs=2, calls=15)
    assert calls[:2] == [("ragknn", 0), ("other", 0)]  # to warm up
    assert sorted(calls[2:]) == sorted((name, call) for call in range(30) for name in ("ragknn", "other"))
    assert [name for name, _ in calls[2:]] == (["ragknn"] * 10 + ["other"] * 15 + ["ragknn"] * 5) * 2


def test_a_ratio_above_one_says_that_ragknn_is_quicker():
    racing = importlib.import_module("benchmarks.measuring.racing")
    ours = racing.Times("ragknn", "ours", (1.0, 2.0, 4.0), {})
    peer = racing.Times("peer", "peer", (2.0, 2.0, 16.0), {})
    bare = racing.Times("bare", "floor", (0.5, 0.5, 0.5), {})
    race = racing.Race("a race", (ours, bare, peer))
    assert race.ratio(peer) == racing.Ratio(2.0, 1.0, 4.0)
    assert race.best is peer


@pytest.mark.parametrize("load", [0.3, 0.8])
def test_searches_wait_for_one_node_as_the_theory_of_queues_says(load):
    queueing = importlib.import_module("benchmarks.measuring.queueing")
    takes = 0.002
    node = queueing.Nodes(1, takes, merging=0, spread=0)
    expected = takes * (1 + load / (2 * (1 - load)))  # Pollaczek and Khinchine, for times that are all the same
    assert np.mean(queueing.waits(node, load / takes)) == pytest.approx(expected, rel=0.05)


def test_many_nodes_are_as_slow_as_the_slowest_and_answer_more():
    queueing = importlib.import_module("benchmarks.measuring.queueing")
    one, ten = (queueing.Nodes(number, 0.02 / number, merging=0) for number in (1, 10))
    at_rest = [np.mean(queueing.waits(nodes, 0.01)) for nodes in (one, ten)]
    # The mean of the largest of ten from a normal distribution lies 1.54 standard deviations above its mean.
    largest = 0.002 * np.exp(1.54 * ten.spread - ten.spread**2 / 2) + ten.network
    assert at_rest == [pytest.approx(0.02, rel=0.02), pytest.approx(largest, rel=0.05)]
    few, many = (queueing.most_searches(nodes, 0.05) for nodes in (one, ten))
    assert few > 0
    assert many > 10 * few
    assert queueing.most_searches(one, 0.01) < 1


def test_results_are_read_as_they_were_written(tmp_path):
    racing, results = (importlib.import_module(f"benchmarks.measuring.{name}") for name in ("racing", "results"))
    made = results.Results("program")
    for found in (
        racing.Race("a race", (racing.Times("ragknn", "ours", (1.0,), {"recall": 1.0}),), 3, "things"),
        results.Curve("a curve", "x", "y", (results.Line("ragknn", (1.0,), (2.0,), (1.0,), (3.0,)),)),
        results.LeftOut("someone", "not installed"),
    ):
        made.add(found)
    made.save(tmp_path / "program.json")
    read = results.load(tmp_path / "program.json")
    assert (read.races, read.left_out, read.where) == (made.races, made.left_out, made.where)
    assert json.dumps(read.curves, default=vars_of) == json.dumps(made.curves, default=vars_of)


def test_a_summary_shows_the_quickest_peer_of_each_race(tmp_path, capsys):
    racing, results = (importlib.import_module(f"benchmarks.measuring.{name}") for name in ("racing", "results"))
    times = [
        racing.Times("ragknn", "ours", (1.0, 1.0), {}),
        racing.Times("bare", "floor", (0.1, 0.1), {}),
        racing.Times("slow", "peer", (9.0, 9.0), {}),
        racing.Times("quick", "peer", (2.0, 3.0), {}),
    ]
    made = results.Results("program", [racing.Race("a race", tuple(times), 10, "things")])
    importlib.import_module("benchmarks.summary").summarize(tmp_path, [made])
    row = "| a race | 10 things/s | quick 4 things/s | 2.50 x (2.00 - 3.00) |"
    assert row in (tmp_path / "summary.md").read_text(encoding="utf-8").splitlines()
    assert "quick" in (tmp_path / "summary.svg").read_text(encoding="utf-8")


def vars_of(record):
    return {name: getattr(record, name) for name in record.__slots__}


def test_made_documents_are_of_one_seed_and_the_nearest_are_found():
    data = importlib.import_module("benchmarks.measuring.data")
    first, again = (data.Source(16, 5, seed=3).documents(50) for _ in range(2))
    assert first.texts == again.texts
    assert first.metadata == again.metadata
    np.testing.assert_array_equal(first.vectors, again.vectors)
    queries = data.Source(16, 5, seed=4).vectors(3)
    truth = data.nearest(first.vectors, queries, 4)
    np.testing.assert_array_equal(truth, np.argsort(-(queries @ first.vectors.T), axis=1)[:, :4])
    assert data.recall([[first.texts[row] for row in rows[:3]] for rows in truth], truth, first.texts) == 0.75
