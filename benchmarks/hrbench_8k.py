"""HR-Bench 8K: 200 questions about fine detail in 8K images, each asked with its options in four orders."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from _hrbench import COUNTS, HUB, LICENCE, PROTOCOLS, REVISION, TRAPS, samples_of

from gapbench.data import Card, Published, Sample

CARD = Card(
    name="hrbench_8k",
    title="HR-Bench 8K: single-instance and cross-instance perception",
    source="Wang et al., Divide, Conquer and Combine (AAAI 2025), arXiv 2408.15556",
    licence=LICENCE,
    role="full-view",
    hub=HUB,
    revision=REVISION,
    files=("hr_bench_8k.parquet",),
    split="all",
    scoring="letter; accuracy over 800 rows, and the share of questions right in all four orders",
    cluster="question (its four orders)",
    metrics=("cluster_accuracy",),
    protocols=PROTOCOLS,
    expected=COUNTS,
    reference=(
        Published("Qwen3.5-4B", 80.13, "Vision-OPD paper", protocol="vision-opd"),
        Published("Qwen3.5-4B", 83.1, "WormLK reproduction"),
        Published("Qwen3.5-9B", 80.63, "Vision-OPD paper", protocol="vision-opd"),
        Published("Vision-OPD-4B", 80.38, "Vision-OPD paper", protocol="vision-opd"),
        Published("Vision-OPD-9B", 85.5, "Vision-OPD paper", protocol="vision-opd"),
        Published("Qwen2.5-VL-7B", 62.7, "Mini-o3"),
        Published("Qwen2.5-VL-7B", 65.3, "CVSearch"),
        Published("Qwen2-VL-7B", 66.5, "HR-Bench README"),
        Published("human", 86.8, "HR-Bench README"),
    ),
    traps=TRAPS,
)


def samples(data: Path) -> Iterator[Sample]:
    return samples_of(data / "hr_bench_8k.parquet")
