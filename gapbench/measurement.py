"""The main job: ask one model every question in every view, keep each answer, and say what the gap is.

    import gapbench
    run = gapbench.measure("glance", ["signs"], views=("full", "crop"), out="runs/glance")
    run.summary["benchmarks"]["signs"]["gap"]

A run is a folder. Records are appended as answers come, keyed by (benchmark, sample, view, repeat); the same call after
a kill skips what is there. `run.json` says what was asked, and a call that asks something else is refused instead of
mixed in. One sample that cannot be shown is recorded as `failed` with its reason and ends nothing.

Limits: one engine per process; answers to repeats of a greedy run differ only by numerical noise.
"""

from __future__ import annotations

import json
import os
import platform
import shlex
import sys
import time
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gapbench import boxes, catalogue, images, records, views
from gapbench.catalogue import Benchmark
from gapbench.engines import Answer, Engine, Request
from gapbench.errors import RunError, SampleError, SettingError
from gapbench.progress import progress
from gapbench.prompts import prompt
from gapbench.run import Run, write_results
from gapbench.scoring import score
from gapbench.types import Record, Sample

if TYPE_CHECKING:
    from PIL.Image import Image

RUN_SCHEMA = 1
THUMBNAILS = 600
"""Samples per benchmark whose pictures are kept, small, for the report's gallery."""
MAY_DIFFER = frozenset({"sessions", "seconds", "repairs", "device", "limit", "repeats", "written_by"})
"""Entries of `run.json` that a continued run may change: they do not decide what a single answer means."""


@dataclass(frozen=True)
class Case:
    """One sample made ready: its picture, evidence and region, or the reason why there is none."""

    sample: Sample
    image: Image | None
    image_hash: str
    boxes: tuple[tuple[float, float, float, float], ...]
    region: views.Region | None
    repairs: tuple[str, ...]
    error: str
    region_error: str


def measure(
    model: str,
    benchmarks: Sequence[str] | str,
    views: Sequence[str] = ("full", "crop"),
    out: str | Path = "runs/latest",
    *,
    limit: int | None = None,
    seed: int = 0,
    repeats: int = 1,
    region: str = "",
    batch_size: int | None = None,
    max_new_tokens: int = 128,
    temperature: float = 0.0,
    min_pixels: int | None = None,
    max_pixels: int | None = None,
    dtype: str = "auto",
    device: str = "auto",
    revision: str | None = None,
    trust_remote_code: bool = False,
    chat_template: Path | None = None,
    attn_implementation: str | None = None,
    processor_kwargs: Mapping[str, Any] | None = None,
    quiet: bool = True,
    command: str = "",
) -> Run:
    """Measure `model` (Hub id, folder or `glance`) on `benchmarks` (names, .py or .jsonl files) and return the run.

    `limit` takes the first questions of each benchmark; `repeats` asks each of them so many times; `region` overrides
    every benchmark's own region policy; pixel bounds are width x height. `batch_size` None is automatic.

    Raises GapbenchError subclasses whose message names the setting or file and the remedy. What was answered before an
    error stays in `out` and is not asked again.
    """
    from gapbench import models
    from gapbench.engines import transformers
    from gapbench.pixels import Pixels

    specs = [benchmarks] if isinstance(benchmarks, str) else list(benchmarks)
    _check_settings(specs, views, limit, repeats, region)
    wishes = models.benchmark_defaults(model)
    chosen = [catalogue.load(spec, wishes) for spec in specs]
    duplicate = [n for n, count in Counter(b.name for b in chosen).items() if count > 1]
    if duplicate:
        raise SettingError(
            f"-b: the benchmark {duplicate[0]!r} is asked for twice. Measure the second into another run."
        )
    asked = {b.name: b.samples(limit) for b in chosen}
    folder = Path(out)
    done = _done(folder)
    engine = transformers.load(
        model,
        dtype=dtype,
        device=device,
        revision=revision,
        trust_remote_code=trust_remote_code,
        chat_template=chat_template,
        attn_implementation=attn_implementation,
        pixels=Pixels(min_pixels, max_pixels),
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        batch_size=batch_size,
        seed=seed,
        processor_kwargs=processor_kwargs,
    )
    plan = _plan(engine, chosen, asked, views, region, limit, repeats, seed)
    _continue_or_start(folder, plan, asked, command or shlex.join(sys.argv))
    todo = _todo(chosen, asked, views, region, repeats, done)
    _ask(engine, folder, todo, chosen, asked, len(views) * repeats, quiet)
    return write_results(folder)


def _check_settings(specs: list[str], chosen: Sequence[str], limit: int | None, repeats: int, region: str) -> None:
    if not specs:
        raise SettingError(
            f"-b: no benchmark was named. Known are {', '.join(catalogue.names())}, or a .py or .jsonl file."
        )
    unknown = [v for v in chosen if v not in views.VIEWS]
    if unknown or not chosen or len(set(chosen)) < len(chosen):
        raise SettingError(
            f"--views {','.join(chosen)}: expected one or more of {', '.join(views.VIEWS)}, each once, separated by commas."
        )
    if limit is not None and limit < 1:
        raise SettingError(f"--limit {limit}: expected at least 1.")
    if repeats < 1:
        raise SettingError(f"--repeats {repeats}: expected at least 1.")
    if region:
        views.parse_policy(region)


def _done(folder: Path) -> dict[records.Key, dict[str, Any]]:
    """The records a run already has, by key."""
    if not (folder / records.FILE).exists():
        return {}
    found: dict[records.Key, dict[str, Any]] = {}
    for row in records.read(folder):
        found[records.key(row)] = row
    return found


def _plan(
    engine: Engine,
    chosen: Sequence[Benchmark],
    asked: Mapping[str, list[Sample]],
    wanted: Sequence[str],
    region: str,
    limit: int | None,
    repeats: int,
    seed: int,
) -> dict[str, Any]:
    """What `run.json` keeps: all that decides what an answer means."""
    return {
        "schema_version": RUN_SCHEMA,
        **engine.info,
        "views": list(wanted),
        "benchmarks": {
            b.name: {
                "parameters": dict(b.parameters),
                "samples": len(asked[b.name]),
                "fingerprint": catalogue.fingerprint(asked[b.name]),
                "region": region or b.card.region,
                "prompt": prompt(asked[b.name][0], b.card.prompt),
                "card": _json_ready(asdict(b.card)),
            }
            for b in chosen
        },
        "seeds": {"sampling": seed, "statistics": 0},
        "limit": limit,
        "repeats": repeats,
    }


def _continue_or_start(folder: Path, plan: dict[str, Any], asked: Mapping[str, list[Sample]], command: str) -> None:
    """Write `run.json`; if there is one already, refuse to mix runs that differ, naming the setting."""
    path = folder / "run.json"
    session = {"command": command, "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
               "versions": versions(), "hardware": hardware()}  # fmt: skip
    sessions = [session]
    if path.exists():
        try:
            old = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise RunError(f"{path}: not JSON ({error}). Restore it, or choose another --out.") from error
        _refuse_difference(folder, old, plan, asked)
        sessions = [*old.get("sessions", []), session]
    elif (folder / records.FILE).exists() and (folder / records.FILE).stat().st_size:
        raise RunError(f"{folder}: records.jsonl without run.json, so what was asked is unknown. Choose another --out.")
    write_json(path, {**plan, "command": sessions[0]["command"], "versions": session["versions"],
                      "hardware": session["hardware"], "sessions": sessions})  # fmt: skip


def _refuse_difference(
    folder: Path, old: dict[str, Any], new: dict[str, Any], asked: Mapping[str, list[Sample]]
) -> None:
    def refuse(what: str, before: Any, now: Any) -> RunError:
        return RunError(
            f"{folder}: this run was started with {what} {_short(before)}, and now it is {_short(now)}. Answers of both "
            "must not be mixed. Choose another --out, or ask as before."
        )

    for name in old.get("benchmarks", {}):
        if name not in new["benchmarks"]:
            raise refuse("benchmarks", sorted(old["benchmarks"]), sorted(new["benchmarks"]))
    for name, now in new["benchmarks"].items():
        before = old.get("benchmarks", {}).get(name)
        if before is None:
            raise refuse("benchmarks", sorted(old.get("benchmarks", {})), sorted(new["benchmarks"]))
        if now["samples"] < before["samples"]:
            raise refuse(f"--limit: {name} samples", before["samples"], now["samples"])
        for what in ("parameters", "region"):
            if before.get(what) != now[what]:
                raise refuse(f"{name} {what}", before.get(what), now[what])
        if catalogue.fingerprint(asked[name][: before["samples"]]) != before["fingerprint"]:
            raise refuse(
                f"{name}: {_changed_question(folder, asked[name])} (fingerprint)",
                before["fingerprint"],
                catalogue.fingerprint(asked[name][: before["samples"]]),
            )
    own = {"command", "versions", "hardware", "benchmarks"} | MAY_DIFFER
    for what in sorted((set(old) | set(new)) - own):
        if old.get(what) != json.loads(json.dumps(new.get(what))):
            raise refuse(what, old.get(what), new.get(what))


def _changed_question(folder: Path, asked: Sequence[Sample]) -> str:
    """Names the first sample whose recorded question, options or answers are no longer what is asked."""
    now = {s.id: (s.question, list(s.options), list(s.answers)) for s in asked}
    for row in records.read(folder):
        if row["sample"] in now and now[row["sample"]] != (row["question"], row["options"], row["answers"]):
            return f"sample {row['sample']!r} changed"
    return "a question, answer, box or picture changed"


def _todo(
    chosen: Sequence[Benchmark],
    asked: Mapping[str, list[Sample]],
    wanted: Sequence[str],
    region: str,
    repeats: int,
    done: Mapping[records.Key, Any],
) -> Iterator[tuple[Benchmark, Sample, list[tuple[str, int]]]]:
    for benchmark in chosen:
        for sample in asked[benchmark.name]:
            open_ = [
                (view, repeat)
                for repeat in range(repeats)
                for view in wanted
                if (benchmark.name, sample.id, view, repeat) not in done
            ]
            if open_:
                yield benchmark, sample, open_


def _ask(
    engine: Engine,
    folder: Path,
    todo: Iterator[tuple[Benchmark, Sample, list[tuple[str, int]]]],
    chosen: Sequence[Benchmark],
    asked: Mapping[str, list[Sample]],
    per_sample: int,
    quiet: bool,
) -> None:
    """Feed the engine and write what it answers, one record per line, while a bar shows what is left."""
    plan = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    cases: dict[tuple[str, str], tuple[Case, int]] = {}
    repairs: Counter[str] = Counter()
    gallery = _shown_in_gallery(asked)
    (folder / "thumbnails").mkdir(exist_ok=True)

    def requests() -> Iterator[Request]:
        for benchmark, sample, open_ in todo:
            case = prepare(sample, plan["benchmarks"][benchmark.name]["region"])
            repairs.update(f"{benchmark.name}: {r}" for r in case.repairs)
            if (benchmark.name, sample.id) in gallery:
                _keep_thumbnails(folder / "thumbnails", gallery[benchmark.name, sample.id], case)
            cases[benchmark.name, sample.id] = case, len(open_)
            text = prompt(sample, benchmark.card.prompt)
            for view, repeat in open_:
                key = (benchmark.name, sample.id, view, repeat)
                picture, error = show(case, view)
                yield Request(key, picture, text, error)

    total = per_sample * sum(map(len, asked.values()))
    with records.Writer(folder) as writer:
        missing = total - sum(1 for _ in records.read(folder)) if (folder / records.FILE).exists() else total
        with progress(total, total - missing, f"{engine.info['model']}", quiet) as advance:
            for key, answer in engine.generate(requests()):
                name, sample_id, view, repeat = _key(key)
                case, left = cases[name, sample_id]
                writer.write(record(name, case, view, repeat, answer, plan["benchmarks"][name]["region"]))
                # A picture of 8K is 100 MB: let go of it with its last answer.
                cases[name, sample_id] = case, left - 1
                if left == 1:
                    del cases[name, sample_id]
                advance(answer.error)
    if repairs:
        plan["repairs"] = {k: plan.get("repairs", {}).get(k, 0) + n for k, n in sorted(repairs.items())}
        write_json(folder / "run.json", plan)


def prepare(sample: Sample, policy: str) -> Case:
    """Decode the picture, normalise the boxes and find the region; whatever fails is kept as text."""
    try:
        image, digest = images.decode(sample.image)
    except SampleError as error:
        return Case(sample, None, "", (), None, (), str(error), "")
    try:
        native = images.decode(sample.crop_image)[0] if sample.crop_image is not None else None
        evidence, repairs = boxes.normalise(sample.boxes, sample.box_format, image.size)
    except SampleError as error:
        return Case(sample, image, digest, (), None, (), "", str(error))
    try:
        region = views.find_region(policy, evidence, image.size, native)
    except SampleError as error:
        return Case(sample, image, digest, evidence, None, repairs, "", str(error))
    return Case(sample, image, digest, evidence, region, repairs, "", "")


def show(case: Case, view: str) -> tuple[Image | None, str]:
    """What the model is shown in a view, or the reason why it cannot be shown."""
    if case.image is None:
        return None, case.error
    if case.region is None and view in views.NEEDS_REGION:
        return None, case.region_error
    return views.VIEWS[view](case.image, case.region), ""


def record(benchmark: str, case: Case, view: str, repeat: int, answer: Answer, policy: str) -> Record:
    """Judge an answer by rule and write down all that statistics and reports will ask for."""
    sample = case.sample
    if answer.error:
        outcome, points, parsed, rule, reason = "failed", None, None, "", answer.error
    else:
        verdict = score(answer.text, sample.answers, sample.answer_type, sample.options, sample.question)
        outcome, points, parsed, rule, reason = (
            verdict.outcome, verdict.score, verdict.parsed, verdict.rule, verdict.reason,
        )  # fmt: skip
        if answer.truncated:
            reason = f"{reason}; " * bool(reason) + "stopped at the limit of new tokens"
    size = case.image.size if case.image else None
    area = size[0] * size[1] if size else 0
    box = case.region.box if case.region else None
    return Record(
        benchmark=benchmark,
        sample=sample.id,
        view=view,
        repeat=repeat,
        outcome=outcome,  # type: ignore[arg-type]  # one of the four, by construction above
        score=points,
        output=answer.text,
        parsed=parsed,
        rule=rule,
        reason=reason,
        question=sample.question,
        options=sample.options,
        answers=sample.answers,
        answer_type=sample.answer_type,
        category=sample.category,
        cluster=sample.cluster,
        image_hash=case.image_hash,
        image_size=size,
        boxes=case.boxes,
        evidence_area=boxes.union_area(case.boxes) / area if case.boxes else None,
        region_policy=policy,
        region=box,
        region_area=(box[2] - box[0]) * (box[3] - box[1]) / area if box else None,
        sent_size=answer.sent_size,
        image_tokens=answer.image_tokens,
        prompt_tokens=answer.prompt_tokens,
        output_tokens=answer.output_tokens,
        seconds=answer.seconds,
    )


def _keep_thumbnails(place: Path, key: str, case: Case) -> None:
    """Small pictures of a sample for the report's gallery."""
    from gapbench.report.thumbnails import save_thumbnail

    if case.image is None or (place / f"{key}-full.jpg").exists():
        return
    save_thumbnail(case.image, place / f"{key}-full.jpg")
    if case.region is not None:
        save_thumbnail(views.crop(case.image, case.region), place / f"{key}-crop.jpg")


def _shown_in_gallery(asked: Mapping[str, list[Sample]]) -> dict[tuple[str, str], str]:
    """Thumbnail keys of the samples whose pictures are kept: a fixed draw, the same for every model and resume."""
    from gapbench.report.thumbnails import thumbnail_key

    drawn: dict[tuple[str, str], str] = {}
    for name, samples in asked.items():
        keys = sorted((thumbnail_key(name, s.id), s.id) for s in samples)
        drawn |= {(name, sample_id): key for key, sample_id in keys[:THUMBNAILS]}
    return drawn


def versions() -> dict[str, str]:
    """Versions of what decides numbers: Python and the packages that touch pixels, tokens or statistics."""
    from gapbench import __version__

    found = {"gapbench": __version__, "python": platform.python_version()}
    for name in ("torch", "torchvision", "transformers", "tokenizers", "pillow", "numpy", "scipy", "pandas"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def hardware() -> dict[str, Any]:
    """Processor, cores, and accelerators by name; no host or user names."""
    import torch

    found: dict[str, Any] = {"machine": platform.machine(), "system": platform.system(), "cores": os.cpu_count(),
                             "threads": torch.get_num_threads()}  # fmt: skip
    if torch.cuda.is_available():
        found["accelerators"] = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        found["cuda"] = torch.version.cuda
    return found


def write_json(path: Path, value: Any) -> None:
    """Write JSON so that a kill leaves the old file or the new one, never half of either."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.draft")
    draft.write_text(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    draft.replace(path)


def _key(key: Hashable) -> records.Key:
    assert isinstance(key, tuple)
    return key  # type: ignore[return-value]  # the very tuple that `requests` put in


def _json_ready(value: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in json.loads(json.dumps(value)).items() if v not in ("", [], {})}


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return repr(text if len(text) <= 160 else text[:157] + "...")
