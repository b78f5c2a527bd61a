import gzip
import inspect
import os
import sys
from pathlib import Path

import pytest
from made_files import everything, notes, only, outcomes, write

from ragknn.errors import ReadError
from ragknn.files.reader import read_documents
from ragknn.records import Document
from ragknn.reports import Note


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ["a.md", "b.txt", "drafts/c.md", "drafts/keep.md", "d/e.txt", "d/drafts/f.md", "log/g.log", "h.xyz"]:
        write(tmp_path, name, name)
    for name in [".hidden.md", ".git/config.txt", "picture.png", "Makefile"]:
        write(tmp_path, name, "x")
    return tmp_path


def ids(path: object, **options: object) -> list[str]:
    return [one.id for one in outcomes(path, **options)]


def passed_over(path: object, **options: object) -> dict[str, str]:
    found = [one for one in everything(path, **options) if isinstance(one, Note)]
    assert {one.kind for one in found} <= {"passed over"}
    return {one.source: one.reason for one in found}


def test_what_is_passed_over_is_told(folder: Path) -> None:
    expected = {
        **{".git/": "hidden", ".hidden.md": "hidden"},
        **{"Makefile": "no known format: no suffix", "h.xyz": "no known format: .xyz"},
        "picture.png": "no known format: .png",
    }
    assert passed_over(folder) == expected
    assert {note.source for note in read_documents(folder).notes()} == set(expected)
    assert ids(folder) == ["a.md", "b.txt", "d/drafts/f.md", "d/e.txt", "drafts/c.md", "drafts/keep.md", "log/g.log"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"include": "*.md"}, ["a.md", "d/drafts/f.md", "drafts/c.md", "drafts/keep.md"]),
        ({"include": ["/*.md", "*.log"]}, ["a.md", "log/g.log"]),
        ({"include": "d/"}, ["d/drafts/f.md", "d/e.txt"]),
        ({"exclude": "drafts/"}, ["a.md", "b.txt", "d/e.txt", "log/g.log"]),
        ({"exclude": ["/drafts", "*.log"]}, ["a.md", "b.txt", "d/drafts/f.md", "d/e.txt"]),
        ({"exclude": ["drafts/*", "!keep.md", "d/**"]}, ["a.md", "b.txt", "drafts/keep.md", "log/g.log"]),
        ({"include": "*.md", "exclude": "drafts/"}, ["a.md"]),
        ({"include": "drafts/keep.md"}, ["drafts/keep.md"]),
    ],
)
def test_patterns_choose(folder: Path, options: dict, expected: list[str]) -> None:
    assert ids(folder, **options) == expected
    left = set(ids(folder)) - set(expected)
    told = passed_over(folder, **options)
    assert all(any(name == one or name.startswith(one) for one in told) for name in left)


def test_a_file_that_is_named_itself_is_read_whatever_the_patterns_say(folder: Path) -> None:
    assert ids(folder / "a.md", exclude="*.md") == ["a.md"]


@pytest.mark.parametrize(
    ("option", "error"), [([1], TypeError), ([b"*.md"], TypeError), (["["], None), (["!"], ValueError)]
)
def test_patterns_are_checked(folder: Path, option: list, error: type[Exception] | None) -> None:
    if error is None:
        read_documents(folder, exclude=option)
    else:
        with pytest.raises(error, match="expected include as patterns"):
            read_documents(folder, include=option)


def test_gitignore_files_count_if_wanted(folder: Path) -> None:
    write(folder, ".gitignore", "# comment\n*.log\n/drafts/*\n!keep.md\n")
    write(folder, "d/.gitignore", "drafts/\n!*.log\n")
    write(folder, "d/kept.log", "x")
    assert len(ids(folder)) == 8
    assert ids(folder, gitignore=True) == ["a.md", "b.txt", "d/e.txt", "d/kept.log", "drafts/keep.md"]
    assert passed_over(folder, gitignore=True)["log/g.log"] == "named in .gitignore"


@pytest.mark.timeout(20)
@pytest.mark.parametrize("target", ["/dev/zero", "../outside", "nowhere", "."])
def test_a_gitignore_that_leads_elsewhere_is_none(folder: Path, target: str) -> None:
    write(folder.parent, "outside", "*.md\n")
    (folder / ".gitignore").symlink_to(target)
    assert ids(folder, gitignore=True, follow_links=True) == ids(folder)


def test_a_gitignore_that_is_too_long_bars_its_folder(folder: Path) -> None:
    write(folder, "d/.gitignore", "*.md\n" * 20_000)
    barred = [str(one) for one in outcomes(folder, gitignore=True) if not isinstance(one, Document)]
    assert barred == ["d: expected a .gitignore of at most 65536 bytes, got more; shorten it"]


def test_a_folder_of_which_all_is_passed_over_is_refused_with_the_reasons(tmp_path: Path) -> None:
    write(tmp_path, "a.png", "x")
    with pytest.raises(ReadError, match=r"passed over: a\.png \(no known format: \.png\)"):
        read_documents(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ReadError, match="got an empty folder"):
        read_documents(tmp_path / "empty")
    with pytest.raises(ReadError, match=r"a\.txt \(not included\)"):
        read_documents(write(tmp_path, "more/a.txt", "x").parent, include="*.md")


# Symbolic links


def test_links_out_of_the_folder_are_passed_over_unless_wanted(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    write(inside, "a.txt", "a")
    write(tmp_path, "secret/key.txt", "secret")
    (inside / "file.txt").symlink_to(tmp_path / "secret/key.txt")
    (inside / "folder").symlink_to(tmp_path / "secret")
    (inside / "relative.txt").symlink_to("../secret/key.txt")
    (inside / "own.txt").symlink_to("a.txt")
    assert ids(inside) == ["a.txt", "own.txt"]
    assert set(passed_over(inside)) == {"file.txt", "folder/", "relative.txt"}
    followed = ["a.txt", "file.txt", "folder/key.txt", "own.txt", "relative.txt"]
    assert ids(inside, follow_links=True) == followed
    (tmp_path / "link").symlink_to(inside)
    assert ids(tmp_path / "link") == ["a.txt", "own.txt"]


# Files of no known format


def test_any_text_can_be_read_on_request(folder: Path) -> None:
    assert {"Makefile", "h.xyz"} <= set(ids(folder, as_text=True, exclude="*.png"))
    assert {"h.xyz"} == set(ids(folder, as_text="*.xyz")) - set(ids(folder))
    page = write(folder, "a.html", "<p>x</p>")
    assert (only(page).text, only(page, as_text=["*.html"]).text, only(page, format="text").text) == (
        *("x", "<p>x</p>"),
        "<p>x</p>",
    )
    write(folder, "music.mp3", b"ID3\0\0")
    told = passed_over(folder, as_text=True)
    assert told.pop("music.mp3").startswith("expected text, found a NUL byte")
    assert set(told) == {".git/", ".hidden.md"}
    with pytest.raises(ReadError, match="as_text=True"):
        read_documents(folder / "h.xyz")
    assert only(folder / "h.xyz", as_text=True).text == "h.xyz"


@pytest.mark.parametrize(
    "name", ["a.py", "a.rs", "A.JAVA", "a.ts", "a.sh", "a.yaml", "a.toml", "a.adoc", "a.org", "a.tex"]
)
def test_source_code_and_other_markup_are_text(tmp_path: Path, name: str) -> None:
    assert only(write(tmp_path, name, "# x\n\n---\ny: 1\n")).text == "# x\n\n---\ny: 1\n"


def test_a_format_can_be_named(tmp_path: Path) -> None:
    assert ids(write(tmp_path, "export.dat", '{"id": 1, "text": "x"}\n'), format="jsonl") == ["1"]
    with pytest.raises(ValueError, match="expected format to be one of text, markdown"):
        read_documents(tmp_path, format="word")


# Several paths


def test_equal_paths_in_two_folders_are_two_documents(tmp_path: Path) -> None:
    for name in ["x/README.md", "x/a.txt", "y/README.md", "note.md"]:
        write(tmp_path, name, name)
    paths = [tmp_path / "x", str(tmp_path / "y"), tmp_path / "note.md"]
    found = ["x/README.md", "x/a.txt", "y/README.md", "note.md"]
    assert ids(paths) == found
    assert ids(paths, prefix="kb/") == [f"kb/{name}" for name in found]
    assert [one.metadata["path"] for one in read_documents(paths)] == found


def test_two_paths_of_one_name_are_refused(tmp_path: Path) -> None:
    for name in ["x/docs/a.md", "y/docs/a.md"]:
        write(tmp_path, name, name)
    with pytest.raises(ValueError, match="each with a prefix"):
        read_documents([tmp_path / "x/docs", tmp_path / "y/docs"])
    with pytest.raises(ValueError, match="each with a prefix"):
        read_documents([tmp_path / "x/docs/a.md", tmp_path / "y/docs/a.md"])
    with pytest.raises(ReadError, match="got no path"):
        read_documents([])


def test_a_prefix_goes_before_ids_that_come_from_paths(tmp_path: Path) -> None:
    write(tmp_path, "a.md", "x")
    write(tmp_path, "b.jsonl", '{"id": "own", "text": "x"}\n{"text": "y"}')
    assert ids(tmp_path, prefix="hr/") == ["hr/a.md", "own", "hr/b.jsonl#2"]
    assert ids(tmp_path / "a.md", prefix="hr/") == ["hr/a.md"]


# The place of a document


def test_documents_know_their_place(tmp_path: Path) -> None:
    write(tmp_path, "guide/setup/a.MD", "x")
    write(tmp_path, "guide/rows.csv.gz", gzip.compress(b"id,text,path\n1,x,own\n2,y,\n"))
    write(tmp_path, "Makefile", "x")
    found = {one.id: one for one in read_documents(tmp_path, as_text=True)}
    assert found["guide/setup/a.MD"].metadata == {"path": "guide/setup/a.MD", "folder": "guide/setup", "suffix": ".md"}
    assert found["1"].metadata == {"path": "own", "folder": "guide", "suffix": ".csv"}
    assert found["2"].metadata["path"] == "guide/rows.csv.gz"
    assert found["Makefile"].metadata == {"path": "Makefile", "folder": "."}
    assert found["2"].source == "guide/rows.csv.gz:3"


# Packed files


@pytest.mark.parametrize("name", ["a.txt.gz", "a.md.GZ", "a.jsonl.gz", "a.json.gz", "a.csv.gz", "a.html.gz"])
def test_packed_files_are_read(tmp_path: Path, name: str) -> None:
    content = {"jsonl": '{"text": "x"}', "json": '[{"text": "x"}]', "csv": "text\nx\n"}.get(name.split(".")[1], "x")
    assert only(write(tmp_path, name, gzip.compress(content.encode()))).text == "x"


@pytest.mark.parametrize("cut", [slice(0, 12), slice(0, -9), slice(4, None)])
def test_damaged_packed_files_are_failures(tmp_path: Path, cut: slice) -> None:
    content = gzip.compress(os.urandom(100).hex().encode())
    write(tmp_path, "a.txt.gz", content[cut])
    write(tmp_path, "b.txt", "sound")
    bad, sound = outcomes(tmp_path)
    assert bad.reason.startswith("expected a file packed with gzip, got ")
    assert sound == Document("b.txt", "sound")
    assert notes(tmp_path) == []


def test_a_folder_may_be_deep(tmp_path: Path) -> None:
    write(tmp_path, "d/" * 150 + "a.txt", "deep")
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + 110)  # fewer calls within calls than the folder has levels
    try:
        [document] = outcomes(tmp_path)
    finally:
        sys.setrecursionlimit(before)
    assert document.text == "deep"
