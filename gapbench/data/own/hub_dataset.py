"""Data sets of the Hub, as `datasets` fetches, converts and caches them.

    rows = open_hub("owner/name", split="test").read(["image"])

Any form it knows will do. Code that ships with a data set is never run: `datasets` has no way to any more.

Limits: all splits of a configuration are fetched, whichever is asked for, and converting Parquet takes the memory of
several row groups; a local copy of the Parquet files needs neither. Out of reach of the Hub, `datasets` takes the
latest copy in its cache; a `revision` that is a commit is checked, a branch or tag cannot be.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from gapbench.data.own.readers import Reader, TableRows
from gapbench.data.table_reader import AT_A_TIME, open_arrow
from gapbench.errors import BenchmarkError


def open_hub(name: str, split: str = "", config: str = "", revision: str = "") -> Reader:
    """A data set of the Hub, fetched now unless it is in the cache of `datasets`."""
    import datasets

    try:
        builder = datasets.load_dataset_builder(name, config or None, revision=revision or None)
        splits = list(builder.info.splits or getattr(builder.config, "data_files", None) or ())
        chosen = choose_split(name, split, splits)
        if hasattr(builder.config, "batch_size"):  # of Parquet: otherwise a row group, of any size
            builder.config.batch_size = AT_A_TIME
        builder.download_and_prepare()
        files = [Path(file["filename"]) for file in builder.as_dataset(chosen).cache_files]
    except BenchmarkError:
        raise
    except Exception as error:  # of the Hub, its HTTP library, the readers of a dozen formats, or the disk
        raise BenchmarkError(f"{name}: {_explained(error)}") from error
    if not files:
        raise BenchmarkError(f"{name}: its split {chosen} is empty.")
    if re.fullmatch(r"[0-9a-f]{40}", revision) and files[0].parent.name != revision:
        raise BenchmarkError(
            f"{name}: the Hub is out of reach, and the cache holds revision {files[0].parent.name}; expected "
            f"{revision}. Go online once, or give a local copy: -b FOLDER."
        )
    return TableRows(open_arrow(f"{name} {chosen}", files[0].parent, files))


def choose_split(name: str, split: str, there: Sequence[str]) -> str:
    """The split that is meant: the one that is there, or the one whose name is, or ends in, what was said."""
    meant = [s for s in there if s == split] or [s for s in there if not split or s.endswith(f"/{split}")]
    if len(meant) == 1:
        return meant[0]
    said = f"split={split} is {'several' if meant else 'none'} of them" if split else "none was named"
    raise BenchmarkError(
        f"{name}: it has the splits {', '.join(s or '(unnamed)' for s in there)}; {said}. Say which behind the name: "
        f":split={there[-1] if there else 'NAME'}."
    )


def _explained(error: Exception) -> str:
    """What went wrong with the Hub, and what helps."""
    from datasets.exceptions import DatasetNotFoundError

    said = f"{type(error).__name__}: {str(error)[:500]}"
    copy = "a local copy of its files works, too: -b FOLDER"
    if isinstance(error, DatasetNotFoundError):
        return (
            f"there is no such file or folder here, nor can it be had from the Hub ({said}). Check the name; if it is "
            f"private or gated, accept its terms on its page and log in (`hf auth login`, or HF_TOKEN); {copy}."
        )
    if isinstance(error, ConnectionError):
        return (
            f"there is no such file or folder here, and the Hub is out of reach ({said}). Go online once to fill the "
            f"cache; {copy}."
        )
    return f"`datasets` cannot make a table of it ({said}). Check `config`, `split` and `revision`; {copy}."
