"""One pass over a run: the judge is asked about every answer that no rule decided and that has no verdict yet.

    judge_run(Path("runs/glance"), Judge("http://localhost:8000/v1", "openai/gpt-oss-120b"), quiet=False)

Verdicts are appended to `judgements.jsonl` as they come, so that a kill loses at most the line being written. The same
question with the same reference and the same answer is asked once: all its records get the one verdict, those of a
later session too. What the judge failed on is asked again with `retry_failed` alone, as in `gapbench.measure`.

Limits: one process per run at a time; the undecided records are held in memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from gapbench.errors import RunError
from gapbench.judging import Judge
from gapbench.judging.connection import connect
from gapbench.judging.prompt import prompt
from gapbench.runs import judgements, records
from gapbench.runs.judgements import pair
from gapbench.runs.manifest import fingerprint_of
from gapbench.runs.run import read_json
from gapbench.util.files import write_json
from gapbench.util.interrupt import remember_interrupt
from gapbench.util.progress import progress

Rows = Sequence[Mapping[str, Any]]


def judge_run(folder: Path, judge: Judge, quiet: bool = True, retry_failed: bool = False) -> None:
    """Get the verdicts that a run lacks, and enter the judge into its `run.json`; asks nothing where none is lacking.

    Raises RunError where another judge gave verdicts, SettingError and ModelError as `connect` does, and ModelError
    where the judge stops answering; what it said until then is kept.
    """
    todo, known = _lacking(folder, retry_failed)
    if not todo:
        return
    met = connect(judge)
    _enter(folder, met.identity)
    total = sum(map(len, todo.values()))
    with (
        records.Writer(folder, judgements.FILE) as writer,
        progress(total, 0, f"judge {judge.model}", quiet, unit="verdicts") as advance,
        remember_interrupt() as check_interrupt,
    ):

        def write(rows: Rows, line: Mapping[str, Any]) -> None:
            for number, row in enumerate(rows):
                where = dict(zip(judgements.FIELDS, records.key(row), strict=False))
                writer.write({**where, **line, "seconds": None if number else line["seconds"]})
                advance(line["error"])

        for which in todo.keys() & known.keys():
            write(todo.pop(which), {**known[which], "seconds": None})
        with closing(met.ask((which, prompt(rows[0])) for which, rows in todo.items())) as answers:
            for which, found in answers:
                who = {name: met.identity[name] for name in ("model", "served_as", "prompt_sha256", "temperature")}
                line = {
                    "pair": which,
                    "verdict": found.verdict,
                    "text": found.text,
                    "error": found.error,
                    "seconds": found.seconds,
                    "judge": {**who, "served_as": found.model or who["served_as"]},
                }
                write(todo[which], line)
                check_interrupt()


def _lacking(folder: Path, retry_failed: bool) -> tuple[dict[str, list[dict[str, Any]]], dict[str, Any]]:
    """Undecided records without a verdict, by what is to be judged; and what was judged already, likewise."""
    found = judgements.read(folder)
    todo: dict[str, list[dict[str, Any]]] = {}
    for row in filter(judgements.undecided, records.read(folder)):
        line = judgements.verdict_on(row, found)
        if line is None or (retry_failed and line["verdict"] is None):
            todo.setdefault(pair(row), []).append(row)
    said = judgements.FIELDS[4:]
    return todo, {line["pair"]: {name: line[name] for name in said} for line in found.values() if line["verdict"]}


def _enter(folder: Path, identity: Mapping[str, Any]) -> None:
    manifest = read_json(folder / "run.json")
    known = manifest.get("judge")
    if known == identity:
        return
    if judgements.begun(folder):
        raise RunError(
            f"{folder}: it was judged by {known}, and now by {dict(identity)}. Verdicts of both must not be mixed. "
            f"{judgements.ANOTHER}"
        )
    manifest["judge"] = dict(identity)
    write_json(folder / "run.json", {**manifest, "fingerprint": fingerprint_of(manifest)})
