"""Where the names of the adapter are, and that the methods of both worlds are alike."""

import importlib
import inspect
import tomllib
from pathlib import Path

import pytest

from ragknn.integrations import haystack

ROOT = Path(__file__).parent.parent.parent
FOLDER = ROOT / "haystack_integrations"
PACKAGES = ["document_stores.ragknn", "components.retrievers.ragknn", "components.embedders.ragknn"]


def test_haystack_finds_each_name_where_it_looks_for_it():
    packages = [importlib.import_module(f"haystack_integrations.{name}") for name in PACKAGES]
    assert sorted(name for package in packages for name in package.__all__) == haystack.__all__
    for package in packages:
        for name in package.__all__:
            assert getattr(package, name) is getattr(haystack, name)
            assert getattr(package, name).__module__ == package.__name__


def test_other_packages_can_have_parts_of_the_folder_and_the_wheel_has_ours():
    found = sorted(path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("__init__.py"))
    assert found == sorted(f"{name.replace('.', '/')}/__init__.py" for name in PACKAGES)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert "haystack_integrations" in project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]


@pytest.mark.parametrize("name", haystack.__all__)
def test_async_methods_have_the_parameters_of_their_twins_and_wait(name):
    methods = dict(inspect.getmembers(getattr(haystack, name), inspect.isfunction))
    twins = [one for one in methods if one.endswith("_async") and not one.startswith("_")]
    assert twins
    for one in twins:
        assert inspect.iscoroutinefunction(methods[one])
        assert inspect.signature(methods[one]) == inspect.signature(methods[one.removesuffix("_async")])
    if name == "RagKNNDocumentStore":
        alone = {one for one in methods if not one.startswith("_")} - {*twins, *(f"{one[:-6]}" for one in twins)}
        assert alone == {"to_dict"}
