"""Warnings about an unhealthy training, each with a remedy, from the lines of `train.jsonl` alone.

    for text in warnings(lines).values(): print(text)

The thresholds are rules of thumb from published failures: the divergence rises, answers grow to the length limit, the
teacher never moves, the teacher forgets the crop, the null view shows what the teacher's shows. A warning never stops a
training; `collapse` stops one on data that a model proposed.

The threshold for |log p of the trainer - log p of the sampler| is ours: 0.1 nats on average. With vLLM in bfloat16
others report 0.011 for a dense 4B model (github.com/vllm-project/vime, issue 64) and 0.064 for four layers of a mixture
of experts (github.com/verl-project/verl-omni, issue 637).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

WINDOW = 20
"""Number of steps that are averaged."""


def warnings(lines: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The warnings that the lines so far justify, by kind."""
    warnings_by_kind: dict[str, str] = {}
    early, late = _ends(lines, "divergence")
    if early is not None and late is not None and late > early + 0.5 * abs(early):
        warnings_by_kind["divergence"] = (
            f"teacher and student drift apart: divergence {early:.3g} at the start, {late:.3g} over the last {WINDOW} "
            "steps. Lower learning_rate, or raise anchor_share."
        )
    early, late = _ends(lines, "truncated")
    if late is not None and early is not None and late > 0.2 and late > early + 0.1:
        warnings_by_kind["length"] = (
            f"{100 * late:.0f} % of the answers are cut off at max_new_tokens ({100 * early:.0f} % at the start). "
            "Answers run away: stop earlier, lower learning_rate, or raise max_new_tokens if they are sensible."
        )
    if lines and lines[-1].get("truncated") == 1:
        warnings_by_kind["truncated"] = (
            f"every answer is cut off at max_new_tokens ({lines[-1].get('mean_length', 0):g} tokens): none shows how "
            "an answer ends. Raise max_new_tokens, ask for shorter answers, or check with `gapbench doctor` that "
            "the model ends its answers."
        )
    teachers = [line for line in lines if line.get("teacher") in ("ema", "copy")]
    teacher_moved = [line["teacher_moved"] for line in teachers if line.get("teacher_moved") is not None]
    if len(teacher_moved) >= WINDOW and not any(teacher_moved):
        warnings_by_kind["teacher"] = (
            "the teacher does not move. Its average needs float32 weights and an ema_rate (or copy_every) that suits "
            "the number of steps."
        )
    probes = [line["probe_confidence"] for line in lines if line.get("probe_confidence") is not None]
    if len(probes) >= 2 and probes[-1] < 0.9 * probes[0]:
        warnings_by_kind["probe"] = (
            f"the teacher's confidence in its first answers to crops fell from {probes[0]:.2f} to {probes[-1]:.2f}: "
            "the crop ability erodes. Raise anchor_share, lower ema_rate, or use teacher=frozen."
        )
    evidence = [line["evidence"] for line in lines[-WINDOW:] if line.get("evidence") is not None]
    if len(evidence) == WINDOW and sum(evidence) / WINDOW < 1e-3:
        warnings_by_kind["evidence"] = (
            f"the teacher says the same without the evidence ({sum(evidence) / WINDOW:.1g} nats per token apart on "
            "average): the weights of rollouts sort them by rounding. Choose another null_view, or weights=none."
        )
    gaps = [line["logp_gap"] for line in lines[-WINDOW:] if line.get("logp_gap") is not None]
    if gaps and sum(gaps) / len(gaps) > 0.1:
        warnings_by_kind["sampler"] = (
            f"log-probabilities of trainer and sampler differ by {sum(gaps) / len(gaps):.2g} nats on average: the "
            "answers are not quite the student's own. Use one precision for both, or use_vllm=false."
        )
    return warnings_by_kind


FORGOTTEN = 0.05
"""Held-out divergence on the teacher's view, in nats, from which a training has moved it far from where it began."""


def collapse(before: Mapping[str, float | None], lines: Sequence[Mapping[str, Any]]) -> str:
    """Why a training on proposed data should stop; empty if nothing speaks for it.

    `before` are the held-out divergences before the first step (`gapbench.distillation.validation`). At the last two
    validations, the full view is no nearer to the first teacher than it was then, and the crop has moved away from it.

    Limits: it sees data that teach nothing and destroy the crop. Data that teach a consistent error look healthy.
    """
    last = [line for line in lines if line.get("validation_crop") is not None][-2:]
    start = before.get("validation_divergence")
    if start is None or len(last) < 2:
        return ""
    if any(line["validation_divergence"] < start or line["validation_crop"] < FORGOTTEN for line in last):
        return ""
    return (
        "full and crop fall together: on held-out proposed data the full view is "
        f"{last[-1]['validation_divergence']:.3g} nats from the first teacher ({start:.3g} before training), the crop "
        f"{last[-1]['validation_crop']:.3g}. The proposed boxes or questions are wrong too often. Look at the sheet "
        "(gapbench propose --sheet), and propose again with more gates."
    )


def _ends(lines: Sequence[Mapping[str, Any]], key: str) -> tuple[float | None, float | None]:
    """The means of the first and of the last window, or None for both while the windows overlap."""
    values = [float(line[key]) for line in lines if line.get(key) is not None]
    if len(values) < 2 * WINDOW:
        return None, None
    return sum(values[:WINDOW]) / WINDOW, sum(values[-WINDOW:]) / WINDOW
