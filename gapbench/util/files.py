"""Files: writing them never half, reading JSON line by line, and where gapbench keeps its own."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gapbench.errors import BenchmarkError


def write_json(path: Path, value: Any) -> None:
    """Write JSON so that a kill leaves the old file or the new one, never half of either."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write text in the same way."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as draft:
        draft.write_text(text, encoding="utf-8")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file to write, which then takes the place of `path`; after an error it is gone, for the disk may be full."""
    draft = path.with_name(f".{path.name}.draft")
    try:
        yield draft
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def json_object(line: bytes) -> dict[str, Any]:
    """The object on one line of a JSONL file. Raises BenchmarkError; which line it is, the caller knows."""
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
    """The folder for what can be made again: `gapbench` in XDG_CACHE_HOME, by default in ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "gapbench"
