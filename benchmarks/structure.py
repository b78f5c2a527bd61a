"""Figures about the code: files, functions, imports, and the path of a query, a document and a vote.

    python -m benchmarks.structure [PACKAGE_FOLDER TESTS_FOLDER]

Without arguments ragknn itself is counted, and its calls are followed on an embedded Redis: a move is a call from one
file to another, or from one package to another.
"""

from __future__ import annotations

import ast
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from graphlib import TopologicalSorter
from itertools import pairwise
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from rich.console import Console
from rich.table import Table

LONG = 40  # lines of a function
MANY = 8  # parameters of a function

_ANY = re.compile(r"\bAny\b")

Function = ast.FunctionDef | ast.AsyncFunctionDef


def main() -> None:
    """Print the tables."""
    root = Path(__file__).parent.parent
    package, tests = (
        (Path(argument) for argument in sys.argv[1:3]) if sys.argv[1:] else (root / "ragknn", root / "tests")
    )
    console = Console(width=100)
    console.print(_as_table(f"{package.name}", {**measure_package(package), **measure_tests(tests)}))
    if not sys.argv[1:]:
        console.print(_trips_table(package))


def _as_table(title: str, figures: dict[str, str]) -> Table:
    table = Table("figure", "value", title=title, title_justify="left")
    for name, value in figures.items():
        table.add_row(name, value)
    return table


# ---- counted ---------------------------------------------------------------------------------------------------


def measure_package(folder: Path) -> dict[str, str]:
    """Return the figures of a package, for display."""
    paths = sorted(folder.rglob("*.py"))
    sources = {path: path.read_text(encoding="utf-8") for path in paths}
    trees = {path: ast.parse(source) for path, source in sources.items()}
    lines = {path: len(source.splitlines()) for path, source in sources.items()}
    total = sum(lines.values())
    functions = [node for tree in trees.values() for node in ast.walk(tree) if isinstance(node, Function)]
    lengths = [_length(function) for function in functions]
    bodies = [_body_length(function) for function in functions]
    public = [one for tree in trees.values() for one in _public_functions(tree)]
    private = [one for one in functions if one.name.startswith("_") and not one.name.startswith("__")]
    parameters = [_parameters(function) for function in functions]
    anys = sum(len(_ANY.findall(source)) for source in sources.values())
    comments = sum(line.strip().startswith("#") for source in sources.values() for line in source.splitlines())
    largest = max(lines, key=lines.__getitem__)
    floors, circles = _floors(folder, trees)
    top = [entry for entry in folder.iterdir() if not entry.name.startswith("__pycache__")]
    return {
        "top-level files / folders": f"{sum(e.is_file() for e in top)} / {sum(e.is_dir() for e in top)}",
        "files / lines": f"{len(paths)} / {total:,}",
        "median / largest file": f"{median(lines.values()):.0f} / {lines[largest]} {largest.stem}",
        "function: median / p90 / max lines": " / ".join(
            f"{length:.0f}" for length in (median(lengths), quantiles(lengths, n=10)[-1], max(lengths))
        ),
        f"functions > {LONG} lines": f"{sum(length > LONG for length in lengths)} of {len(functions)}",
        f"> {LONG} without signature and docstring": str(sum(length > LONG for length in bodies)),
        "public functions documented": _share([ast.get_docstring(one) is not None for one in public]),
        "private functions documented": _share([ast.get_docstring(one) is not None for one in private]),
        "public returns typed": _share([one.returns is not None for one in public]),
        "comment-only lines": f"{comments / total:.1%}",
        "`Any` per 1,000 lines / `type: ignore`": (
            f"{1000 * anys / total:.0f} / {sum(source.count('type: ignore') for source in sources.values())}"
        ),
        f"functions with {MANY}+ parameters (most)": f"{sum(n >= MANY for n in parameters)} ({max(parameters)})",
        "names in root `__all__`": str(len(_all_names(trees[folder / "__init__.py"]))),
        "top-level modules / sub-packages": (
            f"{len([p for p in folder.glob('*.py') if not p.stem.startswith('__')])} / "
            f"{len(list(folder.glob('*/__init__.py')))}"
        ),
        "import floors, late imports counted (circles)": f"{floors} ({circles})",
    }


def measure_tests(folder: Path) -> dict[str, str]:
    """Return the figures of the tests, for display."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in folder.rglob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree) if isinstance(node, Function)]
    lengths = [_length(node) for node in nodes if node.name.startswith("test_")]
    return {"tests: number, median lines, longest": f"{len(lengths)}, {median(lengths):.0f}, {max(lengths)}"}


def _length(function: Function) -> int:
    return (function.end_lineno or function.lineno) - function.lineno + 1


def _body_length(function: Function) -> int:
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return (function.end_lineno or 0) - body[0].lineno + 1 if body else 0


def _parameters(function: Function) -> int:
    arguments = function.args
    names = [one.arg for one in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    return len([name for name in names if name not in ("self", "cls")])


def _public_functions(tree: ast.Module) -> Iterator[Function]:
    for node in tree.body:
        if isinstance(node, Function) and not node.name.startswith("_"):
            yield node
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from (one for one in node.body if isinstance(one, Function) and not one.name.startswith("_"))


def _share(values: list[bool]) -> str:
    return f"{sum(values) / max(1, len(values)):.0%} of {len(values)}"


def _all_names(tree: ast.Module) -> list[str]:
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
    return []


def _floors(folder: Path, trees: dict[Path, ast.Module]) -> tuple[int, int]:
    """Return the number of floors of modules, each above all that it imports, and 0 or 1 for import circles."""
    names = {_module_name(folder, path): path for path in trees}
    graph = {name: {one for one in _imports(trees[path], names) if one != name} for name, path in names.items()}
    sorter: TopologicalSorter[str] = TopologicalSorter(graph)
    try:
        sorter.prepare()
    except ValueError:
        return 0, 1
    floors = 0
    while ready := sorter.get_ready():
        floors += 1
        sorter.done(*ready)
    return floors, 0


def _module_name(folder: Path, path: Path) -> str:
    parts = path.relative_to(folder.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(tree: ast.Module, names: dict[str, Path]) -> set[str]:
    found: set[str] = set()
    nodes: list[ast.AST] = [tree]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.update({node.module, *(f"{node.module}.{alias.name}" for alias in node.names)})
        nodes.extend(ast.iter_child_nodes(node))
    modules = {name for name in found if name in names}
    # An import from a module counts as the module; its package counts only if something is imported from it.
    return {name for name in modules if not any(other.startswith(f"{name}.") for other in modules)}


# ---- followed --------------------------------------------------------------------------------------------------


def _trips_table(package: Path) -> Table:
    import ragknn  # late: counting another package does not need it
    from ragknn.server.embedded import RedisServer

    table = Table("trip", "files entered", "functions", "moves between files", "between packages", title="trips")
    with tempfile.TemporaryDirectory() as folder, RedisServer(folder) as server:
        fields = {"year": "numeric"}
        with ragknn.Index("trips", url=server.url, embedder=ragknn.HashingEmbedder(), fields=fields) as index:
            indexer, retriever = ragknn.Indexer(index), ragknn.Retriever(index)
            documents = [
                ragknn.Document(str(n), f"Words of document {n}.", "ab"[n % 2], {"year": 2000 + n}) for n in range(12)
            ]
            indexer.add(documents[6:])
            voter = ragknn.LabelVoter(retriever, k=3)
            trips: dict[str, Callable[[], Any]] = {
                "retrieve with where, k=2": lambda: retriever.retrieve("words", k=2, where={"year": {"$gte": 2001}}),
                "retrieve hybrid + diversity": lambda: retriever.retrieve("words", k=2, mode="hybrid", diversity=0.5),
                "vote": lambda: voter.vote("words"),
                "add 6 documents": lambda: indexer.add(documents[:6]),
            }
            for name, call in trips.items():
                if name != "add 6 documents":
                    call()  # once, so that work on first use is not counted
                table.add_row(name, *map(str, follow(package, call)))
    return table


def follow(package: Path, call: Callable[[], Any]) -> tuple[int, int, int, int]:
    """Return the number of files and functions a call enters, and of its moves between files and packages."""
    files: list[str] = []
    functions: set[tuple[str, str]] = set()
    prefix = f"{package.resolve()}/"

    def watch(frame: Any, event: str, argument: Any) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(prefix):
            name = code.co_filename.removeprefix(prefix)
            functions.add((name, code.co_qualname))
            if not files or files[-1] != name:
                files.append(name)

    sys.setprofile(watch)
    try:
        call()
    finally:
        sys.setprofile(None)
    rooms = [name.partition("/")[0] for name in files]
    between = sum(before != after for before, after in pairwise(rooms))
    return len(set(files)), len(functions), len(files) - 1, between


if __name__ == "__main__":
    main()
