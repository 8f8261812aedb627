"""Builds a run's summary and report from its records alone, without a model, an engine or a benchmark.

run = gapbench.load_run("runs/glance")
write_results(Path("runs/glance"), images=False)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from gapbench.errors import RunError
from gapbench.report import CARDS
from gapbench.runs import records
from gapbench.runs.listing import find_runs
from gapbench.runs.lock import hold
from gapbench.runs.manifest import FILE, fingerprint_of, make_manifest, read_manifest
from gapbench.runs.run import Run, naming, read_json, records_in


def load_run(path: str | Path) -> Run:
    """Open a run folder. Builds the summary if it is missing, older than this version, or rests on fewer answers.

    Raises RunError if the folder is no run, or if its files are damaged.
    """
    from gapbench.analysis.summary import SCHEMA_VERSION

    folder = Path(path)
    with naming(folder):
        if not (folder / "summary.json").exists():
            return write_results(folder)
        summary = read_json(folder / "summary.json")
        # An older summary lacks what tells a fault from a gap. A folder without records, or one that cannot be written,
        # keeps it.
        old = int(summary.get("schema_version") or 0) < SCHEMA_VERSION
        if old or records.count(folder) not in (None, records_in(summary)):
            with suppress(OSError, RunError):
                return write_results(folder)
        return Run(folder, summary, read_manifest(folder / FILE).json_object())


def load_runs(*places: str | Path) -> list[Run]:
    """The runs at `places`, in order and each once: folders of runs, folders that hold runs, and patterns (`runs/*`).

    Raises RunError for a place without any run.
    """
    return [load_run(path) for path in find_runs(places)]


def write_results(
    folder: Path,
    images: bool = True,
    judged: bool = True,
    cards: int | None = CARDS,
    illustrate: Callable[[Sequence[tuple[str, str]]], None] | None = None,
    figures: Path | None = None,
) -> Run:
    """Build `summary.json`, `report.html` and `report.md` from the records alone.

    If the run has a judge, its verdicts count. `judged=False` builds them as if the run had no judge. `cards` is the
    number of sample cards in the report, None for all; `illustrate` is called with the (benchmark, sample) of each,
    before their images are read. `figures` is a folder for the figures as files. Raises RunError for a run without
    answers, unless it is a shard without samples.
    """
    from gapbench.analysis.metrics import names_of
    from gapbench.analysis.published import beside_published
    from gapbench.analysis.summary import summarise
    from gapbench.report.run.figures import write_figures
    from gapbench.report.run.page import write_report
    from gapbench.runs import judgements
    from gapbench.runs.shards import description, is_empty
    from gapbench.util.files import write_json

    run = read_manifest(folder / FILE) if (folder / FILE).exists() else make_manifest({})
    if not judged and run.judge:
        run = make_manifest({**run.json_object(), "judge": None})
        run = run.model_copy(update={"fingerprint": fingerprint_of(run)})
    manifest = run.json_object()
    frame = judgements.read_frame(folder) if run.judge else records.read_frame(folder)
    if frame.empty and not is_empty(manifest):
        raise RunError(
            f"{folder}: no answers yet, so there is nothing to report. Run gapbench measure … --out {folder}."
        )
    # Answers come in any order. Sorting makes sums and tables the same however often a run was interrupted.
    frame = frame.sort_values(["benchmark", "sample", "view", "repeat"], ignore_index=True)
    notices = {name: (task.card or {}).get("notice", "") for name, task in run.tasks.items()}
    official = {name: (task.card or {}).get("official", "") for name, task in run.tasks.items()}
    metric_names = {name: names_of(task, run.protocol or "") for name, task in manifest.get("tasks", {}).items()}
    summary = summarise(frame, model=run.model or "", notices=notices, named=metric_names, official=official)
    for name, entry in summary["benchmarks"].items():
        if found := beside_published(entry, manifest, name):
            entry["published"] = found
    if part := description(manifest, len(frame)):
        summary |= {"part": part, "verdict": f"{part}: {summary['verdict']}"}
    if run.judge:
        counts = judgements.verdict_counts(records.read(folder), judgements.read(folder))
        summary["judge"] = {**run.judge, "verdicts": counts}
    write_json(folder / "summary.json", summary)
    write_report(
        folder, summary=summary, manifest=manifest, records=frame, images=images, cards=cards, illustrate=illustrate
    )
    if figures:
        write_figures(figures, summary, frame)
    return Run(folder, summary, manifest)


def repair(folder: Path) -> int:
    """Drop the records of a run that lie twice, and return their number: of each key the first one stays.

    Raises RunError if the folder is no run, or if another process is writing it.
    """
    read_manifest(folder / FILE)  # the folder of a run, or a RunError
    with hold(folder, f"gapbench report {folder} --repair"):
        return records.drop_doubles(folder)
