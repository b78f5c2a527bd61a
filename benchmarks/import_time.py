"""Time `import ragknn` in fresh processes, compared with the imports that it requires.

python -m benchmarks.import_time [RUNS]
"""

import statistics
import subprocess
import sys

from rich.console import Console
from rich.table import Table

STATEMENTS = ("import redis, numpy", "import ragknn", "import sentence_transformers")
PROGRAM = "import time; t = time.perf_counter(); {}; print(time.perf_counter() - t)"


def seconds(statement: str) -> float:
    """Return the time of the statement in a fresh process, in seconds."""
    command = [sys.executable, "-c", PROGRAM.format(statement)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    """Print median, fastest and slowest of several runs, the statements taking turns."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    for statement in STATEMENTS:
        seconds(statement)  # compiles modules that are not compiled yet
    times = [[seconds(statement) for statement in STATEMENTS] for _ in range(runs)]
    table = Table("statement", "median", "fastest", "slowest", title=f"seconds, {runs} runs")
    for statement, column in zip(STATEMENTS, zip(*times, strict=True), strict=True):
        table.add_row(statement, *(f"{value:.3f}" for value in (statistics.median(column), min(column), max(column))))
    Console().print(table)


if __name__ == "__main__":
    main()
