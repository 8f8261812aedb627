"""Downloads the Hub data set that a card names: at the pinned revision, and only the files that the card lists.

    folder = fetch(load("vstar").card)

The files lie in the cache of `huggingface_hub` (HF_HOME sets its folder). Once a pinned revision is complete there, no
network is needed. Before a download, `fetch` prints the restrictions of the licence and the size if it is above 1 GB.

Limits: only the Hub, or the mirror in HF_ENDPOINT. A download resumes in the middle of a file after a broken
connection, and with the next file after a killed process. A revision is a full commit hash, a branch or a tag: the Hub
accepts no abbreviated hashes.
"""

from __future__ import annotations

import errno
import hashlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from gapbench.errors import BenchmarkError
from gapbench.types import Card
from gapbench.util.downloads import Download, gigabytes, pending
from gapbench.util.files import cache
from gapbench.util.terminal import say
from gapbench.util.text import error_line, listed, redacted

LARGE = 1_000_000_000
"""Bytes; a larger download is announced."""


def fetch(card: Card) -> Path:
    """The local folder of the card's data set, which is downloaded unless it is cached.

    Several data sets (`hub="me/easy, me/hard"`, with one revision each) become subfolders of one folder: `easy`,
    `hard`. Raises BenchmarkError when the card names no data set, the Hub cannot be reached or refuses, or the disk is
    too small.
    """
    if "," in card.hub:
        return _joined(card.name, [fetch(part) for part in _one_card_per_hub(card)])
    if not card.hub:
        files = f" ({', '.join(card.files)})" if card.files else ""
        remedy = f"Download it{files} from {card.source} into a folder, and pass that as NAME=FOLDER"
        raise BenchmarkError(
            f"{card.name}: its data is not on the Hub. {remedy}, with parameters as NAME=FOLDER:key=value."
        )
    local = cached(card)
    if local is not None and _is_commit(_revision(card)):
        return local
    from huggingface_hub import snapshot_download

    try:
        _announce(card)
        with _bars_on_terminals():
            return Path(snapshot_download(**_request(card)))
    except BenchmarkError:
        raise
    except Exception as error:  # from the Hub, its HTTP library, or the disk
        refused = any(400 <= _status(e) < 500 for e in _causes(error))
        if local is not None and not refused:  # a branch, as of the last contact with the Hub
            return local
        copy = f"Or pass a copy of the data: {card.name}=FOLDER."
        raise BenchmarkError(f"{card.name}: {redacted(_explained(card, error))} {copy}") from error


def cached(card: Card) -> Path | None:
    """The local folder if it holds all files of the card, else None. Uses no network."""
    if not card.hub:
        return None
    if "," in card.hub:
        folders = [cached(part) for part in _one_card_per_hub(card)]
        return None if None in folders else _joined(card.name, [folder for folder in folders if folder])
    from huggingface_hub import get_cached_repo_tree, snapshot_download
    from huggingface_hub.errors import CachedRepoTreeNotFoundError, LocalEntryNotFoundError

    request = _request(card)
    try:  # only the file list of a complete download tells whether all files are there
        get_cached_repo_tree(card.hub, repo_type="dataset", revision=request["revision"])
        return Path(snapshot_download(**request, local_files_only=True))
    except (CachedRepoTreeNotFoundError, LocalEntryNotFoundError):
        return None


def _one_card_per_hub(card: Card) -> list[Card]:
    """One card for each data set in `card.hub`."""
    hubs, revisions = card.hub.split(","), card.revision.split(",")
    if len(hubs) != len(revisions):
        raise BenchmarkError(
            f"{card.name}: its card names {len(hubs)} data sets and {len(revisions)} revisions; expected one for each."
        )
    return [replace(card, hub=h.strip(), revision=r.strip()) for h, r in zip(hubs, revisions, strict=True)]


def _joined(name: str, snapshots: list[Path]) -> Path:
    """A folder in gapbench's cache with a link to each snapshot (`datasets--OWNER--NAME/snapshots/COMMIT`)."""
    links = {snapshot.parents[1].name.rpartition("--")[2]: snapshot for snapshot in snapshots}
    identity = hashlib.sha256("\n".join(map(str, snapshots)).encode()).hexdigest()[:12]
    folder = cache() / "joined" / f"{name}-{identity}"
    folder.mkdir(parents=True, exist_ok=True)
    for title, snapshot in links.items():
        with suppress(FileExistsError):  # another process may have just made it
            (folder / title).symlink_to(snapshot, target_is_directory=True)
    return folder


@contextmanager
def _bars_on_terminals() -> Iterator[None]:
    """Show the Hub's progress bars on a terminal and hide them in log files."""
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    hide = not sys.stderr.isatty() and not are_progress_bars_disabled()
    if hide:
        disable_progress_bars()
    try:
        yield
    finally:
        if hide:
            enable_progress_bars()


def _request(card: Card) -> dict[str, Any]:
    files = list(card.files) or None
    return {"repo_id": card.hub, "repo_type": "dataset", "revision": _revision(card), "allow_patterns": files}


def _revision(card: Card) -> str:
    return card.revision or "main"


def _is_commit(revision: str) -> bool:
    return len(revision) == 40 and all(c in "0123456789abcdef" for c in revision)


def _announce(card: Card) -> None:
    """Announce a restricted or large download. Raises BenchmarkError if it does not fit on the disk."""
    download = pending_download(card)
    if download.missing and os.environ.get("LOCAL_RANK", "0") == "0":
        if card.restricted:
            say(f"{card.name}: restricted: {card.restricted}")
        if download.size > LARGE:
            sizes = (f"{name} ({gigabytes(size)})" for name, size in download.missing.items())
            say(
                f"{card.name}: fetching {gigabytes(download.size)} of {card.hub} at {_revision(card)}\n"
                f"  files: {listed(sizes, 10)}\n"
                f"  licence: {card.licence}\n  into: {download.cache} ({gigabytes(download.free)} free)"
            )
    if download.size > download.free:
        fault = (
            f"fetching it takes {gigabytes(download.size)}, and {download.cache} has {gigabytes(download.free)} free."
        )
        raise BenchmarkError(f"{card.name}: {fault} Make room, or set HF_HOME to a folder on a larger disk.")


def pending_download(card: Card) -> Download:
    """What fetching the card's data set would send. Raises what the Hub's library raises, and BenchmarkError if the
    data set has none of the card's files."""
    download = pending(card.hub, "dataset", _revision(card), card.files)
    if not download.files:
        fault = f"no file of {card.hub} at {_revision(card)} matches {', '.join(card.files)}."
        remedy = f"Has the data set changed? Pass a copy of the data: {card.name}=FOLDER."
        raise BenchmarkError(f"{card.name}: {fault} It has {listed(download.repository, 10) or 'none'}. {remedy}")
    return download


def _explained(card: Card, error: Exception) -> str:
    """The cause of a failed download, and a remedy."""
    from huggingface_hub import constants, errors

    page = f"{constants.ENDPOINT}/datasets/{card.hub}"
    login = "log in with `hf auth login` or set HF_TOKEN"
    for cause in _causes(error):
        status = _status(cause)
        if isinstance(cause, errors.GatedRepoError):
            return f"access to {card.hub} is not granted. Accept its terms on {page}, then {login}."
        if isinstance(cause, errors.RevisionNotFoundError):
            short = "" if _is_commit(_revision(card)) else " (the Hub wants all 40 digits of a commit)"
            lacks = f"{card.hub} has no revision {_revision(card)}{short}."
            return f"{lacks} Its authors may have rewritten its history; see {page}/commits/main."
        if isinstance(cause, errors.RepositoryNotFoundError) or status in (401, 403):
            hidden = f"the Hub shows no data set {card.hub} (HTTP {status})."
            return f"{hidden} If {page} opens in your browser, {login} here, too; else it was moved or deleted."
        if status:
            return f"{constants.ENDPOINT} answered HTTP {status} for {card.hub}. Try again later."
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
            return f"the disk of {constants.HF_HUB_CACHE} is full. Make room, or set HF_HOME to another folder."
    if constants.is_offline_mode():
        incomplete = f"{card.hub} at {_revision(card)} is not complete in {constants.HF_HUB_CACHE}"
        return f"{incomplete}, and HF_HUB_OFFLINE forbids fetching it. Unset HF_HUB_OFFLINE if there is a network."
    fault = f"{card.hub} could not be fetched from {constants.ENDPOINT} ({error_line(error)})."
    return f"{fault} Check the network, or set HF_ENDPOINT to a mirror; files fetched so far are kept."


def _status(error: BaseException) -> int:
    """The HTTP status of the Hub's response, or 0 without one."""
    return int(getattr(getattr(error, "response", None), "status_code", None) or 0)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
