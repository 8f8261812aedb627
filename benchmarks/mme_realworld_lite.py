"""MME-RealWorld-Lite: a subset for quicker evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from _mme_realworld import ENGLISH, FILES, LICENCE, RESTRICTED, SCORING, TRAPS, protocols, samples_of

from gapbench.data import Card, Sample

CARD = Card(
    name="mme_realworld_lite",
    title="MME-RealWorld-Lite: a subset for quicker evaluation",
    source="Zhang et al., MME-RealWorld, arXiv 2408.13257",
    licence=LICENCE,
    role="full-view",
    hub="yifanzhang114/MME-RealWorld-lite-lmms-eval",
    revision="a9aa36effbfd7bd385c7a0a22ad67cc462d47a03",
    files=FILES,
    split="train (the Hub's name for all questions)",
    scoring=SCORING,
    official="mme-realworld",
    cluster="image",
    restricted=RESTRICTED,
    protocols=protocols(ENGLISH),
    expected={"samples": 1919, "oddity: equal options": 7, "oddity: repeated sample": 137},
    checked="all questions and answers, m-Just/InSight-o3 @ 21acec8 (2026-11); no images",
    traps=(
        *TRAPS,
        "The subset has 1,537 images, by their names in the raw copy.",
        "137 rows repeat image, question and options of an earlier row, and in 7 rows two options are the same.",
    ),
)


def samples(data: Path) -> Iterator[Sample]:
    return samples_of(data, ENGLISH)
