"""Each parameter and input of the estimators is given many wrong values: taken, or refused as scikit-learn does."""

import numpy as np
import pytest
from trying import WRONG

from ragknn import HashingEmbedder
from ragknn.errors import RagKNNError
from ragknn.estimators import (
    KNeighborsClassifier,
    KNeighborsRegressor,
    KNeighborsTransformer,
    RadiusNeighborsClassifier,
    RadiusNeighborsRegressor,
    TextEmbedder,
)

X, Y = np.array([[0.0, 1.0], [1.0, 1.0], [2.0, 1.0], [3.0, 1.0]]), [0, 0, 1, 1]
KINDS = [
    KNeighborsClassifier,
    KNeighborsRegressor,
    KNeighborsTransformer,
    RadiusNeighborsClassifier,
    RadiusNeighborsRegressor,
]


SHOWN = {
    label: make for label, make in WRONG.items() if label not in ("deep", "rude")
}  # scikit-learn prints parameters


def faults(values, **calls):
    """Return what was raised that is neither a ValueError or TypeError nor one of ours, by what was tried."""
    found = {}
    for name, call in calls.items():
        for label, make in values.items():
            try:
                call(make())
            except (ValueError, TypeError, RagKNNError) as error:
                if isinstance(error, UnicodeError):
                    found[name, label] = repr(error)
            except Exception as error:  # it is what is looked for
                found[name, label] = repr(error)[:200]
    return found


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
def test_wrong_values_are_refused_without_a_foreign_error(kind):
    names = sorted(set(kind().get_params()) - {"index"})
    assert faults(SHOWN, **{name: lambda value, name=name: kind(**{name: value}).fit(X, Y) for name in names}) == {}
    model = kind().set_params(**({"n_neighbors": 2} if "n_neighbors" in names else {"radius": 9.0})).fit(X, Y)
    asks = {"fit": lambda value: kind().fit(value, Y), "y": lambda value: kind().fit(X, value)}
    if hasattr(model, "predict"):
        asks["predict"] = model.predict
        asks["from_index"] = kind.from_index
    else:
        asks["transform"] = model.transform
    if hasattr(model, "kneighbors"):
        asks |= {"kneighbors": model.kneighbors, "k": lambda value: model.kneighbors(X, value)}
        asks |= {"mode": lambda value: model.kneighbors_graph(X, mode=value)}
    else:
        asks |= {"within": model.radius_neighbors, "radius": lambda value: model.radius_neighbors(X, value)}
    assert faults(SHOWN, **asks) == {}


@pytest.mark.filterwarnings("ignore")
def test_wrong_texts_are_refused_without_a_foreign_error():
    embedder = HashingEmbedder(16)
    asks = {
        "embedder": lambda value: TextEmbedder(value or embedder).transform(["a"]),
        "long_texts": lambda value: TextEmbedder(embedder, long_texts=value).transform(["a"]),
        "fit": TextEmbedder(embedder).fit,
        "transform": TextEmbedder(embedder).transform,
    }
    assert faults(WRONG, **asks) == {}
