"""`gapbench distill`: measure, train, measure again, compare.

    import gapbench
    distilled = gapbench.distill("glance", "signs", recipe="demo", eval=["signs"], out="runs/distill")
    distilled.model_path, distilled.comparison.summary["verdict"]

The folder holds `recipe.yaml` (fully resolved), `distill.json` (model, data, checks, versions), `train.jsonl` (one line
per step), `checkpoints/` and `model/`, which `from_pretrained`, vLLM and `gapbench measure` can load. Where something
was measured, it also holds the runs `before/` and `after/` and `comparison.*`. After a kill, the same call with
`resume=True` continues.

Limits: with several processes, one process measures while the others wait. LoRA works with one process or DDP, not with
FSDP.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gapbench.analysis.comparison.training_log import contamination_sentences
from gapbench.data import catalogue
from gapbench.data.benchmark import Benchmark, fingerprint
from gapbench.data.region_file import Regions, origin_of, read_regions
from gapbench.data.task import TaskSettings, make_task, planned, refuse_proposed, with_regions
from gapbench.distillation import recipe as recipes
from gapbench.distillation.card import write_card
from gapbench.distillation.contamination import Occurrence, SharedImages, find_shared
from gapbench.distillation.holdouts import default_holdouts
from gapbench.distillation.job import Job
from gapbench.distillation.pairs import OTHER_DATA, Pairs
from gapbench.distillation.resume import changed_in_words, changes, continue_or_refuse, refuse_other_drops
from gapbench.distillation.whole_crops import whole_crops
from gapbench.engines import models
from gapbench.engines.hardware import hardware
from gapbench.errors import BenchmarkError, SampleError, SettingError
from gapbench.runs.lock import hold
from gapbench.runs.manifest import new_session, utc_now
from gapbench.types import Sample
from gapbench.util.files import write_json, write_text
from gapbench.util.text import listed
from gapbench.views import images
from gapbench.views.prepare import ORIENTATION_IGNORED

if TYPE_CHECKING:
    from gapbench.commands.compare import Comparison

LOOKED_AT = 1000
"""Samples of each data set whose images' headers are read before a training."""


@dataclass(frozen=True)
class Distilled:
    """A finished training. `comparison` is None if nothing was measured.

    Of several seeds, `seeds` has each training, `model_path` is the first one's, and `comparison` is about all.
    """

    path: Path
    model_path: Path
    comparison: Comparison | None
    seeds: tuple[Distilled, ...] = ()


@dataclass(frozen=True)
class _Evaluation:
    """What is measured before and after: benchmarks as the user named them, and loaded, and the samples of each.

    `holdouts` are those that nobody named (`gapbench.distillation.holdouts`), and `about_holdouts` says so.
    """

    specs: tuple[str, ...]
    benchmarks: tuple[Benchmark, ...]
    limit: int | None
    holdouts: tuple[str, ...] = ()
    about_holdouts: str = ""

    @property
    def measured(self) -> tuple[str, ...]:
        """The names of all of them."""
        return (*self.specs, *self.holdouts)

    def remarks(self, recipe: recipes.Recipe) -> list[str]:
        """A sentence for each setting that does nothing without an evaluation."""
        if self.specs:
            return []
        settings = {
            "contamination=keep": recipe.contamination == "keep",
            f"--eval-limit {self.limit}": self.limit and not self.holdouts,
        }
        return [f"{key} has no effect, because there is no --eval." for key, given in settings.items() if given]

    def measure(self, job: Job, out: Path, device: Any) -> None:
        """Measure the job's model in both views, or only in the full view if no benchmark has evidence."""
        from gapbench.commands.measure import measure

        evidence = any(s.boxes or s.crop_image is not None for b in self.benchmarks for s in b.samples(self.limit))
        # Not auto: vLLM would take most of the memory of the GPU that trains.
        measure(
            job.model, self.measured, out=out, engine="transformers", views="full,crop" if evidence else "full",
            limit=self.limit, revision=job.revision, trust_remote_code=job.trust_remote_code,
            device="cpu" if device.type == "cpu" else str(device), quiet=job.quiet,
        )  # fmt: skip


def distill(
    model: str,
    data: str,
    recipe: str | Path | recipes.Recipe = "vision-opd",
    out: str | Path = "runs/distill",
    *,
    eval: Sequence[str] | str = (),
    overrides: Sequence[str] = (),
    regions: str | Path | None = None,
    limit: int | None = None,
    eval_limit: int | None = None,
    holdout: bool = True,
    seeds: int = 1,
    resume: bool = False,
    revision: str | None = None,
    trust_remote_code: bool = False,
    quiet: bool = True,
    command: str = "",
) -> Distilled:
    """Train `model` by `recipe` (a name, a YAML file or a `Recipe`) on `data`, and measure `eval` before and after.

    `data` is a benchmark in any form that `gapbench.measure` takes, with evidence boxes, or without them if `regions`
    is given: a file of boxes from a model (`gapbench.locate`), which replace all others of `data`. The reference
    answers of `data` are not used. If it has a `split` parameter that `data` does not set, its training split is used.
    `limit` takes the first training samples, `eval_limit` the first samples of each benchmark in `eval`. `overrides`
    are `key=value` settings of the recipe.

    Unless `eval` has a hold-out or `holdout` is false, the catalogue's hold-outs that need no download are measured as
    well, in the full view, `eval_limit` samples of each. A resumed training keeps those that it started with.

    With `seeds` above 1 the training is repeated with the recipe's seed, the next one and so on, in the folders
    `seed-N` of `out`; what is measured before is measured once, and `out` gets the comparison over all seeds.

    Raises GapbenchError subclasses whose message names the setting or file and the remedy.
    """
    for name, count in (("--limit", limit), ("--eval-limit", eval_limit), ("--seeds", seeds)):
        if count is not None and count < 1:
            raise SettingError(f"{name} {count}: expected at least 1.")
    settings = recipe if isinstance(recipe, recipes.Recipe) else recipes.load(recipe, overrides)
    if seeds > 1:
        train = partial(
            distill, model, data, eval=eval, regions=regions, limit=limit, eval_limit=eval_limit, holdout=holdout,
            resume=resume, revision=revision, trust_remote_code=trust_remote_code, quiet=quiet, command=command,
        )  # fmt: skip
        return _each_seed(train, settings, range(settings.seed, settings.seed + seeds), Path(out))
    model_defaults = models.benchmark_defaults(model)
    benchmark, located = _training_data(data, model_defaults), read_regions(Path(regions)) if regions else None
    samples = _located_samples(benchmark, limit, located) if located else []
    pairs = Pairs(benchmark, settings, limit, samples)
    specs = (eval,) if isinstance(eval, str) else tuple(eval)
    asked = planned(specs, TaskSettings(limit=eval_limit), model_defaults) if specs else []
    evaluation = _Evaluation(specs, tuple(one.benchmark for one in asked), eval_limit)
    for loaded in evaluation.benchmarks:
        refuse_proposed(loaded.name, loaded.samples(eval_limit))
    if holdout and not any(b.card.role == "hold-out" for b in evaluation.benchmarks):
        # A model with benchmark settings of its own is a small one that knows drawn scenes alone.
        names, about_holdouts = default_holdouts(eval_limit, drawn_only=bool(model_defaults))
        evaluation = replace(evaluation, holdouts=tuple(names), about_holdouts=about_holdouts)
    details: dict[str, Any] = {
        "model": model,
        **models.identity(models.resolve(model), revision),
        "regions": located.info if located else None,
        **_proposed(pairs, located),
        "data": {"name": pairs.benchmark.name, "parameters": dict(pairs.benchmark.parameters),
                 "samples": len(pairs.samples), "without_evidence": pairs.without_evidence,
                 **({"validation": len(pairs.validation)} if pairs.validation else {}),
                 "fingerprint": fingerprint(pairs.samples), "protocol": pairs.protocol},
    }  # fmt: skip
    job = Job(model, settings, Path(out), revision, trust_remote_code, resume, quiet)
    python_call = f"gapbench.distill({model!r}, {data!r}, recipe={str(recipe)!r}, out={str(out)!r}, …)"
    command = command or python_call
    # The first of several processes holds the lock for all; which one this is, only the launcher says so early.
    with hold(job.folder, command) if os.environ.get("RANK", "0") == "0" else nullcontext():
        return _distill(job, pairs, evaluation, details, command)


def _each_seed(
    train: Callable[..., Distilled], settings: recipes.Recipe, seeds: Sequence[int], folder: Path
) -> Distilled:
    """One training for each seed, and the comparison over all of them."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise SettingError(
            "--seeds: with several processes each training needs its own launch. Launch it once for each seed, with "
            "--seed N and another --out, and then `gapbench compare --before … --after … --after …`."
        )
    trained: list[Distilled] = []
    for seed in seeds:
        path = folder / f"seed-{seed}"
        if trained and (before := trained[0].path / "before").exists() and not (path / "before").exists():
            shutil.copytree(before, path / "before", ignore=shutil.ignore_patterns(".lock*"))
        trained.append(train(recipe=settings.model_copy(update={"seed": seed}), out=path))
    comparison = None
    if trained[0].comparison:
        from gapbench.commands.compare import compare

        comparison = compare(trained[0].path / "before", [one.path / "after" for one in trained], out=folder)
    return Distilled(folder, trained[0].model_path, comparison, tuple(trained))


def _distill(job: Job, pairs: Pairs, evaluation: _Evaluation, details: Mapping[str, Any], command: str) -> Distilled:
    """Everything that reads or writes the folder of the training."""
    folder = job.folder
    earlier = continue_or_refuse(folder, details, job.recipe, job.resume)
    if earlier:  # the same as before: others can have been downloaded since
        evaluation = replace(evaluation, holdouts=tuple(earlier.get("holdouts", ())), about_holdouts="")

    from gapbench.distillation import checkpoints, training

    accelerator = training.make_accelerator(job.recipe, folder)
    first = accelerator.is_main_process
    job = replace(job, quiet=job.quiet or not first)
    asked = {b.name: (b, b.samples(evaluation.limit)) for b in evaluation.benchmarks}
    asked |= {pairs.benchmark.name: (pairs.benchmark, [*pairs.samples, *pairs.validation])}
    about_boxes = [_region_remark(job.model, details["regions"]), details.get("proposed", ""), whole_crops(pairs)]
    about_boxes += [_turned_remark(*one) for one in asked.values()]
    remarks = [*recipes.remarks(job.recipe), *evaluation.remarks(job.recipe), *filter(None, about_boxes)]
    for text in (*remarks, *filter(None, [pairs.left_out, evaluation.about_holdouts])):
        job.say(text)
    session = new_session(command, hardware()).model_dump(exclude_unset=True)
    finished = earlier.get("training", {}).get("steps") == job.recipe.steps and (folder / "model").exists()
    if earlier:
        notes: Mapping[str, Any] = {"step": job.recipe.steps} if finished else {}
        if checkpoint := checkpoints.newest(folder / "checkpoints"):  # if finished, it is not read any more
            notes = {"step": checkpoints.step_of(checkpoint)} if finished else checkpoints.read_notes(checkpoint)
        session |= changes(folder, job.recipe, notes, checkpoints.launch(accelerator))
        if session["changed"]:
            job.say(f"changed after step {session['after_step']}: {changed_in_words(session)}")
    info = {
        **earlier,
        **details,
        "holdouts": list(evaluation.holdouts),
        "sessions": [*earlier.get("sessions", []), session],
    }
    info |= {**session, "command": info["sessions"][0]["command"]}
    info = {key: value for key, value in info.items() if key not in ("after_step", "changed")} | {"remarks": remarks}

    if first:
        found = _shared_images(pairs, evaluation, job.quiet)
        info["contamination"] = {"policy": job.recipe.contamination, **found.json()}
        refuse_other_drops(folder, earlier, info)
        # In this order a kill in between lets the next session say again what was changed.
        write_json(folder / "distill.json", info)
        write_text(folder / "recipe.yaml", recipes.dump(job.recipe))
        if evaluation.measured:
            named = [b.name for b in evaluation.benchmarks]
            job.say(f"before: measuring {', '.join([*named, *evaluation.holdouts])}")
            evaluation.measure(job, folder / "before", accelerator.device)
    accelerator.wait_for_everyone()
    contamination = json.loads((folder / "distill.json").read_text(encoding="utf-8"))["contamination"]
    for sentence in contamination_sentences(contamination).values():
        job.say(sentence)
    if shared := contamination["shared"]:
        places = {key: str(Occurrence(**occurrences[0])) for key, occurrences in shared.items()}
        job.say(f"{len(shared)} training samples show an image of the evaluation: {_listed(places)}.")
        if job.recipe.contamination == "drop":  # the sentences say that they were left out
            job.say("contamination=keep would train on them.")
            pairs = pairs.without(frozenset(shared))

    if not finished:
        if first:  # its answers are those of a model that this training replaces
            shutil.rmtree(folder / "after", ignore_errors=True)
        info |= training.run(job, pairs, accelerator)
        accelerator.free_memory()  # the trained model is measured on the same device

    comparison = None
    if first:
        if pairs.skipped:
            info["skipped"] = dict(pairs.skipped)
            job.say(f"{len(pairs.skipped)} training samples could not be shown: {_listed(pairs.skipped)}.")
        info["finished"] = utc_now()
        write_json(folder / "distill.json", info)
        if evaluation.measured:
            from gapbench.commands.compare import compare

            job.say("after: measuring the trained model")
            trained = replace(job, model=str(folder / "model"), revision=None)
            evaluation.measure(trained, folder / "after", accelerator.device)
            comparison = compare(folder / "before", folder / "after", out=folder)
        write_card(folder / "model", info, job.recipe, comparison.summary if comparison else None)
    accelerator.wait_for_everyone()
    training.finish(accelerator)
    return Distilled(folder, folder / "model", comparison)


def _training_data(data: str, model_defaults: Mapping[str, Mapping[str, Any]]) -> Benchmark:
    """The benchmark to train on, in its training split if it has splits and `data` names none."""
    benchmark = catalogue.load(data, model_defaults)
    if "split" in benchmark.settable and "split" not in benchmark.parameters:
        parameters = {**model_defaults.get(benchmark.name, {}), "split": "train"}
        loaded = catalogue.load(data, {**model_defaults, benchmark.name: parameters})
        return replace(loaded, chosen={**loaded.chosen, "split": "train"})
    return benchmark


def _located_samples(benchmark: Benchmark, limit: int | None, regions: Regions) -> list[Sample]:
    """The training samples with the boxes of a region file. Raises BenchmarkError if it has a box for none of them."""
    (task,) = with_regions([make_task(benchmark, TaskSettings(limit=limit))], regions)
    return list(task.samples)


def _region_remark(model: str, info: Mapping[str, Any] | None) -> str:
    """Whose boxes are trained on, as a sentence; empty for the data's own boxes."""
    if not info:
        return ""
    origin = origin_of(info)
    located = f"evidence boxes that a model located{f' ({origin})' if origin else ''}"
    others = [name for name in info["models"] if name != model]
    by = f" They are those of {listed(others)}, not of the student {model}." if others else ""
    return f"--regions {info['file']}: {located} replace all of the data's own.{by}"


def _turned_remark(benchmark: Benchmark, samples: Sequence[Sample]) -> str:
    """How many of the first `LOOKED_AT` samples have an image whose EXIF orientation is not applied, as a sentence."""
    if benchmark.parameters.get("orientation"):
        return ""
    files = [s.image for s in samples[:LOOKED_AT] if s.boxes and not s.upright and isinstance(s.image, str | Path)]
    turned = 0
    for image in files:
        with suppress(SampleError):  # a training says so when it uses the sample
            turned += images.is_turned(image)
    which = f"of {len(files):,} samples looked at, {turned:,} {'has' if turned == 1 else 'have'} an image with"
    return f"{benchmark.name}: {which} {ORIENTATION_IGNORED}" if turned else ""


def _proposed(pairs: Pairs, located: Regions | None) -> dict[str, str]:
    """The entry of `distill.json` that says that a model made the data; none for other data."""
    made = not located and any(sample.evidence == "model" for sample in pairs.samples)
    return {"proposed": pairs.benchmark.card.notice or "Evidence boxes of a model."} if made else {}


def _shared_images(pairs: Pairs, evaluation: _Evaluation, quiet: bool) -> SharedImages:
    """The training samples that show an image of the evaluation.

    Raises BenchmarkError if the recipe drops such samples and none would remain.
    """
    found = find_shared(pairs, [(b.name, b.samples(evaluation.limit)) for b in evaluation.benchmarks], quiet)
    if pairs.recipe.contamination == "drop" and all(s.id in found.samples for s in pairs.samples):
        places = {key: str(occurrences[0]) for key, occurrences in found.samples.items()}
        names = listed(dict.fromkeys(o.benchmark for occurrences in found.samples.values() for o in occurrences))
        held = f" (besides {len(pairs.validation):,} held out for validation)" if pairs.validation else ""
        raise BenchmarkError(
            f"{pairs.benchmark.name}: all {len(pairs.samples):,} training samples{held} show an image that is also in "
            f"--eval {names} ({_listed(places, 1)}). {OTHER_DATA}"
        )
    return found


def _listed(reasons: Mapping[str, str], count: int = 3) -> str:
    return listed((f"{key}: {reason}" for key, reason in reasons.items()), count, "; ")
