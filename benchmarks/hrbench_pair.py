"""HR-Bench 8K against 4K: each 8K question has as its region the 4K image that was cut from its 8K image."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from _hrbench import COUNTS, HUB, LICENCE, PROTOCOLS, REVISION, TRAPS, groups, options, sample

from gapbench.data import BenchmarkError, Card, Row, Sample

CARD = Card(
    name="hrbench_pair",
    title="HR-Bench 8K with its 4K cut-outs",
    source="Wang et al., Divide, Conquer and Combine (AAAI 2025), arXiv 2408.15556; paired by gapbench",
    licence=LICENCE,
    role="evidence",
    hub=HUB,
    revision=REVISION,
    files=("hr_bench_4k.parquet", "hr_bench_8k.parquet"),
    split="all, both files joined",
    region="native",
    scoring="letter; accuracy over 800 rows, and the share of questions right in all four orders",
    cluster="question (its four orders)",
    notice=(
        "The region of hrbench_pair is the 4K image: a part of the 8K image that holds the evidence and much else. "
        "The difference compares two resolutions of one scene coarsely. It is not the gap between an evidence-centred "
        "crop and the full image, and must not be listed beside such gaps."
    ),
    metrics=("cluster_accuracy",),
    protocols=PROTOCOLS,
    expected={**COUNTS, "with a crop of its own": 800},
    traps=(
        *TRAPS,
        "The HR-Bench README says that the 4K image is cut from the 8K image. The boxes are not released, so no single "
        "pair can be verified. Look at the contact sheet.",
        "Both files probably hold the same questions, row for row, but this is not certain. Rows are joined on "
        "question, options in their order, and answer; a row without exactly one partner stops the loader.",
    ),
)


def samples(data: Path) -> Iterator[Sample]:
    """Raises BenchmarkError when an 8K row does not have exactly one partner among the 4K rows."""
    small, large = data / "hr_bench_4k.parquet", data / "hr_bench_8k.parquet"
    partners: dict[tuple[str, ...], list[tuple[int, Row]]] = defaultdict(list)
    for position, row in enumerate(row for group in groups(small) for row in group):
        partners[_join_key(row)].append((position, row))
    position = 0
    for number, group in enumerate(groups(large)):
        for row in group:
            candidates = partners[_join_key(row)]
            # Questions with the same text are told apart by their position.
            matches = candidates if len(candidates) == 1 else [pair for pair in candidates if pair[0] == position]
            if len(matches) != 1:
                raise BenchmarkError(
                    f"{large}: row {position} ({row['question']!r}) has {len(candidates)} partners in {small.name} "
                    "with the same question, options in the same order, and answer; expected one. The files do not "
                    "belong together: fetch both at one revision, or measure hrbench_4k and hrbench_8k separately."
                )
            partner = matches[0]
            candidates.remove(partner)
            yield replace(sample(row, number), crop_image=partner[1]["image"])
            position += 1
    left = sum(map(len, partners.values()))
    if left:
        raise BenchmarkError(f"{small}: {left} rows have no partner in {large.name}. Fetch both files at one revision.")


def _join_key(row: Row) -> tuple[str, ...]:
    return (str(row["question"]).strip(), *options(row), str(row["answer"]).strip(), str(row["category"]).strip())
