"""Makes the embedded model `glance` from nothing: tokenizer, processor, architecture and weights.

    python scripts/glance/make.py --out glance

The model is trained to predict the next token of replies about fresh `signs` scenes, drawn from a random stream of
their own, in six phases:

1. *close-ups*: crops around a sign, with the three questions about it as turns of one conversation;
2. *few*: scenes of one to three large signs, listed sign by sign in a fixed order of colours;
3. *listing*: full scenes listed, with questions on close-ups only;
4. *zoom*: also lists parts of scenes of any size, because a letter learned large is not recognised when small;
5. *ask*: questions on full scenes, until full-view accuracy is 0.45 on the *validation* split;
6. *settle*: listing and close-ups again, with a falling learning rate.

After phase 4 the model lists two thirds of the small signs of a scene without a mistake, but answers questions about
the same scene hardly better than chance: it recognises signs, but cannot answer about them. Phase 5 raises accuracy on
shapes and letters and is stopped early; accuracy on colours stays at chance. Therefore the checkpoint asks in
`gapbench.json` to be measured on letters and shapes: self-distillation sharpens what the student already half sees, and
left the colours at chance (23 to 28 % on validation in four trainings of 150 steps). The test split is never used.

It takes about 75 minutes on one CPU core. The log (`make.jsonl`) is kept beside the weights. A seed reproduces the
training on the same machine and versions; other CPUs sum in another order and end at slightly different weights. The
weights in this repository were made in several parts (`--start`, `--phases`) while the phases were being chosen, with
these settings but another random stream in phase 1. So this script makes similar weights, not the same bits.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from architecture import LIST_REQUEST, MERGE, build_model, build_processor, build_tokenizer
from PIL.Image import Image

from gapbench.data import signs
from gapbench.types import Box
from gapbench.util.torchvision_repair import repair
from gapbench.views import regions
from gapbench.views.prompts import SUFFIXES

TURNS = 5
"""The largest number of questions about an image, as turns of one conversation."""


@dataclass(frozen=True)
class Phase:
    """A part of the training with a fresh optimizer and random stream.

    `mix` maps a kind of example to its share. The phase ends early once full-view accuracy on validation reaches
    `until`.
    """

    name: str
    steps: int
    mix: dict[str, float]
    warmup: int = 100
    decay: bool = False
    until: float = 1.0


PHASES = (
    Phase("close-ups", 800, {"crop": 1.0}, warmup=200),
    Phase("few", 400, {"crop": 0.2, "list few": 0.8}, warmup=200),
    Phase("listing", 1200, {"crop": 0.2, "list": 0.8}, warmup=200),
    Phase("zoom", 1600, {"crop": 0.2, "zoom": 0.3, "list": 0.5}),
    Phase("ask", 1200, {"crop": 0.15, "list": 0.35, "ask": 0.5}, until=0.45),
    Phase("settle", 300, {"crop": 0.3, "list": 0.7}, decay=True),
)
FEW = replace(signs.SMALL, signs_min=1, signs_max=3, size_min=24, size_max=48)


def example(kind: str, rng: random.Random) -> tuple[Image, list[tuple[str, str]]]:
    """An image and the turns of a conversation about it: (prompt, reply)."""
    scene = signs.make_scene(rng, FEW if kind == "list few" else signs.SMALL)
    image = signs.draw(scene)
    if kind == "zoom":
        box, inside = window(rng, scene)
        return regions.cut(image, box), [(LIST_REQUEST, listing(replace(scene, signs=inside)))]
    if kind not in ("crop", "ask"):
        return image, [(LIST_REQUEST, listing(scene))]
    questions = [(sign, category) for sign in scene.signs for category in signs.CATEGORIES]
    if kind == "crop":
        sign = rng.choice(scene.signs)
        questions = [(sign, category) for category in signs.CATEGORIES]
        x0, y0, x1, y1 = map(float, sign.box)
        image = regions.cut(image, regions.padded(((x0, y0, x1, y1),), image.size))
    turns = [
        (signs.question_for(scene, sign, c), sign.attribute(c)) for sign, c in rng.sample(questions, len(questions))
    ]
    return image, [(f"{question}\n{SUFFIXES['text']}", answer) for question, answer in turns if question][:TURNS]


def window(rng: random.Random, scene: signs.Scene) -> tuple[Box, tuple[signs.Sign, ...]]:
    """A square part of a scene that cuts no sign, of any size from a crop to the scene, and the signs inside."""
    while True:
        sign = rng.choice(scene.signs)
        x0, y0, x1, y1 = sign.box
        smallest_side = (x1 - x0) * 1.2
        side = min(scene.canvas, round(smallest_side * (scene.canvas / smallest_side) ** rng.random()))
        left = rng.randint(max(0, x1 - side), min(x0, scene.canvas - side))
        top = rng.randint(max(0, y1 - side), min(y0, scene.canvas - side))
        box = (float(left), float(top), float(left + side), float(top + side))
        overlaps = [
            max(0, min(s.box[2], box[2]) - max(s.box[0], box[0]))
            * max(0, min(s.box[3], box[3]) - max(s.box[1], box[1]))
            for s in scene.signs
        ]
        is_inside = [overlap == (s.box[2] - s.box[0]) ** 2 for overlap, s in zip(overlaps, scene.signs, strict=True)]
        if all(inside or overlap == 0 for inside, overlap in zip(is_inside, overlaps, strict=True)):
            return box, tuple(s for s, inside in zip(scene.signs, is_inside, strict=True) if inside)


def listing(scene: signs.Scene) -> str:
    """All signs of a scene, one per line, in the fixed order of `signs.COLOURS`."""
    order = sorted(scene.signs, key=lambda s: list(signs.COLOURS).index(s.colour))
    return "\n".join(f"{s.colour}-{s.shape}-{s.letter}" for s in order)


def batches(processor: Any, seed: int, size: int, phase: Phase) -> Iterator[dict[str, torch.Tensor]]:
    """One training batch per step: processor output, right-padded, with `labels` on the replies only."""

    tokenizer = processor.tokenizer

    @cache
    def ids(text: str) -> tuple[int, ...]:
        return tuple(tokenizer(text, add_special_tokens=False)["input_ids"])

    rng = random.Random(f"gapbench glance train {seed} {phase.name}")
    image_token, pad = tokenizer.convert_tokens_to_ids("<|image_pad|>"), tokenizer.pad_token_id
    for _ in range(phase.steps):
        kinds = rng.choices(list(phase.mix), list(phase.mix.values()), k=size)
        images, conversations = zip(*(example(kind, rng) for kind in kinds), strict=True)
        pixels = processor.image_processor(images=list(images), return_tensors="pt")
        sequences, labels = [], []
        for grid, conversation in zip(pixels["image_grid_thw"].tolist(), conversations, strict=True):
            sequence: list[int] = []
            label: list[int] = []
            image_ids = (
                ids("<|vision_start|>") + (image_token,) * (grid[1] * grid[2] // MERGE**2) + ids("<|vision_end|>")
            )
            for prompt, reply in conversation:
                opening, closing = ids("<|im_start|>user\n"), ids("<|im_end|>\n<|im_start|>assistant\n")
                prompt_ids = opening + image_ids + ids(prompt) + closing
                reply_ids = ids(reply) + ids("<|im_end|>")
                sequence += prompt_ids + reply_ids + ids("\n")
                label += [-100] * len(prompt_ids) + [*reply_ids, -100]
                image_ids = ()
            sequences.append(sequence)
            labels.append(label)
        input_ids = _padded(sequences, pad)
        yield {
            "input_ids": input_ids,
            "attention_mask": _padded([[1] * len(sequence) for sequence in sequences], 0),
            "mm_token_type_ids": (input_ids == image_token).long(),
            "pixel_values": pixels["pixel_values"],
            "image_grid_thw": pixels["image_grid_thw"],
            "labels": _padded(labels, -100),
        }


def _padded(rows: list[list[int]], filler: int) -> torch.Tensor:
    return torch.nn.utils.rnn.pad_sequence(list(map(torch.tensor, rows)), batch_first=True, padding_value=filler)


def answer(model: Any, processor: Any, image_prompts: list[tuple[Image, str]], max_new_tokens: int) -> list[str]:
    """Greedy answers to (image, prompt) pairs, through the model's own chat template."""
    texts: list[str] = []
    for start in range(0, len(image_prompts), 100):
        conversations = [
            [{"role": "user", "content": [{"type": "image", "image": image}, {"type": "text", "text": prompt}]}]
            for image, prompt in image_prompts[start : start + 100]
        ]
        inputs = processor.apply_chat_template(
            conversations, tokenize=True, add_generation_prompt=True, return_dict=True, return_tensors="pt",
            processor_kwargs={"padding": True},
        )  # fmt: skip
        with torch.inference_mode():
            out = model.generate(**inputs, max_new_tokens=max_new_tokens, do_sample=False)
        texts += processor.tokenizer.batch_decode(out[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return texts


def evaluate(model: Any, processor: Any, questions: int) -> dict[str, float]:
    """Shares in 0..1 on the validation split: full and crop accuracy, also by category, and signs listed correctly."""
    samples = list(signs.samples("validation", questions, **asdict(signs.SMALL)))
    model.eval()
    result: dict[str, float] = {}
    for view in ("full", "crop"):
        images = [s.image() for s in samples]
        if view == "crop":
            images = [regions.cut(p, regions.padded(s.boxes, p.size)) for p, s in zip(images, samples, strict=True)]
        prompts = [f"{s.question}\n{SUFFIXES['text']}" for s in samples]
        replies = answer(model, processor, list(zip(images, prompts, strict=True)), 4)
        outcomes = [(s.category, text == s.answers[0]) for s, text in zip(samples, replies, strict=True)]
        result[view] = statistics.mean(r for _, r in outcomes)
        for category in signs.CATEGORIES:
            result[f"{view} {category}"] = statistics.mean(r for c, r in outcomes if c == category)
    rng = random.Random("gapbench glance listing validation")
    scenes = [signs.make_scene(rng, signs.SMALL) for _ in range(100)]
    replies = answer(model, processor, [(signs.draw(s), LIST_REQUEST) for s in scenes], 40)
    listings = [(set(text.splitlines()), listing(s).splitlines()) for s, text in zip(scenes, replies, strict=True)]
    result["listed"] = statistics.mean(line in lines for lines, true in listings for line in true)
    model.train()
    return {key: round(value, 4) for key, value in result.items()}


def train(
    out: Path, seed: int, size: int, lr: float, phases: Sequence[Phase], every: int, questions: int, start: Path | None
) -> None:
    """Run the phases in order. Every `every` steps evaluate, log a line and save a checkpoint `step-N`."""
    tokenizer = build_tokenizer()
    processor = build_processor(tokenizer)
    model = build_model(tokenizer, seed)
    if start is not None:
        model = type(model).from_pretrained(start, dtype=torch.float32)
    model.train()
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(tokenizer)} tokens", flush=True)
    out.mkdir(parents=True, exist_ok=True)
    log = (out / "make.jsonl").open("a")
    start_time, step = time.time(), 0
    for phase in phases:
        optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.01, betas=(0.9, 0.98))
        losses: list[float] = []
        for phase_step, batch in enumerate(_batches_ahead(processor, seed, size, phase), 1):
            step += 1
            remaining = (phase.steps - phase_step) / phase.steps if phase.decay else 1.0
            for group in optimizer.param_groups:
                group["lr"] = lr * min(1.0, phase_step / phase.warmup) * max(0.02, remaining)
            loss = model(**batch, use_cache=False).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
            if phase_step % every == 0 or phase_step == phase.steps:
                accuracy = evaluate(model, processor, questions)
                line = {"phase": phase.name, "step": step, "loss": round(statistics.mean(losses), 4),
                       "seconds": round(time.time() - start_time), **accuracy}  # fmt: skip
                losses = []
                print(json.dumps(line), flush=True)
                log.write(json.dumps(line) + "\n")
                log.flush()
                save(model, processor, out / f"step-{step}")
                if accuracy["full"] >= phase.until:
                    break


def _batches_ahead(processor: Any, seed: int, size: int, phase: Phase) -> Any:
    """Batches that a second process draws while the first one trains."""

    class Stream(torch.utils.data.IterableDataset[dict[str, torch.Tensor]]):
        def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
            torch.set_num_threads(1)
            return batches(processor, seed, size, phase)

    return torch.utils.data.DataLoader(Stream(), batch_size=None, num_workers=1, prefetch_factor=4)


def save(model: Any, processor: Any, folder: Path) -> None:
    """Write a checkpoint that the Auto classes read, with a `gapbench.json` that asks for small scenes."""
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    defaults = {"benchmarks": {"signs": {**asdict(signs.SMALL), "categories": "letter,shape"}}}
    (folder / "gapbench.json").write_text(json.dumps(defaults, indent=1) + "\n")


def main() -> None:
    """Command line of the script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoints and make.jsonl")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--every", type=int, default=50, help="steps between evaluations")
    parser.add_argument("--samples", type=int, default=200, help="validation questions per evaluation")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--start", type=Path, help="checkpoint to start from")
    parser.add_argument("--phases", default=",".join(p.name for p in PHASES), help="phases to run, in order")
    args = parser.parse_args()
    repair()
    torch.set_num_threads(args.threads)
    phases = [p for name in args.phases.split(",") for p in PHASES if p.name == name]
    train(args.out, args.seed, args.batch_size, args.lr, phases, args.every, args.samples, args.start)


if __name__ == "__main__":
    main()
