"""`records.jsonl`: one line per answer, appended at once, so that a killed run loses at most the line being written.

    with Writer(folder) as writer:
        writer.write(record)
    frame = read_frame(folder)

A torn last line (the kill hit in the middle of writing) is removed when the file is opened again. A broken line
anywhere else is damage that gapbench did not do and is reported with its number.

Limits: lines outlive a kill of the process; a power cut may take the last few.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from gapbench.errors import RunError
from gapbench.types import Record
from gapbench.util.files import replacing

if TYPE_CHECKING:
    import pandas as pd

FILE = "records.jsonl"
COLUMNS = tuple(f.name for f in fields(Record))
RecordKey = tuple[str, str, str, int]
BLOCK = 1 << 16
"""Bytes read at once in search of the last whole line."""


class Writer:
    """Appends records to one run (or rows to another file of lines, named `file`); holds a lock so that two processes
    never write the same one.

    Raises RunError when another process holds the lock, the folder cannot be written, or the disk is full.
    """

    def __init__(self, folder: Path, file: str = FILE) -> None:
        self.path = folder / file
        self._file = _open_alone(self.path)
        try:
            repair(folder, file)  # under the lock: what looks torn may be a line that another process is writing
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, record: Record | Mapping[str, Any]) -> None:
        """Append one record, in one system call as far as the disk lets it."""
        row = asdict(record) if isinstance(record, Record) else dict(record)
        line = _line(row)
        try:
            while line:  # a disk that fills up takes a part first and says so at the next call
                line = line[self._file.write(line) :]
        except OSError as error:
            raise _write_error(self.path, error) from error


def _line(row: Mapping[str, Any]) -> bytes:
    return json.dumps(row, ensure_ascii=True, allow_nan=False).encode() + b"\n"


def _open_alone(path: Path) -> IO[bytes]:
    """The file for appending, locked; opened once more if another process replaced it before the lock was ours."""
    while True:
        try:
            file: IO[bytes] = path.open("ab", buffering=0)
        except OSError as error:
            raise _write_error(path, error) from error
        try:
            _lock(file, path)
            if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        except BaseException:
            file.close()
            raise
        file.close()


def _write_error(path: Path, error: OSError) -> RunError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return RunError(
            f"{path}: the disk is full or a quota is reached ({error.strerror}). What was answered so far is kept; "
            "free some space and run the same command again."
        )
    return RunError(f"{path}: cannot be written ({error.strerror}). Check the folder and its permissions.")


def _lock(file: IO[bytes], path: Path) -> None:
    try:
        import fcntl
    except ImportError:  # Windows has no advisory locks of this kind
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise RunError(
            f"{path}: another process is writing this file. Wait for it, or choose another --out."
        ) from error
    except OSError:  # a file system without locks (some network mounts): go on without
        return


def repair(folder: Path, file: str = FILE) -> bool:
    """Remove a torn last line; True if there was one."""
    path = folder / file
    if not path.exists():
        return False
    with path.open("rb") as lines:
        size = lines.seek(0, os.SEEK_END)
        start, whole = size, 0
        while start and not whole:
            end, start = start, max(0, start - BLOCK)
            lines.seek(start)
            newline = lines.read(end - start).rfind(b"\n")
            whole = start + newline + 1 if newline >= 0 else 0
    if whole < size:
        os.truncate(path, whole)
    return whole < size


def read(folder: Path) -> Iterator[dict[str, Any]]:
    """All records in the order of writing; a torn last line is passed over.

    Raises RunError for a missing file, a damaged line, or a line that is no record.
    """
    path = folder / FILE
    if not path.exists():
        raise RunError(f"{folder}: no {FILE} in it. Expected the folder of a run (gapbench measure … --out FOLDER).")
    yield from read_lines(path, COLUMNS)


def read_lines(path: Path, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """All rows of a file that a `Writer` wrote, which have these columns; as `read` does."""
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.endswith(b"\n"):
                return
            try:
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise ValueError(f"found {type(row).__name__}, expected an object")
            except ValueError as error:
                raise RunError(
                    f"{path} line {number}: not a record ({error}). The file was damaged by something else; restore "
                    "it, or delete that line and run the same command again to answer it anew."
                ) from error
            missing = [c for c in columns if c not in row]
            if missing:
                raise RunError(
                    f"{path} line {number}: it lacks {', '.join(missing)}. It was written by another version of "
                    "gapbench; use that version, or measure again."
                )
            yield row


def read_frame(folder: Path) -> pd.DataFrame:
    """One row per record, as rules decided them; see `frame`."""
    return frame(read(folder))


def frame(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """One row per record, one column per field of `gapbench.types.Record`.

    Lone surrogates, which no table or report can hold, become question marks; `read` gives them as they were written.
    """
    import pandas as pd

    columns: dict[str, list[Any]] = {c: [] for c in COLUMNS}
    shared: dict[str, str] = {}  # questions, answers and categories repeat: keep each string once
    for row in rows:
        for column, values in columns.items():
            value = row[column]
            if isinstance(value, str) and value not in shared:
                shared[value] = value.encode("utf-8", "replace").decode()
            values.append(shared[value] if isinstance(value, str) else value)
    return pd.DataFrame(columns)


def drop_failed(folder: Path) -> int:
    """Take out the records of questions that no engine answered, and return how many; all others stay as they are.

    The file is replaced at once, so a kill leaves the old one or the new one. Raises RunError as `Writer` does.
    """
    path = folder / FILE
    if not path.exists():
        return 0
    with Writer(folder):
        dropped = sum(1 for row in read(folder) if row["outcome"] == "failed")
        if dropped:
            try:
                with replacing(path) as draft, draft.open("wb") as kept:
                    kept.writelines(_line(row) for row in read(folder) if row["outcome"] != "failed")
            except OSError as error:
                raise _write_error(path, error) from error
    return dropped


def key(row: Mapping[str, Any]) -> RecordKey:
    """What identifies a record: benchmark, sample, view, repeat."""
    return row["benchmark"], row["sample"], row["view"], row["repeat"]
