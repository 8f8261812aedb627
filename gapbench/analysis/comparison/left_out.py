"""Alerts about the benchmarks, samples and views that a comparison leaves out.

shared = shared_samples(before.records, after.records, labels)
[alert["text"] for alert in left_out(before, after, shared)]
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from gapbench.analysis.aggregate import PAIR
from gapbench.analysis.comparison.runs import Alert, LoadedRun
from gapbench.analysis.comparison.shared import SharedSamples


def left_out(before: LoadedRun, after: LoadedRun, shared: Mapping[str, SharedSamples]) -> list[Alert]:
    """One alert for each benchmark or view that cannot be compared, and for each benchmark that lost samples."""
    labels = before.label, after.label
    return [
        *_benchmarks(before, after, shared),
        *(alert for name, samples in shared.items() for alert in _samples(name, samples, labels)),
        *_views(before, after, shared),
    ]


def _benchmarks(before: LoadedRun, after: LoadedRun, shared: Mapping[str, SharedSamples]) -> Iterator[Alert]:
    measured = [set(run.records["benchmark"]) for run in (before, after)]
    for name in sorted(measured[0] | measured[1]):
        measured_in = [run.label for run, names in zip((before, after), measured, strict=True) if name in names]
        if len(measured_in) == 1:
            text = f"Measured in {measured_in[0]} only, so it is left out of {before.label} against {after.label}."
            yield {"benchmark": name, "text": text}
        elif name not in shared:
            text = f"No sample was answered in both {before.label} and {after.label}, so it is left out."
            yield {"benchmark": name, "text": text}


def _samples(name: str, shared: SharedSamples, labels: tuple[str, str]) -> Iterator[Alert]:
    parts = []
    if shared.dropped:
        parts.append(f"{shared.dropped:,} measured in both runs but not answered in every compared view")
    parts += [f"{n:,} measured in {label} only" for n, label in zip(shared.only, labels, strict=True) if n]
    if parts:
        total = shared.dropped + sum(shared.only)
        text = f"{total:,} sample{'s are' if total > 1 else ' is'} left out of {labels[1]} against {labels[0]}: "
        yield {"benchmark": name, "text": f"{text}{', '.join(parts)}; {len(shared.table):,} are compared."}


def _views(before: LoadedRun, after: LoadedRun, shared: Mapping[str, SharedSamples]) -> Iterator[Alert]:
    for name, samples in shared.items():
        answered_views = [
            {str(v) for v in run.records.loc[run.records["benchmark"].eq(name) & run.records["score"].notna(), "view"]}
            for run in (before, after)
        ]
        for view in PAIR:
            if view not in samples.views and view in answered_views[0] | answered_views[1]:
                text = (
                    f"The {view} view cannot be compared: {before.label} and {after.label} share no sample "
                    f"answered in it, so there is no gap."
                )
                yield {"benchmark": name, "text": text}
