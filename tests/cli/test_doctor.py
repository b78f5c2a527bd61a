"""`ragknn doctor` before servers that are not as a first retrieval needs them."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import redis
from commands import run_here
from servers import private_server

from ragknn import Index, Indexer

doctor = importlib.import_module("ragknn.cli.doctor")  # the command of this name hides the module


def examined(url: str, folder: Path, code: int = 0, **environ: str) -> dict[str, dict]:
    result = run_here(["doctor", "--url", url, "--json"], "", folder, environ)
    assert result.returncode == code, result.stdout
    return {check["name"]: check for check in map(json.loads, result.stdout.splitlines())}


def test_a_server_that_keeps_nothing_and_drops_what_it_has_is_told(tmp_path: Path):
    options = ("--maxmemory-policy", "allkeys-lru", "--maxmemory", "100mb")
    with private_server(tmp_path, *options) as url:
        found = examined(url, tmp_path)
        assert found["memory"]["verdict"] == "note"
        assert found["memory"]["found"] == "allkeys-lru, at most 104.9 MB"
        assert "CONFIG SET maxmemory-policy noeviction" in found["memory"]["advice"]
        assert found["persistence"]["verdict"] == "note"
        assert "CONFIG SET appendonly yes" in found["persistence"]["advice"]
        shown = run_here(["doctor", "--url", url], "", tmp_path, {})
        assert "note persistence: none" in shown.stdout


def test_a_server_that_keeps_what_it_has_is_well(tmp_path: Path):
    for options in (("--appendonly", "yes"), ("--save", "60 1")):
        folder = tmp_path / options[1][:2]
        folder.mkdir()
        with private_server(folder, *options) as url:
            found = examined(url, tmp_path)
        assert (found["memory"]["verdict"], found["persistence"]["verdict"]) == ("ok", "ok")


def test_a_time_limit_too_tight_for_the_largest_index_is_told(tmp_path: Path):
    with private_server(tmp_path) as url:
        assert "time limit" not in examined(url, tmp_path)
        for name, many in (("small", 1), ("large", 2_000)):
            with Index(name, url=url, dim=64, text_search=False) as index:
                Indexer(index).add_vectors([str(n) for n in range(many)], np.ones((many, 64))).raise_for_failures()
        found = [examined(url, tmp_path, RAGKNN_TIMEOUT=seconds)["time limit"] for seconds in ("10", "0.0001")]
    assert [check["verdict"] for check in found] == ["ok", "note"]
    assert found[1]["found"].startswith("an exact search of the largest index, large, takes some 0.000")
    assert "ragknn rebuild large --algorithm hnsw" in found[1]["advice"]


def test_another_database_is_a_failure_since_it_cannot_be_searched(redis_url: str, tmp_path: Path):
    found = examined(f"{redis_url}?db=3", tmp_path, 1)
    assert (found["database"]["verdict"], found["database"]["found"]) == ("fail", "number 3")
    assert "end the URL in /0" in found["database"]["advice"]
    assert "database" not in examined(redis_url, tmp_path)


def test_a_replica_is_told(tmp_path: Path):
    with private_server(tmp_path, "--replicaof", "127.0.0.1 1") as url:
        role = examined(url, tmp_path)["role"]
    assert (role["verdict"], role["found"]) == ("note", "a replica of another server, with which it is not in touch")
    assert "use the URL of that at 127.0.0.1:1; what it finds may be old" in role["advice"]


def test_a_server_that_answers_late_searches_with_an_error_is_told(tmp_path: Path):
    with private_server(tmp_path) as url:
        with redis.Redis.from_url(url) as client:
            client.execute_command("FT.CONFIG", "SET", "ON_TIMEOUT", "FAIL")
        check = examined(url, tmp_path)["query timeout"]
    assert (check["verdict"], check["found"]) == ("note", "500 ms, then fail; ragknn asks for 10 s a search")
    assert "FT.CONFIG SET ON_TIMEOUT RETURN" in check["advice"]


def test_a_node_of_a_cluster_is_a_failure(tmp_path: Path):
    with private_server(tmp_path, "--cluster-enabled", "yes") as url:
        found = examined(url, tmp_path, 1)
    assert found["redis"]["verdict"] == "fail"
    assert "Cluster" in found["redis"]["found"]


def test_a_redis_without_its_module_is_a_failure_with_what_to_do(tmp_path: Path):
    with private_server(tmp_path, search=False) as url:
        found = examined(url, tmp_path, 1)
    assert "which runs without a search module: start it with `--loadmodule" in found["redis"]["found"]


def test_a_locked_server_is_a_failure_and_its_password_is_not_shown(tmp_path: Path):
    with private_server(tmp_path, "--requirepass", "S3/CRET") as url:
        assert "RAGKNN_PASSWORD" in examined(url, tmp_path, 1)["redis"]["found"]
        found = examined(url, tmp_path, RAGKNN_PASSWORD="S3/CRET")
    assert found["redis"]["verdict"] == "ok"
    assert "CRET" not in str(found)


def test_resp2_in_the_url_is_told(redis_url: str, tmp_path: Path):
    assert examined(f"{redis_url}?protocol=2", tmp_path)["protocol"]["verdict"] == "note"


@pytest.mark.parametrize(
    ("model", "verdict"),
    [("no/such-model", "note"), ("ragknn/hashing-64", "note"), ("a/b/c", "fail"), ("\x1b[31m", "fail")],
)
def test_a_model_that_may_not_do_is_told(model: str, verdict: str, redis_url: str, tmp_path: Path):
    code = 1 if verdict == "fail" else 0
    assert examined(redis_url, tmp_path, code, RAGKNN_MODEL=model)["model"]["verdict"] == verdict


def test_the_build_of_torch_is_told(redis_url: str, tmp_path: Path):
    import torch

    found = examined(redis_url, tmp_path)["torch"]
    assert torch.__version__ in found["found"]
    assert ("CUDA" in found["found"]) == (torch.version.cuda is not None)


def test_what_is_missing_is_told_with_how_to_get_it(tmp_path: Path):
    # In a Python that finds neither torch nor what is optional.
    script = """
import sys
sys.modules["torch"] = None
import importlib
doctor = importlib.import_module("ragknn.cli.doctor")
print(doctor._check_torch(None))
print(doctor._check_package("no-such-package", "none"))
"""
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert "pip install torch --index-url https://download.pytorch.org/whl/cpu" in out
    assert "pip install no-such-package" in out


def test_optional_packages_are_those_of_the_extras(monkeypatch: pytest.MonkeyPatch):
    needs = [
        "numpy>=1",
        "no-such-package>=1; extra == 'plot'",
        'rich; extra == "plot"',
        'none-either[x]>=2; python_version > "3" and extra == "files"',
        "ragknn[plot]; extra == 'dev'",
        "not-there; extra == 'dev'",
    ]
    monkeypatch.setattr(doctor, "requires", lambda name: needs)
    [check] = doctor._check_extras()
    assert check.found == "not installed are those of plot: no-such-package; files: none-either"
    assert check.advice == "only if you need them: pip install 'ragknn[plot,files]'"
