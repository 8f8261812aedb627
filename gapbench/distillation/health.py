"""Is this training healthy? Warnings with their remedy, from the lines of `train.jsonl` alone.

    for text in warnings(lines): print(text)

Thresholds are rules of thumb drawn from published failures (the student's divergence rising, answers running away to
the length limit, a teacher that never moves, a teacher that forgets the crop); they warn and never stop a run. That of
|log p trainer - log p sampler| is ours: 0.1 nats on average. With vLLM in bfloat16 others report 0.011 for a dense 4B
model (github.com/vllm-project/vime, issue 64) and 0.064 for four layers of a mixture of experts
(github.com/verl-project/verl-omni, issue 637).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

WINDOW = 20
"""Steps that are looked at together."""


def warnings(lines: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Warnings that the lines so far give cause for, by kind."""
    found: dict[str, str] = {}
    early, late = _ends(lines, "divergence")
    if early is not None and late is not None and late > early + 0.5 * abs(early):
        found["divergence"] = (
            f"teacher and student drift apart: divergence {early:.3g} at the start, {late:.3g} over the last {WINDOW} "
            "steps. Lower learning_rate, or raise anchor_share."
        )
    early, late = _ends(lines, "truncated")
    if late is not None and early is not None and late > 0.2 and late > early + 0.1:
        found["length"] = (
            f"{100 * late:.0f} % of the answers are cut off at max_new_tokens ({100 * early:.0f} % at the start). "
            "Answers run away: stop earlier, lower learning_rate, or raise max_new_tokens if they are sensible."
        )
    teachers = [line for line in lines if line.get("teacher") in ("ema", "copy")]
    moved = [line["teacher_moved"] for line in teachers if line.get("teacher_moved") is not None]
    if len(moved) >= WINDOW and not any(moved):
        found["teacher"] = (
            "the teacher does not move. Its average needs float32 weights and an ema_rate (or copy_every) that suits "
            "the number of steps."
        )
    probes = [line["probe_confidence"] for line in lines if line.get("probe_confidence") is not None]
    if len(probes) >= 2 and probes[-1] < 0.9 * probes[0]:
        found["probe"] = (
            f"the teacher's confidence in its first answers to crops fell from {probes[0]:.2f} to {probes[-1]:.2f}: "
            "the crop ability erodes. Raise anchor_share, lower ema_rate, or use teacher=frozen."
        )
    off = [line["logp_gap"] for line in lines[-WINDOW:] if line.get("logp_gap") is not None]
    if off and sum(off) / len(off) > 0.1:
        found["sampler"] = (
            f"log-probabilities of trainer and sampler differ by {sum(off) / len(off):.2g} nats on average: the "
            "answers are not quite the student's own. Use one precision for both, or use_vllm=false."
        )
    return found


def _ends(lines: Sequence[Mapping[str, Any]], key: str) -> tuple[float | None, float | None]:
    """Mean of the first and of the last window, once they do not overlap."""
    values = [float(line[key]) for line in lines if line.get(key) is not None]
    if len(values) < 2 * WINDOW:
        return None, None
    return sum(values[:WINDOW]) / WINDOW, sum(values[-WINDOW:]) / WINDOW
