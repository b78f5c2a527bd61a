"""What the project shows is run: the README's code, the notebooks; and the corpora are what they say they are."""

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import yaml
from nbclient import NotebookClient

TESTS = Path(__file__).parent
ROOT = TESTS.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
HANDBOOK = ROOT / "corpora" / "handbook"
TICKETS = ROOT / "corpora" / "tickets"


def code_blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


@pytest.fixture
def vectors(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Let programs that begin with `import remembering` embed a text of the corpora once in this run of the tests.

    The demo of the command, which the tests of it run, begins from nothing.
    """
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "vectors"
    folder.mkdir(exist_ok=True)
    monkeypatch.setenv("TESTS_VECTORS", str(folder))
    monkeypatch.setenv("PYTHONPATH", str(TESTS), prepend=os.pathsep)


def test_the_readme_shows_an_install_and_a_result_within_thirty_lines():
    head = "\n".join(README.splitlines()[:30])
    assert "pip install" in head
    assert "```python" in head
    assert "```text" in head


@pytest.mark.long
@pytest.mark.usefixtures("vectors")
def test_the_python_of_the_readme_runs_and_prints_what_it_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RAGKNN_DATA", str(tmp_path))
    program = "\n".join(["import remembering", *code_blocks("python")])
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=150)
    assert result.returncode == 0, result.stderr
    shown = "".join(code_blocks("text")).splitlines()
    assert shown
    assert [line for line in shown if line not in result.stdout.splitlines()] == []


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


def test_every_setting_stands_in_the_readme():
    from ragknn.settings import Settings

    assert [name for name in Settings.model_fields if f"`RAGKNN_{name.upper()}`" not in README] == []
