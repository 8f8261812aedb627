"""Why the crop is better: what resolution, surroundings, pointing, prior and being a crop are worth.

    parts(measured)          # the gap as a sum of parts, None unless the views of the design were measured
    waterfall(measured)      # the same gap, view by view; depends on the order
    doses(measured)          # accuracy from the widest crop to the tightest

The design has two factors: the surroundings of the evidence are kept or removed, the evidence has its native resolution
or a raised one. Its cells are the views `full`, `mask`, `full_up` and `full_up_mask`. Each factor has an effect alone
(from `full`), a main effect (the mean over both states of the other factor), and the two interact. All parts cover the
same samples, so they add up exactly: gap = resolution + surroundings + both + rest, where `rest` is what the crop still
has over the fourth cell.

Limits: a mask is foreign to a model, so removing the surroundings can cost points that the surroundings did not. The
spread over fills shows how much. The parts are paired but their intervals are not corrected for their number.
"""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np

from gapbench.analysis.aggregate import PAIR, RIGHT, Json, mean_of
from gapbench.analysis.anatomy.contrasts import Measured, contrast, counted, find, kind_of, level, short

LADDER = ("full", "mask", "crop_native", "crop")
"""The waterfall: the surroundings go, then the canvas, then the region is enlarged as the processor does it."""
POINTING = {"image": "boxed", "text": "hint", "coordinates": "coordinates"}
PRIOR = ("blind", "blank")
"""Views without the image or its content; the first that was measured is the prior."""


def parts(measured: Measured) -> Json | None:
    """The gap as a sum of parts, main effects and interaction; None without `full`, `crop`, `mask` and `full_up`.

    Without `full_up_mask`, `crop_up` stands in for the fourth cell; `stand_in` then names it.
    """
    mask, up, both = find(measured, "mask"), find(measured, "full_up"), find(measured, "full_up_mask", "crop_up")
    if mask is None or up is None or both is None or not set(PAIR) <= set(measured.views):
        return None
    complete = measured.complete([*PAIR, mask, up, both])
    if complete.scores.empty:
        return None
    cells = {"native_kept": "full", "native_removed": mask, "raised_kept": up, "raised_removed": both}
    effects = {
        "gap": {"crop": 1.0, "full": -1.0},
        "resolution": {up: 1.0, "full": -1.0},
        "surroundings": {mask: 1.0, "full": -1.0},
        "both": {both: 1.0, up: -1.0, mask: -1.0, "full": 1.0},
        "rest": {"crop": 1.0, both: -1.0},
        "main_resolution": {both: 0.5, mask: -0.5, up: 0.5, "full": -0.5},
        "main_surroundings": {both: 0.5, mask: 0.5, up: -0.5, "full": -0.5},
    }
    return {
        "n": len(complete.scores),
        "clusters": int(complete.clusters.nunique()),
        "stand_in": both if kind_of(both) != "full_up_mask" else "",
        "cells": {name: short(level(complete, view), view=view) for name, view in cells.items()},
        **{name: short(contrast(complete, weights)) for name, weights in effects.items()},
    }


def fills(measured: Measured) -> list[Json]:
    """Each `mask` against `full`: how much the fill decides. Empty unless several were measured."""
    masks = sorted(view for view in measured.views if kind_of(view) == "mask")
    if len(masks) < 2 or "full" not in measured.views:
        return []
    return [counted(contrast(measured, {mask: 1.0, "full": -1.0}), view=mask) for mask in masks]


def waterfall(measured: Measured) -> Json | None:
    """The gap as steps from one view of `LADDER` to the next that was measured; None without a view in between.

    Another order of the same steps would give them other sizes; only their sum is the gap.
    """
    rungs = [view for view in (find(measured, kind) for kind in LADDER[:-1]) if view]
    rungs += ["crop"] if "crop" in measured.views else []
    if len(rungs) < 3 or (rungs[0], rungs[-1]) != PAIR:
        return None
    complete = measured.complete(rungs)
    if complete.scores.empty:
        return None
    steps = [
        {"from": start, "to": to, **short(contrast(complete, {to: 1.0, start: -1.0}))} for start, to in pairwise(rungs)
    ]
    return {"n": len(complete.scores), "start": float(complete.scores["full"].mean()), "steps": steps}


def doses(measured: Measured) -> Json | None:
    """Accuracy from the full image to the tightest crop, and where samples become right; None without several crops.

    Of each sample, `right_from` is the widest view in which it is right, and `lost_at` the next tighter one in which it
    is wrong again. Both count samples by view; `never` are right in none, `kept` stay right up to the tightest crop.
    """
    crops = [view for view in measured.views if kind_of(view) == "crop"]
    area = {view: float(measured.per_sample("region_area", view).mean()) for view in crops}
    if len(crops) < 2 or "full" not in measured.views or any(np.isnan(a) for a in area.values()):
        return None
    views = ["full", *sorted(crops, key=lambda view: (-area[view], view))]
    complete = measured.complete(views)
    if complete.scores.empty:
        return None
    right_from, lost_at = Counter[str](), Counter[str]()
    for row in complete.scores[views].to_numpy(float) >= RIGHT:
        first = int(row.argmax()) if row.any() else -1
        lost = next((place for place in range(first + 1, len(row)) if not row[place]), -1)
        right_from[views[first] if row.any() else "never"] += 1
        lost_at["never" if not row.any() else "kept" if lost < 0 else views[lost]] += 1
    return {
        "n": len(complete.scores),
        "points": [
            short(
                level(complete, view),
                view=view,
                area=area.get(view, 1.0),
                right_from=right_from[view],
                lost_at=lost_at[view],
            )
            for view in views
        ],
        "never": right_from["never"],
        "kept": lost_at["kept"],
    }


def pointing(measured: Measured) -> Json:
    """What being told where to look changes, by `POINTING`: the view against `full`; only those that were measured."""
    found = {way: find(measured, kind) for way, kind in POINTING.items()}
    return {
        way: counted(contrast(measured, {view: 1.0, "full": -1.0}), view=view)
        for way, view in found.items()
        if view and "full" in measured.views
    }


def prior_view(measured: Measured) -> str | None:
    """The view that says what needs no image: the first of `PRIOR` that was measured."""
    return find(measured, *PRIOR)


def against_prior(measured: Measured) -> Json:
    """`hide`, each of its fills, and `random_crop` against the prior: without the evidence, nothing should be left."""
    prior = prior_view(measured)
    return {
        view: counted(contrast(measured, {view: 1.0, prior: -1.0}), prior=prior)
        for view in measured.views
        if prior and kind_of(view) in ("hide", "random_crop")
    }


def every_view(measured: Measured) -> Json:
    """Every view: its accuracy, its change against `full`, and what it sends, as means over its answers."""
    entries = {}
    for view in measured.views:
        costs = {key: mean_of(measured.per_sample(key, view)) for key in ("image_tokens", "evidence_tokens", "seconds")}
        change = contrast(measured, {view: 1.0, "full": -1.0}) if view != "full" and "full" in measured.views else None
        entries[view] = {
            **counted(level(measured, view)), "change": counted(change) if change else None, **costs,
        }  # fmt: skip
    return entries


def unavailable(measured: Measured) -> dict[str, str]:
    """The views that were asked and have no answer at all, each with the first reason."""
    asked = measured.records.reindex(columns=["view", "reason"])
    first = asked[~asked["view"].astype(str).isin(measured.views)].drop_duplicates("view")
    return {str(view): str(reason or "") for view, reason in zip(first["view"], first["reason"], strict=True)}
