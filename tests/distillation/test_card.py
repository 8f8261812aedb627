"""The model card says what a model was made from and what was measured; nothing in it comes from outside unescaped."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml

from gapbench.distillation.card import write_card
from gapbench.distillation.method import in_words, source
from gapbench.distillation.recipe import Recipe, load, make

DETAILS: dict[str, Any] = {
    "model": "Qwen/Qwen3-VL-4B-Instruct",
    "revision": "abc",
    "data": {"name": "signs", "samples": 640},
    "command": "gapbench distill …",
}


def values(full: float, crop: float) -> dict[str, Any]:
    gap = crop - full
    estimates = {"full": full, "crop": crop, "gap": gap, "lost_in_full": gap / 2}
    return {name: {"estimate": e, "ci": [e - 0.02, e + 0.02]} for name, e in estimates.items()}


SUMMARY: dict[str, Any] = {
    "verdict": "The gap closed by 67 %.",
    "benchmarks": {"signs": {"before": values(0.31, 0.94), "after": values(0.77, 0.98), "delta": values(0.46, 0.04)}},
}
RECIPE = make({"steps": 150, "prompts_per_step": 32, "rollouts_per_prompt": 1, "anchor_share": 0.25, "ema_rate": 0.02})


def card(tmp_path: Path, summary: Any = None, recipe: Recipe | None = None, **details: Any) -> str:
    write_card(tmp_path, {**DETAILS, **details}, recipe or RECIPE, summary)
    return (tmp_path / "README.md").read_text(encoding="utf-8")


def head(text: str) -> dict[str, Any]:
    found = yaml.safe_load(text.split("---")[1])
    assert isinstance(found, dict)
    return found


def test_a_model_from_the_hub_is_named_as_the_base(tmp_path: Path) -> None:
    assert head(card(tmp_path))["base_model"] == "Qwen/Qwen3-VL-4B-Instruct"


@pytest.mark.parametrize("model", ["glance", "runs/base", "/models/base", "./a/b"])
def test_a_local_model_is_not_passed_off_as_one_of_the_hub(model: str, tmp_path: Path) -> None:
    details = {k: v for k, v in DETAILS.items() if k != "revision"} | {"model": model, "sha256": "00"}
    write_card(tmp_path, details, RECIPE, None)
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "base_model" not in head(text)
    assert f"# {model}, distilled" in text


def test_the_recipe_is_all_there_and_can_be_used_again(tmp_path: Path) -> None:
    recipe = make({"steps": 7, "hint": "Look closely: inside the box."})
    written = textwrap.dedent(card(tmp_path, recipe=recipe).split("## Recipe\n\n")[1])
    (tmp_path / "again.yaml").write_text(written, encoding="utf-8")
    assert load(tmp_path / "again.yaml") == recipe


def test_settings_that_matter_are_said_in_words(tmp_path: Path) -> None:
    text = card(tmp_path)
    assert "`signs`, 640 samples with evidence" in text
    assert "150 steps of 32 prompts x 1 rollouts, learning rate" in text
    assert "teacher `ema` (0.02 per step)" in text
    assert "anchor share 0.25, all weights" in text
    assert "LoRA (merged)" in card(tmp_path, recipe=load("lora-1gpu"))
    assert "gapbench distill …" in text


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ("vision-opd", ["(Vision-OPD): the student sees the full image, the teacher the evidence crop,",
                        "distilled from its own evidence crops", "640 samples with evidence,"]),
        ("opd-aha", ["(Vision-OPD, OPD-Aha's target)", "teacher `frozen`",
                     "The target is the teacher, tilted by 4 away from what it says of its image's mean colour."]),
        ("hard", ["(Vision-OPD, hard labels)", "The target is the likeliest token of the teacher, tilted by 4 away"]),
        ("s2vopd", ["(S2VOPD): the student sees the view degraded:scale=0.3-0.6, the teacher the full image,",
                    "distilled from its own clean images", "640 samples, of which no evidence box is used,"]),
        ("v-zero", ["(Vision-OPD, V-Zero's weights)",
                    "those that the teacher finds likelier than it does from the view random_crop count more."]),
    ],
)  # fmt: skip
def test_the_method_is_named_and_said_in_words(recipe: str, words: list[str], tmp_path: Path) -> None:
    text = card(tmp_path, recipe=load(recipe))
    for said in words:
        assert said in text
    assert head(text)["tags"][:2] == ["gapbench", "on-policy-distillation"]
    assert recipe in head(text)["tags"] or recipe == "hard"


def test_another_model_as_teacher_is_named() -> None:
    other = load("v-zero", ["teacher=model", "teacher_model=Qwen/Qwen3.5-27B"])
    assert source(other) == "Qwen/Qwen3.5-27B"
    assert in_words(other).startswith("Trained with gapbench by on-policy distillation (")


def test_before_and_after_are_a_table_in_percent(tmp_path: Path) -> None:
    text = card(tmp_path, SUMMARY)
    assert "The gap closed by 67 %." in text
    assert "| signs | full | 31.0 | 77.0 | +46.0 [+44.0, +48.0] |" in text
    assert "| signs | gap | 63.0 | 21.0 | -42.0 [-44.0, -40.0] |" in text
    assert "| signs | lost in full | 31.5 | 10.5 | -21.0 [-23.0, -19.0] |" in text
    assert "before and after" not in card(tmp_path)


def test_a_hold_out_without_boxes_has_its_full_view_alone(tmp_path: Path) -> None:
    full = {side: {"full": {"estimate": 0.5, "ci": None}} for side in ("before", "after", "delta")}
    text = card(tmp_path, {"verdict": "Fine.", "benchmarks": {"pope": full}})
    assert [line for line in text.splitlines() if line.startswith("| pope")] == [
        "| pope | full | 50.0 | 50.0 | +50.0 |"
    ]


def test_a_view_that_was_not_answered_is_left_out(tmp_path: Path) -> None:
    bench = {
        "before": {"full": {"estimate": None, "ci": None}},
        "after": {"full": {"estimate": 0.5, "ci": None}},
        "delta": None,
    }
    assert "| x |" not in card(tmp_path, {"verdict": "None.", "benchmarks": {"x": bench}})


def test_names_from_outside_can_neither_break_the_table_nor_open_html(tmp_path: Path) -> None:
    evil = "a|b<script>\n# c`d"
    summary = {"verdict": f"So: {evil}", "benchmarks": {evil: SUMMARY["benchmarks"]["signs"]}}
    text = card(tmp_path, summary, data={"name": evil, "samples": 1}, command=evil)
    assert "<script>" not in text
    assert "\n# c" not in text
    row = next(line for line in text.splitlines() if line.startswith("| a"))
    assert row.replace("\\|", "").count("|") == 6


def test_samples_that_were_left_out_are_counted_with_the_reason(tmp_path: Path) -> None:
    assert "left out" not in card(tmp_path)
    data = {"name": "mine", "samples": 1, "without_evidence": 19}
    assert (
        "`mine`, 1 samples with evidence, prompts of the protocol `neutral`; left out: 19 without evidence\n"
        in card(tmp_path, data=data)
    )
    shared = {"policy": "drop", "shared": {"a": "also in signs", "b": "also in signs"}}
    text = card(tmp_path, data=data, contamination=shared, skipped={"c": "no image"})
    assert "19 without evidence, 2 whose image is also in the evaluation, 1 that could not be shown" in text
    assert "evaluation" not in card(tmp_path, data=data, contamination={**shared, "policy": "keep"})


def test_what_a_resumed_session_changed_is_said_with_the_step(tmp_path: Path) -> None:
    sessions = [{}, {"after_step": 20, "changed": {"micro_batch_tokens": [9216, 4096], "processes": [2, 1]}}]
    text = card(tmp_path, sessions=sessions)
    assert "- changed after step 20: micro_batch_tokens 9216 -> 4096, processes 2 -> 1\n" in text
    assert "changed" not in card(tmp_path, sessions=[{}, {"after_step": 20, "changed": {}}])
