"""What people see, kept in `screens/`: each command at 80 and 120 columns and in a pipe.

REFRESH_SCREENS=1 pytest tests/cli/test_screens.py   writes them anew; then look at what has changed.
"""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import REMEMBERING, run_here, run_in_a_process
from servers import private_server

from ragknn.server.embedded import RedisServer

SCREENS = Path(__file__).parent / "screens"
WIDTHS = {"80": "80", "120": "120", "pipe": None}
MODEL = "ragknn/hashing-256"

# What differs from run to run, and from machine to machine.
VARYING = (
    (re.compile(r"\d+\.\d+ s\b"), "0.0 s"),
    (re.compile(r"^((?:redis|search) version +)\S+$", re.MULTILINE), r"\g<1>8.0.0"),
    (re.compile(r"^(memory +)\S.*$", re.MULTILINE), r"\g<1>1.0 MB"),
)
FIGURES = re.compile(r"(distance|score) +-?\d+\.\d+")  # of a real model, whose last digits depend on the processor

DOCUMENTS = {
    "manual/locks.md": """---
label: locks
---
# Locks and keys

Your bicycle has a **frame lock** that the app opens. See [the app](https://app.example/locks) for help.

## The lock does not close

1. Look whether a spoke stands in the way, and *roll the bicycle* a little.
2. Press the lever down until you hear it. The display then shows `LOCKED`.
3. If the lock still does not close, lock it with a chain and call us.

| code | meaning | what to do |
|------|---------|------------|
| E40 | lock blocked | roll the bicycle |
| E41 | lock did not close | press it by hand |

## Lost keys

> A lost key is not a stolen bicycle.

Order another one in the app. It costs 20 euros and arrives within three days; until then you can open the lock with \
the telephone of another rider whom you have named.
""",
    "manual/battery.md": """---
label: battery
---
# Battery

Charge it indoors, between 10 and 25 degrees. In the cold it has less to give, and the display shows less range.

```sh
battery --status   # prints what is left
```
""",
    "letters/2024.txt": """Dear rider,

the lock of your bicycle was changed in May, and there is nothing that you have
to do about it. The old key opens the new lock as well, as long as you keep it
in a dry place.

Yours, the shop
""",
}
ROWS = [
    {"id": "t-1", "text": "the **lock** of my bike does not open any more", "label": "locks"},
    {"id": "t-2", "text": "my battery is empty after ten minutes in the cold", "label": "battery"},
    {"id": "t-3", "text": "I have lost both keys of the lock", "label": "locks"},
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with private_server(tmp_path_factory.mktemp("server")) as url:
        yield url


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, server: str) -> Path:
    """The documents, in an index `manual` of the server."""
    folder = tmp_path_factory.mktemp("screens")
    for name, text in DOCUMENTS.items():
        path = folder / "documents" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    rows = "".join(json.dumps(row) + "\n" for row in ROWS)
    (folder / "documents" / "tickets.jsonl").write_text(rows, encoding="utf-8")
    (folder / "questions.txt").write_text("lost key\nwinter range\n")
    words = ["--size", "90", "--unit", "words"]
    shown(["index", "manual", "documents", "--model", MODEL, *words], "80", folder, server)
    shown(
        ["index", "numbers", "documents/tickets.jsonl", "--model", MODEL, "--algorithm", "hnsw"], "80", folder, server
    )
    return folder


def shown(args: list[str], width: str, folder: Path, url: str) -> str:
    result = run_here(args, "", folder, {"RAGKNN_URL": url, "COLUMNS": WIDTHS[width]})
    assert (result.returncode, result.stderr) == (0, "")
    screen = result.stdout
    for pattern, constant in VARYING:
        screen = pattern.sub(constant, screen)
    return screen


def compare(name: str, width: str, screen: str) -> None:
    path = SCREENS / f"{name}-{width}.txt"
    if os.environ.get("REFRESH_SCREENS"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(screen, encoding="utf-8")
    assert screen.splitlines() == path.read_text(encoding="utf-8").splitlines()
    assert all(line == line.rstrip() for line in screen.splitlines())


COMMANDS = {
    "search": ["search", "manual", "the", "lock", "does", "not", "close", "-k", "3"],
    "search-text": ["search", "manual", "E41", "locked", "--mode", "text"],
    "search-hybrid": ["search", "manual", "lost keys", "--mode", "hybrid", "-k", "2"],
    "search-whole": ["search", "manual", "battery", "-k", "1", "--whole"],
    "search-nothing": ["search", "manual", "xylophone", "--mode", "text"],
    "search-file": ["search", "manual", "--file", "questions.txt", "-k", "1"],
    "classify": ["classify", "manual", "my", "key", "is", "lost", "-k", "3"],
    "classify-explain": ["classify", "manual", "my key is lost", "-k", "3", "--explain"],
    "show": ["show", "manual", "manual/locks.md"],
    "show-passages": ["show", "manual", "manual/locks.md", "--passages"],
    "info": ["info", "manual"],
    "list": ["list"],
}


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", COMMANDS)
def test_people_see_what_is_kept(name: str, width: str, folder: Path, server: str):
    screen = shown(COMMANDS[name], width, folder, server)
    compare(name, width, screen)
    assert width == "pipe" or max(map(len, screen.splitlines())) <= int(width)


@pytest.mark.long
@pytest.mark.usefixtures("vectors")
def test_the_demo_answers_shows_what_is_kept_and_its_next_steps_run(tmp_path: Path):
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "notes.md").write_text("# Notes\n\nBread is baked from flour and water.\n")
    # A server of its own, since the demo's index has a name that anyone may use.
    with RedisServer(tmp_path / "data") as server:
        embedded = {"RAGKNN_URL": "", "RAGKNN_DATA": str(server.data)}
        done = run_in_a_process(["demo", "--json"], "", folder, embedded, REMEMBERING)
        assert done.returncode == 0, done.stderr
        report, *answers, vote = map(json.loads, done.stdout.splitlines())
        assert (report["failed"], report["added"] > 60) == ([], True)
        assert {answer["query"]: answer["neighbors"][0]["document_id"] for answer in answers} == {
            "can my boss see where I ride": "privacy/location-data.md",
            "E42": "maintenance/error-codes.md",
            "the lock does not close and the display says E41": "maintenance/error-codes.md",
        }
        assert vote["label"] == "billing"

        for width in WIDTHS:
            screen = shown(["demo"], width, folder, server.url)
            compare("demo", width, FIGURES.sub(lambda found: re.sub(r"\d", "0", found[0]), screen))
        steps = [line.partition("  #")[0].split() for line in screen.splitlines() if line.startswith("ragknn ")]
        assert len(steps) >= 4
        for step in steps:
            result = run_here(step[1:], "", folder, {"RAGKNN_URL": server.url, "COLUMNS": "80"})
            assert (result.returncode, result.stderr) == (0, ""), step
