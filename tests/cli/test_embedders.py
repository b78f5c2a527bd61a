"""`--embedder`: whatever embeds texts, named by its module."""

import json
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from commands import run_here, run_in_a_process

OWN = """
import ragknn

def embed(texts):
    return [[1.0, float(text.count("a")), float(text.count("b"))] for text in texts]

embedder = ragknn.FunctionEmbedder("own/v1", embed)

def make(scale=1):
    return ragknn.FunctionEmbedder("own/v1", lambda texts: [[scale * one for one in row] for row in embed(texts)])

class Own:
    name, dim, max_tokens = "own/v1", 3, None
    embed_documents = embed_queries = lambda self, texts: embed(texts)

class shelf:
    deep = embedder
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("embedders")
    (folder / "own_embedders.py").write_text(OWN)
    rows = [{"id": "a", "text": "aaaa", "label": "A"}, {"id": "b", "text": "bbbb", "label": "B"}]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "set" / "qrels").mkdir(parents=True)
    (folder / "set" / "corpus.jsonl").write_text((folder / "rows.jsonl").read_text().replace('"id"', '"_id"'))
    (folder / "set" / "queries.jsonl").write_text('{"_id": "q", "text": "aaab"}\n')
    (folder / "set" / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\ta\t1\n")
    return folder


@pytest.fixture
def ragknn(folder: Path, redis_url: str):
    def run(*args: str) -> CompletedProcess[str]:
        return run_here(list(args), "", folder, {"RAGKNN_URL": redis_url, "COLUMNS": "80"})

    return run


def rows(result: CompletedProcess[str]) -> list[dict]:
    assert result.returncode == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.mark.parametrize(
    "option",
    [
        ["own_embedders:embedder"],
        ["own_embedders:shelf.deep"],
        ["own_embedders:make"],
        ["own_embedders:make", "--embedder-args", '{"scale": 2}'],
        ["own_embedders:Own"],
    ],
    ids=lambda option: " ".join(option),
)
def test_an_object_or_what_makes_one_embeds_in_every_command(option, ragknn, index_name):
    named = ["--embedder", *option]
    [report] = rows(ragknn("index", index_name, "rows.jsonl", *named, "--json"))
    assert report["added"] == 2
    [answer] = rows(ragknn("search", index_name, "aaab", *named, "-k", "1", "--json"))
    assert answer["neighbors"][0]["document_id"] == "a"
    [vote] = rows(ragknn("classify", index_name, "bbba", *named, "-k", "1", "--json"))
    assert vote["label"] == "B"
    assert rows(ragknn("info", index_name, "--json"))[0]["embedder"] == "own/v1"
    [evaluation] = rows(ragknn("evaluate", "set", *named, "-k", "1", "--json"))
    assert evaluation["settings"][0]["metrics"]["hit rate@1"]["mean"] == 1.0


def test_the_module_is_found_in_the_folder_where_the_command_is_run(folder, redis_url, index_name):
    args = ["index", index_name, "rows.jsonl", "--embedder", "own_embedders:embedder", "--json"]
    [report] = rows(run_in_a_process(args, "", folder, {"RAGKNN_URL": redis_url}))
    assert report["added"] == 2


def test_an_index_of_functions_tells_which_option_is_missing(ragknn, index_name):
    ragknn("index", index_name, "rows.jsonl", "--embedder", "own_embedders:embedder")
    result = ragknn("search", index_name, "a")
    assert result.returncode == 1
    assert "--embedder MODULE:OBJECT" in result.stderr


def test_embedder_and_model_are_not_named_together(ragknn, index_name):
    result = ragknn("index", index_name, "rows.jsonl", "--embedder", "own_embedders:embedder", "--model", "x")
    assert result.returncode == 2
    assert "expected either --embedder or --model, got both" in result.stderr
