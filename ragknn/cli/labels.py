"""The commands for labels: classify, tune."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import click

from ragknn.cli import progress, terminal
from ragknn.cli.embedders import embedder_option
from ragknn.cli.options import (
    COUNT,
    checked_picture,
    common,
    name_argument,
    several_texts,
    url_option,
    where_option,
)
from ragknn.cli.results import print_vote
from ragknn.cli.screen import print_json, stderr, stdout
from ragknn.embedding.protocols import Embedder
from ragknn.files.reader import read_documents
from ragknn.indexing.index import Index
from ragknn.records import Label
from ragknn.retrieval.retriever import Retriever
from ragknn.voting._defaults import DEFAULT_KS
from ragknn.voting.rules import Rules
from ragknn.voting.scoring import score_votes
from ragknn.voting.tuning import tune as tune_index
from ragknn.voting.voter import LabelVoter


@click.command()
@name_argument
@click.argument("words", nargs=-1, metavar="[TEXT...]")
@click.option("-k", type=COUNT, default=5, show_default=True, help="Number of neighbors that vote.")
@click.option("--weights", type=click.Choice(["uniform", "distance"]), default="uniform", show_default=True)
@click.option("--max-distance", type=float, help="Neighbors further away do not vote.")
@click.option("--min-share", type=float, default=0.0, help="Abstain if the winner's share is smaller; 0 to 1.")
@click.option("--min-votes", type=int, default=1, help="Abstain if there are fewer votes.")
@click.option("--balanced", is_flag=True, help="Correct the shares for the frequency of each label.")
@click.option("--count-duplicates", is_flag=True, help="Let exact duplicates of a text each vote.")
@where_option("Only passages that match may vote.")
@click.option("--exclude", multiple=True, metavar="ID", help="Document that may not vote. May be repeated.")
@click.option("--explain", is_flag=True, help="Print the neighbors that voted.")
@click.option("--file", "path", type=click.Path(path_type=Path), help="Label the documents of a file or folder.")
@click.option(
    "--evaluate", type=click.Path(path_type=Path), help="Score the votes on the labelled documents of a file or folder."
)
@embedder_option
@url_option
@common
def classify(
    name: str,
    words: tuple[str, ...],
    k: int,
    weights: Literal["uniform", "distance"],
    max_distance: float | None,
    min_share: float,
    min_votes: int,
    balanced: bool,
    count_duplicates: bool,
    where: dict[str, Any] | None,
    exclude: tuple[str, ...],
    explain: bool,
    path: Path | None,
    evaluate: Path | None,
    embedder: Embedder | None,
    url: str | None,
    as_json: bool,
) -> None:
    """Let the nearest neighbors in index NAME vote on the label of TEXT.

    Words need no quotes: all of them are one text. If TEXT is `-`, each line of standard input is one.
    """
    if sum((bool(words), path is not None, evaluate is not None)) != 1:
        raise click.UsageError("expected one of TEXT, --file and --evaluate")
    options: dict[str, Any] = {
        "weights": weights,
        "max_distance": max_distance,
        "min_share": min_share,
        "min_votes": min_votes,
        "priors": "balanced" if balanced else None,
        "count_duplicates": count_duplicates,
        "where": where,
    }
    asked, truth = _texts(words, path or evaluate)
    with Index(name, url=url, embedder=embedder, create=False) as opened:
        schema = opened.schema
        voter = LabelVoter(Retriever(opened), k, **options)
        votes = voter.vote_many(asked, exclude=exclude)
    if not as_json:
        terminal.print_warnings((warning for vote in votes for warning in vote.warnings), stderr)
    if evaluate is not None:
        if all(label is None for label in truth):
            raise click.UsageError(f"expected documents with labels in {evaluate}, got none among {len(truth)}")
        labelled = [(label, vote) for label, vote in zip(truth, votes, strict=True) if label is not None]
        scores = score_votes([label for label, _ in labelled], [vote for _, vote in labelled])
        if as_json:
            print_json(scores.to_dict())
        else:
            terminal.print_scores(scores, explain, stdout)
        return
    for text, vote in zip(asked, votes, strict=True):
        if as_json:
            print_json({"text": text, **vote.to_dict()})
        else:
            print_vote(text, vote, explain, stdout, schema=schema)


def _texts(words: tuple[str, ...], path: Path | None) -> tuple[list[str], list[Label | None]]:
    if path is not None:
        documents = list(read_documents(path))
        return [document.text for document in documents], [document.label for document in documents]
    asked = several_texts(words, None, "texts")
    return asked, [None] * len(asked)


def _ks(ctx: click.Context, parameter: click.Parameter, value: str) -> list[int]:
    parts = value.replace(",", " ").split()
    if not parts or not all(part.isdigit() and int(part) > 0 for part in parts):
        raise click.BadParameter(f"expected numbers like 1,5,15, got {value!r}")
    return [int(part) for part in parts]


@click.command()
@name_argument
@click.option(
    "-k",
    "ks",
    default=",".join(map(str, DEFAULT_KS)),
    callback=_ks,
    metavar="N,N...",
    show_default=True,
    help="Values of k to try.",
)
@click.option("--count-duplicates", is_flag=True, help="Let exact duplicates of a text each vote.")
@click.option(
    "--plot",
    type=click.Path(path_type=Path),
    callback=checked_picture,
    help="Draw the scores into a .png, .svg or .pdf file.",
)
@url_option
@common
def tune(name: str, ks: list[int], count_duplicates: bool, plot: Path | None, url: str | None, as_json: bool) -> None:
    """Find the best k and weights for votes in index NAME, leaving each document out of its own vote."""
    with Index(name, url=url, create=False) as opened, progress.counting("asking", "passages") as told:
        tuning = tune_index(opened, ks, rules=Rules(count_duplicates=count_duplicates), progress=told)
    if plot is not None:
        tuning.plot(plot)
    if as_json:
        print_json(tuning.to_dict())
    else:
        terminal.print_tuning(tuning, stdout)
