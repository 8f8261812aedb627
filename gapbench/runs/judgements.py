"""`judgements.jsonl`: the judge's verdicts, one a line, and their effect on the records.

    verdicts = read(Path("runs/glance"))           # {("signs", "test-7", "full", 0): {"verdict": "yes", ...}, ...}
    judged = [with_verdict(record, verdicts) for record in records.read(Path("runs/glance"))]
    frame = read_frame(Path("runs/glance"))        # the same as a table

A line has these keys:

- `benchmark`, `sample`, `view`, `repeat`: the key of the record;
- `pair`: a hash of the question, references and answer that were judged;
- `verdict`: yes, no or cannot tell; null if the judge failed, and then `error` says why;
- `text`: the judge's reply, unchanged;
- `seconds`: the time of the reply; null if the verdict is that of another line with the same `pair`;
- `judge`: what identifies the judge.

The last line of a key counts. Lines are appended and a torn last line is skipped, as in `records.jsonl`.

Limits: a verdict applies only to the answer that was judged. If the record's answer has changed since, so has its
`pair`, and the verdict is ignored.
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
from gapbench.scoring.thoughts import split

if TYPE_CHECKING:
    import pandas as pd

FILE = "judgements.jsonl"
FIELDS = ("benchmark", "sample", "view", "repeat", "pair", "verdict", "text", "error", "seconds", "judge")
RULE = "judge"
"""The `rule` of a record whose outcome the judge decided."""
EMPTY_ANSWER_RULES = frozenset({"empty", "thought-cut-off", "truncated-thinking"})
"""The `rule` of records without an answer to read. They are unparsed, and the judge is not asked. The last name is
that of older runs."""
CHANGE_JUDGE_HINT = (
    f"To use another judge, copy the run's folder without {FILE} and continue the copy: its answers are kept."
)

Verdicts = Mapping[records.RecordKey, Mapping[str, Any]]


def read(folder: Path) -> dict[records.RecordKey, dict[str, Any]]:
    """The last line of each key; empty if there is no file. Raises RunError for a damaged line."""
    path = folder / FILE
    return {records.key(line): line for line in records.read_lines(path, FIELDS)} if path.exists() else {}


def read_frame(folder: Path) -> pd.DataFrame:
    """The records, with the judge's verdicts applied, as a table (`gapbench.runs.records.frame`)."""
    verdicts = read(folder)
    return records.frame(with_verdict(record, verdicts) for record in records.read(folder))


def has_verdicts(folder: Path) -> bool:
    """Whether a run has verdicts. If it has, its judge must not change."""
    path = folder / FILE
    return path.exists() and path.stat().st_size > 0


def undecided(record: Mapping[str, Any]) -> bool:
    """Whether a record has an answer that no rule could read."""
    return record["outcome"] == "unparsed" and record["rule"] not in EMPTY_ANSWER_RULES


def verdict_on(record: Mapping[str, Any], verdicts: Verdicts) -> Mapping[str, Any] | None:
    """The judge's line on this answer of an undecided record; None if there is none."""
    line = verdicts.get(records.key(record))
    return line if line is not None and line["pair"] == pair(record) else None


def with_verdict(record: dict[str, Any], verdicts: Verdicts) -> dict[str, Any]:
    """The record after its verdict; `record` itself if it has none."""
    line = verdict_on(record, verdicts) if undecided(record) else None
    if line is None:
        return record
    judge = f"the judge {str(line['judge'].get('model'))[:80]}"
    before = f"no rule decided ({record['rule']}: {record['reason']})"
    match line["verdict"]:
        case "yes":
            parsed = record["answers"][0] if len(set(record["answers"])) == 1 else None
            changes = {"outcome": "right", "score": 1.0, "rule": RULE, "parsed": parsed}
            reason = f"{judge} said yes; {before}"
        case "no":
            changes = {"outcome": "wrong", "score": 0.0, "rule": RULE}
            reason = f"{judge} said no; {before}"
        case "cannot tell":
            changes = {}
            reason = f"{judge} cannot tell; {record['reason']}"
        case _:
            changes = {"outcome": "judge_failed"}
            reason = f"{judge} gave no verdict: {line['error'][:200]}; {record['reason']}"
    return {**record, **changes, "reason": reason}


def verdict_counts(all_records: Iterable[Mapping[str, Any]], verdicts: Verdicts) -> dict[str, int]:
    """The number of undecided records by verdict: `yes`, `no`, `cannot tell`, `failed`, and `waiting` for the judge."""
    counts = Counter({"yes": 0, "no": 0, "cannot tell": 0, "failed": 0, "waiting": 0})
    for record in all_records:
        if undecided(record):
            line = verdict_on(record, verdicts)
            counts["waiting" if line is None else str(line["verdict"] or "failed")] += 1
    return dict(counts)


def pair(record: Mapping[str, Any]) -> str:
    """A hash of what the judge reads: question, options, references, and the answer without its thought."""
    parts = [record["question"], list(record["options"]), references_of(record), answer_text(record)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def answer_text(record: Mapping[str, Any]) -> str:
    """The output without its thought, as rules read it too."""
    return split(record["output"]).answer.strip()


def lettered_options(record: Mapping[str, Any]) -> dict[str, str]:
    """The options by the letters that prompts give them (`gapbench.views.prompts`)."""
    return dict(zip(string.ascii_uppercase, record["options"], strict=False))


def references_of(record: Mapping[str, Any]) -> list[str]:
    """Each accepted answer once; a letter is followed by its option."""
    options = lettered_options(record) if record["answer_type"] == "letter" else {}
    return [
        f"{answer}. {options[answer]}" if answer in options else answer for answer in dict.fromkeys(record["answers"])
    ]
