"""Opens data sets of the Hub; the library `datasets` downloads, converts and caches them.

    rows = open_hub("owner/name", split="test").rows(["image"])

Every form that `datasets` can read works. Code that ships with a data set is never run: `datasets` no longer supports
it.

Limits: all splits of a configuration are downloaded, and converting Parquet takes the memory of several row groups; a
local copy of the Parquet files avoids both. Without a network, `datasets` takes the latest copy in its cache; the
revision of that copy is checked if `revision` is a commit, but not if it is a branch or tag.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gapbench.data.own.image_cells import refuse_outside
from gapbench.data.table_reader import ROWS_PER_READ, RowTable, open_arrow
from gapbench.errors import BenchmarkError
from gapbench.util.text import redacted


class HubTable(RowTable):
    """A table whose cells name no files outside `roots`: they are a stranger's, not the user's own."""

    @property
    def roots(self) -> tuple[Path, ...]:
        """The data set's folder in the Hub's cache, and the cache of `datasets`."""
        from datasets.config import HF_DATASETS_CACHE
        from huggingface_hub.constants import HF_HUB_CACHE

        owner_and_name = self.name.split()[0].replace("/", "--")
        return Path(HF_HUB_CACHE, f"datasets--{owner_and_name}"), Path(HF_DATASETS_CACHE)

    def cell(self, row: int, column: str) -> Any:
        """The value of one cell. Raises BenchmarkError if it names a file outside `roots`."""
        value = super().cell(row, column)
        for image in value if isinstance(value, list) else [value]:
            refuse_outside(image, self.folder, self.roots)
        return value


def open_hub(name: str, split: str = "", config: str = "", revision: str = "") -> HubTable:
    """Open a data set of the Hub, and download it unless it is in the cache. Raises BenchmarkError if that fails."""
    import datasets

    try:
        builder = datasets.load_dataset_builder(name, config or None, revision=revision or None)
        splits = list(builder.info.splits or getattr(builder.config, "data_files", None) or ())
        split_name = choose_split(name, split, splits)
        if hasattr(builder.config, "batch_size"):  # for Parquet, whose default is a row group of any size
            builder.config.batch_size = ROWS_PER_READ
        builder.download_and_prepare()
        files = [Path(file["filename"]) for file in builder.as_dataset(split_name).cache_files]
    except BenchmarkError:
        raise
    except Exception as error:  # from the Hub, its HTTP library, the readers of a dozen formats, or the disk
        raise BenchmarkError(f"{name}: {_explained(error)}") from error
    if not files:
        raise BenchmarkError(f"{name}: its split {split_name} is empty.")
    if re.fullmatch(r"[0-9a-f]{40}", revision) and files[0].parent.name != revision:
        held = f"the cache holds revision {files[0].parent.name}; expected {revision}"
        raise BenchmarkError(
            f"{name}: the Hub is out of reach, and {held}. Go online once, or pass a local copy: -b FOLDER."
        )
    table = open_arrow(f"{name} {split_name}", files[0].parent, files)
    return HubTable(table.name, table.folder, table.data, table.maps)


def choose_split(name: str, split: str, splits: Sequence[str]) -> str:
    """The split whose name is `split` or ends in `/split`; "" stands for the only split. Raises BenchmarkError."""
    matches = [s for s in splits if s == split] or [s for s in splits if not split or s.endswith(f"/{split}")]
    if len(matches) == 1:
        return matches[0]
    found = ", ".join(s or "(unnamed)" for s in splits)
    fault = f"split={split} is {'several' if matches else 'none'} of them" if split else "none was named"
    remedy = f"Say which behind the name: :split={splits[-1] if splits else 'NAME'}."
    raise BenchmarkError(f"{name}: it has the splits {found}; {fault}. {remedy}")


def _explained(error: Exception) -> str:
    """The cause of a failure, and a remedy."""
    from datasets.exceptions import DatasetNotFoundError

    cause = f"{type(error).__name__}: {redacted(str(error))[:500]}"
    copy = "a local copy of its files works, too: -b FOLDER"
    missing = "there is no such file or folder here"
    if isinstance(error, DatasetNotFoundError):
        access = "if it is private or gated, accept its terms on its page and log in (`hf auth login`, or HF_TOKEN)"
        return f"{missing}, nor can it be had from the Hub ({cause}). Check the name; {access}; {copy}."
    if isinstance(error, ConnectionError):
        return f"{missing}, and the Hub is out of reach ({cause}). Go online once to fill the cache; {copy}."
    return f"`datasets` cannot make a table of it ({cause}). Check `config`, `split` and `revision`; {copy}."
