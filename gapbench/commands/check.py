"""Whether a benchmark's data agrees with its card and with itself, before GPU hours are spent.

    findings = check(make_task(load("signs"), TaskSettings()), sheet=Path("signs.html"))
    findings.problems            # () when all expectations hold

`gapbench.views.prepare.prepare` prepares every sample, as in a measurement. Threads decode the images, and each image
is freed after its check, so data of any size fits in memory. The contact sheet shows some samples to a person.

Limits: `check` finds contradictions. It cannot tell whether a plausible answer is true.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Container, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from gapbench.commands.contact_sheet import Tile, sheet_ids, tile, write_sheet
from gapbench.data.task import Task
from gapbench.errors import BenchmarkError
from gapbench.scoring import score
from gapbench.types import AnswerType, Sample
from gapbench.util.ahead import map_ahead
from gapbench.util.progress import progress
from gapbench.util.text import listed
from gapbench.views.boxes import TOLERANCE, normalise, swap_order
from gapbench.views.images import EXIF_IGNORED
from gapbench.views.prepare import ORIENTATION_IGNORED, UPRIGHT_REMEDY, PreparedSample, fits_only_upright, prepare
from gapbench.views.prompts import prompt

OK = "ok: every expectation holds"
PART_OK = "ok: no contradictions; the card's counts are compared only without --limit and parameters"
NO_GAP = "no sample has an evidence box or a crop of its own, so there will be no gap, only a full view"
WORKERS = min(8, os.cpu_count() or 1)
"""Threads that decode images."""
MAX_PRINTED = 20
"""The number of kinds of problems that are printed, each with its first problem. The others are only counted."""
EQUAL_OPTIONS = "oddity: equal options"
REPEATED_SAMPLE = "oddity: repeated sample"


@dataclass(frozen=True)
class Findings:
    """What `check` found: counts, repairs of boxes and images and oddities by kind, and problems, one sentence each.

    `evidence` is the smallest, median and largest share of an image that evidence boxes cover (0..1), or empty.
    `compared` says whether the counts were compared with the card, which takes the whole benchmark. `box_formats`
    counts the samples with evidence boxes by the format that they declare. `stored` says whether the user declared
    that boxes fit the stored pixels. `without_evidence` are the ids of samples without a box, if others have one.
    `hints` are sentences about answers that another `answer_type` would read in more wordings.
    """

    counts: Mapping[str, int]
    repairs: Mapping[str, int] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    evidence: tuple[float, ...] = ()
    compared: bool = True
    box_formats: Mapping[str, int] = field(default_factory=dict)
    oddities: Mapping[str, int] = field(default_factory=dict)
    stored: bool = False
    without_evidence: tuple[str, ...] = ()
    hints: tuple[str, ...] = ()

    def text(self) -> str:
        """Plain lines for a terminal."""
        lines = [f"{name:24} {count}" for name, count in self.counts.items()]
        if self.box_formats:
            several = len(self.box_formats) > 1
            declared = (f"{name} {count}" if several else name for name, count in sorted(self.box_formats.items()))
            lines.append(f"{'box format, declared':24} {', '.join(declared)}")
        if self.evidence:
            smallest, median, largest = (f"{100 * share:.3g}%" for share in self.evidence)
            lines.append(f"{'evidence, of the image':24} median {median}, from {smallest} to {largest}")
        lines += [f"{f'repair: {kind}':24} {count}" for kind, count in sorted(self.repairs.items())]
        lines += [f"{kind:24} {count}" for kind, count in sorted(self.oddities.items())]
        kinds: dict[str, list[str]] = {}  # problems that differ in the sample and in numbers alone
        for problem in self.problems:
            kinds.setdefault(re.sub(r"^sample '.*?':|[\d.]+", "", problem), []).append(problem)
        printed = [
            f"PROBLEM  {first}{f' (and {len(others):,} more like it)' if others else ''}"
            for first, *others in list(kinds.values())[:MAX_PRINTED]
        ]
        lines += [f"NOTE     {note}" for note in self.notes()]
        lines += printed or [OK if self.compared else PART_OK]
        if len(kinds) > MAX_PRINTED:
            lines.append(f"PROBLEM  and {len(kinds) - MAX_PRINTED} kinds more")
        return "\n".join(" ".join(line.splitlines()) for line in lines)

    def notes(self) -> Iterator[str]:
        """What no check can decide, and the user should know."""
        if ignored := self.repairs.get(EXIF_IGNORED, 0) if self.box_formats and not self.stored else 0:
            yield f"{ignored} {'image has' if ignored == 1 else 'images have'} {ORIENTATION_IGNORED}"
        yield from self.hints
        if bare := self.without_evidence:
            one = len(bare) == 1
            yield (
                f"{len(bare):,} {'sample has' if one else 'samples have'} no evidence box ({listed(bare)}): "
                f"{'it counts' if one else 'they count'} in full alone."
            )
        if not self.counts.get("with evidence box") and not self.counts.get("with a crop of its own"):
            yield NO_GAP


@dataclass(frozen=True)
class _Inspected:
    """What remains of a sample once its images are freed; `repairs` are those that count for this sample."""

    prepared: PreparedSample
    repairs: tuple[str, ...]
    faults: tuple[str, ...]
    tile: Tile | None


def check(task: Task, *, sheet: Path | None = None, quiet: bool = True) -> Findings:
    """Prepare every sample as a measurement does, and compare counts, boxes and answers with the card.

    Counts are compared only for the whole benchmark, without `limit` or parameters. Faulty boxes (`repair: empty`,
    `repair: outside`), questions with equal options and repeated samples (`oddity: equal options`, `oddity: repeated
    sample`) are known of published data: if the card expects a number of them, only another number is a problem. With
    `limit` or parameters, kinds that the card names are no problems in any number. `sheet` is the HTML file to write
    the contact sheet to.
    """
    samples, benchmark = task.samples, task.benchmark
    expected = benchmark.card.expected
    on_sheet = sheet_ids(samples) if sheet else frozenset()
    groups: dict[Hashable, list[Sample]] = {}  # samples that share an image, so that it is decoded once
    for s in samples:
        groups.setdefault(s.image if isinstance(s.image, Hashable) else id(s.image), []).append(s)

    def inspect(group: Iterable[Sample]) -> list[_Inspected]:
        inspected: list[_Inspected] = []
        prepared: PreparedSample | None = None
        for sample in group:
            prepared = prepare(sample, task.region, prepared)
            # A note is about the image, so it counts once for all samples of the group.
            repairs = [r for r in prepared.repairs if not inspected or r not in prepared.notes]
            faults = tuple(_box_faults(prepared, expected))
            sheet_tile = tile(prepared) if sample.id in on_sheet else None
            inspected.append(_Inspected(prepared.without_images(), tuple(repairs), faults, sheet_tile))
        return inspected

    by_id: dict[str, _Inspected] = {}
    with progress(len(samples), 0, benchmark.name, quiet, "samples") as advance:
        for found in chain.from_iterable(map_ahead(inspect, groups.values(), WORKERS)):
            by_id[found.prepared.sample.id] = found
            advance(found.faults[0] if found.faults else "")
    if sheet:
        write_sheet(sheet, benchmark, task.region, [t for s in samples if (t := by_id[s.id].tile)])
    repairs = Counter(kind for found in by_id.values() for kind in found.repairs)
    problems = [f"sample {s.id!r}: {fault}" for s in samples for fault in (*_answer_faults(s), *by_id[s.id].faults)]
    hashes = {s.id: by_id[s.id].prepared.image_hash for s in samples}
    odd = list(_oddities(samples, hashes))
    problems += [fault for kind, fault in odd if kind not in expected]
    oddities = Counter(kind for kind, _ in odd)
    counts = _counts(samples, hashes)
    compared = task.limit is None and not benchmark.parameters
    if compared:
        by_name = {name.removeprefix("category "): count for name, count in counts.items()}
        actual = Counter(
            {**by_name, **counts, **{f"repair: {kind}": count for kind, count in repairs.items()}, **oddities}
        )
        mismatches = [(name, count) for name, count in expected.items() if actual[name] != count]
        problems += [f"{name}: found {actual[name]}, the card expects {count}." for name, count in mismatches]
    areas = sorted(area for found in by_id.values() if (area := found.prepared.evidence_area) is not None)
    evidence = (areas[0], areas[len(areas) // 2], areas[-1]) if areas else ()
    formats = Counter(str(s.box_format) for s in samples if s.boxes)
    bare = [s.id for s in samples if not s.boxes and s.crop_image is None]
    return Findings(
        counts, dict(repairs), tuple(problems), evidence, compared, formats, dict(oddities),
        stored=benchmark.parameters.get("orientation") == "stored",
        without_evidence=tuple(bare) if len(bare) < len(samples) else (),
        hints=tuple(_hints(samples)) if "answer_type" in {*benchmark.settable} - {*benchmark.parameters} else (),
    )  # fmt: skip


def _box_faults(prepared: PreparedSample, expected_names: Container[str]) -> Iterator[str]:
    sample = prepared.sample
    if prepared.error:
        yield prepared.error
        return
    if "swapped" in prepared.repairs and "repair: swapped" not in expected_names:
        declared = sample.box_format or "xyxy"
        what = "a negative side" if declared.startswith("xywh") else "its second corner left of or above the first"
        yield f"a box of {[list(box) for box in sample.boxes]} ({declared}) has {what}. Is it {swap_order(declared)}?"
    if prepared.size and "outside" in prepared.repairs and prepared.boxes and "repair: outside" not in expected_names:
        image = f"the image of {prepared.size[0]} x {prepared.size[1]} px"
        declared, size = sample.box_format or "xyxy", prepared.size
        box = next(list(one) for one in sample.boxes if "outside" in normalise([one], declared, size)[1])
        remedy = "Is the box format right? Measuring clips the box to the image and goes on."
        if fits_only_upright(prepared):
            remedy = f"It fits only the upright image. {UPRIGHT_REMEDY}"
        yield f"its box {box} ({declared}) leaves {image} by more than {TOLERANCE:g} px. {remedy}"
    if prepared.boxes and all(x1 - x0 < 1 and y1 - y0 < 1 for x0, y0, x1, y1 in prepared.boxes):
        boxes = f"its boxes {[list(box) for box in sample.boxes]} ({sample.box_format})"
        remedy = "Are they fractions of the image (xyxy_normalised, xywh_normalised)?"
        yield f"{boxes} are smaller than a pixel. {remedy}"
    expected_empty = sample.boxes and not prepared.boxes and "repair: empty" in expected_names
    if prepared.region_error and (sample.boxes or sample.crop_image is not None) and not expected_empty:
        yield prepared.region_error


def _counts(samples: Sequence[Sample], hashes: Mapping[str, str]) -> dict[str, int]:
    clusters = Counter(s.cluster or hashes[s.id] or s.id for s in samples)
    counts = {
        "samples": len(samples),
        "images": len(set(filter(None, hashes.values()))),
        "clusters": len(clusters),
        "smallest cluster": min(clusters.values()),
        "largest cluster": max(clusters.values()),
        "with evidence box": sum(bool(s.boxes) for s in samples),
    }
    own_crops, several = sum(s.crop_image is not None for s in samples), sum(bool(s.more_images) for s in samples)
    counts |= {"with a crop of its own": own_crops} if own_crops else {}
    counts |= {"with several images": several} if several else {}
    categories = Counter(s.category for s in samples if s.category)
    return counts | {f"category {c}": n for c, n in sorted(categories.items())}


def _oddities(samples: Sequence[Sample], hashes: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The kind and the fault of each sample with equal options, and of each that repeats another of its category: same
    image, question, and options in the same order."""
    first_ids: dict[tuple[str, str, str, tuple[str, ...]], str] = {}
    for s in samples:
        if len(set(s.options)) < len(s.options):
            yield EQUAL_OPTIONS, f"sample {s.id!r}: two options are the same: {', '.join(s.options)}."
        first_id = first_ids.setdefault((s.category, hashes[s.id], s.question, s.options), s.id)
        if hashes[s.id] and first_id != s.id:
            fault = f"sample {s.id!r}: it asks the same about the same image as sample {first_id!r}."
            yield REPEATED_SAMPLE, fault


def _hints(samples: Sequence[Sample]) -> Iterator[str]:
    """What to declare of answers that are scored as text for want of an `answer_type`. It is not done unasked: the text
    of a sign can be "NO" or "12"."""
    kinds: dict[AnswerType, str] = {"yes_no": "yes or no", "number": "a number"}
    for kind, words in kinds.items():
        fitting = sum(s.answer_type == "text" and _fits(s, kind) for s in samples)
        wording = "It also reads such answers in a sentence."
        if fitting == len(samples):
            remedy = f"Should it be :answer_type={kind} behind the name?"
            yield f"every answer is {words}, scored as text. {remedy} {wording}"
        elif fitting and kind == "yes_no":  # in other data, a few numbers are as likely text
            yield (
                f"{fitting:,} of {len(samples):,} samples have the answer yes or no, scored as text. Should those rows "
                f"say yes_no in a column answer_type? {wording}"
            )


def _fits(sample: Sample, kind: AnswerType) -> bool:
    try:
        return bool(score("", sample.answers, kind, (), sample.question))
    except BenchmarkError:
        return False


def _answer_faults(sample: Sample) -> Iterator[str]:
    if not all(answer.strip() for answer in sample.answers):
        yield "an accepted answer is empty."
    try:
        score("", sample.answers, sample.answer_type, sample.options, sample.question)
        prompt(sample)
    except BenchmarkError as error:
        yield str(error)
