"""Accuracy against the size of the evidence: a fitted logistic curve with a band, and the size that is half way.

    sizes = sized_samples(records)                       # one row per sample: area, tokens, full, crop, cluster
    curve = fitted(sizes["area"], sizes["full"], sizes["cluster"])
    curve.estimate                                       # at curve.sizes, between curve.low and curve.high
    threshold(sizes["area"], sizes["full"], sizes["crop"], 0.25, sizes["cluster"])["size"]

accuracy = g + (c - g) / (1 + exp(-(a + b log size))), fitted by maximum likelihood; scores between 0 and 1 count as
shares (quasi-binomial). For the curve that is drawn, g is 0 and c is 1. For the threshold, g is the accuracy of
guessing and c that in the crop (Wichmann and Hill, Perception & Psychophysics 63, 2001), so at exp(-a / b) full is half
way between them: one number that compares models.

The covariance is the cluster-robust sandwich of all estimating equations together (Liang and Zeger, Biometrika 73,
1986), so that the uncertainty of g and c counts, with Student's t for clusters - 2 degrees of freedom. The band of a
curve is pointwise, on the logit scale; the interval of a threshold is Fieller's for -a / b (Fieller 1954).

Limits: exploratory. A curve from 0 to 1 knows no guessing rate: with multiple choice its lower end is that of the
samples there are. No curve is fitted through fewer than `FEW` right or wrong answers, or over equal sizes. The c of a
threshold is the same for every size, and there is none unless accuracy is shown to grow with size.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import optimize
from scipy.special import expit
from scipy.stats import t

from gapbench.analysis.aggregate import PAIR, Json, area_bins, mean_scores
from gapbench.analysis.statistics import FEW_CLUSTERS, LEVEL, Floats, mean_interval, merge_clusters, paired_gap

FEW = 10
"""Least number of right, and of wrong, answers, and of clusters."""
GRID = 25
"""Sizes at which a curve is given."""


@dataclass(frozen=True)
class FittedCurve:
    """Estimates of the accuracy (0..1) with pointwise bands at `sizes`."""

    sizes: tuple[float, ...]
    estimate: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


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
    centre, spread = float(x.mean()), float(x.std())
    z = (x - centre) / spread
    beta = _fit(z, y, 0.0, 1.0)
    if beta is None:
        return None
    covariance = _covariance(np.array([0.0, 1.0, *beta]), z, (y, np.zeros_like(y), np.ones_like(y)), group)[2:, 2:]
    grid = np.linspace(x.min(), x.max(), GRID)
    at = np.column_stack([np.ones(GRID), (grid - centre) / spread])
    variance = np.einsum("ij,jk,ik->i", at, covariance, at)
    if variance.min() <= 0:  # the clusters hold nothing that would tell how sure it is
        return None
    half = t.ppf(0.975, groups - 2) * np.sqrt(variance)
    line = at @ np.array(beta)
    low, middle, high = (tuple(expit(values).tolist()) for values in (line - half, line, line + half))
    return FittedCurve(tuple((10.0**grid).tolist()), middle, low, high)


def threshold(
    sizes: ArrayLike, full: ArrayLike, crop: ArrayLike, floor: ArrayLike | float, clusters: ArrayLike
) -> Json | None:
    """`size` with its `ci`, and the curve's `floor`, `ceiling`, and `slope` per tenfold size; None if it is undefined.

    All columns have shape (n,): sizes above zero, scores in 0..1. `floor` holds the scores without the image, or is the
    share of right guesses. Ends of the interval that lie more than a thousandfold outside the sizes are None.
    """
    x, y, top = (np.asarray(values, float) for values in (np.log(np.asarray(sizes, float)), full, crop))
    low = np.broadcast_to(np.asarray(floor, float), y.shape)
    _, group = np.unique(np.asarray(clusters), return_inverse=True)
    count = int(group.max(initial=-1)) + 1
    if count < FEW_CLUSTERS:
        return None
    g, c = float(low.mean()), float(top.mean())
    if c - g < 0.05 or np.ptp(x) < 1e-3:
        return None
    centre, spread = float(x.mean()), float(x.std())
    z = (x - centre) / spread
    line = _fit(z, y, g, c)
    if line is None:
        return None
    estimate = np.array([g, c, *line])
    covariance = _covariance(estimate, z, (y, low, top), group)
    quantile = float(t.ppf((1 + LEVEL) / 2, count - 2))
    (a, b), (aa, ab, bb) = line, (covariance[2, 2], covariance[2, 3], covariance[3, 3])
    square = b * b - quantile**2 * bb
    if b <= 0 or square <= 0:  # a size at which nothing changes is no threshold
        return None
    half, rest = a * b - quantile**2 * ab, a * a - quantile**2 * aa
    root = float(np.sqrt(max(half * half - square * rest, 0.0)))
    ends = [centre + spread * (-half + side * root) / square for side in (-1, 1)]
    far = float(np.log(1000))
    inside = [float(np.exp(end)) if x.min() - far < end < x.max() + far else None for end in ends]
    middle = centre - spread * a / b
    if not x.min() - far < middle < x.max() + far:
        return None
    return {
        "size": float(np.exp(middle)), "ci": inside if None not in inside else None, "floor": g, "ceiling": c,
        "slope": b / spread * float(np.log(10)), "n": len(y), "clusters": count,
    }  # fmt: skip


def _fit(z: Floats, y: Floats, g: float, c: float) -> tuple[float, float] | None:
    """Intercept and slope by maximum likelihood; None if size separates right from wrong: no finite slope."""

    def loss(line: Floats) -> tuple[float, Floats]:
        e = expit(line[0] + line[1] * z)
        p = np.clip(g + (c - g) * e, 1e-9, 1 - 1e-9)
        pull = (y - p) * (c - g) * e * (1 - e) / (p * (1 - p))
        value = -(y * np.log(p) + (1 - y) * np.log(1 - p)).mean()
        return float(value), -np.array([pull.mean(), (pull * z).mean()])

    found = optimize.minimize(loss, np.array([0.0, 1.0]), jac=True, method="BFGS", options={"gtol": 1e-8})
    a, b = (float(value) for value in found.x)
    return (a, b) if np.isfinite([a, b]).all() and max(abs(a), abs(b)) < 20 else None


def _covariance(at: Floats, z: Floats, scores: tuple[Floats, Floats, Floats], group: NDArray[np.int64]) -> Floats:
    """The clustered sandwich covariance of (g, c, a, b), shape (4, 4); `scores` of full, guessing, crop."""
    y, low, top = scores

    def equations(theta: Floats) -> Floats:
        g, c, a, b = theta
        e = expit(a + b * z)
        p = np.clip(g + (c - g) * e, 1e-9, 1 - 1e-9)
        pull = (y - p) * (c - g) * e * (1 - e) / (p * (1 - p))
        return np.column_stack([low - g, top - c, pull, pull * z])

    steps = 1e-5 * np.eye(4)
    slopes = np.column_stack(
        [(equations(at + step).sum(0) - equations(at - step).sum(0)) / 2e-5 for step in steps]
    )  # column j: the derivative of the sums by parameter j
    count = int(group.max()) + 1
    sums = np.zeros((count, 4))
    np.add.at(sums, group, equations(at))
    inverse = np.linalg.pinv(slopes)
    covariance: Floats = inverse @ (sums.T @ sums) @ inverse.T * count / (count - 1)
    return covariance


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
