"""Hostile files: each becomes a failure soon, and the next one is read."""

import gzip
import io
import json
import os
import resource
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import docx
import openpyxl
import psutil
import pytest
from made_files import outcomes, pdf, write

from ragknn.files.limits import Limits
from ragknn.files.reader import read_documents
from ragknn.records import Document
from ragknn.reports import Failure

SOON = Limits(seconds=0.5)


def compressed(stream: bytes, pages: int = 1) -> bytes:
    """Write a PDF whose only stream is compressed, and shown on so many pages."""
    return pdf("x", streams={1: zlib.compress(stream, 9)}, filtered="/Filter /FlateDecode", shown=pages)


def zipped(**files: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return file.getvalue()


SHOW = b"1 0 0 1 72 720 Tm (a) Tj "


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.pdf", compressed(b"BT /F1 12 Tf " + SHOW * 400_000 + b"ET")),
        ("a.pdf", compressed(b"BT /F1 12 Tf " + SHOW * 20_000 + b"ET", pages=1000)),
        ("a.html", b"<div>" * 80_000),
    ],
)
def test_what_takes_too_long_to_parse_is_a_failure_and_the_rest_is_read(
    tmp_path: Path, name: str, content: bytes
) -> None:
    write(tmp_path, name, content)
    write(tmp_path, "b.html", "<p>Sound.")
    slow, sound = outcomes(tmp_path, limits=SOON)
    assert slow.document_id == name
    assert slow.reason.startswith("expected a file that is parsed within 0.5 s, got one that takes longer; ")
    assert sound == Document("b.html", "Sound.")


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS does not keep to limits of memory")
def test_what_takes_too_much_memory_is_a_failure_and_the_rest_is_read(tmp_path: Path) -> None:
    write(tmp_path, "a.html", "<b>x</b>" * 500_000)
    write(tmp_path, "b.html", "<p>Sound.")
    greedy, sound = outcomes(tmp_path, limits=Limits(memory_bytes=60 * 2**20))
    assert isinstance(greedy, Failure)
    assert sound == Document("b.html", "Sound.")


def bytes_read() -> int:
    """Return how much this process has read so far, where the system tells."""
    process = psutil.Process()
    return process.io_counters().read_chars if hasattr(process, "io_counters") else 0


@pytest.mark.parametrize(
    "suffix", [".txt", ".md", ".csv", ".tsv", ".json", ".jsonl", ".html", ".pdf", ".docx", ".ipynb"]
)
def test_a_file_of_twenty_gigabytes_is_a_failure(tmp_path: Path, suffix: str) -> None:
    with (tmp_path / f"a{suffix}").open("wb") as file:
        file.truncate(20 * 10**9)  # it has no blocks on the disk
    write(tmp_path, "b.txt", "Sound.")
    memory, read = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, bytes_read()
    large, sound = outcomes(tmp_path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 500 * 2**10  # KiB
    assert bytes_read() - read < 10**8
    assert "_bytes of Limits" in large.reason
    assert sound == Document("b.txt", "Sound.")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt.gz", gzip.compress(b"x" * 5_000_000)),
        ("a.jsonl.gz", gzip.compress(b"x" * 5_000_000)),
        ("a.csv", b'text\n"' + b"x,\n" * 1_000_000),
        ("a.docx", zipped(document=b" " * 5_000_000)),
        ("a.epub", zipped(document=b" " * 5_000_000)),
    ],
)
def test_what_unpacks_to_too_much_is_a_failure(tmp_path: Path, name: str, content: bytes) -> None:
    [large] = outcomes(write(tmp_path, name, content), limits=Limits(text_bytes=2**20, file_bytes=2**22))
    assert isinstance(large, Failure)
    assert "_bytes of Limits" in large.reason


def test_rows_that_were_packed_to_next_to_nothing_are_not_read_for_ever(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv.gz", gzip.compress(b"text\n" + (b"x" * 10_000 + b"\n") * 300))
    *some, end = outcomes(path, limits=Limits(file_bytes=2**20))
    assert (len(some), type(end)) == (104, Failure)
    assert "file_bytes of Limits" in end.reason
    assert len(outcomes(path)) == 300


def test_limits_can_be_set(tmp_path: Path) -> None:
    path = write(tmp_path, "a.txt", "x" * 100)
    assert isinstance(outcomes(path, limits=Limits(text_bytes=99))[0], Failure)
    assert isinstance(outcomes(path, limits=Limits(text_bytes=100))[0], Document)
    rows = write(tmp_path, "a.csv", "text\n" + "x" * 100 + "\n")
    assert isinstance(outcomes(rows, limits=Limits(text_bytes=99))[0], Failure)
    pages = write(tmp_path, "a.pdf", pdf("x"))
    assert isinstance(outcomes(pages, limits=Limits(file_bytes=99))[0], Failure)


@pytest.mark.parametrize("option", ["text_bytes", "file_bytes", "seconds", "memory_bytes", "failures", "depth"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), "9", True])
def test_limits_are_positive_numbers(option: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"expected {option} as a number above 0"):
        Limits(**{option: value})


def test_a_large_file_has_more_time_than_one_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ragknn.files._isolation._BYTES_OF_A_SECOND", 100)  # as if its pages were not all the same
    path = write(tmp_path, "a.pdf", compressed(b"BT /F1 12 Tf " + SHOW * 100 + b"ET", pages=200))
    [document] = outcomes(path, limits=Limits(seconds=1.0))
    assert isinstance(document, Document)
    assert document.metadata["pages"] == 200


def test_a_small_file_with_many_pages_has_not(tmp_path: Path) -> None:
    path = write(tmp_path, "a.pdf", compressed(b"BT /F1 12 Tf " + SHOW * 100 + b"ET", pages=2_000))
    [failure] = outcomes(path, limits=Limits(seconds=0.5))
    assert "parsed within 0.5 s" in failure.reason


def test_a_sound_file_behind_a_damaged_one_is_parsed_by_the_same_process(tmp_path: Path) -> None:
    write(tmp_path, "a.pdf", b"no pdf")
    for name in ["b.pdf", "c.pdf"]:
        write(tmp_path, name, pdf("Sound."))
    damaged, *sound = outcomes(tmp_path, limits=Limits())
    assert isinstance(damaged, Failure)
    assert [one.text for one in sound] == ["Sound.", "Sound."]


def children() -> set[str]:
    """Return the processes that this one has started and that still run."""
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="the system does not tell of processes in this way")
def test_the_parsing_process_ends_with_the_reading(tmp_path: Path) -> None:
    for name in ["a.html", "b.html"]:
        write(tmp_path, name, "<p>Sound.")
    before = children()
    list(read_documents(tmp_path).outcomes())
    assert children() == before
    reading = read_documents(tmp_path).outcomes()
    next(reading)
    [process] = children() - before
    reading.close()
    assert not Path(f"/proc/{process}").exists()


def test_the_parser_is_the_package_that_runs_and_nothing_in_the_current_folder(tmp_path: Path) -> None:
    write(tmp_path, "selectolax.py", "raise SystemExit('the wrong module')")
    write(tmp_path, "a.html", "<p>Sound.")
    script = "import json, ragknn; print(json.dumps([one.text for one in ragknn.read_documents('a.html')]))"
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], cwd=tmp_path, env=environ, capture_output=True, text=True, check=True
    )
    assert (json.loads(done.stdout), done.stderr) == (["Sound."], "")


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS does not keep to limits of memory")
@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.json.gz"])
def test_json_that_takes_many_times_its_size_is_a_failure(tmp_path: Path, name: str) -> None:
    content = b'{"text": "x", "m": [' + b"[]," * 3_000_000 + b"[]]}"
    path = write(tmp_path, name, gzip.compress(content, 1) if name.endswith(".gz") else content)
    [greedy] = outcomes(path, limits=Limits(memory_bytes=60 * 2**20))
    assert isinstance(greedy, Failure)
    assert "MiB of memory" in greedy.reason


def test_large_json_is_read_in_the_other_process_as_in_this_one(tmp_path: Path) -> None:
    rows = [{"id": str(number), "text": "x" * 2000, "n": number} for number in range(5000)]
    path = write(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows)))
    assert outcomes(path, limits=Limits()) == outcomes(path)


def with_entity(part: bytes, path: Path) -> bytes:
    """Let a part in XML name an entity that stands for a file."""
    begin = part.find(b"?>") + 2 if part.startswith(b"<?") else 0
    entity = f'<!DOCTYPE r [<!ENTITY x SYSTEM "file://{path}">]>'.encode()
    return part[:begin] + entity + part[begin:].replace(b"&amp;x;", b"&x;")


@pytest.mark.parametrize("name", ["a.docx", "a.xlsx", "a.epub", "a.html", "a.rst", "a.md"])
def test_no_file_brings_another_one_in(tmp_path: Path, name: str) -> None:
    secret = write(tmp_path.parent, "secret.txt", "TOPSECRET")
    made, folder = io.BytesIO(), tmp_path
    if name == "a.docx":
        document = docx.Document()
        document.add_paragraph("see &x;")
        document.save(made)
    elif name == "a.xlsx":
        book = openpyxl.Workbook()
        book.active.append(["text"])
        book.active.append(["see &x;"])
        book.save(made)
    elif name == "a.epub":
        chapter = f"<item id='a' href='../../../../../../../../..{secret}'/><item id='b' href='b.html'/>"
        order = "<itemref idref='a'/><itemref idref='b'/>"
        made = io.BytesIO(
            zipped(
                **{
                    "META-INF/container.xml": b"<container><rootfile full-path='c'/></container>",
                    "c": f"<?xml version='1.0'?><package>{chapter}{order}</package>".encode(),
                    "b.html": f"<!DOCTYPE html [<!ENTITY x SYSTEM 'file://{secret}'>]><p>see &x;".encode(),
                }
            )
        )
    else:
        made.write(f"see\n\n.. include:: {secret}\n\n<iframe src='{secret}'></iframe>\n".encode())
    content = made.getvalue()
    if name in ("a.docx", "a.xlsx"):
        with zipfile.ZipFile(made) as archive:
            parts = {one: archive.read(one) for one in archive.namelist()}
        named = {one: with_entity(part, secret) for one, part in parts.items() if b"&amp;x;" in part}
        content = zipped(**{**parts, **named})
    write(folder, name, content)
    [read] = outcomes(folder)
    assert "TOPSECRET" not in str(read)
    assert isinstance(read, Failure) or "see" in read.text
