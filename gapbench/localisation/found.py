"""What a locator says of one question."""

from __future__ import annotations

from dataclasses import dataclass

from gapbench.types import Box

NOT_ASKED = "not answered"
"""First words of a `reason` that is the engine's, not the answer's; details follow a colon."""


@dataclass(frozen=True)
class Found:
    """`boxes` as fractions 0..1 of the picture's width and height, or none and the `reason`.

    `score` is the locator's own confidence, 0..1 (None without one), `output` the answer it was read from.
    """

    boxes: tuple[Box, ...] = ()
    score: float | None = None
    reason: str = ""
    output: str = ""
