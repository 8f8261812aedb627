"""glance taught by data that it made itself of plain scenes: gap closed with gates, without, and with random windows.

    python tests/peers/proposals.py                                      # 1,200 scenes, 3 seeds: about 40 minutes
    python tests/peers/proposals.py --images 200 --seeds 1 --samples 400  # a quick look

The scenes are those of the train stream with another seed than the demo's. Their boxes, questions and answers are read
only afterwards, to say how many rows are right. The control has the same questions, each with a random window of the
image of the same size. Without gates a quarter of the images makes more rows than all do with them. Every training is
the demo's recipe, which chooses the step by held-out divergence.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import gapbench
from gapbench.data import signs
from gapbench.data.plain_images import plain_images
from gapbench.engines import models
from gapbench.proposals import outputs
from gapbench.proposals.windows import overlap
from gapbench.util.terminal import say

SPEC = "signs:split=train,seed=7,samples={count}"


def right_rows(path: Path, spec: str, limit: int) -> tuple[int, int, int]:
    """Of the kept rows: all, those whose listed answer is true of just one sign, and those whose box holds it whole."""
    _, images = plain_images(spec, limit, models.benchmark_defaults("glance"))
    rows = outputs.kept_rows(outputs.read_audit(path))
    right = whole = 0
    for row in rows:
        scene: signs.Scene = images[row["number"]].image.args[0]
        named = [s for s in scene.signs if all(s.attribute(n) == row["facts"][n] for n in row["named"])]
        if len(named) == 1 and named[0].attribute(row["asked"]) == row["listed"]:
            right += 1
            x0, y0, x1, y1 = named[0].box
            whole += overlap((x0, y0, x1, y1), tuple(row["bbox"])) >= 0.95
    return len(rows), right, whole


def at_random(source: Path, out: Path) -> None:
    """The same rows with boxes of the same size at random places."""
    rows = [json.loads(line) for line in source.read_text(encoding="utf-8").splitlines()]
    for row in rows:
        rng, (x0, y0, x1, y1) = random.Random(f"control {row['id']}"), row["bbox"]
        x, y = (float(rng.randint(0, round(96 - side))) for side in (x1 - x0, y1 - y0))
        row["bbox"] = [x, y, x + x1 - x0, y + y1 - y0]
        row["image"] = str((source.parent / row["image"]).resolve())
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def measured(model: str | Path, out: Path, samples: int) -> tuple[float, float]:
    """Full and crop accuracy on the test split, in percent."""
    run = gapbench.measure(str(model), [f"signs:samples={samples}"], out=out, selfcheck=False)
    (entry,) = run.summary["benchmarks"].values()
    return 100 * entry["views"]["full"]["accuracy"], 100 * entry["views"]["crop"]["accuracy"]


def trained(data: Path, out: Path, seed: int, overrides: Iterable[str], samples: int) -> tuple[float, float, float]:
    """Full and crop accuracy after training on the data, and the seconds that training took."""
    started = time.monotonic()
    done = gapbench.distill("glance", str(data), "demo", out, holdout=False, overrides=[f"seed={seed}", *overrides])
    seconds = time.monotonic() - started
    return *measured(done.model_path, out / "run", samples), seconds


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1200)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--samples", type=int, default=1000, help="test samples")
    parser.add_argument("--out", type=Path, help="keep everything in this folder; a later call goes on")
    parser.add_argument("--set", nargs="*", default=[], dest="overrides", help="KEY=VALUE of the recipe")
    parser.add_argument("--propose", nargs="*", default=[], dest="settings", help="KEY=VALUE of proposing")
    parser.add_argument("--batch-size", type=int, help="prompts in a batch while proposing")
    given = parser.parse_args(arguments)
    with TemporaryDirectory() as temporary:
        return compare(given, given.out or Path(temporary))


def compare(given: argparse.Namespace, folder: Path) -> int:
    """Propose, train, measure, and print one table."""
    spec = SPEC.format(count=4 * given.images)
    full, crop = measured("glance", folder / "before", given.samples)
    gap = crop - full
    say(f"before: full {full:.1f}, crop {crop:.1f}, gap {gap:.1f} on {given.samples} test samples\n", sys.stdout)
    made: dict[str, Path] = {}
    batch = {"batch_size": given.batch_size} if given.batch_size else {}
    for name, settings in {"all gates": [], "no gates": ["gates=[]"]}.items():
        images = given.images if not settings else given.images // 4
        started = time.monotonic()
        path = folder / name.replace(" ", "-") / "data.jsonl"
        proposed = gapbench.propose(
            spec, "glance", path, limit=images, settings=[*given.settings, *settings], accept_noisy=bool(settings),
            quiet=False, **batch,
        )  # fmt: skip
        count, right, whole = right_rows(path, spec, images)
        say(f"{name}: {time.monotonic() - started:.0f} s for {images} images\n{proposed.text()}", sys.stdout)
        shares = f"{right / max(1, count):.1%} right, {whole / max(1, count):.1%} with the whole sign in the box"
        say(f"  in truth: {count} rows, {shares}", sys.stdout)
        say(f"  refused: {proposed.card['accepted_noisy'] or proposed.refused or 'no'}\n", sys.stdout)
        made[name] = path
    made["random windows"] = folder / "random" / "data.jsonl"
    at_random(made["all gates"], made["random windows"])
    say(
        "| data | rows | seed | full | crop | crop lost | gap closed | training s |\n|---|---|---|---|---|---|---|---|",
        sys.stdout,
    )
    closed: list[float] = []
    lost: list[float] = []
    for name, path in made.items():
        rows = sum(1 for _ in path.open(encoding="utf-8"))
        for seed in range(given.seeds if name == "all gates" else 1):
            result = trained(path, path.parent / f"seed-{seed}", seed, given.overrides, given.samples)
            share = 100 * (1 - (result[1] - result[0]) / gap)
            if name == "all gates":
                closed.append(share)
                lost.append(crop - result[1])
            figures = [f"{value:.1f}" for value in (result[0], result[1], crop - result[1])]
            cells = [name, str(rows), str(seed), *figures, f"{share:.0f} %", f"{result[2]:.0f}"]
            say(f"| {' | '.join(cells)} |", sys.stdout)
    mean_lost = sum(lost) / len(lost)
    reached = min(closed) >= 65 and mean_lost <= 4
    found = f"at least {min(closed):.0f} % of the gap closed (wanted: 65), mean crop loss {mean_lost:.1f} (wanted: 4)"
    say(f"\nall gates: {found}: {'reached' if reached else 'missed'}", sys.stdout)
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
