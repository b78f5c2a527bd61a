"""The command as a nightly job: what it writes to a log file, and what it leaves behind of what failed."""

import json
import logging
import re
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from commands import run_here

from ragknn import Document, HashingEmbedder, Index, Indexer, Retriever

MODEL = ("--model", "ragknn/hashing-64", "--field", "year=numeric")
LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4} (DEBUG|INFO|WARNING|ERROR) (ragknn\.[a-z]+): (.+)")

Command = Callable[..., CompletedProcess[str]]


@pytest.fixture
def index(redis_url: str, tmp_path: Path, index_name: str) -> Command:
    def run(*args: str) -> CompletedProcess[str]:
        return run_here(["index", index_name, *args, *MODEL], "", tmp_path, {"RAGKNN_URL": redis_url})

    return run


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """A folder with two documents that can be stored, one that cannot, and a row that is none."""
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "rent.md").write_text("The secret rent is due.")
    rows = [
        {"id": "old", "text": "An old letter", "label": "post", "year": "long ago"},
        {"id": "new", "text": "A bill"},
    ]
    (folder / "post.jsonl").write_text("\n".join([*map(json.dumps, rows), "no row"]))
    return folder


def lines(log: Path) -> list[tuple[str, str, str]]:
    return [LINE.fullmatch(line).groups() for line in log.read_text(encoding="utf-8").splitlines()]


def test_a_log_tells_what_was_done_and_what_failed_but_no_text(index: Command, notes: Path, tmp_path: Path):
    log = tmp_path / "nightly.log"
    assert index("notes", "--log", "nightly.log").returncode == 3
    first = lines(log)
    assert {name for _, name, _ in first} == {"ragknn.writing"}
    assert [level for level, _, _ in first] == ["INFO", "INFO", "WARNING"]
    assert "made, flat of 64 float32 by cosine" in first[0][2]
    assert "2 added, 0 updated, 0 unchanged, 0 deleted, 2 failed; 2 passages in" in first[1][2]
    (notes / "rent.md").write_text("The secret rent is paid.")
    index("notes", "--log", "nightly.log", "--log-level", "debug")
    assert lines(log)[: len(first)] == first
    later = lines(log)[len(first) :]
    stages = {"ragknn.reading", "ragknn.splitting", "ragknn.embedding", "ragknn.writing", "ragknn.server"}
    assert {name for _, name, _ in later} == stages
    assert any(message.endswith("updated rent.md (text)") for _, _, message in later)
    assert "secret" not in log.read_text(encoding="utf-8")


def test_a_log_tells_why_a_command_failed_and_is_closed_after_it(index: Command, tmp_path: Path):
    log = tmp_path / "nightly.log"
    assert index("nothing.md", "--log", "nightly.log").returncode == 1
    [(level, name, message)] = lines(log)
    assert (level, name) == ("ERROR", "ragknn.command")
    assert message.startswith("nothing.md: expected a file or folder")
    assert index("nothing.md", "--log", "no/such/folder.log").returncode == 2
    logger = logging.getLogger("ragknn")
    assert not any(isinstance(handler, logging.FileHandler) for handler in logger.handlers)
    assert logger.level == logging.NOTSET


@pytest.mark.usefixtures("notes")
def test_what_failed_can_be_mended_and_indexed(index: Command, tmp_path: Path, redis_url: str, index_name: str):
    letters = tmp_path / "failed.jsonl"
    assert index("notes", "--dead-letter", "failed.jsonl").returncode == 3
    document, row = map(json.loads, letters.read_text().splitlines())
    assert document.pop("ragknn_failure")["source"] == "post.jsonl:1"
    metadata = {"year": "long ago", "path": "post.jsonl", "folder": ".", "suffix": ".jsonl"}
    assert document == {"id": "old", "text": "An old letter", "label": "post", "metadata": metadata}
    assert row["ragknn_failure"]["source"] == "post.jsonl:3"
    assert row["ragknn_failure"]["reason"].startswith("expected a JSON object")
    # Each line as it is fails again, for the same reason or for want of a text.
    assert index("failed.jsonl", "--dead-letter", "failed.jsonl").returncode == 3
    again = [json.loads(line)["ragknn_failure"]["source"] for line in letters.read_text().splitlines()]
    assert again == ["failed.jsonl:1", "failed.jsonl:2"]
    mended = json.loads(letters.read_text().splitlines()[0])
    mended["metadata"]["year"] = 1999
    letters.write_text(json.dumps(mended))
    assert index("failed.jsonl", "--dead-letter", "left.jsonl").returncode == 0
    assert (tmp_path / "left.jsonl").read_text() == ""
    with Index(index_name, url=redis_url, create=False) as opened:
        [stored] = opened.documents(["old"])
    assert (stored.text, stored.label, stored.metadata) == ("An old letter", "post", {**metadata, "year": 1999})


@pytest.mark.usefixtures("notes")
@pytest.mark.parametrize(
    ("place", "words"), [("notes/failed.jsonl", "outside of 'notes'"), ("no/failed.jsonl", "in a folder that exists")]
)
def test_dead_letters_go_where_they_can_be_and_are_not_read(index: Command, place: str, words: str):
    result = index("notes", "--dead-letter", place)
    assert (result.returncode, result.stdout) == (2, "")
    assert words in result.stderr


def test_where_nobody_listens_no_record_of_a_log_is_made(redis_url: str, index_name: str):
    made = []
    factory = logging.getLogRecordFactory()

    def counted(*args: object, **more: object) -> logging.LogRecord:
        made.append(args)
        return factory(*args, **more)

    logging.setLogRecordFactory(counted)
    try:
        with Index(index_name, url=redis_url, embedder=HashingEmbedder(8)) as opened:
            Indexer(opened).sync([Document(str(number), f"text {number}") for number in range(20)])
            Retriever(opened).retrieve("text 3")
    finally:
        logging.setLogRecordFactory(factory)
    assert made == []
