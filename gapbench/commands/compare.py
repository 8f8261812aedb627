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

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gapbench.analysis.anatomy.cures import beside_trained
from gapbench.analysis.comparison.conclusion import verdict
from gapbench.analysis.comparison.deltas import compare_pair
from gapbench.analysis.comparison.differences import differences, setting_alerts
from gapbench.analysis.comparison.gate import changes, changes_of
from gapbench.analysis.comparison.runs import LoadedRun
from gapbench.analysis.comparison.seeds import in_words, of_sides
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
from gapbench.runs.listing import labelled, renamed
from gapbench.runs.manifest import make_manifest, settings_of
from gapbench.runs.run import naming
from gapbench.util.files import relative_link, write_json

if TYPE_CHECKING:
    import pandas as pd

SCHEMA_VERSION = 2


@dataclass(frozen=True, repr=False)
class Comparison:
    """A comparison on disk: its folder and the contents of its `comparison.json`."""

    path: Path
    summary: dict[str, Any]

    @property
    def report(self) -> Path:
        """The HTML report."""
        return self.path / "comparison.html"

    def frame(self) -> pd.DataFrame:
        """One row per run after the first, benchmark and measure: `gapbench.analysis.comparison.gate.changes`."""
        import pandas as pd

        return pd.DataFrame(changes(self.summary))

    def __repr__(self) -> str:
        return f"Comparison({self.path}: {self.summary['verdict']})"

    def _repr_html_(self) -> str:
        """The verdict and the headline table, for a notebook."""
        from gapbench.report.comparison.page import notebook_html

        return notebook_html(self.summary)


def compare(
    before: str | Path | Sequence[str | Path],
    after: str | Path | Sequence[str | Path],
    *more: str | Path,
    out: str | Path,
    labels: Sequence[str] | Mapping[str, str] = (),
    images: bool = True,
    figures: str | Path | None = None,
) -> Comparison:
    """Compare `after`, and each of `more`, with `before`, and write the comparison to the folder `out`.

    A side may be several runs, such as those of one recipe with several seeds: then `comparison.json` and the pages
    also say every seed, range and standard deviation. All else is about the first run of each side, but for `changes`.

    `labels` has one name for each run: those of `before`, of `after`, and `more`; or it maps folders of some runs to
    names. The default is `before` and `after` if the two runs lie beside a `train.jsonl`, as `gapbench distill` leaves
    them, and the models' names otherwise.
    `images=False` leaves images out of the report. `figures` is a folder for the figures as files.

    Raises RunError if a folder is no run, if the runs share no answered sample, or if one id names different samples;
    SettingError for labels that do not fit the runs.
    """
    from gapbench.report.comparison.page import write_comparison
    from gapbench.report.comparison.plots import write_figures

    firsts, seconds = (
        [Path(p) for p in ([side] if isinstance(side, str | Path) else side)] for side in (before, after)
    )
    for name, side in (("before", firsts), ("after", seconds)):
        if not side:
            raise SettingError(f"compare: found no run {name}; expected at least one.")
    folders, folder = [firsts[0], seconds[0], *map(Path, more)], Path(out)
    loaded, trained = load([*firsts, *seconds, *map(Path, more)], labels, after=len(firsts))
    befores, afters = loaded[: len(firsts)], loaded[len(firsts) : len(firsts) + len(seconds)]
    runs = [befores[0], afters[0], *loaded[len(firsts) + len(seconds) :]]
    seeds = of_sides(befores, afters)
    log = log_of(folders[1], folder)
    steps = read_steps(log) if log else []
    contamination = contamination_of(log) if log else None
    pairs = [compare_pair(runs[0], run) for run in runs[1:]]
    firsts_of = befores if len(befores) > 1 else befores * len(afters)
    other_seeds = [(run, compare_pair(first, run)) for first, run in [*zip(firsts_of, afters, strict=False)][1:]]
    verdicts = [
        verdict(
            **pair.numbers,
            labels=(runs[0].label, run.label),
            trained=trained and run is runs[1],
            subject="the first of them" if seeds else "this checkpoint",
            lacking=[one.label for one in (runs[0], run) if one.lacks_answers],
        )
        for pair, run in zip(pairs, runs[1:], strict=True)
    ]
    summary: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "kind": "training" if trained else "models",
        "verdict": in_words(seeds) + verdicts[0],
        "runs": [
            {"label": run.label, "model": run.model, "path": relative_link(run.path, folder), "identity": run.identity}
            for run in runs
        ],
        **pairs[0].numbers,
        "seeds": seeds
        and {
            **seeds,
            "changes": [row for run, pair in other_seeds for row in changes_of(run.label, pair.numbers["benchmarks"])],
        },
        "not_compared": {
            run.label: pair.not_compared
            for run, pair in [*zip(runs[1:], pairs, strict=True), *other_seeds]
            if pair.not_compared
        },
        "more": [
            {"label": run.label, "verdict": text, **pair.numbers}
            for run, text, pair in zip(runs[2:], verdicts[1:], pairs[1:], strict=True)
        ],
        "alerts": [
            *chain(*(run.alerts for run in loaded), *(pair.alerts for pair in pairs)),
            *setting_alerts(runs),
            *_trained_on(contamination),
        ],
        "settings": differences(runs),
        "train": {
            "path": relative_link(log, folder),
            **ranges(steps),
            "regions": region_file(log),
            "contamination": contamination,
        }
        if log
        else None,
    }
    if cures := beside_trained(runs[0].records, {run.label: run.records for run in runs[1:]}):
        summary["cures"] = cures
    write_json(folder / "comparison.json", summary)
    write_comparison(folder, summary=summary, runs=runs, steps=steps, images=images)
    if figures:
        write_figures(Path(figures), summary, runs, steps)
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


def load(
    folders: Sequence[Path], labels: Sequence[str] | Mapping[str, str], after: int = 1
) -> tuple[list[LoadedRun], bool]:
    """The runs in order, and whether the first and the one at `after` are the runs before and after one training.

    Raises RunError for a folder that is no run or is given twice, SettingError for labels that do not fit the runs.
    """
    repeated = [path for path, count in Counter(folder.resolve() for folder in folders).items() if count > 1]
    if repeated:
        raise RunError(f"{repeated[0]}: this run was given twice. Compare the folders of two different runs.")
    runs = [open_run(folder) for folder in folders]
    before, trained_in = (folders[place].resolve().parent for place in (0, after))
    trained = before == trained_in and (trained_in / LOG).is_file()
    found = labelled([(run.path, run.model) for run in runs], {0: "before", after: "after"} if trained else {})
    if isinstance(labels, Mapping):
        labels = renamed(labels, folders, found)
    names = list(labels) or found
    if len(names) != len(runs):
        raise SettingError(f"labels: found {len(names)} for {len(runs)} runs ({', '.join(names)}); expected one each.")
    if len(set(names)) < len(names) or not all(name.strip() for name in names):
        raise SettingError(f"labels: found {', '.join(map(repr, names))}; expected a different name for each run.")
    return [replace(run, label=name) for run, name in zip(runs, names, strict=True)], trained


def open_run(folder: Path) -> LoadedRun:
    """The run in a folder, without a label. Raises RunError if it is none or has no answers."""
    run = load_run(folder)
    with naming(folder):
        frame = run.frame()
    if frame.empty:
        raise RunError(f"{folder}: no answers yet, so there is nothing to compare. Finish the run first.")
    manifest = {key: value for key, value in run.manifest.items() if key != "judge" or run.judged}
    return LoadedRun("", folder, manifest, frame, settings_of(make_manifest(manifest)), run.summary)
