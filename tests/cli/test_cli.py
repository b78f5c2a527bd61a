"""The command as a user meets it: its output and its exit code."""

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from click import Context
from commands import run_here, run_in_a_process

MODEL = "ragknn/hashing-64"


Command = Callable[..., CompletedProcess[str]]


def against(redis_url: str, folder: Path, way: Command) -> Command:
    def run(*args: str, stdin: str = "", **environ: str) -> CompletedProcess[str]:
        return way(list(args), stdin, folder, {"RAGKNN_URL": redis_url, "COLUMNS": "120", **environ})

    return run


@pytest.fixture
def ragknn(redis_url: str, tmp_path: Path) -> Command:
    """Run the command in an empty folder, against the session's Redis."""
    return against(redis_url, tmp_path, run_here)


@pytest.fixture
def ragknn_process(redis_url: str, tmp_path: Path) -> Command:
    """Do the same in a process of its own, where that matters: what lasts from one to the next, pipes, tracebacks."""
    return against(redis_url, tmp_path, run_in_a_process)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three documents, of which one names a label."""
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "bread.txt").write_text("Bread is baked from flour, water, salt and yeast.")
    (folder / "bikes.md").write_text("---\nlabel: sport\nyear: 2024\n---\nA bicycle has two wheels and a chain.")
    (folder / "tea.txt").write_text("Tea is brewed with hot water.")
    return folder


def rows(result: CompletedProcess[str], code: int = 0) -> list[dict]:
    assert result.returncode == code, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def complaint(result: CompletedProcess[str], code: int = 1) -> str:
    """Return the one line of an error that shows no traceback."""
    assert (result.returncode, result.stdout) == (code, "")
    [line] = result.stderr.splitlines()
    assert line.startswith("error: ")
    return line


def test_index_search_info_list_delete_drop(ragknn, ragknn_process, folder: Path, index_name: str):
    [report] = rows(ragknn_process("index", index_name, "texts", "--model", MODEL, "--field", "year=numeric", "--json"))
    assert (report["added"], report["passages"], report["failed"]) == (3, 3, [])

    [answer] = rows(ragknn_process("search", index_name, "two wheels and a chain", "-k", "2", "--json"))
    assert answer["complete"] is True
    assert [neighbor["rank"] for neighbor in answer["neighbors"]] == [1, 2]
    nearest = answer["neighbors"][0]
    assert nearest["document_id"] == "bikes.md"
    assert nearest["label"] == "sport"
    assert nearest["metadata"] == {"year": 2024, "path": "bikes.md", "folder": ".", "suffix": ".md"}
    assert nearest["text"] == "A bicycle has two wheels and a chain."

    [info] = rows(ragknn("info", index_name, "--json"))
    place = {"folder": "tag", "path": "tag", "suffix": "tag"}
    assert (info["documents"], info["embedder"], info["fields"]) == (3, MODEL, {"year": "numeric", **place})
    assert index_name in {info["name"] for info in rows(ragknn("list", "--json"))}
    assert rows(ragknn_process("delete", index_name, "tea.txt", "nothing", "--json")) == [{"deleted": 1, "asked": 2}]
    assert rows(ragknn("drop", index_name, "--yes", "--json")) == [{"dropped": index_name, "documents": 2}]
    assert index_name not in {info["name"] for info in rows(ragknn("list", "--json"))}


def test_people_get_tables(ragknn, folder: Path, index_name: str):
    indexed = ragknn("index", index_name, "texts", "--model", MODEL)
    assert indexed.stdout.startswith("3 added, 0 updated, 0 unchanged, 0 deleted, 0 failed; 3 passages in ")
    shown = ragknn("search", index_name, "hot water")
    assert "tea.txt" in shown.stdout
    assert "Tea is brewed with hot water." in shown.stdout
    assert MODEL in ragknn("info", index_name).stdout
    assert index_name in ragknn("list").stdout


def test_search_takes_filters_modes_and_makes_contexts(ragknn, folder: Path, index_name: str):
    ragknn("index", index_name, "texts", "--model", MODEL, "--field", "year=numeric")
    search = ("search", index_name, "hot water and a chain", "--json")
    [answer] = rows(ragknn(*search, "--where", '{"year": {"$gte": 2020}}'))
    assert [neighbor["document_id"] for neighbor in answer["neighbors"]] == ["bikes.md"]
    [answer] = rows(ragknn(*search, "--mode", "text", "-k", "1"))
    assert answer["neighbors"][0]["distance"] is None
    assert answer["neighbors"][0]["score"] > 0
    [answer] = rows(ragknn(*search, "--mode", "hybrid", "--per-document", "1", "--diversity", "0.5"))
    assert {"vector_rank", "text_rank", "score"} <= set(answer["neighbors"][0])
    [context] = rows(ragknn(*search, "--context", "30"))
    assert context["tokens"] <= 30
    assert context["text"].startswith("[1] ")
    shown = ragknn("search", index_name, "hot water", "--mode", "text")
    assert "score" in shown.stdout
    assert "nan" not in shown.stdout
    assert ragknn("search", index_name, "hot water", "--context", "30").stdout.startswith("[1] ")


def test_a_required_filter_holds_for_every_command(ragknn, folder: Path, index_name: str):
    declared = ("--field", "tenant=tag", "--required-filter", "tenant")
    (folder / "mine.md").write_text("---\nlabel: sport\ntenant: a\n---\nA bicycle of mine.")
    [report] = rows(ragknn("index", index_name, "texts", "--model", MODEL, *declared, "--json"), 3)
    assert (report["added"], len(report["failed"])) == (1, 3)
    message = "error: expected a filter on 'tenant', which this index requires"
    for command in (
        ("search", index_name, "bicycle"),
        ("classify", index_name, "bicycle", "-k", "1"),
        ("delete", index_name, "mine.md"),
        ("index", index_name, "texts", "--sync"),
    ):
        assert complaint(ragknn(*command), 2).startswith(message)
    where = ("--where", '{"tenant": "a"}')
    assert len(rows(ragknn("search", index_name, "bicycle", "--json", *where))[0]["neighbors"]) == 1
    assert rows(ragknn("classify", index_name, "bicycle", "-k", "1", "--json", *where))[0]["label"] == "sport"
    assert rows(ragknn("delete", index_name, "--json", *where)) == [{"deleted": 1}]


@pytest.mark.parametrize("where", ["{year: 1}", "[1]", "3"])
def test_a_filter_that_is_no_json_object_is_wrong_usage(ragknn, where):
    result = ragknn("search", "nothing", "a question", "--where", where)
    assert result.returncode == 2
    assert "expected JSON" in result.stderr or "expected a JSON object" in result.stderr


def test_queries_can_come_from_standard_input(ragknn, ragknn_process, folder: Path, index_name: str):
    ragknn("index", index_name, "texts", "--model", MODEL)
    answers = rows(ragknn_process("search", index_name, "-", "--json", "-k", "1", stdin="hot water\n\nflour\n"))
    assert [answer["query"] for answer in answers] == ["hot water", "flour"]


def test_sync_removes_what_the_folder_no_longer_has_and_index_does_not(ragknn, folder: Path, index_name: str):
    ragknn("index", index_name, "texts", "--model", MODEL)
    (folder / "tea.txt").unlink()
    (folder / "bread.txt").write_text("Bread is baked.")
    [added] = rows(ragknn("index", index_name, "texts", "--json"))
    assert [added[count] for count in ("added", "updated", "unchanged", "deleted")] == [0, 1, 1, 0]
    [synced] = rows(ragknn("index", index_name, "texts", "--sync", "--json"))
    assert [synced[count] for count in ("added", "updated", "unchanged", "deleted")] == [0, 0, 2, 1]


def test_broken_files_are_reported_and_the_others_indexed(ragknn, folder: Path, index_name: str):
    (folder / "broken.jsonl").write_text('{"text": "fine"}\n{"text": oops}\n')
    (folder / "empty.txt").write_text("")
    result = ragknn("index", index_name, "texts", "--model", MODEL)
    assert result.returncode == 3
    assert "4 added, 0 updated, 0 unchanged, 0 deleted, 1 failed" in result.stdout
    assert "failed: broken.jsonl:2: expected a JSON object" in result.stdout
    assert "empty: empty.txt: the file is empty" in result.stdout


def test_dropping_asks_first(ragknn, ragknn_process, folder: Path, index_name: str):
    ragknn("index", index_name, "texts", "--model", MODEL)
    refused = ragknn_process("drop", index_name, stdin="n\n")
    assert refused.returncode == 1
    assert "3 documents?" in refused.stderr
    assert rows(ragknn("info", index_name, "--json"))[0]["documents"] == 3


@pytest.fixture
def labelled(ragknn, tmp_path: Path, index_name: str) -> str:
    """An index of twelve texts in two classes that share no word."""
    words = {
        "food": ["bread", "butter", "cheese", "soup", "rice", "salt"],
        "travel": ["train", "ticket", "bus", "plane", "ship", "road"],
    }
    rows = [
        {"id": f"{label}-{number}", "text": f"{word} {word}s {label}", "label": label}
        for label, kinds in words.items()
        for number, word in enumerate(kinds)
    ]
    (tmp_path / "labelled.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert ragknn("index", index_name, "labelled.jsonl", "--model", MODEL).returncode == 0
    return index_name


def test_classify_votes_and_explains(ragknn, ragknn_process, labelled: str):
    two = "bread food\nticket travel\n"
    bread, ticket = rows(ragknn_process("classify", labelled, "-", "-k", "3", "--json", stdin=two))
    assert (bread["label"], ticket["label"]) == ("food", "travel")
    assert bread["shares"] == {"food": 1.0}
    assert bread["neighbors"][0]["document_id"] == "food-0"
    assert sum(neighbor["weight"] for neighbor in bread["neighbors"]) == pytest.approx(1)
    explained = ragknn("classify", labelled, "-", "-k", "3", "--explain", stdin="bread food\n").stdout
    assert explained.startswith("food  food 100%  bread food")
    assert "food-0" in explained


def test_classify_leaves_out_and_abstains(ragknn, labelled: str):
    [without] = rows(ragknn("classify", labelled, "bread food", "-k", "3", "--exclude", "food-0", "--json"))
    assert "food-0" not in {neighbor["document_id"] for neighbor in without["neighbors"]}
    [far] = rows(ragknn("classify", labelled, "bread food", "--max-distance", "0", "--json"))
    assert (far["label"], far["abstained"]) == (None, True)
    assert far["reason"] == "expected at least 1 votes within distance 0, got 0"
    assert ragknn("classify", labelled, "bread food", "--max-distance", "0").stdout.startswith("abstained  expected")


def test_classify_evaluates_a_file(ragknn, labelled: str, tmp_path: Path):
    texts = {"bread food soup": "food", "bus travel": "travel", "cheese food": "travel"}
    (tmp_path / "test.jsonl").write_text(
        "".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in texts.items())
    )
    [scores] = rows(ragknn("classify", labelled, "--evaluate", "test.jsonl", "-k", "3", "--json"))
    assert scores["texts"] == 3
    assert scores["coverage"] == 1.0
    assert scores["accuracy"] == pytest.approx(2 / 3)
    assert scores["confusion"] == [[["travel", "food"], 1]]
    shown = ragknn("classify", labelled, "--evaluate", "test.jsonl", "-k", "3", "--explain").stdout
    assert "0.6667" in shown
    assert [
        row["label"] for row in rows(ragknn("classify", labelled, "--file", "test.jsonl", "-k", "3", "--json"))
    ] == [
        "food",
        "travel",
        "food",
    ]


def test_tune_scores_all_settings_and_draws(ragknn, ragknn_process, labelled: str, tmp_path: Path):
    [tuning] = rows(ragknn_process("tune", labelled, "-k", "1,3,500", "--plot", "k.png", "--json"))
    assert [(setting["k"], setting["weights"]) for setting in tuning["settings"]] == [
        (1, "uniform"),
        (3, "uniform"),
        (1, "distance"),
        (3, "distance"),
    ]
    assert tuning["best"] == tuning["settings"][0]
    assert (tmp_path / "k.png").read_bytes().startswith(b"\x89PNG")
    assert "best accuracy 1.0000 with k=1" in ragknn("tune", labelled).stdout


def test_classify_and_tune_refuse_what_cannot_be(ragknn, labelled: str, folder: Path):
    assert "expected k <= 12, the number of labelled documents" in complaint(
        ragknn("classify", labelled, "x", "-k", "13"), 2
    )
    assert "expected min_share between 0 and 1" in complaint(ragknn("classify", labelled, "x", "--min-share", "2"), 2)
    assert ragknn("classify", labelled).returncode == 2
    assert ragknn("classify", labelled, "x", "--file", "y").returncode == 2
    assert ragknn("tune", labelled, "-k", "many").returncode == 2
    ragknn("index", f"{labelled}.plain", "texts/tea.txt", "--model", MODEL)
    line = complaint(ragknn("classify", f"{labelled}.plain", "x"), 2)
    ragknn("drop", f"{labelled}.plain", "--yes")
    assert f"expected documents with labels in index '{labelled}.plain', got none among 1 passages" in line


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["search", "no-such-index", "x"], 1, "expected an index named 'no-such-index'"),
        (["info", "no-such-index"], 1, "expected an index named 'no-such-index'"),
        (["index", "bad name", "texts"], 2, "expected an index name of letters"),
        (["index", "x", "nowhere"], 1, "nowhere: expected a file or folder, got nothing there"),
        (["index", "x", "texts", "--model", "ragknn/hashing-0"], 2, "expected dim >= 1"),
        (["index", "x", "texts", "--model", "no/such-model"], 1, "expected a sentence-transformers model named"),
        (["index", "x", "texts", "--size", "10", "--overlap", "10"], 2, "expected overlap < size"),
        (["list", "--url", "redis://127.0.0.1:1"], 1, "expected Redis at 127.0.0.1:1"),
        (["list", "--url", "http://u:secret@h"], 1, "expected a URL like redis://localhost:6379"),
    ],
)
@pytest.mark.usefixtures("no_pauses")
def test_wrong_input_is_one_line_and_an_exit_code(ragknn, folder: Path, args: list[str], code: int, words: str):
    line = complaint(ragknn(*args), code)
    assert words in line
    assert "secret" not in line


@pytest.mark.parametrize(
    "args",
    [
        ["search", "x"],
        ["index", "x", "texts", "--field", "year"],
        ["index", "x", "texts", "--metric", "no"],
        ["nothing"],
    ],
)
def test_wrong_usage_exits_with_2_and_shows_how(ragknn, folder: Path, args: list[str]):
    result = ragknn(*args)
    assert result.returncode == 2
    assert "Usage: ragknn" in result.stderr


def test_bad_queries_are_refused(ragknn, folder: Path, index_name: str):
    ragknn("index", index_name, "texts", "--model", MODEL)
    assert "expected k >= 1, got 0" in complaint(ragknn("search", index_name, "x", "-k", "0"), 2)
    assert "expected a query with words in it" in complaint(ragknn("search", index_name, " "), 2)
    assert "expected ef_runtime with an hnsw index" in complaint(
        ragknn("search", index_name, "x", "--ef-runtime", "5"), 2
    )


def test_another_model_is_refused_with_both_names(ragknn, folder: Path, index_name: str):
    ragknn("index", index_name, "texts", "--model", MODEL)
    line = complaint(ragknn("index", index_name, "texts", "--model", "ragknn/hashing-32"))
    assert "embedder: expected 'ragknn/hashing-32', found 'ragknn/hashing-64'" in line
    assert "dim: expected 32, found 64" in line


def test_debug_shows_the_traceback(ragknn_process):
    result = ragknn_process("info", "no-such-index", "--debug")
    assert result.returncode == 1
    assert "Traceback" in result.stderr
    assert "IndexNotFound" in result.stderr


def test_a_setting_that_cannot_work_is_named(ragknn_process):
    assert "RAGKNN_TIMEOUT: " in complaint(ragknn_process("list", RAGKNN_TIMEOUT="soon"))


def test_doctor_finds_this_machine_healthy(ragknn_process, redis_url: str):
    checks = {check["name"]: check for check in rows(ragknn_process("doctor", "--json"))}
    # torch may be a build for a GPU that this machine does not have
    assert {name for name, check in checks.items() if check["verdict"] != "ok"} <= {"torch"}
    assert checks["protocol"]["found"].startswith("RESP3")
    assert "all-MiniLM-L6-v2" in checks["model"]["found"]
    assert "ms" in checks["query timeout"]["found"]


@pytest.mark.usefixtures("no_pauses")
def test_doctor_names_what_is_wrong_and_exits_with_1(ragknn):
    result = ragknn("doctor", "--url", "redis://127.0.0.1:1", RAGKNN_MODEL="no/such-model")
    assert result.returncode == 1
    assert "fail redis: expected Redis at 127.0.0.1:1" in result.stdout
    assert "note model: no/such-model is not on this machine" in result.stdout


def test_doctor_says_what_resp2_costs(ragknn):
    checks = {check["name"]: check for check in rows(ragknn("doctor", "--json", RAGKNN_PROTOCOL="2"))}
    assert checks["protocol"]["verdict"] == "note"
    assert checks["query timeout"]["verdict"] == "ok"


def test_the_embedded_server_stays_between_commands(ragknn_process, folder: Path, index_name: str, tmp_path: Path):
    here = {"RAGKNN_DATA": str(tmp_path / "data")}

    def embedded(*args: str) -> CompletedProcess[str]:
        return ragknn_process(*args, RAGKNN_URL="", **here)

    assert rows(embedded("server", "status", "--json"))[0]["running"] is False
    [started] = rows(embedded("server", "start", "--json"))
    try:
        assert started["running"]
        assert started["stays"]
        assert embedded("index", index_name, "texts", "--model", MODEL).returncode == 0
        [running] = rows(embedded("server", "status", "--json"))
        assert running["pid"] == started["pid"]
        assert [info["name"] for info in rows(embedded("list", "--json"))] == [index_name]
    finally:
        stopped = rows(embedded("server", "stop", "--json"))
    assert stopped == [{"stopped": True}]
    assert rows(embedded("server", "stop", "--json")) == [{"stopped": False}]
    # Stopped or not, the data is there: a command starts the server again for itself.
    assert [info["documents"] for info in rows(embedded("list", "--json"))] == [3]


def test_every_command_has_help(ragknn_process):
    from ragknn.cli import COMMANDS, cli

    shown = ragknn_process("--help").stdout
    for name, (line, _) in COMMANDS.items():
        assert cli.get_command(Context(cli), name).help, name
        assert line in shown
    assert "Search passages by meaning" in shown
