"""Label voting on labelled data sets, compared with scikit-learn's nearest neighbors on the same embeddings.

python -m benchmarks.voting [FOLDER ...]

A folder has train.jsonl and test.jsonl, with `text` and a `label` or a number as `target`.
"""

import sys
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

import ragknn
from ragknn.voting.scoring import Scores, score_votes

TICKETS = Path(__file__).parent.parent / "corpora" / "tickets"
KS = (1, 5, 15)
TIE = 1e-6  # a smaller difference between distances is rounding in float32
NEIGHBORS = 60  # retrieved once for each text; all votes use these
WEIGHTS = ("uniform", "distance")
ABSTAIN_K = 15
ABSTAIN_SHARES = (0.0, 0.4, 0.6, 0.8, 1.0)


def compare(folder: Path, embedder: ragknn.SentenceEmbedder, console: Console) -> None:
    """Print the results of one data set."""
    train, test = (list(ragknn.read_documents(folder / f"{part}.jsonl")) for part in ("train", "test"))
    texts, truth = [document.text for document in test], [document.label for document in test]
    numbers = isinstance(truth[0], float)
    vectors = embedder.embed_documents([document.text for document in train])
    queries = embedder.embed_queries(texts)
    labels = [document.label for document in train]
    model = KNeighborsRegressor if numbers else KNeighborsClassifier
    figure = "mean absolute error" if numbers else "accuracy"
    table = Table(
        *(
            "k",
            "weights",
            f"ragknn, {figure}",
            f"scikit-learn, {figure}",
            "equal",
            "equal, no tie",
            "ragknn, duplicates once",
        ),
        title=f"{folder.resolve().name}: {len(train)} train, {len(test)} test",
    )
    with ragknn.Index(f"benchmark-{folder.resolve().name}", embedder=embedder) as index:
        ragknn.Indexer(index).sync(train)
        retriever = ragknn.Retriever(index)
        retrievals = retriever.retrieve_many(texts, NEIGHBORS)
        for k in KS:
            for weights in WEIGHTS:
                # As in scikit-learn: a text that occurs twice has two votes.
                voter = ragknn.LabelVoter(retriever, k, weights=weights, count_duplicates=True)
                votes = [voter.vote_on(retrieval) for retrieval in retrievals]
                theirs = model(k, weights=weights, metric="cosine", algorithm="brute").fit(vectors, labels)
                predicted = theirs.predict(queries)
                voted = np.array([vote.label for vote in votes])
                equal = np.isclose(voted, predicted, atol=1e-5) if numbers else voted == predicted
                error = float(np.mean(np.abs(predicted - np.array(truth)))) if numbers else None
                other = error if error is not None else float(np.mean(predicted == np.array(truth)))
                distinct_voter = ragknn.LabelVoter(retriever, k, weights=weights)
                once = [distinct_voter.vote_on(retrieval) for retrieval in retrievals]
                ours, distinct = (_figure(score_votes(truth, each)) for each in (votes, once))
                untied = equal[~np.array([_is_tied(retrieval, k) for retrieval in retrievals])]
                shares = (f"{equal.mean():.2%}", f"{untied.mean():.2%}")
                table.add_row(str(k), weights, f"{ours:.4f}", f"{other:.4f}", *shares, f"{distinct:.4f}")
        console.print(table)
        if not numbers:
            console.print(_abstention(retriever, retrievals, truth))
        began = time.perf_counter()
        ragknn.LabelVoter(retriever, 5).predict(texts)
        console.print(f"{len(texts) / (time.perf_counter() - began):.0f} predictions/s, embedding included\n")
        index.drop()


def _abstention(retriever: ragknn.Retriever, retrievals: list[ragknn.Retrieval], truth: list[ragknn.Label]) -> Table:
    table = Table("min_share", "coverage", "accuracy", "macro F1", title=f"abstaining, k={ABSTAIN_K}, distance")
    for share in ABSTAIN_SHARES:
        voter = ragknn.LabelVoter(retriever, ABSTAIN_K, weights="distance", min_share=share)
        scores = score_votes(truth, [voter.vote_on(retrieval) for retrieval in retrievals])
        figures = ("-" if figure is None else f"{figure:.4f}" for figure in (scores.accuracy, scores.macro_f1))
        table.add_row(f"{share:.1f}", f"{scores.coverage:.3f}", *figures)
    return table


def _is_tied(retrieval: ragknn.Retrieval, k: int) -> bool:
    # Both in scikit-learn and in Redis, the order of equally distant samples depends on how they are stored.
    return retrieval[k].distance - retrieval[k - 1].distance < TIE


def _figure(scores: Scores) -> float:
    figure = scores.accuracy if scores.mean_absolute_error is None else scores.mean_absolute_error
    return float("nan") if figure is None else figure


def main() -> None:
    """Compare on the folders named on the command line, or on the tickets."""
    console, embedder = Console(width=120), ragknn.SentenceEmbedder()
    for folder in map(Path, sys.argv[1:] or [TICKETS]):
        compare(folder, embedder, console)


if __name__ == "__main__":
    main()
