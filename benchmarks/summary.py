"""A quick selection of all benchmarks of speed, in one table and one plot.

python -m benchmarks.summary [--save FOLDER] [--only PROGRAM]

Each benchmark runs in a process of its own. JSON and plots go into the folder, `benchmarks/results` by default:
those of each benchmark, and `summary.json`, `summary.svg` and `summary.md`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.measuring.racing import OURS, Race
from benchmarks.measuring.results import Results, load
from benchmarks.measuring.showing import KINDS, draw_races, save_figure, short

RESULTS = Path(__file__).parent / "results"
# What is quick enough to be waited for.
SELECTION: dict[str, Sequence[str]] = {
    "embedding": ("--texts", "64", "--queries", "100"),
    "storing": ("--part", "flat-words", "--part", "flat", "--part", "hnsw", "--size", "2000"),
    "searching": (
        *("--part", "one-words", "--part", "many", "--part", "tasks", "--part", "hybrid"),
        *("--size", "2000", "--queries", "500"),
    ),
    "starting": ("--part", "help", "--part", "search"),
    "syncing": ("--size", "5000", "--texts", "64", "--documents", "20000"),
    "classifying": ("--size", "10000"),
    "growth": ("--part", "k", "--part", "tasks", "--size", "1000", "--runs", "3"),
}


def rows(races: Sequence[Race]) -> list[tuple[str, str, str, str]]:
    """Return for each race what was done, ragknn's figure, that of the best peer, and how many times quicker it is."""
    found = []
    for race in races:
        best = race.best
        if best is None:
            continue
        unit, ratio = f"{race.unit}/s" if race.unit else "ms", race.ratio(best)
        ours, theirs = (f"{short(race.amount(times.median))} {unit}" for times in (race.of(OURS), best))
        name = best.name if best.kind == "peer" else f"{best.name} ({KINDS[best.kind]})"
        spread = f"{ratio.median:.2f} x ({ratio.low:.2f} - {ratio.high:.2f})"
        found.append((race.name, ours, f"{name} {theirs}", spread))
    return found


def summarize(folder: Path, results: Sequence[Results]) -> None:
    """Print the summary of the results, and write it into the folder."""
    from matplotlib.figure import Figure

    races = [race for one in results for race in one.races]
    headings = ("wait", "ragknn", "the best beside it", "ragknn is quicker")
    table, lines = Table(*headings), [f"| {' | '.join(headings)} |", "| --- | --- | --- | --- |"]
    for row in rows(races):
        table.add_row(*row)
        lines.append(f"| {' | '.join(row)} |")
    Console(width=140).print(table)
    where = results[-1].where
    versions = ", ".join(f"{name} {version}" for name, version in where["versions"].items())
    told = f"{where['date'][:10]}, {where['processor']}, {where['cores']} cores, Python {where['python']}: {versions}"
    (folder / "summary.md").write_text("\n".join([*lines, "", told, ""]), encoding="utf-8")
    kept = {"where": where, "races": [asdict(race) for race in races]}
    (folder / "summary.json").write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    figure = Figure(figsize=(8, 1.2 + 0.34 * len(races)), layout="constrained")
    draw_races(figure.subplots(), races, every=False)
    save_figure(figure, folder / "summary.svg")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the selection and sum it up."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--save", type=Path, metavar="FOLDER", default=RESULTS)
    parser.add_argument("--only", action="append", choices=SELECTION, help="only this one; may be repeated")
    options = parser.parse_args(arguments)
    failed, results = [], []
    for program in options.only or SELECTION:
        command = (sys.executable, "-m", f"benchmarks.{program}", "--save", str(options.save), *SELECTION[program])
        if subprocess.run(command, cwd=Path(__file__).parent.parent).returncode:
            failed.append(program)
        else:
            results.append(load(options.save / f"{program}.json"))
    if results:
        summarize(options.save, results)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
