"""`ragknn evaluate` as a user meets it: its output and its exit code."""

import csv
import json
import re
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from commands import run_here, run_in_a_process

from ragknn import Index, list_indexes
from ragknn.evaluation import evaluate
from ragknn.evaluation.questions import read_questions
from ragknn.retrieval.retriever import Retriever

MODEL = "ragknn/hashing-64"
TEXTS = {
    "bread": "Bread is baked from flour, water, salt and yeast.",
    "bikes": "A bicycle has two wheels and a chain.",
    "tea": "Tea is brewed with hot water.",
    "soup": "Soup is cooked from water and salt.",
}
QUERIES = {"q1": "two wheels and a chain", "q2": "hot water", "q3": "flour and yeast"}
JUDGEMENTS = [("q1", "bikes", 1), ("q2", "tea", 2), ("q2", "soup", 1), ("q3", "bread", 1)]


@pytest.fixture
def ragknn(redis_url: str, tmp_path: Path):
    """Run the command in an empty folder, against the session's Redis and with a model that loads at once."""

    def run(*args: str) -> CompletedProcess[str]:
        return run_here([*args, "--model", MODEL], "", tmp_path, {"RAGKNN_URL": redis_url, "COLUMNS": "140"})

    return run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four documents and three questions in BEIR's layout."""
    folder = tmp_path / "my set"
    (folder / "qrels").mkdir(parents=True)
    write_lines(folder / "corpus.jsonl", TEXTS)
    write_lines(folder / "queries.jsonl", QUERIES)
    rows = ["query-id\tcorpus-id\tscore", *("\t".join(map(str, row)) for row in JUDGEMENTS)]
    (folder / "qrels" / "test.tsv").write_text("\n".join(rows) + "\n")
    return folder


def write_lines(path: Path, texts: dict[str, str]) -> None:
    path.write_text("".join(json.dumps({"_id": name, "text": text}) + "\n" for name, text in texts.items()))


def row(result: CompletedProcess[str], code: int = 0) -> dict:
    assert result.returncode == code, result.stderr
    [line] = result.stdout.splitlines()
    return json.loads(line)


def complaint(result: CompletedProcess[str], code: int = 1) -> str:
    """Return the one line of an error that shows no traceback."""
    assert (result.returncode, result.stdout) == (code, ""), result.stderr
    [line] = result.stderr.splitlines()
    assert line.startswith("error: ")
    return line


def refusal(result: CompletedProcess[str]) -> str:
    """Return how wrong usage is refused, below the usage."""
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("Usage: ")
    return result.stderr.splitlines()[-1]


def test_the_figures_are_those_of_the_library(ragknn, folder: Path, redis_url: str, index_name: str):
    found = row(ragknn("evaluate", "my set", "--index", index_name, "-k", "2", "--depth", "9", "--json"))
    with Index(index_name, url=redis_url, create=False) as index:
        expected = evaluate(Retriever(index), read_questions(folder), k=2, depth=9).to_dict()
    [setting] = found["settings"]
    assert setting["name"] == "vector"
    assert setting["metrics"] == expected["settings"][0]["metrics"]
    assert setting["metrics"]["hit rate@2"]["mean"] == 1.0
    assert setting["latency"]["calls"] == 3
    assert {name: found[name] for name in ("index", "k", "depth", "queries", "missing", "recall")} == {
        "index": index_name,
        "k": 2,
        "depth": 9,
        "queries": 3,
        "missing": 0,
        "recall": None,
    }


def test_a_named_index_is_kept_and_not_written_again(ragknn, folder: Path, redis_url: str, index_name: str):
    assert ragknn("evaluate", "my set", "--index", index_name, "--algorithm", "hnsw").returncode == 0
    assert index_name in list_indexes(redis_url)
    (folder / "corpus.jsonl").write_text('{"_id": "more", "text": "Milk is white."}\n')
    row(ragknn("evaluate", "my set", "--index", index_name, "--json"))
    with Index(index_name, url=redis_url, create=False) as index:
        described = index.describe()
    assert (described.documents, described.algorithm) == (5, "hnsw")


def test_without_a_name_nothing_stays_on_the_server(ragknn, folder: Path, redis_url: str, client):
    before = set(client.scan_iter("ragknn:evaluate-*"))
    found = row(ragknn("evaluate", "my set", "--json"))
    assert found["index"].startswith("evaluate-my-set-")
    assert found["index"] not in list_indexes(redis_url)
    assert set(client.scan_iter("ragknn:evaluate-*")) == before


def test_nothing_stays_after_a_failure_either(ragknn, folder: Path, redis_url: str):
    (folder / "corpus.jsonl").write_text('{"_id": "other", "text": "Nothing that was judged."}\n')
    line = complaint(ragknn("evaluate", "my set"), 2)
    assert "expected documents of the judgements, such as 'bikes', in index 'evaluate-my-set-" in line
    assert [name for name in list_indexes(redis_url) if name.startswith("evaluate-my-set-")] == []


def test_people_get_tables(redis_url: str, folder: Path):
    args = ["evaluate", "my set", "-k", "2", "--ef", "5 20", "--algorithm", "hnsw", "--model", MODEL]
    shown = run_in_a_process(args, "", folder.parent, {"RAGKNN_URL": redis_url, "COLUMNS": "140"})
    assert shown.returncode == 0, shown.stderr
    assert "3 queries, documents ranked by their best of 100 passages, mean and 95% interval" in shown.stdout
    assert re.search(r"hit rate@2 +1\.0000 \[1\.0000, 1\.0000\]", shown.stdout)
    assert "note: latency of one retrieve of 2 passages, query embedding included" in shown.stdout
    assert "ef_runtime  recall@2" in shown.stdout
    assert "ef_runtime=5 is the smallest tried with recall@2 >= 0.99" in shown.stdout


def test_the_recall_of_an_index_is_scanned(ragknn, folder: Path):
    scan = row(ragknn("evaluate", "my set", "--ef", "20,50", "--algorithm", "hnsw", "--json"))["recall"]
    assert [(point["ef_runtime"], point["recall"]) for point in scan["points"]] == [(20, 1.0), (50, 1.0)]
    assert (scan["algorithm"], scan["suggestion"]) == ("hnsw", 20)
    flat = row(ragknn("evaluate", "my set", "--ef", "20,50", "--target", "0.5", "--json"))["recall"]
    assert (flat["algorithm"], flat["suggestion"], flat["target"]) == ("flat", None, 0.5)
    assert flat["advice"].endswith("is flat: every search looks at every vector and is exact")


def test_modes_are_compared(ragknn, folder: Path):
    found = row(ragknn("evaluate", "my set", "--compare", "vector, text,hybrid", "-k", "2", "--json"))
    assert [setting["name"] for setting in found["settings"]] == ["vector", "text", "hybrid"]
    assert [setting["options"]["mode"] for setting in found["settings"]] == ["'vector'", "'text'", "'hybrid'"]
    assert {(one["first"], one["second"]) for one in found["comparisons"]} == {("vector", "text"), ("vector", "hybrid")}
    assert "query by query" in ragknn("evaluate", "my set", "--compare", "vector,text").stdout


def test_every_query_can_be_written_to_a_file(ragknn, folder: Path, tmp_path: Path):
    assert ragknn("evaluate", "my set", "-k", "2", "--per-query", "each.csv").returncode == 0
    with (tmp_path / "each.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [(line["query"], line["text"], line["setting"]) for line in lines] == [
        (query, text, "vector") for query, text in QUERIES.items()
    ]
    assert json.loads(lines[0]["documents"])[0] == "bikes"
    assert float(lines[0]["nDCG@2"]) == 1.0


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_a_picture_is_drawn(ragknn, folder: Path, tmp_path: Path, suffix: str):
    assert ragknn("evaluate", "my set", "--plot", f"figure.{suffix}", "--ef", "10").returncode == 0
    assert (tmp_path / f"figure.{suffix}").stat().st_size > 5_000


def test_another_split_can_be_taken(ragknn, folder: Path):
    (folder / "qrels" / "dev.tsv").write_text("query-id\tcorpus-id\tscore\nq1\tbikes\t1\n")
    assert row(ragknn("evaluate", "my set", "--split", "dev", "--json"))["queries"] == 1
    assert "there are dev, test; choose one of these" in complaint(ragknn("evaluate", "my set", "--split", "no"))


def test_documents_that_cannot_be_read_are_named_and_the_exit_code_says_so(ragknn, folder: Path):
    with (folder / "corpus.jsonl").open("a") as file:
        file.write('{"_id": "empty", "text": " "}\n{"_id": "brok\n')
    result = ragknn("evaluate", "my set", "--json")
    assert row(result, 3)["queries"] == 3
    first, last = result.stderr.splitlines()
    assert first.startswith("failed: corpus.jsonl:6: expected a JSON object")
    assert last == "documents not searched, since they could not be read or stored: 1"


def test_what_is_not_there_is_one_line(ragknn, folder: Path):
    assert "nowhere: expected a folder with queries.jsonl" in complaint(ragknn("evaluate", "nowhere"))
    (folder / "queries.jsonl").write_text("{oops}\n")
    assert "queries.jsonl:1: expected a JSON object per line" in complaint(ragknn("evaluate", "my set"))
    (folder / "queries.jsonl").unlink()
    assert "expected a file with a line" in complaint(ragknn("evaluate", "my set"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--compare", "vector,smell"], "expected names among vector, text, hybrid, separated by commas, got 'smell'"),
        (["--compare", ""], "expected names among vector, text, hybrid, separated by commas, got ''"),
        (["--ef", "10,x"], "expected numbers like 10,50,100, got '10,x'"),
        (["--ef", "0"], "expected numbers like 10,50,100, got '0'"),
        (["--plot", "figure.xls"], "expected a file ending in .png or .svg or .pdf, got 'figure.xls'"),
        (["--plot", "no/figure.png"], "expected a file in a folder that exists, got 'no/figure.png'"),
        (["--per-query", "each.txt"], "expected a file ending in .csv, got 'each.txt'"),
        (["-k", "20", "--depth", "10"], "expected --depth to be at least k=20, got 10"),
        (["--target", "1.5"], "1.5 is not in the range"),
    ],
)
def test_wrong_usage_is_refused_before_anything_is_read(ragknn, options, message):
    assert message in refusal(ragknn("evaluate", "nowhere", *options))
