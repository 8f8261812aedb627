"""Curves of accuracy over the size of evidence: the fit is the textbook's, its band covers, few data have none."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from scipy.special import expit

from gapbench.analysis.psychometric import binned, fitted, read_instead, sized_samples, threshold


def drawn(seed: int, n: int = 300, slope: float = 2.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sizes from 1e-4 to 1e-1, scores with log-odds 1 + slope (log10 size + 2), pairs of samples sharing an image."""
    chance = np.random.default_rng(seed)
    clusters = np.arange(n) // 2
    x = chance.uniform(-4, -1, n)
    shared = chance.normal(0, 0.5, n)[clusters]
    return 10**x, (chance.uniform(size=n) < expit(1 + slope * (x + 2) + shared)).astype(float), clusters


def test_the_estimate_is_that_of_maximum_likelihood() -> None:
    sizes, scores, clusters = drawn(0)
    curve = fitted(sizes, scores, clusters)
    assert curve is not None
    x = np.log10(sizes)

    def loss(beta: np.ndarray) -> float:
        p = expit(beta[0] + beta[1] * x)
        return float(-(scores * np.log(p) + (1 - scores) * np.log(1 - p)).sum())

    best = minimize(loss, [0.0, 0.0], tol=1e-12).x
    assert curve.estimate[3] == pytest.approx(expit(best[0] + best[1] * np.log10(curve.sizes[3])), abs=1e-4)
    assert all(low < middle < high for low, middle, high in zip(curve.low, curve.estimate, curve.high, strict=True))


def test_unit_and_order_do_not_matter() -> None:
    sizes, scores, clusters = drawn(1)
    order = np.random.default_rng(0).permutation(len(sizes))
    one, other = fitted(sizes, scores, clusters), fitted(1000 * sizes[order], scores[order], clusters[order])
    assert one is not None
    assert other is not None
    assert other.estimate == pytest.approx(one.estimate)
    assert (other.low, other.high) == (pytest.approx(one.low), pytest.approx(one.high))


def test_too_little_data_have_no_curve() -> None:
    sizes, scores, clusters = drawn(2)
    assert fitted(sizes, np.ones_like(scores), clusters) is None, "nothing is wrong"
    assert fitted(np.full_like(sizes, 0.1), scores, clusters) is None, "one size"
    assert fitted(sizes, scores, np.zeros_like(clusters)) is None, "one cluster"
    assert fitted(sizes, (sizes > 0.003).astype(float), clusters) is None, "separated"
    assert fitted([], [], []) is None


@pytest.mark.slow
def test_the_band_covers_the_truth_where_samples_share_images() -> None:
    """The truth is the curve fitted to very many samples, because sharing an image flattens it."""
    truth = fitted(*drawn(10_000, n=200_000))
    assert truth is not None
    hits = []
    for seed in range(400):
        curve = fitted(*drawn(seed))
        assert curve is not None
        at = np.interp([-3.5, -2.5, -1.5], np.log10(truth.sizes), truth.estimate)
        low, high = (np.interp([-3.5, -2.5, -1.5], np.log10(curve.sizes), side) for side in (curve.low, curve.high))
        hits.append((low <= at) & (at <= high))
    assert np.all(np.abs(np.mean(hits, axis=0) - 0.95) < 0.03), np.mean(hits, axis=0)


def records(rows: list[dict[str, object]]) -> pd.DataFrame:
    usual = {"repeat": 0, "cluster": "", "image_hash": "", "options": [], "answers": ["a"], "parsed": "a"}
    return pd.DataFrame([{**usual, **row} for row in rows])


def test_evidence_is_measured_in_image_tokens_of_the_full_view() -> None:
    frame = records([
        {"sample": name, "view": view, "score": score, "outcome": "right", "evidence_area": area,
         "image_tokens": tokens, "image_hash": "one image"}
        for name, area in (("a", 0.01), ("b", 0.1), ("c", None))
        for view, score, tokens in (("full", 0.0, 400), ("crop", 1.0, 16))
    ])  # fmt: skip
    table = sized_samples(frame)
    assert table["tokens"].to_dict() == {"a": 4.0, "b": 40.0}
    assert table["cluster"].nunique() == 1
    assert [one["n"] for one in binned(table, "tokens")] == [2] or sum(one["n"] for one in binned(table, "area")) == 2
    assert sized_samples(frame[frame["view"] == "full"]).empty


def test_what_was_read_instead_is_counted_by_right_answer_in_words() -> None:
    options = ["red", "blue", "green"]
    rows = [("A", "B"), ("A", "B"), ("A", "C"), ("A", "A"), ("B", "A"), ("C", "C")]
    frame = records([
        {"sample": str(n), "view": "full", "score": float(a == p), "outcome": "right" if a == p else "wrong",
         "answers": [a], "parsed": p, "options": options}
        for n, (a, p) in enumerate(rows)
    ])  # fmt: skip
    assert read_instead(frame) == [
        {"answer": "red", "n": 4, "wrong": 3, "instead": [("blue", 2), ("green", 1)]},
        {"answer": "blue", "n": 1, "wrong": 1, "instead": [("red", 1)]},
    ]
    assert read_instead(frame, "crop") == []


def test_the_threshold_is_the_size_half_way_between_guessing_and_the_crop() -> None:
    rng = np.random.default_rng(0)
    sizes = np.exp(rng.uniform(0, 6, 4000))
    right = rng.random(4000) < 0.25 + 0.65 / (1 + (20 / sizes) ** 2)
    crop, blind = rng.random(4000) < 0.9, rng.random(4000) < 0.25
    fit = threshold(sizes, right, crop, blind, np.arange(4000) // 2)
    assert fit is not None
    assert fit["ci"][0] < 20 < fit["ci"][1]
    assert fit["ci"][1] / fit["ci"][0] < 1.4
    assert fit["slope"] == pytest.approx(2 * np.log(10), rel=0.2)


def test_no_threshold_where_size_makes_no_difference_or_the_crop_is_a_guess() -> None:
    rng = np.random.default_rng(1)
    sizes, keys = np.exp(rng.uniform(0, 6, 400)), np.arange(400)
    flat, good, guess = rng.random(400) < 0.5, rng.random(400) < 0.9, rng.random(400) < 0.25
    assert threshold(sizes, flat, good, guess, keys) is None
    assert threshold(sizes, sizes > 20, guess, guess, keys) is None
    assert threshold([], [], [], 0.25, []) is None
    assert threshold(sizes[:10], flat[:10], good[:10], guess[:10], keys[:10]) is None
