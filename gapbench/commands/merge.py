"""Merges runs into one: the shards of many workers, or runs of one model on different benchmarks or views.

    gapbench.merge(["runs/a", "runs/b"], out="runs/whole")      # gapbench merge runs/a runs/b --out runs/whole

The summary of merged shards is exactly that of an undivided run. All runs must be compatible
(`gapbench.runs.manifest`), and no answer may be missing. The merged run is written into a hidden folder beside `out`
and renamed at the end. A kill therefore leaves no half-written run, and the same command starts over. A merge of some
shards (`partial`) is itself a shard with several numbers. Its manifest says so, and it can be merged with the other
shards.

Limits: all answers are held in memory, as for the report. Repairs are added up, so a repair that two workers both made
counts twice.
"""

from __future__ import annotations

import glob
import json
import secrets
import shlex
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import reduce
from itertools import combinations
from pathlib import Path
from typing import Any

from gapbench.commands.report import load_run, write_results
from gapbench.errors import RunError, SettingError
from gapbench.runs import judgements, records
from gapbench.runs.lock import HOLDER, LOCK, hold
from gapbench.runs.manifest import (
    FILE,
    OF_SAMPLES,
    Difference,
    Manifest,
    differences,
    joined,
    make_manifest,
    read_manifest,
    warn_if_models_differ,
    write_manifest,
)
from gapbench.runs.run import Run
from gapbench.runs.shards import counts_of, ranges, shard_label
from gapbench.util.text import in_words, listed

RUN_FILES = frozenset(
    {records.FILE, judgements.FILE, FILE, LOCK, HOLDER, "summary.json", "report.html", "report.md", "thumbnails"}
)
"""The files of a run folder. A folder that holds anything else is not replaced."""


@dataclass(frozen=True)
class _Part:
    """A run to merge: its folder, its manifest, and its number of answers to each task."""

    folder: Path
    manifest: Manifest
    answers: Counter[str]

    @property
    def label(self) -> str:
        """Its shard, such as `2/8`; empty for a run that is no shard."""
        return shard_label(self.manifest.shard)


def merge(runs: Sequence[str | Path], out: str | Path, *, partial: bool = False, command: str = "") -> Run:
    """Merge `runs` into the folder `out`, and return the merged run. The folders of `runs` do not change.

    An earlier merge in `out` is replaced if the new one has all of its answers. Raises RunError for a folder that is no
    run, for a shard beside a run that is none, for incompatible manifests or contradictory answers, and, without
    `partial`, for missing answers or verdicts.
    """
    folder, inputs = Path(out).resolve(), list({path.resolve(): path for path in map(Path, runs)}.values())
    if not inputs:
        raise SettingError(
            "merge: no run was named. Expected the folders of all shards of one run, or of several runs."
        )
    if folder in {path.resolve() for path in inputs}:
        raise SettingError(f"--out {out}: it is one of the runs to merge. Choose another folder.")
    lines: dict[records.RecordKey, tuple[bytes, Path]] = {}
    parts = [_read(path, lines) for path in inputs]
    of_shards = parts[0].manifest.shard is not None  # all shards are like the first; other runs may share any task
    for first, second in ((parts[0], part) for part in parts[1:]) if of_shards else combinations(parts, 2):
        _refuse_difference(first, second)
    parts.sort(key=lambda part: sorted(map(int, (part.manifest.shard or {"parts": {}})["parts"])))
    manifest = reduce(joined, (part.manifest for part in parts))
    missing = _missing_text(parts, manifest, Counter(name for name, *_ in lines))
    if missing and not partial:
        raise RunError(f"merge: {missing} Let those workers finish, or merge what is there with --partial.")
    verdicts = _verdicts(inputs)
    if manifest.judge and not partial:
        merged = (json.loads(line) for line, _ in lines.values())
        if waiting := judgements.verdict_counts(merged, verdicts)["waiting"]:
            raise RunError(
                f"merge: {waiting:,} answers still wait for the judge's verdict. Run those workers' commands again, or "
                "merge what is there with --partial."
            )
    _refuse_loss(folder, lines, verdicts)
    command = command or f"gapbench merge {shlex.join(map(str, inputs))} --out {out}"
    with hold(folder, command) if folder.exists() else nullcontext(), _draft(folder) as draft:
        _write_lines(draft, records.FILE, (json.loads(lines[key][0]) for key in sorted(lines)))
        if verdicts:
            _write_lines(draft, judgements.FILE, (verdicts[key] for key in sorted(verdicts)))
        shard = manifest.shard if missing else None
        write_manifest(draft / FILE, make_manifest({**manifest.json_object(), "shard": shard, "merged_by": command}))
        _copy_thumbnails(inputs, draft / "thumbnails")
        write_results(draft)
        _swap(draft, folder)
    return load_run(out)


def _write_lines(folder: Path, file: str, rows: Iterator[Mapping[str, Any]]) -> None:
    with records.Writer(folder, file) as writer:
        for row in rows:
            writer.write(row)


def _read(folder: Path, lines: dict[records.RecordKey, tuple[bytes, Path]]) -> _Part:
    """Add a run's records to `lines`. Raises RunError if a record contradicts one of another run."""
    manifest = read_manifest(folder / FILE)
    for session in manifest.sessions:  # sessions of an earlier version do not say their shard
        if manifest.shard and not session.shard:
            session.shard = shard_label(manifest.shard)
    answers: Counter[str] = Counter()
    has_records = (folder / records.FILE).exists()  # a worker may be killed before its first answer
    for record in records.read(folder) if has_records else ():
        key, line = records.key(record), json.dumps(record).encode()
        answers[key[0]] += 1
        earlier_line, earlier_folder = lines.get(key, (line, folder))
        if earlier_line != line and (field := _contradiction(json.loads(earlier_line), record)):
            task, sample, view, repeat = key
            raise RunError(
                f"merge: {task} sample {sample!r}, view {view}, repeat {repeat} is answered in {earlier_folder} "
                f"and in {folder}, and {field} differs: {json.loads(earlier_line)[field]!r} and {record[field]!r}. "
                "Runs must not overlap. Leave out the run that does not belong to this set."
            )
        lines[key] = min((earlier_line, earlier_folder), (line, folder), key=lambda entry: entry[0])
    return _Part(folder, manifest, answers)


def _verdicts(inputs: Sequence[Path]) -> dict[records.RecordKey, dict[str, Any]]:
    """The judge's lines of all shards, by record key.

    If two shards have a line for the same key, a line with a verdict wins. The order of the runs decides nothing.
    """
    lines: dict[records.RecordKey, dict[str, Any]] = {}
    for folder in inputs:
        for key, line in judgements.read(folder).items():
            lines[key] = min(lines.get(key, line), line, key=lambda entry: (not entry["verdict"], json.dumps(entry)))
    return lines


def _contradiction(first: Mapping[str, Any], second: Mapping[str, Any]) -> str:
    """The first field in which two records with the same key differ, apart from `seconds`; empty if none differs."""
    return next((k for k in (*first, *second) if k != "seconds" and first.get(k) != second.get(k)), "")


def _refuse_difference(first: _Part, second: _Part) -> None:
    """Raise RunError unless the runs may be merged: all shards of one run, or compatible runs that are no shards."""
    manifests = first.manifest, second.manifest
    if (manifests[0].shard is None) != (manifests[1].shard is None):
        whole = first if first.manifest.shard is None else second
        raise RunError(
            f"{whole.folder}: not a shard, because it was measured without --shard, and another of these runs is one. "
            "Merge the shards first, and then the whole runs."
        )
    found = list(differences(*manifests))
    if manifests[0].shard and manifests[1].shard:
        of = [manifest.shard["of"] for manifest in manifests if manifest.shard]
        if of[0] != of[1]:
            found.append(Difference("--shard", first.label, second.label))
        views = [{name: sorted(task.views) for name, task in manifest.tasks.items()} for manifest in manifests]
        if views[0] != views[1]:
            found.append(Difference("--views", *views))
    for name, task in manifests[1].tasks.items():
        if (other := manifests[0].task_name(task.benchmark or "", task.parameters or {})) not in (None, name):
            found.append(Difference(f"the name of {task.benchmark} with equal parameters", other, name))
    for name in manifests[0].tasks.keys() & manifests[1].tasks.keys():
        for field in ("samples", "repeats", *OF_SAMPLES):
            values = [getattr(manifest.tasks[name], field) for manifest in manifests]
            if values[0] != values[1]:
                found.append(Difference(f"{name} {field}", *values))
    if found:
        words, before, now = found[0]
        raise RunError(
            f"merge: {words} is {in_words(before)} in {first.folder} and {in_words(now)} in {second.folder}. Their "
            "answers must not be mixed. Merge only runs of one model with the same settings."
        )
    warn_if_models_differ(*manifests)


def _missing_text(parts: Sequence[_Part], merged: Manifest, answers: Counter[str]) -> str:
    """The missing shards with their number of samples, and the missing answers of the others; empty if complete.

    `merged` is the manifest of the merged run, and `answers` its number of answers to each task.
    """
    texts = []
    total = sum(task.samples for task in merged.tasks.values())
    if merged.shard:
        of = merged.shard["of"]
        absent = [number for number in range(1, of + 1) if str(number) not in merged.shard["parts"]]
        missing = total - sum(count["samples"] for count in counts_of(merged.shard))
        if missing and not absent:
            raise RunError(
                f"merge: the {of} shards have {abs(missing):,} sample(s) {'fewer' if missing > 0 else 'more'} than the "
                "undivided run. Different versions of gapbench divided it. Measure all shards with one version."
            )
        if absent:
            plural = "s" * (len(absent) > 1)
            texts.append(f"shard{plural} {ranges(absent)} of {of} missing, with {missing:,} of {total:,} samples")
    if any(answers[name] < task.answers for name, task in merged.tasks.items()):
        for part in parts:
            if (lacking := part.manifest.answers - part.answers.total()) > 0:
                label = f" (shard {part.label})" if part.label else ""
                texts.append(f"{part.folder}{label} lacks {lacking:,} of {part.manifest.answers:,} answers")
    return f"{'; '.join(texts)}." if texts else ""


def _copy_thumbnails(inputs: Sequence[Path], target: Path) -> None:
    target.mkdir()
    for folder in inputs:
        for image in sorted((folder / "thumbnails").glob("*.jpg")):
            if not (target / image.name).exists():
                shutil.copyfile(image, target / image.name)


def _refuse_loss(
    out: Path,
    lines: Mapping[records.RecordKey, tuple[bytes, Path]],
    verdicts: Mapping[records.RecordKey, Mapping[str, Any]],
) -> None:
    """Raise RunError unless `out` holds at most a lock, or a run whose answers and verdicts are all merged."""
    if not out.exists() or (out.is_dir() and {path.name for path in out.iterdir()} <= {LOCK, HOLDER}):
        return
    foreign = (
        sorted(p.name for p in out.iterdir() if p.name not in RUN_FILES and not p.name.endswith(".draft"))
        if out.is_dir()
        else [out.name]
    )
    if foreign or not (out / records.FILE).is_file():
        raise RunError(
            f"--out {out}: it holds {listed(foreign, 12) or 'no run'}, which a merge would delete. Choose another."
        )
    for record in records.read(out):
        line, _ = lines.get(records.key(record), (b"", out))
        if not line or _contradiction(json.loads(line), record):
            raise RunError(
                f"--out {out}: its answer to {record['benchmark']} sample {record['sample']!r} is not in the runs to "
                "merge and would be lost. Choose another folder."
            )
    if lost := judgements.read(out).keys() - verdicts.keys():
        raise RunError(
            f"--out {out}: it has {len(lost):,} verdicts of a judge that are not in the runs to merge and would be "
            "lost. Choose another folder."
        )


@contextmanager
def _draft(out: Path) -> Iterator[Path]:
    """A hidden folder beside `out`, removed at the end.

    Folders that killed merges left behind are removed too. Those that another merge is using stay.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    for old in out.parent.glob(f".{glob.escape(out.name)}.draft-*"):
        try:
            with hold(old, "gapbench merge"):
                shutil.rmtree(old, ignore_errors=True)
        except RunError:  # another merge is writing it
            continue
    draft = out.with_name(f".{out.name}.draft-{secrets.token_hex(4)}")
    with hold(draft, "gapbench merge"):
        try:
            yield draft
        finally:
            shutil.rmtree(draft, ignore_errors=True)


def _swap(draft: Path, out: Path) -> None:
    """Put the draft in the place of `out`. The old folder is deleted last."""
    if out.exists():
        old = draft.with_name(draft.name + "-old")
        out.rename(old)
        draft.rename(out)
        shutil.rmtree(old, ignore_errors=True)
    else:
        draft.rename(out)
    for name in (HOLDER, LOCK):  # the draft's own
        (out / name).unlink(missing_ok=True)
