"""The anatomy of one benchmark's gap, as summaries hold it: parts, audit, cures, thresholds, and a sentence.

    dissect(records, scores, samples)          # None unless views beyond full and crop were measured

Every part is there only if its views were measured. `reports/SUMMARY_SCHEMA.md` describes every key.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from gapbench.analysis.aggregate import PAIR, Json
from gapbench.analysis.anatomy import factorial
from gapbench.analysis.anatomy.audit import audit, locator
from gapbench.analysis.anatomy.contrasts import Measured, contrast, counted, gather
from gapbench.analysis.anatomy.cures import cures
from gapbench.analysis.anatomy.sentence import sentence
from gapbench.analysis.psychometric import threshold


def dissect(
    records: pd.DataFrame,
    scores: pd.DataFrame,
    samples: pd.DataFrame,
    trained: Mapping[str, pd.DataFrame] | None = None,
) -> Json | None:
    """The anatomy of one benchmark; None if no view beyond `full` and `crop` was answered, and no locator is judged.

    `records` has a row per answer, `scores` a row per sample and a column per view, `samples` the `cluster` of each
    sample. `trained` maps names to the records of other checkpoints on this benchmark, which then stand among the
    cures.
    """
    measured = gather(scores, samples["cluster"].reindex(scores.index), records)
    found_by_model = locator(measured)
    if not (set(measured.views) - set(PAIR) or trained or found_by_model) or "full" not in measured.views:
        return None
    paired = set(PAIR) <= set(measured.views)
    found: Json = {
        "gap": counted(contrast(measured, {"crop": 1.0, "full": -1.0})) if paired else None,
        "by_view": factorial.every_view(measured),
        "unavailable": factorial.unavailable(measured),
        "parts": factorial.parts(measured),
        "fills": factorial.fills(measured),
        "waterfall": factorial.waterfall(measured),
        "doses": factorial.doses(measured),
        "pointing": factorial.pointing(measured),
        "against_prior": factorial.against_prior(measured),
        "audit": audit(measured),
        "cures": cures(measured, trained),
        "thresholds": thresholds(measured),
    }
    return {"sentence": sentence(found), **found}


def thresholds(measured: Measured) -> Json:
    """The threshold of the evidence's size: `pixels` (the root of its area, as sent in full) and `tokens`, if defined.

    The floor is the accuracy without the image if `blind` or `blank` was measured, else one over the number of options.
    """
    if not set(PAIR) <= set(measured.views):
        return {}
    prior = factorial.prior_view(measured)
    some = measured.complete([*PAIR, *([prior] if prior else [])])
    share = some.per_sample("evidence_area", "full")
    tokens = some.per_sample("evidence_tokens", "full")
    tokens = tokens.fillna(share * some.per_sample("image_tokens", "full"))
    pixels: pd.Series[float] = (share * some.per_sample("sent_pixels", "full")) ** 0.5
    result = {}
    for unit, size in (("pixels", pixels), ("tokens", tokens)):
        sized = some.among(size > 0)
        floor = sized.scores[prior] if prior else _guesses(sized)
        found = threshold(size[size > 0], sized.scores["full"], sized.scores["crop"], floor, sized.clusters)
        if found:
            result[unit] = found
    return result


def _guesses(measured: Measured) -> float:
    """The share of right guesses: one over the number of options, mean over samples; 0 without options."""
    if "options" not in measured.records:
        return 0.0
    options = measured.records.drop_duplicates("sample").set_index("sample")["options"].reindex(measured.scores.index)
    shares = [1 / len(some) if isinstance(some, list | tuple) and len(some) else 0.0 for some in options]
    return float(np.mean(shares)) if shares else 0.0
