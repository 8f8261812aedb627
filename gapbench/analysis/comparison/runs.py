"""The runs that are compared: read, named, and checked for being whole.

    runs, trained = load([Path("runs/x/before"), Path("runs/x/after")], labels=())

Limits: a run is read into memory whole, as its report does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, TypeAlias

from gapbench.analysis.comparison.training_log import LOG
from gapbench.analysis.metrics import names_of
from gapbench.errors import RunError, SettingError
from gapbench.runs.run import load_run

if TYPE_CHECKING:
    from pandas import DataFrame

IDENTITY = ("engine", "revision", "sha256", "dtype", "device", "attn_implementation")
"""What in `run.json` says which weights answered, and how they were run."""

Alert: TypeAlias = dict[str, str]
"""`benchmark` (or "") and `text`: what a reader must know before trusting a number."""


@dataclass(frozen=True)
class LoadedRun:
    """One run: its name in the comparison, `run.json` as `asked`, and its records, one row each."""

    label: str
    path: Path
    asked: Mapping[str, Any]
    records: DataFrame
    model: str

    @property
    def identity(self) -> dict[str, Any]:
        return {key: self.asked[key] for key in IDENTITY if key in self.asked}

    @property
    def notices(self) -> dict[str, str]:
        """Each benchmark's own remark that has to be read beside its numbers."""
        return self._said("notice")

    @property
    def restricted(self) -> dict[str, str]:
        """What each benchmark's licence forbids, where it does."""
        return {name: text for name, text in self._said("restricted").items() if text}

    def _said(self, field: str) -> dict[str, str]:
        """One field of each benchmark's card."""
        entries = self.asked.get("benchmarks") or {}
        return {name: str((entry.get("card") or {}).get(field) or "") for name, entry in entries.items()}

    def metrics(self, benchmark: str) -> tuple[str, ...]:
        """The metrics this run reports of a benchmark, the headline first."""
        entry = (self.asked.get("benchmarks") or {}).get(benchmark) or {}
        return names_of(entry, str(self.asked.get("protocol") or ""))

    @property
    def alerts(self) -> list[Alert]:
        """Benchmarks whose questions have not all been asked yet."""
        found = []
        repeats = int(self.asked.get("repeats") or 1)
        written = Counter(self.records["benchmark"])
        for name, entry in (self.asked.get("benchmarks") or {}).items():
            views = entry.get("views") or self.asked.get("views") or ()  # a hold-out has fewer than the run
            expected = int(entry.get("samples") or 0) * len(views) * repeats
            if written[name] < expected:
                text = f"The run {self.label} is unfinished: {written[name]:,} of {expected:,} answers."
                found.append({"benchmark": name, "text": text})
        return found


def load(folders: Sequence[Path], labels: Sequence[str]) -> tuple[list[LoadedRun], bool]:
    """The runs in order, and whether the first two are before and after one training.

    Raises RunError for a folder that is no run or is given twice, SettingError for labels that do not fit.
    """
    twice = [path for path, count in Counter(folder.resolve() for folder in folders).items() if count > 1]
    if twice:
        raise RunError(f"{twice[0]}: given twice, so nothing could differ. Compare the folders of two different runs.")
    runs = [_load(folder) for folder in folders]
    before, after = (folder.resolve().parent for folder in folders[:2])
    trained = before == after and (after / LOG).is_file()
    names = list(labels) if labels else _labels(runs, trained)
    if len(names) != len(runs):
        raise SettingError(f"labels: found {len(names)} for {len(runs)} runs ({', '.join(names)}); expected one each.")
    if len(set(names)) < len(names) or not all(name.strip() for name in names):
        raise SettingError(f"labels: found {', '.join(map(repr, names))}; expected a different name for each run.")
    return [replace(run, label=name) for run, name in zip(runs, names, strict=True)], trained


def _load(folder: Path) -> LoadedRun:
    run = load_run(folder)
    frame = run.frame()
    if frame.empty:
        raise RunError(f"{folder}: no answers yet, so there is nothing to compare. Finish the run first.")
    asked = {key: value for key, value in run.asked.items() if key != "judge" or run.judged}
    return LoadedRun("", folder, asked, frame, str(run.asked.get("model") or ""))


def _labels(runs: Sequence[LoadedRun], trained: bool) -> list[str]:
    """`before`, `after` and models' names; runs of one name are told apart by their folders, then by number."""
    names = [_short(run.model) or run.path.resolve().name for run in runs]
    if trained:
        names[:2] = ["before", "after"]
    for extra in ([run.path.resolve().name for run in runs], [str(place + 1) for place in range(len(runs))]):
        counts = Counter(names)
        names = [f"{name} ({add})" if counts[name] > 1 else name for name, add in zip(names, extra, strict=True)]
    return names


def _short(model: str) -> str:
    """A folder is named by its last two parts, as a model on the Hub is, and says nothing of the machine it lies on."""
    return "/".join(PurePath(model).parts[-2:]).removeprefix("//") if len(PurePath(model).parts) > 2 else model
