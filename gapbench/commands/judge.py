"""One pass over a run: asks the judge about every undecided answer that has no verdict yet.

    judge_run(Path("runs/glance"), Judge("http://localhost:8000/v1", "openai/gpt-oss-120b"), quiet=False)

Verdicts are appended to `judgements.jsonl` as they come, so a kill loses at most the line being written. The judge is
asked once for all records with the same question, references and answer, across sessions too. If it fails on them, it
is asked again only with `retry_failed`, as in `gapbench.measure`.

Limits: the undecided records are held in memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from gapbench.judging import Judge
from gapbench.judging.connection import Judgement, connect
from gapbench.judging.prompt import prompt
from gapbench.runs import judgements, records
from gapbench.runs.judgements import pair
from gapbench.runs.lock import hold
from gapbench.runs.manifest import FILE, Difference, mixed, read_manifest, write_manifest
from gapbench.runs.session import run_loop
from gapbench.util.progress import progress


def judge_run(folder: Path, judge: Judge, quiet: bool = True, retry_failed: bool = False) -> None:
    """Get the verdicts that a run lacks, and enter the judge into its manifest. Does nothing if no verdict is missing.

    Raises RunError if another process writes the run or if it has verdicts of another judge, SettingError and
    ModelError as `connect` does, and ModelError if the judge stops answering. Its verdicts so far stay in the run.
    """
    with hold(folder, f"judge {judge.model}"):
        add_verdicts(folder, judge, quiet, retry_failed)


def add_verdicts(folder: Path, judge: Judge, quiet: bool, retry_failed: bool) -> None:
    """`judge_run` for a caller that holds the run's lock."""
    pending, verdicts = _pending_and_verdicts(folder, retry_failed)
    if not pending:
        return
    connection = connect(judge)
    _enter(folder, connection.identity)
    total = len(pending)
    with records.Writer(folder, judgements.FILE) as writer:

        def write(pair_hash: str, line: Mapping[str, Any]) -> None:
            for number, record in enumerate(pending.pop(pair_hash)):
                key = dict(zip(judgements.FIELDS, records.key(record), strict=False))
                writer.write({**key, **line, "seconds": None if number else line["seconds"]})

        for pair_hash in pending.keys() & verdicts.keys():
            write(pair_hash, {**verdicts[pair_hash], "seconds": None})
        identity = {name: connection.identity[name] for name in ("model", "served_as", "prompt_sha256", "temperature")}

        def write_judgement(pair_hash: str, judgement: Judgement) -> tuple[str, int]:
            reply = judgement.reply
            line = {
                "pair": pair_hash,
                "verdict": judgement.verdict,
                "text": reply.text,
                "error": reply.error,
                "seconds": reply.seconds,
                "judge": {**identity, "served_as": reply.model or identity["served_as"]},
            }
            write(pair_hash, line)
            return reply.error, 0

        prompts = [(pair_hash, prompt(same_pair[0])) for pair_hash, same_pair in pending.items()]
        bar = progress(total, total - len(prompts), f"judge {judge.model}", quiet, unit="verdicts")
        with closing(connection.ask(prompts)) as judged:
            run_loop(judged, write_judgement, bar)


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
    manifest = read_manifest(folder / FILE)
    if manifest.judge == identity:
        return
    if judgements.has_verdicts(folder):
        refusal = mixed(folder, Difference("judge", manifest.judge, dict(identity)), "Verdicts")
        raise type(refusal)(f"{refusal} {judgements.CHANGE_JUDGE_HINT}")
    write_manifest(folder / FILE, manifest.model_copy(update={"judge": dict(identity)}))
