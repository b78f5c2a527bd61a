"""A drill of bad input: combinations of wrong values for public calls, and of wrong words for the command.

    python -m drill_bad_input --seed 1 --trials 5000      (in the folder tests)

An error that is none of ragknn's, no ValueError and no TypeError is a fault; so is a call that takes too long. What was
tried, and with which seed, is printed, and each kind of fault with the trial that shows it.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import os
import random
import signal
import sys
import tempfile
import traceback
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from click.testing import CliRunner
from servers import private_server
from trying import DIM, DOCUMENTS, WRONG, callables, run

from ragknn import AsyncIndex, HashingEmbedder, Index, Indexer, RagKNNError
from ragknn._checks import shown
from ragknn.cli import COMMANDS, cli

LONGEST = 20.0  # seconds for one call
# Words on a command line: what each option and argument may be given in its place.
WORDS = [
    *(
        "",
        " ",
        "-",
        "--",
        "-1",
        "0",
        "3",
        "1e9",
        "nan",
        "inf",
        "a",
        "trial-read",
        "trial-scratch",
        "no-such",
        "a/b",
        ".",
    ),
    *("{}", "[]", "[1]", "null", '{"label": [1]}', '{"n": {"$gte": 1}}', '{"$or": []}', '{"a": 1, "a": 2}', "[" * 3000),
    *("redis://h?x=1", "redis://h:99999", "unix://", "http://x", "text", "\ud83d", "\x1b[31m", "[/v2]", "w" * 5000),
    *("x:y", "x=tag", "n=numeric", "os:getcwd", "math:pi", "ragknn:HashingEmbedder", '{"dim": -1}', "a.csv", "a.png"),
    *("rows.csv", "rows.csv/x", "deep.json", "deep.md", "/dev/null", "/proc/self/mem", "vector", "hybrid", "200", ";"),
    *("no/a.png", "utf-16", "é" * 300, "reader", "..", "@", "%", "\\"),
]


class TookTooLong(BaseException):
    """What no handler of errors takes for one."""


@dataclass
class Found:
    """What a drill has tried and found; `faults` has the first trial of each kind."""

    calls: int = 0
    commands: int = 0
    refused: int = 0
    faults: dict[str, str] = field(default_factory=dict)

    def add(self, fault: str, trial: str) -> None:
        self.faults.setdefault(fault, trial[:400])


def stop(*_: object) -> None:
    raise TookTooLong


def made_world(url: str, folder: Path, loop: asyncio.AbstractEventLoop) -> SimpleNamespace:
    """Return what `trying.callables` takes: an index to read, one to write to, and their async twins."""
    (folder / "rows.csv").write_text("id,text,label\na,pears,x\n")
    (folder / "deep.json").write_text("[" * 20_000)
    (folder / "deep.md").write_text("---\na: " + "[" * 5_000 + "\n---\nx")
    options = {"embedder": HashingEmbedder(DIM), "algorithm": "hnsw", "fields": {"n": "numeric", "t": "tag"}}
    index, scratch = (Index(f"trial-{what}", url=url, timeout=5.0, **options).open() for what in ("read", "scratch"))
    twins = [
        loop.run_until_complete(AsyncIndex(one.name, url=url, timeout=5.0, **options).open())
        for one in (index, scratch)
    ]
    for one in (index, scratch):
        Indexer(one).add(DOCUMENTS)
    rows = folder / "rows.csv"
    return SimpleNamespace(url=url, rows=rows, index=index, scratch=scratch, asynchronous=twins[0], ascratch=twins[1])


def kind_of(error: BaseException) -> str:
    """Name a foreign error and where in ragknn it was raised; empty for one that is ours, or of a wrong argument."""
    of_a_lookup = isinstance(error, KeyError) and "xpected one of" in str(error)
    if (isinstance(error, RagKNNError | ValueError | TypeError) and not isinstance(error, UnicodeError)) or of_a_lookup:
        return ""
    if isinstance(error, UnicodeError) and "xpected" in str(error):
        return ""
    ours = [frame for frame in traceback.extract_tb(error.__traceback__) if "/ragknn/" in frame.filename]
    place = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else "outside"
    return f"{type(error).__name__} at {place}: {str(error)[:80]}"


def wrong(chance: random.Random) -> object:
    """Make a value that hardly anything takes."""
    return WRONG[chance.choice(sorted(WRONG))]()


def spoilt(value: object, chance: random.Random, depth: int = 0) -> object:
    """Return a value with something wrong in it, or in its place."""
    inside = depth < 4 and chance.random() < 0.75
    if inside and isinstance(value, Mapping):
        key = chance.choice([*value, "more"])
        name = (
            key
            if chance.random() < 0.8
            else chance.choice(["$in", "$or", "$not", "", "a.b", "\0", "\ud83d", 3, None, "t"])
        )
        return {**value, name: spoilt(value.get(key), chance, depth + 1)}
    if inside and isinstance(value, list | tuple) and value:
        place = chance.randrange(len(value))
        return type(value)([*value[:place], spoilt(value[place], chance, depth + 1), *value[place + 1 :]])
    if inside and isinstance(value, np.ndarray) and value.size and value.dtype.kind == "f":
        odd = value.copy()
        odd.flat[chance.randrange(value.size)] = chance.choice([np.nan, np.inf, 1e300, 0.0])
        return odd
    if inside and dataclasses.is_dataclass(value) and not isinstance(value, type):
        name = chance.choice([one.name for one in dataclasses.fields(value) if one.init])
        return dataclasses.replace(value, **{name: spoilt(getattr(value, name, None), chance, depth + 1)})
    return wrong(chance)


def filter_of(chance: random.Random, depth: int = 0) -> object:
    """Make a filter of which much is right."""
    if depth > 5 or chance.random() < 0.15:
        return wrong(chance)
    field = chance.choice(["n", "t", "label", "document_id", "no such", ""])
    operators = ["$eq", "$ne", "$in", "$nin", "$gt", "$lte", "$prefix", "$contains", "$not", "$what"]
    match chance.randrange(5):
        case 0:
            several = [filter_of(chance, depth + 1) for _ in range(chance.randrange(4))]
            return {chance.choice(["$and", "$or"]): several}
        case 1:
            return {"$not": filter_of(chance, depth + 1)}
        case 2:
            return {
                field: {chance.choice(operators): chance.choice([1, "x", [1, 2], ["x"], None, filter_of(chance, 6)])}
            }
        case 3:
            return {field: chance.choice([1, "x", True, None, wrong(chance)])}
    return {field: {chance.choice(operators): wrong(chance), chance.choice(operators): 1}}


def try_calls(
    world: SimpleNamespace, loop: asyncio.AbstractEventLoop, chance: random.Random, trials: int, found: Found
) -> None:
    """Call what is public with something wrong in one to four of its arguments."""
    table = [(name, call, given) for name, (call, given) in callables(world).items() if given]
    for _ in range(trials):
        name, call, given = chance.choice(table)
        chosen = chance.sample(sorted(given), min(len(given), chance.choice((1, 2, 2, 3, 4))))
        odd: dict[str, object] = {}
        found.calls += 1
        signal.setitimer(signal.ITIMER_REAL, LONGEST)
        try:
            odd = {
                argument: filter_of(chance)
                if argument == "where" and chance.random() < 0.7
                else spoilt(given[argument], chance)
                for argument in chosen
            }
            run(loop, call(**{**given, **odd}))
        except Exception as error:
            found.refused += 1
            if fault := kind_of(error):
                found.add(fault, f"{name}({shown(odd)})")
        except TookTooLong:
            found.add(f"{name} took more than {LONGEST} s", f"{name}({shown(odd)})")
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)


def lines(chance: random.Random, trials: int) -> Iterator[list[str]]:
    """Make command lines: a command, some of its options with words, and some words beside."""
    safe = [name for name in COMMANDS if name not in ("demo", "server", "doctor")]  # which start servers of their own
    for _ in range(trials):
        name = chance.choice(safe)
        command = cli.get_command(None, name)  # type: ignore[arg-type]
        options = [one for one in command.params if one.param_type_name == "option" and "--help" not in one.opts]
        args = [name]
        for one in chance.sample(options, min(len(options), chance.randrange(4))):
            args += [one.opts[0], *([] if one.is_flag else [chance.choice(WORDS)])]
        words = [chance.choice(WORDS) for _ in range(chance.randrange(4))]
        yield [*args, *chance.choice((["trial-scratch"], ["trial-read"], [])), *words]


def try_commands(url: str, folder: Path, chance: random.Random, trials: int, found: Found) -> None:
    """Run command lines; each must end with a code that means something, and without a traceback."""
    runner = CliRunner(env={"RAGKNN_URL": url, "RAGKNN_DATA": str(folder / "data"), "COLUMNS": "80"})
    for args in lines(chance, trials):
        found.commands += 1
        signal.setitimer(signal.ITIMER_REAL, LONGEST)
        try:
            result = runner.invoke(cli, args, chance.choice(["", "y\n", "words\n", "\0\n"]), prog_name="ragknn")
        except TookTooLong:
            found.add(f"ragknn {args[0]} took more than {LONGEST} s", json.dumps(args))
            continue
        except Exception as error:
            found.add(f"the command: {kind_of(error) or repr(error)[:100]}", json.dumps(args))
            continue
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        found.refused += result.exit_code != 0
        line = next((one for one in result.stderr.splitlines() if one.startswith("error: unexpected ")), "")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            found.add(f"the command: {kind_of(result.exception) or repr(result.exception)[:100]}", json.dumps(args))
        elif line or ("Traceback" in result.stderr and "--debug" not in args):
            found.add(f"ragknn {args[0]}: {line[:160]}", json.dumps(args))
        elif result.exit_code not in (0, 1, 2, 3):
            found.add(f"ragknn {args[0]} ended with {result.exit_code}", json.dumps(args))


def drill(seed: int, trials: int, url: str, folder: Path) -> Found:
    """Try so many inputs, three calls for each command line, and return what was found."""
    found, chance, loop = Found(), random.Random(seed), asyncio.new_event_loop()
    folder = folder / "outer" / "here"  # so that ".." is a small folder too
    folder.mkdir(parents=True)
    before, here, recursion = signal.signal(signal.SIGALRM, stop), Path.cwd(), sys.getrecursionlimit()
    os.chdir(folder)  # for what is written
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            world = made_world(url, folder, loop)
            try_calls(world, loop, chance, trials * 3 // 4, found)
            try_commands(url, folder, chance, trials - trials * 3 // 4, found)
        for twin in (world.asynchronous, world.ascratch):
            loop.run_until_complete(twin.close())
        for index in (world.index, world.scratch):
            index.close()
    finally:
        os.chdir(here)
        signal.signal(signal.SIGALRM, before)
        sys.setrecursionlimit(recursion)
        loop.close()
    return found


def main() -> None:
    """Run the drill on a server of its own, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--trials", type=int, default=5_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, private_server(Path(folder)) as url:
        found = drill(options.seed, options.trials, url, Path(folder))
    print(f"seed {options.seed}: {found.calls} calls and {found.commands} command lines, {found.refused} refused")
    for fault, trial in found.faults.items():
        print(f"FAULT {fault}\n      {trial}")
    print(f"{len(found.faults)} kinds of faults")
    sys.exit(bool(found.faults))


if __name__ == "__main__":
    main()
