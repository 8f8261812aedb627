"""`gapbench distill`: measure, train, measure again, compare.

    import gapbench
    done = gapbench.distill("glance", "signs", recipe="demo", eval=["signs"], out="runs/distill")
    done.model_path, done.comparison.summary["verdict"]

The folder: `recipe.yaml` (fully resolved), `distill.json` (model, data, checks, versions), `train.jsonl` (one line per
step), `checkpoints/`, `model/` (as `from_pretrained`, vLLM and `gapbench measure` take it), and with `eval` the runs
`before/` and `after/` and `comparison.*`. After a kill the same call with `resume=True` goes on.

Limits: with several processes one of them measures while the others wait. LoRA goes with one process or DDP, not FSDP.
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
    """A finished training; `comparison` is None without `eval`."""

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

    `data` is anything `gapbench.measure` takes, with evidence boxes; its reference answers are not used. A benchmark
    with a `split` parameter is asked for its training split unless `data` sets one. `limit` takes the first training
    questions, `eval_limit` the first of each benchmark; `overrides` are `key=value` settings of the recipe.

    Raises GapbenchError subclasses whose message names the setting or file and the remedy.
    """
    for name, count in (("--limit", limit), ("--eval-limit", eval_limit)):
        if count is not None and count < 1:
            raise SettingError(f"{name} {count}: expected at least 1.")
    settings = recipe if isinstance(recipe, recipes.Recipe) else recipes.load(recipe, overrides)
    folder = Path(out)
    evals = [eval] if isinstance(eval, str) else list(eval)
    wishes = models.benchmark_defaults(model)
    benchmark = _training_data(data, wishes)
    pairs = Pairs(benchmark, settings, limit)
    tested = [catalogue.load(spec, wishes) for spec in evals]
    asked: dict[str, Any] = {
        "model": model,
        **models.identity(models.resolve(model), revision),
        "data": {"name": benchmark.name, "parameters": dict(benchmark.parameters), "samples": len(pairs.samples),
                 "without_evidence": pairs.without_evidence, "fingerprint": fingerprint(pairs.samples)},
    }  # fmt: skip
    earlier = continue_or_refuse(folder, asked, settings, resume)

    from gapbench.distillation import training

    accelerator = training.make_accelerator(settings, folder)
    say = _speaker(accelerator.is_main_process and not quiet)
    device = accelerator.device
    options: dict[str, Any] = {"limit": eval_limit, "trust_remote_code": trust_remote_code,
                               "device": "cpu" if device.type == "cpu" else str(device)}  # fmt: skip
    typed = f"gapbench.distill({model!r}, {data!r}, recipe={str(recipe)!r}, out={str(out)!r}, …)"
    now = new_session(command or typed, hardware())
    asked = {**earlier, **asked, "sessions": [*earlier.get("sessions", []), now]}
    asked |= {**now, "command": asked["sessions"][0]["command"]}

    if accelerator.is_main_process:
        shared = _shared(pairs, tested, eval_limit, quiet)
        asked["contamination"] = {"policy": settings.contamination, "shared": shared}
        refuse_other_drops(folder, earlier, asked)
        write_text(folder / "recipe.yaml", recipes.dump(settings))
        write_json(folder / "distill.json", asked)
        if evals:
            say(f"before: measuring {', '.join(b.name for b in tested)}")
            _measure(model, tested, evals, folder / "before", {**options, "revision": revision}, quiet)
    accelerator.wait_for_everyone()
    shared = json.loads((folder / "distill.json").read_text(encoding="utf-8"))["contamination"]["shared"]
    if shared:
        say(f"{len(shared)} training questions show an image of the evaluation: {_first(shared)}.")
        if settings.contamination == "drop":
            say("They are left out (contamination=keep keeps them).")
            pairs = pairs.without(frozenset(shared))

    if earlier.get("training", {}).get("steps") != settings.steps or not (folder / "model").exists():
        if accelerator.is_main_process:  # answers of a model that is about to be replaced
            shutil.rmtree(folder / "after", ignore_errors=True)
        asked |= training.run(
            model, settings, pairs, accelerator, folder, resume, revision, trust_remote_code, say, quiet
        )
        accelerator.free_memory()  # the trained model is measured where it was trained

    comparison = None
    if accelerator.is_main_process:
        if pairs.skipped:
            asked["skipped"] = dict(pairs.skipped)
            say(f"{len(pairs.skipped)} training questions could not be shown: {_first(pairs.skipped)}.")
        asked["finished"] = utc_now()
        write_json(folder / "distill.json", asked)
        if evals:
            from gapbench.commands.compare import compare

            say("after: measuring the trained model")
            _measure(str(folder / "model"), tested, evals, folder / "after", options, quiet)
            comparison = compare(folder / "before", folder / "after", out=folder)
        write_card(folder / "model", asked, settings, comparison.summary if comparison else None)
    accelerator.wait_for_everyone()
    training.finish(accelerator)
    return Distilled(folder, folder / "model", comparison)


def _training_data(data: str, wishes: Mapping[str, Mapping[str, Any]]) -> Benchmark:
    """The benchmark to train on: of one with splits the training split, unless another is asked for."""
    plain = catalogue.load(data, wishes)
    if "split" in plain.settable and "split" not in plain.parameters:
        own = {**wishes.get(plain.name, {}), "split": "train"}
        return catalogue.load(data, {**wishes, plain.name: own})
    return plain


def _shared(pairs: Pairs, tested: Sequence[Benchmark], limit: int | None, quiet: bool) -> dict[str, str]:
    """The training questions that show an image of the evaluation."""
    shared = find_shared(pairs, [(b.name, b.samples(limit)) for b in tested], quiet) if tested else {}
    if len(shared) == len(pairs.samples) and pairs.recipe.contamination == "drop":
        raise BenchmarkError(
            f"{pairs.benchmark.name}: every training question shows an image that is also in --eval "
            f"({_first(shared, 1)}). Train on other data, or set contamination=keep and say so."
        )
    return shared


def _measure(
    model: str, tested: Sequence[Benchmark], evals: Sequence[str], out: Path, options: Mapping[str, Any], quiet: bool
) -> None:
    """One run of both views; where no benchmark has evidence, all are hold-outs and only the full view is asked."""
    from gapbench.commands.measure import measure

    evidence = any(s.boxes or s.crop_image is not None for b in tested for s in b.samples(options["limit"]))
    measure(model, evals, out=out, views=("full", "crop") if evidence else ("full",), quiet=quiet, **options)


def _speaker(aloud: bool) -> Callable[[str], None]:
    import sys

    def say(text: str) -> None:
        if aloud:
            print(text, file=sys.stderr, flush=True)

    return say


def _first(found: Mapping[str, str], count: int = 3) -> str:
    return listed((f"{key}: {value}" for key, value in found.items()), count, "; ")
