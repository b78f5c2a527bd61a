"""Every command with values that cannot be: one line that says why, and the exit code of wrong usage or of failure."""

import json
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from commands import run_here

MODEL = "ragknn/hashing-16"
DEEP = 3000  # levels of JSON: more than Python's own parser takes

FILTERS = {
    "no": "expected JSON such as",
    "": "expected JSON such as",
    "[1]": "expected a JSON object",
    "null": "expected a JSON object",
    "3": "expected a JSON object",
    '"label"': "expected a JSON object",
    '{"label": [1]}': "expected one value, got [1]",
    '{"label": {"a": 1}}': "expected an operator",
    '{"label": {"$in": []}}': "expected $in with at least one value",
    '{"label": {"$in": 3}}': "expected $in with a list",
    '{"label": {"$in": [[1]]}}': "expected one value",
    '{"label": {"$eq": {"x": 1}}}': "expected a value",
    '{"label": "\\ud800"}': "U+D800",
    '{"nope": 1}': "expected a field that can be filtered on",
    '{"": 1}': "expected a field that can be filtered on",
    '{"year": "x"}': "expected a number",
    '{"year": NaN}': "expected a number",
    '{"year": {"$gte": null}}': "expected a number",
    '{"year": 1, "year": 2}': "'year' stands there more than once",
    '{"$not": {"label": "a", "year": 1, "label": "b"}}': "'label' stands there more than once",
    '{"year": {"$foo": 1}}': "expected an operator",
    '{"year": {}}': "expected a value or an operator",
    '{"$or": 3}': "expected $or with a list",
    '{"$and": []}': "expected $and with at least one mapping",
    '{"$not": 5}': "expected a filter as a mapping",
    '{"$contains": "x"}': "expected a field, $and, $or or $not",
    '{"year": ' + "9" * 400 + "}": "field 'year'",
    '{"year": ' + "9" * 5000 + "}": "expected JSON such as",
    "[" * DEEP: "expected JSON such as",
    '{"$not":' * DEEP + "1" + "}" * DEEP: "expected",
}

COUNTS = {"x": "not a valid integer", "1.5": "not a valid integer", "": "not a valid integer", "nan": "not a valid"}
TOO_MANY = {"10000000": "expected at most 1,000,000", "9" * 30: "expected at most 1,000,000"}
BELOW_ONE = {"0": "expected", "-1": "expected"}
NUMBERS = {"x": "not a valid float", "": "not a valid float", "nan": "expected", "-inf": "expected", "-1": "expected"}
SHARES = {**NUMBERS, "2": "expected", "inf": "expected"}
CHOICES = {"foo": "is not one of", "": "is not one of"}
NAMES = dict.fromkeys(["", "a b", "../x", "ä", "*", "{x}", "a:b", "\x1b[31m", "-"], "expected an index name of letters")
URLS = {
    "redis://h?x=1": "unexpected keyword argument 'x'",
    "redis://:a/b@h": "percent-encoded",
    "http://h": "expected a URL like",
    "h": "expected a URL like",
    "redis://h:99999999": "a port is a number",
    "redis://h/abc": "expected the number of a database",
    "redis://127.0.0.1:1": "expected Redis at 127.0.0.1:1",
    "unix:///nowhere.sock": "expected Redis at /nowhere.sock",
}
PICTURES = {
    "no/x.png": "expected a file in a folder that exists",
    "x.xls": "expected a file ending in .png",
    ".": "expected a file ending in .png",
    "": "expected a file ending in .png",
    "texts": "expected a file ending in .png",
    "folder.png": "expected a file in a folder that exists",
}
EMBEDDERS = {
    "x": "expected MODULE:OBJECT",
    "": "expected MODULE:OBJECT",
    "a/b.py:x": "write the module as a.b",
    "own:": "expected MODULE:OBJECT",
    "nowhere:x": "expected a module nowhere",
    "own:nothing": "expected 'nothing' in own:nothing, found",
    "own:number": "expected own:number to be an embedder, got the int 3",
    "own:embed": "can be called without arguments",
    "own:later": "expected own:later to be a plain function",
    "own:makes_none": "expected own:makes_none to be an embedder, got None",
    "own:Needs": "can be called without arguments",
}

# What comes before the value, which values, and the exit code of all of them.
TABLE = [
    *(
        (command, FILTERS, 2)
        for command in (
            ["search", "{index}", "word", "--where"],
            ["classify", "{index}", "word", "--where"],
            ["delete", "{index}", "--where"],
            ["index", "{index}", "texts", "--sync", "--where"],
        )
    ),
    (["search", "{index}", "word", "-k"], {**COUNTS, **TOO_MANY, **BELOW_ONE}, 2),
    (["search", "{index}", "word", "--candidates"], {**COUNTS, **TOO_MANY, **BELOW_ONE}, 2),
    (["search", "{index}", "word", "--per-document"], {**COUNTS, **TOO_MANY, **BELOW_ONE}, 2),
    (["search", "{index}", "word", "--ef-runtime"], {**COUNTS, **TOO_MANY, **BELOW_ONE, "5": "hnsw"}, 2),
    (["search", "{index}", "word", "--context"], {**COUNTS, **BELOW_ONE}, 2),
    (["search", "{index}", "word", "--max-distance"], NUMBERS, 2),
    (["search", "{index}", "word", "--diversity"], SHARES, 2),
    (["search", "{index}", "word", "--mode"], CHOICES, 2),
    (["search", "{index}"], {"": "expected a query with words", " ": "expected a query with words"}, 2),
    (["search", "{index}", "--file"], {"nowhere": "No such file", "texts": "Is a directory"}, 1),
    (["search", "{index}", "--file"], {"empty.txt": "expected queries in empty.txt", "latin.txt": "in line 2"}, 2),
    (["classify", "{index}", "word", "-k"], {**COUNTS, **TOO_MANY, **BELOW_ONE, "5": "expected k <= 4"}, 2),
    (["classify", "{index}", "word", "--min-share"], SHARES, 2),
    (["classify", "{index}", "word", "--min-votes"], {**COUNTS, **BELOW_ONE, "9": "expected min_votes <= k"}, 2),
    (["classify", "{index}", "word", "--weights"], CHOICES, 2),
    (["classify", "{index}", "--file"], {"nowhere": "expected a file or folder"}, 1),
    (
        ["classify", "{index}", "-k", "1", "--evaluate"],
        {
            "texts/b.txt": "expected documents with labels",
            "numbers.jsonl": "expected labels that are all strings or all numbers",
            "floats.jsonl": "expected labels that are all strings or all numbers",
        },
        2,
    ),
    (["tune", "{index}", "--plot"], PICTURES, 2),
    (
        ["tune", "{index}", "-k"],
        {"x": "expected numbers", "": "expected numbers", "1,0": "expected", "99": "k <= 4"},
        2,
    ),
    (["evaluate", "texts", "--plot"], PICTURES, 2),
    (["evaluate", "texts", "--per-query"], dict.fromkeys([".", "", "no/x.csv", "x.txt"], "expected a file"), 2),
    (["evaluate"], {"nowhere": "expected a folder", "texts": "queries.jsonl", "latin.txt": "expected a folder"}, 1),
    (["index", "{index}", "texts", "--model"], {"ragknn/hashing-x": "expected a number of values", "": "expected"}, 2),
    (["index", "{index}", "texts", "--metric"], CHOICES, 2),
    (["index", "{index}", "texts", "--size"], {"0": "not in the range", "x": "not a valid integer"}, 2),
    (["index", "{index}", "texts", "--embedder"], EMBEDDERS, 2),
    (
        ["index", "{index}", "texts", "--embedder"],
        {"broken:x": "failed with", "lacks:x": "no_such_package"},
        1,
    ),
    (["index", "{index}", "texts", "--embedder", "own:Needs", "--embedder-args"], {"3": "JSON object", "{": "JSON"}, 2),
    (["index", "{index}", "texts", "--embedder", "own:fails", "--embedder-args"], {"{}": "with KeyError: 'key'"}, 1),
    (["list", "--url"], URLS, 1),
    (["search", "{index}", "word", "--url"], URLS, 1),
    (["info"], NAMES, 2),
    (["info"], {"nowhere": "expected an index named 'nowhere'"}, 1),
    (["drop", "--yes"], NAMES, 2),
]

OWN = """
number = 3
def embed(texts): return [[1.0] for text in texts]
async def later(): return None
def makes_none(): return None
def fails(): raise KeyError("key")
class Needs:
    def __init__(self, dim): self.dim = dim
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wrong")
    (folder / "texts").mkdir()
    (folder / "texts" / "b.txt").write_text("Tea is brewed with water.")
    (folder / "folder.png").mkdir()
    (folder / "empty.txt").write_text("\n  \n")
    (folder / "latin.txt").write_bytes(b"word\nna\xefve\n")
    (folder / "numbers.jsonl").write_text('{"id": "n", "text": "word", "label": 1}\n')
    (folder / "floats.jsonl").write_text('{"id": "n", "text": "word", "label": 1.5}\n')
    (folder / "own.py").write_text(OWN)
    (folder / "broken.py").write_text("1 / 0")
    (folder / "lacks.py").write_text("import no_such_package")
    rows = [{"id": f"x{i}", "text": f"word {i}", "label": "ab"[i % 2], "year": i} for i in range(4)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture(scope="module")
def index(folder: Path, redis_url: str):
    """An index of four labelled documents, which is there for all of the table."""
    run("index", "wrong-use", "rows.jsonl", "--model", MODEL, "--field", "year=numeric", folder=folder, url=redis_url)
    yield "wrong-use"
    info = run("info", "wrong-use", "--json", folder=folder, url=redis_url)
    assert json.loads(info.stdout)["documents"] == 4  # nothing of what was refused has changed anything
    run("drop", "wrong-use", "--yes", folder=folder, url=redis_url)


def run(*args: str, folder: Path, url: str, **environ: str) -> CompletedProcess[str]:
    return run_here(list(args), "", folder, {"RAGKNN_URL": url, "COLUMNS": "80", **environ})


def shortened(value: str) -> str:
    return repr(value if len(value) < 30 else f"{value[:20]}...{len(value)}")


@pytest.mark.parametrize(
    ("command", "value", "words", "code"),
    [
        pytest.param(command, value, words, code, id=f"{' '.join(command)} {shortened(value)}")
        for command, values, code in TABLE
        for value, words in values.items()
    ],
)
@pytest.mark.usefixtures("no_pauses")
def test_wrong_use_is_told_in_a_line(command, value, words, code, folder, redis_url, index):
    args = [index if part == "{index}" else part for part in command]
    result = run(*args, value, folder=folder, url=redis_url)
    assert (result.returncode, result.stdout) == (code, ""), result.stderr
    *usage, line = result.stderr.splitlines()
    assert words in line
    assert line.startswith(("error: ", "Error: "))
    assert not usage or usage[0].startswith("Usage: ragknn")
    assert len(line) < 2100


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("RAGKNN_TIMEOUT", "x", "RAGKNN_TIMEOUT: input should be a valid number"),
        ("RAGKNN_TIMEOUT", "inf", "RAGKNN_TIMEOUT: input should be less"),
        ("RAGKNN_TIMEOUT", "nan", "RAGKNN_TIMEOUT: input should be"),
        ("RAGKNN_TIMEOUT", "1e300", "RAGKNN_TIMEOUT: input should be less"),
        ("RAGKNN_TIMEOUT", "0", "RAGKNN_TIMEOUT: input should be greater"),
        ("RAGKNN_PROTOCOL", "4", "RAGKNN_PROTOCOL: input should be less"),
        ("RAGKNN_URL", "nonsense", "expected a URL like"),
        ("RAGKNN_DATA", "/dev/null", "set RAGKNN_DATA to another folder"),
        ("RAGKNN_DATA", "~nobody-there/x", "this user has no home: set RAGKNN_DATA"),
        ("RAGKNN_DATA", "x" * 300, "File name too long"),
        ("RAGKNN_REDIS_SERVER", "/nowhere", "/nowhere"),
    ],
)
def test_a_setting_that_cannot_work_is_a_line(name, value, words, folder, tmp_path):
    environ = {"RAGKNN_URL": "", "RAGKNN_DATA": str(tmp_path / "data"), name: value}
    result = run_here(["list"], "", folder, {"COLUMNS": "80", **environ})
    assert (result.returncode, result.stdout) == (1, "")
    [line] = result.stderr.splitlines()
    assert words in line


@pytest.mark.parametrize("device", ["cuda", "nonsense", "meta", "cuda:99"])
def test_a_device_that_is_not_there_is_a_line(device, folder, redis_url):
    import torch

    if device.startswith("cuda") and torch.cuda.is_available():
        pytest.skip("the device is there")
    result = run("index", "no-device", "texts", folder=folder, url=redis_url, RAGKNN_DEVICE=device)
    assert (result.returncode, result.stdout) == (1, "")
    [line] = result.stderr.splitlines()
    assert f"expected a torch device that works here, such as 'cpu', got {device!r}: " in line


def test_what_nobody_has_foreseen_is_a_line_with_what_to_do(capsys):
    import click

    from ragknn.cli.program import Program, one_line

    assert one_line(KeyError("x")) == "unexpected KeyError: 'x'; --debug shows where it comes from"
    assert len(one_line(ValueError("x" * 10**6))) < 2100

    @click.command()
    def fails():
        raise LookupError("no\nmore")

    with pytest.raises(SystemExit) as left:
        Program("program", commands={"fails": fails}, late={})(["fails"])
    assert left.value.code == 1
    assert capsys.readouterr().err == "error: unexpected LookupError: no more; --debug shows where it comes from\n"
