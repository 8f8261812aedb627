"""A run as a comparison sees it: label, manifest, records, and alerts where answers are missing or unparsed.

    run.alerts        # [{"benchmark": "signs", "text": "The run after is unfinished: 4 of 1,000 answers."}]

Limits: all records of a run are held in memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from pandas import DataFrame

from gapbench.analysis.aggregate import PAIR
from gapbench.analysis.faults import UNPARSED_WORTH_A_WARNING, alerted, wide_bound
from gapbench.analysis.metrics import names_of
from gapbench.util.text import percent

IDENTITY = ("engine", "revision", "sha256", "dtype", "device", "attn_implementation")
"""Keys of the manifest that identify the weights and how they were run."""

Alert: TypeAlias = dict[str, str]
"""`benchmark` (or "") and `text`: a warning that a reader needs before trusting a number."""


@dataclass(frozen=True)
class LoadedRun:
    """One run: its name in the comparison (`label`), its manifest, its records, one row each, and its settings.

    `settings` maps (task or "", dotted name) to a value (`gapbench.runs.manifest.settings_of`). `summary` is the run's
    `summary.json`.
    """

    label: str
    path: Path
    manifest: Mapping[str, Any]
    records: DataFrame
    settings: Mapping[tuple[str, str], Any]
    summary: Mapping[str, Any] = field(default_factory=dict)

    @property
    def model(self) -> str:
        return str(self.manifest.get("model") or "")

    @property
    def identity(self) -> dict[str, Any]:
        return {key: self.manifest[key] for key in IDENTITY if key in self.manifest}

    def card_texts(self, field: Literal["notice", "restricted"]) -> dict[str, str]:
        """By benchmark, the remark to be read beside its numbers, or what its licence forbids; empty for none."""
        entries = self.manifest.get("tasks") or {}
        return {name: str((entry.get("card") or {}).get(field) or "") for name, entry in entries.items()}

    def metrics(self, benchmark: str) -> tuple[str, ...]:
        """The metrics that this run reports for a benchmark, the headline first."""
        entry = (self.manifest.get("tasks") or {}).get(benchmark) or {}
        return names_of(entry, str(self.manifest.get("protocol") or ""))

    @property
    def lacks_answers(self) -> bool:
        """Whether missing answers can have made or hidden a gap of this run."""
        means = [self.summary.get(mean) or {} for mean in ("macro", "macro_model")]
        entries = [*(self.summary.get("benchmarks") or {}).values(), *means]
        return any(alerted(entry) or wide_bound(entry.get("gap")) for entry in entries)

    @property
    def alerts(self) -> list[Alert]:
        """One for each benchmark that lacks records or has many unparsed answers, and one if missing answers can have
        made a gap."""
        alerts = []
        written = Counter(self.records["benchmark"])
        for name, entry in (self.manifest.get("tasks") or {}).items():
            expected = int(entry.get("samples") or 0) * len(entry.get("views") or ()) * int(entry.get("repeats") or 1)
            if written[name] < expected:
                text = f"The run {self.label} is unfinished: {written[name]:,} of {expected:,} answers."
                alerts.append({"benchmark": name, "text": text})
        given = self.records[self.records["outcome"] != "failed"]
        unparsed = given["outcome"].eq("unparsed").groupby([given["benchmark"], given["view"]], observed=True).mean()
        for name in dict.fromkeys(given["benchmark"]):
            shares = {view: unparsed.get((name, view), 0.0) for view in PAIR}
            if max(shares.values()) >= UNPARSED_WORTH_A_WARNING:
                listed = " and ".join(f"{percent(share)} of the {view}-view answers" for view, share in shares.items())
                text = f"The run {self.label}: {listed} could not be parsed and count as wrong."
                alerts.append({"benchmark": str(name), "text": text})
        if self.lacks_answers:
            text = f"Missing answers affect the run {self.label}. Its own verdict: {self.summary['verdict']}."
            alerts.append({"benchmark": "", "text": text})
        return alerts
