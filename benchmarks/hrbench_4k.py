"""HR-Bench 4K: 200 questions about fine detail in 4K images, each asked with its options in four orders."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from _hrbench import COUNTS, HUB, LICENCE, PROTOCOLS, REVISION, TRAPS, samples_of

from gapbench.data import Card, Published, Sample

CARD = Card(
    name="hrbench_4k",
    title="HR-Bench 4K: single-instance and cross-instance perception",
    source="Wang et al., Divide, Conquer and Combine (AAAI 2025), arXiv 2408.15556",
    licence=LICENCE,
    role="full-view",
    hub=HUB,
    revision=REVISION,
    files=("hr_bench_4k.parquet",),
    split="all",
    scoring="letter; accuracy over 800 rows, and the share of questions right in all four orders",
    cluster="question (its four orders)",
    metrics=("cluster_accuracy",),
    protocols=PROTOCOLS,
    expected=COUNTS,
    reference=(
        Published("Qwen3.5-4B", 84.38, "Vision-OPD paper", protocol="vision-opd"),
        Published("Qwen3.5-4B", 87.5, "WormLK reproduction"),
        Published("Qwen3.5-9B", 85.75, "Vision-OPD paper", protocol="vision-opd"),
        Published("Vision-OPD-4B", 84.5, "Vision-OPD paper", protocol="vision-opd"),
        Published("Vision-OPD-9B", 88.13, "Vision-OPD paper", protocol="vision-opd"),
        Published("Qwen2.5-VL-7B", 68.2, "Mini-o3"),
        Published("Qwen2.5-VL-7B", 68.8, "CVSearch"),
        Published("Qwen2-VL-7B", 66.8, "HR-Bench README"),
        Published("human", 82.0, "HR-Bench README"),
    ),
    checked="all questions and answers, m-Just/InSight-o3 @ 21acec8 (2026-11); no images",
    traps=TRAPS,
)


def samples(data: Path) -> Iterator[Sample]:
    return samples_of(data / "hr_bench_4k.parquet")
