"""MME-RealWorld-CN: questions in Chinese about Chinese scenes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from _mme_realworld import CHINESE, FILES, LICENCE, RESTRICTED, SCORING, TRAPS, protocols, samples_of

from gapbench.data import Card, Published, Sample

CARD = Card(
    name="mme_realworld_cn",
    title="MME-RealWorld-CN: questions in Chinese about Chinese scenes",
    source="Zhang et al., MME-RealWorld, arXiv 2408.13257",
    licence=LICENCE,
    role="full-view",
    hub="yifanzhang114/MME-RealWorld-CN-Lmms-eval",
    revision="",
    files=FILES,
    split="train (the Hub's name for all questions)",
    scoring=SCORING,
    official="mme-realworld",
    cluster="image",
    restricted=RESTRICTED,
    protocols=protocols(CHINESE),
    expected={"samples": 5462},
    reference=(
        Published("Qwen3.5-4B", 63.7, "Vision-OPD paper", protocol="vision-opd"),
        Published("Qwen3.5-4B", 64.94, "WormLK reproduction"),
        Published("Qwen3.5-9B", 67.67, "Vision-OPD paper", protocol="vision-opd"),
        Published("Vision-OPD-4B", 70.76, "Vision-OPD paper", protocol="vision-opd"),
        Published("Vision-OPD-9B", 70.46, "Vision-OPD paper", protocol="vision-opd"),
    ),
    traps=(
        *TRAPS,
        "The README counts 5,917 questions; this Parquet has 5,462, as Vision-OPD and its reproduction report.",
        "Brackets around the letters may be full-width. The neutral prompt ends with its English sentence.",
        "Not pinned: the full commit hash is not known here. It was 37ac6f4 when it was looked at.",
    ),
)


def samples(data: Path) -> Iterator[Sample]:
    return samples_of(data, CHINESE)
