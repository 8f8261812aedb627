"""MMVP: pairs of images that CLIP confuses, with one question each; a hold-out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from _lettered import letter_of

from gapbench.data import BenchmarkError, Card, Protocol, Published, Sample, read_rows

SWAPPED = (99, 100, 279, 280)
"""Questions whose labels lmms-lab-eval/MMVP swaps."""

CARD = Card(
    name="mmvp",
    title="MMVP: 150 pairs of images that CLIP takes for the same",
    source="Tong et al., Eyes Wide Shut?, arXiv 2401.06209",
    licence="MIT, by the repository tsb0601/MMVP; the data set page was not seen",
    role="hold-out",
    hub="MMVP/MMVP",
    revision="37eafecab8a3940c50c2ade5b36de69dbc99a8cf",
    files=("Questions.csv", "MMVP Images/*.jpg"),
    split="all",
    scoring="letter; the share of pairs with both questions right (official), and accuracy over single questions",
    official="mmvp",
    cluster="pair",
    metrics=("cluster_accuracy",),
    protocols={
        "original": Protocol(
            prompt="{published}",
            metric="cluster_accuracy",
            source="tsb0601/MMVP scripts/evaluate_mllm.py and gpt_grader.py",
            note="Theirs samples at temperature 0.2 and is graded by GPT-4; ours as set, and by rules.",
        ),
        "vision-opd": Protocol(
            prompt="{published}",
            source="VisionOPD/Vision-OPD eval/prepare_data.py and cal_acc.py",
            note="Accuracy over single questions. Theirs is graded by rules and then by an LLM judge, ours by rules.",
        ),
    },
    expected={"samples": 300, "clusters": 150, "smallest cluster": 2, "largest cluster": 2},
    reference=(
        Published("Qwen3.5-4B", 77.0, "WormLK reproduction", note="also cited as the Vision-OPD paper's"),
        Published("Qwen3.5-4B", 76.67, "Vision-OPD paper, cited by others", protocol="vision-opd"),
    ),
    traps=(
        "The official score counts pairs, others count single questions: one model scored 72 by question and 48 by "
        "pair.",
        "Labels of 99, 100, 279 and 280 are disputed (tsb0601/MMVP issues 14 and 30). `labels=lmms-lab` swaps all "
        "four, as lmms-lab-eval/MMVP does; an audit quoted in issue 30, which counts from 0, finds only one label of "
        "each pair wrong. The default keeps the official labels.",
        "load_dataset sees only the images and sorts them as 1, 10, 100. The loader reads files by their numbers "
        "instead.",
        "The column of numbers is called Index, in some copies lndex with a small L: both are read.",
    ),
)

_OPTIONS = re.compile(r"\s*\(a\)\s*(\S.*?)\s*\(b\)\s*(\S.*?)\s*", re.IGNORECASE | re.DOTALL)


def samples(data: Path, labels: str = "official") -> Iterator[Sample]:
    """`labels` is `official`, or `lmms-lab` to swap the four disputed labels."""
    if labels not in ("official", "lmms-lab"):
        raise BenchmarkError(f"mmvp: labels={labels!r} is unknown. It takes official or lmms-lab.")
    table = data / "Questions.csv"
    for row in read_rows(table, needs=("Question", "Options", "Correct Answer")):
        index = str(row.get("Index") or row.get("lndex") or "").strip()
        if not index.isdecimal() or int(index) < 1:
            raise BenchmarkError(f"{table}: a row has the Index {index!r}; expected a number from 1. Fetch it again.")
        number, question, options_text = int(index), str(row["Question"]).strip(), str(row["Options"]).strip()
        match = _OPTIONS.fullmatch(options_text)
        options = match.groups() if match else ()
        letter = letter_of(row["Correct Answer"], options, f"mmvp question {number}")
        if labels == "lmms-lab" and number in SWAPPED:
            letter = {"A": "B", "B": "A"}[letter]
        yield Sample(
            id=str(number),
            image=data / "MMVP Images" / f"{number}.jpg",
            question=question if options else f"{question} {options_text}",
            options=options,
            answers=(letter,),
            answer_type="letter",
            cluster=f"pair {(number + 1) // 2}",
            published=f"{question} {options_text}",
        )
