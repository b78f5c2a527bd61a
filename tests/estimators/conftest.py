"""What all tests of estimators use: the session's Redis, and rows of four classes."""

import numpy as np
import pytest
from joblib.externals.loky import get_reusable_executor
from sklearn.datasets import make_blobs


@pytest.fixture(autouse=True)
def one_server(monkeypatch, redis_url, clean_environ):
    """Let every estimator that names no Redis use the session's."""
    monkeypatch.setenv("RAGKNN_URL", redis_url)


@pytest.fixture(scope="session")
def blobs():
    X, y = make_blobs(n_samples=120, centers=4, n_features=6, cluster_std=6.0, random_state=0)
    return X.astype(np.float32), y


@pytest.fixture
def own_children():
    """End the processes of n_jobs=2 with the test: they are kept for the next one, with the last index they made."""
    yield
    get_reusable_executor().shutdown(wait=True)
