"""scikit-learn estimators whose neighbors come from Redis, and whose answers are those of `sklearn.neighbors`.

    from ragknn.estimators import KNeighborsClassifier

    model = KNeighborsClassifier(n_neighbors=3).fit(X, y)    # no Redis named: an embedded one is started
    model.predict(X_new)

scikit-learn is optional: `pip install 'ragknn[sklearn]'`.
"""

try:
    import sklearn  # noqa: F401  # here, so that nothing below fails with less helpful words
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
