"""Does gapbench work on this GPU, and how fast? Qwen3-VL at its real sizes with random weights; no network.

    python tests/gpu/check.py --wheels 2.11        # what to bring to a machine that has torch 2.11, and how
    python tests/gpu/check.py                      # about five minutes; reports/gpu/<GPU>-<date>.json
    python tests/gpu/check.py --tiny               # the same code on a CPU: two layers, small scenes, float32

Runs from the root of a checkout on a bare Linux machine with Python 3.12, torch, transformers, accelerate and peft;
gapbench itself need not be installed. Each model is built on the GPU with the dimensions of its published
configuration. Its tokenizer is a small one, filled up to the real number of ids.

- `speed`: the engine `transformers` against bare `generate`, which is given the same batches. The two take turns, and
  the first round warms up. A ratio above 1 says that the engine is faster.
- `forcing`: the log-probabilities of sampled answers, from generation, against those of one teacher-forced pass, in
  nats. What another image changes says how large a wrong difference would be.
- `training`: two steps of the recipe `lora-1gpu`, with fewer prompts and shorter answers; the second is timed.

Every part writes the file anew. A part that fails leaves its error, and one that does not fit into memory is tried
smaller. When the time is up, the parts that are left say so; the order is that of their worth.

Limits: random weights say nothing about answers, nor about how bfloat16 rounds with trained ones. A part that has begun
is not cut short, except between two rounds of `speed`.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "gpu")]

from sizes import REAL, TINY, Scale, build, scenes  # noqa: E402

EXPECTED = ("torch", "transformers", "accelerate", "peft")
"""What the machine must have; the rest is brought as wheels."""
BROUGHT = {"pydantic": "pydantic", "PIL": "pillow", "torchvision": "torchvision"}
"""Modules, and the packages that hold them: 18 MB with what pydantic needs (cp312, manylinux x86_64, November 2026)."""


def full_views(scale: Scale, image: str, count: int) -> list[Any]:
    """Requests for the full view of the first samples, in the order in which the engine puts them into batches."""
    from gapbench.types import Request
    from gapbench.views.images import read
    from gapbench.views.prompts import prompt

    samples = scenes(scale, image).samples(count)
    requests = [Request(sample.id, (read(sample.image).image,), prompt(sample)) for sample in samples]
    return sorted(requests, key=lambda request: len(request.prompt))


def speed(scale: Scale, size: str, image: str, deadline: float, batch: int) -> dict[str, Any]:
    """Samples per second of the engine and of bare `generate`."""
    from gapbench.engines.chat import make_chat
    from gapbench.engines.options import Generation
    from gapbench.engines.transformers import TransformersEngine

    loaded, requests = build(scale, size), full_views(scale, image, scale.samples[image])
    engine = TransformersEngine(loaded, make_chat(loaded), Generation(scale.new_tokens), batch)
    by_key: dict[Any, Any] = {}

    def by_engine() -> list[str]:
        by_key.update(engine.generate(requests))
        if errors := [answer.error for answer in by_key.values() if answer.error]:
            raise RuntimeError(errors[0])
        return [by_key[request.key].text for request in requests]

    sides = {"generate": partial(bare_generate, loaded, requests, scale.new_tokens, batch), "engine": by_engine}
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    answers, peak = {}, {}
    for number in range(scale.rounds + 1):
        for side in sorted(sides, reverse=number % 2 == 0):
            reset_peak()
            start = time.perf_counter()
            answers[side] = sides[side]()
            seconds[side].append(time.perf_counter() - start)
            peak[side] = peak_gib()
        if number and time.monotonic() > deadline:
            break
    first = by_key[requests[0].key]
    ratios = [bare / own for bare, own in zip(seconds["generate"][1:], seconds["engine"][1:], strict=True)]
    return {
        "samples": len(requests), "new_tokens": scale.new_tokens, "rounds": len(ratios),
        "parameters": sum(p.numel() for p in loaded.model.parameters()),
        "attention": loaded.model.config._attn_implementation,
        "image_tokens": first.image_tokens, "prompt_tokens": first.prompt_tokens,
        "samples_per_second": {side: len(requests) / statistics.median(times[1:]) for side, times in seconds.items()},
        "ratio": statistics.median(ratios), "ratios": ratios, "seconds": seconds,
        "equal_answers": sum(a == b for a, b in zip(*answers.values(), strict=True)),
        "distinct_answers": len(set(answers["engine"])), "peak_gib": peak,
    }  # fmt: skip


def bare_generate(loaded: Any, requests: Sequence[Any], new_tokens: int, batch: int) -> list[str]:
    """The answers of the loop that everybody writes: processor, `generate`, decode."""
    import torch

    model, processor, texts = loaded.model, loaded.processor, []
    for start in range(0, len(requests), batch):
        turns = [
            [{"role": "user", "content": [{"type": "image", "image": r.images[0]}, {"type": "text", "text": r.prompt}]}]
            for r in requests[start : start + batch]
        ]
        inputs = processor.apply_chat_template(
            turns, tokenize=True, add_generation_prompt=True, return_dict=True, return_tensors="pt",
            processor_kwargs={"padding": True},
        ).to(model.device, dtype=model.dtype)  # fmt: skip
        with torch.inference_mode():
            out = model.generate(**inputs, max_new_tokens=new_tokens, do_sample=False)
        texts += processor.batch_decode(out[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return texts


def forcing(scale: Scale, size: str, image: str, dtype: str, answers: int) -> dict[str, Any]:
    """The log-probabilities of sampled answers, from generation and from teacher forcing."""
    import torch

    from gapbench.distillation import recipe as recipes
    from gapbench.distillation.forward import PLAIN, ForwardMode, log_probs
    from gapbench.distillation.rollouts import REFERENCE, Prompt, Sampling, random_key
    from gapbench.distillation.student import make_role

    role = make_role(build(scale, size, dtype), recipes.load("lora-1gpu"), trained=False)
    prompts = [
        Prompt(request.images[0], request.prompt, tuple(random_key(request.key, n) for n in range(answers)))
        for request in full_views(scale, image, 2)
    ]
    reset_peak()
    rollouts = REFERENCE(role, prompts, Sampling(scale.new_tokens))
    groups = [[answer.ids for answer in of_prompt] for of_prompt in rollouts]
    generated = torch.tensor([logp for of_prompt in rollouts for answer in of_prompt for logp in answer.logps])

    def differences(images: Sequence[Any], mode: ForwardMode) -> dict[str, float]:
        texts = [(shown, prompt.text) for shown, prompt in zip(images, prompts, strict=True)]
        forced = role.run_without_grad(log_probs, role.chat, texts, groups, mode).float().cpu()
        difference = (forced - generated).abs()
        return {"max": float(difference.max()), "mean": float(difference.mean())}

    images = [prompt.image for prompt in prompts]
    return {
        "tokens": generated.numel(), "mean_logp": float(generated.mean()),
        "prompt_tokens": rollouts[0][0].prompt_tokens,
        "plain": differences(images, PLAIN),
        "shared_prompt": differences(images, ForwardMode(True, True, True)),
        "another_image": differences(images[::-1], PLAIN),
        "peak_gib": peak_gib(),
    }  # fmt: skip


def training(scale: Scale, size: str, image: str, max_pixels: int, micro_batch_tokens: int) -> dict[str, Any]:
    """Two steps of `lora-1gpu` by gapbench's own loop."""
    import torch

    from gapbench.distillation import loop
    from gapbench.distillation import recipe as recipes
    from gapbench.distillation.job import Job
    from gapbench.distillation.pairs import Pairs
    from gapbench.distillation.training import make_accelerator, set_up

    changes = (*scale.recipe, f"max_pixels={max_pixels}", f"micro_batch_tokens={micro_batch_tokens}")
    recipe = recipes.load("lora-1gpu", changes)
    pairs = Pairs(scenes(scale, image), recipe, limit=4 * recipe.prompts_per_step)
    lines: list[Mapping[str, Any]] = []

    class Enough(Exception):
        """Ends the training after two steps, before it writes a checkpoint."""

    def watch(line: Mapping[str, Any]) -> None:
        lines.append(line)
        if len(lines) == 2:
            raise Enough

    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        job = Job(f"random Qwen3-VL {size}", recipe, Path(folder))
        accelerator = make_accelerator(recipe, job.folder)
        setup, selfcheck = set_up(job, pairs, accelerator, build(scale, size))
        set_up_seconds = time.perf_counter() - started
        named = dict(setup.student.model.named_parameters())
        trained = {name: p.detach().to("cpu", copy=True) for name, p in named.items() if p.requires_grad}
        base = _checksums(setup.student.model)
        reset_peak()
        with suppress(Enough):
            loop.train(setup, watch=watch)
    unchanged = base == _checksums(setup.student.model)
    changed = sum(not torch.equal(named[name].detach().cpu(), before) for name, before in trained.items())
    last = lines[-1]
    return {
        "recipe": list(changes), "set_up_seconds": set_up_seconds,
        "selfcheck": {"mode": str(selfcheck.mode), "difference": selfcheck.difference,
                      "rollouts_share_prompt": selfcheck.rollout_mode is not None, "refused": list(selfcheck.refused)},
        "answers": recipe.sequences_per_step, "mean_length": last["mean_length"],
        "seconds": last["seconds"], "seconds_rollouts": last["seconds_rollouts"],
        "first_step_seconds": lines[0]["seconds"], "peak_gib": last["memory_gib"],
        "loss": [line["loss"] for line in lines], "grad_norm": [line["grad_norm"] for line in lines],
        "logp_gap": last["logp_gap"], "logp_gap_max": last["logp_gap_max"],
        "parameters_trained": sum(p.numel() for p in trained.values()),
        "adapters": len(trained), "adapters_changed": changed, "base_unchanged": unchanged,
    }  # fmt: skip


def _checksums(model: Any) -> list[int]:
    """A checksum of the bits of every weight that is not trained."""
    import torch

    bits = {2: torch.int16, 4: torch.int32}
    frozen = [p.detach() for p in model.parameters() if not p.requires_grad]
    return [int(p.view(bits[p.element_size()]).sum(dtype=torch.int64)) for p in frozen]


def reset_peak() -> None:
    """Begin a new measurement of peak memory."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def peak_gib() -> float:
    """Peak memory in GiB: of the GPU since `reset_peak`, or of this process on a CPU."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / (1 << 30)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20)


def parts(scale: Scale, deadline: float) -> dict[str, tuple[Callable[..., dict[str, Any]], list[dict[str, Any]]]]:
    """Every part by its name: a function, and the settings to try until one fits into memory."""
    pixels = [{"max_pixels": 1 << n, "micro_batch_tokens": m} for n, m in ((21, 4096), (20, 2048), (18, 1024))]
    answers = [{"answers": n} for n in (2, 1)]
    first, found = next(iter(scale.images)), {}
    for dtype, image, size in product(dict.fromkeys((scale.dtype, "float32")), scale.images, scale.models):
        of, what = f"{size} {image}", (scale, size, image)
        if dtype == scale.dtype:
            found[f"speed {of}"] = (partial(speed, *what, deadline), [{"batch": n} for n in scale.batches[image]])
        found[f"forcing {of} {dtype}"] = (partial(forcing, *what, dtype), answers)
        if dtype == scale.dtype and image == first:  # the recipe shrinks larger images to this size
            found[f"training {of}"] = (partial(training, *what), pixels)
    return found


def run_part(function: Callable[..., dict[str, Any]], attempts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What a part found, or its error; `too_large` are the settings that did not fit into memory."""
    too_large: list[dict[str, Any]] = []
    started = time.monotonic()
    for settings in attempts:
        try:
            found = {**settings, **function(**settings)}
        except Exception as error:
            message = f"{type(error).__name__}: {error}"[:1000]
            found = {"error": message, "trace": traceback.format_exc()[-3000:]}
            if "out of memory" not in message and not isinstance(error, MemoryError):
                break
            too_large.append({**settings, "error": message})
        else:
            break
        finally:
            with suppress(Exception):  # after some errors CUDA refuses everything
                from accelerate.utils.memory import clear_device_cache

                clear_device_cache(garbage_collection=True)
    return {**found, **({"too_large": too_large} if too_large else {}), "part_seconds": time.monotonic() - started}


def machine() -> dict[str, Any]:
    """The hardware and the versions."""
    from gapbench.util.torchvision_repair import repair

    repair()
    import accelerate
    import peft
    import torch
    import torchvision
    import transformers

    def said_by(*command: str) -> str | None:
        with suppress(OSError, subprocess.SubprocessError):
            return subprocess.check_output(command, cwd=ROOT, text=True, timeout=20).strip()
        return None

    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    found: dict[str, Any] = {
        "cpu": cpu[1] if cpu else platform.machine(), "cores": os.cpu_count(), "threads": torch.get_num_threads(),
        "python": platform.python_version(), "commit": said_by("git", "rev-parse", "HEAD"),
        **{m.__name__: m.__version__ for m in (torch, torchvision, transformers, accelerate, peft)},
    }  # fmt: skip
    if torch.cuda.is_available():
        gpu = torch.cuda.get_device_properties(0)
        driver = said_by("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
        found |= {"gpu": gpu.name, "memory_gib": gpu.total_memory / (1 << 30), "cuda": torch.version.cuda,
                  "driver": driver, "capability": f"{gpu.major}.{gpu.minor}"}  # fmt: skip
    return found


def wheels(torch_version: str) -> str:
    """The commands that fetch what a bare machine lacks, for its release of torch, and install it there."""
    release = torch_version.split(".")[1] if re.match(r"2\.\d+", torch_version) else ""
    vision = f"'torchvision==0.{15 + int(release)}.*'" if release else "torchvision"
    download = ("pip download --only-binary=:all: --python-version 3.12 --implementation cp "
                "--platform manylinux2014_x86_64 --platform manylinux_2_28_x86_64 -d wheels")  # fmt: skip
    return (
        f"# With a network (18 MB), for Python 3.12 and torch {torch_version or '(name its release: --wheels 2.N)'}:\n"
        f"{download} pydantic pillow\n{download} --no-deps {vision}\n"
        "# On the machine:\npip install --no-index --no-deps wheels/*.whl"
    )


def line_of(name: str, part: Mapping[str, Any]) -> str:
    """A part as one line of the table."""
    if "error" in part or "skipped" in part:
        text = part.get("skipped") or part["error"].splitlines()[0][:100]
    elif name.startswith("speed"):
        rates = part["samples_per_second"]
        text = (
            f"{rates['engine']:.2f} samples/s, bare {rates['generate']:.2f}, ratio {part['ratio']:.2f}, batch "
            f"{part['batch']}, {part['image_tokens']} image tokens, {part['peak_gib']['engine']:.1f} GiB, "
            f"{part['equal_answers']} of {part['samples']} answers equal"
        )
    elif name.startswith("forcing"):
        modes = {mode: part[mode] for mode in ("plain", "shared_prompt", "another_image")}
        text = ", ".join(f"{m.replace('_', ' ')} {d['max']:.1e} (mean {d['mean']:.1e})" for m, d in modes.items())
    else:
        text = (
            f"{part['seconds']:.1f} s a step ({part['seconds_rollouts']:.1f} s rollouts), {part['peak_gib']:.1f} GiB, "
            f"loss {part['loss'][-1]:.2e}, {part['adapters_changed']} of {part['adapters']} adapters changed, base "
            f"{'unchanged' if part['base_unchanged'] else 'CHANGED'}"
        )
    return f"{name:28} {part.get('part_seconds', 0):5.0f} s  {text}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line. Returns 0 if every part has run without an error, else 1."""
    deadline = time.monotonic()
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, help="the JSON file; default: reports/gpu/<GPU>-<date>.json")
    parser.add_argument("--minutes", type=float, default=5, help="no part begins later than this (default: 5)")
    parser.add_argument("--tiny", action="store_true", help="two layers and small scenes, on a CPU")
    parser.add_argument("--wheels", nargs="?", const="", metavar="TORCH", help="print how to bring what is missing")
    options = parser.parse_args(arguments)
    deadline += 60 * options.minutes
    missing = [name for name in (*EXPECTED, *BROUGHT) if importlib.util.find_spec(name) is None]
    if options.wheels is not None or missing:
        if missing:
            print(f"Missing here: {', '.join(BROUGHT.get(name, name) for name in missing)}.")
        installed = "" if "torch" in missing else importlib.metadata.version("torch")
        print(wheels(options.wheels or installed))
        return int(options.wheels is None)
    from gapbench.util.files import write_json

    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    if options.tiny:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    report: dict[str, Any] = {"command": ["python", *sys.argv], "started": f"{datetime.now(UTC):%F %T} UTC",
                              "minutes": options.minutes, "machine": run_part(machine, [{}]), "parts": {}}  # fmt: skip
    gpu = report["machine"].get("gpu")
    name = re.sub(r"\W+", "-", gpu or "cpu").lower()
    out = options.out or ROOT / "reports" / "gpu" / f"{name}-{datetime.now(UTC):%F}.json"

    def keep(part: str, entry: Mapping[str, Any]) -> None:
        report["parts"][part] = entry
        write_json(out, json.loads(json.dumps(report), parse_constant=str))  # JSON knows no NaN

    print(*(f"{key} {value}" for key, value in report["machine"].items()), sep=", ", flush=True)
    todo = parts(TINY if options.tiny else REAL, deadline)
    if not gpu and not options.tiny:
        keep("GPU", {"error": report["machine"].get("error", "torch sees no CUDA device; --tiny runs on a CPU")})
        todo = {}
    for part, (function, attempts) in todo.items():
        if time.monotonic() > deadline:
            keep(part, {"skipped": f"the {options.minutes:g} minutes were over"})
        else:
            keep(part, {"error": "the script ended before this part did"})
            keep(part, run_part(function, attempts))
        print(line_of(part, report["parts"][part]), flush=True)
    print(f"written: {out}")
    return int(any("error" in part for part in report["parts"].values()))


if __name__ == "__main__":
    sys.exit(main())
