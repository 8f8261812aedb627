"""Can the evidence be trusted: is it enough, is it needed, does the benchmark need its images, did a locator find it?

    audit(measured)["sufficiency"]["share"]

Sufficiency: a sample fails if the crop, which shows the evidence alone, scores below the full image. Necessity: it
fails if it is right although its evidence is hidden. Such a sample is not at fault in every case, since a guess can be
right: the prior (`blind`) says how many guesses are. The gap is given with and without those samples.

Limits: leaving out samples by their answers selects. The gaps without them describe other populations, and are no
correction of the gap.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from gapbench.analysis.aggregate import PAIR, RIGHT, Json
from gapbench.analysis.anatomy.contrasts import Measured, contrast, counted, find, level, short
from gapbench.analysis.anatomy.factorial import PRIOR, prior_view
from gapbench.analysis.statistics import mean_interval, share_closed
from gapbench.views.boxes import disjoint

CEILING = 0.9
"""An accuracy in full whose interval lies above this leaves a gap hardly any room."""
FOUND = 0.5
"""Share of the annotated evidence inside the located boxes from which it counts as found."""
LISTED = 24
"""Failing samples that are named."""


def audit(measured: Measured) -> Json | None:
    """Every check whose views were measured; None if there is none beyond `full` and `crop`."""
    hide, prior = find(measured, "hide"), prior_view(measured)
    located = locator(measured)
    if not (hide or prior or located):
        return None
    scores = measured.scores
    insufficient = scores["crop"] < scores["full"] if set(PAIR) <= set(scores) else pd.Series(False, index=scores.index)
    unneeded = scores[hide] >= RIGHT if hide else pd.Series(False, index=scores.index)
    return {
        "sufficiency": _check(measured, insufficient, PAIR),
        "necessity": _check(measured, unneeded, [hide]) if hide else None,
        "gaps": _gaps(measured, insufficient, unneeded, hide, prior),
        "prior": {view: counted(level(measured, view)) for view in PRIOR if view in measured.views},
        "without_image": _share_without_image(measured, prior),
        "near_ceiling": _near_ceiling(measured),
        "locator": located,
    }


def _check(measured: Measured, fails: pd.Series[bool], views: Sequence[str]) -> Json | None:
    """The share of samples that fail, of those answered in all of `views`, and the names of the first."""
    if not set(views) <= set(measured.views):
        return None
    complete = measured.complete(views)
    failing = fails[complete.scores.index]
    share = mean_interval(failing.to_numpy(float), complete.clusters.to_numpy())
    names = [str(name) for name in failing.index[failing]]
    return counted(share, views=list(views), failing=len(names), samples=names[:LISTED])


def _gaps(
    measured: Measured, insufficient: pd.Series[bool], unneeded: pd.Series[bool], hide: str | None, prior: str | None
) -> Json:
    """The gap over all samples that the checks cover, and without those that fail one."""
    if not set(PAIR) <= set(measured.views):
        return {}
    complete = measured.complete([*PAIR, *([hide] if hide else []), *([prior] if prior else [])])
    rows = complete.scores.index
    kept = {"all": pd.Series(True, index=rows), "sufficient": ~insufficient[rows]}
    kept |= {"needed": ~unneeded[rows], "both": ~(insufficient | unneeded)[rows]} if hide else {}
    kept |= {"not_by_prior": complete.scores[prior] < RIGHT} if prior else {}
    return {name: counted(contrast(complete.among(some), {"crop": 1.0, "full": -1.0})) for name, some in kept.items()}


def _share_without_image(measured: Measured, prior: str | None) -> Json | None:
    """The prior's accuracy over the full image's; None unless the latter is clearly above zero."""
    if prior is None or "full" not in measured.views:
        return None
    complete = measured.complete(["full", prior])
    full, kept = (complete.scores[view].to_numpy(float) for view in ("full", prior))
    share = share_closed(full, full - kept, complete.clusters.to_numpy())
    return short(share) if share.estimate is not None else None


def _near_ceiling(measured: Measured) -> bool | None:
    """Whether the full view is so accurate that a gap has hardly any room."""
    ci = level(measured, "full").ci if "full" in measured.views else None
    return None if ci is None else ci[0] > CEILING


def locator(measured: Measured) -> Json | None:
    """Right and wrong answers in the crop by whether a model's boxes hold the annotated evidence.

    None unless records have both: `boxes` that a model made, and `annotated_boxes`.
    """
    records = measured.records
    if "annotated_boxes" not in records or "crop" not in measured.views:
        return None
    first = records[records["view"] == "crop"].drop_duplicates("sample").set_index("sample")
    first = first[(first["evidence"] == "model") & first["annotated_boxes"].map(_any) & first["boxes"].map(_any)]
    if first.empty:
        return None
    recall = first[["boxes", "annotated_boxes"]].apply(lambda row: _recall(*row), axis=1)
    found = pd.Series(recall >= FOUND, index=first.index).reindex(measured.scores.index)
    return {
        "found_at": FOUND,
        **{
            name: counted(level(some, "crop"), right=int((some.scores["crop"] >= RIGHT).sum()))
            for name, some in (
                ("found", measured.among(found.eq(True)).complete(["crop"])),
                ("not_found", measured.among(found.eq(False)).complete(["crop"])),
            )
        },
    }


def _any(boxes: Any) -> bool:
    return boxes is not None and not isinstance(boxes, float) and len(boxes) > 0


def _recall(located: Sequence[Any], evidence: Sequence[Any]) -> float:
    """The share of the evidence's area inside the located boxes, 0..1."""
    a, b = (np.array(disjoint([tuple(box) for box in boxes])) for boxes in (located, evidence))
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    area = float(np.prod(b[:, 2:] - b[:, :2], axis=1).sum())
    return float(np.clip(high - low, 0, None).prod(-1).sum()) / area if area else 0.0
