"""A data folder for the embedded servers of one test, none of which may be left after it."""

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from embedded_servers import is_locked, opened_by

from ragknn.settings import Settings


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def settings(data: Path) -> Settings:
    return Settings(data=data)


@pytest.fixture(autouse=True)
def no_server_left(tmp_path: Path) -> Iterator[None]:
    yield
    left = [
        process
        for lock in tmp_path.rglob("server.lock")
        if is_locked(lock)
        for process in psutil.process_iter()
        if str(lock) in opened_by(process)
    ]
    for process in left:
        process.kill()
    assert left == []
