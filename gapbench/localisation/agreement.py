"""How good a locator is, where people have drawn the evidence: recall and overlap, against chance.

    measures = agreement(located, evidence, size, key="1")      # one question
    summary = summarise([measures, ...], clusters)

Chance is the same box (or boxes, kept together) moved to a random place within the image, so that a locator earns
nothing by large boxes. Intervals are clustered by image, as everywhere (`gapbench.analysis.statistics`).

Limits: questions for which the locator found nothing are counted apart, not as misses. Where evidence tends to lie in
the middle of images, a locator that always points there beats this chance.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gapbench.analysis.statistics import mean_difference, mean_interval
from gapbench.types import Box
from gapbench.views.boxes import disjoint

DRAWS = 200
"""Random places per question; the noise of their mean is far below that of the questions."""

MEASURES = {
    "recall": "evidence inside the located box",
    "whole": "questions with all of it inside",
    "half": "questions with half of it inside",
    "iou": "intersection over union",
}
WHOLE = 1 - 1e-6


def agreement(located: Sequence[Box], evidence: Sequence[Box], size: tuple[int, int], key: str) -> dict[str, float]:
    """All of MEASURES, the same with `chance_` before their names, and `area`, the located share of the image.

    Boxes are xyxy pixels inside an image of `size` (width, height); `key` seeds the random places.
    """
    ours, theirs = (np.array(disjoint(boxes)) for boxes in (located, evidence))
    low, high = ours[:, :2].min(0), ours[:, 2:].max(0)
    seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")
    corners = np.random.default_rng(seed).random((DRAWS, 2)) * (np.array(size) - (high - low))
    moves = np.concatenate([np.zeros((1, 2)), corners - low])
    own, whole = _area(ours), _area(theirs)
    shared = _overlap(ours, theirs, moves)
    recall = shared / whole
    found = {
        "recall": recall,
        "whole": (recall >= WHOLE).astype(float),
        "half": (recall >= 0.5 * WHOLE).astype(float),
        "iou": shared / (own + whole - shared),
    }
    measured = {name: float(min(1.0, values[0])) for name, values in found.items()}
    chance = {f"chance_{name}": float(min(1.0, values[1:].mean())) for name, values in found.items()}
    return {**measured, **chance, "area": float(own) / (size[0] * size[1])}


def summarise(rows: Sequence[Mapping[str, float]], clusters: Sequence[int]) -> dict[str, Any]:
    """Means over questions with intervals: for every measure `located`, `chance` and, paired, `above_chance`."""
    columns = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    keys = np.array(clusters)
    summary: dict[str, Any] = {"n": len(rows), "clusters": len(set(clusters))}
    for name in MEASURES:
        ours, chance = columns[name], columns[f"chance_{name}"]
        summary[name] = {
            "located": mean_interval(ours, keys).json(),
            "chance": float(chance.mean()),
            "above_chance": mean_difference(ours - chance, keys).json(),
        }
    return summary | {"area": mean_interval(columns["area"], keys).json()}


def _area(boxes: NDArray[np.float64]) -> float:
    return float(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1).sum())


def _overlap(ours: NDArray[np.float64], theirs: NDArray[np.float64], moves: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shared area of two sets of disjoint boxes, the first moved by each of `moves` (n, 2); shape (n,)."""
    low = np.maximum(ours[None, :, None, :2] + moves[:, None, None], theirs[None, None, :, :2])
    high = np.minimum(ours[None, :, None, 2:] + moves[:, None, None], theirs[None, None, :, 2:])
    shared: NDArray[np.float64] = np.clip(high - low, 0, None).prod(-1).sum((1, 2))
    return shared
