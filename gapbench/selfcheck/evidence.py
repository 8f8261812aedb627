"""The evidence of the self-check: an engine's answers to the probes, and the ids that the model's own processor makes.

    evidence = gather_evidence(engine)
    evidence.answers["colour 0"].text, evidence.processor_ids("colour 0"), evidence.engine_ids("colour 0")

An engine may have the methods of `ShowsPrompt` and `ShowsLogprobs` beside the protocol; they add evidence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol, TypeVar, runtime_checkable

from gapbench.engines.chat import Chat
from gapbench.selfcheck.probes import COLOURS, LETTERS, PAIRS, SIZES, ids_of, probes, reference_of, visual_token_of
from gapbench.types import Answer, Engine, Request
from gapbench.views.pixels import Pixels

T = TypeVar("T")

NOISE = 1e-4
"""Difference of log-probabilities (nats) that means nothing, added to the difference between two equal requests."""


@runtime_checkable
class ShowsPrompt(Protocol):
    """An engine that shows the ids its model reads."""

    def prompt_ids(self, request: Request) -> Sequence[int] | None:
        """The ids of the full prompt, images expanded to their tokens; None if they are unknown."""
        ...


@runtime_checkable
class ShowsLogprobs(Protocol):
    """An engine that shows the log-probabilities of an answer's first token."""

    def next_logprobs(self, request: Request) -> Mapping[Any, float] | None:
        """Log-probabilities in nats of the likeliest few tokens, by token or its text; None if they are unknown."""
        ...


@dataclass(frozen=True)
class ProbeEvidence:
    """Requests and answers; `alone` holds answers outside a batch: two to `colour 0`, then one to `letter 1`.

    `reference` is None if the model's processor is not available. `visual_token` is the id that stands for images.
    `processor_ids` gives the ids that this processor makes of a request; None if it is unavailable or refuses.
    """

    engine: Engine
    requests: Mapping[str, Request]
    answers: Mapping[str, Answer]
    alone: tuple[Answer, Answer, Answer]
    reference: Chat | None
    visual_token: int | None
    processor_ids: Callable[[str], list[int] | None]

    def texts(self, names: Sequence[str]) -> list[str]:
        """The answers to these requests, without failed ones."""
        return [self.answers[name].text.strip() for name in names if not self.answers[name].error]

    def engine_ids(self, name: str) -> list[int] | None:
        """The ids that the engine shows; None if it shows none."""
        ids = _attempt(self.engine.prompt_ids, self.requests[name]) if isinstance(self.engine, ShowsPrompt) else None
        return None if ids is None else list(ids)

    def logprobs_differ(self, a: str, b: str) -> bool | None:
        """Whether the first token's log-probabilities differ between two requests; None if the engine shows none.

        They must differ by more than between two equal requests.
        """
        if not isinstance(self.engine, ShowsLogprobs):
            return None
        ask = self.engine.next_logprobs
        first, again, second = (_attempt(ask, self.requests[name]) for name in (a, a, b))
        if not first or not again or not second:
            return None
        return _distance(first, second) > 4 * _distance(first, again) + NOISE


def gather_evidence(engine: Engine) -> ProbeEvidence:
    """Ask all probes, but stop if no image of the first batch is answered: that decides, and may have taken minutes.

    Each size of image goes alone, so that a large one does not make the engine lower its batch size.
    """
    bounds = engine.info.get("pixels") or {}
    requests = probes(Pixels(bounds.get("min_pixels"), bounds.get("max_pixels")))
    hopeless: Answer | None = None

    def ask(*names: str) -> dict[str, Answer]:
        if hopeless:
            return dict.fromkeys(names, hopeless)
        batch = dict(engine.generate(requests[name] for name in names))
        return {name: batch.get(name, Answer(error="the engine did not answer")) for name in names}

    answers = ask("none", *COLOURS, *LETTERS)
    if all(answers[name].error for name in (*COLOURS, *LETTERS)):
        hopeless = answers["colour 0"]
    answers |= ask(*PAIRS)
    for size in SIZES:
        answers |= ask(size)
    first, again, letter = (ask(name)[name] for name in ("colour 0", "colour 0", "letter 1"))
    reference = reference_of(engine)
    token = visual_token_of(reference, requests["colour 0"]) if reference else None
    ids = cache(lambda name: ids_of(reference, requests[name]) if reference else None)
    return ProbeEvidence(engine, requests, answers, (first, again, letter), reference, token, ids)


def _attempt(ask: Callable[[Request], T | None], request: Request) -> T | None:
    with suppress(Exception):  # an engine that cannot show this request proves nothing
        return ask(request)
    return None


def _distance(a: Mapping[Any, float], b: Mapping[Any, float]) -> float:
    """Largest difference over the tokens in both; infinite if they share none."""
    return max((abs(a[token] - b[token]) for token in a.keys() & b.keys()), default=float("inf"))
