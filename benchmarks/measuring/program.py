"""The command line of a benchmark: its parts and sizes as options, results printed as they come, and saved."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from rich.console import Console

from benchmarks.measuring.racing import RUNS, Race
from benchmarks.measuring.results import Curve, LeftOut, Results
from benchmarks.measuring.showing import plot, print_curve, print_race

# Gets the sizes, and the number of runs, by name.
Measure: TypeAlias = Callable[..., Iterator[Race | Curve | LeftOut]]


def run(
    program: str,
    text: str | None,
    parts: Mapping[str, Measure],
    arguments: Sequence[str] | None = None,
    **sizes: int | str,
) -> Results:
    """Run a benchmark with the options of the command line.

    Args:
        program: its name.
        text: what it does; its docstring.
        parts: yield what they find; each gets `runs` and all sizes.
        arguments: of the command line; None: those of this process.
        sizes: options that are whole numbers, or texts, with their defaults.
    """
    parser = argparse.ArgumentParser(
        f"python -m benchmarks.{program}", description=text, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", action="append", choices=parts, help="only this part; may be repeated")
    parser.add_argument("--runs", type=int, default=RUNS, help=f"runs of each contender; {RUNS}")
    parser.add_argument("--save", type=Path, metavar="FOLDER", help="write JSON and a plot into this folder")
    for name, default in sizes.items():
        shown = f"{default:,}" if isinstance(default, int) else default or "none"
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default, help=shown)
    options = vars(parser.parse_args(arguments))
    folder, chosen = options.pop("save"), options.pop("part")
    results = Results(program)
    console = Console(width=140)
    for part in chosen or parts:
        for found in parts[part](**options):
            if found in results.left_out:
                continue  # said already
            results.add(found)
            match found:
                case Race():
                    print_race(found)
                case Curve():
                    print_curve(found)
                case LeftOut(name, why):
                    console.print(f"left out: {name}: {why}", style="dim", markup=False)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        results.save(folder / f"{program}.json")
        plot(results, folder / f"{program}.svg")
        console.print(f"saved in {folder}", style="dim", markup=False)
    return results
