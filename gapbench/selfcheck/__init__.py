"""Is this engine telling the truth about images and prompts? Asked with a few images that we draw ourselves.

    found = selfcheck(engine)
    print(found.text())            # gapbench selfcheck MODEL

Six checks (`checks` has the rules): that images arrive, in their order, at the number of tokens that the model's own
processor makes of them; that greedy answers come again, alone and in a batch; that thinking is off; and that the prompt
is the one that the model's template makes. The first two stop a run when they fail, for its numbers would mean nothing;
the others warn.

An engine is judged by its answers and token counts. Two optional methods tell more (`ShowsPrompt`, `ShowsLogprobs`): a
model that answers all images alike, as an untrained one may, still differs in log-probabilities if it sees them.

Limits: what the evidence does not decide is `not applicable`, never `failed`: a false alarm that stops a run is worse
than a miss. Without the prompt's ids, the order of images is known only for models that read large letters.
"""

from __future__ import annotations

import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

from gapbench.errors import ModelError
from gapbench.selfcheck.checks import Check, checks_of
from gapbench.selfcheck.evidence import ShowsLogprobs, ShowsPrompt, look
from gapbench.types import Engine

__all__ = ["Check", "Selfcheck", "ShowsLogprobs", "ShowsPrompt", "check_first", "selfcheck"]


@dataclass(frozen=True)
class Selfcheck:
    """All checks of one engine, and the seconds they took."""

    checks: tuple[Check, ...]
    seconds: float

    @property
    def failed(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if check.outcome == "failed")

    def json(self) -> dict[str, Any]:
        """For `run.json`: the checks by name, with a remedy only where one failed."""
        rows = {check.name: asdict(check) for check in self.checks}
        for row in rows.values():
            del row["name"], row["stops"]
            if row["outcome"] != "failed":
                del row["remedy"]
        return {"checks": rows, "seconds": round(self.seconds, 2)}

    def text(self) -> str:
        """One line a check, and two more for one that failed."""
        lines = []
        for check in self.checks:
            lines.append(f"{check.outcome:14}  {check.name:17}  {check.found}")
            if check.outcome == "failed":
                lines += [f"{'':14}  expected: {check.expected}", f"{'':14}  remedy: {check.remedy}"]
        return "\n".join(lines)


def selfcheck(engine: Engine) -> Selfcheck:
    """Ask `engine` some twenty short questions and judge what comes back. Raises ModelError if it answers nothing."""
    started = time.perf_counter()
    checks = checks_of(look(engine))
    return Selfcheck(checks, time.perf_counter() - started)


def check_first(engine: Engine, quiet: bool) -> Selfcheck:
    """What `measure` does before its first question; what failed is said on standard error, unless `quiet`.

    Raises ModelError if images do not arrive, or not in their order.
    """
    if not quiet:
        print(f"{engine.info['model']}: self-check …", file=sys.stderr, flush=True)
    found = selfcheck(engine)
    for check in found.failed:
        text = f"selfcheck: {check.name}: {check.found}. Expected: {check.expected}. {check.remedy}"
        if check.stops:
            raise ModelError(f"Model {engine.info['model']}: {text} (--no-selfcheck measures all the same.)")
        if not quiet:
            print(f"gapbench: warning: {text}", file=sys.stderr, flush=True)
    return found
