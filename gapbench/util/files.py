"""Files: atomic writes, JSON lines, and the cache folder."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gapbench.errors import BenchmarkError


def write_json(path: Path, value: Any) -> None:
    """Write JSON. A kill leaves the old file or the new one, never a part."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write text, as `write_json` does: in UTF-8 with line feeds, the same bytes on every system."""
    with replacing(path) as draft:
        draft.write_text(text, encoding="utf-8", newline="\n")


def relative_link(path: Path, start: Path) -> str:
    """A path from the folder `start`, as a link needs it; the name alone if it is on another drive."""
    try:
        return Path(os.path.relpath(path, start)).as_posix()
    except ValueError:  # Windows
        return path.name


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a draft to write, which then replaces `path` in one step. Folders above it are made.

    After an error the draft is removed, because the disk may be full. What is no regular file, such as `/dev/stdout`
    or a pipe, is written to and not replaced.
    """
    if path.exists() and not path.is_file():
        yield path
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.draft")
    try:
        yield draft
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def json_object(line: bytes) -> dict[str, Any]:
    """The object on a line of a JSONL file. Raises BenchmarkError; the caller adds the number of the line."""
    try:
        row = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise BenchmarkError(f"not UTF-8 ({error.reason} at byte {error.start}). Save the file as UTF-8.") from error
    except (ValueError, RecursionError) as error:
        raise BenchmarkError(f"not JSON ({error}). Expected one object a line.") from error
    if not isinstance(row, dict):
        raise BenchmarkError(f"found {type(row).__name__}; expected a JSON object.")
    return row


def cache() -> Path:
    """The folder for files that gapbench can make again: `gapbench` in XDG_CACHE_HOME, or in ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "gapbench"
