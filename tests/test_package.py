import ast
import importlib
import inspect
import re
import subprocess
import sys
import typing
from graphlib import TopologicalSorter
from pathlib import Path
from types import UnionType

import pytest

import ragknn
from ragknn import evaluation
from ragknn.indexing import listing
from ragknn.retrieval import context
from ragknn.server import _connection as connection
from ragknn.voting import tuning

PACKAGE = Path(ragknn.__file__).parent
ROOT = Path(__file__).parent.parent

# From low to high: a package, or a module at the top, imports only from those before it and from itself.
LAYERS = [
    *("version", "errors", "_ids", "filters", "_checks", "_lazy", "_logs", "_plain", "_secrets"),
    "text._",  # the private modules of `text` are about strings alone, and below the records, which show themselves
    *("_display", "records", "reports", "settings"),
    *("text", "embedding", "_nearest", "_protocol", "server", "indexing", "transfer", "retrieval", "voting", "files"),
    "__init__",
    *("estimators", "evaluation", "integrations", "cli", "__main__"),
]
# These import neither redis nor sockets nor processes.
PURE = {
    "errors",
    "_ids",
    "filters",
    "_checks",
    "_lazy",
    "_plain",
    "_secrets",
    "_display",
    "records",
    "reports",
    "text",
    "embedding",
    "_nearest",
    "_protocol",
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


def room(module):
    """Return the package that the module is in, or of one at the top its own name."""
    return module.partition(".")[0]


def layer(module):
    """Return in which layer the module is: that of its room."""
    return "text._" if module.startswith("text._") else room(module)


def test_every_package_has_its_layer():
    assert sorted(LAYERS) == sorted({layer(module) for module in MODULES})


@pytest.mark.parametrize("module", sorted(MODULES))
def test_a_module_imports_only_from_its_own_and_lower_layers(module):
    found = modules_of_ragknn(imports(module))
    if LAYERS.index(layer(module)) < LAYERS.index("__init__"):
        assert "__init__" not in found, "import from the module, not from the front door"
    allowed = LAYERS[: LAYERS.index(layer(module)) + 1]
    assert [other for other in sorted(found) if layer(other) not in allowed] == []


def test_modules_do_not_import_each_other_in_a_circle():
    TopologicalSorter({module: modules_of_ragknn(imports(module)) - {module} for module in MODULES}).prepare()


@pytest.mark.parametrize("module", sorted(module for module in MODULES if room(module) in PURE))
def test_words_stages_and_protocol_do_no_io(module):
    roots = {name.partition(".")[0] for name in imports(module)}
    allowed = {"threading"} if room(module) == "embedding" else set()  # a lock around the loading of the model
    assert roots & IO - allowed == set()


def test_the_layer_test_sees_late_imports_and_imports_from_the_package():
    assert "server.embedded" in modules_of_ragknn(imports("indexing._own_settings"))
    names = {"ragknn", "ragknn._protocol.schema", "ragknn.Index", "redis"}
    assert modules_of_ragknn(names) == {"__init__", "_protocol.schema"}


# ---- what is public --------------------------------------------------------------------------------------------


# The front door and the packages behind it; the command is a program.
PUBLIC = [
    *("", "reports", "text", "embedding", "server", "indexing", "retrieval", "voting", "files"),
    *("estimators", "evaluation"),
    *("transfer", "integrations"),
    *(f"integrations.{name}" for name in ("haystack", "langchain", "llama_index", "mcp")),
]
# These first look for the package that they need, whose absence is an error that says what to install.
OPTIONAL = [name for name in PUBLIC if name == "estimators" or name.startswith("integrations.")]


def package(name):
    return importlib.import_module(f"ragknn.{name}".rstrip("."))


# Their names are imported when they are first asked for, and so are listed in a stub.
LATE = ["", "server"]


def body(module):
    return ast.parse(MODULES[module or "__init__"].read_text()).body


def listed(name):
    """Return the imports that list what a package exports."""
    stub = MODULES[name or "__init__"].with_suffix(".pyi")
    nodes = ast.parse(stub.read_text()).body if name in LATE else body(name)
    return [node for node in nodes if isinstance(node, ast.ImportFrom)]


def defined(module):
    """Return the names that a module defines at its top."""
    names = set()
    for node in body(module):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names.update(part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name))
    return names - {"logger"}


def test_every_package_without_an_underscore_is_public():
    packages = {name for name, path in MODULES.items() if path.name == "__init__.py"}
    assert {name for name in packages if "._" not in f".{name}"} == {*PUBLIC, "cli"} - {""}


@pytest.mark.parametrize("name", PUBLIC)
def test_all_is_sorted_and_everything_in_it_can_be_imported(name):
    exported = package(name).__all__
    assert exported == sorted(exported)
    assert [one for one in exported if not hasattr(package(name), one)] == []
    assert not hasattr(package(name), "something_else")


@pytest.mark.parametrize("name", PUBLIC)
def test_all_names_everything_that_is_imported_for_it(name):
    imported = [alias.name for node in listed(name) for alias in node.names]
    assert sorted(imported) == package(name).__all__


@pytest.mark.parametrize("name", PUBLIC)
def test_a_package_only_imports(name):
    kinds = {type(node).__name__ for node in body(name)}
    allowed = {"Import"} if name in LATE else {"Try"} if name in OPTIONAL else set()
    assert {"Expr"} <= kinds <= {"Expr", "ImportFrom", "Assign", "AnnAssign"} | allowed


@pytest.mark.parametrize("module", sorted(module for module in MODULES if room(module) == "integrations"))
def test_an_integration_uses_public_names_of_ragknn_alone(module):
    own = module.partition(".")[0] + "." + module.split(".")[1] if "." in module else module
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "ragknn":
            name = node.module.removeprefix("ragknn").removeprefix(".")
            if name != own and not name.startswith((f"{own}.", "integrations._")):
                assert [alias.name for alias in node.names if alias.name not in package(name).__all__] == []


@pytest.mark.parametrize("name", LATE)
def test_a_stub_shows_each_name_to_type_checkers(name):
    assert all(alias.asname == alias.name for node in listed(name) for alias in node.names)


@pytest.mark.parametrize(
    "module",
    sorted(
        module
        for module in MODULES
        if room(module) not in ("cli", "__init__", "__main__")
        and not any(part.startswith("_") for part in module.split("."))
        and module not in PUBLIC
    ),
)
def test_a_public_module_defines_only_what_its_package_exports_and_what_is_marked_as_private(module):
    exported = package(module.rpartition(".")[0]).__all__
    private = {name for name in defined(module) if name.startswith("_")}
    assert sorted(defined(module) - private - {*exported}) == []


@pytest.mark.parametrize("name", PUBLIC)
def test_everything_public_has_a_docstring(name):
    things = {one: getattr(package(name), one) for one in package(name).__all__ if one != "__version__"}
    documented = {one: thing for one, thing in things.items() if inspect.isclass(thing) or inspect.isroutine(thing)}
    assert [one for one, thing in documented.items() if not (thing.__doc__ or "").strip()] == []
    aliases = [thing for one, thing in things.items() if one not in documented]
    assert all(typing.get_origin(thing) is not None or isinstance(thing, UnionType) for thing in aliases)


def test_what_a_package_exports_for_users_is_one_object_wherever_it_is_exported():
    for name in PUBLIC:
        for one in {*package(name).__all__} & {*ragknn.__all__}:
            assert getattr(package(name), one) is getattr(ragknn, one), one


def test_every_error_is_a_ragknn_error_and_is_drawn_in_the_tree():
    errors = {name for name in vars(ragknn.errors) if inspect.isclass(vars(ragknn.errors)[name])}
    errors = {name for name in errors if issubclass(vars(ragknn.errors)[name], Exception)}
    assert len(errors) > 10
    assert all(issubclass(vars(ragknn.errors)[name], ragknn.RagKNNError) for name in errors)
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
            streams = "AsyncIterator" in str(inspect.signature(method).return_annotation)
            assert inspect.iscoroutinefunction(method) != streams, name
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
        (listing.list_indexes, listing.alist_indexes),
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
    *("selectolax", "pathspec", "pypdf", "docx", "openpyxl", "docutils", "IPython", "matplotlib"),
    *("ragknn.integrations", "langchain_core", "llama_index", "haystack", "mcp", "pyarrow", "opentelemetry.trace"),
}


def modules_after(statement):
    # Redis loads the SDK of OpenTelemetry where there is one, whether or not ragknn is there.
    script = f"import sys\nsys.modules['opentelemetry.sdk'] = None\n{statement}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def test_importing_ragknn_loads_next_to_nothing_and_each_name_what_it_needs():
    own = {name for name in modules_after("import ragknn") if name.startswith("ragknn")}
    assert own == {"ragknn", "ragknn.errors", "ragknn.filters"}
    everything = modules_after("from ragknn import *")
    assert {"ragknn.voting.tuning", "redis", "numpy"} <= everything
    assert everything & SLOW - {"pydantic_settings", "platformdirs", "psutil"} == set()
    one = modules_after("from ragknn import Index")
    assert {"redis", "numpy"} <= one
    assert one & SLOW == set()


TRY_A_SERVER = """
import asyncio, contextlib, ragknn
with contextlib.suppress(ragknn.ConnectionFailed):
    ragknn.Retriever(ragknn.Index("name", url="redis://localhost:1")).retrieve("")
with contextlib.suppress(ragknn.ConnectionFailed):
    asyncio.run(ragknn.AsyncIndex("name", url="redis://localhost:1").open())
"""


def test_what_speaks_to_a_cluster_or_to_sentinels_is_loaded_by_those_who_use_it():
    loaded = modules_after(TRY_A_SERVER)
    assert loaded >= {"ragknn.indexing.index", "ragknn.indexing.async_index", "ragknn.server._driving"}
    assert {name for name in loaded if name.startswith(("ragknn.server._cluster", "ragknn.server._sentinel"))} == set()


# What each command needs beyond the words on its line.
NEEDED = {
    "--help": set(),
    "--version": set(),
    "search --help": {"ragknn.indexing", "ragknn.retrieval"},
    "classify --help": {"ragknn.indexing", "ragknn.retrieval", "ragknn.voting"},
}


RUN_A_COMMAND = """
import contextlib
from ragknn.cli import cli
with contextlib.suppress(SystemExit):
    cli({}, prog_name="ragknn")
"""


@pytest.mark.parametrize("line", NEEDED)
def test_a_command_loads_only_what_it_needs(line):
    loaded = modules_after(RUN_A_COMMAND.format(line.split()))
    needed = NEEDED[line]
    assert loaded >= needed
    unneeded = {"numpy", "redis", "pydantic", *(f"ragknn.{name}" for name in PUBLIC if name)} if not needed else set()
    unneeded |= {"torch", "pypdf", "selectolax", "ragknn.estimators", "ragknn.evaluation", "ragknn.voting"} - needed
    assert loaded & unneeded == set()


def test_importing_ragknn_reads_no_setting_and_starts_nothing():
    script = (
        "import os, sys, threading; os.environ['RAGKNN_PROTOCOL'] = 'nonsense'; import ragknn; "
        "print(threading.active_count(), 'ragknn.server.embedded' in sys.modules, 'ragknn.settings' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "1 False False\n"


# ---- version ---------------------------------------------------------------------------------------------------


def test_the_newest_entry_of_the_changelog_is_the_version():
    [newest, *_] = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest == ragknn.__version__


# ---- the tests -------------------------------------------------------------------------------------------------


def decorators_that_draw(tree):
    """Return the names of what makes a hypothesis test: `given`, and the functions of the module that call it."""
    makers = [node for node in tree.body if isinstance(node, ast.FunctionDef) and not node.name.startswith("test_")]
    return {"given"} | {
        maker.name
        for maker in makers
        if any(isinstance(node, ast.Name) and node.id == "given" for line in maker.body for node in ast.walk(line))
    }


def leaves_early(function):
    """Tell whether a test may end before its assertions: by a return of its own, or by dropping the example."""
    nodes = list(function.body)
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.Return):
            return True
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in ("assume", "reject"):
            return True
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            nodes.extend(ast.iter_child_nodes(node))
    return False


def idle_tests(source):
    """Return the names of the hypothesis tests that may leave an example without having looked at it."""
    tree = ast.parse(source)
    drawing = decorators_that_draw(tree)
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return [
        function.name
        for function in functions
        if any(
            isinstance(node, ast.Name) and node.id in drawing
            for decorator in function.decorator_list
            for node in ast.walk(decorator)
        )
        and leaves_early(function)
    ]


@pytest.mark.parametrize("path", sorted((ROOT / "tests").rglob("*.py")), ids=lambda path: path.name)
def test_a_hypothesis_test_looks_at_every_example_that_is_drawn(path):
    assert idle_tests(path.read_text(encoding="utf-8")) == [], "draw by a strategy what the test is about"


def test_the_test_of_hypothesis_tests_sees_returns_and_assumptions_and_lets_functions_within_return():
    source = """
def often(test):
    return settings(max_examples=9)(given(st.integers())(test))

@given(st.integers())
def test_a(x):
    if x:
        return

@settings(max_examples=3)
@given(st.integers())
def test_b(x):
    hypothesis.assume(x)

@often
def test_c(x):
    for _ in range(x):
        return

@often
def test_d(x):
    def inner():
        return x
    assert inner() == (lambda: x)()

def test_e():
    return
"""
    assert idle_tests(source) == ["test_a", "test_b", "test_c"]
