"""How well located boxes agree with evidence boxes that people drew: recall and overlap, against chance.

    measures = agreement(located, evidence, size, key="1")      # one sample
    summary = summarise([measures, ...], clusters)

Chance is the same box at a random place in the image, so that large boxes bring no advantage. Several boxes move
together. Intervals are clustered by image, as everywhere (`gapbench.analysis.statistics`).

Limits: samples without a located box are counted apart, not as misses. If evidence tends to lie in the middle of
images, a locator that always points there beats this chance.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gapbench.analysis.statistics import mean_difference, mean_interval
from gapbench.types import Box
from gapbench.views.boxes import disjoint

DRAWS = 200
"""Random places per sample: the noise of their mean is far below the noise between samples."""

MEASURES = {
    "recall": "evidence inside the located box",
    "whole": "samples with all of it inside",
    "half": "samples with half of it inside",
    "iou": "intersection over union",
}
WHOLE = 1 - 1e-6
"""Recall from which a located box counts as holding all evidence, whatever the rounding of floats."""


def agreement(located: Sequence[Box], evidence: Sequence[Box], size: tuple[int, int], key: str) -> dict[str, float]:
    """MEASURES by name, their values by chance as `chance_` + name, and `area`, the located share of the image.

    Boxes are xyxy pixels inside an image of `size` (width, height); `key` seeds the random places.
    """
    parts, evidence_parts = (np.array(disjoint(boxes)) for boxes in (located, evidence))
    start, end = parts[:, :2].min(0), parts[:, 2:].max(0)
    seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")
    corners = np.random.default_rng(seed).random((DRAWS, 2)) * (np.array(size) - (end - start))
    moves = np.concatenate([np.zeros((1, 2)), corners - start])  # the first is no move: the located place
    area, evidence_area = (float(np.prod(b[:, 2:] - b[:, :2], axis=1).sum()) for b in (parts, evidence_parts))
    moved = parts[None, :, None] + np.tile(moves, 2)[:, None, None]  # place, located box, evidence box, coordinate
    low, high = np.maximum(moved[..., :2], evidence_parts[:, :2]), np.minimum(moved[..., 2:], evidence_parts[:, 2:])
    shared = np.clip(high - low, 0, None).prod(-1).sum((1, 2))
    recall = shared / evidence_area
    measures = {
        "recall": recall,
        "whole": (recall >= WHOLE).astype(float),
        "half": (recall >= 0.5 * WHOLE).astype(float),
        "iou": shared / (area + evidence_area - shared),
    }
    measured = {name: float(min(1.0, values[0])) for name, values in measures.items()}
    chance = {f"chance_{name}": float(min(1.0, values[1:].mean())) for name, values in measures.items()}
    return {**measured, **chance, "area": area / (size[0] * size[1])}


def summarise(rows: Sequence[Mapping[str, float]], clusters: Sequence[int]) -> dict[str, Any]:
    """Means over samples with intervals: `located`, `chance` and the paired `above_chance` of every measure."""
    columns = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    keys = np.array(clusters)
    summary: dict[str, Any] = {"n": len(rows), "clusters": len(set(clusters))}
    for name in MEASURES:
        located, chance = columns[name], columns[f"chance_{name}"]
        summary[name] = {
            "located": mean_interval(located, keys).json(),
            "chance": float(chance.mean()),
            "above_chance": mean_difference(located - chance, keys).json(),
        }
    return summary | {"area": mean_interval(columns["area"], keys).json()}
