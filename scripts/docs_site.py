"""Puts files outside docs/ into the documentation site: those that its pages or its navigation link to.

    make docs      # mkdocs.yml names this file as a hook

A page links to a file of the repository as it does on a code host, relative to itself: `../reports/throughput.md`. In
the XX
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]
LINK = re.compile(r"(\]\(|src=\"|href=\")([^)\s\"#]+)")
"""The target of a link or an image in Markdown, and of an attribute in HTML, without its anchor."""
LIST = "index.md"
"""The page of a folder without README.md."""


def on_files(files: Any, config: Any) -> Any:
    """Add every file outside docs/ to which the navigation or a page, also an added one, leads."""
    waiting = [path for path in _leaves(config.nav) if not (ROOT / "docs" / path).exists()]
    for file in list(files):
        if file.src_uri.endswith(".md"):
            text = (ROOT / "docs" / file.src_uri).read_text(encoding="utf-8")
            waiting += [t for _, t in _targets(text, f"docs/{file.src_uri}")]
    while waiting:
        path = waiting.pop()
        if path.startswith("docs/") or files.get_file_from_path(path):
            continue
        folder, name = posixpath.split(path)
        if name == LIST:
            listed = sorted(file.name for file in (ROOT / folder).iterdir() if file.is_file())
            text = f"# {folder}\n\n" + "".join(f"- [{name}]({name})\n" for name in listed)
            files.append(File.generated(config, path, content=text))
        elif (ROOT / path).is_file():
            files.append(File.generated(config, path, abs_src_path=str(ROOT / path)))
            text = (ROOT / path).read_text(encoding="utf-8") if path.endswith(".md") else ""
        else:
            continue
        waiting += [target for _, target in _targets(text, path)]
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Links as they lead in the site, where docs/ is the root and other folders stand beside its pages."""
    here = page.file.src_uri
    home = f"docs/{here}" if (ROOT / "docs" / here).exists() else here
    known = dict(_targets(markdown, home))

    def moved(match: re.Match[str]) -> str:
        path = known.get(match[2])
        if path is None:
            return match[0]
        return match[1] + posixpath.relpath(path.removeprefix("docs/"), posixpath.dirname(here) or ".")

    return LINK.sub(moved, markdown)


def _targets(text: str, home: str) -> Iterator[tuple[str, str]]:
    """The links of a page at the path `home` that lead to files: as written, and as a path in the repository."""
    for _, target in LINK.findall(text):
        path = posixpath.normpath(posixpath.join(posixpath.dirname(home), target))
        if "://" not in target and not target.startswith("mailto:") and not path.startswith(".."):
            if (ROOT / path).is_dir():
                path += "/README.md" if (ROOT / path / "README.md").is_file() else f"/{LIST}"
            yield target, path


def _leaves(nav: Any) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    for part in nav.values() if isinstance(nav, dict) else nav if isinstance(nav, list) else ():
        yield from _leaves(part)
