import json

import pytest
from click.testing import CliRunner

from ragknn import Document, Index, Indexer, SentenceEmbedder
from ragknn.cli import cli
from ragknn.embedding import _naming

ABOUT = "My card was charged twice for the same month, and nobody answers my letters about it. "
LONG = ABOUT * 15  # 285 tokens
NOTE = (
    "that sentence-transformers/all-MiniLM-L6-v2 reads: the mean of the vectors of 2 pieces represents the text that "
    f"begins {ABOUT[:40]!r}"
)


@pytest.fixture(scope="module")
def sentences():
    return SentenceEmbedder(device="cpu")


@pytest.fixture
def index_name(redis_url, index_name, sentences, monkeypatch):
    """An index of the default model, which the command finds loaded."""
    monkeypatch.setenv("RAGKNN_URL", redis_url)
    monkeypatch.setattr(_naming, "SentenceEmbedder", lambda *args, **options: sentences)
    with Index(index_name, url=redis_url, embedder=sentences) as index:
        Indexer(index).add(
            [
                Document("charged", "A payment was taken two times.", label="billing"),
                Document("brake", "The brakes of the bike squeal.", label="repairs"),
            ]
        )
    return index_name


def ragknn(*args):
    result = CliRunner().invoke(cli, args)
    assert result.exit_code == 0, result.output
    return result


def test_search_answers_a_long_query_and_warns_on_standard_error(index_name):
    result = ragknn("search", index_name, LONG, "short", "-k", "1")
    assert "A payment was taken two times." in result.stdout
    assert "warning" not in result.stdout
    [line] = result.stderr.splitlines()
    assert line.startswith("warning: ")
    assert line.endswith(NOTE)
    as_json = ragknn("search", index_name, LONG, "-k", "1", "--json")
    assert as_json.stderr == ""
    answer = json.loads(as_json.stdout)
    assert (answer["complete"], [warning.endswith(NOTE) for warning in answer["warnings"]]) == (True, [True])


def test_classify_labels_a_file_with_a_long_text_in_it(index_name, tmp_path):
    path = tmp_path / "texts.jsonl"
    rows = [
        {"text": "the brakes squeal", "label": "repairs"},
        *[{"text": LONG + end, "label": "billing"} for end in "ab"],
    ]
    path.write_text("".join(json.dumps({"id": str(n), **row}) + "\n" for n, row in enumerate(rows)))
    shown = ragknn("classify", index_name, "--file", str(path), "-k", "1")
    assert [line.split()[0] for line in shown.stdout.splitlines()] == ["repairs", "billing", "billing"]
    assert [line.startswith("warning: ") and line.endswith(NOTE) for line in shown.stderr.splitlines()] == [True, True]
    votes = [
        json.loads(line)
        for line in ragknn("classify", index_name, "--file", str(path), "-k", "1", "--json").stdout.splitlines()
    ]
    assert [(vote["complete"], len(vote["warnings"])) for vote in votes] == [(True, 0), (True, 1), (True, 1)]
    scores = ragknn("classify", index_name, "--evaluate", str(path), "-k", "1", "--json")
    assert json.loads(scores.stdout)["accuracy"] == 1.0


def test_many_warnings_are_cut_short(index_name, tmp_path):
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps({"id": str(n), "text": f"{n} {LONG}"}) + "\n" for n in range(23)))
    lines = ragknn("classify", index_name, "--file", str(path), "-k", "1").stderr.splitlines()
    assert len(lines) == 21
    assert lines[-1] == "and 3 more warnings; --json shows them all"


def test_evaluate_goes_on_with_a_long_query(index_name, tmp_path):
    (tmp_path / "qrels").mkdir()
    (tmp_path / "corpus.jsonl").write_text(json.dumps({"_id": "one", "text": "A payment was taken two times."}) + "\n")
    (tmp_path / "queries.jsonl").write_text(
        "".join(json.dumps({"_id": _id, "text": text}) + "\n" for _id, text in (("q1", "payment"), ("q2", LONG)))
    )
    (tmp_path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\tone\t1\nq2\tone\t1\n")
    result = ragknn(
        "evaluate", str(tmp_path), "--index", index_name, "-k", "1", "--compare", "vector,hybrid", "--ef", "10"
    )
    assert "note: queries with a warning: 1, the first is 'q2': " in result.stdout
    assert NOTE in result.stdout
