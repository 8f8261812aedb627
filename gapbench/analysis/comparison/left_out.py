"""What two runs do not share, said in words: benchmarks, questions and views that are left out of their comparison.

[alert["text"] for alert in left_out(before, after, share(before.records, after.records, labels))]
"""

from __future__ import annotations

from collections.abc import Mapping

from gapbench.analysis.aggregate import PAIR
from gapbench.analysis.comparison.runs import Alert, LoadedRun
from gapbench.analysis.comparison.shared import Shared


def left_out(before: LoadedRun, after: LoadedRun, shared: Mapping[str, Shared]) -> list[Alert]:
    """One alert for each benchmark or view that cannot be compared, and for each benchmark that lost questions."""
    labels = before.label, after.label
    return [
        *_benchmarks(before, after, shared),
        *(alert for name, found in shared.items() for alert in _questions(name, found, labels)),
        *_views(before, after, shared),
    ]


def _benchmarks(before: LoadedRun, after: LoadedRun, shared: Mapping[str, Shared]) -> list[Alert]:
    measured = [set(run.records["benchmark"]) for run in (before, after)]
    alerts = []
    for name in sorted(measured[0] | measured[1]):
        where = [run.label for run, names in zip((before, after), measured, strict=True) if name in names]
        if len(where) == 1:
            text = f"Measured in {where[0]} only, so it is left out of {before.label} against {after.label}."
            alerts.append({"benchmark": name, "text": text})
        elif name not in shared:
            text = f"No question was answered in both {before.label} and {after.label}, so it is left out."
            alerts.append({"benchmark": name, "text": text})
    return alerts


def _questions(name: str, shared: Shared, labels: tuple[str, str]) -> list[Alert]:
    parts = []
    if shared.dropped:
        parts.append(f"{shared.dropped:,} asked in both runs but not answered in every view compared")
    parts += [f"{n:,} asked in {label} only" for n, label in zip(shared.only, labels, strict=True) if n]
    if not parts:
        return []
    total = shared.dropped + sum(shared.only)
    text = f"{total:,} question{'s are' if total > 1 else ' is'} left out of {labels[1]} against {labels[0]}: "
    return [{"benchmark": name, "text": f"{text}{', '.join(parts)}; {len(shared.table):,} are compared."}]


def _views(before: LoadedRun, after: LoadedRun, shared: Mapping[str, Shared]) -> list[Alert]:
    alerts = []
    for name, found in shared.items():
        answered = [
            {str(v) for v in run.records.loc[run.records["benchmark"].eq(name) & run.records["score"].notna(), "view"]}
            for run in (before, after)
        ]
        for view in PAIR:
            if view not in found.views and view in answered[0] | answered[1]:
                text = (
                    f"The {view} view cannot be compared: {before.label} and {after.label} share no question "
                    f"answered in it, so no gap is."
                )
                alerts.append({"benchmark": name, "text": text})
    return alerts
