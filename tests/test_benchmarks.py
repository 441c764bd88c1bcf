"""Benchmarks take minutes, and no test runs them; what they import must be there, or the next to measure finds out."""

import ast
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import pytest

BENCHMARKS = sorted((Path(__file__).parents[1] / "benchmarks").glob("*.py"))


def is_there(module, name):
    """Whether `from module import name` works."""
    with suppress(ImportError):
        import_module(f"{module}.{name}")
    return hasattr(import_module(module), name)


@pytest.mark.parametrize("benchmark", BENCHMARKS, ids=lambda path: path.stem)
def test_what_a_benchmark_imports_of_the_package_is_there(benchmark):
    imports = [
        (node.module, alias.name)
        for node in ast.walk(ast.parse(benchmark.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "objremove"
        for alias in node.names
    ]
    assert [one for one in imports if not is_there(*one)] == []
