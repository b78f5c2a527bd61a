"""How far long work is, as the command tells it on standard error."""

import json
import os
import pty
import re
import subprocess
import sys

import pytest
from commands import run_here

from ragknn.cli import progress

MODEL = ("--model", "ragknn/hashing-64")


@pytest.fixture
def ragknn(redis_url, tmp_path):
    return lambda *args: run_here(list(args), "", tmp_path, {"RAGKNN_URL": redis_url, "COLUMNS": "120"})


def test_away_from_a_terminal_a_line_tells_from_time_to_time_how_far_it_is_also_within_a_document(
    ragknn, tmp_path, index_name, monkeypatch
):
    monkeypatch.setattr(progress, "PAUSE", 0)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/long.txt").write_text(" ".join(f"word{number}" for number in range(3_000)))
    (tmp_path / "docs/short.txt").write_text("a few words")
    done = ragknn("index", index_name, "docs", *MODEL, "--size", "10", "--unit", "words", "--overlap", "0", "--json")
    assert json.loads(done.stdout)["embedded"] == 301
    told = re.findall(r"^embedding: (\d) of 2 documents, (\d+) passages embedded in 0 s$", done.stderr, re.MULTILINE)
    assert len(told) == len(done.stderr.splitlines())
    assert told[-1] == ("2", "301")
    assert len({embedded for documents, embedded in told if documents == "0"}) >= 2, "the first is long"


def test_quick_work_tells_nothing_on_the_way(ragknn, tmp_path, index_name):
    (tmp_path / "a.txt").write_text("a few words")
    assert ragknn("index", index_name, "a.txt", *MODEL).stderr == ""


def test_long_questions_are_told_too(ragknn, tmp_path, index_name, monkeypatch):
    monkeypatch.setattr(progress, "PAUSE", 0)
    rows = [json.dumps({"id": str(number), "text": f"text {number}", "label": "ab"[number % 2]}) for number in range(9)]
    (tmp_path / "some.jsonl").write_text("\n".join(rows))
    assert "embedding: 9 documents, 9 passages embedded in 0 s" in ragknn("index", index_name, ".", *MODEL).stderr
    assert "asking: 9 of 9 passages in 0 s" in ragknn("tune", index_name, "-k", "1,3").stderr


def test_in_a_terminal_there_is_a_bar(redis_url, tmp_path, index_name):
    (tmp_path / "a.txt").write_text("a few words")
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "ragknn", "index", index_name, "a.txt", *MODEL]
    environ = {**os.environ, "RAGKNN_URL": redis_url, "COLUMNS": "120", "TERM": "xterm"}
    with subprocess.Popen(command, cwd=tmp_path, env=environ, stdout=subprocess.DEVNULL, stderr=theirs) as process:
        os.close(theirs)
        seen = b""
        while part := _read(ours):
            seen += part
    os.close(ours)
    assert process.returncode == 0
    assert "1/1 documents, 1 passages embedded" in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.decode())


def _read(descriptor):
    try:
        return os.read(descriptor, 4096)
    except OSError:  # the other side is closed
        return b""
