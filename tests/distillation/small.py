"""Small things to train on: a benchmark of noisy images with one coloured patch each, a recipe, a role."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from gapbench.data.benchmark import Benchmark
from gapbench.distillation.recipe import Recipe, make
from gapbench.distillation.student import ModelRole, make_role
from gapbench.engines import models
from gapbench.types import Card, Sample

SIZES = ((100, 60), (64, 150), (120, 130), (90, 90))
"""No two images are of one size, nor are their crops."""
COLOURS = ("red", "green", "blue", "yellow")


def scene(number: int) -> Sample:
    """One question about one image, with its evidence box."""
    width, height = SIZES[number % 4]
    noise = np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)
    image, colour = Image.fromarray(noise), COLOURS[number % 4]
    side = 20 + 4 * (number % 4)
    box = (8, 12, 8 + side, 12 + side + 6)
    ImageDraw.Draw(image).rectangle(box, fill=colour)
    question = "Which colour?" + " Look closely." * (number % 3)
    return Sample(f"q{number}", image, question, (colour,), boxes=(tuple(map(float, box)),))  # type: ignore[arg-type]


def benchmark(samples: list[Sample] | int = 4, region: str = "padded") -> Benchmark:
    """A benchmark of these samples, or of so many scenes."""
    scenes = [scene(i) for i in range(samples)] if isinstance(samples, int) else samples
    card = Card(name="patches", title="Patches", source="here", licence="own", region=region)
    return Benchmark("patches", card, lambda: scenes)


def recipe(**changes: Any) -> Recipe:
    """Two prompts, two answers of six tokens, in float32 on a CPU."""
    small = {"prompts_per_step": 2, "rollouts_per_prompt": 2, "max_new_tokens": 6, "precision": "no", "steps": 2,
             "warmup_steps": 0, "learning_rate": 1e-3, "probe_every": 0, "micro_batch_tokens": 4096}  # fmt: skip
    return make({**small, **changes})


def role(folder: str | Path, settings: Recipe | None = None, trained: bool = True) -> ModelRole:
    """A model in its role, on the CPU."""
    settings = settings or recipe()
    loaded = models.load(str(folder), dtype="float32", device="cpu", attn_implementation=settings.attn_implementation)
    return make_role(loaded, settings, trained)


Tiny = Callable[[str], Path]
"""The fixture that builds tiny checkpoints."""
