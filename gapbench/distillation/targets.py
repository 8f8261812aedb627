"""What the student is moved towards: the teacher, the teacher tilted away from what it says without evidence, or a
label.

    log_q = target("tilt", teacher, null, strength=4.0, tail=True)      # (M, K), (M, K) -> (M, K)

Over the categories that are compared, with p+ the teacher's probabilities and p0 those of the same teacher on its null
view, which lacks the evidence:

`teacher`   q = p+
`tilt`      log q = log_softmax(log p+ + strength (log p+ - log p0)), OPD-Aha's target: what the evidence makes likelier
            becomes likelier still. A strength of 0 is the teacher.
`hard`      q = 1 on the token that is likeliest under `tilt` with the same strength; with a strength of 0, the one that
            the teacher finds likeliest. The forward KL to it is the cross-entropy -log p_S(token).

The tail is one category in `tilt`: its probability is summed first and tilted then. It is no token, so `hard` never
chooses it.

Limits: a tilt enlarges ratios, also those of tokens that both views find very unlikely. Over a full vocabulary such
tokens can win, so compare a few likely ones (`support: student`).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Target = Literal["teacher", "tilt", "hard"]

FLOOR = -1e6
"""Stands for log 0: its exp is exactly 0, and 0 times it is 0, not NaN as with -inf."""


def target(kind: Target, teacher: Tensor, null: Tensor | None, strength: float, tail: bool) -> Tensor:
    """Log-probabilities (M, K) of the target, from those of the teacher and, where it is used, of its null view.

    All are over the same K categories and nowhere below `FLOOR`; with `tail` the last category is the tail. Raises
    ValueError for a strength above 0 without a null view.
    """
    if kind == "teacher":
        return teacher
    if strength > 0 and null is None:
        raise ValueError("a tilt needs the log-probabilities of the null view")
    log_q = teacher if null is None else tilted(teacher, null, strength)
    if kind == "tilt":
        return log_q
    label = (log_q[..., :-1] if tail else log_q).argmax(-1, keepdim=True)
    return torch.full_like(log_q, FLOOR).scatter(-1, label, 0.0)


def tilted(teacher: Tensor, null: Tensor, strength: float) -> Tensor:
    """log_softmax(teacher + strength (teacher - null)) over the last axis, nowhere below `FLOOR`."""
    return (teacher + strength * (teacher - null)).log_softmax(-1).clamp(min=FLOOR)
