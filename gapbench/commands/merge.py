"""Many workers, one run: puts shards together to the very summary that one undivided run would have had.

    gapbench.merge(["runs/a", "runs/b"], out="runs/whole")      # gapbench merge runs/a runs/b --out runs/whole

Shards must have the same manifest (`gapbench.runs.manifest`), and every answer must be there. The whole is written
into a hidden folder beside `out` and renamed at the end, so a kill leaves no half of it, and the same command starts
over. A merge of some shards (`partial`) is a shard itself, of several numbers: it says so, and can be merged with the
others.

Limits: all answers are held in memory, as their report does. Repairs are added up, so what two workers both looked at
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
from gapbench.runs.manifest import MAY_DIFFER, differences, doubt_servers, rewordings, worst_check
from gapbench.runs.run import Run, read_json
from gapbench.runs.shards import names, ranges
from gapbench.util.files import write_json
from gapbench.util.text import listed

KEPT = frozenset({records.FILE, judgements.FILE, "run.json", "summary.json", "report.html", "report.md", "thumbnails"})
"""What a run's folder holds; a folder with anything else in it is not replaced."""
OWN = MAY_DIFFER | {"command", "versions", "hardware", "shard"}
"""Entries of `run.json` that are a worker's own."""


@dataclass(frozen=True)
class _Part:
    """One shard's folder, its `run.json`, and how many answers it has of each benchmark."""

    folder: Path
    manifest: Mapping[str, Any]
    answers: Counter[str]

    @property
    def parts(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.manifest["shard"]["parts"]
        return found


def merge(runs: Sequence[str | Path], out: str | Path, *, partial: bool = False, command: str = "") -> Run:
    """Put the shards `runs` together into the folder `out`, and return it as a run. The inputs stay as they are.

    An earlier merge in `out` is replaced if all of its answers are in the new one. Raises RunError for a folder that is
    no shard, for shards with different manifests or contradictory answers, and, without `partial`, for answers that
    are missing.
    """
    folder, inputs = Path(out).resolve(), list({path.resolve(): path for path in map(Path, runs)}.values())
    if not inputs:
        raise SettingError("merge: no run was named. Expected the folders of all shards of one run.")
    if folder in {path.resolve() for path in inputs}:
        raise SettingError(f"--out {out}: it is one of the runs to merge. Choose another folder.")
    lines: dict[records.RecordKey, tuple[bytes, Path]] = {}
    parts = [_read(path, lines) for path in inputs]
    for part in parts[1:]:
        _refuse_difference(parts[0], part)
    missing = _missing(parts, Counter(name for name, *_ in lines))
    if missing and not partial:
        raise RunError(f"merge: {missing} Let those workers finish, or merge what is there with --partial.")
    verdicts = _verdicts(inputs)
    if parts[0].manifest.get("judge") and not partial:
        rows = (json.loads(line) for line, _ in lines.values())
        if waiting := judgements.counted(rows, verdicts)["waiting"]:
            raise RunError(
                f"merge: {waiting:,} answers still wait for the judge's verdict. Run those workers' commands again, or "
                "merge what is there with --partial."
            )
    _check_place(folder, lines, verdicts)
    command = command or f"gapbench merge {shlex.join(map(str, inputs))} --out {out}"
    with _draft(folder) as draft, records.Writer(draft) as writer:
        for key in sorted(lines):
            writer.write(json.loads(lines[key][0]))
        if verdicts:
            with records.Writer(draft, judgements.FILE) as judged:
                for key in sorted(verdicts):
                    judged.write(verdicts[key])
        write_json(draft / "run.json", _whole(parts, bool(missing), command))
        _copy_thumbnails(inputs, draft / "thumbnails")
        write_results(draft)
        _swap(draft, folder)
    return load_run(out)


def _read(folder: Path, lines: dict[records.RecordKey, tuple[bytes, Path]]) -> _Part:
    """Add a shard's answers to `lines`. Raises RunError if the same question was answered differently."""
    manifest = read_json(folder / "run.json")
    if not manifest.get("shard"):
        raise RunError(f"{folder}: not a shard, it was measured without --shard. Merge shards of one run alone.")
    answers: Counter[str] = Counter()
    begun = (folder / records.FILE).exists()  # a worker may be killed before its first answer
    for row in records.read(folder) if begun else ():
        key, line = records.key(row), json.dumps(row).encode()
        answers[key[0]] += 1
        before, where = lines.get(key, (line, folder))
        if before != line and (found := _contradiction(json.loads(before), row)):
            benchmark, sample, view, repeat = key
            raise RunError(
                f"merge: {benchmark} sample {sample!r}, view {view}, repeat {repeat} is answered in {where} and in "
                f"{folder}, and {found} differs: {json.loads(before)[found]!r} and {row[found]!r}. Shards must not "
                "overlap; leave out the run that is not of this set."
            )
        lines[key] = min((before, where), (line, folder), key=lambda one: one[0])
    return _Part(folder, manifest, answers)


def _verdicts(inputs: Sequence[Path]) -> dict[records.RecordKey, dict[str, Any]]:
    """The judge's lines of all shards; of two about one answer, one with a verdict, whatever the order of the runs."""
    found: dict[records.RecordKey, dict[str, Any]] = {}
    for folder in inputs:
        for key, line in judgements.read(folder).items():
            found[key] = min(found.get(key, line), line, key=lambda one: (not one["verdict"], json.dumps(one)))
    return found


def _contradiction(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """The first field in which two records of one key differ; how long it took decides nothing."""
    return next((k for k in (*one, *other) if k != "seconds" and one.get(k) != other.get(k)), "")


def _refuse_difference(first: _Part, other: _Part) -> None:
    def refuse(what: str, one: Any, two: Any) -> RunError:
        return RunError(
            f"merge: {what} is {one!r} in {first.folder} and {two!r} in {other.folder}. Answers of both must not be "
            "mixed. Merge shards of the same run alone."
        )

    one, two = first.manifest, other.manifest
    if one["shard"]["of"] != two["shard"]["of"]:
        raise refuse("--shard", names(one["shard"]), names(two["shard"]))
    plans = [{**run, "shard": None} for run in (one, two)]
    for difference in differences(*plans):
        raise refuse(*difference)
    for what in ("limit", "repeats"):
        if one.get(what) != two.get(what):
            raise refuse(f"--{what}", one.get(what), two.get(what))
    for name, entry in one["benchmarks"].items():
        for what in ("samples", "fingerprint"):
            if entry[what] != two["benchmarks"][name][what]:
                raise refuse(f"{name} {what}", entry[what], two["benchmarks"][name][what])
    for difference in rewordings(*plans):
        raise refuse(*difference)
    doubt_servers(one, two)


def _missing(parts: Sequence[_Part], found: Counter[str]) -> str:
    """What is not there: shards with their number of questions, and answers of shards that are; empty if all is."""
    of, benchmarks = parts[0].manifest["shard"]["of"], parts[0].manifest["benchmarks"]
    here = {number: counts for part in parts for number, counts in part.parts.items()}
    absent = [number for number in range(1, of + 1) if str(number) not in here]
    open_ = sum(b["samples"] - sum(c[n]["samples"] for c in here.values()) for n, b in benchmarks.items())
    if open_ and not absent:
        raise RunError(
            f"merge: the {of} shards have {abs(open_):,} question(s) {'less' if open_ > 0 else 'more'} than the whole "
            "run. They were dealt by different versions of gapbench; measure them with one."
        )
    told = []
    if absent:
        total = sum(benchmark["samples"] for benchmark in benchmarks.values())
        several = "s" * (len(absent) > 1)
        told.append(f"shard{several} {ranges(absent)} of {of} missing, with {open_:,} of {total:,} questions")
    if any(sum(c[name]["answers"] for c in here.values()) > found[name] for name in benchmarks):
        for part in parts:
            wanted = sum(counts["answers"] for each in part.parts.values() for counts in each.values())
            if wanted > part.answers.total():
                lacking = wanted - part.answers.total()
                told.append(
                    f"{part.folder} (shard {names(part.manifest['shard'])}) lacks {lacking:,} of {wanted:,} answers"
                )
    return f"{'; '.join(told)}." if told else ""


def _whole(parts: Sequence[_Part], incomplete: bool, command: str) -> dict[str, Any]:
    """`run.json` of all parts: the plan they share, what each worker did, and which shards if any are missing."""
    ordered = sorted(parts, key=lambda part: sorted(map(int, part.parts)))
    sessions = [
        {"shard": names(part.manifest["shard"]), **session} for part in ordered for session in part.manifest["sessions"]
    ]
    repairs: Counter[str] = Counter()
    for part in ordered:
        repairs.update(part.manifest.get("repairs", {}))
    checks = [part.manifest["selfcheck"] for part in ordered if "selfcheck" in part.manifest]
    first = ordered[0].manifest
    refused = sorted({name for part in ordered for name in part.manifest.get("server_defaults", ())})
    devices = dict.fromkeys(str(part.manifest["device"]) for part in ordered if "device" in part.manifest)
    together = {number: counts for part in ordered for number, counts in part.parts.items()}
    return {
        **{key: value for key, value in first.items() if key not in OWN},
        **({"device": ", ".join(devices)} if devices else {}),
        "limit": first.get("limit"),
        "repeats": first.get("repeats"),
        **({"shard": {"of": first["shard"]["of"], "parts": together}} if incomplete else {}),
        **({"repairs": dict(sorted(repairs.items()))} if repairs else {}),
        **({"selfcheck": worst_check(checks)} if checks else {}),
        **({"server_defaults": refused} if refused else {}),
        "command": command,
        "versions": first.get("versions", {}),
        "hardware": first.get("hardware", {}),
        "sessions": sessions,
    }


def _copy_thumbnails(inputs: Sequence[Path], place: Path) -> None:
    place.mkdir()
    for folder in inputs:
        for image in sorted((folder / "thumbnails").glob("*.jpg")):
            if not (place / image.name).exists():
                shutil.copyfile(image, place / image.name)


def _check_place(
    out: Path,
    lines: Mapping[records.RecordKey, tuple[bytes, Path]],
    verdicts: Mapping[records.RecordKey, Mapping[str, Any]],
) -> None:
    """Refuse to replace anything but a run whose answers and verdicts are all in the new one."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    strange = sorted(p.name for p in out.iterdir() if p.name not in KEPT) if out.is_dir() else [out.name]
    if strange or not (out / records.FILE).is_file():
        raise RunError(
            f"--out {out}: it holds {listed(strange, 12) or 'no run'}, which a merge would not keep. Choose another."
        )
    for row in records.read(out):
        known = lines.get(records.key(row))
        if known is None or _contradiction(json.loads(known[0]), row):
            raise RunError(
                f"--out {out}: its answer to {row['benchmark']} sample {row['sample']!r} is not in the runs to merge "
                "and would be lost. Choose another folder."
            )
    if lost := judgements.read(out).keys() - verdicts.keys():
        raise RunError(
            f"--out {out}: it has {len(lost):,} verdicts of a judge that the runs to merge lack, and that would be "
            "lost. Choose another folder."
        )


@contextmanager
def _draft(out: Path) -> Iterator[Path]:
    """A hidden folder beside `out`; those of merges that were killed are removed, those in use stay."""
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
    """Put the draft in the place of `out`; what was there goes last."""
    if out.exists():
        old = draft.with_name(draft.name + "-old")
        out.rename(old)
        draft.rename(out)
        shutil.rmtree(old, ignore_errors=True)
    else:
        draft.rename(out)
