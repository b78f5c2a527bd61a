"""Commands that look at what is there: show, list; and where the queries of a search come from."""

import json
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from commands import run_here

MODEL = "ragknn/hashing-64"


@pytest.fixture
def ragknn(redis_url: str, tmp_path: Path):
    def run(*args: str, stdin: str = "") -> CompletedProcess[str]:
        return run_here(list(args), stdin, tmp_path, {"RAGKNN_URL": redis_url, "COLUMNS": "80"})

    return run


@pytest.fixture
def index(ragknn, tmp_path: Path, index_name: str) -> str:
    """An index of two documents, of which one has two passages and a tenant of its own."""
    rows = [
        {"id": "a", "text": "Bread is baked. Butter is churned.", "label": "food", "tenant": "x", "year": 2024},
        {"id": "b", "text": "Trains are late.", "label": 7, "tenant": "y", "tags": ["rail", "time"]},
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = ["--model", MODEL, "--size", "3", "--overlap", "0", "--unit", "words", "--field", "tenant=tag"]
    assert ragknn("index", index_name, "rows.jsonl", *options).returncode == 0
    return index_name


def lines(result: CompletedProcess[str], code: int = 0) -> list[dict]:
    assert result.returncode == code, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_a_document_is_shown_with_label_metadata_and_text(ragknn, index):
    shown = ragknn("show", index, "b").stdout
    head, *facts, blank, text = shown.splitlines()
    assert (head, blank, text) == ("b", "", "Trains are late.")
    assert {"label   7", "tags    rail, time", "tenant  y"} <= set(facts)


def test_documents_and_passages_come_as_json(ragknn, index):
    [document, passage] = lines(ragknn("show", index, "a", "a#1", "--passages", "--json"))
    assert (document["id"], document["label"], document["metadata"]["year"]) == ("a", "food", 2024)
    assert [one["text"] for one in document["passages"]] == ["Bread is baked.", "Butter is churned."]
    assert (passage["id"], passage["text"], passage["start"]) == ("a#1", "Butter is churned.", 16)


def test_what_is_not_there_is_a_failure_and_the_rest_is_shown(ragknn, index):
    result = ragknn("show", index, "nothing", "b", "a#9")
    assert result.returncode == 1
    assert result.stdout.startswith("b\n")
    assert result.stderr.startswith("Error: expected a document or a passage of that id")
    assert "got none for 'nothing', 'a#9'" in result.stderr


def test_a_filter_holds_for_what_is_shown(ragknn, index):
    assert ragknn("show", index, "a", "--where", '{"tenant": "y"}').returncode == 1
    [document] = lines(ragknn("show", index, "a", "--where", '{"tenant": "x"}', "--passages", "--json"))
    assert len(document["passages"]) == 2


def test_an_index_that_cannot_be_opened_does_not_hide_the_others(ragknn, index, client):
    broken = f"{index}.broken"
    ragknn("index", broken, "rows.jsonl", "--model", MODEL)
    client.hset(f"ragknn:{broken}:manifest", "schema", "no manifest")
    listed = ragknn("list")
    ragknn("list", "--json")
    client.delete(f"ragknn:{broken}:manifest")
    assert listed.returncode == 1
    assert index in listed.stdout
    assert f"error: {broken}: " in listed.stderr


def test_queries_come_from_words_a_file_or_standard_input(ragknn, index, tmp_path: Path):
    def asked(*args: str, stdin: str = "") -> list[str]:
        return [answer["query"] for answer in lines(ragknn("search", "--json", index, *args, stdin=stdin))]

    (tmp_path / "queries.txt").write_bytes("\ufefflate trains\r\n\r\n  bread  \n".encode())
    assert asked("late", "trains", "-k", "1") == ["late trains"]
    assert asked("late trains", "again") == ["late trains again"]
    assert asked("--", "-k", "is", "no", "option") == ["-k is no option"]
    assert asked("--file", "queries.txt") == ["late trains", "bread"]
    assert asked("-", stdin="late trains\nbread\n") == ["late trains", "bread"]
    assert asked("--file", "-", stdin="bread\n") == ["bread"]
    assert ragknn("search", index).returncode == 2
    assert ragknn("search", index, "x", "--file", "queries.txt").returncode == 2


def test_words_of_a_text_to_classify_are_one_text(ragknn, index):
    [vote] = lines(ragknn("classify", index, "late", "trains", "-k", "1", "--where", '{"tenant": "y"}', "--json"))
    assert vote["text"] == "late trains"


def test_an_index_is_rebuilt(ragknn, index):
    planned = ragknn("rebuild", index, "--algorithm", "hnsw", "--m", "8", "--dry-run")
    assert planned.stdout.startswith(
        f"dry run, nothing changed: {index}: algorithm 'flat' to 'hnsw', m 16 to 8; 3 pass"
    )
    [report] = lines(ragknn("rebuild", index, "--algorithm", "hnsw", "--recall", "0.5", "--json"))
    assert (report["changed"], report["passages"], report["recall"]) == ({"algorithm": ["flat", "hnsw"]}, 3, 1.0)
    assert ragknn("rebuild", index, "--algorithm", "hnsw").stdout == f"{index}: nothing to change\n"
    assert lines(ragknn("info", index, "--json"))[0]["algorithm"] == "hnsw"
    assert "expected something to change" in ragknn("rebuild", index).stderr
    [report] = lines(
        ragknn(
            "rebuild",
            index,
            "--dtype",
            "float16",
            "--field",
            "place=tag",
            "--any-field",
            "--language",
            "german",
            "--json",
        )
    )
    assert report["changed"]["dtype"] == ["float32", "float16"]
    assert report["documents"] > 0
    assert lines(ragknn("info", index, "--json"))[0]["fields"] == {"place": "tag"}
    assert ragknn("rebuild", index, "--no-fields").returncode == 0
    assert ragknn("rebuild", index, "--abandon").stdout == f"{index}: nothing was begun\n"
    assert ragknn("rebuild", index, "--abandon", "--m", "8").returncode == 2


def test_an_index_is_moved_to_another_embedder(ragknn, index):
    new = ("--embedder", "ragknn:HashingEmbedder", "--embedder-args", '{"dim": 24}')
    planned = ragknn("reembed", index, *new, "--size", "20", "--dry-run")
    assert planned.stdout.startswith(f"dry run, nothing changed: {index}: embedder")
    [report] = lines(ragknn("reembed", index, *new, "--size", "20", "--json"))
    assert report["changed"]["dim"][1] == 24
    assert report["embedded"] == report["passages"]
    assert ragknn("reembed", index, *new).stdout == f"{index}: nothing to change\n"
    assert "expected an embedder, a splitter or both" in ragknn("reembed", index).stderr
    assert lines(ragknn("reembed", index, "--abandon", "--json")) == [{"name": index, "abandoned": False}]
