"""How fast a run goes, whether images held it up, and how long the whole of it takes.

    pace = Pace(Whole(samples=23609, views=2, answers=47218))
    pace.count(answer)
    pace.text()            # '23,609 samples x 2 views: about 3 h 10 min at this rate'

Limits: rates are means over this session, and a projection is as good as the questions so far are like the others.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from gapbench.types import Answer


@dataclass(frozen=True)
class Whole:
    """All that this worker has to ask, `--limit` left aside: `views` is None where benchmarks differ in it."""

    samples: int
    views: int | None
    answers: int


@dataclass
class Pace:
    """Counts answers and tokens from its making on."""

    whole: Whole
    answers: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0
    started: float = field(default_factory=time.perf_counter)

    def count(self, answer: Answer) -> None:
        """One more answer, failed or not."""
        self.answers += 1
        self.prompt_tokens += answer.prompt_tokens or 0
        self.output_tokens += answer.output_tokens or 0

    def text(self) -> str:
        """The projection in words; empty before the first answer."""
        if not self.answers:
            return ""
        views = f" x {self.whole.views} view{'s' * (self.whole.views > 1)}" if self.whole.views else ""
        return f"{self.whole.samples:,} samples{views}: about {duration(self._projected())} at this rate"

    def json(self, waited: float | None) -> dict[str, Any]:
        """For `run.json`; `waited` are the seconds for which the engine had nothing to do but wait for images."""
        seconds = max(1e-9, time.perf_counter() - self.started)
        return {
            "answers": self.answers,
            "seconds": round(seconds, 3),
            "answers_per_second": round(self.answers / seconds, 3),
            "prompt_tokens_per_second": round(self.prompt_tokens / seconds, 1),
            "output_tokens_per_second": round(self.output_tokens / seconds, 1),
            "waited_for_images": None if waited is None else round(min(1.0, waited / seconds), 4),
            "projection": {
                "samples": self.whole.samples,
                "views": self.whole.views,
                "answers": self.whole.answers,
                "seconds": round(self._projected(), 1) if self.answers else None,
                "text": self.text(),
            },
        }

    def _projected(self) -> float:
        """Seconds for all answers at the rate so far."""
        return self.whole.answers * (time.perf_counter() - self.started) / self.answers


def duration(seconds: float) -> str:
    """`50 s`, `4 min`, `3 h 10 min`, `2 d 5 h`."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours else f"{days} d"
