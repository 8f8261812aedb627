"""Is gapbench as fast as it was? The same measurement from two checkouts, in turn.

    git worktree add ../before COMMIT
    python tests/peers/two_checkouts.py ../before . --pairs 15 -- measure glance -b signs --limit 500 --quiet

Both run in this environment, each as a process of its own, A B, B A, A B, …, so that whoever else uses the machine
slows both. User CPU seconds of the process and its children are compared. Prints the median of each and the median of
the ratios B / A, with the smallest and largest.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median


def seconds(checkout: Path, command: list[str]) -> float:
    """User CPU seconds of one run."""
    environment = {**os.environ, "PYTHONPATH": str(checkout.resolve()), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        out = [] if "--out" in command or command[0].startswith("-") else ["--out", str(Path(folder) / "out")]
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        subprocess.run(
            [sys.executable, "-m", "gapbench", *command, *out], env=environment, cwd=folder, check=True,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        return resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before


def main() -> None:
    """Command line of the script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("a", type=Path, help="a checkout")
    parser.add_argument("b", type=Path, help="another one")
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("command", nargs="+", help="what gapbench is told; --out is added")
    given = parser.parse_args()
    times: dict[Path, list[float]] = {given.a: [], given.b: []}
    for number in range(given.pairs):
        for checkout in (given.a, given.b) if number % 2 == 0 else (given.b, given.a):
            times[checkout].append(seconds(checkout, given.command))
        print(f"{number + 1}: {times[given.a][-1]:.2f} s, {times[given.b][-1]:.2f} s", flush=True)
    ratios = [b / a for a, b in zip(times[given.a], times[given.b], strict=True)]
    print(f"A {median(times[given.a]):.2f} s, B {median(times[given.b]):.2f} s user CPU, medians of {given.pairs}")
    print(f"B / A: median {median(ratios):.3f}, from {min(ratios):.3f} to {max(ratios):.3f}")


if __name__ == "__main__":
    main()
