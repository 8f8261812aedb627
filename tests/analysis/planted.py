"""Do the intervals of the anatomy hold what was planted? Scripted answers with a known accuracy, as a table.

    python tests/analysis/planted.py             # 1,000 runs, ten minutes; --runs 200 for a first look

An answer is right with the probability p = prior + (top - prior) / (1 + exp(-slope (log tokens - log needed))).
`tokens` is the evidence's size in the view; fewer tokens are `needed` where distractors are gone or where the model is
told where to look. Without the evidence p is the prior. Answers of one sample go together, and so do samples of one
image (a Gaussian copula, which leaves every p as it is).

Truths are integrals over the evidence's sizes; those of the audit, which depend on two views at once, are counted in
two million samples. A number whose interval holds its truth in fewer than 92 % of the runs has an exclamation mark, and
the exit code is then 1.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit, ndtr

from gapbench.analysis.aggregate import mean_scores
from gapbench.analysis.anatomy.dissection import dissect

Array = NDArray[np.float64]

GOAL = 0.92
PRIOR, TOP, SLOPE = 0.22, 0.93, 1.8
NEEDED = 24.0
"""Tokens on the evidence at which the full view is half way."""
SIZES = np.log(np.array([2.0, 160.0]))
TOTAL = 1024.0
"""Image tokens of the full view."""

VIEWS: Mapping[str, tuple[float, float, float, float]] = {
    "full": (1.0, 1.0, 1.0, 0.0),
    "crop": (1e4, 0.4, 0.25, 0.0),
    "mask": (1.0, 0.4, 1.0, 0.0),
    "full_up": (4.0, 1.0, 4.0, 0.0),
    "full_up_mask": (4.0, 0.4, 4.0, 0.0),
    "crop_native": (1.0, 0.35, 0.05, 0.0),
    "boxed": (1.0, 0.7, 1.0, 0.0),
    "hint": (1.0, 0.85, 1.0, 0.0),
    "full+crop": (300.0, 0.9, 1.25, 0.0),
    "crop:factor=2": (300.0, 0.5, 0.25, 0.0),
    "random_crop": (1.0, 1.0, 0.25, 1.0),
    "hide": (1.0, 1.0, 1.0, 0.9),
    "blind": (1.0, 1.0, 0.0, 1.0),
    "trained": (1.0, 0.3, 1.0, 0.0),
}
"""Tokens on the evidence, tokens needed there, and image tokens, all against `full`; share of the prior in p."""


def accuracy(view: str, log_size: Array) -> Array:
    """The probability of a right answer for evidence of these sizes (log tokens)."""
    more, needed, _, unseen = VIEWS[view]
    seen = PRIOR + (TOP - PRIOR) * expit(SLOPE * (log_size + np.log(more) - np.log(needed * NEEDED)))
    return unseen * PRIOR + (1 - unseen) * seen


def answers(images: int, each: int, rng: np.random.Generator) -> tuple[Array, dict[str, Array]]:
    """Log sizes of the evidence, and 0/1 scores by view."""
    n = images * each
    log_size = rng.uniform(*SIZES, n)
    shared = np.sqrt(0.3) * np.repeat(rng.normal(size=images), each) + np.sqrt(0.3) * rng.normal(size=n)
    scores = {}
    for view in VIEWS:
        u = ndtr(shared + np.sqrt(0.4) * rng.normal(size=n))
        scores[view] = (u < accuracy(view, log_size)).astype(float)
    return log_size, scores


def records(seed: int, images: int = 300, each: int = 2) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The records of a run, and those of the trained checkpoint."""
    rng = np.random.default_rng(seed)
    log_size, scores = answers(images, each, rng)
    n = len(log_size)
    names = [f"s{i:05d}" for i in range(n)]
    share = np.exp(log_size) / TOTAL
    frames = {}
    for view, right in scores.items():
        more, _, tokens, unseen = VIEWS[view]
        frames[view] = pd.DataFrame({
            "benchmark": "planted", "sample": names, "view": "full" if view == "trained" else view, "repeat": 0,
            "outcome": np.where(right > 0, "right", "wrong"), "score": right, "evidence": "annotated",
            "cluster": np.repeat([f"i{i}" for i in range(images)], each), "image_hash": "", "category": "",
            "evidence_area": share, "region_area": {"crop": 1.4, "crop:factor=2": 4.0}.get(view, 1.0) * share,
            "sent_pixels": 784.0 * TOTAL, "image_tokens": tokens * TOTAL * rng.uniform(0.9, 1.1, n),
            "evidence_tokens": (0.0 if unseen == 1 else more) * np.exp(log_size),
            "seconds": rng.gamma(4, tokens / 4 + 0.01, n),
        })  # fmt: skip
    trained = frames.pop("trained")
    return pd.concat(frames.values(), ignore_index=True), trained


def anatomy_of(run: pd.DataFrame, trained: pd.DataFrame) -> dict[str, Any]:
    scores = mean_scores(run)
    clusters = run.drop_duplicates("sample").set_index("sample")["cluster"].reindex(scores.index)
    found = dissect(run, scores, pd.DataFrame({"cluster": clusters}), {"training": trained})
    assert found is not None
    return found


def truths() -> dict[str, float]:
    """What each interval must hold, by the path of the interval."""
    grid = np.linspace(*SIZES, 200_001)
    a = {view: float(accuracy(view, grid).mean()) for view in VIEWS}
    gap = a["crop"] - a["full"]
    true = {f"by_view.{view}": value for view, value in a.items() if view != "trained"}
    true |= {
        "gap": gap,
        "parts.gap": gap,
        "parts.resolution": a["full_up"] - a["full"],
        "parts.surroundings": a["mask"] - a["full"],
        "parts.both": a["full_up_mask"] - a["full_up"] - a["mask"] + a["full"],
        "parts.rest": a["crop"] - a["full_up_mask"],
        "parts.main_resolution": (a["full_up"] - a["full"] + a["full_up_mask"] - a["mask"]) / 2,
        "parts.main_surroundings": (a["mask"] - a["full"] + a["full_up_mask"] - a["full_up"]) / 2,
        "pointing.image": a["boxed"] - a["full"],
        "pointing.text": a["hint"] - a["full"],
        "against_prior.hide": a["hide"] - a["blind"],
        "against_prior.random_crop": a["random_crop"] - a["blind"],
        "audit.prior.blind": PRIOR,
        "audit.without_image": PRIOR / a["full"],
        "thresholds.tokens": NEEDED,
        "thresholds.pixels": float(np.sqrt(784.0 * NEEDED)),
        **{f"waterfall.{to}": a[to] - a[start] for start, to in
           (("full", "mask"), ("mask", "crop_native"), ("crop_native", "crop"))},
        **{f"cures.{name}.share": (a[view] - a["full"]) / gap for name, view in CURES.items()},
        **{f"cures.{name}.times_image_tokens": VIEWS[view][2] for name, view in CURES.items()},
    }  # fmt: skip
    _, drawn = answers(1_000_000, 2, np.random.default_rng(99))
    fails, unneeded = drawn["crop"] < drawn["full"], drawn["hide"] > 0
    difference = drawn["crop"] - drawn["full"]
    return true | {
        "audit.sufficiency": float(fails.mean()),
        "audit.necessity": float(unneeded.mean()),
        "audit.gaps.sufficient": float(difference[~fails].mean()),
        "audit.gaps.needed": float(difference[~unneeded].mean()),
        "audit.gaps.both": float(difference[~(fails | unneeded)].mean()),
        "audit.gaps.not_by_prior": float(difference[drawn["blind"] < 1].mean()),
    }


CURES = {"more pixels": "full_up", "a drawn box": "boxed", "oracle zoom": "full+crop", "training": "trained"}


def intervals(found: Mapping[str, Any]) -> Iterator[tuple[str, list[float] | None]]:
    """Every interval of an anatomy with its path, as `truths` names them."""
    yield "gap", found["gap"]["ci"]
    for name, entry in found["parts"].items():
        if isinstance(entry, dict) and "ci" in entry:
            yield f"parts.{name}", entry["ci"]
    for group in ("by_view", "pointing", "against_prior", "thresholds"):
        yield from ((f"{group}.{name}", entry["ci"]) for name, entry in found[group].items())
    yield from ((f"waterfall.{step['to']}", step["ci"]) for step in found["waterfall"]["steps"])
    audit = found["audit"]
    for name in ("sufficiency", "necessity", "without_image"):
        yield f"audit.{name}", audit[name]["ci"]
    for group in ("gaps", "prior"):
        yield from ((f"audit.{group}.{name}", entry["ci"]) for name, entry in audit[group].items())
    for cure in found["cures"]:
        if cure["share"]:
            yield f"cures.{cure['name']}.share", cure["share"]["ci"]
            yield f"cures.{cure['name']}.times_image_tokens", cure["times_image_tokens"]["ci"]


def covered(runs: int, true: Mapping[str, float]) -> Counter[str]:
    """How many of the runs have an interval that holds its truth, by its path."""
    hits: Counter[str] = Counter()
    for seed in range(runs):
        for name, ci in intervals(anatomy_of(*records(seed))):
            if name in true:
                hits[name] += ci is not None and ci[0] - 1e-12 <= true[name] <= ci[1] + 1e-12
    return hits


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    runs = parser.parse_args().runs
    true = truths()
    hits = covered(runs, true)
    print(f"{runs} seeded runs of 600 samples about 300 images; share of intervals that hold the truth\n")
    print(f"{'interval':45} {'truth':>9} {'covered':>8}")
    low = [name for name in true if hits[name] < GOAL * runs]
    for name, value in true.items():
        print(f"{name:45} {value:9.4f} {hits[name] / runs:8.3f}{' !' if name in low else ''}")
    print(f"\nworst: {min(hits[name] for name in true) / runs:.3f}; goal {GOAL}")
    return bool(low)


if __name__ == "__main__":
    sys.exit(main())
