"""Benchmarks are not run by tests; what they take from the packages must be there all the same."""

import ast
from importlib import import_module
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"
PACKAGES = ("flowkit", "models", "train")


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.py")), ids=lambda path: path.stem)
def test_what_a_benchmark_imports_is_there(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in PACKAGES:
            module = import_module(node.module)
            for name in (alias.name for alias in node.names):
                if not hasattr(module, name):
                    import_module(f"{node.module}.{name}")
