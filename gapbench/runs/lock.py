"""One lock per run: a second process that would write the same run is refused at once.

    with hold(Path("runs/glance"), "gapbench measure …"):
        ...                                  # read what is done, then add to it

The lock is taken before anything in the run is read, so that no two processes ever work on the same missing answers. It
ends with its process, however that ends.

Limits: on a file system without locks there is a warning instead.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from gapbench.errors import RunError
from gapbench.runs.manifest import utc_now
from gapbench.util.files import write_json

LOCK, HOLDER = ".lock", ".lock-holder"
"""The locked file, and the one that says which process holds it."""


@contextmanager
def hold(folder: Path, command: str, file: str = "") -> Iterator[None]:
    """Hold the lock of a run's folder, which is made if it is missing; or that of one `file` in it.

    Raises RunError, which names the other process, if one holds it; and if the folder cannot be written.
    """
    place, prefix = folder / file, f".{file}" if file else ""
    lock, holder = folder / f"{prefix}{LOCK}", folder / f"{prefix}{HOLDER}"
    guard = FileLock(lock, blocking=False, thread_local=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        guard.acquire()
    except Timeout as error:
        raise RunError(
            f"{place}: another process is writing it{_named(holder)}. Wait until it is done, or choose another --out."
        ) from error
    except (OSError, NotImplementedError) as error:
        if not os.access(lock, os.W_OK):  # else it was opened, and only the lock failed
            reason = getattr(error, "strerror", None) or error
            raise RunError(f"{place}: cannot be written ({reason}). Check the folder and its permissions.") from error
        warnings.warn(f"{place}: its file system has no locks. Let only one process write there.", stacklevel=3)
    with suppress(OSError):  # a full disk is said when an answer is written
        write_json(holder, {"pid": os.getpid(), "since": utc_now(), "command": command})
    try:
        yield
    finally:
        with suppress(OSError):
            holder.unlink(missing_ok=True)
        guard.release()
        if not prefix:
            _remove_if_unused(folder)


def is_held(folder: Path) -> bool | None:
    """Whether a process is writing the run. None if none is said to: the last one ended by itself.

    False: the last one was killed, so the lock that it left can be had.
    """
    if not (folder / HOLDER).exists():
        return None
    try:
        with FileLock(folder / LOCK, blocking=False, thread_local=False):
            return False
    except Timeout:
        return True
    except (OSError, NotImplementedError):  # a folder that cannot be written, or a file system without locks
        return None


def _named(holder: Path) -> str:
    """The process that holds the lock, as far as it is known."""
    with suppress(OSError, ValueError, LookupError, TypeError):
        entry = json.loads(holder.read_text(encoding="utf-8"))
        return f": process {entry['pid']}, since {entry['since']} ({entry['command']})"
    return ""


def _remove_if_unused(folder: Path) -> None:
    """Remove a folder that holds nothing but its lock: the command was refused before it wrote anything."""
    with suppress(OSError):
        if {path.name for path in folder.iterdir()} <= {LOCK}:
            (folder / LOCK).unlink(missing_ok=True)
            folder.rmdir()
