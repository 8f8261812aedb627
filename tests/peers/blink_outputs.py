"""The stored outputs of 19 models on BLINK's 1,901 questions, read by gapbench's rules and by its authors'.

    git clone https://github.com/zeyofu/BLINK_Benchmark blink
    python tests/peers/blink_outputs.py blink                       # or GAPBENCH_BLINK=blink and no argument
    python tests/peers/blink_outputs.py blink --conflicts 50        # a fixed sample of the conflicts, to read them

Takes a clone or its git directory and reads the validation split at HEAD. Prints what each of gapbench's rules read;
how far that agrees with the letter that the authors stored; and the accuracy of each model, as the mean over the 14
tasks, under five readings: strict (without the rules that infer), gapbench, the first capital (MME-RealWorld's rule),
BLINK's rule alone (what it does not read is wrong), and BLINK's rule followed by GPT-3.5, which the authors stored.

BLINK's rule takes a bare letter, else the only "(A)" of the last paragraph or of the output, and asks GPT-3.5 about all
other outputs (`analyze_answer` in eval/test_benchmark.py). So the outputs tell who made a stored letter. A conflict is
an output in which gapbench reads a letter and BLINK's rule another one.

Limits: the repository holds neither questions nor options. Options are the same for all questions of a task, except in
Counting, where they are recovered from the answers that repeat them ("(B) 3"); those that none repeats stay unknown.
gapbench reads more with the question, which is not given to it here.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import subprocess
import tarfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from statistics import fmean
from typing import Any

from gapbench.scoring import INFERRED, Score, score
from gapbench.scoring.official import OFFICIAL

FOLDER = "eval/saved_outputs"
LETTERS = "ABCDE"

_POINTS = ("Point A", "Point B", "Point C", "Point D")
_LATER = ("the second image", "the third image")
OPTIONS: Mapping[str, tuple[str, ...]] = {
    "Art_Style": _LATER,
    "Counting": ("", "", "", ""),
    "Forensic_Detection": ("the first image", "the second image", "the third image", "the fourth image"),
    "Functional_Correspondence": _POINTS,
    "IQ_Test": ("picture A", "picture B", "picture C", "picture D"),
    "Jigsaw": _LATER,
    "Multi-view_Reasoning": ("left", "right"),
    "Object_Localization": ("Box A", "Box B"),
    "Relative_Depth": ("A is closer", "B is closer"),
    "Relative_Reflectance": ("A is darker", "B is darker", "About the same"),
    "Semantic_Correspondence": _POINTS,
    "Spatial_Relation": ("yes", "no"),
    "Visual_Correspondence": _POINTS,
    "Visual_Similarity": _LATER,
}
"""The options of each task, as nearly all answers repeat them; those of Counting differ from question to question."""

_COUNT = re.compile(r"\(([A-D])\):? *(\d+)\b")


def letters_of(task: str) -> str:
    """The letters of a task's options."""
    return LETTERS[: len(OPTIONS[task])]


Row = Mapping[str, Any]
"""One stored output: `idx`, `answer` ("(B)"), `full_prediction` (the output), `prediction` ("(B)", "(Z)" for none)."""


@dataclass(frozen=True)
class Reading:
    """One output and what each side read in it; letters are bare, and empty where nothing was read."""

    model: str
    task: str
    sample: str
    output: str
    accepted: str
    ours: Score
    rule: str
    prediction: str
    capital: float

    @property
    def stored(self) -> str:
        """The option that the authors stored; empty if they stored (Z), for none, or a letter of no option."""
        found = re.match(f"\\(([{letters_of(self.task)}])\\)", self.prediction)
        return found[1] if found else ""

    @property
    def case(self) -> str:
        """How the two readings compare: a row of the report's second table."""
        by_rule = self.rule == self.stored
        authors = "BLINK's rule" if by_rule else "GPT-3.5"
        if not self.stored:
            return f"{'read' if self.ours.parsed else 'unparsed'}; the authors stored no option"
        if not self.ours.parsed:
            return f"unparsed; {authors} read a letter"
        if self.ours.parsed == self.stored:
            return f"read; {authors} read the same"
        return f"read; {authors} read another: a conflict" if by_rule else f"read; {authors} guessed another"

    @property
    def right(self) -> tuple[float, ...]:
        """Whether the answer is right under each of `READINGS`."""
        ours = self.ours.score or 0.0
        strict = 0.0 if self.ours.rule in INFERRED else ours
        stored = self.prediction == f"({self.accepted})"
        return strict, ours, self.capital, self.rule == self.accepted, stored


READINGS = ("strict", "gapbench", "first capital", "BLINK's rule alone", "BLINK's rule, then GPT-3.5")


def stored_outputs(repository: str) -> tuple[str, dict[tuple[str, str], list[Row]]]:
    """The commit at HEAD, and the rows of the validation split for each (model, task).

    Folders with a star, a second try of two models with concatenated images, are left out. Raises SystemExit if
    `repository` is no clone of BLINK's.
    """
    git = ("git", "-C", repository)
    rows = {}
    with subprocess.Popen((*git, "archive", "HEAD", FOLDER), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as archive:
        try:
            with tarfile.open(fileobj=archive.stdout, mode="r|") as files:
                for file in files:
                    path, data = PurePosixPath(file.name), files.extractfile(file)
                    if path.suffix == ".json" and "*" not in path.parent.name and data is not None:
                        rows[path.parent.name, path.stem.replace(" ", "_")] = json.load(data)["val"]
        except tarfile.ReadError:
            raise SystemExit(f"{repository} is no clone of zeyofu/BLINK_Benchmark: it has no {FOLDER}.") from None
    commit = subprocess.run((*git, "rev-parse", "--short", "HEAD"), capture_output=True, text=True, check=True)
    return commit.stdout.strip(), rows


def counts(rows: Iterable[Row]) -> dict[str, tuple[str, ...]]:
    """The options of each question of Counting: the number that most answers put after the letter, "" if none does."""
    said: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    for row in rows:
        for letter, number in _COUNT.findall(row["full_prediction"]):
            said[row["idx"]][letter][number] += 1
    return {
        sample: tuple(max(by[letter], key=by[letter].__getitem__, default="") for letter in "ABCD")
        for sample, by in said.items()
    }


def published_rule(output: str, letters: str) -> str:
    """The letter that BLINK's rule reads, without GPT-3.5; empty if it reads none. Follows eval/test_benchmark.py."""
    if len(output) == 1 and output in LETTERS:
        return output
    if re.fullmatch(f"\\([{LETTERS}]\\)", output):
        return output[1]
    labels = {f"({letter})" for letter in letters}
    anywhere, last = (labels.intersection(text.split()) for text in (output, output.split("\n\n")[-1]))
    if not anywhere or 1 not in (len(anywhere), len(last)):
        return ""
    return (last if len(last) == 1 else anywhere).pop()[1]


def read(outputs: Mapping[tuple[str, str], Sequence[Row]]) -> Iterator[Reading]:
    """Read all outputs by all rules."""
    counted = counts(row for (_, task), rows in outputs.items() if task == "Counting" for row in rows)
    for (model, task), rows in outputs.items():
        for row in rows:
            options = counted.get(row["idx"], OPTIONS[task])
            output, accepted = row["full_prediction"], row["answer"].strip("()")
            yield Reading(
                model, task, row["idx"], output, accepted,
                ours=score(output, [accepted], "letter", options),
                rule=published_rule(output, letters_of(task)),
                prediction=row["prediction"],
                capital=OFFICIAL["mme-realworld"].score(output, [accepted], options) or 0.0,
            )  # fmt: skip


def conflicts(readings: Iterable[Reading]) -> list[Reading]:
    """The outputs in which gapbench and BLINK's rule read different letters."""
    return [reading for reading in readings if reading.case.endswith("conflict")]


def accuracies(readings: Iterable[Reading]) -> dict[str, list[float]]:
    """For each model the accuracy in percent under each of `READINGS`: the mean over tasks."""
    right: dict[str, dict[str, list[tuple[float, ...]]]] = defaultdict(lambda: defaultdict(list))
    for reading in readings:
        right[reading.model][reading.task].append(reading.right)
    return {
        model: [
            100 * fmean(fmean(answer[index] for answer in answers) for answers in tasks.values())
            for index in range(len(READINGS))
        ]
        for model, tasks in right.items()
    }


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; all columns but the first are numbers."""
    lines = (head, ["---", *["---:"] * (len(head) - 1)], *rows)
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def report(commit: str, readings: Sequence[Reading]) -> str:
    """All tables, as Markdown."""
    both = conflicts(readings)
    unparsed = sum(not reading.ours.parsed for reading in readings)
    means = sorted(accuracies(readings).items(), key=lambda entry: -entry[1][-1])
    tasks = Counter(reading.task for reading in both)
    return "\n\n".join((
        f"zeyofu/BLINK_Benchmark @ {commit}: {len(readings)} outputs. gapbench reads {len(readings) - unparsed} "
        f"and leaves {unparsed} unparsed.",
        table(("rule of gapbench", "outputs"), Counter(reading.ours.rule for reading in readings).most_common()),
        table(("gapbench; the authors", "outputs"), Counter(reading.case for reading in readings).most_common()),
        f"{len(both)} conflicts:",
        table(("task", "conflicts"), ((task, tasks[task]) for task in OPTIONS)),
        "Accuracy in percent, as the mean over the fourteen tasks:",
        table(("model", *READINGS), ((model, *(f"{value:.1f}" for value in values)) for model, values in means)),
    ))  # fmt: skip


def escaped(text: str) -> str:
    """A text as code in a cell of a table: a JSON string in which bars and backticks are escaped, too."""
    return "`" + json.dumps(text).replace("|", r"\u007c").replace("`", r"\u0060") + "`"


def sample_of(readings: Iterable[Reading], number: int) -> str:
    """A fixed random sample of the conflicts, a line each, as a Markdown table."""
    found = conflicts(readings)
    chosen = sorted(random.Random(0).sample(range(len(found)), min(number, len(found))))
    return table(
        ("model", "sample", "end of the output", "theirs", "ours", "rule"),
        (
            (one.model, one.sample.removeprefix("val_"), escaped(one.output[-160:]), one.rule,
             one.ours.parsed, one.ours.rule)
            for one in map(found.__getitem__, chosen)
        ),
    )  # fmt: skip


def main() -> None:
    """Command line of the script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("repository", nargs="?", default=os.environ.get("GAPBENCH_BLINK"), help="a clone or git folder")
    parser.add_argument("--conflicts", type=int, metavar="N", help="print N conflicts instead")
    arguments = parser.parse_args()
    if not arguments.repository:
        print("skipped: no clone of zeyofu/BLINK_Benchmark; give its path, or set GAPBENCH_BLINK to it")
        return
    commit, outputs = stored_outputs(arguments.repository)
    readings = list(read(outputs))
    print(sample_of(readings, arguments.conflicts) if arguments.conflicts else report(commit, readings))


if __name__ == "__main__":
    main()
