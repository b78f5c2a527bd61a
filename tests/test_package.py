import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import ragknn
from ragknn import connection, context, evaluation, index, tuning

PACKAGE = Path(ragknn.__file__).parent
ROOT = Path(__file__).parent.parent

# From low to high: a module imports only from the layers below its own.
LAYERS = [
    # words
    {"version", "errors"},
    {"records", "settings", "pictures"},
    # stages: pure, no I/O
    {"vectors", "flows", "splitting", "embedding", "voting", "fusion", "excerpts", "terms"},
    {"schema", "replies"},
    {"diversity", "reranking", "filters"},
    {"plan"},
    # protocol: which commands are sent, what a reply means
    {"commands.looking", "ballot"},
    {"commands.opening", "commands.writing"},
    {"commands"},
    {"searches", "ingestion"},
    {"searching"},
    {"selection"},
    # I/O: the only modules that touch sockets or processes
    {"connection", "binaries", "datafolder"},
    {"process"},
    {"server"},
    # faces
    {"index"},
    {"indexer", "retriever"},
    {"voter"},
    {"context"},
    {"tuning", "scoring"},
    # users
    {"formats"},
    {"conversion"},
    {"reading"},
    # the front door
    {"__init__"},
    # leaves
    {"estimators.rows"},
    {"estimators.rowstore"},
    {"estimators.neighbors"},
    {"estimators.supervised", "estimators.transformers"},
    {"estimators.classifiers"},
    {"estimators.regressors"},
    {"estimators"},
    {"evaluation.metrics", "evaluation.significance", "evaluation.tables"},
    {"evaluation.questions", "evaluation.recall"},
    {"evaluation.charts"},
    {"evaluation.results"},
    {"evaluation.evaluating"},
    {"evaluation"},
    {"doctor"},
    {"cli.terminal"},
    {"cli.options"},
    {"cli.documents", "cli.evaluation", "cli.labels", "cli.search", "cli.service"},
    {"cli"},
    {"__main__"},
]
# Modules without I/O of their own: they import neither redis nor sockets nor processes.
PURE = {
    "errors",
    "records",
    "vectors",
    "flows",
    "splitting",
    "embedding",
    "voting",
    "fusion",
    "excerpts",
    "diversity",
    "reranking",
    "terms",
    "evaluation.metrics",
    "evaluation.significance",
    "evaluation.tables",
    "schema",
    "filters",
    "replies",
    "commands.looking",
    "commands.opening",
    "commands.writing",
    "ballot",
    "plan",
    "searches",
    "searching",
    "selection",
    "ingestion",
    "estimators.rows",
}
IO = {"redis", "socket", "subprocess", "asyncio", "psutil", "threading", "multiprocessing", "urllib"}


def names_of_modules():
    """Return the path of each module by its name in the package; that of a package within is its `__init__`."""
    paths = {".".join(path.relative_to(PACKAGE).with_suffix("").parts): path for path in PACKAGE.rglob("*.py")}
    return {name.removesuffix(".__init__"): path for name, path in paths.items()}


MODULES = names_of_modules()


def imports(module):
    """Return the names of all modules that a module imports, late imports too, but none that is only for types."""
    names = set()
    nodes = [ast.parse(MODULES[module].read_text())]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            nodes.extend(node.orelse)
            continue
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: expected absolute imports"
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
        nodes.extend(ast.iter_child_nodes(node))
    return names


def modules_of_ragknn(names):
    """Return which modules of the package stand among the names."""
    own = {name.removeprefix("ragknn").removeprefix(".") for name in names if name.partition(".")[0] == "ragknn"}
    # Of a name within a module, the module: `index.Index` is in `index`, and `Index` in the front door.
    return {next((part for part in (name, name.rpartition(".")[0]) if part in MODULES), "__init__") for name in own}


# ---- layers ----------------------------------------------------------------------------------------------------


def test_every_module_has_its_layer():
    assert sorted(module for layer in LAYERS for module in layer) == sorted(MODULES)


@pytest.mark.parametrize("height", range(len(LAYERS)), ids=lambda height: ",".join(sorted(LAYERS[height])))
def test_a_module_imports_only_from_lower_layers(height):
    below = set().union(*LAYERS[:height])
    upwards = {module: modules_of_ragknn(imports(module)) - below - {module} for module in LAYERS[height]}
    if height < LAYERS.index({"__init__"}):
        assert all("__init__" not in found for found in upwards.values()), "import from the module, not the package"
    assert {module: found for module, found in upwards.items() if found} == {}


@pytest.mark.parametrize("module", sorted(PURE))
def test_the_stages_and_the_protocol_do_no_io(module):
    roots = {name.partition(".")[0] for name in imports(module)}
    allowed = {"threading"} if module in ("embedding", "reranking") else set()  # a lock around the loading of the model
    assert roots & IO - allowed == set()


def test_the_layer_test_sees_late_imports_and_imports_from_the_package():
    assert "server" in modules_of_ragknn(imports("index"))
    assert modules_of_ragknn({"ragknn", "ragknn.schema", "ragknn.Index", "redis"}) == {"__init__", "schema"}


# ---- what is public --------------------------------------------------------------------------------------------


def test_all_is_sorted_and_everything_in_it_can_be_imported():
    assert ragknn.__all__ == sorted(ragknn.__all__)
    assert [name for name in ragknn.__all__ if not hasattr(ragknn, name)] == []


def test_all_names_everything_that_is_imported_for_it():
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    imported = [alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert sorted(imported) == ragknn.__all__


def test_the_front_door_only_imports():
    kinds = {type(node).__name__ for node in ast.parse((PACKAGE / "__init__.py").read_text()).body}
    assert kinds == {"Expr", "ImportFrom", "Assign"}


@pytest.mark.parametrize("name", [name for name in ragknn.__all__ if name != "__version__"])
def test_everything_public_has_a_docstring(name):
    assert inspect.getdoc(getattr(ragknn, name))


def test_every_error_is_a_ragknn_error_and_is_drawn_in_the_tree():
    errors = {name for name in ragknn.__all__ if inspect.isclass(vars(ragknn)[name])}
    errors = {name for name in errors if issubclass(vars(ragknn)[name], Exception)}
    assert len(errors) > 10
    assert all(issubclass(vars(ragknn)[name], ragknn.RagKNNError) for name in errors)
    drawn = set(re.findall(r"^ +[│├└─ ]*(\w+)", ragknn.errors.__doc__, re.MULTILINE))
    assert drawn & errors == errors
    assert issubclass(ragknn.MissingDependency, ImportError)
    assert issubclass(ragknn.InvalidVectors, ValueError)
    assert issubclass(ragknn.TextTooLong, ValueError)


def test_the_package_says_that_it_is_typed():
    assert (PACKAGE / "py.typed").exists()


# ---- twins -----------------------------------------------------------------------------------------------------

TWINS = [
    (ragknn.Index, ragknn.AsyncIndex),
    (ragknn.Indexer, ragknn.AsyncIndexer),
    (ragknn.Retriever, ragknn.AsyncRetriever),
    (ragknn.LabelVoter, ragknn.AsyncLabelVoter),
]


def public(cls):
    return {name for name, _ in inspect.getmembers(cls) if not name.startswith("_")}


def parameters(function):
    """Return the parameters, with the async types named like their sync twins."""
    signature = inspect.signature(function)
    return [
        (parameter.name, parameter.kind, parameter.default, str(parameter.annotation).replace("Async", ""))
        for parameter in signature.parameters.values()
    ], str(signature.return_annotation).replace("Async", "")


@pytest.mark.parametrize(("sync", "twin"), TWINS, ids=lambda cls: cls.__name__)
def test_twins_have_the_same_methods_with_the_same_parameters(sync, twin):
    assert public(sync) == public(twin)
    for name in ["__init__", *sorted(public(sync))]:
        mine, theirs = inspect.getattr_static(sync, name), inspect.getattr_static(twin, name)
        if inspect.isfunction(mine):
            assert parameters(mine) == parameters(theirs), name
        else:
            assert type(mine) is type(theirs), name


@pytest.mark.parametrize(("sync", "twin"), TWINS, ids=lambda cls: cls.__name__)
def test_what_waits_is_a_coroutine_in_the_async_twin_and_none_in_the_other(sync, twin):
    # Defined in the class itself: what both inherit does not wait.
    for name, method in vars(twin).items():
        if not name.startswith("_") and inspect.isfunction(method):
            assert inspect.iscoroutinefunction(method), name
            assert not inspect.iscoroutinefunction(vars(sync)[name]), name


@pytest.mark.parametrize(("sync", "twin"), TWINS, ids=lambda cls: cls.__name__)
def test_the_async_twin_names_the_method_that_it_is_the_twin_of(sync, twin):
    for name, method in vars(twin).items():
        if not name.startswith("_") and inspect.isfunction(method):
            assert f"`{sync.__name__}.{name}`" in method.__doc__, name


@pytest.mark.parametrize(
    ("sync", "twin"),
    [
        (connection.connect, connection.aconnect),
        (connection.run, connection.arun),
        (index.list_indexes, index.alist_indexes),
        (tuning.tune, tuning.atune),
        (context.build_context, context.abuild_context),
        (evaluation.evaluate, evaluation.aevaluate),
        (evaluation.scan_recall, evaluation.ascan_recall),
    ],
)
def test_twin_functions_have_the_same_parameters(sync, twin):
    (mine, returned), (theirs, other) = parameters(sync), parameters(twin)
    asyncio_named = [
        (name, kind, default, kind_of.replace("redis.asyncio", "redis")) for name, kind, default, kind_of in theirs
    ]
    assert mine == asyncio_named
    assert returned == other.replace("redis.asyncio", "redis")


# ---- importing -------------------------------------------------------------------------------------------------

SLOW = {
    *("torch", "sentence_transformers", "transformers", "tokenizers", "huggingface_hub"),
    *("pydantic_settings", "platformdirs", "click", "typer", "rich", "psutil", "sklearn", "scipy", "pandas"),
    *("bs4", "pypdf", "IPython", "matplotlib"),
}


def modules_after(statement):
    script = f"import sys; {statement}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_ragknn_loads_nothing_slow():
    loaded = modules_after("import ragknn")
    assert {"ragknn", "redis", "numpy"} <= loaded
    assert loaded & SLOW == set()


def test_importing_ragknn_reads_no_setting_and_starts_nothing():
    script = (
        "import os, sys, threading; os.environ['RAGKNN_PROTOCOL'] = 'nonsense'; import ragknn; "
        "print(threading.active_count(), 'ragknn.server' in sys.modules, 'ragknn.settings' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "1 False False\n"


# ---- version ---------------------------------------------------------------------------------------------------


def test_the_newest_entry_of_the_changelog_is_the_version():
    [newest, *_] = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest == ragknn.__version__
