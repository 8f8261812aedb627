"""The time of a training step: gapbench against TRL's `DistillationTrainer`, and 8 rollouts against 8 times one.

    pip install "trl>=1.16,<1.17" datasets
    python tests/peers/distillation_step.py --prompts 24 --steps 8 --rounds 3

All in this process, in turn, on the embedded model: the same prompts, every answer exactly `--tokens` tokens long, one
rollout per prompt (TRL's limit), full vocabulary, JSD 0.5, a frozen teacher that sees the same full image (TRL knows
no other), AdamW, float32, no checkpointing of activations. Images are drawn beforehand. The clock covers generation,
processing of images, both forward passes, the backward pass and the optimizer; the first step of each side is
dropped. Prints medians and ratios.

TRL is imported here alone; without it only the rollouts are compared.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

os.environ.update(HF_HUB_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1", TRL_EXPERIMENTAL_SILENCE="1")

from gapbench.data import catalogue, signs
from gapbench.distillation import loop, training
from gapbench.distillation import recipe as recipes
from gapbench.distillation.pairs import Pairs
from gapbench.distillation.student import make_role
from gapbench.distillation.teachers import Teacher
from gapbench.engines.models import load
from gapbench.glance import FOLDER
from gapbench.views.prompts import prompt

SMALL = {**asdict(signs.SMALL), "split": "train", "categories": "letter,shape"}


def ours(prompts: int, rollouts: int, steps: int, tokens: int) -> list[float]:
    """Seconds of each step but the first, by the wall clock between the log lines."""
    import accelerate
    import torch

    recipe = recipes.make(
        {
            "student_view": "full", "teacher_view": "full", "teacher_enlarge": 1.0, "prompts_per_step": prompts,
            "rollouts_per_prompt": rollouts, "max_new_tokens": tokens, "support": "full", "teacher": "frozen",
            "steps": steps, "learning_rate": 1e-5, "warmup_steps": 0, "probe_every": 0, "save_every": 10**6,
            "precision": "no", "micro_batch_tokens": 65536, "rollout_tokens": 65536,
        }
    )  # fmt: skip
    benchmark = catalogue.load("signs", {"signs": {**SMALL, "samples": prompts * steps}})
    pairs = Pairs(benchmark, recipe, samples=[replace(s, image=s.image()) for s in benchmark.samples()])
    accelerator = accelerate.Accelerator(cpu=True)
    role = make_role(load("glance", dtype="float32", device="cpu"), recipe)
    optimizer = torch.optim.AdamW(role.model.parameters(), lr=1e-5, weight_decay=0.01)
    found = training.find_forward_mode(role, [(p.student, p.text) for p in pairs.step(0)[:2]], recipe)
    role = role.with_mode(found.mode)
    times: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        # Answers end at no token, so that all have the same length on both sides.
        role = replace(role, ends=(), suppressed=(*role.suppressed, *role.ends))
        setup = loop.TrainingSetup(recipe, pairs, accelerator, role, Teacher(recipe, role), optimizer, Path(folder))
        last = time.perf_counter()

        def watch(line: Any) -> None:
            nonlocal last
            now = time.perf_counter()
            times.append(now - last)
            last = now
            assert line["mean_length"] == tokens, line

        loop.train(setup, watch=watch)
    return times[1:]


def trl(prompts: int, steps: int, tokens: int) -> list[float]:
    """The same of TRL, from a callback at the beginning and end of each step."""
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import DistillationConfig, DistillationTrainer

    rows = []
    for sample in signs.samples(samples=prompts * steps, **SMALL):
        rows.append({"prompt": [{"role": "user", "content": prompt(sample)}], "images": [sample.image()]})
    times: list[float] = []

    class Clock(TrainerCallback):  # type: ignore[misc]
        """Takes the time between the ends of two steps, so that nothing of a step is left out."""

        def __init__(self) -> None:
            self.last = time.perf_counter()

        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            now = time.perf_counter()
            times.append(now - self.last)
            self.last = now

    with tempfile.TemporaryDirectory() as folder:
        settings = DistillationConfig(
            output_dir=folder, use_cpu=True, bf16=False, fp16=False, gradient_checkpointing=False,
            per_device_train_batch_size=prompts, max_steps=steps, max_completion_length=tokens, temperature=1.0,
            beta=0.5, learning_rate=1e-5, lr_scheduler_type="constant", max_grad_norm=1.0, weight_decay=0.01,
            report_to=[], save_strategy="no", logging_steps=1000, disable_tqdm=True, shuffle_dataset=False,
            generation_kwargs={"min_new_tokens": tokens}, seed=0,
        )  # fmt: skip
        trainer = DistillationTrainer(
            model=str(FOLDER), teacher_model=str(FOLDER), args=settings, train_dataset=Dataset.from_list(rows),
            callbacks=[Clock()],
        )  # fmt: skip
        trainer.train()
    return times[1:]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=24)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    from gapbench.util.torchvision_repair import repair

    repair()
    try:
        import trl as _  # noqa: F401  # only to know whether it is there

        compare_trl = True
    except ImportError:
        compare_trl = False
        print("TRL is not installed: comparing rollouts only")
    for number in range(args.rounds):
        one = statistics.median(ours(args.prompts, 1, args.steps, args.tokens))
        if compare_trl:
            other = statistics.median(trl(args.prompts, args.steps, args.tokens))
            print(
                f"round {number + 1}: gapbench {one:.2f} s, TRL {other:.2f} s a step: ratio {one / other:.2f}",
                flush=True,
            )
        eight = statistics.median(ours(args.prompts, 8, args.steps, args.tokens))
        ratio = eight / (8 * one)
        print(f"round {number + 1}: 8 rollouts {eight:.2f} s, 8 x one {8 * one:.2f} s: ratio {ratio:.2f}", flush=True)


if __name__ == "__main__":
    main()
