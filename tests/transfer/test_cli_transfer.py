"""The commands that move indexes in and out."""

import json

import pytest
from commands import run_here
from made_by_others import made

from ragknn import Index


@pytest.fixture
def ragknn(redis_url, tmp_path):
    return lambda *args: run_here(list(args), "", tmp_path, {"RAGKNN_URL": redis_url, "COLUMNS": "80"})


def test_a_dry_run_tells_and_an_import_writes(ragknn, client, index_name):
    with made(client, "redisvl-hash"):
        told = ragknn("import", index_name, "--from", "redisvl-hash", "--dry-run")
        assert (told.returncode, told.stderr) == (0, "")
        assert told.stdout.startswith(f"dry run, nothing written: redisvl-hash to {index_name}: 21 passages\n")
        assert "\nread: vector in 'embedding', text in 'text'\n" in told.stdout
        assert "tags: cut at each ',', as filters saw it" in told.stdout
        assert client.exists(f"ragknn:{index_name}:manifest") == 0
        done = ragknn("import", index_name, "--from", "redisvl-hash", "--json")
        report = json.loads(done.stdout)
        assert (report["passages"], report["written"]["added"], report["settings"]["dim"]) == (21, 21, 8)


def test_where_everything_is_can_be_said(ragknn, client, redis_url, index_name):
    with made(client, "redisvl-hash"):
        places = ["--vector", "embedding", "--text", "title", "--id", "year", "--label", "rated"]
        assert ragknn("import", index_name, "--from", "redisvl-hash", *places).returncode == 0
        with Index(index_name, url=redis_url, create=False) as index:
            [one] = index.documents(["2004"])
            assert (one.text, one.label, one.metadata["text"]) == (
                "a chair number 4",
                "True",
                "a chair number 4, for the hall",
            )


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--from", "nothing-of-that-name"], 1, "expected a search index 'nothing-of-that-name' to import from"),
        (["--from", "redisvl-hash", "--text", "title"], 2, "expected --vector with --text: then nothing is guessed"),
        (["--from", "redisvl-hash", "--vector", "title"], 2, "expected a vector field 'title' in the search index"),
        (["--from", "redisvl-hash", "--model", "ragknn/hashing-9"], 1, "dim"),
        (["--from", "redisvl-hash", "--model", "ragknn/hashing-8"], 1, "mean cosine of"),
        ([], 2, "Missing option '--from'"),
    ],
)
def test_what_cannot_be_is_an_error_in_a_line(options, code, message, ragknn, client, index_name):
    with made(client, "redisvl-hash"):
        result = ragknn("import", index_name, *options)
        assert (result.returncode, result.stdout) == (code, "")
        assert message in result.stderr
        assert client.exists(f"ragknn:{index_name}:manifest") == 0


def test_an_index_goes_into_a_file_and_becomes_another(ragknn, client, redis_url, index_name, tmp_path):
    with made(client, "redisvl-hash"):
        assert ragknn("import", index_name, "--from", "redisvl-hash").returncode == 0
    written = ragknn("export", index_name, "index.parquet", "--where", '{"tags": "old"}')
    assert (written.returncode, written.stderr) == (0, "")
    assert written.stdout.startswith(f"{index_name} to index.parquet: 14 documents, 14 passages, ")
    told = ragknn("import", f"{index_name}-2", "--from", "index.parquet", "--dry-run")
    assert told.stdout.startswith(
        f"dry run, nothing written: index.parquet to {index_name}-2: 14 passages of ragknn\nmade: "
    )
    options = ["--algorithm", "hnsw", "--dtype", "float16", "--json"]
    done = json.loads(ragknn("import", f"{index_name}-2", "--from", "index.parquet", *options).stdout)
    assert (done["written"]["added"], done["settings"]["dtype"]) == (14, "float16")
    with Index(f"{index_name}-2", url=redis_url, create=False) as index:
        assert index.count({"tags": "old"}) == 14
        index.drop()


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--from", "nothing.parquet"], 1, "got none that can be read: No such file"),
        (["--from", "nothing.parquet", "--text", "title"], 2, "expected no --text with a file"),
        (["--from", "redisvl-hash", "--dtype", "float16"], 2, "expected no --dtype with a search index; change it"),
        (["--from", "bad.parquet"], 1, "bad.parquet': expected a Parquet file, got another one"),
    ],
)
def test_what_cannot_be_read_is_an_error_in_a_line(options, code, message, ragknn, index_name, tmp_path):
    (tmp_path / "bad.parquet").write_text("no")
    result = ragknn("import", index_name, *options)
    assert (result.returncode, result.stdout) == (code, "")
    assert message in result.stderr
