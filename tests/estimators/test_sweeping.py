"""What estimators leave on the server when their process is killed, and who removes it."""

import os
import subprocess
import sys

import numpy as np
import pytest
from estimating import own_indexes

from ragknn.estimators import KNeighborsClassifier
from ragknn.estimators._sweeping import own_name

FIT = """
import sys
from ragknn.estimators import KNeighborsClassifier
model = KNeighborsClassifier(1).fit([[0.0], [1.0]], ["a", "b"])
print("fitted", flush=True)
sys.stdin.readline()
print(*model.predict([[0.9]]), flush=True)
"""


@pytest.fixture
def fitted():
    """Start a process with a fitted estimator; it predicts when it is spoken to."""
    started = []

    def start():
        process = subprocess.Popen(
            [sys.executable, "-c", FIT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ
        )
        started.append(process)
        process.stdout.readline()
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_the_next_fit_removes_what_a_killed_process_has_left_and_nothing_that_is_in_use(fitted, client):
    before = own_indexes()
    killed, other = fitted(), fitted()
    [left] = [name for name in own_indexes() - before if f"-{killed.pid}-" in name]
    killed.kill()
    os.waitid(os.P_PID, killed.pid, os.WEXITED | os.WNOWAIT)  # its parent has not looked: it stays as a zombie
    assert left in own_indexes()
    mine = KNeighborsClassifier(1).fit(np.array([[0.0], [1.0]]), ["c", "d"])
    assert left not in own_indexes()
    assert list(client.scan_iter(f"ragknn:{left}*")) == []
    assert len(own_indexes() - before) == 2
    assert other.communicate("\n", timeout=60)[0] == "b\n"
    assert mine.predict([[0.9]]).tolist() == ["d"]


def test_an_index_of_another_machine_or_container_is_left_alone(client):
    _, place, _, start, unique = own_name().split("-")
    for name in (f"sklearn-{'0' * 12}-1-{start}-{unique}", f"sklearn-{unique}"):
        client.execute_command("FT.CREATE", f"ragknn:{name}:v1", "PREFIX", "1", f"{name}:", "SCHEMA", "t", "TAG")
        KNeighborsClassifier(1).fit(np.array([[0.0], [1.0]]), ["c", "d"])
        assert client.execute_command("FT.DROPINDEX", f"ragknn:{name}:v1") in (b"OK", "OK")
    assert len(place) == 12
