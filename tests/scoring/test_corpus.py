"""How far scoring agrees with people: 720 answers in the styles of real models.

Two authors who had not seen the rules wrote 360 answers each and labelled each other's without the first label; they
agreed on all. The labels were fixed before any rule was run on them. `group` is "common" or "trap".

Goals: of the common ones 97 % as labelled, at most 0.2 % wrongly right, 1 % wrongly wrong and 3 % needlessly unparsed;
of the traps at most 3 % wrongly right. `REACHED` is what scoring reaches so far; it may only be raised. These
answers were seen while the rules were mended, so they say less than answers that nobody saw.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from gapbench.scoring import score

LINES = [json.loads(line) for line in (Path(__file__).parent / "corpus.jsonl").read_text(encoding="utf-8").splitlines()]
REACHED = {
    "common": {"as labelled": 0.995, "wrongly right": 0.0, "wrongly wrong": 0.0, "needlessly unparsed": 0.005},
    "trap": {"as labelled": 0.92, "wrongly right": 0.017, "wrongly wrong": 0.023, "needlessly unparsed": 0.035},
}
NAMES = {"right": "wrongly right", "wrong": "wrongly wrong", "unparsed": "needlessly unparsed"}


def found(line: dict[str, Any]) -> str:
    scored = score(line["output"], line["answers"], line["answer_type"], line.get("options") or (), line["question"])
    return "as labelled" if scored.outcome == line["expected"] else NAMES[scored.outcome]


@pytest.mark.parametrize("group", REACHED)
def test_scoring_agrees_with_people_as_far_as_it_did(group: str) -> None:
    lines = [line for line in LINES if line["group"] == group]
    counts = Counter(map(found, lines))
    assert counts["as labelled"] / len(lines) >= REACHED[group]["as labelled"]
    for name in NAMES.values():
        assert counts[name] / len(lines) <= REACHED[group][name], name


def test_the_corpus_has_answers_of_every_kind() -> None:
    assert len({(line["question"], line["output"]) for line in LINES}) == len(LINES) >= 600
    assert {line["answer_type"] for line in LINES} == {"letter", "yes_no", "number", "text"}
    assert {line["expected"] for line in LINES} == {"right", "wrong", "unparsed"}
