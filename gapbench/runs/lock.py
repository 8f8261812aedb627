"""One lock per run: a second process that would write the same run is refused at once.

    with hold(Path("runs/glance"), "gapbench measure …"):
        ...                                  # read what is done, then add to it

The lock is taken before anything in the run is read, so that no two processes ever work on the same missing answers. It
ends with its process, however that ends.

Limits: on a file system without locks there is a warning instead.
"""

from __future__ import annotations

import errno
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
NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP})


@contextmanager
def hold(place: Path, command: str) -> Iterator[None]:
    """Hold the lock of a run's folder, or of a region file, which is made if it is missing.

    Raises RunError, which names the other process, if one holds it; and if the folder cannot be written.
    """
    folder, prefix = (place.parent, f".{place.name}") if place.suffix == ".jsonl" else (place, "")
    lock, holder = folder / f"{prefix}{LOCK}", folder / f"{prefix}{HOLDER}"
    guard = FileLock(lock, blocking=False, thread_local=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        guard.acquire()
        write_json(holder, {"pid": os.getpid(), "since": utc_now(), "command": command})
    except Timeout as error:
        raise RunError(
            f"{place}: another process is writing it{_named(holder)}. Wait until it is done, or choose another --out."
        ) from error
    except (OSError, NotImplementedError) as error:
        if isinstance(error, OSError) and error.errno not in NO_LOCKS:
            raise RunError(
                f"{place}: cannot be written ({error.strerror}). Check the folder and its permissions."
            ) from error
        warnings.warn(f"{place}: its file system has no locks. Let only one process write there.", stacklevel=3)
    try:
        yield
    finally:
        with suppress(OSError):
            holder.unlink(missing_ok=True)
        guard.release()
        if not prefix:
            _remove_if_unused(folder)


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
