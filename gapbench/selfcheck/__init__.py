"""Does this engine pass images and prompts to its model as they are? A check with a few drawn images.

    result = selfcheck(engine)
    print(result.text())            # part of gapbench doctor MODEL

Six checks (`checks` has the rules): images arrive; they arrive in order; each takes as many tokens as the model's own
processor gives it; greedy answers repeat, alone and in a batch; thinking is off; the prompt is the one that the model's
template makes. If one of the first two fails, the run stops, because its numbers would mean nothing. The others warn.

The checks judge an engine by its answers and token counts. Two optional methods show more (`ShowsPrompt`,
`ShowsLogprobs`): an untrained model may answer all images alike, but its log-probabilities differ if it sees them.

Limits: a check that the evidence does not decide is `not applicable`, never `failed`: a false alarm that stops a run is
worse than a miss. If an engine does not show the prompt's ids, the order of images can be checked only for models that
read large letters.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from gapbench.errors import ModelError
from gapbench.selfcheck.checks import THINKING, Check, checks_of
from gapbench.selfcheck.evidence import ShowsLogprobs, ShowsPrompt, gather_evidence
from gapbench.types import Engine
from gapbench.util.terminal import complain, say

__all__ = ["Check", "Selfcheck", "ShowsLogprobs", "ShowsPrompt", "check_first", "selfcheck"]


@dataclass(frozen=True)
class Selfcheck:
    """All checks of an engine, and the seconds they took."""

    checks: tuple[Check, ...]
    seconds: float

    @property
    def failed(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if check.outcome == "failed")

    @property
    def thinks(self) -> bool:
        """Whether the model thinks although it was asked not to."""
        return any(check.name == THINKING for check in self.failed)

    def json(self) -> dict[str, Any]:
        """The entry in the manifest: the checks by name; only failed checks have a remedy."""
        entries = {c.name: {"outcome": c.outcome, "found": c.found, "expected": c.expected} for c in self.checks}
        for check in self.failed:
            entries[check.name]["remedy"] = check.remedy
        return {"checks": entries, "seconds": round(self.seconds, 2)}


def selfcheck(engine: Engine) -> Selfcheck:
    """Ask `engine` some twenty short questions and judge the answers. Raises ModelError if it answers none."""
    started = time.perf_counter()
    checks = checks_of(gather_evidence(engine))
    return Selfcheck(checks, time.perf_counter() - started)


def check_first(engine: Engine, quiet: bool) -> Selfcheck:
    """Check the engine before `measure` asks its first question; print failed checks on standard error unless `quiet`.

    Raises ModelError if images do not arrive, or arrive in the wrong order.
    """
    if not quiet:
        say(f"{engine.info['model']}: self-check …")
    result = selfcheck(engine)
    for check in result.failed:
        text = f"selfcheck: {check.name}: {check.found}. Expected: {check.expected}. {check.remedy}"
        if check.stops:
            raise ModelError(f"Model {engine.info['model']}: {text} (--no-selfcheck measures all the same.)")
        if not quiet:
            complain(f"warning: {text}")
    return result
