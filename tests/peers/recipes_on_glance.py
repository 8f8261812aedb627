"""What each recipe makes of the embedded model: full, crop, gap and lost in full, for several seeds.

    python tests/peers/recipes_on_glance.py                                  # `python scripts/evidence.py recipes`
    python tests/peers/recipes_on_glance.py --only opd-aha --seeds 0 --steps 20 --limit 100 --out runs/recipes

Each recipe keeps its views, target, weights, divergence and teacher. What depends on the size of model and answers is
the demo's: its data, steps, prompts, learning rate, schedule and share of anchors (`SCHEDULE`), 32 rollouts a step. So
this compares the methods on one small model under one schedule, which was chosen for the demo. It does not reproduce
what their authors report.

With `--out` a training that is finished there is not repeated, nor is what was measured.

Limits: no checkpoint is chosen, all models are those of the last step. `glance` answers in one word, so little depends
on the prefix. Its vocabulary has 441 tokens, so a tilt over 100 of them is a tilt over noise: on the training split,
before training, the tilted teacher's likeliest token is the teacher's own for 72 to 75 % of the first tokens among 10
to 50, and for 59 % among 100; hence the rows with 20 tokens, tried after 100 did badly. It reads images of 96 px as
well at 0.3 to 0.6 of their size, so `s2vopd` has little to teach it.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gapbench
from gapbench.distillation import recipe as recipes

DATA = "signs:samples=8000"
SCHEDULE = (
    "region=", "teacher_enlarge=1", "prompts_per_step=32", "rollouts_per_prompt=1", "max_new_tokens=4",
    "learning_rate=4e-4", "warmup_steps=10", "schedule=cosine", "beta2=0.98", "micro_batch_tokens=8192",
    "gradient_checkpointing=false", "save_every=1000", "probe_every=0", "eval_every=0",
)  # fmt: skip
SEVERAL = ("prompts_per_step=8", "rollouts_per_prompt=4")
"""As many rollouts a step, of which several answer one prompt."""
ROWS: Mapping[str, tuple[str, Sequence[str]]] = {
    "demo": ("demo", ()),
    "demo, located boxes": ("demo", ()),
    "opd-aha": ("opd-aha", ("anchor_share=0.25",)),
    "s2vopd": ("s2vopd", ()),
    "v-zero": ("v-zero", ("anchor_share=0.25", *SEVERAL)),
    "hard": ("hard", ("anchor_share=0.25",)),
    "opd-aha, 20 tokens": ("opd-aha", ("anchor_share=0.25", "top_k=20")),
    "hard, 20 tokens": ("hard", ("anchor_share=0.25", "top_k=20")),
    "v-zero, forward KL": ("v-zero", ("anchor_share=0.25", *SEVERAL, "divergence=forward_kl", "support=full")),
    "forward KL, 4 rollouts": ("demo", SEVERAL),
}
"""Name in the table: recipe, and its settings besides `SCHEDULE`. The last row is the one before it without weights."""
LOCATED, USUAL = "demo, located boxes", 8
"""The row that trains on boxes that a model located; how many rows are made unless `--only` names others."""
MEASURES = ("full", "crop", "gap", "lost_in_full")


def train(row: str, seed: int, steps: int, folder: Path, regions: Path) -> Path:
    """The folder of the trained model."""
    out = folder / f"{row.replace(', ', '-').replace(' ', '-')}-{seed}"
    if not (out / "model" / "README.md").exists():
        recipe, settings = ROWS[row]
        overrides = [*SCHEDULE, f"steps={steps}", f"seed={seed}", *settings]
        gapbench.distill(
            "glance", DATA, recipe, out, overrides=overrides, holdout=False, quiet=False,
            regions=regions if row == LOCATED else None, resume=out.exists(),
        )  # fmt: skip
    return out / "model"


def measure(model: str, out: Path, limit: int | None) -> dict[str, float]:
    """Percent of the test split of `signs`, by measure."""
    summary = gapbench.measure(model, ["signs"], out=out, limit=limit).summary
    (entry,) = summary["benchmarks"].values()
    gap, lost = entry["gap"], entry["lost_in_full"]
    shares = (gap["full"], gap["crop"], gap["estimate"], lost["estimate"])
    return dict(zip(MEASURES, (100 * share for share in shares), strict=True))


def cells(values: Sequence[Mapping[str, float]], before: Mapping[str, float]) -> str:
    """Mean over seeds, and their range in brackets where there are several."""
    columns = {name: [one[name] for one in values] for name in MEASURES}

    parts = []
    for name, numbers in columns.items():
        span = f" [{min(numbers):.1f}, {max(numbers):.1f}]" if len(numbers) > 1 else ""
        parts.append(f"{name.replace('_', ' ')} {sum(numbers) / len(numbers):5.1f}{span}")
    return "   ".join(parts)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(ROWS), default=list(ROWS)[:USUAL])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=220)
    parser.add_argument("--limit", type=int, help="measured samples of `signs`; default: all")
    parser.add_argument("--out", type=Path, help="folder for trainings and runs; default: a temporary one")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        report(given, given.out or Path(temporary))


def report(given: Any, folder: Path) -> None:
    """Train, measure and print a line as soon as a row is done."""
    regions = folder / "regions.jsonl"
    if LOCATED in given.only:
        used = max(given.steps * 32, 100)  # the first ones; those without a box are left out
        located = gapbench.locate("glance", [f"{DATA},split=train"], out=regions, limit=used, quiet=False)
        print(f"{located.text()}\n", flush=True)
    before = measure("glance", folder / "before", given.limit)
    print(f"{given.steps} steps, seeds {', '.join(map(str, given.seeds))}; means over seeds, and their range\n")
    print(f"{'before':24} {cells([before], before)}", flush=True)
    for row in given.only:
        found = []
        for seed in given.seeds:
            model = train(row, seed, given.steps, folder, regions)
            found.append(measure(str(model), model.parent / "measured", given.limit))
            if len(given.seeds) > 1:
                print(f"  {row + f', seed {seed}':22} {cells(found[-1:], before)}", flush=True)
        print(f"{row:24} {cells(found, before)}", flush=True)
    print("\nSettings of each row, besides those of its recipe and the schedule:")
    for row in given.only:
        recipe, settings = ROWS[row]
        views = " and ".join(view.name for view in recipes.load(recipe, [*SCHEDULE, *settings]).views)
        print(f"  {row}: recipe {recipe}, views {views}{'; ' if settings else ''}{' '.join(settings)}")


if __name__ == "__main__":
    main()
