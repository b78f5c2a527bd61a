"""Nothing that comes from data reaches a terminal as an order, and nothing of it is taken for markup."""

import contextlib
import io
import json
import os
import pty
import re
import shutil
import subprocess
import sys
import unicodedata
from itertools import count

import pytest
from commands import run_here
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ragknn import Document, FunctionEmbedder, Index, Indexer
from ragknn._display.inert import visible
from ragknn.cli.screen import Screen, print_json

# What a terminal obeys, and halves of characters, which no stream can write.
ORDERS = [chr(code) for code in (*range(0x20), *range(0x7F, 0xA0))]
TURNS = [*"\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"]
MARKUP = ["[/v2]", "[bold]", "[/]", "[link=file:///etc/passwd]x[/link]", ":warning:", "[red]", "\\[", "]", "{0}", "%s"]
ESCAPES = ["\x1b[31m", "\x1b]0;title\x07", "\x1b]8;;http://x\x1b\\", "\x9b31m", "\x1bc", "\x1b[2J"]

hostile = st.lists(st.sampled_from([*ORDERS, *TURNS, *MARKUP, *ESCAPES, "word", " ", "é"]), min_size=1, max_size=8).map(
    "".join
)
numbers = count()


def is_inert(shown: str) -> bool:
    """Tell whether a text holds no character that a terminal obeys, line breaks aside."""
    return all(char in "\n\t" or unicodedata.category(char) not in ("Cc", "Cs") for char in shown) and not (
        set(TURNS) & set(shown)
    )


def vectors(texts):
    return [[1.0, float(len(text))] for text in texts]


@settings(max_examples=25)
@given(hostile, hostile, hostile, hostile)
@example("[/v2]", "[/v2]", "[/v2]", "[/v2]")
@example("\x1b[31m", "a\x9b\u202eb", "\x1b]0;x\x07", "\r\x08")
def test_commands_show_hostile_data_as_data(redis_url, tmp_path_factory, document_id, text, label, name):
    folder = tmp_path_factory.getbasetemp()
    index_name = f"inert-{os.getpid()}-{next(numbers)}"
    name = f"{name}-name"  # an embedder needs one, and spaces are none
    (folder / "inert_embedder.py").write_text(
        f"from ragknn import FunctionEmbedder\n"
        f"embedder = FunctionEmbedder({name!r}, lambda texts: [[1.0, float(len(text))] for text in texts])\n"
    )
    # As long as the one before, and of the same second, its bytecode would be taken for that of this one.
    shutil.rmtree(folder / "__pycache__", ignore_errors=True)
    sys.modules.pop("inert_embedder", None)
    document = Document(f"{document_id}.md", f"word {text}", label, {text: text, "title": label})
    with Index(index_name, url=redis_url, embedder=FunctionEmbedder(name, vectors)) as index:
        Indexer(index).add([document]).raise_for_failures()
        try:
            for args in (
                ["search", index_name, f"word {text}", "--embedder", "inert_embedder:embedder"],
                ["search", index_name, "word", "--embedder", "inert_embedder:embedder", "--context", "50"],
                ["search", index_name, "word"],
                ["classify", index_name, text, "-k", "1", "--explain", "--embedder", "inert_embedder:embedder"],
                ["show", index_name, document.id, text, "--passages"],
                ["info", index_name],
                ["list"],
                ["delete", index_name, "--where", json.dumps({label: 1})],
                ["index", index_name, document_id.replace("\0", "") or "x"],
                [text],
                ["list", "--url", label],
            ):
                result = run_here(args, "", folder, {"RAGKNN_URL": redis_url, "COLUMNS": "80"})
                assert is_inert(result.stdout), args
                assert is_inert(result.stderr), args
            [answer] = run_here(
                ["search", index_name, "word", "--embedder", "inert_embedder:embedder", "--json"],
                "",
                folder,
                {"RAGKNN_URL": redis_url},
            ).stdout.splitlines()
            assert is_inert(answer)
            [neighbor] = json.loads(answer)["neighbors"]
            assert (neighbor["document_id"], neighbor["label"]) == (document.id, label)
        finally:
            index.drop()


@given(st.text(max_size=30))
def test_what_is_visible_is_inert_and_as_wide(text):
    assert is_inert(visible(text))
    assert len(visible(text)) == len(text.replace("\r\n", "\n"))


@given(st.text(max_size=30) | st.floats() | st.dictionaries(st.text(max_size=5), st.text(max_size=5)))
def test_json_is_inert_and_loses_nothing(value):
    written = io.BytesIO()
    stream = io.TextIOWrapper(written, encoding="utf-8", write_through=True)
    with contextlib.redirect_stdout(stream):
        print_json({"value": value})
    [line] = written.getvalue().decode().split("\n")[:-1]
    assert is_inert(line)
    expected = None if isinstance(value, float) and value - value != 0 else value
    assert json.loads(line)["value"] == expected


@pytest.mark.parametrize("way", ["str", "text", "table", "print"])
def test_a_screen_is_the_last_guard_whatever_is_printed(way, capsys):
    from rich.table import Table
    from rich.text import Text

    screen, data = Screen(), "".join([*ORDERS, *TURNS, *MARKUP, *ESCAPES])
    if way == "table":
        table = Table("head", title=data)
        table.add_row(data)
        screen.print(table)
    else:
        screen.print({"str": data, "text": Text(data), "print": [data]}[way])
    shown = capsys.readouterr().out
    assert is_inert(shown)
    assert way == "print" or "[bold]" in shown


def test_in_a_terminal_only_colors_are_escape_sequences(redis_url, tmp_path):
    (tmp_path / "a.md").write_text("word \x1b]0;title\x07 \x1b[31mred\x1b[0m \u202eturned [bold]x[/bold]")
    environ = {**os.environ, "RAGKNN_URL": redis_url, "TERM": "xterm-256color", "COLUMNS": "80"}
    name = f"inert-{os.getpid()}-terminal"
    command = [sys.executable, "-m", "ragknn"]
    ours, theirs = pty.openpty()
    try:
        run_here(["index", name, "a.md", "--model", "ragknn/hashing-16"], "", tmp_path, {"RAGKNN_URL": redis_url})
        process = subprocess.Popen([*command, "search", name, "word"], stdout=theirs, stderr=theirs, env=environ)
        os.close(theirs)
        shown = b""
        while chunk := read(ours):
            shown += chunk
        assert process.wait(60) == 0
    finally:
        os.close(ours)
        run_here(["drop", name, "--yes"], "", tmp_path, {"RAGKNN_URL": redis_url})
    text = shown.decode().replace("\r\n", "\n")
    assert "\x1b[1;33mword\x1b[0m" in text  # what was asked for is marked
    assert is_inert(re.sub(r"\x1b\[[0-9;]*m", "", text))
    assert "␛]0;title␇ ␛[31mred␛[0m \ufffdturned [bold]x[/bold]" in re.sub(r"\x1b\[[0-9;]*m", "", text)


def read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 1 << 16)
    except OSError:  # so it ends on Linux
        return b""
