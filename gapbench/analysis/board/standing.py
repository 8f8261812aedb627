"""The numbers of a board, from many runs; `reports/BOARD_SCHEMA.md` describes every key.

    board = standing(runs, baseline="base")
    board["benchmarks"]["signs"]["models"]["glance"]["gap"]

All numbers of a benchmark rest on the samples that every run with this benchmark has answered, so the rows of one
column differ by the model alone. The mean is over the benchmarks of `mean.benchmarks`: the largest table without holes.
A run that lacks one of them has no mean and no rank in it. Gaps over regions that a model made have a mean of their
own, as everywhere.

Limits: the intervals of single numbers are not those of differences; the ranks and `against` are paired.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gapbench.analysis.aggregate import PAIR, Json, area_bins, lost_in_full
from gapbench.analysis.board.asked import Asked, common_suite, group, sample_table
from gapbench.analysis.board.ranks import Differences, difference, mean_differences, pairwise, ranks
from gapbench.analysis.comparison.differences import differences as settings_that_differ
from gapbench.analysis.comparison.runs import LoadedRun
from gapbench.analysis.statistics import (
    Bounds,
    Estimate,
    holm,
    macro_mean,
    mean_interval,
    merge_clusters,
)
from gapbench.util.text import counted, listed, percent_in_words, points_in_words

SCHEMA_VERSION = 1
MEASURES: Mapping[str, tuple[Bounds, Bounds]] = {
    "full": ((0.0, 1.0), (-1.0, 1.0)),
    "crop": ((0.0, 1.0), (-1.0, 1.0)),
    "gap": ((-1.0, 1.0), (-2.0, 2.0)),
}
"""The bounds of each ranked measure and of its differences. The smallest gap ranks first."""
LOST = "lost_in_full"
FLIPS = 19_999
LEVELS, CHANGES = ("estimate", "ci"), ("estimate", "ci", "p_value")
SHOWN = {"gap": CHANGES, LOST: (*LEVELS, "n")}


@dataclass(frozen=True)
class Contest:
    """The scores of one benchmark: per view and number of a run, shape (n,), over the same n samples.

    `clusters` and `area` (evidence area, NaN without boxes) have shape (n,). `dropped` counts samples that some run
    answered and another did not.
    """

    asked: Asked
    views: Mapping[str, Mapping[int, NDArray[np.float64]]]
    clusters: NDArray[np.int64]
    area: NDArray[np.float64]
    evidence: str
    dropped: int

    def values(self, measure: str) -> Mapping[int, NDArray[np.float64]]:
        """The values of a measure per sample, for the runs that have it."""
        if measure != "gap":
            return self.views[measure]
        return {run: self.views["crop"][run] - self.views["full"][run] for run in self.pairs}

    @property
    def pairs(self) -> list[int]:
        """The runs with both views."""
        return [run for run in self.views["crop"] if run in self.views["full"]]


def standing(runs: Sequence[LoadedRun], baseline: str = "") -> Json:
    """`benchmarks`, `mean`, `mean_model`, `area`, `left_out`, `settings` and `suites` of a board.

    `runs` have different labels; `baseline` is one of them or empty.
    """
    numbers = {run.label: number for number, run in enumerate(runs)}
    asked, left_out = group(runs)
    labels, base = [run.label for run in runs], numbers.get(baseline)
    contests: list[Contest] = []
    benchmarks: dict[str, Json] = {}
    levels: dict[str, dict[int, dict[str, Estimate]]] = {}
    changes: dict[str, dict[str, Differences]] = {}
    for one in asked:
        contest, name = _contest(one, numbers), one.name
        if contest is None:
            reason = "no sample was answered by all of its runs"
            left_out += [{"run": run.label, "benchmark": name, "reason": reason} for run, _ in one.members]
            continue
        contests.append(contest)
        levels[name] = _levels(contest)
        changes[name] = {m: pairwise(contest.values(m), contest.clusters, MEASURES[m][1]) for m in MEASURES}
        benchmarks[name] = {
            **_description(contest),
            "models": _models(levels[name], changes[name], labels),
            "against": _against(changes[name], labels, base),
        }
    families = [[c for c in contests if (c.evidence == "model") is made] for made in (False, True)]
    means = [_mean(family, levels, changes, labels, base) for family in families]
    return {
        "benchmarks": benchmarks,
        "mean": means[0],
        "mean_model": means[1],
        "area": _by_area([c for c in families[0] if means[0] and c.asked.name in means[0]["benchmarks"]], labels),
        "left_out": left_out,
        "settings": settings_that_differ(runs),
        "suites": _suites(benchmarks, labels),
    }


def _contest(asked: Asked, numbers: Mapping[str, int]) -> Contest | None:
    """The scores of a benchmark over the samples that all its runs answered; None without any."""
    tables = {numbers[run.label]: sample_table(run, task) for run, task in asked.members}
    asked_views = {run: [view for view in PAIR if table[view].notna().any()] for run, table in tables.items()}
    answered = [set(table.index[table[asked_views[run]].notna().all(axis=1)]) for run, table in tables.items()]
    shared = sorted(set.intersection(*answered))
    if not shared:
        return None
    seen: set[Any] = set().union(*(table.index for table in tables.values()))
    tables = {run: table.loc[shared] for run, table in tables.items()}
    first = next(iter(tables.values()))
    keys = [list(table["cluster"].fillna("")) for table in tables.values()]
    kinds = first["evidence"].dropna()
    return Contest(
        asked,
        {view: {r: t[view].to_numpy(float) for r, t in tables.items() if view in asked_views[r]} for view in PAIR},
        merge_clusters(*keys, list(first["image_hash"].fillna(""))),
        pd.to_numeric(first["evidence_area"]).to_numpy(float),
        str(kinds.iloc[0]) if len(kinds) else "",
        len(seen) - len(shared),
    )


def _levels(contest: Contest) -> dict[int, dict[str, Estimate]]:
    """By run, the measures of a benchmark; the gap is tested."""
    found: dict[int, dict[str, Estimate]] = {}
    for measure, (bounds, _) in MEASURES.items():
        for run, values in contest.values(measure).items():
            level = (
                difference(values, contest.clusters, bounds, FLIPS)
                if measure == "gap"
                else mean_interval(values, contest.clusters, bounds=bounds)
            )
            found.setdefault(run, {})[measure] = level
    clusters = pd.Series(contest.clusters)
    for run in contest.pairs:
        lost = lost_in_full(pd.Series(contest.views["full"][run]), pd.Series(contest.views["crop"][run]), clusters)
        if lost.n:
            found[run][LOST] = lost
    return found


def _description(contest: Contest) -> Json:
    asked = contest.asked
    run, task = asked.members[0]
    entry = run.manifest["tasks"][task]
    return {
        "n": len(contest.clusters),
        "clusters": len(np.unique(contest.clusters)),
        "dropped": contest.dropped,
        "evidence": contest.evidence,
        "benchmark": entry.get("benchmark") or task,
        "asked": dict(asked.key),
        "apart": asked.apart,
        "suite": common_suite(asked),
        "notice": str((entry.get("card") or {}).get("notice") or ""),
    }


def _models(
    levels: Mapping[int, Mapping[str, Estimate]], changes: Mapping[str, Differences], labels: Sequence[str]
) -> dict[str, Json]:
    """By label, each measure with its interval, and its rank if it has one; None for what was not measured."""
    places = {}
    for measure in MEASURES:
        known = {run: found[measure].estimate for run, found in levels.items() if measure in found}
        estimates = {run: estimate for run, estimate in known.items() if estimate is not None}
        places[measure] = ranks(estimates, changes[measure], lower_is_better=measure == "gap")
    models: dict[str, Json] = {}
    for run, found in sorted(levels.items()):
        entry: Json = dict.fromkeys((*MEASURES, LOST))
        for measure, level in found.items():
            entry[measure] = level.json(*SHOWN.get(measure, LEVELS))
            if place := places.get(measure, {}).get(run):
                entry[measure] |= {"rank": place.rank, "best": place.best, "worst": place.worst}
        models[labels[run]] = entry
    return models


def _against(changes: Mapping[str, Differences], labels: Sequence[str], base: int | None) -> dict[str, Json] | None:
    """By label, each measure minus the baseline's; p-values are corrected over the models. None without a baseline."""
    if base is None:
        return None
    against: dict[str, Json] = {}
    for measure, differences in changes.items():
        turned = {a: found for (a, b), found in differences.items() if b == base}
        turned |= {b: _turned(found) for (a, b), found in differences.items() if a == base}
        corrected = holm({run: found.p_value for run, found in turned.items() if found.p_value is not None})
        for run, found in turned.items():
            entry = against.setdefault(labels[run], dict.fromkeys(MEASURES))
            entry[measure] = {**found.json(*CHANGES), "p_value_holm": corrected.get(run)}
    return against


def _turned(found: Estimate) -> Estimate:
    """The difference the other way round."""
    estimate = None if found.estimate is None else -found.estimate
    return replace(found, estimate=estimate, ci=found.ci and (-found.ci[1], -found.ci[0]))


def _mean(
    family: Sequence[Contest],
    levels: Mapping[str, Mapping[int, Mapping[str, Estimate]]],
    changes: Mapping[str, Mapping[str, Differences]],
    labels: Sequence[str],
    base: int | None,
) -> Json | None:
    """The unweighted mean over the benchmarks of one kind of evidence; None without any.

    It is over benchmarks with a gap if there are any, else over those in the full view alone.
    """
    paired = {c.asked.name: set(c.pairs) for c in family if len(np.unique(c.clusters)) > 1 and c.pairs}
    names, members = _largest_whole(paired or {c.asked.name: set(c.views["full"]) for c in family})
    if not names:
        return None
    means: dict[int, dict[str, Estimate]] = {}
    for run in members:
        for measure in (*MEASURES, LOST):
            parts = [levels[name][run][measure] for name in names if measure in levels[name].get(run, {})]
            if len(parts) == len(names):
                bounds = MEASURES[measure][0] if measure in MEASURES else (0.0, 1.0)
                means.setdefault(run, {})[measure] = macro_mean(parts, bounds=bounds)
    inside = set(members)
    of_pairs = {
        measure: {
            pair: found
            for pair, found in mean_differences([changes[name][measure] for name in names], bounds).items()
            if inside.issuperset(pair)
        }
        for measure, (_, bounds) in MEASURES.items()
    }
    return {
        "benchmarks": names,
        "models": _models(means, of_pairs, labels),
        "without": [labels[run] for run in sorted(set().union(*(c.views["full"] for c in family)) - inside)],
        "against": _against(of_pairs, labels, base) if base in inside else None,
    }


def _largest_whole(runs_by_benchmark: Mapping[str, set[int]]) -> tuple[list[str], list[int]]:
    """The benchmarks and runs of the table without holes that has the most cells; of equal ones, the most runs."""
    sets: dict[int, frozenset[str]] = {}
    for name, members in runs_by_benchmark.items():
        for run in members:
            sets[run] = sets.get(run, frozenset()) | {name}
    candidates = {*sets.values(), *(frozenset({name}) for name in runs_by_benchmark)}
    if sets:
        candidates.add(frozenset.intersection(*sets.values()))

    def covering(names: frozenset[str]) -> list[int]:
        return sorted(run for run, measured in sets.items() if names <= measured)

    best = max(
        (names for names in candidates if names),
        key=lambda names: (len(names) * len(covering(names)), len(covering(names)), sorted(names)),
        default=frozenset(),
    )
    return sorted(best), covering(best) if best else []


def _by_area(contests: Sequence[Contest], labels: Sequence[str]) -> list[Json]:
    """The gap of every model in bins of evidence area, over the samples of all benchmarks of the mean together."""
    members = sorted(set.intersection(*(set(c.pairs) for c in contests))) if contests else []
    if not members:
        return []
    areas = pd.Series(np.concatenate([c.area for c in contests]))
    offsets = np.cumsum([0, *(int(c.clusters.max()) + 1 for c in contests)])
    clusters = np.concatenate([c.clusters + offset for c, offset in zip(contests, offsets, strict=False)])
    gaps = {run: np.concatenate([c.values("gap")[run] for c in contests]) for run in members}
    bins = []
    for low, high, rows in area_bins(areas):
        inside = rows.to_numpy()
        models = {
            labels[run]: mean_interval(values[inside], clusters[inside], bounds=(-1.0, 1.0)).json(*LEVELS)
            for run, values in gaps.items()
        }
        bins.append({"from": low, "to": high, "n": len(rows), "models": models})
    return bins


def _suites(benchmarks: Mapping[str, Json], labels: Sequence[str]) -> list[Json]:
    """Each suite that whole columns belong to, with its benchmarks and the runs that have them all."""
    found: dict[tuple[str, str], list[str]] = {}
    for name, entry in benchmarks.items():
        if entry["suite"]:
            found.setdefault((entry["suite"]["name"], entry["suite"]["sha256"]), []).append(name)

    def whole(names: Sequence[str]) -> list[str]:
        return [label for label in labels if all(label in benchmarks[name]["models"] for name in names)]

    return [
        {"name": name, "sha256": digest, "benchmarks": names, "models": whole(names)}
        for (name, digest), names in sorted(found.items())
    ]


def verdict(board: Json, models: int) -> str:
    """Who is first in the full image and in the gap. Only a model whose rank can be no other is called first."""
    samples, count = sum(entry["n"] for entry in board["benchmarks"].values()), len(board["benchmarks"])
    head = f"{counted(models, 'model')} on {counted(count, 'benchmark')}, {counted(samples, 'shared sample')}"
    mean = board["mean"] or board["mean_model"]
    if not mean:
        return head
    over = f"in the mean of {len(mean['benchmarks'])}" if len(mean["benchmarks"]) > 1 else f"on {mean['benchmarks'][0]}"
    entries = {
        measure: {label: one[measure] for label, one in mean["models"].items() if one[measure]}
        for measure in ("full", "gap")
    }
    clauses = [_first(measure, found, not board["mean"]) for measure, found in entries.items() if found]
    return f"{head}: {over}, {'; '.join(clauses)}"


def _first(measure: str, entries: Mapping[str, Json], model_made: bool) -> str:
    """The model that is first in a measure, or that the data do not show which it is."""
    regions = " from regions that a model made" if model_made else ""
    first, alone = {
        "full": ("answers most from the full image", "is measured in the full image"),
        "gap": (f"has the smallest gap{regions}", f"has a gap{regions}"),
    }[measure]
    best = sorted(label for label, one in entries.items() if one["rank"] == 1)
    found = entries[best[0]]
    level = percent_in_words(found["estimate"])
    if measure == "gap":
        turned = ", no less from the full image than from the crop" * (found["estimate"] <= 0)
        level = f"{points_in_words(found['estimate'])} points{turned}"
    if len(entries) == 1:
        return f"only {best[0]} {alone} ({level})"
    if found["worst"] == 1:
        return f"{best[0]} {first} ({level}, rank 1)"
    possible = sum(one["best"] == 1 for one in entries.values())
    which = f"which of {possible} models" if possible > 1 else "which model"
    return f"the data do not show {which} {first} (best estimate: {listed(best, 2, ' and ')}, {level})"
