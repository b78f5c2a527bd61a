"""What the project shows is run: the README's code, the pages, the notebooks; and the corpora are what they say."""

import csv
import json
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import nbformat
import pytest
import yaml
from commands import run_in_a_process
from nbclient import NotebookClient

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
SHOWN = "\n".join([README, *(page.read_text(encoding="utf-8") for page in PAGES)])
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
# What the README takes for the reader's own folder.
NOTES = {
    "letters/rent.md": "# The rent\n\nThe rent is due on the third working day of each month.\n",
    "old/letter.md": "# A letter\n\nThank you for the flowers.\n",
    "plants.txt": "The fern wants water twice a week.\n",
}
# Runs each line of the standard input as a shell would, in one process, so that the model is loaded once.
RUN_COMMANDS = """
import os, shlex, sys
import remembering
from ragknn.cli import cli

for line in sys.stdin.read().splitlines():
    words = [os.path.expanduser(word) for word in shlex.split(line, comments=True)]
    try:
        code = cli(words[1:], prog_name="ragknn", standalone_mode=True) or 0
    except SystemExit as end:
        code = end.code or 0
    print(f"=== {code} {line}", flush=True)
"""
# What a page needs that the tests do not install.
NEEDS = {"dspy.md": "dspy"}
HANDBOOK = ROOT / "corpora" / "handbook"
TICKETS = ROOT / "corpora" / "tickets"


def code_blocks(language: str, page: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page, re.DOTALL | re.MULTILINE)


def shell_lines(page: str = README) -> list[str]:
    """Return the lines of a page's shell blocks."""
    return [line for block in code_blocks("sh", page) for line in block.splitlines() if line.strip()]


def run_python(page: str, folder: Path) -> None:
    """Run the Python of a page as one program, which must print what the page shows."""
    program = "\n".join(["import remembering", *code_blocks("python", page)])
    result = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, timeout=380)
    assert result.returncode == 0, result.stderr
    shown = "".join(code_blocks("text", page)).splitlines()
    assert [line for line in shown if line not in result.stdout.splitlines()] == []


def run_commands(lines: list[str], folder: Path) -> str:
    """Run commands word for word and in their order, none of which may fail; return what they print."""
    options = {"cwd": folder, "capture_output": True, "text": True, "timeout": 380}
    result = subprocess.run([sys.executable, "-c", RUN_COMMANDS], input="\n".join(lines), **options)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    codes = re.findall(r"^=== (\d+) (.*)$", result.stdout, re.MULTILINE)
    assert codes == [("0", line) for line in lines], result.stderr[-3000:]
    return result.stdout


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the corpora, in which an example may write; no data yet, and a home with some notes."""
    folder, home = tmp_path / "checkout", tmp_path / "home"
    folder.mkdir()
    (folder / "corpora").symlink_to(ROOT / "corpora")
    for name, text in NOTES.items():
        path = home / "notes" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("RAGKNN_DATA", str(tmp_path / "data"))
    return folder


def test_the_first_thirty_lines_lead_to_a_result_on_own_files():
    head = "\n".join(README.splitlines()[:30])
    [install, *_] = code_blocks("sh")
    assert "pip install torch --index-url https://download.pytorch.org/whl/cpu" in install
    assert "pip install '.[local,plot]'" in install
    assert install.index("pip install torch") < install.index("'.[local,plot]'") < install.index("ragknn index")
    assert install.index("ragknn index") < install.index("ragknn search")
    assert install in head
    assert "```python" in head
    assert "```text" in head


def test_the_readme_and_the_notebooks_share_no_index():
    def names(text: str) -> set[str]:
        return set(re.findall(r"""Index\(\\?"([^"\\]+)""", text))

    ours = names(README)
    assert {"handbook", "tickets"} <= ours
    for path in NOTEBOOKS:
        theirs = names(path.read_text(encoding="utf-8"))
        assert theirs
        assert all(name.startswith("notebook-") for name in theirs)
        assert ".drop()" not in path.read_text(encoding="utf-8")
    # Those of the README that are dropped at the end are nobody else's.
    dropped = [block for block in code_blocks("python") if ".drop()" in block]
    assert dropped
    assert all(name.startswith("readme-") for block in dropped for name in names(block))


@pytest.mark.long
@pytest.mark.timeout(400)  # likewise
@pytest.mark.usefixtures("vectors")
def test_the_python_of_the_readme_runs_and_prints_what_it_shows(checkout: Path):
    assert code_blocks("text")
    run_python(README, checkout)


@pytest.mark.long
@pytest.mark.timeout(400)  # the first to embed the corpora, on a busy machine
@pytest.mark.usefixtures("vectors")
def test_the_commands_of_the_readme_run_word_for_word_in_their_order(checkout: Path):
    ours = [line for line in shell_lines() if line.startswith("ragknn ")]
    # What installs, or needs a container, is not run.
    others = [line for line in shell_lines() if line not in ours]
    assert [line for line in others if not line.startswith(("pip install ", "docker run ", "export RAGKNN_URL="))] == []
    # Those about the server come last, and are run when no process uses it any more.
    about_server = [line for line in ours if line.startswith("ragknn server ")]
    assert ours[-len(about_server) :] == about_server
    here = ours[: -len(about_server)]
    printed = run_commands(here, checkout)
    for line in about_server:
        done = run_in_a_process(shlex.split(line, comments=True)[1:], "", checkout, {})
        assert done.returncode == 0, done.stderr
    assert "letters/rent.md" in printed
    assert (checkout / "k.png").is_file()
    names = {words[2] for words in map(str.split, ours) if words[1] in ("index", "drop", "classify", "tune", "info")}
    assert names == {"mine", "tickets"}


def test_every_command_stands_in_the_readme_or_on_a_page():
    from ragknn.cli import COMMANDS

    lines = shell_lines(SHOWN)
    assert [name for name in COMMANDS if not any(line.startswith(f"ragknn {name}") for line in lines)] == []


@pytest.mark.long
@pytest.mark.timeout(400)
@pytest.mark.usefixtures("vectors")
@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_what_a_page_shows_is_run(checkout: Path, path: Path):
    """First all of its Python as one program, then its commands."""
    if path.name in NEEDS:
        pytest.importorskip(NEEDS[path.name])
    page = path.read_text(encoding="utf-8")
    if code_blocks("python", page):
        run_python(page, checkout)
    if lines := [line for line in shell_lines(page) if line.startswith("ragknn ")]:
        run_commands(lines, checkout)
    # On a "console" is what needs servers elsewhere; it is shown, and not run.
    known = {"python", "text", "sh", "redis", "toml", "yaml", "json", "console"}
    assert set(re.findall(r"^```(\w*)\n.*?^```$", page, re.DOTALL | re.MULTILINE)) <= known


def test_every_page_is_in_the_list_of_pages_and_leads_somewhere():
    listed = (DOCS / "README.md").read_text(encoding="utf-8")
    names = [page.relative_to(DOCS).as_posix() for page in PAGES]
    assert [name for name in names if name != "README.md" and f"({name})" not in listed] == []
    for page in PAGES:
        links = re.findall(r"\]\(([^)#:]+)[^)]*\)", page.read_text(encoding="utf-8"))
        assert [link for link in links if not (page.parent / link).exists()] == [], page.name


def test_every_extra_that_the_readme_names_is_one():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = re.findall(r"ragknn\[([a-z,-]+)\]|the\s+extra\s+`(\w+)`", README)
    assert {extra for pair in named for some in pair for extra in some.split(",") if extra} <= {
        *project["optional-dependencies"]
    }


@pytest.mark.long
@pytest.mark.usefixtures("vectors")
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebook_runs_from_top_to_bottom(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RAGKNN_DATA", str(tmp_path))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    startup = tmp_path / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "vectors.py").write_text("import remembering\n")
    notebook = nbformat.read(path, 4)
    NotebookClient(
        notebook, timeout=150, kernel_name="python3", resources={"metadata": {"path": path.parent}}
    ).execute()
    assert not [out for cell in notebook.cells for out in cell.get("outputs", []) if out.output_type == "error"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebook_is_kept_with_outputs_and_without_traces_of_a_machine(path: Path):
    cells = [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]
    assert any(cell.outputs for cell in cells)
    assert not re.search(r"/(home|root|Users|work|tmp)/", path.read_text(encoding="utf-8"))


def test_the_handbook_is_large_and_labelled_enough():
    documents = sorted(HANDBOOK.glob("*/*.md"))
    front = [yaml.safe_load(path.read_text(encoding="utf-8").split("---\n")[1]) for path in documents]
    assert len(documents) >= 60
    assert len({entry["label"] for entry in front}) >= 8
    assert all(entry["label"] == path.parent.name for entry, path in zip(front, documents, strict=True))


def test_the_questions_of_the_handbook_have_answers_in_it():
    lines = (HANDBOOK / "queries.jsonl").read_text(encoding="utf-8").splitlines()
    questions = {row["_id"]: row["text"] for row in map(json.loads, lines)}
    with (HANDBOOK / "qrels" / "test.tsv").open(encoding="utf-8") as file:
        judgements = list(csv.DictReader(file, delimiter="\t"))
    assert len(questions) == len(lines) >= 80
    assert {row["query-id"] for row in judgements if row["score"] == "2"} == set(questions)
    assert {row["score"] for row in judgements} == {"1", "2"}
    assert [row["corpus-id"] for row in judgements if not (HANDBOOK / row["corpus-id"]).is_file()] == []


def test_the_tickets_are_many_and_split_by_class():
    train, test = (
        [json.loads(line) for line in (TICKETS / f"{part}.jsonl").read_text(encoding="utf-8").splitlines()]
        for part in ("train", "test")
    )
    texts = [ticket["text"] for ticket in train + test]
    assert len(set(texts)) == len(texts) >= 600
    assert len({ticket["id"] for ticket in train + test}) == len(texts)
    assert {ticket["label"] for ticket in train} == {ticket["label"] for ticket in test}
    assert len({ticket["label"] for ticket in train}) >= 12


@pytest.mark.parametrize("folder", [HANDBOOK, TICKETS], ids=lambda path: path.name)
def test_each_corpus_says_where_it_comes_from(folder: Path):
    assert "written for this project" in " ".join((folder / "README.md").read_text(encoding="utf-8").split())


def test_every_setting_stands_in_the_readme_or_on_a_page():
    from ragknn.settings import Settings

    assert [name for name in Settings.model_fields if f"`RAGKNN_{name.upper()}`" not in SHOWN] == []
