"""Two minutes before two days: what would go wrong in a run, and what helps.

    diagnosis = doctor("glance", ["signs"])
    print(diagnosis.text())             # gapbench doctor glance -b signs

What needs no weights comes first: the model's configuration and chat template, the data, how long prompts are, whether
they fit the context, memory, downloads. Then the engine is loaded, the self-check asks it about drawn images, and a few
samples go through everything that a run does, in a folder that is thrown away. Weights and data sets are not fetched;
the size of what would be is said.

Limits: memory is that of one prompt at a time on one device (`gapbench.preflight.memory`). The projected time comes
from a few answers, in batches smaller than a run's. Of a model that only its server knows, prompts are not counted.
"""

from __future__ import annotations

import time
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from gapbench.commands.measure import pending_samples
from gapbench.data.hub import pending_download
from gapbench.data.suites import is_suite
from gapbench.data.task import PlannedTask, Task, TaskSettings, no_evidence, planned
from gapbench.distillation import recipe as recipes
from gapbench.distillation.pairs import Pairs
from gapbench.engines import loading, models
from gapbench.engines.hardware import hardware, memory
from gapbench.engines.options import THINKING_TOKENS, Generation
from gapbench.engines.visual_tokens import counter
from gapbench.errors import GapbenchError, SettingError
from gapbench.judging import Judge
from gapbench.preflight.diagnosis import Diagnosis, Notes
from gapbench.runs import records
from gapbench.runs.manifest import make_manifest, new_session
from gapbench.runs.session import answer_pending
from gapbench.runs.throughput import ThroughputMeter, Workload, duration
from gapbench.types import Card, Engine
from gapbench.util import downloads
from gapbench.util.downloads import gigabytes
from gapbench.util.progress import progress
from gapbench.util.terminal import say
from gapbench.util.text import clip, error_line, listed, percent_in_words, quoted
from gapbench.views.pixels import Pixels
from gapbench.views.views import parse_views

if TYPE_CHECKING:
    from gapbench.engines.chat import Chat
    from gapbench.preflight.lengths import ViewLengths

SAMPLES = 8
"""Samples that go through the whole path, over all benchmarks, each in every view."""
UNPARSED = 0.25
"""Share of unparsed answers from which a warning is given: a run with so many measures formats rather than sight."""
NAME = 24
"""Most characters of a benchmark's name in an observation."""
NOMINAL = (1344, 1344)
"""Pixels of the image for which memory is computed if no benchmark is named or here."""
NOT_FETCHED = ("*.bin", "*.pt", "*.pth", "*.gguf", "*.onnx", "*.msgpack", "*.h5", "original/*", "consolidated*")
"""Files of a Hub model that loading does not fetch."""


@dataclass(frozen=True)
class _Plan:
    """The run that a user plans."""

    model: str
    choice: loading.Choice
    generation: Generation
    pixels: Pixels
    recipe: recipes.Recipe | None
    command: str

    @property
    def served(self) -> bool:
        return self.choice.engine == "server"

    @property
    def options(self) -> dict[str, Any]:
        """The options that say how the model is read."""
        names = models.ModelOptions.model_fields.keys() & type(self.choice.options).model_fields.keys()
        options = self.choice.options.model_dump(include=set(names))
        if self.recipe:
            options["dtype"] = "bfloat16" if self.autocast and self.recipe.lora else "float32"
        return options

    @property
    def autocast(self) -> bool:
        """Whether training would run in bfloat16."""
        import torch

        on_cpu = not (torch.cuda.is_available() or torch.backends.mps.is_available())
        return self.recipe is not None and self.recipe.precision in ("bf16", *(() if on_cpu else ("auto",)))

    def answer_tokens(self, chat: Chat) -> int:
        return self.generation.for_model(chat.thinking.expected).tokens


def doctor(
    model: str,
    benchmarks: Sequence[str] | str = (),
    views: Sequence[str] | str = ("full", "crop"),
    *,
    engine: str = "auto",
    limit: int | None = None,
    recipe: str | Path = "",
    judge: Judge | None = None,
    max_new_tokens: int | None = None,
    min_pixels: int | None = None,
    max_pixels: int | None = None,
    quiet: bool = True,
    command: str = "",
    **options: Any,
) -> Diagnosis:
    """Look at a planned run of `gapbench.measure` with these arguments, or of `gapbench.distill` with a `recipe`.

    With `recipe`, memory is that of training, and the first benchmark is the training data. `judge` is asked about
    answers of which the verdict is known. What is wrong with the model, the data, a server or the judge becomes an
    observation. Raises SettingError for arguments that no run could take.
    """
    started = time.perf_counter()
    plan = _Plan(
        model, loading.choose(model, engine, options), Generation(max_new_tokens), Pixels(min_pixels, max_pixels),
        recipes.load(recipe) if recipe else None, command or f"gapbench.doctor({model!r}, …)",
    )  # fmt: skip
    if plan.recipe and plan.served:
        raise SettingError(
            "--recipe: a model behind a server cannot be trained. Name it as distill would, by folder or Hub id."
        )
    if plan.recipe:
        bounds = Pixels(plan.recipe.min_pixels, plan.recipe.max_pixels)
        plan = replace(plan, generation=Generation(plan.recipe.max_new_tokens), pixels=bounds)
    settings = TaskSettings(parse_views(views), limit)
    notes = Notes(lambda step: None if quiet else say(f"{model}: {step} …"))
    with ExitStack() as stack:
        loaded: models.Loaded | None = None
        served: Engine | None = None
        if plan.served:
            served, chat = _look_at_server(notes, plan, stack)
        else:
            loaded, chat = _look_at_model(notes, plan)
        tasks = _look_at_data(notes, plan, benchmarks, settings)
        lengths = _look_at_lengths(notes, plan, chat, loaded or served, tasks) if chat else {}
        if loaded and chat:
            _look_at_memory(notes, plan, loaded, chat, lengths, tasks)
        if plan.recipe and plan.recipe.eval_every and tasks:
            with notes.step("validation"):
                held = len(Pairs(tasks[0].benchmark, plan.recipe, samples=list(tasks[0].samples)).validation)
                notes.add("validation", f"{held:,} samples are held out to choose the checkpoint")
        before_weights = time.perf_counter() - started
        if notes.failed:
            notes.add("engine", f"not started, because of {listed(notes.failed)}", "skipped")
        else:
            with notes.step("weights"):
                if plan.served or _has_weights(notes, plan):
                    _look_at_answers(notes, plan, served, stack, tasks, lengths)
    if judge:
        _look_at_judge(notes, judge)
    seconds = time.perf_counter() - started
    return Diagnosis(
        model, plan.choice.engine, tuple(notes.observations), round(before_weights, 1), round(seconds, 1)
    )  # fmt: skip


def _look_at_server(notes: Notes, plan: _Plan, stack: ExitStack) -> tuple[Engine | None, Chat | None]:
    """The engine that asks the server, and the chat of the model's own files if this machine has them."""
    from gapbench.selfcheck.probes import reference_of

    engine, chat = None, None
    with notes.step("server"):
        with warnings.catch_warnings(record=True) as said:  # they become observations
            warnings.simplefilter("always")
            engine = loading.load(plan.model, plan.choice, plan.generation, plan.pixels)
        stack.enter_context(closing(engine))
        servers = engine.info["servers"]
        versions = listed(sorted({server["version"] for server in servers if server.get("version")}))
        found = f"{listed(engine.info['base_urls'])} answers (version {versions or 'not said'})"
        if any(server.get("models") for server in servers):
            notes.add("server", found)
        else:
            remedy = "Is it an OpenAI-compatible server? Its --base-url usually ends in /v1."
            notes.add("server", f"{found}, but lists no models", "warning", remedy)
        for warning in said:
            notes.add("model", str(warning.message), "warning")
        notes.add("thinking", str(engine.info["generation"]["thinking"]))
        chat = reference_of(engine)
        if chat is None:
            notes.add("tokens", "not counted, because the model's own processor is not on this machine", "skipped")
    return engine, chat


def _look_at_model(notes: Notes, plan: _Plan) -> tuple[models.Loaded | None, Chat | None]:
    """The model without its weights, and its chat."""
    from gapbench.engines.chat import make_chat

    loaded, chat = None, None
    with notes.step("model"):
        loaded = models.load_without_weights(plan.model, **plan.options)
        count = sum(parameter.numel() for parameter in loaded.model.parameters())
        size = f"{count / 1e9:.2f} B" if count >= 1e8 else f"{count / 1e6:.1f} M"
        why = f" ({plan.choice.reason})" if plan.choice.reason else ""
        found = f"{type(loaded.model).__name__}, {size} parameters, {loaded.dtype}"
        notes.add("model", f"{found}; {plan.choice.engine} on {loaded.device}{why}")
    if loaded is None:
        return None, None
    with notes.step("chat template"):
        options = plan.options
        chat = make_chat(
            loaded, options.get("processor_kwargs") or {}, options.get("chat_template_kwargs") or {},
            options.get("reasoning_tags") or (),
        )  # fmt: skip
        remedy = f"Answers may have {THINKING_TOKENS:,} tokens by default; an instruct model answers at once."
        level, remedy = ("warning", remedy) if chat.thinking.expected else ("ok", "")
        notes.add("chat template", f"takes images; thinking: {chat.thinking.text}", level, remedy)  # type: ignore[arg-type]
    return loaded, chat


def _look_at_data(
    notes: Notes, plan: _Plan, benchmarks: Sequence[str] | str, settings: TaskSettings
) -> list[Task]:  # fmt: skip
    """The tasks of those benchmarks whose data is on this machine, each in the views that it can show."""
    tasks: list[Task] = []
    without: list[tuple[str, str, str]] = []
    preferred = models.benchmark_defaults(plan.model, plan.choice.engine)
    for spec, asked in _asked([benchmarks] if isinstance(benchmarks, str) else benchmarks, settings):
        name = spec if len(spec) <= NAME else f"…{spec[1 - NAME :]}"
        with notes.step(name):
            (one,) = [asked] if asked else planned([spec], settings, preferred)
            benchmark, card = one.benchmark, one.benchmark.card
            terms = f"licence: {card.licence}{f'; restricted: {card.restricted}' if card.restricted else ''}"
            if not benchmark.is_local:
                _look_at_download(notes, name, card, terms)
                continue
            task = one.make()
            if task.name in [other.name for other in tasks]:
                notes.add(name, f"{task.name} is asked for twice", "fails", "Name it once, or with other parameters.")
                continue
            boxed = sum(bool(sample.boxes or sample.crop_image is not None) for sample in task.samples)
            found = f"{len(task.samples):,} samples, {boxed:,} with evidence; {terms}"
            possible = task.possible_views
            missing = next((view for view in task.views if view not in possible), None)
            if missing:
                without.append((name, found, no_evidence(task, missing)))
            else:
                notes.add(name, found)
            if possible:
                tasks.append(replace(task, views=possible))
    some_gap = len(tasks) > len(without)  # then a run measures the others in the full view alone
    for name, found, why in without:
        notes.add(name, found, "warning" if some_gap else "fails", why)
    return tasks


def _asked(specs: Sequence[str], settings: TaskSettings) -> list[tuple[str, PlannedTask | None]]:
    """Each benchmark by its name; those of a suite with what the suite asks, the others with None."""
    asked: list[tuple[str, PlannedTask | None]] = []
    for spec in specs:
        of_suite = planned([spec], settings, None) if is_suite(spec) else []
        asked += [(f"{spec} {one.name}", one) for one in of_suite] or [(spec, None)]
    return asked


def _look_at_download(notes: Notes, name: str, card: Card, terms: str) -> None:
    """What fetching a benchmark's data would take."""
    try:
        download = pending_download(card)
    except GapbenchError:
        raise
    except Exception as error:  # of the Hub, its HTTP library or the network
        found = f"not on this machine, and the Hub does not say how large it is ({error_line(error)}); {terms}"
        notes.add(name, found, "warning", f"Or pass a copy of the data: {card.name}=FOLDER.")
        return
    found = (
        f"{len(download.missing)} files to fetch, {gigabytes(download.size)} ({gigabytes(download.free)} free); {terms}"
    )
    if download.size > download.free:
        notes.add(name, found, "fails", "Make room, or set HF_HOME to a folder on a larger disk.")
    else:
        notes.add(
            name, found, "warning", "gapbench measure with --limit 1 fetches it; its prompts can then be counted here."
        )


def _look_at_lengths(
    notes: Notes, plan: _Plan, chat: Chat, model: Any, tasks: Sequence[Task]
) -> dict[str, list[ViewLengths]]:
    """The lengths of each task's views, and whether they fit the context. `model` is loaded, or a server's engine."""
    from gapbench.engines.tokens import context_length, image_token_id
    from gapbench.preflight.lengths import Limits, against_context, in_words, view_lengths
    from gapbench.selfcheck.probes import probes, visual_token_of

    if plan.served:
        token = visual_token_of(chat, probes(Pixels())["colour 0"])
        context = min(filter(None, model.client.contexts.values()), default=None)
    else:
        token = image_token_id(model.model.config, chat.processor)
        asked = getattr(plan.choice.options, "max_model_len", None)
        context = asked or context_length(model.model.config, chat.processor.tokenizer)
    limits = Limits(context, plan.answer_tokens(chat))
    lengths: dict[str, list[ViewLengths]] = {}
    for task in tasks:
        name = f"tokens {task.name}"
        with notes.step(name):
            found = view_lengths(task, chat, plan.pixels, token, limits)
            unseen = [f"{v.looked_at - v.shown:,} of {v.looked_at:,} in {v.name}" for v in found if v.reason]
            if not found:
                remedy = "gapbench benchmarks check says why, sample by sample."
                notes.add(name, "no sample can be shown in any view", "fails", remedy)
                continue
            lengths[task.name] = found
            first = "" if found[0].looked_at == len(task.samples) else f" (first {found[0].looked_at:,} samples)"
            if unseen:
                reason = next(view.reason for view in found if view.reason)
                notes.add(name, f"{in_words(found)}{first}; cannot be shown: {listed(unseen)}", "warning", reason)
            else:
                notes.add(name, f"{in_words(found)}{first}")
    if lengths:
        notes.observations.append(against_context(lengths, limits))
    return lengths


def _look_at_memory(
    notes: Notes, plan: _Plan, loaded: models.Loaded, chat: Chat, lengths: Mapping[str, Sequence[ViewLengths]],
    tasks: Sequence[Task],
) -> None:  # fmt: skip
    """What the largest prompt needs, against what the device has."""
    from gapbench.preflight.lengths import blank
    from gapbench.preflight.memory import against_device, to_measure, to_train_on_less

    with notes.step("recipe" if plan.recipe else "memory"):
        there = memory(loaded.device)
        prompts = [view.longest for of_task in lengths.values() for view in of_task]
        largest = max(prompts, key=lambda prompt: prompt.tokens, default=None)
        sizes, prompt = (largest.sizes, largest.prompt) if largest else ((NOMINAL,), "?")
        note = "the largest prompt" if largest else f"an image of {NOMINAL[0]} x {NOMINAL[1]} px"
        try:
            if plan.recipe:
                terms, phase = _training_terms(plan, plan.recipe, loaded, tasks)
                note = f"{phase} with {note}"
                remedy = to_train_on_less(plan.recipe, terms, there[0] if there else 0)
            else:
                terms = to_measure(loaded, chat, [blank(size) for size in sizes], prompt, plan.answer_tokens(chat))
                dtype = "--dtype bfloat16, " if loaded.dtype == "float32" else ""
                remedy = f"{dtype}--max-pixels N, or --engine vllm --tensor-parallel-size N."
        except GapbenchError:
            raise
        except Exception as error:  # a model's code may do anything with tensors that have no data
            weights = sum(p.numel() * p.element_size() for p in loaded.model.parameters())
            found = f"weights {gigabytes(weights)}; the rest cannot be computed for this model ({error_line(error)})"
            notes.add("memory", found, "warning", "Try the sample with the largest image first.")
            return
        if plan.choice.engine == "vllm":
            note += ", before vLLM fills its share with cache"
        notes.observations.append(against_device(terms, there, loaded.device, note, remedy))


def _training_terms(
    plan: _Plan, recipe: recipes.Recipe, loaded: models.Loaded, tasks: Sequence[Task]
) -> tuple[dict[str, int], str]:
    """The terms of the phase that needs most, and its name, for the first task's largest image and largest crop."""
    from gapbench.distillation.pairs import TrainingPrompt
    from gapbench.preflight.lengths import HEADERS, blank, stand_in
    from gapbench.preflight.memory import to_train

    student = teacher = (blank(NOMINAL), "?")
    null = teacher if len(recipe.views) == 3 else None
    if tasks:
        whole = recipe.model_copy(update={"eval_every": 0})  # what is held out is read by the same model
        pairs = Pairs(tasks[0].benchmark, whole, samples=list(tasks[0].samples[:HEADERS]))
        cases = [stand_in(sample, pairs.region) for sample in pairs.samples]
        areas = [case.size[0] * case.size[1] if case.size else 0 for case in cases]
        crops = [round(area * (case.region_area or 0)) for area, case in zip(areas, cases, strict=True)]
        largest, widest = (pairs.shown(cases[sizes.index(max(sizes))]) for sizes in (areas, crops))
        if isinstance(largest, TrainingPrompt) and isinstance(widest, TrainingPrompt):
            shown = sorted((largest, widest), key=lambda pair: pair.teacher.width * pair.teacher.height)
            student, teacher = (largest.student, largest.text), (shown[-1].teacher, largest.text)
            nulls = [pair.null for pair in (largest, widest) if pair.null is not None]
            null = (max(nulls, key=lambda image: image.width * image.height), largest.text) if nulls else None
    external = None
    if recipe.teacher == "model":
        half = {"dtype": "bfloat16" if plan.autocast else "float32"}
        external = models.load_without_weights(recipe.teacher_model, **half).model
    found = to_train(loaded, recipe, student, teacher, plan.autocast, external, null)
    phases = {"rollouts": found.rollouts, "training": found.training}
    name = max(phases, key=lambda phase: sum(phases[phase].values()))
    return {**found.always, **phases[name]}, name


def _has_weights(notes: Notes, plan: _Plan) -> bool:
    """Whether this machine has the weights; else says what fetching them would take. Raises ModelError for pickles."""
    source, revision = models.resolve(plan.model), plan.options.get("revision")
    models.refuse_pickles(plan.model, source, revision)
    if models.has_weights(source, revision):
        return True
    if Path(source).is_dir():
        remedy = "Expected safetensors, as save_pretrained writes them."
        notes.add("weights", "not all are in the folder; the engine is not started", "skipped", remedy)
        return False
    try:
        download = downloads.pending(source, "model", revision, ignored=NOT_FETCHED)
    except Exception as error:  # of the Hub, its HTTP library or the network
        found = f"not on this machine, and the Hub does not say how large they are ({error_line(error)})"
        notes.add("weights", f"{found}; the engine is not started", "skipped")
        return False
    found = f"{gigabytes(download.size)} to fetch into {download.cache} ({gigabytes(download.free)} free); licence: "
    if download.size > download.free:
        remedy = "Make room, or set HF_HOME to a folder on a larger disk."
        notes.add("weights", found + (download.licence or "not declared"), "fails", remedy)
    else:
        remedy = f"hf download {source}; then the same command again starts the engine."
        notes.add("weights", found + (download.licence or "not declared"), "skipped", remedy)
    return False


def _look_at_answers(
    notes: Notes, plan: _Plan, engine: Engine | None, stack: ExitStack, tasks: Sequence[Task],
    lengths: Mapping[str, Sequence[ViewLengths]],
) -> None:  # fmt: skip
    """The engine itself: the self-check, and a few samples through the whole path."""
    from gapbench.selfcheck import selfcheck

    if engine is None:
        with notes.step("engine"):
            began = time.perf_counter()
            engine = loading.load(plan.model, plan.choice, plan.generation, plan.pixels)
            stack.enter_context(closing(engine))
            notes.add("engine", f"weights loaded in {duration(time.perf_counter() - began)}")
    if engine is None:
        return
    with notes.step("self-check"):
        result = selfcheck(engine)
        if result.thinks and plan.generation.max_new_tokens is None:
            engine.allow(THINKING_TOKENS)
        outcomes = Counter(check.outcome for check in result.checks if check.outcome != "failed")
        counts = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.items())
        notes.add("self-check", f"{counts or 'nothing passed'} ({duration(result.seconds)})")
        for check in result.failed:
            found = f"{check.found}; expected: {check.expected}"
            notes.add(check.name, found, "fails" if check.stops else "warning", check.remedy)
        if tasks and not any(check.stops for check in result.failed):
            _try_samples(notes, plan, engine, tasks, lengths)


def _try_samples(
    notes: Notes, plan: _Plan, engine: Engine, tasks: Sequence[Task], lengths: Mapping[str, Sequence[ViewLengths]]
) -> None:
    """A few samples in every view, asked, scored and recorded as in a run; the largest images are among them."""
    from gapbench.preflight.lengths import spread

    notes.say("answers")
    few = []
    for task in tasks:
        largest = [view.largest.sample for view in lengths.get(task.name, ())]
        few.append(replace(task, samples=tuple(spread(task.samples, max(2, SAMPLES // len(tasks)), largest))))
    fields = {
        **engine.info,
        "tasks": {task.name: {**task.entry(), "repeats": 1} for task in few},
        "sessions": [new_session(plan.command, hardware(), engine.info)],
    }
    total, whole = (sum(len(task.samples) * len(task.views) for task in of) for of in (few, tasks))
    meter = ThroughputMeter(Workload(0, None, total))
    with TemporaryDirectory() as folder:
        pending = [item for task in few for item in pending_samples(task, 1, set(), set())]
        bar = progress(total, 0, plan.model, quiet=True)
        answer_pending(engine, Path(folder), make_manifest(fields), pending, plan.pixels, meter, bar, counter(engine))
        seconds = time.perf_counter() - meter.started
        _look_at_outcomes(notes, list(records.read(Path(folder))))
    if plan.recipe:  # its time is not that of a measurement
        return
    tokens = sum(len(task.samples) * view.median.tokens for task in tasks for view in lengths.get(task.name, ()))
    parts = tokens / meter.prompt_tokens if tokens and meter.prompt_tokens else whole / total
    found = f"about {duration(seconds * parts)} for all {whole:,} answers, from {total} in {duration(seconds)}"
    notes.add("time", f"{found}; a run's larger batches are faster")


def _look_at_outcomes(notes: Notes, answers: Sequence[Mapping[str, Any]]) -> None:
    """The outcomes of a few answers by view, and what a reader should see of them."""
    by_view: dict[str, Counter[str]] = {}
    for record in answers:
        by_view.setdefault(record["view"], Counter())[record["outcome"]] += 1
    found = "; ".join(
        f"{view} {', '.join(f'{count} {outcome}' for outcome, count in counts.most_common())}"
        for view, counts in by_view.items()
    )
    failed, unparsed = ([r for r in answers if r["outcome"] == outcome] for outcome in ("failed", "unparsed"))
    cut_off = [record for record in answers if record.get("cut_off")]
    if answered := [record for record in answers if record["outcome"] != "failed"]:
        found += f"; the first answer is {quoted(answered[0]['output'], 60)}"
    if failed:
        notes.add("answers", found, "warning" if answered else "fails", str(failed[0]["reason"]))
        return
    remedies = []
    if cut_off:
        views = ", ".join(f"{view} {count}" for view, count in Counter(record["view"] for record in cut_off).items())
        remedies.append(f"Cut off: {views}; raise --max-new-tokens.")
    if len(unparsed) >= UNPARSED * len(answers):
        share, example = percent_in_words(len(unparsed) / len(answers)), quoted(unparsed[0]["output"], 60)
        remedies.append(f"{share} cannot be read by rule, such as {example}: --judge URL --judge-model NAME.")
    notes.add("answers", found, "warning" if remedies else "ok", " ".join(remedies))


def _look_at_judge(notes: Notes, judge: Judge) -> None:
    """The judge's verdicts on answers of which the verdict is known."""
    from gapbench.judging.examination import examine

    name = f"judge {clip(judge.model, NAME)}"
    with notes.step(name):
        found = examine(judge)
        notes.add(name, " ".join(found.text), found.level, found.remedy)
