"""Records in a terminal: lines and tables for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from ragknn._display.inert import visible
from ragknn.cli.results import shown_label
from ragknn.cli.screen import Screen

if TYPE_CHECKING:  # a command that prints one of them has made it
    from ragknn.cli.doctor import Check
    from ragknn.reports import IndexInfo
    from ragknn.voting.scoring import Scores
    from ragknn.voting.tuning import Tuning

SHOWN_FAILURES = 20  # longest list of failures, warnings or confusions in a terminal; --json has them all

_VERDICT_STYLE = {"ok": "green", "note": "yellow", "fail": "red"}


def print_table(
    heads: Sequence[str], rows: Iterable[Sequence[str | Text]], console: Screen, *, numbers: Sequence[str] = ()
) -> None:
    """Print rows below heads; the columns of numbers are aligned on the right, and cells that are too wide folded."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold", show_header=any(heads))
    for head in heads:
        table.add_column(Text(visible(head)), justify="right" if head in numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(visible(cell)) if isinstance(cell, str) else cell for cell in row))
    for line in console.render_lines(table, pad=False):  # one by one, without the spaces at its end
        text = Text.assemble(*((segment.text, segment.style or "") for segment in line))
        text.rstrip()
        console.print(text, soft_wrap=True)


def print_title(title: str, console: Screen) -> None:
    """Print what stands above a table."""
    console.print(Text(visible(title), style="bold"), soft_wrap=True)


def print_warnings(warnings: Iterable[str], console: Screen) -> None:
    """Print a line for each warning, up to a limit."""
    told = list(warnings)
    for warning in told[:SHOWN_FAILURES]:
        console.print(Text(visible(f"warning: {warning}"), style="yellow"), soft_wrap=True)
    if len(told) > SHOWN_FAILURES:
        console.print(f"and {len(told) - SHOWN_FAILURES} more warnings; --json shows them all", style="yellow")


def print_scores(scores: Scores, confusion: bool, console: Screen) -> None:
    """Print the scores of votes on labelled texts."""
    counted = ("confusion", "outcomes")
    facts = {name: value for name, value in scores.to_dict().items() if name not in counted and value is not None}
    print_facts({name: f"{value:.4f}" if isinstance(value, float) else value for name, value in facts.items()}, console)
    if confusion and scores.confusion:
        console.print()
        print_title("most frequent confusions", console)
        shown = scores.confusion[:SHOWN_FAILURES]
        rows = [(shown_label(true), shown_label(voted), str(count)) for (true, voted), count in shown]
        print_table(("true label", "voted", "texts"), rows, console, numbers=("texts",))


def print_tuning(tuning: Tuning, console: Screen) -> None:
    """Print the scores of all settings as a table, with the best one marked."""
    kinds = list(dict.fromkeys(setting.weights for setting in tuning.settings))
    print_title(f"{tuning.scoring}, {tuning.passages} passages", console)
    rows = [
        [str(k)]
        + [
            Text(f"{setting.score:.4f}", style="bold green" if setting == tuning.best else "")
            for setting in tuning.settings
            if setting.k == k
        ]
        for k in dict.fromkeys(setting.k for setting in tuning.settings)
    ]
    print_table(("k", *kinds), rows, console, numbers=("k", *kinds))
    console.print(str(tuning), soft_wrap=True)


def print_facts(facts: Mapping[str, Any], console: Screen) -> None:
    """Print names and values as two columns."""
    rows = [(name.removesuffix("_bytes").replace("_", " "), _shown_fact(name, value)) for name, value in facts.items()]
    print_table(("", ""), rows, console)


def _shown_fact(name: str, value: Any) -> str:
    match value:
        case None | "" | [] | ():
            return "none"
        case True | False:
            return "yes" if value else "no"
        case dict():
            return ", ".join(f"{key} {one}" for key, one in value.items()) or "none"
        case list() | tuple():
            return ", ".join(map(str, value))
        case int() if name.endswith("_bytes"):
            return decimal(value)
        case float() if name.startswith("percent_"):
            return f"{100 * value:.4g}"
        case _:
            return str(value)


def print_indexes(indexes: Sequence[IndexInfo], console: Screen) -> None:
    """Print one line for each index."""
    heads = ("index", "documents", "passages", "embedder", "dim", "metric", "algorithm")
    columns = [{"index": "name"}.get(head, head) for head in heads]
    rows = [tuple(_counted(getattr(info, column)) for column in columns) for info in indexes]
    print_table(heads, rows, console, numbers=("documents", "passages", "dim"))


def _counted(value: object) -> str:
    return "-" if value is None else str(value)  # what is not counted without a filter


def print_check(check: Check, console: Screen) -> None:
    """Print one finding of the doctor."""
    line = Text(f"{check.verdict:5}", style=_VERDICT_STYLE[check.verdict])
    line.append(visible(f"{check.name}: {check.found}"), style="default")
    console.print(line, soft_wrap=True)
    if check.advice:
        console.print(Text(visible(f"     → {check.advice}")), soft_wrap=True)
