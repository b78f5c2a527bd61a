"""The option that names an embedder in a module of the user."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, TypeVar

import click

from ragknn._checks import check_embedder
from ragknn.cli.options import json_object
from ragknn.embedding._naming import default_embedder
from ragknn.embedding.protocols import Embedder
from ragknn.errors import ConfigurationError
from ragknn.settings import load_settings

F = TypeVar("F", bound=Callable[..., Any])

_EXAMPLE = "my_module:embedder"


def embedder_option(command: F) -> F:
    """Add the options that name an embedder, and what it is made with."""
    arguments = click.option(
        "--embedder-args",
        metavar="JSON",
        callback=_arguments,
        is_eager=True,  # before the embedder is made
        expose_value=False,
        help="Arguments of OBJECT, where it is a class or a function. Such as '{\"dim\": 512}'.",
    )
    embedder = click.option(
        "--embedder",
        metavar="MODULE:OBJECT",
        callback=_embedder,
        help="Embedder in a Python module: an object, or a class or function that makes one.",
    )
    return embedder(arguments(command))


def _arguments(ctx: click.Context, parameter: click.Parameter, value: str | None) -> None:
    ctx.meta[__name__] = None if value is None else json_object(value, '{"dim": 512}')


def _embedder(ctx: click.Context, parameter: click.Parameter, value: str | None) -> Embedder | None:
    arguments = ctx.meta.get(__name__)
    if value is None:
        if arguments is not None:
            raise click.BadParameter("expected --embedder beside --embedder-args, got no embedder", ctx, parameter)
        return None
    with redirect_stdout(sys.stderr):  # what the user's module prints is no output of the command
        return load_embedder(value, arguments)


def chosen_embedder(embedder: Embedder | None, model: str | None) -> Embedder | None:
    """Return the embedder of a new index: one that was named, or that of a model, or None for the default.

    Raises:
        UsageError: both were named.
    """
    if embedder is not None and model is not None:
        raise click.UsageError("expected either --embedder or --model, got both")
    if model is None:
        return embedder
    if not model.strip():
        raise click.UsageError(f"expected the name or the folder of a model after --model, got {model!r}")
    return default_embedder(model, load_settings().device)


def load_embedder(place: str, arguments: Mapping[str, Any] | None = None) -> Embedder:
    """Return the embedder at a place such as `my_module:embedder`; modules are found in the current folder too.

    Args:
        place: module and name in it. What is there is an embedder, or a class or a function that returns one.
        arguments: what the class or function is called with, by name.

    Raises:
        BadParameter: there is no such thing, or it is no embedder and makes none.
        ConfigurationError: the user's code failed.
    """
    module, colon, name = place.partition(":")
    if not (module and colon and name) or not all(part.isidentifier() for part in f"{module}.{name}".split(".")):
        raise click.BadParameter(f"expected MODULE:OBJECT such as {_EXAMPLE}, got {place!r}{_advice_for(place)}")
    found = _attribute(_module(module, place), name, place)
    if _is_embedder(found):
        if arguments is not None:
            raise click.BadParameter(
                f"expected {place} to be a class or a function with --embedder-args, got an object"
            )
        return found  # type: ignore[no-any-return]
    if callable(found):
        found = _made(found, arguments or {}, place)
    try:
        check_embedder(found, place)
    except TypeError as error:
        raise click.BadParameter(str(error)) from error
    return found  # type: ignore[no-any-return]


def _is_embedder(found: object) -> bool:
    return not isinstance(found, type) and hasattr(found, "embed_documents") and hasattr(found, "embed_queries")


def _advice_for(place: str) -> str:
    path = Path(place.partition(":")[0])
    if path.suffix == ".py" or len(path.parts) > 1:
        return f": write the module as {'.'.join(path.with_suffix('').parts) or 'my_module'}, without .py and slashes"
    return ": a model of sentence-transformers is named by --model" if ":" not in place else ""


def _module(name: str, place: str) -> Any:
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise ConfigurationError(
                f"{place}: the module {name} needs {error.name}, which is not installed"
            ) from error
        raise click.BadParameter(
            f"expected a module {name} in {here} or installed, found none: check the name and the folder"
        ) from error
    except Exception as error:
        raise ConfigurationError(f"{place}: importing {name} failed with {type(error).__name__}: {error}") from error


def _attribute(module: Any, name: str, place: str) -> Any:
    found = module
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError as error:
            there = sorted(one for one in dir(found) if not one.startswith("_"))
            shown = ", ".join(there[:10]) + ", ..." * (len(there) > 10) or "nothing"
            raise click.BadParameter(f"expected {part!r} in {place}, found {shown}") from error
    return found


def _made(call: Callable[..., Any], arguments: Mapping[str, Any], place: str) -> Any:
    if inspect.iscoroutinefunction(call):
        raise click.BadParameter(f"expected {place} to be a plain function, got a coroutine function")
    try:
        inspect.signature(call).bind(**arguments)
    except TypeError as error:
        advice = "" if isinstance(call, type) else "; a function that embeds texts becomes an embedder in your module: "
        advice += "" if isinstance(call, type) else "embedder = ragknn.FunctionEmbedder(name, function)"
        given = f"called with {', '.join(arguments)}" if arguments else "called without arguments"
        raise click.BadParameter(
            f"expected that {place} can be {given}, got: {error}; --embedder-args passes others{advice}"
        ) from error
    except ValueError:  # written in C, without a signature
        pass
    try:
        return call(**arguments)
    except Exception as error:
        raise ConfigurationError(f"{place}: calling it failed with {type(error).__name__}: {error}") from error
