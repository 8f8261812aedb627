"""Every import goes down, no name of a type has two definitions, and docs/rooms.svg is up to date."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
import rooms

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "gapbench"


def test_every_import_goes_to_a_lower_floor_or_stays_in_its_room() -> None:
    assert rooms.broken_rules(rooms.read_imports(ROOT)) == []


def test_every_room_stands_on_one_floor_and_every_floor_is_built() -> None:
    listed = [room for floor in rooms.FLOORS for room in floor]
    built = {p.relative_to(PACKAGE).parts[0].removesuffix(".py") for p in PACKAGE.rglob("*.py")}
    assert sorted(listed) == sorted(built)


@pytest.mark.parametrize(
    ("room", "line", "said"),
    [
        (
            "views",
            "from gapbench.data import signs",
            "views imports gapbench.data.signs, which does not stand on a lower",
        ),
        ("runs", "from gapbench import analysis", "runs imports gapbench.analysis, which does not stand on a lower"),
        ("util", "from gapbench import measure", "util imports gapbench.measure, which does not stand on a lower"),
        ("report", "import gapbench.engines.models", "which report must never import"),
        ("analysis", "import torch.nn", "which analysis must never import"),
        ("data", "import benchmarks.signs", "which data must never import"),
        ("attic", "import gapbench.types", "attic stands on no floor"),
    ],
)
@pytest.mark.parametrize(
    "form", ["{}", "def f():\n    {}", "if TYPE_CHECKING:\n    {}", "class A:\n  def f(self):\n    {}"]
)
def test_an_import_against_the_rules_is_found_wherever_it_stands(
    room: str, line: str, said: str, form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("views", "data", "runs", "analysis", "util", "report", "engines", "types", room):
        (tmp_path / "gapbench" / name).mkdir(parents=True, exist_ok=True)
    (tmp_path / "gapbench" / room / "new.py").write_text(form.format(line) + "\n")
    monkeypatch.setattr(rooms, "REPOSITORY", tmp_path)
    (found,) = rooms.broken_rules(rooms.read_imports(tmp_path))
    assert said in found


def test_few_files_lie_directly_under_the_package() -> None:
    assert len(list(PACKAGE.glob("*.py"))) <= 6


def test_no_name_of_a_type_is_defined_twice() -> None:
    homes = defaultdict(list)
    for path in sorted(PACKAGE.rglob("*.py")):
        for name in _types_of(ast.parse(path.read_text(encoding="utf-8"))):
            homes[name].append(str(path.relative_to(ROOT)))
    assert {name: places for name, places in homes.items() if len(places) > 1} == {}


def _types_of(module: ast.Module) -> Iterator[str]:
    """Names of classes and of aliases of types, which are written in capitals and small letters."""
    for node in module.body:
        if isinstance(node, ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            if isinstance(target, ast.Name) and target.id[0].isupper() and not target.id.isupper():
                yield target.id


def test_a_module_s_name_occurs_twice_only_where_two_pages_or_engines_have_the_same_parts() -> None:
    homes = defaultdict(set)
    for path in PACKAGE.rglob("*.py"):
        homes[path.stem].add(path.parent.relative_to(PACKAGE).as_posix())
    doubled = {name: places for name, places in homes.items() if len(places) > 1 and name != "__init__"}
    alike = [{"report", "report/run", "report/comparison", "report/board"}, {"distillation", "distillation/vllm"}]
    assert {n: p for n, p in doubled.items() if not any(p <= places for places in alike)} == {}


def test_the_drawing_of_the_rooms_shows_today_s_imports() -> None:
    drawn = rooms.draw(rooms.read_imports(ROOT))
    assert (ROOT / "docs" / "rooms.svg").read_text(encoding="utf-8") == drawn, (
        "python scripts/rooms.py --draw docs/rooms.svg"
    )


def test_contributing_explains_every_room() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    listed = [room for floor in rooms.FLOORS[:-1] for room in floor]
    assert [room for room in listed if f"{room}/" not in text and f"{room}.py" not in text] == []


MANY = {"cli/app.py": {"measure", "doctor", "locate", "propose", "distill", "compare"}} | {
    f"commands/{name}.py": {name} for name in ("measure", "doctor", "locate", "propose", "distill")
}
"""The functions that users call may take as many parameters as users have wishes."""


def test_no_function_takes_more_than_eight_parameters() -> None:
    found: dict[str, set[str]] = defaultdict(set)
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                given = node.args
                names = [argument.arg for argument in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
                count = len(names) - (names[:1] in (["self"], ["cls"])) + bool(given.vararg) + bool(given.kwarg)
                if count > 8:
                    found[path.relative_to(PACKAGE).as_posix()].add(node.name)
    assert found == MANY


def test_only_one_module_prints() -> None:
    """`gapbench.util.terminal` cleans what it prints. The progress bar hands rich what it has cleaned."""
    prints = {"print", "echo", "secho", "Console"}
    found = set()
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                name = getattr(node.func, "id", getattr(node.func, "attr", ""))
                stream = name == "write" and "sys.std" in ast.unparse(node.func)
                if name in prints or stream:
                    found.add((path.relative_to(PACKAGE).as_posix(), name))
    assert found == {("util/terminal.py", "print"), ("util/progress.py", "Console")}
