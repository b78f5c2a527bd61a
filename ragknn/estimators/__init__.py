"""scikit-learn estimators that find neighbors in Redis, and give the same answers as `sklearn.neighbors`.

    from ragknn.estimators import KNeighborsClassifier

    model = KNeighborsClassifier(n_neighbors=3).fit(X, y)    # without a Redis URL an embedded server is started
    model.predict(X_new)

scikit-learn is optional: `pip install 'ragknn[sklearn]'`.
"""

try:
    import sklearn  # noqa: F401  # before the imports below, whose error would be less helpful
except ModuleNotFoundError as error:
    from ragknn.errors import MissingDependency

    raise MissingDependency("scikit-learn", "ragknn.estimators", "sklearn") from error

from ragknn.estimators.classifiers import KNeighborsClassifier, RadiusNeighborsClassifier
from ragknn.estimators.regressors import KNeighborsRegressor, RadiusNeighborsRegressor
from ragknn.estimators.transformers import KNeighborsTransformer, TextEmbedder

__all__ = [
    "KNeighborsClassifier",
    "KNeighborsRegressor",
    "KNeighborsTransformer",
    "RadiusNeighborsClassifier",
    "RadiusNeighborsRegressor",
    "TextEmbedder",
]
