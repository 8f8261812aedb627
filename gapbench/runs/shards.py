"""A worker's share of a run: disjoint, complete, and known to every worker without asking another one.

    mine = share(samples, parse("2/8"), group)      # what the second of eight workers asks

Questions are dealt in their order, each to the shard that has the fewest so far; a hash of benchmark and cluster
chooses among equals, so that no pattern in the data lines up with the number of workers. Questions of one cluster (or,
where none is declared, about one image) go to the same shard, so that its image is decoded once and a prefix cache
can help; only a cluster that would put its shard `SLACK` questions ahead is continued on another one. Asking more
questions later (`--limit`) moves none that was dealt before. `gapbench merge` puts the shards together.

Limits: shares are even in questions, not in pixels or seconds.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gapbench.errors import SettingError
from gapbench.types import Sample

SLACK = 16
"""Questions of a benchmark by which one shard may be ahead of another before it must share a cluster."""


@dataclass(frozen=True)
class Shard:
    """Number `number` (from 1) of `of` shards."""

    number: int
    of: int


def parse(text: str) -> Shard:
    """`2/8` -> Shard(2, 8). Raises SettingError unless both are whole numbers and 1 <= K <= N."""
    found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text.strip())
    shard = Shard(int(found[1]), int(found[2])) if found else Shard(0, 0)
    if not 1 <= shard.number <= shard.of:
        raise SettingError(f"--shard {text}: expected K/N with 1 <= K <= N, such as 2/8 for the second of eight.")
    return shard


def share(
    asked: Mapping[str, Sequence[Sample]], shard: Shard, group: Callable[[Sample], str]
) -> dict[str, list[Sample]]:
    """The samples of each benchmark that this shard asks, in their order; none is in two shards of the same `of`.

    `group` names what keeps samples together.
    """
    return {
        name: [
            s
            for s, home in zip(samples, _deal(name, [group(s) for s in samples], shard.of), strict=True)
            if home == shard.number - 1
        ]
        for name, samples in asked.items()
    }


def entry(shard: Shard, mine: Mapping[str, Sequence[Sample]], shown: Mapping[str, Sequence[str]], repeats: int) -> Any:
    """What `run.json` keeps under `shard`: of how many it is one, and how much belongs to it."""
    each = {
        name: {"samples": len(samples), "answers": len(samples) * len(shown[name]) * repeats}
        for name, samples in mine.items()
    }
    return {"of": shard.of, "parts": {str(shard.number): each}}


def names(found: Mapping[str, Any] | None) -> str:
    """`2/8` or `1-3,5/8`, as a `shard` entry of `run.json` says; empty for an undivided run."""
    return f"{ranges(map(int, found['parts']))}/{found['of']}" if found else ""


def ranges(numbers: Iterable[int]) -> str:
    """`1-3,5` for 1, 2, 3 and 5."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1] = [runs[-1][0], number]
        else:
            runs.append([number])
    return ",".join("-".join(map(str, run)) for run in runs)


def described(run: Mapping[str, Any], answers: int) -> str:
    """`shard 2 of 8 (75 of 600 questions)`, or empty for an undivided run; `run` is a `run.json`.

    `answers` is how many records there are; those that are still missing are counted.
    """
    found = run.get("shard")
    if not found:
        return ""
    each = [counts for part in found["parts"].values() for counts in part.values()]
    mine, whole = sum(c["samples"] for c in each), sum(one["samples"] for one in run["benchmarks"].values())
    lacking = sum(c["answers"] for c in each) - answers
    missing = f"; {lacking:,} answers are missing" if lacking > 0 else ""
    several = "s" * (len(found["parts"]) > 1)
    which = ranges(map(int, found["parts"]))
    return f"shard{several} {which} of {found['of']} ({mine:,} of {whole:,} questions{missing})"


def is_empty(run: Mapping[str, Any]) -> bool:
    """Whether a `run.json` is that of a shard without any question, as there are in a run of few."""
    found = run.get("shard") or {}
    return bool(found) and not any(c["samples"] for part in found["parts"].values() for c in part.values())


def _deal(benchmark: str, groups: Sequence[str], of: int) -> Iterator[int]:
    """The shard, from 0, of each sample."""
    loads, homes = [0] * of, dict[str, int]()
    for group in groups:
        least = min(loads)
        home = homes.get(group)
        if home is None or loads[home] - least >= SLACK:
            free = [number for number, load in enumerate(loads) if load == least]
            digest = hashlib.sha256(f"{benchmark}\0{group}".encode("utf-8", "surrogatepass")).digest()
            home = homes[group] = free[int.from_bytes(digest[:8], "big") % len(free)]
        loads[home] += 1
        yield home
