"""Compares two or more finished runs on the samples they share: before and after a training, or several models.

    import gapbench
    comparison = gapbench.compare("runs/x/before", "runs/x/after", out="runs/x")
    comparison.summary["verdict"]; comparison.report

`compare` writes `comparison.json` (every key: `reports/COMPARISON_SCHEMA.md`), `comparison.html` and `comparison.md`.
It reads the records alone and needs no model, engine or benchmark.

Limits: the sampling unit is the cluster (the samples about one image, or declared to belong
together), so an interval says what other samples of the same kind would give. It says
nothing about another training seed or prompt. A comparison of two models does not say why they differ.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from gapbench.analysis.comparison.conclusion import verdict
from gapbench.analysis.comparison.deltas import compare_pair
from gapbench.analysis.comparison.differences import differences, setting_alerts
from gapbench.analysis.comparison.runs import LoadedRun
from gapbench.analysis.comparison.shared import SIDES
from gapbench.analysis.comparison.training_log import (
    LOG,
    contamination_of,
    contamination_sentences,
    log_of,
    ranges,
    read_steps,
    region_file,
)
from gapbench.commands.report import load_run
from gapbench.errors import RunError, SettingError
from gapbench.runs.listing import labelled
from gapbench.runs.manifest import make_manifest, settings_of
from gapbench.util.files import write_json

SCHEMA_VERSION = 2


@dataclass(frozen=True)
class Comparison:
    """A comparison on disk: its folder and the contents of its `comparison.json`."""

    path: Path
    summary: dict[str, Any]

    @property
    def report(self) -> Path:
        """The HTML report."""
        return self.path / "comparison.html"

    def _repr_html_(self) -> str:
        """The verdict and the headline table, for a notebook."""
        from gapbench.report.comparison.page import notebook_html

        return notebook_html(self.summary)


def compare(
    before: str | Path,
    after: str | Path,
    *more: str | Path,
    out: str | Path,
    labels: Sequence[str] = (),
    images: bool = True,
) -> Comparison:
    """Compare `after`, and each of `more`, with `before`, and write the comparison to the folder `out`.

    `labels` has one name for each run. The default is `before` and `after` if the two runs lie beside a `train.jsonl`,
    as `gapbench distill` leaves them, and the models' names otherwise. `images=False` leaves images out of the report.

    Raises RunError if a folder is no run, if the runs share no answered sample, or if one id names different samples;
    SettingError for labels that do not fit the runs.
    """
    from gapbench.report.comparison.page import write_comparison

    folders, folder = [Path(path) for path in (before, after, *more)], Path(out)
    runs, trained = load(folders, labels)
    log = log_of(folders[1], folder)
    steps = read_steps(log) if log else []
    contamination = contamination_of(log) if log else None
    pairs = [compare_pair(runs[0], run) for run in runs[1:]]
    verdicts = [
        verdict(
            **pair.numbers,
            labels=(runs[0].label, run.label),
            trained=trained and run is runs[1],
            lacking=[one.label for one in (runs[0], run) if one.lacks_answers],
        )
        for pair, run in zip(pairs, runs[1:], strict=True)
    ]
    summary: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "kind": "training" if trained else "models",
        "verdict": verdicts[0],
        "runs": [
            {"label": run.label, "model": run.model, "path": _relative(run.path, folder), "identity": run.identity}
            for run in runs
        ],
        **pairs[0].numbers,
        "more": [
            {"label": run.label, "verdict": text, **pair.numbers}
            for run, text, pair in zip(runs[2:], verdicts[1:], pairs[1:], strict=True)
        ],
        "alerts": [
            *chain(*(run.alerts for run in runs), *(pair.alerts for pair in pairs)),
            *setting_alerts(runs),
            *_trained_on(contamination),
        ],
        "settings": differences(runs),
        "train": {
            "path": _relative(log, folder),
            **ranges(steps),
            "regions": region_file(log),
            "contamination": contamination,
        }
        if log
        else None,
    }
    write_json(folder / "comparison.json", summary)
    write_comparison(folder, summary=summary, runs=runs, steps=steps, images=images)
    return Comparison(folder, summary)


def _trained_on(contamination: Mapping[str, Any] | None) -> list[dict[str, str]]:
    """One alert for each evaluation whose images were trained on."""
    if contamination is None or contamination["policy"] == "drop":
        return []
    counts = contamination["evaluations"]
    return [
        {"benchmark": name, "text": text}
        for name, text in contamination_sentences(contamination).items()
        if sum(counts[name].values())
    ]


def _relative(path: Path, start: Path) -> str:
    try:
        return Path(os.path.relpath(path, start)).as_posix()
    except ValueError:  # Windows: the path is on another drive
        return path.name


def load(folders: Sequence[Path], labels: Sequence[str]) -> tuple[list[LoadedRun], bool]:
    """The runs in order, and whether the first two are the runs before and after one training.

    Raises RunError for a folder that is no run or is given twice, SettingError for labels that do not fit the runs.
    """
    repeated = [path for path, count in Counter(folder.resolve() for folder in folders).items() if count > 1]
    if repeated:
        raise RunError(f"{repeated[0]}: this run was given twice. Compare the folders of two different runs.")
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
    manifest = {key: value for key, value in run.manifest.items() if key != "judge" or run.judged}
    return LoadedRun("", folder, manifest, frame, settings_of(make_manifest(manifest)), run.summary)


def _labels(runs: Sequence[LoadedRun], trained: bool) -> list[str]:
    """`before`, `after` and models' names. Runs with the same name also get their folder's name, then a number."""
    return labelled([(run.path, run.model) for run in runs], SIDES if trained else ())
