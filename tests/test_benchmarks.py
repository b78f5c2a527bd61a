"""The benchmarks can be run: they import, and find what they need in the library."""

import importlib
from pathlib import Path

import pytest

PROGRAMS = sorted(path.stem for path in (Path(__file__).parent.parent / "benchmarks").glob("*.py"))


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_benchmark_can_be_loaded_and_stands_in_the_readme(name, monkeypatch):
    root = Path(__file__).parent.parent
    monkeypatch.syspath_prepend(str(root))
    assert callable(importlib.import_module(f"benchmarks.{name}").main)
    assert f"benchmarks.{name}" in (root / "benchmarks" / "README.md").read_text(encoding="utf-8")
