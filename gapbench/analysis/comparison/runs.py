"""The runs that are compared: read, named, and checked for being whole.

    runs, trained = load([Path("runs/x/before"), Path("runs/x/after")], labels=())

Limits: a run is read into memory whole, as its report does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from gapbench.analysis.metrics import names_of

if TYPE_CHECKING:
    from pandas import DataFrame

IDENTITY = ("engine", "revision", "sha256", "dtype", "device", "attn_implementation")
"""What in `run.json` says which weights answered, and how they were run."""

Alert: TypeAlias = dict[str, str]
"""`benchmark` (or "") and `text`: what a reader must know before trusting a number."""


@dataclass(frozen=True)
class LoadedRun:
    """One run: its name in the comparison, `run.json` as `manifest`, and its records, one row each."""

    label: str
    path: Path
    manifest: Mapping[str, Any]
    records: DataFrame
    model: str

    @property
    def identity(self) -> dict[str, Any]:
        return {key: self.manifest[key] for key in IDENTITY if key in self.manifest}

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
        entries = self.manifest.get("benchmarks") or {}
        return {name: str((entry.get("card") or {}).get(field) or "") for name, entry in entries.items()}

    def metrics(self, benchmark: str) -> tuple[str, ...]:
        """The metrics this run reports of a benchmark, the headline first."""
        entry = (self.manifest.get("benchmarks") or {}).get(benchmark) or {}
        return names_of(entry, str(self.manifest.get("protocol") or ""))

    @property
    def alerts(self) -> list[Alert]:
        """Benchmarks whose questions have not all been asked yet."""
        found = []
        repeats = int(self.manifest.get("repeats") or 1)
        written = Counter(self.records["benchmark"])
        for name, entry in (self.manifest.get("benchmarks") or {}).items():
            views = entry.get("views") or self.manifest.get("views") or ()  # a hold-out has fewer than the run
            expected = int(entry.get("samples") or 0) * len(views) * repeats
            if written[name] < expected:
                text = f"The run {self.label} is unfinished: {written[name]:,} of {expected:,} answers."
                found.append({"benchmark": name, "text": text})
        return found
