"""What closes the gap, how much of it, and at what price in image tokens and seconds an answer.

    cures(measured)                                                 # the views that a run has
    cures(measured, {"Vision-OPD": records_of_the_trained_model})   # and trained models, in their full view

The share that a cure recovers is (cure - full) / (crop - full) over the same samples, with Fieller's interval. The
price is the ratio of image tokens, and of seconds, to those of the full view of the same samples.

Limits: the price of a zoom leaves out finding the region. Seconds depend on batches and on whatever else the machine
did, so those of another run have no ratio.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from gapbench.analysis.aggregate import PAIR, Json, mean_scores, samples_of
from gapbench.analysis.anatomy.contrasts import Measured, contrast, counted, gather, kind_of, level, short
from gapbench.analysis.anatomy.sentence import cured
from gapbench.analysis.statistics import ratio_of_sums, share_closed

CURES = ("full_up", "boxed", "full+crop")
PRICES = ("image_tokens", "seconds")


def cures(measured: Measured, trained: Mapping[str, pd.DataFrame] | None = None) -> list[Json]:
    """One entry for `full`, `crop`, each cure that was measured, and each of `trained`: a name, and the records of
    another checkpoint on the same benchmark. Empty without `full` and `crop`, or without any cure.
    """
    found = [view for kind in CURES for view in measured.views if kind_of(view) == kind]
    if not set(PAIR) <= set(measured.views) or not (found or trained):
        return []
    entries = [_entry(measured, _name(view, measured), view) for view in (*PAIR, *found)]
    for name, records in (trained or {}).items():
        if "full" in (scores := mean_scores(records)):
            joined = _joined(measured, records, scores["full"])
            entries.append(_entry(joined, name, TRAINED))
    return entries


TRAINED = "trained"
"""The view under which the full view of a trained checkpoint stands beside those of the model."""


def beside_trained(before: pd.DataFrame, after: Mapping[str, pd.DataFrame]) -> Json:
    """By benchmark, `cures` of the run `before` with checkpoints (their records by label), and a `sentence`.

    Empty unless `before` was measured in views that cure.
    """
    found: Json = {}
    for name, records in before.groupby("benchmark", observed=True, sort=True):
        scores = mean_scores(records)
        measured = gather(scores, samples_of(records)["cluster"].reindex(scores.index), records)
        others = {label: frame[frame["benchmark"] == name] for label, frame in after.items()}
        if any(kind_of(view) in CURES for view in measured.views):
            entries = cures(measured, {label: frame for label, frame in others.items() if len(frame)})
            if entries:
                found[str(name)] = {"sentence": cured(entries), "cures": entries}
    return found


def _joined(measured: Measured, records: pd.DataFrame, scores: pd.Series[float]) -> Measured:
    """The run, with the full view of another checkpoint as the view `TRAINED`."""
    ours, other = (
        frame.reindex(columns=["sample", "view", "outcome", *PRICES]) for frame in (measured.records, records)
    )
    other = other[other["view"] == "full"].assign(view=TRAINED)
    together = pd.concat([part.astype({"sample": str, "view": str}) for part in (ours, other)], ignore_index=True)
    both = measured.scores.assign(**{TRAINED: scores.reindex(measured.scores.index)})
    return gather(both, measured.clusters, together)


def _entry(measured: Measured, name: str, view: str) -> Json:
    """Accuracy, share of the gap and price of one cure, over the samples answered in it, in `full` and in `crop`."""
    complete = measured.complete(list(dict.fromkeys([*PAIR, view])))
    full, crop, cure = (complete.scores[v].to_numpy(float) for v in (*PAIR, view))
    keys = complete.clusters.to_numpy()
    entry: Json = {"name": name, "view": "full" if view == TRAINED else view, **counted(level(complete, view))}
    reference = view in PAIR
    entry["gain"] = None if reference else short(contrast(complete, {view: 1.0, "full": -1.0}))
    share = None if reference or not len(full) else share_closed(crop - full, crop - cure, keys)
    entry["share"] = short(share) if share is not None and share.estimate is not None else None
    for price in PRICES:
        ours, base = (complete.per_sample(price, v).to_numpy(float) for v in (view, "full"))
        known = ~(np.isnan(ours) | np.isnan(base))
        entry[price] = float(ours[known].mean()) if known.any() else None
        ratio = ratio_of_sums(ours[known], base[known], keys[known]) if known.any() and base[known].sum() else None
        entry[f"times_{price}"] = short(ratio) if ratio and not (view == TRAINED and price == "seconds") else None
    return entry


def _name(view: str, measured: Measured) -> str:
    """The cure in words, with the parameters of its view."""
    kind, _, parameters = view.partition(":")
    words = {"full": "full image", "crop": "crop", "full_up": "more pixels", "boxed": "a drawn box"}.get(kind, "zoom")
    if words == "zoom":
        evidence = measured.records.get("evidence", ())
        words = "zoom" if "model" in set(evidence) else "oracle zoom"
    return f"{words} ({parameters})" if parameters else words
