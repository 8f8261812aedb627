"""Merges the shards of many workers into one run, with exactly the summary of an undivided run.

    gapbench.merge(["runs/a", "runs/b"], out="runs/whole")      # gapbench merge runs/a runs/b --out runs/whole

All shards must have the same manifest (`gapbench.runs.manifest`), and no answer may be missing. The merged run is
written into a hidden folder beside `out` and renamed at the end. A kill therefore leaves no half-written run, and the
same command starts over. A merge of some shards (`partial`) is itself a shard with several numbers. Its manifest says
so, and it can be merged with the other shards.

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
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gapbench.commands.report import load_run, write_results
from gapbench.errors import RunError, SettingError
from gapbench.runs import judgements, records
from gapbench.runs.manifest import MAY_DIFFER, differences, prompt_differences, warn_if_models_differ, worst_check
from gapbench.runs.run import Run, read_json
from gapbench.runs.shards import ranges, shard_label
from gapbench.util.files import write_json
from gapbench.util.text import listed

RUN_FILES = frozenset(
    {records.FILE, judgements.FILE, "run.json", "summary.json", "report.html", "report.md", "thumbnails"}
)
"""The files of a run folder. A folder that holds anything else is not replaced."""
WORKER_ENTRIES = MAY_DIFFER | {"command", "versions", "hardware", "shard"}
"""Entries of the manifest in which workers may differ."""


@dataclass(frozen=True)
class _ShardRun:
    """A shard's folder, its manifest, and its number of answers for each benchmark."""

    folder: Path
    manifest: Mapping[str, Any]
    answers: Counter[str]

    @property
    def counts(self) -> Mapping[str, Any]:
        """{shard number: {benchmark: {"samples": ..., "answers": ...}}}: what belongs to the shard."""
        counts: Mapping[str, Any] = self.manifest["shard"]["parts"]
        return counts


def merge(runs: Sequence[str | Path], out: str | Path, *, partial: bool = False, command: str = "") -> Run:
    """Merge the shards `runs` into the folder `out`, and return the merged run. The shards' folders do not change.

    An earlier merge in `out` is replaced if the new one has all of its answers. Raises RunError for a folder that is no
    shard, for shards with different manifests or contradictory answers, and, without `partial`, for missing answers or
    verdicts.
    """
    folder, inputs = Path(out).resolve(), list({path.resolve(): path for path in map(Path, runs)}.values())
    if not inputs:
        raise SettingError("merge: no run was named. Expected the folders of all shards of one run.")
    if folder in {path.resolve() for path in inputs}:
        raise SettingError(f"--out {out}: it is one of the runs to merge. Choose another folder.")
    lines: dict[records.RecordKey, tuple[bytes, Path]] = {}
    shards = [_read(path, lines) for path in inputs]
    for shard in shards[1:]:
        _refuse_difference(shards[0], shard)
    missing = _missing_text(shards, Counter(name for name, *_ in lines))
    if missing and not partial:
        raise RunError(f"merge: {missing} Let those workers finish, or merge what is there with --partial.")
    verdicts = _verdicts(inputs)
    if shards[0].manifest.get("judge") and not partial:
        merged = (json.loads(line) for line, _ in lines.values())
        if waiting := judgements.verdict_counts(merged, verdicts)["waiting"]:
            raise RunError(
                f"merge: {waiting:,} answers still wait for the judge's verdict. Run those workers' commands again, or "
                "merge what is there with --partial."
            )
    _refuse_loss(folder, lines, verdicts)
    command = command or f"gapbench merge {shlex.join(map(str, inputs))} --out {out}"
    with _draft(folder) as draft, records.Writer(draft) as writer:
        for key in sorted(lines):
            writer.write(json.loads(lines[key][0]))
        if verdicts:
            with records.Writer(draft, judgements.FILE) as verdict_writer:
                for key in sorted(verdicts):
                    verdict_writer.write(verdicts[key])
        write_json(draft / "run.json", _merged_manifest(shards, bool(missing), command))
        _copy_thumbnails(inputs, draft / "thumbnails")
        write_results(draft)
        _swap(draft, folder)
    return load_run(out)


def _read(folder: Path, lines: dict[records.RecordKey, tuple[bytes, Path]]) -> _ShardRun:
    """Add a shard's records to `lines`. Raises RunError if a record contradicts one of another shard."""
    manifest = read_json(folder / "run.json")
    if not manifest.get("shard"):
        raise RunError(f"{folder}: not a shard, because it was measured without --shard. Merge only shards of one run.")
    answers: Counter[str] = Counter()
    has_records = (folder / records.FILE).exists()  # a worker may be killed before its first answer
    for record in records.read(folder) if has_records else ():
        key, line = records.key(record), json.dumps(record).encode()
        answers[key[0]] += 1
        earlier_line, earlier_folder = lines.get(key, (line, folder))
        if earlier_line != line and (field := _contradiction(json.loads(earlier_line), record)):
            benchmark, sample, view, repeat = key
            raise RunError(
                f"merge: {benchmark} sample {sample!r}, view {view}, repeat {repeat} is answered in {earlier_folder} "
                f"and in {folder}, and {field} differs: {json.loads(earlier_line)[field]!r} and {record[field]!r}. "
                "Shards must not overlap. Leave out the run that does not belong to this set."
            )
        lines[key] = min((earlier_line, earlier_folder), (line, folder), key=lambda entry: entry[0])
    return _ShardRun(folder, manifest, answers)


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


def _refuse_difference(first: _ShardRun, second: _ShardRun) -> None:
    def refuse(name: str, first_value: Any, second_value: Any) -> RunError:
        return RunError(
            f"merge: {name} is {first_value!r} in {first.folder} and {second_value!r} in {second.folder}. Their "
            "answers must not be mixed. Merge only shards of the same run."
        )

    manifests = first.manifest, second.manifest
    labels = [shard_label(manifest["shard"]) for manifest in manifests]
    if manifests[0]["shard"]["of"] != manifests[1]["shard"]["of"]:
        raise refuse("--shard", *labels)
    undivided = [{**manifest, "shard": None} for manifest in manifests]
    for difference in differences(*undivided):
        raise refuse(*difference)
    for name in ("limit", "repeats"):
        values = [manifest.get(name) for manifest in manifests]
        if values[0] != values[1]:
            raise refuse(f"--{name}", *values)
    for benchmark in manifests[0]["benchmarks"]:
        for name in ("samples", "fingerprint"):
            values = [manifest["benchmarks"][benchmark][name] for manifest in manifests]
            if values[0] != values[1]:
                raise refuse(f"{benchmark} {name}", *values)
    for difference in prompt_differences(*undivided):
        raise refuse(*difference)
    warn_if_models_differ(*manifests)


def _missing_text(shards: Sequence[_ShardRun], merged_answers: Counter[str]) -> str:
    """The missing shards with their number of samples, and the missing answers of the others; empty if complete.

    `merged_answers` is the number of answers in the merged run for each benchmark.
    """
    of, benchmarks = shards[0].manifest["shard"]["of"], shards[0].manifest["benchmarks"]
    counts = {number: by_benchmark for shard in shards for number, by_benchmark in shard.counts.items()}
    absent = [number for number in range(1, of + 1) if str(number) not in counts]
    missing_samples = sum(b["samples"] - sum(c[n]["samples"] for c in counts.values()) for n, b in benchmarks.items())
    if missing_samples and not absent:
        raise RunError(
            f"merge: the {of} shards have {abs(missing_samples):,} sample(s) "
            f"{'fewer' if missing_samples > 0 else 'more'} than the undivided run. Different versions of gapbench "
            "divided it. Measure all shards with one version."
        )
    texts = []
    if absent:
        total = sum(benchmark["samples"] for benchmark in benchmarks.values())
        plural = "s" * (len(absent) > 1)
        texts.append(f"shard{plural} {ranges(absent)} of {of} missing, with {missing_samples:,} of {total:,} samples")
    if any(sum(c[name]["answers"] for c in counts.values()) > merged_answers[name] for name in benchmarks):
        for shard in shards:
            expected = sum(c["answers"] for by_benchmark in shard.counts.values() for c in by_benchmark.values())
            lacking = expected - shard.answers.total()
            if lacking > 0:
                label = shard_label(shard.manifest["shard"])
                texts.append(f"{shard.folder} (shard {label}) lacks {lacking:,} of {expected:,} answers")
    return f"{'; '.join(texts)}." if texts else ""


def _merged_manifest(shards: Sequence[_ShardRun], incomplete: bool, command: str) -> dict[str, Any]:
    """The manifest of the merged run: the settings that all shards share, and the sessions of each worker.

    If the merge is `incomplete`, `shard` has the numbers of the merged shards.
    """
    ordered = sorted(shards, key=lambda shard: sorted(map(int, shard.counts)))
    manifests = [shard.manifest for shard in ordered]
    sessions = [
        {"shard": shard_label(manifest["shard"]), **session}
        for manifest in manifests
        for session in manifest["sessions"]
    ]
    repairs: Counter[str] = Counter()
    for manifest in manifests:
        repairs.update(manifest.get("repairs", {}))
    checks = [manifest["selfcheck"] for manifest in manifests if "selfcheck" in manifest]
    first = manifests[0]
    server_defaults = sorted({name for manifest in manifests for name in manifest.get("server_defaults", ())})
    devices = dict.fromkeys(str(manifest["device"]) for manifest in manifests if "device" in manifest)
    counts = {number: by_benchmark for shard in ordered for number, by_benchmark in shard.counts.items()}
    return {
        **{key: value for key, value in first.items() if key not in WORKER_ENTRIES},
        **({"device": ", ".join(devices)} if devices else {}),
        "limit": first.get("limit"),
        "repeats": first.get("repeats"),
        **({"shard": {"of": first["shard"]["of"], "parts": counts}} if incomplete else {}),
        **({"repairs": dict(sorted(repairs.items()))} if repairs else {}),
        **({"selfcheck": worst_check(checks)} if checks else {}),
        **({"server_defaults": server_defaults} if server_defaults else {}),
        "command": command,
        "versions": first.get("versions", {}),
        "hardware": first.get("hardware", {}),
        "sessions": sessions,
    }


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
    """Raise RunError unless `out` is empty, or a run whose answers and verdicts are all in the merged run."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    foreign = sorted(p.name for p in out.iterdir() if p.name not in RUN_FILES) if out.is_dir() else [out.name]
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
            with records.Writer(old):
                pass
        except RunError:  # another merge is writing it
            continue
        shutil.rmtree(old, ignore_errors=True)
    draft = out.with_name(f".{out.name}.draft-{secrets.token_hex(4)}")
    draft.mkdir()
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
