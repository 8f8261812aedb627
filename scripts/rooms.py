"""Reads who imports whom, counts it, and makes the drawing of docs/architecture.md.

    python scripts/rooms.py                              # counts, and every import that breaks a rule; exit code 1 then
    python scripts/rooms.py --draw docs/rooms.svg
    python scripts/rooms.py --repository ../an-older-checkout      # counts alone, for a comparison

A room is what lies directly under `gapbench/`: a folder, or a file. Every import counts, those inside functions and
those for type checkers too.

Limits: a module that is named only at run time (`importlib.import_module(name)`) is not seen.
"""

from __future__ import annotations

import argparse
import ast
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]

FLOORS: tuple[tuple[str, ...], ...] = (
    ("errors", "version"),
    ("types",),
    ("util", "glance"),
    ("views", "scoring"),
    ("data", "engines", "runs", "analysis"),
    ("report",),
    ("selfcheck", "localisation", "proposals", "judging", "distillation"),
    ("preflight",),
    ("commands",),
    ("cli",),
    ("__init__", "__main__"),
)
"""From the ground up. An import stays in its room or goes to a lower floor, so rooms of one floor know nothing of each
other."""

NEVER: Mapping[str, tuple[str, ...]] = {
    "runs": ("torch", "transformers", "vllm"),
    "analysis": ("torch", "transformers", "vllm"),
    "report": ("torch", "transformers", "vllm", "gapbench.data", "gapbench.engines"),
}
"""What a room may not import though the floors would let it: reports and numbers are made from records alone."""
BY_PATH = ("benchmarks", "distill", "scripts", "tests")
"""Folders beside the package, of which Python files are found by path and never imported."""


@dataclass(frozen=True)
class Import:
    """One import: the importing file and line, its room, and what is imported with its room (empty outside)."""

    file: Path
    line: int
    room: str
    target: str
    target_room: str


def read_imports(repository: Path) -> list[Import]:
    """Every import in `gapbench/`, in the order of files and lines."""
    package = repository / "gapbench"
    rooms = {p.stem for p in package.iterdir() if p.is_dir() or p.suffix == ".py"}
    return [found for path in sorted(package.rglob("*.py")) for found in _imports_of(path, package, rooms)]


def _imports_of(path: Path, package: Path, rooms: set[str]) -> Iterator[Import]:
    room = path.relative_to(package).parts[0].removesuffix(".py")
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            targets = [f"{module}.{alias.name}" for alias in node.names]
        else:
            continue
        for target in targets:
            first, _, rest = target.partition(".")
            head = rest.partition(".")[0]
            yield Import(
                path, node.lineno, room, target, "" if first != "gapbench" else head if head in rooms else "__init__"
            )


def broken_rules(imports: Iterable[Import]) -> list[str]:
    """One line for each import that goes up, sideways, or where its room must never go."""
    floor = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
    found = []
    for one in imports:
        where = f"{one.file.relative_to(REPOSITORY)}:{one.line}: {one.room} imports {one.target}"
        unknown = {room for room in (one.room, one.target_room) if room and room not in floor}
        if unknown:
            found.append(f"{where}, and {', '.join(sorted(unknown))} stands on no floor of scripts/rooms.py")
        elif one.target_room and one.room != one.target_room and floor[one.target_room] >= floor[one.room]:
            found.append(f"{where}, which does not stand on a lower floor")
        found += [
            f"{where}, which {one.room} must never import"
            for never in (*BY_PATH, *NEVER.get(one.room, ()))
            if one.target == never or one.target.startswith(f"{never}.")
        ]
    return found


@dataclass(frozen=True)
class Counts:
    """The structure in numbers: `arrows` are pairs of rooms of which one imports the other, `floors` how many stand on
    each other (rooms of a circle share one), and `circles` the sets of rooms that import each other round about."""

    files_directly_under_gapbench: int
    rooms: int
    floors: int
    arrows: int
    circles: tuple[tuple[str, ...], ...]


def count(repository: Path) -> Counts:
    """The counts of any checkout of gapbench."""
    imports = read_imports(repository)
    package = repository / "gapbench"
    rooms = sorted({p.relative_to(package).parts[0].removesuffix(".py") for p in package.rglob("*.py")})
    inside = [one for one in imports if one.target_room and one.room != one.target_room]
    arrows = {(one.room, one.target_room) for one in inside}
    return Counts(
        len(list(package.glob("*.py"))),
        len(rooms),
        len(set(_heights(rooms, arrows).values())),
        len(arrows),
        tuple(circle for circle in _components(rooms, arrows) if len(circle) > 1),
    )


def _heights(rooms: Sequence[str], arrows: set[tuple[str, str]]) -> dict[str, int]:
    """Each room's floor: one above the highest that it imports; rooms of a circle share one."""
    heights: dict[str, int] = {}
    for component in _components(rooms, arrows):  # what is imported comes first
        below = [heights[low] for high, low in arrows if high in component and low not in component]
        heights |= dict.fromkeys(component, 1 + max(below, default=0))
    return heights


def _components(rooms: Sequence[str], arrows: set[tuple[str, str]]) -> list[tuple[str, ...]]:
    """Strongly connected components, each after those that it imports (Tarjan 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[tuple[str, ...]] = []

    def visit(room: str) -> None:
        index[room] = low[room] = len(index)
        stack.append(room)
        for _, target in sorted(arrow for arrow in arrows if arrow[0] == room):
            if target not in index:
                visit(target)
            if target in stack:
                low[room] = min(low[room], low[target])
        if low[room] == index[room]:
            place = stack.index(room)
            found.append(tuple(sorted(stack[place:])))
            del stack[place:]

    for room in rooms:
        if room not in index:
            visit(room)
    return found


WIDTH, ROW, BOX, MARGIN = 1120, 92, (132, 40), 28


def draw(imports: Sequence[Import]) -> str:
    """The rooms on their floors as an SVG, with an arrow from each room to those that it imports.

    Arrows to the two lowest floors are left out, since all rooms import them.
    """
    ground = {room for rooms in FLOORS[:2] for room in rooms}
    height = ROW * len(FLOORS) + 2 * MARGIN
    place: dict[str, tuple[float, float]] = {}
    for number, rooms in enumerate(FLOORS):
        for column, room in enumerate(rooms, 1):
            x = WIDTH * column / (len(rooms) + 1)
            place[room] = x, height - MARGIN - ROW * (number + 0.5)
    arrows = sorted({(one.room, one.target_room) for one in imports if one.target_room and one.room != one.target_room})
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" '
        'font-size="15">',
        "<title>The rooms of gapbench: every import goes down</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0L8 4L0 8z" fill="#8a8f98"/></marker></defs>',
    ]
    for high, low in arrows:
        if low in ground or high in ground:
            continue
        (x0, y0), (x1, y1) = place[high], place[low]
        start, end = y0 + BOX[1] / 2, y1 - BOX[1] / 2
        middle = (start + end) / 2
        parts.append(
            f'<path d="M{x0:.0f} {start:.0f}C{x0:.0f} {middle:.0f} {x1:.0f} {middle:.0f} {x1:.0f} {end:.0f}" '
            'fill="none" stroke="#b4b9c2" marker-end="url(#tip)"/>'
        )
    for room, (x, y) in place.items():
        fill = "#eef1f5" if room in ground else "#dcebfa"
        parts.append(
            f'<rect x="{x - BOX[0] / 2:.0f}" y="{y - BOX[1] / 2:.0f}" width="{BOX[0]}" height="{BOX[1]}" rx="6" '
            f'fill="{fill}" stroke="#5b6470"/>'
            f'<text x="{x:.0f}" y="{y + 5:.0f}" text-anchor="middle">{room}</text>'
        )
    return "\n".join([*parts, "</svg>", ""])


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of the script; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repository", type=Path, default=REPOSITORY, help="the checkout to read; default: this one")
    parser.add_argument("--draw", type=Path, help="write the drawing to this .svg instead")
    given = parser.parse_args(arguments)
    if given.draw:
        given.draw.write_text(draw(read_imports(given.repository)), encoding="utf-8")
        return 0
    counts = count(given.repository.resolve())
    print(
        f"{counts.files_directly_under_gapbench} files directly under gapbench/; {counts.rooms} rooms on "
        f"{counts.floors} floors; {counts.arrows} imports between rooms"
    )
    print("circles: " + ("; ".join(" <-> ".join(circle) for circle in counts.circles) or "none"))
    if given.repository.resolve() != REPOSITORY:
        return 0
    broken = broken_rules(read_imports(REPOSITORY))
    print("\n".join(broken) or "every import keeps the rules")
    return bool(broken)


if __name__ == "__main__":
    sys.exit(main())
