"""A diagnosis: what was looked at before a run, how it is, and what helps if it is not well.

Diagnosis("glance", "transformers", (Observation("context", "ok", "longest prompt 90 tokens, of 2,048"),), 4.1, 9.0)
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from gapbench.errors import KEPT, GapbenchError
from gapbench.util.terminal import clean, say

TEXT = 40
"""Characters of text that a line should have beside its indent; in narrower terminals the indent shrinks."""

ObservationLevel = Literal["ok", "warning", "fails", "skipped"]


@dataclass(frozen=True)
class Observation:
    """One line of a diagnosis. `remedy` is empty if nothing is wrong."""

    name: str
    level: ObservationLevel
    found: str
    remedy: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """All observations, in order, and the seconds they took: before weights were read, and altogether."""

    model: str
    engine: str
    observations: tuple[Observation, ...]
    seconds_before_weights: float
    seconds: float

    @property
    def fails(self) -> bool:
        """Whether a run could not be made, or its numbers would mean nothing."""
        return any(one.level == "fails" for one in self.observations)

    def json(self) -> dict[str, Any]:
        """The fields, JSON-ready."""
        return asdict(self)

    def text(self, width: int = 110) -> str:
        """One screen: each observation, with its remedy below it."""
        name = max(len(one.name) for one in self.observations)
        indent = 9 + name + 2
        indent = indent if indent + TEXT <= width else 4
        lines = []
        for one in self.observations:
            head = f"{one.level:9}{one.name:{name}}  "
            for text, first in ((one.found, head), (one.remedy, f"{'':{indent}}-> ")):
                folded = textwrap.wrap(clean(text), width, initial_indent=first, subsequent_indent=" " * indent)
                lines += folded if text else []
        return "\n".join(lines)


@dataclass
class Notes:
    """Collects observations. `say` is called with the name of each step."""

    say: Callable[[str], None] = say
    observations: list[Observation] = field(default_factory=list)

    def add(self, name: str, found: str, level: ObservationLevel = "ok", remedy: str = "") -> None:
        """Add an observation."""
        self.observations.append(Observation(name, level, found, remedy))

    def step(self, name: str) -> Step:
        """A context in which an error that a user can act on becomes an observation that fails, and ends the step."""
        self.say(name)
        return Step(self, name)

    @property
    def failed(self) -> list[str]:
        """The names of what fails so far."""
        return [one.name for one in self.observations if one.level == "fails"]


@dataclass(frozen=True)
class Step:
    """See `Notes.step`."""

    notes: Notes
    name: str

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, GapbenchError):
            self.notes.add(self.name, str(error).removesuffix(KEPT).rstrip(), "fails")
        return isinstance(error, GapbenchError)
