"""MME-RealWorld: questions about high-resolution images of five kinds of scenes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from _mme_realworld import ENGLISH, FILES, LICENCE, RESTRICTED, SCORING, TRAPS, protocols, samples_of

from gapbench.data import Card, Sample

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
    reference={
        "Qwen3.5-4B": "63.86 (Vision-OPD paper), 63.89 (reproduction by WormLK)",
        "Qwen2.5-VL-7B": "57.3 (Mini-o3), 62.6 (ZwZ model card)",
    },
    traps=(
        *TRAPS,
        "Not pinned: the full commit hash is not known here. It was f157390 when it was looked at, in 70 parts.",
    ),
)


def samples(data: Path) -> Iterator[Sample]:
    return samples_of(data, ENGLISH)
