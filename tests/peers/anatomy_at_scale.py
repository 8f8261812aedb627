"""The anatomy of the embedded model's gap on 1,000 samples: time, parts, bounds; twelve views in one run or in twelve.

    python tests/peers/anatomy_at_scale.py                  # about five minutes on two cores
    python tests/peers/anatomy_at_scale.py --samples 100    # a quick look

The processor may make four times the tokens that it is set to, so that there is a larger full view.

Goals: `--views factorial` over 1,000 samples in at most 6 minutes; the parts add up; hide and random_crop are at most 5
points above blind, by the upper bound; a run of twelve views takes less time than twelve runs of one view each.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import gapbench
from gapbench.runs.run import Run
from gapbench.util.terminal import say

TWELVE = (
    "full", "crop", "blind", "blank", "boxed", "hint", "coordinates", "mask", "crop:factor=2", "crop_native", "hide",
    "random_crop",
)  # fmt: skip
PARTS = ("resolution", "surroundings", "both", "rest")


def timed(samples: int, views: str, out: Path) -> tuple[Run, float]:
    started = time.monotonic()
    run = gapbench.measure(
        "glance", [f"signs:samples={samples}"], views=views, out=out, selfcheck=False,
        processor_kwargs={"size": {"shortest_edge": 94 * 94, "longest_edge": 192 * 192}},
    )  # fmt: skip
    return run, time.monotonic() - started


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=1000)
    samples = parser.parse_args(arguments).samples
    missed = 0

    def row(what: str, value: float, goal: float, unit: str) -> None:
        nonlocal missed
        missed += value > goal
        say(f"{what:58s} {value:8.2f} {unit}, wanted at most {goal:g}{' !' if value > goal else ''}", sys.stdout)

    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        run, seconds = timed(samples, "factorial", folder / "factorial")
        row(f"factorial over {samples} samples", seconds / 60, 6, "min")
        (entry,) = run.summary["benchmarks"].values()
        found = entry["anatomy"]
        say(found["sentence"], sys.stdout)
        parts, steps = found["parts"], found["waterfall"]["steps"]
        sums = {
            "resolution + surroundings + both + rest - gap": [parts[name]["estimate"] for name in PARTS],
            "steps of the waterfall - gap": [step["estimate"] for step in steps],
        }
        say(", ".join(f"{name} {100 * parts[name]['estimate']:.1f}" for name in ("gap", *PARTS)), sys.stdout)
        say(", ".join(f"{step['to']} {100 * step['estimate']:+.1f}" for step in steps), sys.stdout)
        for name, terms in sums.items():
            row(name, 100 * abs(math.fsum(terms) - parts["gap"]["estimate"]), 1e-9, "points")
        for view, above in found["against_prior"].items():
            row(f"{view} - blind, upper bound", 100 * above["ci"][1], 5, "points")

        together = timed(samples // 5, ",".join(TWELVE), folder / "together")[1]
        alone = [timed(samples // 5, view, folder / view.replace(":", "-"))[1] for view in TWELVE]
        say(f"twelve views alone: {', '.join(f'{s:.1f}' for s in alone)} s", sys.stdout)
        row(f"twelve views of {samples // 5} samples together / alone", together / math.fsum(alone), 1, "")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
