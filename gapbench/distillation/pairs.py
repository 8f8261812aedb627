"""The images of student and teacher for each sample, and the prompt that both are given.

    pairs = Pairs(catalogue.load("signs:split=train"), recipe)
    pairs.step(0)                    # the prompts of the first step

Views and regions are those of `gapbench.measure`. The order of the samples and the choice of anchors depend on the seed
and the step alone. So resuming a training, or spreading it over processes, changes neither.

Limits: one image a side, so the region `multi` is refused and samples with several images are skipped. All samples are
held in memory, so their images should be paths or functions; the images of a step are decoded together.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from gapbench.data.benchmark import Benchmark, group_of
from gapbench.distillation.recipe import Recipe
from gapbench.errors import BenchmarkError, SettingError
from gapbench.types import Sample
from gapbench.views.counterfactual import mean_coloured
from gapbench.views.pixels import Pixels, resized
from gapbench.views.prepare import PreparedSample, prepare, show
from gapbench.views.prompts import NEUTRAL, prompt, template_of
from gapbench.views.regions import parse_policy

if TYPE_CHECKING:
    from PIL.Image import Image

ORIGINAL = "original"
"""The protocol of a training set's card that holds the prompt its authors train with."""
LARGEST_PART = 5
"""At most one in so many samples is held out for validation."""
TRIES = 100
"""Number of consecutive unusable samples after which the data is refused."""
OTHER_DATA = "Train on other data, or set contamination=keep and report it."
"""What helps if too many samples show an image of the evaluation."""


@dataclass(frozen=True)
class TrainingPrompt:
    """One prompt of a step. `key` is the sample's id; `anchor`: the student sees the teacher's image; `slot`: its place
    among the prompts of the step in all processes; `null`: the teacher's image without evidence, if one is used.
    """

    key: str
    student: Image
    teacher: Image
    text: str
    anchor: bool
    slot: int = 0
    null: Image | None = None


@dataclass
class Pairs:
    """The training samples of a benchmark under a recipe; `skipped` maps the ids of unusable samples to the reason.

    With `eval_every` the samples of some images are held out as `validation`. Which ones depends on nothing but the
    images, so it is the same for every seed. Reference answers are never read here. Raises BenchmarkError if no sample
    has the evidence that the views need, SettingError for a region of several images or a protocol that the card does
    not have.
    """

    benchmark: Benchmark
    recipe: Recipe
    limit: int | None = None
    samples: list[Sample] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    validation: list[Sample] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.region = self.recipe.region or self.benchmark.card.region
        samples = self.samples or self.benchmark.samples(self.limit)
        views = self.recipe.views
        policy = parse_policy(self.region)[0]
        native = policy == "native"
        self.template = template_of(self.benchmark.card, self.protocol)
        if self.recipe.hint and self.template and "{question}" not in self.template:
            raise SettingError(
                f"hint: it follows the question, and the prompt of the protocol {self.protocol!r} of "
                f"{self.benchmark.name} words its questions itself. Set hint to nothing or protocol to {NEUTRAL}."
            )
        if policy == "multi" and any(view.kind == "crop" for view in views):
            raise SettingError(
                f"region: {self.region!r} (of {'the recipe' if self.recipe.region else self.benchmark.name}) makes one "
                "image per evidence box, and a training pair has one image a side. Set region to mosaic, padded or "
                "union in the recipe."
            )
        usable = [s for s in samples if (s.crop_image is not None if native else bool(s.boxes))]
        self.samples = usable if any(view.needs_region for view in views) else samples
        if not self.samples:
            missing = "a crop of its own" if native else "an evidence box"
            remedy = (
                "Set region=padded, which cuts out the boxes that they have."
                if any(s.boxes for s in samples)
                else "Training data needs evidence: give boxes (`bbox` or `bboxes`), or let a model find regions "
                "(`gapbench locate`) and pass them with --regions. The recipe s2vopd needs none."
            )
            raise BenchmarkError(
                f"{self.benchmark.name}: none of its {len(samples)} samples has {missing}, so the views "
                f"{' and '.join(sorted({view.name for view in views}))} cannot be shown with region {self.region!r}. "
                f"{remedy}"
            )
        self.without_evidence = len(samples) - len(self.samples)
        if self.recipe.eval_every and not self.validation:
            self.samples, self.validation = self._held_out()
        self._order = lru_cache(maxsize=2)(self._shuffled)

    @property
    def protocol(self) -> str:
        """The protocol of the card by which both sides are asked: the recipe's, else `original` of a training set, by
        which its authors train, else the neutral one.
        """
        card = self.benchmark.card
        own = ORIGINAL if card.role == "training" and ORIGINAL in card.protocols else NEUTRAL
        return self.recipe.protocol or own

    @property
    def left_out(self) -> str:
        """How many samples are left out for want of evidence, as a sentence; empty if none is."""
        missing = self.without_evidence
        what = "crop of their own" if parse_policy(self.region)[0] == "native" else "evidence box"
        what += " in the region file" if self.samples[0].evidence == "model" else ""
        every = f"{missing:,} of {missing + len(self.samples) + len(self.validation):,} samples"
        return f"{self.benchmark.name}: {every} have no {what} and are left out." if missing else ""

    def without(self, dropped: frozenset[str]) -> Pairs:
        """The same pairs without the samples that have these ids, which show images of the evaluation.

        Raises BenchmarkError if too few are left.
        """
        remaining = [s for s in self.samples if s.id not in dropped]
        left_out = len(self.samples) - len(remaining)
        why = (
            f"{left_out:,} of its {len(self.samples):,} training samples show an image of the evaluation. {OTHER_DATA}"
        )
        if not remaining:
            raise BenchmarkError(f"{self.benchmark.name}: none is left: {why}")
        validation = [s for s in self.validation if s.id not in dropped]
        try:
            return Pairs(self.benchmark, self.recipe, self.limit, remaining, validation=validation)
        except BenchmarkError as error:
            raise BenchmarkError(f"{error} Left out before: {why}") from error

    def used(self) -> list[Sample]:
        """The samples that the whole training uses, in order of their first use, and then those that validate it."""
        total = min(self.recipe.steps * self.recipe.prompts_per_step, len(self.samples))
        return [*(self.samples[self._index(position)] for position in range(total)), *self.validation]

    def validation_prompts(self) -> list[TrainingPrompt]:
        """The prompts of held-out samples that can be shown, `validation_samples` at most. Raises BenchmarkError."""
        prompts: list[TrainingPrompt] = []
        for sample in self.validation:
            made = self._make(sample, anchor=False)
            if isinstance(made, TrainingPrompt):
                prompts.append(made)
            else:
                self.skipped[sample.id] = made
            if len(prompts) == self.recipe.validation_samples:
                break
        if not prompts:
            raise BenchmarkError(f"{self.benchmark.name}: no sample held out for validation can be shown: {made}")
        return prompts

    def _held_out(self) -> tuple[list[Sample], list[Sample]]:
        """The samples to train on, and those to validate on, of other images."""
        groups: dict[str, list[Sample]] = {}
        for sample in self.samples:
            groups.setdefault(group_of(sample), []).append(sample)
        wanted = min(self.recipe.validation_samples, len(self.samples) // LARGEST_PART)
        held: list[Sample] = []
        for group in sorted(groups, key=lambda name: hashlib.sha256(f"gapbench validation {name}".encode()).digest()):
            if len(held) < wanted and len(groups[group]) + len(held) <= len(self.samples) // 2:
                held += groups[group]
        if not held:
            raise BenchmarkError(
                f"{self.left_out or f'{self.benchmark.name}:'} {len(self.samples)} samples of {len(groups)} images are "
                f"too few to hold some out for validation; expected at least {LARGEST_PART} samples of several images. "
                "Give more data, or set eval_every=0."
            )
        ids = {s.id for s in held}
        return [s for s in self.samples if s.id not in ids], held

    def step(self, step: int, process: int = 0, processes: int = 1) -> list[TrainingPrompt]:
        """This process's share of the prompts of a step (0-based): every `processes`-th prompt."""
        size = self.recipe.prompts_per_step
        rng = random.Random(f"gapbench distill anchors {self.recipe.seed} {step}")
        anchors = set(rng.sample(range(size), round(self.recipe.anchor_share * size)))
        pairs = [
            (place, self._pair(step * size + place, place in anchors)) for place in range(process, size, processes)
        ]
        return [replace(pair, slot=place) for place, pair in pairs]

    def probe(self, count: int) -> list[TrainingPrompt]:
        """A fixed set of `count` samples for watching the teacher: the last ones in the order of training."""
        total = len(self.samples)
        return [self._pair(position, True) for position in range(total - min(count, total), total)]

    def _index(self, position: int) -> int:
        epoch, place = divmod(position, len(self.samples))
        return self._order(epoch)[place]

    def _shuffled(self, epoch: int) -> Sequence[int]:
        order = list(range(len(self.samples)))
        random.Random(f"gapbench distill order {self.recipe.seed} {epoch}").shuffle(order)
        return order

    def _pair(self, position: int, anchor: bool) -> TrainingPrompt:
        """The prompt at a position of the endless order; the next sample takes the place of an unusable one."""
        index = self._index(position)
        tries = min(TRIES, len(self.samples))
        for offset in range(tries):
            sample = self.samples[(index + offset) % len(self.samples)]
            prompt_or_reason = self._make(sample, anchor) if sample.id not in self.skipped else self.skipped[sample.id]
            if isinstance(prompt_or_reason, TrainingPrompt):
                return prompt_or_reason
            self.skipped[sample.id] = prompt_or_reason
        raise BenchmarkError(
            f"{self.benchmark.name}: {tries} samples in a row cannot be shown; the last one: {prompt_or_reason} Check "
            f"the data with `gapbench benchmarks check`."
        )

    def _make(self, sample: Sample, anchor: bool) -> TrainingPrompt | str:
        if sample.more_images:
            return f"sample {sample.id!r} has {1 + len(sample.more_images)} images; a pair has one a side."
        return self.shown(prepare(sample, self.region), anchor)

    def shown(self, case: PreparedSample, anchor: bool = False) -> TrainingPrompt | str:
        """The prompt of a sample that is prepared with this region policy, or why it cannot be shown."""
        recipe, sample = self.recipe, case.sample
        student_view, teacher_view, *null_views = recipe.views
        by_teacher, teacher_error = show(case, teacher_view)
        by_student, student_error = (by_teacher, "") if anchor else show(case, student_view)
        if not by_teacher.images or not by_student.images:
            return teacher_error or student_error
        pixels = Pixels(recipe.min_pixels, recipe.max_pixels)

        def enlarged(image: Image) -> Image:
            """A region as the teacher sees it."""
            if recipe.teacher_enlarge > 1 and recipe.teacher_view == "crop":
                size = (round(image.width * recipe.teacher_enlarge), round(image.height * recipe.teacher_enlarge))
                image = resized(image, size)
            return pixels.apply(image)

        teacher, student, null = enlarged(by_teacher.images[0]), pixels.apply(by_student.images[0]), None
        for view in null_views:
            if view.kind == "blank":  # of what the teacher sees, at the size at which it sees it
                null = mean_coloured(teacher)
                continue
            by_null, null_error = show(case, view)
            if not by_null.images:
                return null_error
            null = (enlarged if view.kind == "random_crop" else pixels.apply)(by_null.images[0])
        hinted = replace(sample, question=f"{sample.question}\n\n{recipe.hint}\n") if recipe.hint else sample
        text = prompt(hinted, self.template)
        return TrainingPrompt(sample.id, teacher if anchor else student, teacher, text, anchor, null=null)
