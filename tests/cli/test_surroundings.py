"""The command in surroundings that are not as they should be: locales, closed and full outputs, interrupts."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from commands import run_here

from ragknn import Index, Indexer, Passage

MODEL = "ragknn/hashing-16"
TEXT = "Der Händler “sagt” 東京 – naïve…"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("surroundings")
    (folder / "texts").mkdir()
    (folder / "texts" / "händler.txt").write_text(TEXT, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def index(folder: Path, redis_url: str):
    environ = {"RAGKNN_URL": redis_url}
    run_here(["index", "surroundings", "texts", "--model", MODEL], "", folder, environ)
    yield "surroundings"
    run_here(["drop", "surroundings", "--yes"], "", folder, environ)


def start(args: list, folder: Path, url: str, environ: dict | None = None, **options) -> subprocess.Popen:
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    variables = {**os.environ, "RAGKNN_URL": url, **(environ or {})}
    return subprocess.Popen([sys.executable, "-m", "ragknn", *args], cwd=folder, env=variables, **streams)


def finish(process: subprocess.Popen, stdin: bytes | None = None) -> tuple[int, bytes, bytes]:
    out, err = process.communicate(stdin, timeout=60)
    return process.returncode, out or b"", err or b""


# ---- locales ---------------------------------------------------------------------------------------------------

ASCII = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"}


@pytest.mark.parametrize(
    ("environ", "encoding", "shown"),
    [
        ({"LC_ALL": "POSIX"}, "utf-8", TEXT),
        ({"PYTHONIOENCODING": "ascii"}, "ascii", 'Der H?ndler "sagt" ?? - na?ve...'),
        ({**ASCII, "PYTHONIOENCODING": "latin-1:strict"}, "latin-1", 'Der Händler "sagt" ?? - naïve...'),
    ],
    ids=["posix", "ascii", "latin-1"],
)
def test_what_the_output_cannot_show_is_shown_as_something_else(environ, encoding, shown, folder, redis_url, index):
    search = ["search", index, "Händler".encode(), "--mode", "text"]
    code, out, err = finish(start(search, folder, redis_url, environ))
    assert (code, err) == (0, b"")
    head, text = out.decode(encoding).splitlines()
    assert shown == text.strip()
    assert "ndler.txt" in head


def test_json_loses_nothing_whatever_the_locale(folder, redis_url, index):
    code, out, err = finish(start(["search", index, "sagt", "--json"], folder, redis_url, ASCII))
    assert (code, err) == (0, b"")
    [neighbor] = json.loads(out.decode())["neighbors"]
    assert (neighbor["text"], neighbor["document_id"]) == (TEXT, "händler.txt")


@pytest.mark.parametrize("args", [["search", "{}", b"\xff\xfe"], ["delete", "{}", "--where", b"\xff"]])
def test_an_argument_that_is_no_text_is_wrong_usage(args, folder, redis_url, index):
    code, out, err = finish(start([index if arg == "{}" else arg for arg in args], folder, redis_url))
    assert (code, out) == (2, b"")
    assert err.decode().splitlines()[-1].startswith("Error: expected arguments in UTF-8, got '\\udcff")


def test_a_path_may_be_any_bytes(folder, redis_url, index):
    path = os.fsdecode(b"texts/\xff.txt")
    (folder / path).write_text("Bread.")
    code, out, err = finish(start(["classify", index, "--file", b"texts/\xff.txt", "-k", "1"], folder, redis_url))
    (folder / path).unlink()
    assert (code, out) == (2, b"")
    assert b"Traceback" not in err
    assert b"expected documents with labels" in err


# ---- outputs ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("args", [["search", "{}", "sagt"], ["list", "--json"], ["--help"]])
def test_a_reader_that_has_gone_ends_the_command_silently(args, folder, redis_url, index):
    reading, writing = os.pipe()
    os.close(reading)
    process = start([index if arg == "{}" else arg for arg in args], folder, redis_url, stdout=writing)
    os.close(writing)
    assert finish(process) == (141, b"", b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
@pytest.mark.parametrize(
    "args", [["search", "{}", "sagt"], ["search", "{}", "sagt", "--json"], ["info", "{}"], ["--help"]]
)
def test_a_full_output_is_a_line_and_a_failure(args, folder, redis_url, index):
    with Path("/dev/full").open("w") as full:
        process = start([index if arg == "{}" else arg for arg in args], folder, redis_url, stdout=full)
        assert finish(process) == (1, b"", b"error: No space left on device\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
def test_an_error_that_cannot_be_told_is_a_failure_all_the_same(folder, redis_url, index):
    with Path("/dev/full").open("w") as full:
        assert finish(start(["info", "no-such-index"], folder, redis_url, stderr=full))[:2] == (1, b"")


def test_a_closed_output_is_no_failure(folder, redis_url, index):
    process = start(["info", index], folder, redis_url, preexec_fn=lambda: os.close(1), stdout=None)
    assert finish(process) == (0, b"", b"")


def test_queries_from_a_closed_standard_input_are_wrong_usage(folder, redis_url, index):
    process = start(["search", index, "-"], folder, redis_url, stdin=None, preexec_fn=lambda: os.close(0))
    code, _, err = finish(process)
    assert (code, err.splitlines()[-1]) == (2, b"Error: expected queries on standard input, got it closed")


def test_nobody_can_be_asked_on_a_closed_standard_input(folder, redis_url, index):
    process = start(["drop", index], folder, redis_url, stdin=None, preexec_fn=lambda: os.close(0))
    code, _, err = finish(process)
    assert code == 2
    assert err.splitlines()[-1].endswith(b"got it closed; --yes asks nothing")


@pytest.mark.parametrize(
    ("stdin", "words"), [(b"one\n\xff\n", "got other bytes in line 2"), (b" \n", "one a line, got none")]
)
def test_queries_that_cannot_be_read_are_wrong_usage(stdin, words, folder, redis_url, index):
    process = start(["search", index, "-"], folder, redis_url, stdin=subprocess.PIPE)
    code, out, err = finish(process, stdin)
    assert (code, out) == (2, b"")
    assert words in err.decode().splitlines()[-1]


# ---- interrupts ------------------------------------------------------------------------------------------------


def test_an_interrupt_is_a_line_and_the_exit_code_of_one(folder, redis_url, index):
    (folder / "stops.py").write_text("import os, signal\ndef embedder(): os.kill(os.getpid(), signal.SIGINT)\n")
    process = start(["search", index, "sagt", "--embedder", "stops:embedder"], folder, redis_url)
    assert finish(process) == (130, b"", b"interrupted\n")


def test_an_interrupt_at_a_question_is_one_too(folder, redis_url, index):
    process = start(["drop", index], folder, redis_url, stdin=subprocess.PIPE)
    asked = process.stderr.read(len(f"remove index {index} with "))
    assert asked.startswith(b"remove index")
    process.send_signal(signal.SIGINT)
    code, out, err = finish(process)
    assert (code, out) == (130, b"")
    assert err.endswith(b"aborted\n")


def test_the_demo_removes_no_documents_of_others(tmp_path, redis_url):
    with Index("handbook", url=redis_url) as index:
        Indexer(index).add_passages([Passage("own#0", "own", "My own text.", 0, 12)]).raise_for_failures()
        try:
            result = run_here(["demo"], "", tmp_path, {"RAGKNN_URL": redis_url})
            assert (result.returncode, index.count_documents()) == (1, 1)
            assert "got 1 other documents" in result.stderr
        finally:
            index.drop()
