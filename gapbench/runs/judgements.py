"""`judgements.jsonl`: one line per verdict, beside the records, and what a record means with it.

    found = read(Path("runs/glance"))              # {("signs", "test-7", "full", 0): {"verdict": "yes", ...}, ...}
    rows = [with_verdict(row, found) for row in records.read(Path("runs/glance"))]
    frame = read_frame(Path("runs/glance"))

A line holds the record's key (`benchmark`, `sample`, `view`, `repeat`); `pair`, a hash of the question, references and
answer that were judged; `verdict` (null where the judge failed, `error` says why); `text`, the judge's reply as it was;
`seconds`, null where the same question and answer were judged before; and `judge`, who it was. The last line of a key
counts. Like `records.jsonl` it is appended to, and a torn last line is passed over.

Limits: a verdict about another answer than the record's (`pair` differs) is none.
"""

from __future__ import annotations

import hashlib
import json
import string
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gapbench.runs import records
from gapbench.scoring.clean import answer_part

if TYPE_CHECKING:
    import pandas as pd

FILE = "judgements.jsonl"
FIELDS = ("benchmark", "sample", "view", "repeat", "pair", "verdict", "text", "error", "seconds", "judge")
RULE = "judge"
"""The rule of a record that the judge decided."""
NOTHING_TO_READ = frozenset({"empty", "truncated-thinking"})
"""Rules by which an answer is unparsed because there is none: not even a judge could read it."""
ANOTHER = f"To have another judge, copy the run's folder without {FILE} and continue the copy: its answers are kept."

Verdicts = Mapping[records.RecordKey, Mapping[str, Any]]


def read(folder: Path) -> dict[records.RecordKey, dict[str, Any]]:
    """The last line of each key; empty without a file. Raises RunError for a damaged line."""
    path = folder / FILE
    return {records.key(row): row for row in records.read_lines(path, FIELDS)} if path.exists() else {}


def read_frame(folder: Path) -> pd.DataFrame:
    """One row per record, with its verdict where it has one; as `gapbench.runs.records.read_frame`."""
    found = read(folder)
    return records.frame(with_verdict(row, found) for row in records.read(folder))


def begun(folder: Path) -> bool:
    """Whether a run has any verdict: then its judge must stay who it is."""
    path = folder / FILE
    return path.exists() and path.stat().st_size > 0


def undecided(row: Mapping[str, Any]) -> bool:
    """Whether no rule decided a record's answer, and there is one to judge."""
    return row["outcome"] == "unparsed" and row["rule"] not in NOTHING_TO_READ


def verdict_on(row: Mapping[str, Any], found: Verdicts) -> Mapping[str, Any] | None:
    """The line about this very answer of an undecided record, if there is one."""
    line = found.get(records.key(row))
    return line if line is not None and line["pair"] == pair(row) else None


def with_verdict(row: dict[str, Any], found: Verdicts) -> dict[str, Any]:
    """A record as it is with its verdict; `row` itself where there is none."""
    line = verdict_on(row, found) if undecided(row) else None
    if line is None:
        return row
    who = f"the judge {str(line['judge'].get('model'))[:80]}"
    before = f"no rule decided ({row['rule']}: {row['reason']})"
    match line["verdict"]:
        case "yes":
            said = row["answers"][0] if len(set(row["answers"])) == 1 else None
            changes = {"outcome": "right", "score": 1.0, "rule": RULE, "parsed": said}
            reason = f"{who} said yes; {before}"
        case "no":
            changes = {"outcome": "wrong", "score": 0.0, "rule": RULE}
            reason = f"{who} said no; {before}"
        case "cannot tell":
            changes = {}
            reason = f"{who} cannot tell; {row['reason']}"
        case _:
            changes = {"outcome": "judge_failed"}
            reason = f"{who} gave no verdict: {line['error'][:200]}; {row['reason']}"
    return {**row, **changes, "reason": reason}


def counted(rows: Iterable[Mapping[str, Any]], found: Verdicts) -> dict[str, int]:
    """How many undecided records have each verdict, how many the judge failed on, and how many wait for it."""
    counts = Counter({"yes": 0, "no": 0, "cannot tell": 0, "failed": 0, "waiting": 0})
    for row in rows:
        if undecided(row):
            line = verdict_on(row, found)
            counts["waiting" if line is None else str(line["verdict"] or "failed")] += 1
    return dict(counts)


def pair(row: Mapping[str, Any]) -> str:
    """What a verdict is about: a hash of the question, its options and references, and the answer without thinking."""
    parts = [row["question"], list(row["options"]), references_of(row), answer_text(row)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def answer_text(row: Mapping[str, Any]) -> str:
    """What rules read, too: the output without its thinking."""
    return (answer_part(row["output"]) or "").strip()


def lettered_options(row: Mapping[str, Any]) -> dict[str, str]:
    """Options by letter, as prompts letter them (`gapbench.views.prompts`)."""
    return dict(zip(string.ascii_uppercase, row["options"], strict=False))


def references_of(row: Mapping[str, Any]) -> list[str]:
    """Each accepted answer once; a letter with its option."""
    lettered = lettered_options(row) if row["answer_type"] == "letter" else {}
    return [f"{one}. {lettered[one]}" if one in lettered else one for one in dict.fromkeys(row["answers"])]
