"""Tests on a cluster. Some take a minute, and run where they are named: `make cluster`."""

from itertools import count
from pathlib import Path

import pytest
from clusters import PRIMARIES, Beds, running_cluster

NAMED_ONLY = {"test_faults.py", "test_everything.py"}

_numbers = count()


def pytest_ignore_collect(collection_path, config):
    """Leave out what takes long, unless this folder is named."""
    named = (Path(argument.partition("::")[0]).parts for argument in config.args)
    return (collection_path.name in NAMED_ONLY and not any("cluster" in parts for parts in named)) or None


def pytest_itemcollected(item):
    """Let a connection to a node that failed be closed by whoever collects the garbage, at any test's time."""
    item.add_marker(pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"))


@pytest.fixture(scope="session")
def bed(tmp_path_factory):
    """A cluster that stays as it is."""
    with running_cluster(tmp_path_factory.mktemp("cluster")) as bed:
        yield bed


@pytest.fixture(scope="session")
def beds(tmp_path_factory):
    with Beds(tmp_path_factory.mktemp("clusters")) as beds:
        yield beds


@pytest.fixture
def own_bed(beds):
    """A cluster that a test may break."""
    with beds.one() as bed:
        yield bed


@pytest.fixture
def name(bed):
    """Name of an index of which nothing is to be left when it is dropped."""
    return f"index{next(_numbers)}"


@pytest.fixture
def left(bed):
    """What there is of an index on all nodes."""

    def keys_of(name):
        return sorted(
            key.decode()
            for node in bed.nodes[:PRIMARIES]
            for key in node.client.scan_iter(f"ragknn:{name}*", count=1000)
        )

    return keys_of
