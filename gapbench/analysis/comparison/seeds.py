"""Several trainings of one recipe against what they started from: every seed, its range and its standard deviation.

    found = of_sides([before], [seed_0, seed_1, seed_2])
    found["benchmarks"]["signs"]["gap_closed"]       # {"values": [0.73, 0.75, 0.71], "mean": 0.73, "sd": 0.02, …}

Every number rests on the samples that all these runs share. The interval of a mean change is that over samples, of each
sample's change averaged over the seeds; it says nothing about further seeds, for which range and standard deviation
stand.

Limits: three seeds tell their spread only roughly (the standard deviation of three has itself a relative standard error
of 50 %), so no interval over seeds is computed.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import numpy as np

from gapbench.analysis.aggregate import Json
from gapbench.analysis.comparison.runs import LoadedRun
from gapbench.analysis.comparison.shared import SIDES, SharedSamples, shared_samples, values_of
from gapbench.analysis.statistics import mean_difference
from gapbench.errors import SettingError
from gapbench.util.text import capital, percent_in_words, points_in_words


def of_sides(before: Sequence[LoadedRun], after: Sequence[LoadedRun]) -> Json | None:
    """The entry `seeds` of `comparison.json`; None with one run on each side.

    A side of one run is compared with every run of the other; sides of equally many runs are paired in order. Raises
    SettingError for other numbers of runs.
    """
    count = max(len(before), len(after))
    if count == 1:
        return None
    if {len(before), len(after)} - {1, count}:
        raise SettingError(
            f"compare: found {len(before)} runs before and {len(after)} after; expected one of either, or equally many."
        )
    firsts, seconds = ([*side] * (count if len(side) == 1 else 1) for side in (before, after))
    pairs = [shared_samples(a.records, b.records, (a.label, b.label)) for a, b in zip(firsts, seconds, strict=True)]
    names = [name for name in pairs[0] if all(name in pair for pair in pairs)]
    return {
        "before": [run.label for run in before],
        "after": [run.label for run in after],
        "benchmarks": {name: _benchmark([pair[name] for pair in pairs]) for name in names},
    }


def _benchmark(pairs: Sequence[SharedSamples]) -> Json:
    shared = sorted(set.intersection(*(set(pair.table.index) for pair in pairs)))
    views = [view for view in pairs[0].views if all(view in pair.views for pair in pairs)]
    tables = [pair.table.loc[shared] for pair in pairs]
    clusters = tables[0]["cluster"].to_numpy()
    entry: Json = {"n": len(shared)}
    for measure in (*views, *(["gap"] if len(views) == 2 else [])):
        sides = {side: [values_of(table, side, measure) for table in tables] for side in SIDES}
        changes = [b - a for a, b in zip(sides["before"], sides["after"], strict=True)]
        limit = 2.0 if measure == "gap" else 1.0
        mean = mean_difference(np.mean(changes, axis=0), clusters, bounds=(-limit, limit))
        entry[measure] = {
            **{side: _spread([float(x.mean()) for x in values]) for side, values in sides.items()},
            "delta": {**_spread([float(x.mean()) for x in changes]), "ci": list(mean.ci) if mean.ci else None},
        }
    if "gap" in entry:
        before, after = (entry["gap"][side]["values"] for side in SIDES)
        closed = [1 - b / a for a, b in zip(before, after, strict=True)] if min(before) > 0 else []
        entry["gap_closed"] = _spread(closed) if closed else None
    return entry


def _spread(values: Sequence[float]) -> Json:
    """Each value, mean, standard deviation (of a sample: n - 1) and range."""
    values = [float(value) for value in values]
    return {
        "values": list(values),
        "mean": statistics.fmean(values),
        "sd": statistics.stdev(values) if len(values) > 1 else None,
        "range": [min(values), max(values)],
    }


def in_words(seeds: Json | None) -> str:
    """The sentences on all seeds that head the verdict of a comparison; empty with one run on each side."""
    if not seeds:
        return ""
    count = max(len(seeds["before"]), len(seeds["after"]))
    sentences = []
    for name, entry in seeds["benchmarks"].items():
        if not (gap := entry.get("gap")):
            continue
        low, high = (points_in_words(x) for x in gap["after"]["range"])
        text = (
            f"over {count} trainings the gap on {name} went from {points_in_words(gap['before']['mean'])} to "
            f"{points_in_words(gap['after']['mean'])} points on average ({low} to {high}, standard deviation "
            f"{points_in_words(gap['after']['sd'] or 0.0)})"
        )
        if closed := entry["gap_closed"]:
            least, most = (percent_in_words(x) for x in closed["range"])
            text += f"; {percent_in_words(closed['mean'])} of it closed ({least} to {most})"
        sentences.append(text)
    return "".join(f"{capital(text)}. " for text in sentences)
