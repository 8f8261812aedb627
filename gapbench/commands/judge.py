"""One pass over a run: asks the judge about every undecided answer that has no verdict yet.

    judge_run(Path("runs/glance"), Judge("http://localhost:8000/v1", "openai/gpt-oss-120b"), quiet=False)

Verdicts are appended to `judgements.jsonl` as they come, so a kill loses at most the line being written. The judge is
asked once for all records with the same question, references and answer, across sessions too. If it fails on them, it
is asked again only with `retry_failed`, as in `gapbench.measure`.

Limits: one process per run at a time. The undecided records are held in memory.
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


def judge_run(folder: Path, judge: Judge, quiet: bool = True, retry_failed: bool = False) -> None:
    """Get the verdicts that a run lacks, and enter the judge into its manifest. Does nothing if no verdict is missing.

    Raises RunError if the run has verdicts of another judge, SettingError and ModelError as `connect` does, and
    ModelError if the judge stops answering. Its verdicts so far stay in the run.
    """
    pending, verdicts = _pending_and_verdicts(folder, retry_failed)
    if not pending:
        return
    connection = connect(judge)
    _enter(folder, connection.identity)
    total = sum(map(len, pending.values()))
    with (
        records.Writer(folder, judgements.FILE) as writer,
        progress(total, 0, f"judge {judge.model}", quiet, unit="verdicts") as advance,
        remember_interrupt() as check_interrupt,
    ):

        def write(same_pair: Sequence[Mapping[str, Any]], line: Mapping[str, Any]) -> None:
            for number, record in enumerate(same_pair):
                key = dict(zip(judgements.FIELDS, records.key(record), strict=False))
                writer.write({**key, **line, "seconds": None if number else line["seconds"]})
                advance(line["error"])

        for pair_hash in pending.keys() & verdicts.keys():
            write(pending.pop(pair_hash), {**verdicts[pair_hash], "seconds": None})
        prompts = ((pair_hash, prompt(same_pair[0])) for pair_hash, same_pair in pending.items())
        with closing(connection.ask(prompts)) as replies:
            identity = {
                name: connection.identity[name] for name in ("model", "served_as", "prompt_sha256", "temperature")
            }
            for pair_hash, judgement in replies:
                line = {
                    "pair": pair_hash,
                    "verdict": judgement.verdict,
                    "text": judgement.text,
                    "error": judgement.error,
                    "seconds": judgement.seconds,
                    "judge": {**identity, "served_as": judgement.model or identity["served_as"]},
                }
                write(pending[pair_hash], line)
                check_interrupt()


def _pending_and_verdicts(
    folder: Path, retry_failed: bool
) -> tuple[dict[str, list[dict[str, Any]]], dict[str, dict[str, Any]]]:
    """The undecided records that lack a verdict, and the verdicts that the run has, both by the hash of their pair."""
    lines = judgements.read(folder)
    pending: dict[str, list[dict[str, Any]]] = {}
    for record in filter(judgements.undecided, records.read(folder)):
        line = judgements.verdict_on(record, lines)
        if line is None or (retry_failed and line["verdict"] is None):
            pending.setdefault(pair(record), []).append(record)
    fields = judgements.FIELDS[4:]
    verdicts = {line["pair"]: {name: line[name] for name in fields} for line in lines.values() if line["verdict"]}
    return pending, verdicts


def _enter(folder: Path, identity: Mapping[str, Any]) -> None:
    manifest = read_json(folder / "run.json")
    earlier = manifest.get("judge")
    if earlier == identity:
        return
    if judgements.has_verdicts(folder):
        raise RunError(
            f"{folder}: this run has verdicts of {earlier}, and the judge is now {dict(identity)}. Verdicts of two "
            "judges must not be mixed. "
            f"{judgements.CHANGE_JUDGE_HINT}"
        )
    manifest["judge"] = dict(identity)
    write_json(folder / "run.json", {**manifest, "fingerprint": fingerprint_of(manifest)})
