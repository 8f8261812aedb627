"""The big numbers of a comparison's report.

hero(summary)["figures"]    # [{'kind': 'full', 'title': 'Full image', 'change': '+38.3', 'ci': '[33.0, 43.7]', …}, …]
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gapbench.report.comparison.tables import MEASURES
from gapbench.report.families import families
from gapbench.report.tables import benchmarks_of
from gapbench.util.text import clip, interval, percent, points


def hero(summary: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers of the only benchmark with a gap, or the means over several.

    `figures` are the big numbers: `kind`, `title`, the `change` with its interval `ci`, and the `levels` before and
    after. `scope` is the benchmark or mean to which they belong. Without a gap: the numbers of the only benchmark, or
    none if there are several. Annotated evidence comes first; regions made by a model count only if annotated evidence
    has no gap.
    """
    parts = families(summary)
    family = next((family for family in parts if family.summary["macro"]), parts[0])
    benchmarks = benchmarks_of(family.summary)
    with_gap = {name: entry for name, entry in benchmarks.items() if entry["delta"]["gap"]}
    used = with_gap or benchmarks
    if len(used) == 1:
        (scope, entry), *_ = used.items()
    elif with_gap:
        scope, entry = f"mean of {len(with_gap)} benchmarks", family.summary["macro"]
    else:
        return {"scope": "", "figures": []}
    figures = [_figure(entry, kind, title.capitalize()) for kind, title in MEASURES if entry["delta"][kind]]
    closed = entry.get("gap_closed") or {}
    if closed.get("ci") and not entry["crop_lost_more"]:
        share, ends = percent(closed["estimate"], 0), ", ".join(percent(bound, 0) for bound in closed["ci"])
        figures.append({"kind": "closed", "title": "Gap closed", "change": share, "levels": "", "ci": f"[{ends}]"})
    return {"scope": " · ".join(filter(None, (clip(scope, 80), family.title.lower()))), "figures": figures}


def _figure(entry: Mapping[str, Any], kind: str, title: str) -> dict[str, str]:
    show, change = points if kind == "gap" else percent, entry["delta"][kind]
    levels = " → ".join(show(entry[side][kind]["estimate"]) for side in ("before", "after"))
    ci = interval(change["ci"], signed=True)
    return {"kind": kind, "title": title, "change": points(change["estimate"]), "levels": levels, "ci": ci}
