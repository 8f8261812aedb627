"""What the Hugging Face Hub would send: files, their sizes, those that are not cached, the room for them, the licence.

    download = pending("Qwen/Qwen3-VL-4B-Instruct", "model")
    download.size, download.free, download.licence

Limits: only the Hub knows sizes, so without a network there is an error of its library.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Download:
    """Sizes in bytes by file: all that were asked for (`files`), and those that are not in the cache (`missing`).

    `repository` are the names of all files there. `free` are the bytes left on the disk of `cache`. `licence` is what
    the repository declares; empty if it declares none.
    """

    files: Mapping[str, int]
    missing: Mapping[str, int]
    repository: Sequence[str]
    free: int
    cache: str
    licence: str = ""

    @property
    def size(self) -> int:
        """Bytes that would be fetched."""
        return sum(self.missing.values())


def pending(
    repo: str, kind: str, revision: str | None = None, patterns: Sequence[str] = (), ignored: Sequence[str] = ()
) -> Download:
    """What fetching a repository would send; `kind` is model or dataset. Raises what huggingface_hub raises."""
    from huggingface_hub import HfApi, constants, try_to_load_from_cache
    from huggingface_hub.utils import filter_repo_objects

    info = HfApi().repo_info(repo, repo_type=kind, revision=revision, files_metadata=True)
    sizes = {file.rfilename: file.size or 0 for file in info.siblings or ()}
    files = list(
        filter_repo_objects(sizes, allow_patterns=list(patterns) or None, ignore_patterns=list(ignored) or None)
    )
    missing = [
        name
        for name in files
        if not isinstance(try_to_load_from_cache(repo, name, repo_type=kind, revision=info.sha), str)
    ]
    disk = Path(constants.HF_HUB_CACHE).absolute()
    free = shutil.disk_usage(next(folder for folder in (disk, *disk.parents) if folder.exists())).free
    licence = str((info.card_data or {}).get("license") or "")
    return Download(
        {name: sizes[name] for name in files}, {name: sizes[name] for name in missing}, tuple(sizes), free,
        constants.HF_HUB_CACHE, licence,
    )  # fmt: skip


def gigabytes(size: float) -> str:
    """`8.88 GB`, or `2.10 MB` for less than ten megabytes."""
    return f"{size / 1e9:.2f} GB" if size >= 10_000_000 else f"{size / 1e6:.2f} MB"
