"""Ten models on eight benchmarks, measured, then one page: how long it takes, and how large twenty by ten are.
And the report of one run of 6,000 samples: whether each cell of its flip matrix shows cards.

    python tests/peers/boards_at_scale.py                 # about six minutes on two cores
    python tests/peers/boards_at_scale.py --samples 20    # a quick look

The models are the embedded one and nine copies with noise on their weights; the benchmarks are drawn scenes as own
data.

Goals: a board of the measured runs in under 60 s, `gapbench runs` on 100 runs in under 2 s, a page of 20 x 10 below
20 MB, whose filter answers within 200 ms; no empty cell of cards, and a layout shift below 0.1. The page of 20 x 10
shows the runs again under other names.

Limits: the filter is timed in headless Chromium.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).parents[1]))

from report.live_browser import CHROMIUM, open_page
from report.test_browser import CLICK_CELLS

import gapbench
from gapbench.data import signs
from gapbench.engines import models
from gapbench.util.terminal import say

MODELS, BENCHMARKS = 10, 8
FILTER = """(() => {
  const field = document.querySelector('[name=q]'), times = [];
  for (const text of ['copy', 'copy-7', '']) {
    const began = performance.now();
    field.value = text; field.dispatchEvent(new Event('input', {bubbles: true}));
    void document.body.offsetHeight;
    times.push(performance.now() - began);
  }
  return Math.max(...times);
})()"""


def write_models(folder: Path) -> list[str]:
    """The embedded model, and copies with ever more noise on their weights."""
    import torch

    names = ["glance"]
    for number in range(1, MODELS):
        loaded = models.load("glance")
        torch.manual_seed(number)
        with torch.no_grad():
            for weight in loaded.model.parameters():
                weight += 0.02 * number * weight.std(unbiased=False) * torch.randn_like(weight)
        path = folder / f"copy-{number}"
        loaded.model.save_pretrained(path)
        loaded.processor.save_pretrained(path)
        names.append(str(path))
    return names


def write_benchmarks(folder: Path, samples: int) -> list[str]:
    """Drawn scenes as JSONL with images, a file a benchmark."""
    folder.mkdir()
    files = []
    for number in range(BENCHMARKS):
        rows = []
        settings = models.benchmark_defaults("glance")["signs"] | {"seed": number, "samples": samples}
        for sample in signs.samples(**settings):
            image = folder / f"{number}-{sample.id}.png"
            sample.image().save(image)
            rows.append({
                "id": sample.id, "image": image.name, "question": sample.question, "answer": sample.answers[0],
                "bbox": sample.boxes[0],
            })  # fmt: skip
        files.append(folder / f"scenes{number}.jsonl")
        files[-1].write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return [f"{path}:bbox_format=xyxy" for path in files]


def seconds_of(*words: str) -> float:
    """Wall time of a command of gapbench, its start included."""
    started = time.monotonic()
    subprocess.run([sys.executable, "-m", "gapbench", *words], check=True, capture_output=True)
    return time.monotonic() - started


def copied(runs: Sequence[Path], folder: Path, count: int) -> Path:
    for number in range(count):
        shutil.copytree(runs[number % len(runs)], folder / f"run-{number:03d}")
    return folder


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=60, help="of each benchmark")
    samples = parser.parse_args(arguments).samples
    missed = 0

    def row(what: str, value: float, goal: float, unit: str) -> None:
        nonlocal missed
        missed += value >= goal
        say(f"{what:58s} {value:8.2f} {unit}, wanted below {goal:g}{' !' if value >= goal else ''}", sys.stdout)

    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        files = write_benchmarks(folder / "data", samples)
        runs = []
        started = time.monotonic()
        for model in write_models(folder / "models"):
            runs.append(gapbench.measure(model, files, out=folder / "runs" / Path(model).name, selfcheck=False).path)
        say(f"{MODELS} models x {BENCHMARKS} benchmarks x {samples} samples x 2 views measured in "
            f"{time.monotonic() - started:.0f} s", sys.stdout)  # fmt: skip
        row(
            "board of the measured runs", seconds_of("board", str(folder / "runs"), "--out", str(folder / "b")), 60, "s"
        )
        hundred = copied(runs, folder / "hundred", 100)
        row("gapbench runs on 100 runs", seconds_of("runs", str(hundred)), 2, "s")
        twenty = copied(runs, folder / "twenty", 2 * MODELS)
        for path in sorted(twenty.iterdir()):
            enlarge(path, again=int(path.name[-3:]) >= MODELS)
        page = gapbench.board(twenty, folder / "page").path / "board.html"
        row(f"page of {2 * MODELS} x {BENCHMARKS + 2}", page.stat().st_size / 1e6, 20, "MB")
        if CHROMIUM:
            with open_page(page) as live:
                row("its filter", live.run(FILTER), 200, "ms")
        run = gapbench.measure("glance", [f"signs:samples={100 * samples}"], out=folder / "large", selfcheck=False)
        (entry,) = run.summary["benchmarks"].values()
        row(f"report of {100 * samples} samples", (run.path / "report.html").stat().st_size / 1e6, 20, "MB")
        if CHROMIUM:
            with open_page(run.path / "report.html") as live:
                shown = {flip: len(cards) for flip, cards in live.run(CLICK_CELLS).items()}
                empty = sum(not shown.get(flip) for flip, count in entry["pairs"].items() if count)
                say(f"samples by cell: {entry['pairs']}; cards shown when clicked: {shown}", sys.stdout)
                row("cells that show no card", empty, 1, "")
                row("layout shift", live.run("window.shift"), 0.1, "")
    return 1 if missed else 0


def enlarge(path: Path, again: bool) -> None:
    """Two benchmarks more: the first two under other names. `again`: the model gets another name."""
    manifest = json.loads((path / "run.json").read_text(encoding="utf-8"))
    manifest["model"] += "-again" if again else ""
    lines = [json.loads(line) for line in (path / "records.jsonl").read_text(encoding="utf-8").splitlines()]
    for name in list(manifest["tasks"])[:2]:
        manifest["tasks"][f"{name}-more"] = manifest["tasks"][name]
        lines += [{**line, "benchmark": f"{name}-more"} for line in lines if line["benchmark"] == name]
    (path / "run.json").write_text(json.dumps(manifest), encoding="utf-8")
    (path / "records.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
