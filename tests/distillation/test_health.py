"""Each warning comes when there is cause, with its remedy, and not otherwise."""

from __future__ import annotations

from typing import Any

import pytest

from gapbench.distillation.health import WINDOW, collapse, warnings

STEPS = 3 * WINDOW
HEALTHY: dict[str, Any] = {
    "divergence": 0.1, "truncated": 0.05, "teacher": "ema", "teacher_moved": True, "probe_confidence": None,
    "logp_gap": 1e-3,
}  # fmt: skip


def lines(steps: int = STEPS, **changes: Any) -> list[dict[str, Any]]:
    """Healthy lines, but for what is given: a value, or a function of the step's share of the run (0 to 1)."""
    return [
        {**HEALTHY, **{k: v(step / (steps - 1)) if callable(v) else v for k, v in changes.items()}, "step": step + 1}
        for step in range(steps)
    ]


def test_a_healthy_run_gives_no_warning() -> None:
    assert warnings(lines()) == {}
    assert warnings([]) == {}
    assert warnings(lines(1, truncated=0.9, divergence=9.0)) == {}


@pytest.mark.parametrize(
    ("kind", "sick", "remedy"),
    [
        ("divergence", {"divergence": lambda t: 0.1 + 0.3 * t}, "Lower learning_rate, or raise anchor_share"),
        ("length", {"truncated": lambda t: 0.05 + 0.5 * t}, "raise max_new_tokens"),
        ("truncated", {"truncated": 1.0, "mean_length": 64.0}, "(64 tokens): none shows how an answer ends. Raise max"),
        ("teacher", {"teacher_moved": False}, "float32 weights and an ema_rate"),
        ("teacher", {"teacher_moved": False, "teacher": "copy"}, "copy_every"),
        ("probe", {"probe_confidence": lambda t: 0.8 - 0.2 * t}, "Raise anchor_share, lower ema_rate"),
        ("evidence", {"evidence": 1e-4}, "Choose another null_view, or weights=none"),
        ("sampler", {"logp_gap": 0.3}, "Use one precision for both, or use_vllm=false"),
    ],
)
def test_a_sick_run_is_warned_of_with_the_remedy(kind: str, sick: dict[str, Any], remedy: str) -> None:
    found = warnings(lines(**sick))
    assert list(found) == [kind]
    assert remedy in found[kind]


@pytest.mark.parametrize(
    "changes",
    [
        {"divergence": lambda t: 0.4 - 0.3 * t},  # falls
        {"divergence": lambda t: 0.1 + 0.04 * t},  # rises a little
        {"divergence": -0.1},  # sampled_token's is no divergence and may be negative
        {"truncated": 0.6},  # as at the start: the limit is short, nothing runs away
        {"truncated": lambda t: 0.01 + 0.15 * t},  # few are cut off
        {"teacher": "frozen", "teacher_moved": False},  # as it should be
        {"teacher": "live", "teacher_moved": None},
        {"evidence": 0.02},
        {"evidence": lambda t: 0 if t < 0.3 else 0.5},  # at last
        {"teacher_moved": lambda t: t > 0.9},  # moved at last, after a warm-up
        {"probe_confidence": lambda t: 0.8 - 0.05 * t},
        {"probe_confidence": lambda t: 0.5 + 0.3 * t},
        {"logp_gap": None},  # off-policy answers are another's
        {"logp_gap": lambda t: 0.5 * (t < 0.3)},  # long ago
    ],
)
def test_a_run_that_only_looks_sick_is_not_warned_of(changes: dict[str, Any]) -> None:
    assert warnings(lines(**changes)) == {}


def test_the_first_and_the_last_steps_must_not_overlap() -> None:
    sick = {"divergence": lambda t: 0.1 + 5 * t}
    assert warnings(lines(2 * WINDOW - 1, **sick)) == {}
    assert "divergence" in warnings(lines(2 * WINDOW, **sick))


def test_a_teacher_gets_a_few_steps_before_it_is_called_stuck() -> None:
    assert warnings(lines(WINDOW - 1, teacher_moved=False)) == {}
    assert "teacher" in warnings(lines(WINDOW, teacher_moved=False))


def test_probes_are_compared_with_the_first_one() -> None:
    """They come every few steps; the lines between have none."""
    found = lines()
    for step, value in ((9, 0.8), (19, 0.9), (29, 0.71)):
        found[step]["probe_confidence"] = value
    assert "fell from 0.80 to 0.71" in warnings(found)["probe"]
    found[29]["probe_confidence"] = 0.73
    assert warnings(found) == {}


def test_one_step_of_which_every_answer_is_cut_off_is_enough() -> None:
    assert list(warnings(lines(1, truncated=1.0, mean_length=5.0))) == ["truncated"]
    assert warnings(lines(1, truncated=0.99, mean_length=5.0)) == {}


def test_proposed_data_stop_a_training_when_full_and_crop_fall_together_twice() -> None:
    before = {"validation_divergence": 0.2, "validation_crop": 0.0}

    def line(full: float, crop: float) -> dict[str, float]:
        return {"validation_divergence": full, "validation_crop": crop}

    falling = [line(0.25, 0.1), {"step": 3}, line(0.3, 0.2)]
    assert "full and crop fall together" in collapse(before, falling)
    assert collapse({}, falling) == ""  # data with annotated boxes
    assert collapse(before, falling[:2]) == ""
    assert collapse(before, [*falling, line(0.1, 0.2)]) == ""  # the full view learns
    assert collapse(before, [*falling, line(0.3, 0.01)]) == ""  # the crop stays
