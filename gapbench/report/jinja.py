"""What every page needs: escaping Jinja environments, style sheets and scripts."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from gapbench.report.escape import json_block, markdown_code, markdown_fence, markdown_text
from gapbench.report.tables import markdown_table
from gapbench.util.text import area_percent, clip, counted, percent, points, size


@cache
def environment(*, html: bool) -> Environment:
    """Jinja with this package's templates. It escapes every expression for its format unless it is marked safe.

    One for each format in a process: compiling the templates anew is a fifth of the time of a small report.
    """

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


def asset(*names: str) -> str:
    """The text of style sheets or scripts that belong to this package, one after the other."""
    folder = Path(__file__).parent / "templates"
    return "".join((folder / name).read_text(encoding="utf-8") for name in names)


def script_of(*names: str) -> dict[str, str]:
    """What a page needs of its scripts: `script`, and the `script_hash` by which its security policy allows it."""
    script = asset(*names)
    return {"script": script, "script_hash": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}
