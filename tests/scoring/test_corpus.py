"""How far scoring agrees with people: 720, 520, 640 and 400 answers in the styles of real models.

Two authors who had not seen the rules wrote each corpus and labelled each other's part, or strangers did, without the
first label; all agreed. The labels were fixed before any rule was run on them. `group` is "common" or "trap".

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

LINES, SECOND, THIRD, FOURTH = (
    [json.loads(line) for line in (Path(__file__).parent / name).read_text(encoding="utf-8").splitlines()]
    for name in ("corpus.jsonl", "second_corpus.jsonl", "third_corpus.jsonl", "fourth_corpus.jsonl")
)
REACHED_FOURTH = {
    "common": {"as labelled": 0.97, "wrongly right": 0.0, "wrongly wrong": 0.01, "needlessly unparsed": 0.02},
    "trap": {"as labelled": 0.8, "wrongly right": 0.01, "wrongly wrong": 0.02, "needlessly unparsed": 0.17},
}
REACHED_THIRD = {
    "common": {"as labelled": 0.997, "wrongly right": 0.0, "wrongly wrong": 0.0, "needlessly unparsed": 0.003},
    "trap": {"as labelled": 0.88, "wrongly right": 0.01, "wrongly wrong": 0.01, "needlessly unparsed": 0.1},
}
REACHED_SECOND = {
    "common": {"as labelled": 0.985, "wrongly right": 0.0, "wrongly wrong": 0.0, "needlessly unparsed": 0.015},
    "trap": {"as labelled": 0.84, "wrongly right": 0.0, "wrongly wrong": 0.0, "needlessly unparsed": 0.16},
}
REACHED = {
    "common": {"as labelled": 0.995, "wrongly right": 0.0, "wrongly wrong": 0.0, "needlessly unparsed": 0.005},
    "trap": {"as labelled": 0.92, "wrongly right": 0.017, "wrongly wrong": 0.023, "needlessly unparsed": 0.035},
}
NAMES = {"right": "wrongly right", "wrong": "wrongly wrong", "unparsed": "needlessly unparsed"}


def found(line: dict[str, Any]) -> str:
    scored = score(line["output"], line["answers"], line["answer_type"], line.get("options") or (), line["question"])
    return "as labelled" if scored.outcome == line["expected"] else NAMES[scored.outcome]


@pytest.mark.parametrize(
    ("corpus", "reached"),
    [(LINES, REACHED), (SECOND, REACHED_SECOND), (THIRD, REACHED_THIRD), (FOURTH, REACHED_FOURTH)],
    ids=["first", "second", "third", "fourth"],
)
@pytest.mark.parametrize("group", ["common", "trap"])
def test_scoring_agrees_with_people_as_far_as_it_did(
    corpus: list[dict[str, Any]], reached: dict[str, dict[str, float]], group: str
) -> None:
    lines = [line for line in corpus if line["group"] == group]
    counts = Counter(map(found, lines))
    assert counts["as labelled"] / len(lines) >= reached[group]["as labelled"]
    for name in NAMES.values():
        assert counts[name] / len(lines) <= reached[group][name], name


@pytest.mark.parametrize("corpus", [LINES, SECOND, THIRD, FOURTH], ids=["first", "second", "third", "fourth"])
def test_the_corpus_has_answers_of_every_kind(corpus: list[dict[str, Any]]) -> None:
    assert len({(line["question"], line["output"], *line["answers"]) for line in corpus}) > len(corpus) - 5 >= 395
    assert {line["answer_type"] for line in corpus} == {"letter", "yes_no", "number", "text"}
    assert {line["expected"] for line in corpus} == {"right", "wrong", "unparsed"}
