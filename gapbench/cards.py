"""What is known about a benchmark, and whether its data agrees: `gapbench benchmarks show` and `check`.

found = check(load("signs"))
found.problems            # () when all expectations hold
"""

from __future__ import annotations

import inspect
import string
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from gapbench import boxes, images
from gapbench.catalogue import Benchmark
from gapbench.errors import SampleError
from gapbench.prompts import prompt
from gapbench.types import Sample


@dataclass(frozen=True)
class Findings:
    """What `check` saw: counts, repairs by kind, and problems, each one sentence."""

    counts: Mapping[str, int]
    repairs: Mapping[str, int] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    def text(self) -> str:
        """Plain lines for a terminal."""
        lines = [f"{name:24} {count}" for name, count in self.counts.items()]
        lines += [f"box repair: {kind:12} {count}" for kind, count in self.repairs.items()]
        shown = list(self.problems[:20])
        if len(self.problems) > 20:
            shown.append(f"and {len(self.problems) - 20} more")
        lines += [f"PROBLEM  {problem}" for problem in shown] or ["ok: every expectation holds"]
        return "\n".join(lines)


def card_text(benchmark: Benchmark) -> str:
    """The card as plain text, with the parameters one may set and the prompt as a model sees it."""
    card = benchmark.card
    rows = {
        "title": card.title, "source": card.source, "revision": card.revision, "split": card.split,
        "licence": card.licence, "region": card.region, "boxes": card.box_format, "clusters": card.cluster,
        "expected": ", ".join(f"{k} {v}" for k, v in card.expected.items()),
        "reference": "; ".join(f"{k}: {v}" for k, v in card.reference.items()), "notice": card.notice,
        "parameters": ", ".join(str(p) for p in inspect.signature(benchmark.make).parameters.values()),
    }  # fmt: skip
    lines = [benchmark.name, *(f"  {key:11} {value}" for key, value in rows.items() if value)]
    lines += [f"  {'trap':11} {trap}" for trap in card.traps]
    asked = prompt(benchmark.samples(1)[0], card.prompt).replace("\n", "\n" + " " * 14)
    return "\n".join([*lines, f"  {'prompt':11} {asked}"])


def check(benchmark: Benchmark, limit: int | None = None) -> Findings:
    """Decode every picture and compare counts, boxes and answers with the card.

    Raises BenchmarkError for what makes a benchmark unusable: no samples, an id that comes twice, a missing column.
    """
    samples = benchmark.samples(limit)
    problems: list[str] = []
    repairs: Counter[str] = Counter()
    hashes: dict[str, str] = {}
    for sample in samples:
        problems += _answer_problems(sample)
        try:
            picture, hashes[sample.id] = images.decode(sample.image)
            repairs.update(boxes.normalise(sample.boxes, sample.box_format, picture.size)[1])
            if sample.crop_image is not None:
                images.decode(sample.crop_image)
        except SampleError as error:
            problems.append(f"sample {sample.id!r}: {error}")
    asked = Counter((hashes.get(s.id), s.question, s.options) for s in samples)
    repeated = sum(n - 1 for n in asked.values() if n > 1)
    if repeated:
        problems.append(f"{repeated} samples ask the same question about the same picture as another one.")
    sizes = Counter(s.cluster or hashes.get(s.id, s.id) for s in samples)
    counts = {
        "samples": len(samples),
        "pictures": len(set(hashes.values())),
        "clusters": len(sizes),
        "largest cluster": max(sizes.values()),
        "with evidence box": sum(bool(s.boxes) for s in samples),
        **{f"category {c}": n for c, n in sorted(Counter(s.category for s in samples if s.category).items())},
    }
    if limit is None and not benchmark.parameters:
        for name, expected in benchmark.card.expected.items():
            found = counts.get(name, counts.get(f"category {name}", 0))
            if found != expected:
                problems.append(f"{name}: found {found}, the card expects {expected}.")
    if repairs["outside"]:
        problems.append(
            f"{repairs['outside']} boxes leave the picture by more than {boxes.TOLERANCE:g} px: is the box format right?"
        )
    return Findings(counts, dict(repairs), tuple(problems))


def _answer_problems(sample: Sample) -> list[str]:
    where = f"sample {sample.id!r}"
    if not sample.answers or not all(a.strip() for a in sample.answers):
        return [f"{where}: an accepted answer is missing or empty."]
    letters = string.ascii_uppercase[: len(sample.options)]
    if sample.answer_type == "letter" and sample.options and any(a not in letters for a in sample.answers):
        return [f"{where}: answer {', '.join(sample.answers)} is none of the {len(sample.options)} options' letters."]
    if len(set(sample.options)) < len(sample.options):
        return [f"{where}: two options are the same: {', '.join(sample.options)}."]
    return []
