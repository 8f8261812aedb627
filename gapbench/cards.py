"""What is known about a benchmark, and whether its data agrees: `gapbench benchmarks show` and `check`.

    found = check(load("signs"))
    found.problems            # () when all expectations hold

Limits: `check` sees what contradicts itself, never whether a plausible answer is the true one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gapbench import boxes, images, views
from gapbench.benchmark import Benchmark
from gapbench.errors import BenchmarkError, GapbenchError, SampleError
from gapbench.prompts import prompt
from gapbench.scoring import score
from gapbench.types import Sample

SHOWN = 20
"""Problems printed in full; of the others, only their number."""


@dataclass(frozen=True)
class Findings:
    """What `check` saw: counts, repairs by kind (of boxes and pictures), and problems, each one sentence."""

    counts: Mapping[str, int]
    repairs: Mapping[str, int] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    def text(self) -> str:
        """Plain lines for a terminal."""
        lines = [f"{name:24} {count}" for name, count in self.counts.items()]
        lines += [f"{f'repair: {kind}':24} {count}" for kind, count in sorted(self.repairs.items())]
        lines += [f"PROBLEM  {problem}" for problem in self.problems[:SHOWN]] or ["ok: every expectation holds"]
        if len(self.problems) > SHOWN:
            lines.append(f"PROBLEM  and {len(self.problems) - SHOWN} more")
        return "\n".join(lines)


def card_text(benchmark: Benchmark) -> str:
    """The card as plain text, with the parameters one may set and the prompt as a model sees it."""
    card = benchmark.card
    settable = benchmark.settable.values()
    rows = {
        "title": card.title, "source": card.source, "revision": card.revision, "split": card.split,
        "licence": card.licence, "region": card.region, "boxes": card.box_format, "clusters": card.cluster,
        "expected": ", ".join(f"{k} {v}" for k, v in card.expected.items()),
        "reference": "; ".join(f"{k}: {v}" for k, v in card.reference.items()), "notice": card.notice,
        "parameters": ", ".join(str(p.replace(annotation=p.empty)) for p in settable),
    }  # fmt: skip
    lines = [benchmark.name, *(f"  {key:11} {value}" for key, value in rows.items() if value)]
    lines += [f"  {'trap':11} {trap}" for trap in card.traps]
    try:
        asked = prompt(benchmark.samples(1)[0], card.prompt).replace("\n", "\n" + " " * 14)
    except GapbenchError as error:  # a benchmark that is not on this machine still has a card
        asked = f"no example: {error}"
    return "\n".join([*lines, f"  {'prompt':11} {asked}"])


def check(benchmark: Benchmark, limit: int | None = None) -> Findings:
    """Decode every picture and compare counts, boxes and answers with the card.

    Raises BenchmarkError for what makes a benchmark unusable: no samples, an id that comes twice, a missing column.
    """
    samples = benchmark.samples(limit)
    problems: list[str] = []
    repairs: Counter[str] = Counter()
    pictures: dict[Hashable, tuple[str, tuple[int, int]]] = {}
    hashes: dict[str, str] = {}
    for sample in samples:
        problems += (f"sample {sample.id!r}: {fault}" for fault in _answer_faults(sample))
        try:
            hashes[sample.id], size = _seen(sample.image, pictures, repairs)
            evidence, repaired = boxes.normalise(sample.boxes, sample.box_format, size)
            repairs.update(repaired)
            if "outside" in repaired:
                problems.append(
                    f"sample {sample.id!r}: a box leaves the picture of {size[0]} x {size[1]} px by more than "
                    f"{boxes.TOLERANCE:g} px. Is the box format ({sample.box_format}) right?"
                )
            native = images.decode(sample.crop_image)[0] if sample.crop_image is not None else None
            if evidence or native:
                views.find_region(benchmark.card.region, evidence, size, native)
        except SampleError as error:
            problems.append(f"sample {sample.id!r}: {error}")
    problems += _repeated(samples, hashes)
    clusters = Counter(s.cluster or hashes.get(s.id, s.id) for s in samples)
    counts = {
        "samples": len(samples),
        "images": len(set(hashes.values())),
        "clusters": len(clusters),
        "largest cluster": max(clusters.values()),
        "with evidence box": sum(bool(s.boxes) for s in samples),
        **{f"category {c}": n for c, n in sorted(Counter(s.category for s in samples if s.category).items())},
    }
    if limit is None and not benchmark.parameters:
        for name, expected in benchmark.card.expected.items():
            found = counts.get(name, counts.get(f"category {name}", 0))
            if found != expected:
                problems.append(f"{name}: found {found}, the card expects {expected}.")
    return Findings(counts, dict(repairs), tuple(problems))


def _seen(
    source: Any, pictures: dict[Hashable, tuple[str, tuple[int, int]]], repairs: Counter[str]
) -> tuple[str, tuple[int, int]]:
    """Hash and size of a picture, decoded once however many questions are asked about it."""
    key = source if isinstance(source, Hashable) else id(source)
    if key not in pictures:
        picture, digest = images.decode(source)
        repairs.update(images.notes(picture))
        pictures[key] = digest, picture.size
    return pictures[key]


def _repeated(samples: list[Sample], hashes: Mapping[str, str]) -> list[str]:
    """Questions that are asked twice: same picture, same words, same options."""
    first: dict[tuple[str, str, tuple[str, ...]], str] = {}
    faults = []
    for s in samples:
        if s.id in hashes:
            other = first.setdefault((hashes[s.id], s.question, s.options), s.id)
            if other != s.id:
                faults.append(f"sample {s.id!r}: it asks the same about the same picture as sample {other!r}.")
    return faults


def _answer_faults(sample: Sample) -> list[str]:
    faults = []
    if not all(answer.strip() for answer in sample.answers):
        faults.append("an accepted answer is empty.")
    if len(set(sample.options)) < len(sample.options):
        faults.append(f"two options are the same: {', '.join(sample.options)}.")
    try:
        score("", sample.answers, sample.answer_type, sample.options, sample.question)
        prompt(sample)
    except BenchmarkError as error:
        faults.append(str(error))
    return faults
