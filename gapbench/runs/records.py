"""`records.jsonl`: one line per answer. Each is written as it comes: a killed run loses at most the line in progress.

    with Writer(folder) as writer:
        writer.write(record)
    frame = read_frame(folder)

A kill in the middle of a write leaves a torn last line; opening the file for writing removes it. A broken line
anywhere else was damaged by something else and raises an error with its number.

Limits: the lines survive a kill of the process; a power cut may lose the last few.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import MISSING, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gapbench.errors import RunError
from gapbench.types import Record
from gapbench.util.files import replacing

if TYPE_CHECKING:
    import pandas as pd

FILE = "records.jsonl"
COLUMNS = tuple(f.name for f in fields(Record))
REQUIRED = tuple(f.name for f in fields(Record) if f.default is MISSING)
"""The fields that records of older versions have too."""
CUT_OFF = "stopped at the limit of new tokens"
"""The `reason` of an answer that was cut off."""
YOUNGER: Mapping[str, Any] = {"thought": "", "evidence_tokens": None, "annotated_boxes": ()}
"""The fields that records of older versions lack, but for `cut_off`."""
RecordKey = tuple[str, str, str, int]
BLOCK = 1 << 16
"""Bytes read at once in the search for the end of the last complete line."""


class Writer:
    """Appends records to `file` in a run's folder, which the caller has locked (`gapbench.runs.lock`).

    The file may also be another file of JSON lines, such as `judgements.jsonl`. Raises RunError if the folder cannot be
    written, the disk is full, or the file was deleted or replaced meanwhile.
    """

    def __init__(self, folder: Path, file: str = FILE) -> None:
        self.path = folder / file
        try:
            self._file = self.path.open("ab", buffering=0)
        except OSError as error:
            raise _write_error(self.path, error) from error
        repair(folder, file)

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def in_place(self) -> bool:
        """Whether the path still names the file that is written, and not another one or none."""
        with suppress(OSError):
            return os.path.samestat(os.fstat(self._file.fileno()), self.path.stat())
        return False

    def write(self, record: Record | Mapping[str, Any]) -> None:
        """Append one record, in one system call unless the disk is nearly full."""
        line = _line(vars(record) if isinstance(record, Record) else record)
        if not self.in_place:
            raise RunError(
                f"{self.path}: it was deleted or replaced while answers were added. Measure again, into a folder that "
                "stays."
            )
        try:
            while line:  # a disk that is nearly full takes a part of the line; only the next call raises an error
                line = line[self._file.write(line) :]
        except OSError as error:
            raise _write_error(self.path, error) from error


def _line(record: Mapping[str, Any]) -> bytes:
    return json.dumps(record, ensure_ascii=True, allow_nan=False).encode() + b"\n"


def _write_error(path: Path, error: OSError) -> RunError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return RunError(
            f"{path}: the disk is full or a quota is reached ({error.strerror}). Answers so far are kept; "
            "free some space and run the same command again."
        )
    return RunError(f"{path}: cannot be written ({error.strerror}). Check the folder and its permissions.")


def repair(folder: Path, file: str = FILE) -> bool:
    """Remove a torn last line. Returns whether there was one."""
    path = folder / file
    if not path.exists():
        return False
    with path.open("rb") as lines:
        size = lines.seek(0, os.SEEK_END)
        start, complete = size, 0  # `complete` is the number of bytes in complete lines
        while start and not complete:
            end, start = start, max(0, start - BLOCK)
            lines.seek(start)
            newline = lines.read(end - start).rfind(b"\n")
            complete = start + newline + 1 if newline >= 0 else 0
    if complete < size:
        os.truncate(path, complete)
    return complete < size


def read(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield all records in the order they were written; a torn last line is skipped.

    Raises RunError for a missing file, a damaged line, or a line that is not a record.
    """
    path = folder / FILE
    if not path.exists():
        raise RunError(f"{folder}: no {FILE} in it. Expected the folder of a run (gapbench measure … --out FOLDER).")
    for record in read_lines(path, REQUIRED):
        yield {**YOUNGER, "cut_off": CUT_OFF in record["reason"], **record}


def read_lines(path: Path, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield the object on each line of a file that a `Writer` wrote, as `read` does.

    Raises RunError for a line that is damaged or lacks one of `columns`.
    """
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.endswith(b"\n"):
                return
            try:
                record = json.loads(line)
                if not isinstance(record, dict):
                    raise ValueError(f"found {type(record).__name__}, expected an object")
            except ValueError as error:
                raise RunError(
                    f"{path} line {number}: not a record ({error}). Another program damaged the file. Restore "
                    "it, or delete that line and run the same command again to get a new answer."
                ) from error
            missing_columns = [column for column in columns if column not in record]
            if missing_columns:
                raise RunError(
                    f"{path} line {number}: it lacks {', '.join(missing_columns)}. It was written by another version "
                    "of gapbench; use that version, or measure again."
                )
            yield record


def count(folder: Path) -> int | None:
    """The number of records; None without a file, as in a run that is kept without its answers."""
    path = folder / FILE
    if not path.exists():
        return None
    with path.open("rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))


def read_frame(folder: Path) -> pd.DataFrame:
    """The records as `frame` returns them, without a judge's verdicts."""
    return frame(read(folder))


def frame(records: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """A table with one row per record and one column per field of `gapbench.types.Record`.

    Lone surrogates become question marks, because tables and reports cannot hold them; `read` keeps them.
    """
    import pandas as pd

    columns: dict[str, list[Any]] = {c: [] for c in COLUMNS}
    texts: dict[str, str] = {}  # questions, answers and categories repeat: keep each string once
    for record in records:
        for column, values in columns.items():
            value = record[column]
            if isinstance(value, str) and value not in texts:
                texts[value] = value.encode("utf-8", "replace").decode()
            values.append(texts[value] if isinstance(value, str) else value)
    return pd.DataFrame(columns)


def drop_failed(folder: Path) -> int:
    """Remove failed records and return their number, as `keep_only` does."""
    return keep_only(folder, lambda record: record["outcome"] != "failed")


def drop_doubles(folder: Path) -> int:
    """Keep the first record of each key and return the number of the others, as `keep_only` does."""
    seen: set[RecordKey] = set()

    def first(record: Mapping[str, Any]) -> bool:
        known = len(seen)
        seen.add(key(record))
        return len(seen) > known

    return keep_only(folder, first)


def keep_only(folder: Path, wanted: Callable[[Mapping[str, Any]], bool]) -> int:
    """Remove all records that are not wanted and return their number. The caller has locked the run.

    The new file replaces the old one in one step, so a kill leaves either. Raises RunError as `Writer` does.
    """
    path = folder / FILE
    if not path.exists():
        return 0
    repair(folder)
    flags = [wanted(record) for record in read(folder)]
    if all(flags):
        return 0
    try:
        with replacing(path) as draft, draft.open("wb") as lines:
            lines.writelines(_line(r) for r, keep in zip(read_lines(path, REQUIRED), flags, strict=True) if keep)
    except OSError as error:
        raise _write_error(path, error) from error
    return flags.count(False)


def key(record: Mapping[str, Any]) -> RecordKey:
    """The four values that identify a record: benchmark, sample, view, repeat."""
    return record["benchmark"], record["sample"], record["view"], record["repeat"]
