"""An index whose vectors are points of the plane, so that a reader can tell who is near to whom."""

import pytest
from embedders import Plane

from ragknn import Document


@pytest.fixture
def plane(faces, redis_url, index_name):
    """An open index of the plane with Euclidean distances, empty."""
    with faces.index(index_name, url=redis_url, embedder=Plane(), metric="l2") as index:
        yield index


@pytest.fixture
def fill(faces, plane):
    """Adds documents to the plane: `fill({id: (text, label), ...})`, each one passage unless a splitter is named."""

    def add(documents, splitter=None):
        made = [Document(name, text, label) for name, (text, label) in documents.items()]
        report = faces.indexer(plane, *([splitter] if splitter else [])).add(made)
        assert (report.failed, report.added) == ((), len(made))

    return add


@pytest.fixture
def voter(faces, plane):
    """Makes voters on the plane."""
    return lambda *args, **kwargs: faces.voter(faces.retriever(plane), *args, **kwargs)


class Commands:
    """What reaches the server about one index while the block runs, each command as its words."""

    def __init__(self, client, index_name):
        self._client, self._marks = client, index_name
        self.all: list[list[str]] = []

    def __enter__(self):
        self._monitor = self._client.monitor()
        self._monitor.__enter__()
        return self.all

    def __exit__(self, *error):
        # The monitor shows the commands of all clients in order: what came before this one is all there was.
        self._client.echo(f"end of {self._marks}")
        while (command := self._monitor.next_command()["command"]) != f"ECHO end of {self._marks}":
            if f"ragknn:{self._marks}" in command:
                self.all.append(command.split())
        self._monitor.__exit__(*error)


@pytest.fixture
def commands(client, index_name):
    """`with commands as sent:` collects the commands about this test's index."""
    return Commands(client, index_name)
