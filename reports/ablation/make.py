"""The ablation of `reports/ablation`: every variant of the demo's recipe, three seeds each, against one run before.

    python reports/ablation/make.py --work runs/ablation --workers 2

Each variant trains the embedded model on fresh `signs` scenes and is measured on the 1,000 test questions. What was
chosen (the demo's recipe) was chosen on the validation split; nothing here selects anything. A variant that is there
already is not made again. Writes `results.json` and `README.md` beside this script.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SEEDS = (0, 1, 2)
VARIANTS: dict[str, tuple[str, list[str]]] = {
    "demo": ("the demo's recipe: forward KL, EMA teacher, on-policy, crop, anchor 25 %", []),
    "jsd": ("divergence: JSD 0.5 (the paper's)", ["divergence=jsd"]),
    "reverse_kl": ("divergence: reverse KL", ["divergence=reverse_kl"]),
    "frozen": ("teacher: frozen", ["teacher=frozen"]),
    "live": ("teacher: the live student", ["teacher=live"]),
    "off_policy": ("off-policy: the crop teacher's own answers", ["rollouts_from=teacher"]),
    "boxed": ("teacher view: full image with a red box", ["teacher_view=boxed"]),
    "full": ("teacher view: full image (control)", ["teacher_view=full"]),
    "anchor_0": ("anchor share: 0 %", ["anchor_share=0"]),
    "anchor_10": ("anchor share: 10 %", ["anchor_share=0.1"]),
}


def one(work: Path, variant: str, seed: int, steps: int) -> dict[str, Any]:
    """Train and measure one variant; the row of the table."""
    out = work / f"{variant}-{seed}"
    if not (out / "comparison.json").exists():
        settings = [f"steps={steps}", f"seed={seed}", "save_every=100000", *VARIANTS[variant][1]]
        train = ["distill", "glance", "--data", f"signs:samples={steps * 32},seed={seed}", "--recipe", "demo"]
        resume = ["--resume"] if (out / "train.jsonl").exists() else []
        _gapbench(*train, "--out", str(out), *resume, "--quiet", *settings)
        _gapbench("measure", str(out / "model"), "-b", "signs", "--out", str(out / "after"), "--quiet")
        _gapbench("compare", str(work / "before"), str(out / "after"), "--out", str(out), "--no-images")
    bench = json.loads((out / "comparison.json").read_text())["benchmarks"]["signs"]
    log = [json.loads(line) for line in (out / "train.jsonl").read_text().splitlines()]
    return {
        "variant": variant,
        "seed": seed,
        "full": bench["after"]["full"]["estimate"],
        "crop": bench["after"]["crop"]["estimate"],
        "gap": bench["after"]["gap"]["estimate"],
        "delta_full": bench["delta"]["full"],
        "delta_crop": bench["delta"]["crop"],
        "gap_closed": bench["gap_closed"],
        "fixed": bench["fixed"],
        "broken": bench["broken"],
        "probe_confidence": next((x["probe_confidence"] for x in reversed(log) if x["probe_confidence"]), None),
        "seconds": round(sum(x["seconds"] for x in log)),
    }


def _gapbench(*args: str) -> None:
    done = subprocess.run([sys.executable, "-m", "gapbench", *args], capture_output=True, text=True)  # noqa: S603  # our own command
    if done.returncode:
        raise SystemExit(f"gapbench {' '.join(args)}\n{done.stderr}")


def table(rows: list[dict[str, Any]], before: dict[str, Any], steps: int) -> str:
    """The report's markdown: mean over seeds and, in brackets, every seed."""
    views = before["benchmarks"]["signs"]["views"]
    start = {v: 100 * views[v]["accuracy"] for v in ("full", "crop")}
    lines = [
        "# Ablation on the embedded model",
        "",
        f"`python reports/ablation/make.py`: every row trains `glance` for {steps} steps by `distill/demo.yaml` "
        "with one setting changed, three seeds each (seed of data, order and sampling), and is measured on the 1,000 "
        "test questions of `signs`. Numbers are percent or points: the mean of the seeds and, in brackets, each seed.",
        "The demo's recipe was chosen on the validation split; these rows were made once, for this table.",
        "",
        f"Before: full {start['full']:.1f}, crop {start['crop']:.1f}, gap {start['crop'] - start['full']:.1f}.",
        "",
        "| variant | full | crop | gap | gap closed | fixed / broken |",
        "|---|---|---|---|---|---|",
    ]
    for variant, (title, _) in VARIANTS.items():
        own = [r for r in rows if r["variant"] == variant]
        if not own:
            continue
        cells = [_cell([100 * r[key] for r in own]) for key in ("full", "crop", "gap")]
        closed = [r["gap_closed"]["estimate"] for r in own]
        cells.append(_cell([100 * c for c in closed if c is not None]) if any(c is not None for c in closed) else "-")
        fixed, broken = (statistics.mean(r[key] for r in own) for key in ("fixed", "broken"))
        lines.append(f"| {title} | {' | '.join(cells)} | {fixed:.0f} / {broken:.0f} |")
    return "\n".join(lines) + "\n"


def _cell(values: list[float]) -> str:
    return f"{statistics.mean(values):.1f} ({', '.join(f'{v:.1f}' for v in values)})"


def main() -> None:
    """Command line of the script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for the trainings; kept for resuming")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--variants", default=",".join(VARIANTS))
    args = parser.parse_args()
    if not (args.work / "before" / "summary.json").exists():
        _gapbench("measure", "glance", "-b", "signs", "--out", str(args.work / "before"), "--quiet")
    jobs = [(variant, seed) for seed in SEEDS for variant in args.variants.split(",")]
    with ThreadPoolExecutor(args.workers) as pool:
        rows = list(pool.map(lambda job: one(args.work, *job, args.steps), jobs))
    before = json.loads((args.work / "before" / "summary.json").read_text())
    (HERE / "results.json").write_text(json.dumps({"steps": args.steps, "rows": rows}, indent=1) + "\n")
    text = table(rows, before, args.steps)
    notes = HERE / "notes.md"
    (HERE / "README.md").write_text(text + ("\n" + notes.read_text() if notes.exists() else ""))
    print(text)


if __name__ == "__main__":
    main()
