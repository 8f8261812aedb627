"""`gapbench.data` is the one package that a benchmark file imports from, and importing it is cheap."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import gapbench.data

CATALOGUE = Path(__file__).parents[2] / "benchmarks"
HEAVY = {"torch", "pandas", "pyarrow", "PIL"}


def imported_from_gapbench(source: str) -> list[tuple[str, str]]:
    """(module, name) of every `from gapbench... import name`."""
    imports = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom))
    return [
        (node.module or "", a.name) for node in imports if (node.module or "")[:8] == "gapbench" for a in node.names
    ]


@pytest.mark.parametrize("name", gapbench.data.__all__)
def test_every_name_is_the_object_of_its_own_module(name: str) -> None:
    value = getattr(gapbench.data, name)
    home = getattr(value, "__module__", "")
    if home.startswith("gapbench."):  # a number and an alias of a type do not say where they are from
        assert value is getattr(importlib.import_module(home), name)


def test_an_unknown_name_is_an_attribute_error_and_a_module_is_still_imported() -> None:
    with pytest.raises(AttributeError, match=r"'gapbench\.data' has no attribute 'pandas'"):
        _ = gapbench.data.pandas
    from gapbench.data import catalogue

    assert catalogue.names()


@pytest.mark.parametrize("path", sorted(CATALOGUE.glob("*.py")), ids=lambda path: path.stem)
def test_a_benchmark_file_imports_from_nowhere_else(path: Path) -> None:
    imports = imported_from_gapbench(path.read_text(encoding="utf-8"))
    signs = [("gapbench.data.signs", "samples")] if path.stem.startswith("signs") else []  # they are drawn
    assert [pair for pair in imports if pair[0] != "gapbench.data"] == signs
    assert {name for module, name in imports if module == "gapbench.data"} <= set(gapbench.data.__all__)


def test_every_name_is_used_by_a_benchmark_file() -> None:
    files = CATALOGUE.glob("*.py")
    names = {name for path in files for _, name in imported_from_gapbench(path.read_text(encoding="utf-8"))}
    assert set(gapbench.data.__all__) <= names


def test_the_example_of_the_readme_imports_from_nowhere_else() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (CATALOGUE / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert {module for module, _ in imported_from_gapbench(code)} == {"gapbench.data"}


def test_importing_it_loads_nothing_heavy() -> None:
    code = f"import gapbench.data, sys; assert not {HEAVY!r} & set(sys.modules), sorted({HEAVY!r} & set(sys.modules))"
    subprocess.run([sys.executable, "-c", code], check=True)
