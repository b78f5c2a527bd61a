"""New processes: an import, the command's help, one question from the shell.

python -m benchmarks.starting [--part PART] [--runs N] [--save FOLDER]

Each time is that of a whole process, from its start to its end. The server runs already, and what is kept on disk was
written by the warm-up.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import ragknn
from benchmarks.measuring.processes import process
from benchmarks.measuring.program import run
from benchmarks.measuring.racing import OURS, Contender, Kind, Race, race
from benchmarks.stores.choosing import server
from ragknn.embedding._loading import find_weights

HANDBOOK = Path(__file__).parent.parent / "corpora" / "handbook"
NAME = "starting"
QUESTION = "How do I reset my password?"
MODEL = "sentence-transformers/all-MiniLM-L6-v2"
# What a user would write by hand: the model, and the search command.
SCRIPT = """
import redis, sys
from sentence_transformers import SentenceTransformer
url, name, model, question = sys.argv[1:]
vector = SentenceTransformer(model).encode(question).tobytes()
print(redis.Redis.from_url(url).execute_command(
    "FT.SEARCH", name, "*=>[KNN 5 @vector $vector AS distance]", "PARAMS", 2, "vector", vector,
    "SORTBY", "distance", "RETURN", 2, "text", "distance", "LIMIT", 0, 5, "DIALECT", 2, NEVER_DECODE=True))
"""


def importing(runs: int) -> Iterator[Race]:
    """Yield the race of imports."""
    commands = {
        OURS: (sys.executable, "-c", "from ragknn import Index, Indexer, Retriever"),
        "import redis, numpy": (sys.executable, "-c", "import redis, numpy"),
    }
    yield race("import of Index, Indexer, Retriever", _contenders(commands), runs=runs)


def helping(runs: int) -> Iterator[Race]:
    """Yield the race of `ragknn --help`."""
    commands = {
        OURS: (sys.executable, "-m", "ragknn", "--help"),
        "import click, rich": (sys.executable, "-c", "import click, rich"),
    }
    yield race("ragknn --help", _contenders(commands), runs=runs)


def searching(mode: str, runs: int) -> Iterator[Race]:
    """Yield the race of one question from the shell, by meaning or by words."""
    with server() as url:
        with ragknn.Index(NAME, url=url) as index:
            ragknn.Indexer(index).sync(ragknn.read_documents(HANDBOOK))
            alias = index._keys.alias
        commands = {
            OURS: (sys.executable, "-m", "ragknn", "search", NAME, *QUESTION.split(), "--mode", mode),
            "a script with sentence-transformers": (
                *(sys.executable, "-c", SCRIPT, url, alias, str(find_weights(MODEL) or MODEL), QUESTION),
            ),
        }
        yield race(f"ragknn search, {mode} mode", _contenders(commands, {"RAGKNN_URL": url}, kind="peer"), runs=runs)


def _contenders(
    commands: dict[str, Sequence[str]], environment: dict[str, str] | None = None, kind: Kind = "floor"
) -> list[Contender]:
    return [
        Contender(name, _running(command, environment), kind="ours" if name == OURS else kind)
        for name, command in commands.items()
    ]


def _running(command: Sequence[str], environment: dict[str, str] | None) -> Callable[[int], None]:
    return lambda _: process(command, environment)


PARTS = {
    "import": importing,
    "help": helping,
    "search": partial(searching, "vector"),
    "words": partial(searching, "text"),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    run("starting", __doc__, PARTS, arguments)


if __name__ == "__main__":
    main()
