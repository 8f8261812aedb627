"""Throughput of a session: its rates, the share of time it waited for images, and a projection for the whole workload.

    meter = ThroughputMeter(Workload(samples=23609, views=2, answers=47218))
    meter.count(answer)
    meter.text()           # '23,609 samples x 2 views: about 3 h 10 min at this rate'

Limits: rates are means over this session. A projection assumes that the remaining samples take as long as those so far.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from typing import Any

from gapbench.types import Answer


@dataclass(frozen=True)
class Workload:
    """This worker's samples, views and answers without `--limit`; `views` is None if benchmarks differ in it."""

    samples: int
    views: int | None
    answers: int


@dataclass
class ThroughputMeter:
    """Counts answers and tokens from the moment it is made."""

    workload: Workload
    answers: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0
    started: float = field(default_factory=time.perf_counter)

    def count(self, answer: Answer) -> None:
        """Count one answer, failed or not."""
        self.answers += 1
        self.prompt_tokens += answer.prompt_tokens or 0
        self.output_tokens += answer.output_tokens or 0

    def text(self) -> str:
        """The projection as text; empty before the first answer."""
        if not self.answers:
            return ""
        views = f" x {self.workload.views} view{'s' * (self.workload.views > 1)}" if self.workload.views else ""
        return f"{self.workload.samples:,} samples{views}: about {duration(self._projected_seconds())} at this rate"

    def json(self, waited: float | None) -> dict[str, Any]:
        """The entry `throughput` of a session in the manifest. `waited` is the seconds the engine waited for images."""
        seconds = max(1e-9, time.perf_counter() - self.started)
        return {
            "answers": self.answers,
            "seconds": round(seconds, 3),
            "answers_per_second": round(self.answers / seconds, 3),
            "prompt_tokens_per_second": round(self.prompt_tokens / seconds, 1),
            "output_tokens_per_second": round(self.output_tokens / seconds, 1),
            "waited_for_images": None if waited is None else round(min(1.0, waited / seconds), 4),
            "projection": {
                **asdict(self.workload),
                "seconds": round(self._projected_seconds(), 1) if self.answers else None,
                "text": self.text(),
            },
        }

    def _projected_seconds(self) -> float:
        """Seconds for the whole workload at the rate so far."""
        return self.workload.answers * (time.perf_counter() - self.started) / self.answers


def duration(seconds: float) -> str:
    """A duration as text: `50 s`, `4 min`, `3 h 10 min` or `2 d 5 h`."""
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
