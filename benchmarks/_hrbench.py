"""HR-Bench: four consecutive rows hold one question with its options in four orders.

No column names the group, and question texts repeat, so the loader checks each group of four rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from _lettered import letter_of

from gapbench.data import BenchmarkError, Protocol, Row, Sample, read_rows

HUB = "DreamMr/HR-Bench"
REVISION = "83b9013d6293b85dc507e87199ca52517536939c"
LICENCE = 'tagged "other"; the licence file is empty'
COUNTS = {"samples": 800, "clusters": 200, "smallest cluster": 4, "largest cluster": 4, "single": 400, "cross": 400}
MOST_PIXELS = 300_000_000
"""No 8K image above Pillow's limit of 89 MP is known; this higher limit lets a run survive one."""

PROTOCOLS = {
    "original": Protocol(
        prompt="Question: {question}\nOptions:{dotted}\nPlease select the correct answer from the options above. \n",
        source="DreamMr/HR-Bench hrbench/vlmeval/dataset/image_mcq.py; VLMEvalKit likewise",
        note="The accuracy over all rows is the mean over the four orders. Theirs is graded by a GPT, ours by rules.",
    ),
    "lmms-eval": Protocol(
        prompt="{question}{dotted}\nAnswer the option letter directly.",
        source="EvolvingLMMs-Lab/lmms-eval lmms_eval/tasks/hrbench/utils.py",
        note="Theirs is graded by a GPT, ours by rules.",
    ),
    "vision-opd": Protocol(
        prompt="{question} Select from the following choices.{options}",
        source="VisionOPD/Vision-OPD eval/prepare_data.py",
        note="Theirs is graded by rules and then by an LLM judge, ours by rules.",
    ),
}
TRAPS = (
    "Rows 4k to 4k+3 are one question in four orders, and not independent. Only 159 question texts are distinct, so "
    "only the position tells which rows belong together; the loader checks it.",
    "The four orders are not rotations of each other (except in 1 of 200 questions), so they cannot be rebuilt from "
    "one row.",
    "Images are base64 text. `cycle_category` (0 to 3, as number or text) is not read.",
)

_NEEDS = ("index", "question", "answer", "A", "B", "C", "D", "category", "image")


def groups(table: Path) -> Iterator[tuple[Row, ...]]:
    """The rows of one HR-Bench file in groups of four.

    Raises BenchmarkError unless the rows of a group share question and options, and their answers are A, B, C and D.
    """
    group: list[Row] = []
    start = 0
    for row in read_rows(table, lazy=("image",), needs=_NEEDS):
        group.append(row)
        if len(group) == 4:
            _check(table, start, group)
            yield tuple(group)
            group, start = [], start + 4
    if group:
        raise BenchmarkError(
            f"{table}: {start + len(group)} rows; expected groups of four. Fetch the whole file in its published order."
        )


def options(row: Row) -> tuple[str, ...]:
    """The four options in the order of the row."""
    return tuple(str(row[name] or "").strip() for name in "ABCD")


def sample(row: Row, cluster: int) -> Sample:
    """The sample of a row that belongs to question number `cluster`."""
    return Sample(
        id=str(row["index"]),
        image=row["image"],
        question=str(row["question"]).strip(),
        answers=(letter_of(row["answer"], options(row), f"row {row['index']}"),),
        options=options(row),
        answer_type="letter",
        category=str(row["category"]).strip(),
        cluster=f"question {cluster}",
        max_image_pixels=MOST_PIXELS,
    )


def samples_of(table: Path) -> Iterator[Sample]:
    """The samples of one file."""
    for number, group in enumerate(groups(table)):
        yield from (sample(row, number) for row in group)


def _check(table: Path, start: int, group: Sequence[Row]) -> None:
    where = f"{table}: rows {start} to {start + 3}"
    remedy = "Expected one question in four orders; fetch the whole file in its published order."
    questions = {str(row["question"]).strip() for row in group}
    if len(questions) > 1:
        raise BenchmarkError(f"{where}: found {len(questions)} different questions. {remedy}")
    if len({tuple(sorted(options(row))) for row in group}) > 1:
        raise BenchmarkError(f"{where}: their options are not the same four texts. {remedy}")
    letters = sorted(letter_of(row["answer"], options(row), where) for row in group)
    if letters != list("ABCD"):
        raise BenchmarkError(f"{where}: the right letters are {', '.join(letters)}, not A, B, C and D. {remedy}")
