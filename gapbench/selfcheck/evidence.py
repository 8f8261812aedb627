"""What an engine answers to the probes, and what its model's own processor says of them.

    seen = look(engine)
    seen.answers["colour 0"].text, seen.ours("colour 0"), seen.theirs("colour 0")

`ShowsPrompt` and `ShowsLogprobs` are methods that an engine may have beside the protocol; without them less is known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar, runtime_checkable

from gapbench.selfcheck.probes import COLOURS, LETTERS, PAIRS, SIZES, Reference, probes, reference_of
from gapbench.types import Answer, Engine, Request
from gapbench.views.pixels import Pixels

T = TypeVar("T")

NOISE = 1e-4
"""Difference of a log-probability (nats) that means nothing, beside what asking the same twice differs by."""


@runtime_checkable
class ShowsPrompt(Protocol):
    """An engine that shows the ids its model reads."""

    def prompt_ids(self, request: Request) -> Sequence[int] | None:
        """The whole prompt, images expanded to their tokens; None where it is not known."""
        ...


@runtime_checkable
class ShowsLogprobs(Protocol):
    """An engine that shows how likely an answer's first tokens are."""

    def next_logprobs(self, request: Request) -> Mapping[Any, float] | None:
        """Token (or its text) to log-probability, in nats, of the likeliest few; None where they are not known."""
        ...


@dataclass(frozen=True)
class Seen:
    """What the engine answered; `alone` has two lone answers to `colour 0` and one to `letter 1`, in this order.

    `reference` is None where the model's processor is not to be had; `visual_token` is the id it makes images of.
    """

    engine: Engine
    requests: Mapping[str, Request]
    answers: Mapping[str, Answer]
    alone: tuple[Answer, Answer, Answer]
    pixels: Pixels
    reference: Reference | None
    visual_token: int | None
    _ours: dict[str, list[int] | None] = field(default_factory=dict)

    def target(self, size: tuple[int, int]) -> tuple[int, int]:
        """The size (width, height) at which an image is to be sent."""
        return self.pixels.target(size)

    def texts(self, names: Sequence[str]) -> list[str]:
        """The answers to these requests, those that failed left out."""
        return [self.answers[name].text.strip() for name in names if not self.answers[name].error]

    def ours(self, name: str) -> list[int] | None:
        """The ids that the model's own processor makes of a request."""
        if name not in self._ours:
            self._ours[name] = self.reference.ids(self.requests[name]) if self.reference else None
        return self._ours[name]

    def theirs(self, name: str) -> list[int] | None:
        """The ids that the engine shows, if it does."""
        if not isinstance(self.engine, ShowsPrompt):
            return None
        found = _attempt(self.engine.prompt_ids, self.requests[name])
        return None if found is None else list(found)

    def apart(self, one: str, other: str) -> bool | None:
        """Whether log-probabilities of the first token differ by more than when asked twice; None if not shown."""
        if not isinstance(self.engine, ShowsLogprobs):
            return None
        ask = self.engine.next_logprobs
        first, again, second = (_attempt(ask, self.requests[name]) for name in (one, one, other))
        if not first or not again or not second:
            return None
        return _distance(first, second) > 4 * _distance(first, again) + NOISE


def look(engine: Engine) -> Seen:
    """Ask everything, or until no image of the first batch is answered, which says enough and may have taken minutes.

    Large images go alone, so that they cannot make the engine think its batches too large.
    """
    requests = probes()

    hopeless: Answer | None = None

    def ask(*names: str) -> dict[str, Answer]:
        if hopeless:
            return dict.fromkeys(names, hopeless)
        found = dict(engine.generate(requests[name] for name in names))
        return {name: found.get(name, Answer(error="the engine did not answer")) for name in names}

    answers = ask("none", *COLOURS, *LETTERS)
    if all(answers[name].error for name in (*COLOURS, *LETTERS)):
        hopeless = answers["colour 0"]
    answers |= ask(*PAIRS)
    for size in SIZES:
        answers |= ask(size)
    one, again, other = (ask(name)[name] for name in ("colour 0", "colour 0", "letter 1"))
    bounds = engine.info.get("pixels") or {}
    pixels = Pixels(bounds.get("min_pixels"), bounds.get("max_pixels"))
    reference = reference_of(engine, pixels)
    token = reference.visual_token(requests["colour 0"]) if reference else None
    return Seen(engine, requests, answers, (one, again, other), pixels, reference, token)


def _attempt(ask: Callable[[Request], T | None], request: Request) -> T | None:
    try:
        return ask(request)
    except Exception:  # what an engine cannot show of this request proves nothing about it
        return None


def _distance(one: Mapping[Any, float], other: Mapping[Any, float]) -> float:
    """Largest difference over the tokens that both show; infinite where they share none."""
    return max((abs(one[token] - other[token]) for token in one.keys() & other.keys()), default=float("inf"))
