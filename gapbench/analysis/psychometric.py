"""Accuracy against the size of the evidence: a fitted logistic curve with a band, and what it stands on.

    sizes = sized_samples(records)                       # one row per sample: area, tokens, full, crop, cluster
    curve = fitted(sizes["area"], sizes["full"], sizes["cluster"])
    curve.estimate                                       # at curve.sizes, between curve.low and curve.high

logit(accuracy) = a + b log10(size), fitted by maximum likelihood; scores between 0 and 1 count as shares
(quasi-binomial). The band is pointwise, 95%, from the cluster-robust (sandwich) covariance with Student's t for
clusters - 2 degrees of freedom, taken on the logit scale (Liang and Zeger, Biometrika 73, 1986; such curves:
Wichmann and Hill, Perception & Psychophysics 63, 2001).

Limits: exploratory. A logistic curve from 0 to 1 knows no guessing rate: with multiple choice its lower end is that of
the samples there are. No curve is fitted through fewer than `FEW` right or wrong answers, or over equal sizes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit
from scipy.stats import t

from gapbench.analysis.aggregate import PAIR, area_bins, mean_scores
from gapbench.analysis.statistics import mean_interval, merge_clusters, paired_gap

FEW = 10
"""Least number of right, and of wrong, answers, and of clusters."""
GRID = 25
"""Sizes at which a curve is given."""


@dataclass(frozen=True)
class FittedCurve:
    """Estimates of the accuracy (0..1) with pointwise bands at `sizes`, and the change of log-odds per tenfold size."""

    sizes: tuple[float, ...]
    estimate: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    slope: float
    slope_se: float


def sized_samples(records: pd.DataFrame) -> pd.DataFrame:
    """One row per sample of one benchmark that has evidence and a score in full and crop.

    Columns: `area` (share of the image, 0..1), `tokens` (image tokens of the evidence in the full view: its area times
    the view's image tokens; NaN where records lack them), `full`, `crop` (mean scores) and `cluster`.
    """
    scores = mean_scores(records)
    if not set(PAIR) <= set(scores):
        return pd.DataFrame(columns=["area", "tokens", *PAIR, "cluster"])
    full = records[records["view"] == "full"].drop_duplicates("sample").set_index("sample")
    table = (
        scores[list(PAIR)].dropna().join(full[["evidence_area", "image_tokens", "cluster", "image_hash"]], how="inner")
    )
    table = table[pd.to_numeric(table["evidence_area"]) > 0].sort_index()
    area, tokens = (pd.to_numeric(table[column]) for column in ("evidence_area", "image_tokens"))
    texts = (list(table[column].fillna("").astype(str)) for column in ("cluster", "image_hash"))
    return table[list(PAIR)].assign(area=area, tokens=area * tokens, cluster=merge_clusters(*texts))


def fitted(sizes: ArrayLike, scores: ArrayLike, clusters: ArrayLike) -> FittedCurve | None:
    """The curve of accuracy over sizes (> 0), from scores in 0..1; None where the data do not carry one (`FEW`)."""
    x, y = np.log10(np.asarray(sizes, float)), np.asarray(scores, float)
    _, group = np.unique(np.asarray(clusters), return_inverse=True)
    groups = int(group.max(initial=-1)) + 1
    if groups < FEW or min(y.sum(), (1 - y).sum()) < FEW or np.ptp(x) < 1e-3:
        return None
    centre, spread = x.mean(), x.std()
    design = np.column_stack([np.ones_like(x), (x - centre) / spread])
    beta = np.zeros(2)
    for _ in range(50):
        p = expit(design @ beta)
        information = (design * (p * (1 - p))[:, None]).T @ design
        if np.abs(beta).max() > 20:  # size separates right from wrong: no finite slope
            return None
        step = np.linalg.solve(information, design.T @ (y - p))
        beta += np.clip(step, -2, 2)
        if np.abs(step).max() < 1e-9:
            break
    else:
        return None
    p = expit(design @ beta)
    inverse = np.linalg.inv((design * (p * (1 - p))[:, None]).T @ design)
    sums = np.zeros((groups, 2))
    np.add.at(sums, group, design * (y - p)[:, None])
    covariance = inverse @ (sums.T @ sums) @ inverse * groups / (groups - 1)
    grid = np.linspace(x.min(), x.max(), GRID)
    at = np.column_stack([np.ones(GRID), (grid - centre) / spread])
    half = t.ppf(0.975, groups - 2) * np.sqrt(np.einsum("ij,jk,ik->i", at, covariance, at))
    line = at @ beta
    low, middle, high = (tuple(expit(values).tolist()) for values in (line - half, line, line + half))
    slope, error = beta[1] / spread, float(np.sqrt(covariance[1, 1]) / spread)
    return FittedCurve(tuple((10.0**grid).tolist()), middle, low, high, float(slope), error)


def binned(table: pd.DataFrame, size: str) -> list[dict[str, Any]]:
    """Six bins of `sized_samples` by `area` or `tokens`: from, to, n, and full, crop and gap with their intervals."""
    bins = []
    for low, high, labels in area_bins(table[size]):
        rows = table.loc[labels]
        clusters: NDArray[np.int64] = rows["cluster"].to_numpy()
        views = {view: mean_interval(rows[view], clusters).json("estimate", "ci") for view in PAIR}
        gap = paired_gap(rows["full"], rows["crop"], clusters, flips=1).json("estimate", "ci")
        bins.append({"from": low, "to": high, "n": len(rows), **views, "gap": gap})
    return bins


def read_instead(records: pd.DataFrame, view: str = "full", most: int = 3) -> list[dict[str, Any]]:
    """What was read in place of each right answer, the answer with most errors first.

    Entries: `answer` (the first accepted one; of a letter, its option), `n` answers in this view, `wrong` of them, and
    `instead`, the `most` frequent wrong answers as (text, count). Answers without any error are left out.
    """
    shown = records[(records["view"] == view) & (records["outcome"].isin(["right", "wrong", "unparsed"]))]
    entries: dict[str, tuple[int, Counter[str]]] = {}
    for record in shown[["answers", "options", "parsed", "outcome"]].to_dict("records"):
        answers, options = record["answers"], record["options"]
        answer = _in_words(answers[0] if len(answers) else "", options)
        n, wrong = entries.setdefault(answer, (0, Counter()))
        entries[answer] = (n + 1, wrong)
        if record["outcome"] != "right":
            wrong["nothing read" if record["outcome"] == "unparsed" else _in_words(record["parsed"], options)] += 1
    found = [
        {"answer": answer, "n": n, "wrong": wrong.total(),
         "instead": sorted(wrong.items(), key=lambda item: (-item[1], item[0]))[:most]}
        for answer, (n, wrong) in entries.items() if wrong
    ]  # fmt: skip
    return sorted(found, key=lambda entry: (-entry["wrong"], entry["answer"]))


def _in_words(answer: object, options: Sequence[str] | None) -> str:
    """The option of a letter, or the answer itself."""
    text = str(answer or "").strip()
    place = ord(text) - ord("A") if len(text) == 1 else -1
    return str(options[place]) if options is not None and 0 <= place < len(options) else text.casefold()
