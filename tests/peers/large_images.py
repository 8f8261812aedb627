"""Does a model wait for large images, and how much of a batch is padding? Two checkouts, in turn.

    git worktree add ../before COMMIT
    python tests/peers/large_images.py ../before . --sizes 1344x1344 3840x2160 7680x4320 --rounds 3

`measure` runs on JPEG files with an evidence box of 42 to 300 pixels each, in the full view and the crop, with
Qwen3-VL's image processor at its published bounds (65,536 to 16,777,216 pixels) and the budget of tokens that an
accelerator has, or --budget. The model is a stand-in: a step sleeps for --step seconds per 8,160 tokens of the batch,
padding included, as a GPU would work beside the processor, and answers nothing. So this tells how well the images are
made ready, and nothing of models.

*waiting* is `waited_for_images` of `run.json`: the share of the session in which the model had no batch, the first one
included. *CPU* is the processor time of an image and its crop; divided by the stand-in's time for them, it is the
number of cores that keep it busy. *padding* is the share of the tokens of all batches. *peak* is the process's memory.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

BOUNDS = {"shortest_edge": 65_536, "longest_edge": 16_777_216}
PROMPT = 8_160
"""Tokens of an image of 3840 x 2160."""


def make(folder: Path, size: str, count: int) -> Path:
    """`count` images of a size, and the file of questions about them."""
    import numpy as np
    from PIL import Image

    width, height = map(int, size.split("x"))
    rows = []
    for number in range(count):
        rng = np.random.default_rng(number)
        image = Image.fromarray(rng.integers(0, 256, (height // 6, width // 6, 3), dtype=np.uint8))
        image.resize((width, height), Image.Resampling.BICUBIC).save(folder / f"{number}.jpg", quality=90)
        side = int(rng.integers(42, 301))
        x, y = int(rng.integers(0, width - side)), int(rng.integers(0, height - side))
        row = {"id": str(number), "image": f"{number}.jpg", "bbox": [x, y, x + side, y + side], "answer": "yes"}
        rows.append({**row, "bbox_format": "xyxy", "question": "Is the sign red?", "answer_type": "yes_no"})
    path = folder / "questions.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def make_model(folder: Path) -> None:
    """The tiny Qwen3-VL with the published bounds of its image processor, and room for long prompts."""
    from tiny_models import build

    build("qwen3_vl", folder)
    for name, change in (
        ("processor_config.json", lambda found: found["image_processor"].update(size=BOUNDS)),
        ("config.json", lambda found: found["text_config"].update(max_position_embeddings=262_144)),
        ("tokenizer_config.json", lambda found: found.update(model_max_length=262_144)),
    ):
        found = json.loads((folder / name).read_text())
        change(found)
        (folder / name).write_text(json.dumps(found))


def ask(model: Path, questions: Path, step: float, budget: int) -> dict[str, Any]:
    """`measure` with the stand-in, in this process."""
    import torch

    import gapbench
    from gapbench.engines import transformers as engine

    tokens = [0, 0]
    batches = []

    def stand_in(self: engine.TransformersEngine, inputs: Any, keys: Any) -> tuple[Any, list[list[float]]]:
        batches.append(len(keys))
        tokens[0] += inputs["input_ids"].numel()
        tokens[1] += int(inputs["attention_mask"].sum())
        time.sleep(step * inputs["input_ids"].numel() / PROMPT)
        return torch.full((len(keys), 1), 2), [[] for _ in keys]

    engine.TransformersEngine._run = stand_in  # type: ignore[method-assign]
    engine.TOKEN_BUDGET["cpu"] = budget
    with tempfile.TemporaryDirectory() as out:
        began = time.process_time()
        gapbench.measure(str(model), str(questions), ("full", "crop"), out, selfcheck=False, region="union")
        busy = time.process_time() - began
        took = json.loads((Path(out) / "run.json").read_text())["sessions"][-1]["throughput"]
    return {
        "seconds": took["seconds"],
        "waiting": took["waited_for_images"],
        "cpu": 2 * busy / took["answers"],
        "samples": took["answers"] / 2 / took["seconds"],
        "padding": 1 - tokens[1] / tokens[0],
        "batches": len(batches),
        "step": 2 * step * tokens[1] / PROMPT / took["answers"],
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path, help="a checkout")
    parser.add_argument("after", type=Path, help="another one")
    parser.add_argument("--sizes", nargs="+", default=["1344x1344", "3840x2160", "7680x4320"])
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--step", type=float, default=0.15, help="seconds of the stand-in per 8,160 tokens")
    parser.add_argument("--budget", type=int, default=131_072, help="tokens of a batch")
    parser.add_argument("--threads", type=int, default=1, help="OMP_NUM_THREADS")
    parser.add_argument("--child", nargs=2, type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(ask(*args.child, args.step, args.budget)))
        return
    print("| image | checkout | waiting | samples/s | CPU s | cores for this step | padding | batches | peak GB |")
    print("|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as work:
        make_model(Path(work) / "model")
        for size in args.sizes:
            folder = Path(work) / size
            folder.mkdir()
            questions = make(folder, size, args.images)
            took: dict[str, list[dict[str, Any]]] = {"before": [], "after": []}
            for number in range(args.rounds):
                for side in [*took][:: 1 if number % 2 else -1]:
                    settings = {"PYTHONPATH": str(getattr(args, side).resolve()), "HF_HUB_OFFLINE": "1"}
                    settings["OMP_NUM_THREADS"] = str(args.threads)
                    command = [sys.executable, __file__, ".", ".", "--step", str(args.step), "--budget",
                               str(args.budget), "--child", f"{work}/model", str(questions)]  # fmt: skip
                    done = subprocess.run(
                        command, env={**os.environ, **settings}, cwd=work, check=True, stdout=subprocess.PIPE
                    )
                    took[side].append(json.loads(done.stdout.splitlines()[-1]))
            for side, found in took.items():
                m = {name: statistics.median(one[name] for one in found) for name in found[0]}
                print(
                    f"| {size} | {side} | {m['waiting']:.2f} | {m['samples']:.2f} | {m['cpu']:.2f} | "
                    f"{m['cpu'] / m['step']:.1f} | {m['padding']:.3f} | {m['batches']:.0f} | {m['peak']:.1f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
