"""The demo's first steps as a text file: a change of the method changes these numbers.

    GAPBENCH_UPDATE_GOLDEN=1 python -m pytest tests/distillation/test_golden.py      # rewrites golden_demo.txt

It is the demo but for 4 prompts a step in place of 32, stopped after step 20 of its 220. Every number depends on the
data and its order, the views and the prompt, the rollouts, the divergence, the teacher, the optimiser and its schedule.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from gapbench.data import catalogue
from gapbench.distillation import loop, training
from gapbench.distillation.job import Job
from gapbench.distillation.pairs import Pairs
from gapbench.distillation.recipe import Recipe, load

GOLDEN = Path(__file__).with_name("golden_demo.txt")
STEPS = 20
COLUMNS = ("step", "loss", "divergence", "entropy", "mean_length", "grad_norm")


class Enough(Exception):
    """The steps that are compared are done."""


def first_steps(recipe: Recipe, out: Path) -> list[Mapping[str, Any]]:
    """The log of the first steps."""
    lines: list[Mapping[str, Any]] = []

    def watch(line: Mapping[str, Any]) -> None:
        lines.append(line)
        if len(lines) == STEPS:
            raise Enough

    accelerator = training.make_accelerator(recipe, out)
    job, pairs = Job("glance", recipe, out), Pairs(catalogue.load("signs:split=train,samples=8000"), recipe)
    setup, _ = training.set_up(job, pairs, accelerator, training._load(job, accelerator))
    with pytest.raises(Enough):
        loop.train(setup, watch=watch)
    return lines


@pytest.mark.slow
def test_the_demos_first_steps_are_what_they_were(tmp_path: Path) -> None:
    lines = first_steps(load("demo", ["prompts_per_step=4", "probe_every=0"]), tmp_path)
    rows = [[f"{line[name]:.6g}" for name in COLUMNS] for line in lines]
    if os.environ.get("GAPBENCH_UPDATE_GOLDEN") == "1":
        GOLDEN.write_text("\n".join("\t".join(row) for row in [list(COLUMNS), *rows]) + "\n", encoding="utf-8")
    columns, *golden = [line.split("\t") for line in GOLDEN.read_text(encoding="utf-8").splitlines()]
    assert columns == list(COLUMNS)
    for row, expected in zip(rows, golden, strict=True):
        assert [float(x) for x in row] == pytest.approx([float(x) for x in expected], rel=1e-3), f"step {row[0]}"
