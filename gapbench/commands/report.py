"""Builds a run's summary and report from its records alone, without a model, an engine or a benchmark.

run = gapbench.load_run("runs/glance")
write_results(Path("runs/glance"), images=False)
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gapbench.errors import RunError
from gapbench.runs import records
from gapbench.runs.run import Run, read_json


def load_run(path: str | Path) -> Run:
    """Open a run folder. Builds the summary if it is missing. Raises RunError if the folder is no run."""
    folder = Path(path)
    if not (folder / "summary.json").exists():
        return write_results(folder)
    return Run(folder, read_json(folder / "summary.json"), read_json(folder / "run.json"))


def write_results(folder: Path, images: bool = True, judged: bool = True) -> Run:
    """Build `summary.json`, `report.html` and `report.md` from the records alone.

    If the run has a judge, its verdicts count. `judged=False` builds them as if the run had no judge. Raises RunError
    for a run without answers, unless it is a shard without samples.
    """
    from gapbench.analysis.metrics import names_of
    from gapbench.analysis.summary import summarise
    from gapbench.report.run.page import write_report
    from gapbench.runs import judgements
    from gapbench.runs.shards import description, is_empty
    from gapbench.util.files import write_json

    manifest = read_json(folder / "run.json") if (folder / "run.json").exists() else {}
    judge = manifest.get("judge") if judged else None
    frame = judgements.read_frame(folder) if judge else records.read_frame(folder)
    if frame.empty and not is_empty(manifest):
        raise RunError(
            f"{folder}: no answers yet, so there is nothing to report. Run gapbench measure … --out {folder}."
        )
    # Answers come in any order. Sorting makes sums and tables the same however often a run was interrupted.
    frame = frame.sort_values(["benchmark", "sample", "view", "repeat"], ignore_index=True)
    entries = manifest.get("benchmarks", {})
    notices = {name: entry.get("card", {}).get("notice", "") for name, entry in entries.items()}
    metric_names = {name: names_of(entry, str(manifest.get("protocol", ""))) for name, entry in entries.items()}
    summary = summarise(frame, model=str(manifest.get("model", "")), notices=notices, named=metric_names)
    if part := description(manifest, len(frame)):
        summary |= {"part": part, "verdict": f"{part}: {summary['verdict']}"}
    if judge:
        summary["judge"] = {
            **judge,
            "verdicts": judgements.verdict_counts(records.read(folder), judgements.read(folder)),
        }
    report_manifest = manifest if judge else _without_judge(manifest)
    write_json(folder / "summary.json", summary)
    write_report(folder, summary=summary, manifest=report_manifest, records=frame, images=images)
    return Run(folder, summary, manifest)


def _without_judge(manifest: dict[str, Any]) -> dict[str, Any]:
    """The manifest that the run would have without a judge."""
    if "judge" not in manifest:
        return manifest
    from gapbench.runs.manifest import fingerprint_of

    plain = {key: value for key, value in manifest.items() if key != "judge"}
    return {**plain, "fingerprint": fingerprint_of(plain)}
