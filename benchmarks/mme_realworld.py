"""MME-RealWorld: questions about high-resolution images of five kinds of scenes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from _mme_realworld import ENGLISH, FILES, LICENCE, RESTRICTED, SCORING, TRAPS, protocols, samples_of

from gapbench.data import Card, Published, Sample

CARD = Card(
    name="mme_realworld",
    title="MME-RealWorld: questions about high-resolution images of five kinds of scenes",
    source="Zhang et al., MME-RealWorld, arXiv 2408.13257",
    licence=LICENCE,
    role="full-view",
    hub="yifanzhang114/MME-RealWorld-Lmms-eval",
    revision="",
    files=FILES,
    split="train (the Hub's name for all questions)",
    scoring=SCORING,
    official="mme-realworld",
    cluster="image",
    restricted=RESTRICTED,
    protocols=protocols(ENGLISH),
    expected={"samples": 23609},
    reference=(
        Published("Qwen3.5-4B", 63.86, "Vision-OPD paper", protocol="vision-opd"),
        Published("Qwen3.5-4B", 63.89, "WormLK reproduction"),
        Published("Qwen3.5-9B", 71.4, "Vision-OPD paper", protocol="vision-opd"),
        Published("Vision-OPD-4B", 74.88, "Vision-OPD paper", protocol="vision-opd"),
        Published("Vision-OPD-9B", 73.4, "Vision-OPD paper", protocol="vision-opd"),
        Published("Qwen2.5-VL-7B", 57.3, "Mini-o3"),
        Published("Qwen2.5-VL-7B", 62.6, "ZwZ model card"),
    ),
    traps=(
        *TRAPS,
        "Not pinned: the full commit hash is not known here. It was f157390 when it was looked at, in 70 parts.",
    ),
)


def samples(data: Path) -> Iterator[Sample]:
    return samples_of(data, ENGLISH)
