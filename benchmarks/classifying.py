"""Classifying many vectors at once by their nearest neighbors: the estimator, beside scikit-learn's brute force.

python -m benchmarks.classifying [--part PART] [--size N] [--queries N] [--runs N] [--save FOLDER]

The first time, all rows are pulled out of Redis; as long as they do not change, they are kept. scikit-learn has them in
its memory from the beginning.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
from sklearn.neighbors import KNeighborsClassifier

from benchmarks.measuring.data import Source
from benchmarks.measuring.program import run
from benchmarks.measuring.racing import OURS, Contender, Facts, Race, race
from benchmarks.stores.choosing import server
from ragknn import estimators

K = 5


def measure(pulling: bool, size: int, queries: int, runs: int) -> Iterator[Race]:
    """Yield the race, with rows that are pulled in each run or are kept."""
    source = Source()
    rows, asked = source.documents(size), source.vectors(queries)
    theirs = KNeighborsClassifier(K, algorithm="brute").fit(rows.vectors, rows.topics)
    with server() as url:
        fitted = estimators.KNeighborsClassifier(K, url=url).fit(rows.vectors, rows.topics)
        copied = pickle.dumps(fitted)
        ours = [fitted]

        def prepare() -> None:
            if pulling:
                ours[0] = pickle.loads(copied)  # a copy has nothing in memory

        def same() -> Facts:
            return {"same answers": float(np.mean(fitted.predict(asked) == theirs.predict(asked)))}

        contenders = [
            Contender(OURS, lambda call: ours[0].predict(asked), prepare, "ours", same),
            Contender("scikit-learn", lambda call: theirs.predict(asked), None, "peer"),
        ]
        what = "pulled" if pulling else "kept"
        yield race(f"classifying among {size:,} rows, {what}", contenders, runs=runs, work=queries, unit="queries")


PARTS = {"pulled": partial(measure, True), "kept": partial(measure, False)}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    run("classifying", __doc__, PARTS, arguments, size=20_000, queries=2_000)


if __name__ == "__main__":
    main()
