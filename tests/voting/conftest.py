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
