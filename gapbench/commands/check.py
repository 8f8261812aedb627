"""Whether a benchmark's data agrees with its card and with itself, before GPU hours are spent.

    found = check(load("signs"), sheet=Path("signs.html"))
    found.problems            # () when all expectations hold

Every sample goes through the same `gapbench.views.prepare.prepare` as when it is measured; images are decoded in
threads, one after the other let go, so that data of any size passes. The contact sheet shows some of them to a person.

Limits: `check` sees what contradicts itself, never whether a plausible answer is the true one.
"""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gapbench.commands.contact_sheet import Tile, chosen_ids, tile, write_sheet
from gapbench.data.benchmark import Benchmark
from gapbench.errors import BenchmarkError
from gapbench.scoring import score
from gapbench.types import Sample
from gapbench.util.progress import progress
from gapbench.views.boxes import TOLERANCE
from gapbench.views.prepare import PreparedSample, prepare
from gapbench.views.prompts import prompt

OK = "ok: every expectation holds"
PART_OK = "ok: no contradictions; the card's counts are compared only without --limit and parameters"
SHOWN = 20
"""Problems printed in full; of the others, only their number."""


@dataclass(frozen=True)
class Findings:
    """What `check` saw: counts, repairs by kind (of boxes and images), and problems, each one sentence.

    `evidence` has the smallest, median and largest share of an image that evidence boxes cover (0..1), or is empty.
    `compared` says whether the card's counts were compared, which takes the whole benchmark.
    """

    counts: Mapping[str, int]
    repairs: Mapping[str, int] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    evidence: tuple[float, ...] = ()
    compared: bool = True

    def text(self) -> str:
        """Plain lines for a terminal."""
        lines = [f"{name:24} {count}" for name, count in self.counts.items()]
        if self.evidence:
            smallest, median, largest = (f"{100 * share:.3g} %" for share in self.evidence)
            lines.append(f"{'evidence, of the image':24} median {median}, from {smallest} to {largest}")
        lines += [f"{f'repair: {kind}':24} {count}" for kind, count in sorted(self.repairs.items())]
        lines += [f"PROBLEM  {problem}" for problem in self.problems[:SHOWN]] or [OK if self.compared else PART_OK]
        if len(self.problems) > SHOWN:
            lines.append(f"PROBLEM  and {len(self.problems) - SHOWN} more")
        return "\n".join(lines)


@dataclass(frozen=True)
class _Seen:
    """What is kept of a sample once its image is let go."""

    image_hash: str
    repairs: tuple[str, ...]
    faults: tuple[str, ...]
    evidence: float | None
    tile: Tile | None


def check(
    benchmark: Benchmark,
    limit: int | None = None,
    *,
    region: str = "",
    sheet: Path | None = None,
    quiet: bool = True,
) -> Findings:
    """Prepare every sample as for measuring, and compare counts, boxes and answers with the card.

    Counts are compared where the whole benchmark is checked as it stands, without `limit` or parameters. A faulty box
    is a problem unless the card expects that many (`repair: empty`, `repair: outside`). `region` is another policy than
    the card's; `sheet` is an HTML file of some of the samples. Raises BenchmarkError for what makes a benchmark
    unusable: no samples, an id that comes twice, a missing column.
    """
    samples = benchmark.samples(limit)
    policy = region or benchmark.card.region
    known = frozenset(benchmark.card.expected)
    drawn = chosen_ids(samples) if sheet else frozenset()
    seen: dict[str, _Seen] = {}
    groups = list(_by_image(samples))
    with progress(len(samples), 0, benchmark.name, quiet, "samples") as advance:
        for findings in _in_threads(lambda group: _look(group, policy, known, drawn), groups):
            for sample_id, found in findings:
                seen[sample_id] = found
                advance(found.faults[0] if found.faults else "")
    if sheet:
        write_sheet(sheet, benchmark, policy, [t for s in samples if (t := seen[s.id].tile)])
    repairs = Counter(kind for found in seen.values() for kind in found.repairs)
    problems = [f"sample {s.id!r}: {fault}" for s in samples for fault in (*_answer_faults(s), *seen[s.id].faults)]
    problems += _repeated(samples, seen)
    counts = _counts(samples, seen)
    compared = limit is None and not benchmark.parameters
    if compared:
        problems += _unlike_the_card(benchmark.card.expected, counts, repairs)
    areas = sorted(found.evidence for found in seen.values() if found.evidence is not None)
    evidence = (areas[0], areas[len(areas) // 2], areas[-1]) if areas else ()
    return Findings(counts, dict(repairs), tuple(problems), evidence, compared)


def _by_image(samples: Iterable[Sample]) -> Iterator[list[Sample]]:
    """Samples in groups that share an image, which is then decoded once."""
    groups: dict[Hashable, list[Sample]] = {}
    for sample in samples:
        source = sample.image
        groups.setdefault(source if isinstance(source, Hashable) else id(source), []).append(sample)
    yield from groups.values()


def _in_threads(function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
    """function(item) for each item, in order, a few ahead; Pillow decodes outside the interpreter lock."""
    workers = min(8, os.cpu_count() or 1)
    waiting: deque[Future[Any]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="gapbench-check") as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _look(group: list[Sample], policy: str, known: frozenset[str], drawn: frozenset[str]) -> list[tuple[str, _Seen]]:
    found = []
    case: PreparedSample | None = None
    for sample in group:
        first, case = case is None, prepare(sample, policy, case)
        # What is said of an image counts once, however many questions are asked about it.
        repairs = case.repairs if first else tuple(r for r in case.repairs if r not in case.notes)
        shown = tile(case) if sample.id in drawn else None
        faults = tuple(_box_faults(case, known))
        found.append((sample.id, _Seen(case.image_hash, repairs, faults, case.evidence_area, shown)))
    return found


def _box_faults(case: PreparedSample, known: frozenset[str]) -> Iterator[str]:
    sample = case.sample
    if case.error:
        yield case.error
        return
    if "outside" in case.repairs and case.boxes and "repair: outside" not in known:
        assert case.size is not None
        yield (
            f"a box leaves the image of {case.size[0]} x {case.size[1]} px by more than {TOLERANCE:g} px. "
            f"Is the box format ({sample.box_format}) right?"
        )
    if case.boxes and all(x1 - x0 < 1 and y1 - y0 < 1 for x0, y0, x1, y1 in case.boxes):
        yield (
            f"its boxes {[list(box) for box in sample.boxes]} ({sample.box_format}) are smaller than a pixel. Are they "
            "fractions of the image (xyxy_normalised, xywh_normalised)?"
        )
    if case.region_error and (sample.boxes or sample.crop_image is not None):
        emptied = sample.boxes and not case.boxes and "repair: empty" in known
        if not emptied:
            yield case.region_error


def _counts(samples: list[Sample], seen: Mapping[str, _Seen]) -> dict[str, int]:
    clusters = Counter(s.cluster or seen[s.id].image_hash or s.id for s in samples)
    categories = Counter(s.category for s in samples if s.category)
    counts = {
        "samples": len(samples),
        "images": len({seen[s.id].image_hash for s in samples if seen[s.id].image_hash}),
        "clusters": len(clusters),
        "smallest cluster": min(clusters.values()),
        "largest cluster": max(clusters.values()),
        "with evidence box": sum(bool(s.boxes) for s in samples),
    }
    for name, count in (
        ("with a crop of its own", sum(s.crop_image is not None for s in samples)),
        ("with several images", sum(bool(s.more_images) for s in samples)),
    ):
        counts |= {name: count} if count else {}
    return counts | {f"category {c}": n for c, n in sorted(categories.items())}


def _unlike_the_card(expected: Mapping[str, int], counts: Mapping[str, int], repairs: Mapping[str, int]) -> list[str]:
    faults = []
    for name, number in expected.items():
        kind = name.removeprefix("repair: ")
        found = repairs.get(kind, 0) if kind != name else counts.get(name, counts.get(f"category {name}", 0))
        if found != number:
            faults.append(f"{name}: found {found}, the card expects {number}.")
    return faults


def _repeated(samples: list[Sample], seen: Mapping[str, _Seen]) -> list[str]:
    """Questions asked twice within a category: same image, same words, same options in the same order."""
    first: dict[tuple[str, str, str, tuple[str, ...]], str] = {}
    faults = []
    for s in samples:
        if digest := seen[s.id].image_hash:
            other = first.setdefault((s.category, digest, s.question, s.options), s.id)
            if other != s.id:
                faults.append(f"sample {s.id!r}: it asks the same about the same image as sample {other!r}.")
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
