"""Published scores are compared with a run's own only where both are about the same samples and regions."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest

from gapbench.analysis.published import beside_published, short_name
from gapbench.types import Published

ENTRY: dict[str, Any] = {
    "n": 191,
    "evidence": "annotated",
    "views": {
        "full": {"accuracy": 0.831, "ci": [0.80, 0.86], "records": 191},
        "crop": {"accuracy": 0.92, "ci": [0.89, 0.95], "records": 191},
    },
    "gap": {"estimate": 0.089, "ci": [0.05, 0.13]},
    "metrics": {"category_mean": {"full": {"estimate": 0.82, "ci": [0.78, 0.85]}}},
    "by_category": {"attributes": {"full": {"estimate": 0.84, "ci": [0.77, 0.90]}}},
}


def manifest(*published: Published, model: str = "Qwen/Qwen3.5-4B", **given: Any) -> dict[str, Any]:
    card = {"reference": [asdict(one) for one in published], "expected": {"samples": 191}, "region": "padded"}
    task = {"card": card, "samples": 191, "limit": None, "repeats": 1, "region": "padded", "parameters": {}}
    task |= {key: given.pop(key) for key in ("limit", "repeats", "region", "parameters", "card") if key in given}
    return {"model": model, "protocol": "vision-opd", "tasks": {"vstar": task}, **given}


def compared(one: Published, entry: dict[str, Any] = ENTRY, **given: Any) -> dict[str, Any]:
    (found,) = beside_published(entry, manifest(one, **given), "vstar")
    return found


PAPER = Published("Qwen3.5-4B", 84.4, "a paper", protocol="vision-opd")


def test_a_published_score_stands_beside_the_runs_own() -> None:
    assert compared(PAPER) == {
        "model": "Qwen3.5-4B", "value": 0.844, "source": "a paper", "metric": "accuracy", "view": "full",
        "protocol": "vision-opd", "part": "", "note": "", "here": {"estimate": 0.831, "ci": [0.80, 0.86]},
        "same_prompt": True, "inside": True, "not_compared": "",
    }  # fmt: skip


@pytest.mark.parametrize(("value", "inside"), [(79.9, False), (80.0, True), (86.0, True), (86.1, False)])
def test_a_value_is_inside_if_the_runs_interval_holds_it(value: float, inside: bool) -> None:
    assert compared(Published("Qwen3.5-4B", value, "a paper"))["inside"] is inside


@pytest.mark.parametrize(
    ("protocol", "same"), [("vision-opd", True), ("original", False), ("neutral", False), ("", None)]
)
def test_the_prompt_is_the_same_another_or_not_known(protocol: str, same: bool | None) -> None:
    assert compared(Published("Qwen3.5-4B", 84.4, "a paper", protocol=protocol))["same_prompt"] is same


@pytest.mark.parametrize(
    ("one", "here"),
    [
        (Published("Qwen3.5-4B", 93, "a paper", "crop"), {"estimate": 0.92, "ci": [0.89, 0.95]}),
        (Published("Qwen3.5-4B", 8.6, "a paper", "gap"), {"estimate": 0.089, "ci": [0.05, 0.13]}),
        (
            Published("Qwen3.5-4B", 81, "a paper", metric="category_mean"),
            {"estimate": 0.82, "ci": [0.78, 0.85]},
        ),
        (Published("Qwen3.5-4B", 83.48, "a paper", part="attributes"), {"estimate": 0.84, "ci": [0.77, 0.90]}),
    ],
)
def test_the_runs_own_number_is_the_one_that_was_published(one: Published, here: dict[str, Any]) -> None:
    found = compared(one)
    assert (found["here"], found["inside"]) == (here, True)


@pytest.mark.parametrize(
    ("one", "given", "entry", "reason"),
    [
        (PAPER, {"limit": 100}, {"n": 100}, "100 of 191 samples were asked here"),
        (PAPER, {"shard": {"of": 2}}, {"n": 96}, "96 of 191 samples were asked here"),
        (
            PAPER,
            {"limit": 50, "card": {"reference": [asdict(PAPER)]}},
            {"n": 50},
            "only the first 50 samples were asked here",
        ),
        (PAPER, {"repeats": 2}, {}, "the full view is not complete here"),
        (PAPER, {"parameters": {"labels": "lmms-lab"}}, {}, "here labels=lmms-lab"),
        (Published("Qwen3.5-4B", 93, "a paper", "crop"), {"region": "union"}, {}, "the region union was shown here"),
        (
            Published("Qwen3.5-4B", 9, "a paper", "gap"),
            {},
            {"evidence": "model"},
            "regions of a model were shown here",
        ),
        (
            Published("Qwen3.5-4B", 37, "a paper", part="all 405 questions"),
            {},
            {},
            "it covers all 405 questions",
        ),
        (PAPER, {}, {"views": {}}, "not measured here"),
        (Published("Qwen3.5-4B", 9, "a paper", "gap"), {}, {"gap": None}, "not measured here"),
        (Published("Qwen3.5-4B", 9, "a paper", metric="yes_f1"), {}, {}, "not measured here"),
    ],
)
def test_other_samples_and_other_regions_are_not_compared(
    one: Published, given: dict[str, Any], entry: dict[str, Any], reason: str
) -> None:
    found = compared(one, {**ENTRY, **entry}, **given)
    assert (found["not_compared"], found["here"], found["inside"]) == (reason, None, None)


def test_without_an_interval_nothing_is_inside_or_outside() -> None:
    alone = {**ENTRY, "views": {"full": {"accuracy": 0.831, "ci": None, "records": 191}}}
    found = compared(PAPER, alone)
    assert (found["here"]["estimate"], found["inside"], found["not_compared"]) == (0.831, None, "")


@pytest.mark.parametrize(
    "model",
    [
        "Qwen/Qwen3.5-4B", "qwen3.5-4b", "/data/models/Qwen3.5-4B/", "C:\\models\\Qwen3.5-4B",
        "/root/.cache/huggingface/hub/models--Qwen--Qwen3.5-4B/snapshots/0123abc",
    ],
)  # fmt: skip
def test_a_model_is_known_by_the_last_part_of_its_name(model: str) -> None:
    assert short_name(model) == "qwen3.5-4b"
    assert len(beside_published(ENTRY, manifest(PAPER, model=model), "vstar")) == 1


@pytest.mark.parametrize(
    "model", ["Qwen/Qwen3.5-4B-Instruct", "Qwen/Qwen3.5-4B-AWQ", "runs/x/model", "x-Qwen3.5-4B", ""]
)
def test_a_model_of_another_name_is_another_model(model: str) -> None:
    assert beside_published(ENTRY, manifest(PAPER, model=model), "vstar") == []


def test_a_served_model_is_known_by_the_name_of_its_server() -> None:
    one = {"model": "default", "sessions": [{"answered_by": {"Qwen/Qwen3.5-4B": 382}}]}
    two = {"model": "default", "sessions": [{"answered_by": {"Qwen/Qwen3.5-4B": 200, "other": 182}}]}
    root = {"model": "chat", "servers": [{"models": [{"id": "chat", "root": "Qwen/Qwen3.5-4B"}]}]}
    known = [len(beside_published(ENTRY, manifest(PAPER) | served, "vstar")) for served in (one, two, root)]
    assert known == [1, 0, 1], "answers of two models are answers of none"


@pytest.mark.parametrize("reference", [{"Qwen3.5-4B": "84.29 (a paper)"}, None, "84.29", ["84.29"]])
def test_cards_with_texts_or_without_references_are_no_error(reference: Any) -> None:
    assert beside_published(ENTRY, manifest(card={"reference": reference}), "vstar") == []
    assert beside_published(ENTRY, {}, "vstar") == []
