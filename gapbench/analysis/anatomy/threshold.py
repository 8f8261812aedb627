"""The size of evidence at which the full view is half way between guessing and the crop: one number for a model.

    threshold(sizes, full, crop, floor, clusters)["size"]          # in the unit of `sizes`

Psychometric curve: accuracy in full = g + (c - g) / (1 + exp(-(a + b log size))), with c the accuracy in the crop and g
that of guessing (Wichmann and Hill, Perception & Psychophysics 63, 2001). g and c are means; a and b follow by maximum
likelihood; the size is exp(-a / b). The covariance is that of all four estimating equations together, clustered (Liang
and Zeger, Biometrika 73, 1986), so that the uncertainty of g and c counts. The interval is Fieller's for -a / b
(Fieller 1954).

Limits: c is the same for every size. No size is given unless accuracy is shown to grow with it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats
from scipy.special import expit

from gapbench.analysis.aggregate import Json
from gapbench.analysis.statistics import LEVEL, Floats

FEW = 20
"""Samples and clusters below which no curve is fitted."""


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
    g, c, count = (
        float(low.mean()) if len(y) else 0.0,
        float(top.mean()) if len(y) else 0.0,
        int(group.max(initial=-1)) + 1,
    )
    if count < FEW or c - g < 0.05 or np.ptp(x) < 1e-3:
        return None
    centre, spread = float(x.mean()), float(x.std())
    z = (x - centre) / spread
    line = _fit(z, y, g, c)
    if line is None:
        return None
    estimate = np.array([g, c, *line])
    covariance = _covariance(estimate, z, y, low, top, group)
    t = float(stats.t.ppf((1 + LEVEL) / 2, count - 2))
    (a, b), (aa, ab, bb) = line, (covariance[2, 2], covariance[2, 3], covariance[3, 3])
    square = b * b - t * t * bb
    if b <= 0 or square <= 0:  # a size at which nothing changes is no threshold
        return None
    half, rest = a * b - t * t * ab, a * a - t * t * aa
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


def curve(sizes: ArrayLike, fit: Json) -> Floats:
    """The fitted accuracy at `sizes`, from what `threshold` returned."""
    x = np.log(np.asarray(sizes, float))
    line = fit["slope"] / float(np.log(10)) * (x - float(np.log(fit["size"])))
    accuracy: Floats = fit["floor"] + (fit["ceiling"] - fit["floor"]) * expit(line)
    return accuracy


def _fit(z: Floats, y: Floats, g: float, c: float) -> tuple[float, float] | None:
    """Intercept and slope by maximum likelihood; None if size separates right from wrong."""

    def loss(line: Floats) -> tuple[float, Floats]:
        e = expit(line[0] + line[1] * z)
        p = np.clip(g + (c - g) * e, 1e-9, 1 - 1e-9)
        pull = (y - p) * (c - g) * e * (1 - e) / (p * (1 - p))
        value = -(y * np.log(p) + (1 - y) * np.log(1 - p)).mean()
        return float(value), -np.array([pull.mean(), (pull * z).mean()])

    found = optimize.minimize(loss, np.array([0.0, 1.0]), jac=True, method="BFGS", options={"gtol": 1e-8})
    a, b = (float(value) for value in found.x)
    return (a, b) if np.isfinite([a, b]).all() and max(abs(a), abs(b)) < 30 else None


def _covariance(at: Floats, z: Floats, y: Floats, low: Floats, top: Floats, group: NDArray[np.int64]) -> Floats:
    """The clustered sandwich covariance of (g, c, a, b), shape (4, 4)."""

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
