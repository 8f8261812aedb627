"""`gapbench distill`: measure, train, measure again, compare.

    import gapbench
    distilled = gapbench.distill("glance", "signs", recipe="demo", eval=["signs"], out="runs/distill")
    distilled.model_path, distilled.comparison.summary["verdict"]

The folder holds `recipe.yaml` (fully resolved), `distill.json` (model, data, checks, versions), `train.jsonl` (one line
per step), `checkpoints/` and `model/`, which `from_pretrained`, vLLM and `gapbench measure` can load. With `eval` it
also holds the runs `before/` and `after/` and `comparison.*`. After a kill, the same call with `resume=True` continues.

Limits: with several processes, one process measures while the others wait. LoRA works with one process or DDP, not with
FSDP.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gapbench.data import catalogue
from gapbench.data.benchmark import Benchmark, fingerprint
from gapbench.distillation import recipe as recipes
from gapbench.distillation.card import write_card
from gapbench.distillation.contamination import find_shared
from gapbench.distillation.pairs import Pairs
from gapbench.distillation.resume import continue_or_refuse, refuse_other_drops
from gapbench.engines import models
from gapbench.engines.hardware import hardware
from gapbench.errors import BenchmarkError, SettingError
from gapbench.runs.manifest import new_session, utc_now
from gapbench.util.files import write_json, write_text
from gapbench.util.text import listed

if TYPE_CHECKING:
    from gapbench.commands.compare import Comparison


@dataclass(frozen=True)
class Distilled:
    """A finished training. `comparison` is None without `eval`."""

    path: Path
    model_path: Path
    comparison: Comparison | None


def distill(
    model: str,
    data: str,
    recipe: str | Path | recipes.Recipe = "vision-opd",
    out: str | Path = "runs/distill",
    *,
    eval: Sequence[str] | str = (),
    overrides: Sequence[str] = (),
    limit: int | None = None,
    eval_limit: int | None = None,
    resume: bool = False,
    revision: str | None = None,
    trust_remote_code: bool = False,
    quiet: bool = True,
    command: str = "",
) -> Distilled:
    """Train `model` by `recipe` (a name, a YAML file or a `Recipe`) on `data`, and measure `eval` before and after.

    `data` is a benchmark in any form that `gapbench.measure` takes, with evidence boxes. Its reference answers are not
    used. If it has a `split` parameter that `data` does not set, its training split is used. `limit` takes the first
    training samples, `eval_limit` the first samples of each benchmark in `eval`. `overrides` are `key=value` settings
    of the recipe.

    Raises GapbenchError subclasses whose message names the setting or file and the remedy.
    """
    for name, count in (("--limit", limit), ("--eval-limit", eval_limit)):
        if count is not None and count < 1:
            raise SettingError(f"{name} {count}: expected at least 1.")
    settings = recipe if isinstance(recipe, recipes.Recipe) else recipes.load(recipe, overrides)
    folder = Path(out)
    evals = [eval] if isinstance(eval, str) else list(eval)
    model_defaults = models.benchmark_defaults(model)
    benchmark = _training_data(data, model_defaults)
    pairs = Pairs(benchmark, settings, limit)
    eval_benchmarks = [catalogue.load(spec, model_defaults) for spec in evals]
    info: dict[str, Any] = {
        "model": model,
        **models.identity(models.resolve(model), revision),
        "data": {"name": benchmark.name, "parameters": dict(benchmark.parameters), "samples": len(pairs.samples),
                 "without_evidence": pairs.without_evidence, "fingerprint": fingerprint(pairs.samples)},
    }  # fmt: skip
    earlier = continue_or_refuse(folder, info, settings, resume)

    from gapbench.distillation import training

    accelerator = training.make_accelerator(settings, folder)
    say = _message_printer(accelerator.is_main_process and not quiet)
    device = accelerator.device
    options: dict[str, Any] = {"limit": eval_limit, "trust_remote_code": trust_remote_code,
                               "device": "cpu" if device.type == "cpu" else str(device)}  # fmt: skip
    python_call = f"gapbench.distill({model!r}, {data!r}, recipe={str(recipe)!r}, out={str(out)!r}, …)"
    session = new_session(command or python_call, hardware())
    info = {**earlier, **info, "sessions": [*earlier.get("sessions", []), session]}
    info |= {**session, "command": info["sessions"][0]["command"]}

    if accelerator.is_main_process:
        shared = _shared_samples(pairs, eval_benchmarks, eval_limit, quiet)
        info["contamination"] = {"policy": settings.contamination, "shared": shared}
        refuse_other_drops(folder, earlier, info)
        write_text(folder / "recipe.yaml", recipes.dump(settings))
        write_json(folder / "distill.json", info)
        if evals:
            say(f"before: measuring {', '.join(b.name for b in eval_benchmarks)}")
            _measure(model, eval_benchmarks, evals, folder / "before", {**options, "revision": revision}, quiet)
    accelerator.wait_for_everyone()
    shared = json.loads((folder / "distill.json").read_text(encoding="utf-8"))["contamination"]["shared"]
    if shared:
        say(f"{len(shared)} training samples show an image of the evaluation: {_listed(shared)}.")
        if settings.contamination == "drop":
            say("They are left out (contamination=keep keeps them).")
            pairs = pairs.without(frozenset(shared))

    if earlier.get("training", {}).get("steps") != settings.steps or not (folder / "model").exists():
        if accelerator.is_main_process:  # its answers are those of a model that this training replaces
            shutil.rmtree(folder / "after", ignore_errors=True)
        info |= training.run(
            model, settings, pairs, accelerator, folder, resume, revision, trust_remote_code, say, quiet
        )
        accelerator.free_memory()  # the trained model is measured on the same device

    comparison = None
    if accelerator.is_main_process:
        if pairs.skipped:
            info["skipped"] = dict(pairs.skipped)
            say(f"{len(pairs.skipped)} training samples could not be shown: {_listed(pairs.skipped)}.")
        info["finished"] = utc_now()
        write_json(folder / "distill.json", info)
        if evals:
            from gapbench.commands.compare import compare

            say("after: measuring the trained model")
            _measure(str(folder / "model"), eval_benchmarks, evals, folder / "after", options, quiet)
            comparison = compare(folder / "before", folder / "after", out=folder)
        write_card(folder / "model", info, settings, comparison.summary if comparison else None)
    accelerator.wait_for_everyone()
    training.finish(accelerator)
    return Distilled(folder, folder / "model", comparison)


def _training_data(data: str, model_defaults: Mapping[str, Mapping[str, Any]]) -> Benchmark:
    """The benchmark to train on, in its training split if it has splits and `data` names none."""
    benchmark = catalogue.load(data, model_defaults)
    if "split" in benchmark.settable and "split" not in benchmark.parameters:
        parameters = {**model_defaults.get(benchmark.name, {}), "split": "train"}
        return catalogue.load(data, {**model_defaults, benchmark.name: parameters})
    return benchmark


def _shared_samples(
    pairs: Pairs, eval_benchmarks: Sequence[Benchmark], limit: int | None, quiet: bool
) -> dict[str, str]:
    """{id: where its image occurs} for the training samples that show an image of the evaluation.

    Raises BenchmarkError if the recipe drops such samples and none would remain.
    """
    if not eval_benchmarks:
        return {}
    shared = find_shared(pairs, [(b.name, b.samples(limit)) for b in eval_benchmarks], quiet)
    if len(shared) == len(pairs.samples) and pairs.recipe.contamination == "drop":
        raise BenchmarkError(
            f"{pairs.benchmark.name}: every training sample shows an image that is also in --eval "
            f"({_listed(shared, 1)}). Train on other data, or set contamination=keep and report it."
        )
    return shared


def _measure(
    model: str,
    eval_benchmarks: Sequence[Benchmark],
    evals: Sequence[str],
    out: Path,
    options: Mapping[str, Any],
    quiet: bool,
) -> None:
    """Measure both views, or only the full view if no benchmark has evidence."""
    from gapbench.commands.measure import measure

    evidence = any(s.boxes or s.crop_image is not None for b in eval_benchmarks for s in b.samples(options["limit"]))
    views = ("full", "crop") if evidence else ("full",)
    # not auto: vLLM would take most of the memory of the GPU that trains
    measure(model, evals, out=out, views=views, engine="transformers", quiet=quiet, **options)


def _message_printer(enabled: bool) -> Callable[[str], None]:
    import sys

    def say(text: str) -> None:
        if enabled:
            print(text, file=sys.stderr, flush=True)

    return say


def _listed(reasons: Mapping[str, str], count: int = 3) -> str:
    return listed((f"{key}: {reason}" for key, reason in reasons.items()), count, "; ")
