"""The command `index`: what it reads, and what it says of what it did not read."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from commands import run_here, run_in_a_process

MODEL = ("--model", "ragknn/hashing-64")

Command = Callable[..., CompletedProcess[str]]


@pytest.fixture
def index(redis_url: str, tmp_path: Path, index_name: str) -> Command:
    """Run `ragknn index NAME ...` in an empty folder, against the session's Redis."""

    def run(*args: str, stdin: str | bytes = "", way: Callable = run_here) -> CompletedProcess[str]:
        return way(["index", index_name, *args, *MODEL], stdin, tmp_path, {"RAGKNN_URL": redis_url, "COLUMNS": "120"})

    return run


@pytest.fixture
def stored(redis_url: str, tmp_path: Path, index_name: str) -> Callable[[], list[str]]:
    def ids() -> list[str]:
        sync = ["index", index_name, "nothing.txt", "--sync", "--dry-run", "--json"]
        (tmp_path / "nothing.txt").write_text("another document")
        [report] = rows(run_here(sync, "", tmp_path, {"RAGKNN_URL": redis_url}))
        (tmp_path / "nothing.txt").unlink()
        return sorted(report["ids"]["deleted"])

    return ids


def rows(result: CompletedProcess[str], code: int = 0) -> list[dict]:
    assert result.returncode == code, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def report(result: CompletedProcess[str], code: int = 0) -> dict:
    [only] = rows(result, code)
    return only


def complaint(result: CompletedProcess[str], code: int) -> str:
    assert (result.returncode, result.stdout) == (code, "")
    assert "Traceback" not in result.stderr
    return result.stderr.splitlines()[-1]


def write(folder: Path, **files: str | bytes) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


def test_the_report_tells_what_was_not_read(index: Command, tmp_path: Path):
    names = ["a.png", "b.png", "c.png", "d.png", "notes/.git/x.txt", "notes/draft.md"]
    write(
        tmp_path / "in",
        **dict.fromkeys(names, "x"),
        **{"kept.md": "Kept.", "empty.txt": "", "old.csv": b"text\ncaf\xe9\n"},
    )
    shown = index("in", "--exclude", "draft*")
    assert shown.returncode == 0
    assert shown.stdout.splitlines()[1:] == [
        "passed over 4: a.png, b.png, c.png and 1 more (no known format: .png)",
        "passed over 1: notes/draft.md (excluded)",
        "passed over 1: notes/.git/ (hidden)",
        "empty: empty.txt: the file is empty",
        "assumed: old.csv: read as windows-1252, since it is not UTF-8; if it is something else, name its encoding",
    ]
    notes = report(index("in", "--exclude", "draft*", "--json"))["notes"]
    assert len(notes) == 8
    assert notes[0] == {
        "kind": "passed over",
        "source": "a.png",
        "reason": "no known format: .png",
        "document_id": None,
    }


def test_a_dry_run_tells_what_would_be_done_and_does_nothing(index: Command, stored: Callable, tmp_path: Path):
    write(tmp_path / "in", **{"a.md": "One.", "b.md": "Two."})
    shown = index("in", "--dry-run")
    assert shown.stdout == (
        "dry run, nothing written: 2 added, 0 updated, 0 unchanged, 0 deleted, 0 failed\n+ a.md\n+ b.md\n"
    )
    index("in")
    write(tmp_path / "in", **{"a.md": "Changed.", "c.md": "Three."})
    (tmp_path / "in/b.md").unlink()
    assert index("in", "--dry-run", "--sync").stdout.splitlines()[1:] == ["+ c.md", "~ a.md", "- b.md"]
    assert index("in", "--dry-run").stdout.splitlines()[1:] == ["+ c.md", "~ a.md"]
    dry = report(index("in", "--dry-run", "--sync", "--json"))
    changed = {"added": ["c.md"], "updated": ["a.md"], "deleted": ["b.md"]}
    assert (dry["dry_run"], {what: ids for what, ids in dry["ids"].items() if ids}) == (True, changed)
    assert stored() == ["a.md", "b.md"]


def test_a_dry_run_of_a_new_index_tells_what_the_real_one_does(index: Command, tmp_path: Path):
    write(tmp_path, **{"a.csv": "id,text\n1,One.\n2,\n1,Two.\n", "b.txt": b"\x80"})
    told = [report(index("a.csv", "b.txt", *dry, "--json"), code=3) for dry in (["--dry-run"], [])]
    assert len(told[0]["failed"]) == 2
    for key in ("added", "ids", "reasons", "failed", "notes"):
        assert told[0][key] == told[1][key]


def test_several_paths_and_a_prefix(index: Command, stored: Callable, tmp_path: Path):
    write(tmp_path, **{"a/README.md": "One.", "b/README.md": "Two.", "c.txt": "Three."})
    assert report(index("a", "b", "c.txt", "--json"))["added"] == 3
    assert stored() == ["a/README.md", "b/README.md", "c.txt"]
    assert report(index("b", "--prefix", "b/", "--json"))["unchanged"] == 1
    write(tmp_path, **{"x/README.md": "Four.", "x/a/README.md": "Five."})
    index("a")
    assert index("x", "--exclude", "a/").stdout.splitlines()[1:3] == [
        "updated 1: README.md (text: 1)",
        "passed over 1: a/ (excluded)",
    ]
    assert "each with a prefix" in complaint(index("a", "x/a"), 2)


def test_standard_input(index: Command, stored: Callable):
    assert report(index("-", "--json", stdin='{"id": 1, "text": "One."}\n{"id": 2, "text": "Two."}\n'))["added"] == 2
    assert report(index("-", "--as", "csv", "--json", stdin="id;text\n3;Three.\n", way=run_in_a_process))["added"] == 1
    assert report(index("-", "--json", stdin="Only text.\n"))["added"] == 1
    assert report(index("-", "--json", "--prefix", "x", stdin='[{"text": "Five."}]'))["added"] == 1
    assert stored() == ["1", "2", "3", "stdin.json#1", "stdin.txt"]
    assert report(index("-", "--json", stdin=""))["notes"][0]["kind"] == "empty"


def test_standard_input_may_be_packed(index: Command, stored: Callable):
    index("-", stdin=gzip.compress(b'{"id": "x", "text": "From a pipe."}\n'))
    assert stored() == ["x"]
    assert report(index("-", "--json", stdin=b"\x1f\x8b broken"), code=3)["failed"][0]["source"] == "stdin.txt.gz"


def test_options_of_reading(index: Command, stored: Callable, tmp_path: Path):
    write(
        tmp_path / "in",
        **{
            "a.csv": "key:words\n1:Größe".encode("cp1252"),
            "b.log": "A log.",
            "c.jsonl.gz": gzip.compress(b'{"key": 2, "words": "Two."}'),
            ".gitignore": "d.md\n",
            "d.md": "Ignored.",
            "e.conf2": "A setting.",
        },
    )
    fields = ("--text-field", "words", "--id-field", "key", "--delimiter", ":", "--encoding", "cp1252")
    found = report(index("in", *fields, "--gitignore", "--as", "text", "--json"))
    assert found["failed"] == []
    assert stored() == ["1", "2", "b.log", "e.conf2"]
    assert report(index("in", "--include", "*.md", "--as-text", "*.conf2", "--json"))["ids"]["added"] == ["d.md"]
    (tmp_path / "in/link.md").symlink_to(__file__)
    assert report(index("in", "--include", "link.md", "--follow-links", "--json"))["added"] == 1
    small = report(index("in", "--include", "*.md", "--limit", "text_bytes=3", "--json"), 3)
    assert "text_bytes of Limits" in small["failed"][0]["reason"]


@pytest.mark.parametrize(
    ("args", "code", "told"),
    [
        (["nowhere"], 1, "error: nowhere: expected a file or folder, got nothing there; check the path"),
        ([], 2, "Missing argument 'PATH...'"),
        (["."], 1, "error: .: expected files ending in one of"),
        ([__file__, "--encoding", "klingon"], 2, "expected an encoding such as"),
        ([__file__, "--delimiter", "ab"], 2, "expected a delimiter of one character"),
        ([__file__, "--as", "word"], 2, "'word' is not one of"),
        ([__file__, "--limit", "seconds"], 2, "expected NAME=NUMBER with one of text_bytes"),
        ([__file__, "--limit", "seconds=-1"], 2, "expected seconds as a number above 0"),
        ([__file__, "--limit", "depth=x"], 2, "expected NAME=NUMBER"),
        ([__file__, "--include", "!"], 2, "expected include as patterns"),
    ],
)
def test_wrong_use_is_one_line(index: Command, args: list[str], code: int, told: str):
    assert told in complaint(index(*args), code)


def test_a_new_index_can_be_filtered_by_where_its_documents_come_from(
    index: Command, index_name: str, redis_url: str, tmp_path: Path
) -> None:
    (tmp_path / "notes" / "guide").mkdir(parents=True)
    for name in ("a.txt", "guide/b.md", "guide/c.txt"):
        (tmp_path / "notes" / name).write_text("rent is due")
    assert report(index("notes", "--json"))["added"] == 3
    for where, ids in (
        ('{"folder": "guide"}', {"guide/b.md", "guide/c.txt"}),
        ('{"suffix": ".txt"}', {"a.txt", "guide/c.txt"}),
        ('{"path": {"$prefix": "guide/b"}}', {"guide/b.md"}),
    ):
        search = ["search", index_name, "rent", "--where", where, "--json"]
        found = report(run_here(search, "", tmp_path, {"RAGKNN_URL": redis_url, "COLUMNS": "120"}))
        assert {neighbor["document_id"] for neighbor in found["neighbors"]} == ids
    assert report(index("notes", "--json"))["unchanged"] == 3


def test_a_dtype_may_be_left_to_the_command(index, tmp_path, redis_url, index_name):
    (tmp_path / "a.txt").write_text("some text")
    assert index("a.txt", "--dtype", "auto").returncode == 0
    [info] = rows(run_here(["info", index_name, "--json"], "", tmp_path, {"RAGKNN_URL": redis_url}))
    assert (info["dtype"], info["storage"]) == (
        "float16",
        "128 bytes a vector, in its hash and in the search index",
    )
    [found] = rows(
        run_here(["search", index_name, "text", "--recall", "0.99", "--json"], "", tmp_path, {"RAGKNN_URL": redis_url})
    )
    assert len(found["neighbors"]) == 1
    refused = run_here(["search", index_name, "text", "--recall", "1.5"], "", tmp_path, {"RAGKNN_URL": redis_url})
    assert refused.returncode == 2
