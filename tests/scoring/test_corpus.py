"""How far scoring agrees with labels: 720, 520, 640 and 400 answers in the styles of real models.

Authors who had not seen the rules wrote each corpus: two for each but the last. Each line was labelled again, by the
other author or by strangers, without the first label; all agreed. Authors and labellers were language models. The
labels were fixed before any rule was run on them. `group` is "common" or "trap".

Goals: of the common ones 97 % as labelled, at most 0.2 % wrongly right, 1 % wrongly wrong and 3 % needlessly unparsed;
of the traps at most 3 % wrongly right. `REACHED` is what scoring reaches so far; it may only be raised.

The rules were mended on the first corpus. The second was then run once, blind: of the common answers 97.1 % as
labelled, none wrongly right, 0.5 % wrongly wrong, 2.4 % needlessly unparsed; of the traps 72 % as labelled, 4.3 %
wrongly right. The third was run once, blind, after that: of the common answers 95.2 % as labelled, none wrongly right,
0.2 % wrongly wrong, 4.5 % needlessly unparsed; of the traps 72.5 % as labelled, 4 % wrongly right, 4.5 % wrongly wrong,
19 % needlessly unparsed. The kinds of those misses were mended afterwards, so what is reached now says less than that.

The fourth was written after that and run once, blind: of the common answers 97 % as labelled, none wrongly right, 1 %
wrongly wrong, 2 % needlessly unparsed; of the traps 79 % as labelled, 2 % wrongly right, 3 % wrongly wrong, 16 %
needlessly unparsed. The rules before the third corpus had 93.7 % of its common answers as labelled. Only "no doubt" in
other languages was mended on it.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from gapbench.scoring import score

REACHED = {
    "corpus": {"common": (0.995, 0.0, 0.0, 0.005), "trap": (0.92, 0.017, 0.023, 0.035)},
    "second_corpus": {"common": (0.985, 0.0, 0.0, 0.015), "trap": (0.84, 0.0, 0.0, 0.16)},
    "third_corpus": {"common": (0.997, 0.0, 0.0, 0.003), "trap": (0.88, 0.01, 0.01, 0.1)},
    "fourth_corpus": {"common": (0.97, 0.0, 0.01, 0.02), "trap": (0.8, 0.01, 0.02, 0.17)},
}
"""By file and group: the least share as labelled, the largest wrongly right, wrongly wrong and needlessly unparsed."""
NAMES = {"right": "wrongly right", "wrong": "wrongly wrong", "unparsed": "needlessly unparsed"}


def found(line: dict[str, Any]) -> str:
    scored = score(line["output"], line["answers"], line["answer_type"], line.get("options") or (), line["question"])
    return "as labelled" if scored.outcome == line["expected"] else NAMES[scored.outcome]


def lines_of(corpus: str) -> list[dict[str, Any]]:
    text = (Path(__file__).parent / f"{corpus}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("group", ["common", "trap"])
@pytest.mark.parametrize("corpus", REACHED)
def test_scoring_agrees_with_labels_as_far_as_it_did(corpus: str, group: str) -> None:
    lines = [line for line in lines_of(corpus) if line["group"] == group]
    counts = Counter(map(found, lines))
    least, *most = REACHED[corpus][group]
    assert counts["as labelled"] / len(lines) >= least
    for name, share in zip(NAMES.values(), most, strict=True):
        assert counts[name] / len(lines) <= share, name


@pytest.mark.parametrize("corpus", REACHED)
def test_the_corpus_has_answers_of_every_kind(corpus: str) -> None:
    lines = lines_of(corpus)
    assert len({(line["question"], line["output"], *line["answers"]) for line in lines}) > len(lines) - 5 >= 395
    assert {line["answer_type"] for line in lines} == {"letter", "yes_no", "number", "text"}
    assert {line["expected"] for line in lines} == {"right", "wrong", "unparsed"}
