"""One call of `gapbench distill`: what is trained, by which recipe, and where it is written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gapbench.distillation.recipe import Recipe
from gapbench.util.terminal import say


@dataclass(frozen=True)
class Job:
    """The student's `model` with where and how it is loaded, the recipe, and the folder of the training.

    `resume`: continue from the folder's newest checkpoint. `quiet`: print neither messages nor progress, as in all
    processes but the first.
    """

    model: str
    recipe: Recipe
    folder: Path
    revision: str | None = None
    trust_remote_code: bool = False
    resume: bool = False
    quiet: bool = True

    def say(self, text: str) -> None:
        """A message on standard error, unless quiet."""
        if not self.quiet:
            say(text)
