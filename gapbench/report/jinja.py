"""What every page needs: escaping Jinja environments, style sheets and scripts, and writing files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from gapbench.report.escape import json_block, markdown_code, markdown_fence, markdown_text
from gapbench.report.tables import markdown_table
from gapbench.util.files import replacing
from gapbench.util.text import area_percent, clip, counted, percent, points, size


def environment(*, html: bool) -> Environment:
    """Jinja with this package's templates. It escapes every expression for its format unless it is marked safe."""

    def plain(value: object) -> object:
        return value if isinstance(value, Markup) else markdown_text(value)

    def safe(escape: Callable[[Any], str]) -> Callable[[Any], Markup]:
        return lambda value: Markup(escape(value))  # noqa: S704 (the text is escaped first)

    result = Environment(
        loader=PackageLoader("gapbench.report", "templates"),
        autoescape=html,  # noqa: S701 (Markdown has its own escape: `plain`)
        finalize=None if html else plain,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    result.filters |= {
        "clip": clip,
        "counted": counted,
        "percent": percent,
        "points": points,
        "json_block": safe(json_block),
        "code": safe(markdown_code),
        "fence": safe(markdown_fence),
        "markdown_table": safe(markdown_table),
    }
    result.globals |= {"size": size, "area": area_percent}
    return result


def asset(name: str) -> str:
    """The text of a style sheet or script that belongs to this package."""
    return (Path(__file__).parent / "templates" / name).read_text(encoding="utf-8")


def write(path: Path, text: str) -> None:
    """Write a page as UTF-8 with line feeds, so that it has the same bytes on every system.

    A kill leaves the old page or the new one, never a part.
    """
    with replacing(path) as draft:
        draft.write_text(text, encoding="utf-8", newline="\n")
