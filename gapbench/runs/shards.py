"""Shards: disjoint shares of a run that workers compute without contact, and that together are the whole run.

    share("signs", groups, parse("2/8"))      # the numbers of the samples of the second of eight workers

Each sample goes, in order, to the shard that has the fewest so far. A hash of benchmark and cluster decides between
equal shards, so no pattern in the data lines up with the number of workers. Samples of one cluster stay in one shard;
without declared clusters, samples with one image do. Their image is then decoded once, and prefix sharing can help.
Only a cluster that would put its shard `SLACK` samples ahead continues on another shard. More samples later
(`--limit`) never move earlier ones. `gapbench merge` puts the shards together.

Limits: shards are even in samples, not in pixels or seconds.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gapbench.errors import SettingError

SLACK = 16
"""The lead in samples of a benchmark, over the smallest shard, at which a cluster continues on another shard."""


@dataclass(frozen=True)
class Shard:
    """Shard `number`, counted from 1, of `of` shards."""

    number: int
    of: int


def parse(text: str) -> Shard:
    """`2/8` -> Shard(2, 8). Raises SettingError unless both are whole numbers and 1 <= K <= N."""
    match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text.strip())
    shard = Shard(int(match[1]), int(match[2])) if match else Shard(0, 0)
    if not 1 <= shard.number <= shard.of:
        raise SettingError(f"--shard {text}: expected K/N with 1 <= K <= N, such as 2/8 for the second of eight.")
    return shard


def share(task: str, groups: Sequence[str], shard: Shard) -> list[int]:
    """The numbers of the shard's samples of a task, from 0. `groups` has the group of each sample.

    Samples of one group stay in one shard. Shards with the same `of` never share a sample.
    """
    return [number for number, dealt in enumerate(_deal(task, groups, shard.of)) if dealt == shard.number - 1]


def entry(shard: Shard, counts: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
    """The manifest's entry `shard`: the number of shards, and how many samples and answers this one has, by task."""
    return {"of": shard.of, "parts": {str(shard.number): dict(counts)}}


def shard_label(shard: Mapping[str, Any] | None) -> str:
    """`2/8`, or `1-3,5/8` for several merged shards, from the manifest's entry `shard`; empty without one."""
    return f"{ranges(map(int, shard['parts']))}/{shard['of']}" if shard else ""


def counts_of(shard: Mapping[str, Any]) -> list[Mapping[str, int]]:
    """The `samples` and `answers` of each task in each part, from the manifest's entry `shard`."""
    return [count for part in shard["parts"].values() for count in part.values()]


def ranges(numbers: Iterable[int]) -> str:
    """`1-3,5` for 1, 2, 3 and 5."""
    spans: list[list[int]] = []
    for number in sorted(numbers):
        if spans and number == spans[-1][-1] + 1:
            spans[-1] = [spans[-1][0], number]
        else:
            spans.append([number])
    return ",".join("-".join(map(str, span)) for span in spans)


def description(manifest: Mapping[str, Any], answers: int) -> str:
    """`shard 2 of 8 (75 of 600 samples)`, or empty for a whole run.

    `answers` is the number of records. If some are missing, the text says how many.
    """
    shard = manifest.get("shard")
    if not shard:
        return ""
    counts = counts_of(shard)
    samples = sum(count["samples"] for count in counts)
    all_samples = sum(task["samples"] for task in manifest["tasks"].values())
    missing = sum(count["answers"] for count in counts) - answers
    missing_text = f"; {missing:,} answers are missing" if missing > 0 else ""
    plural = "s" * (len(shard["parts"]) > 1)
    numbers = ranges(map(int, shard["parts"]))
    return f"shard{plural} {numbers} of {shard['of']} ({samples:,} of {all_samples:,} samples{missing_text})"


def is_empty(manifest: Mapping[str, Any]) -> bool:
    """Whether the manifest is that of a shard without samples, which a run with few samples may have."""
    shard = manifest.get("shard") or {}
    return bool(shard) and not any(count["samples"] for count in counts_of(shard))


def _deal(task: str, groups: Sequence[str], of: int) -> Iterator[int]:
    """Yield the shard of each sample, counted from 0."""
    sizes, shard_of_group = [0] * of, dict[str, int]()
    for group in groups:
        smallest = min(sizes)
        shard = shard_of_group.get(group)
        if shard is None or sizes[shard] - smallest >= SLACK:
            candidates = [number for number, size in enumerate(sizes) if size == smallest]
            digest = hashlib.sha256(f"{task}\0{group}".encode("utf-8", "surrogatepass")).digest()
            shard = shard_of_group[group] = candidates[int.from_bytes(digest[:8], "big") % len(candidates)]
        sizes[shard] += 1
        yield shard
