"""Write the report of a comparison: `comparison.html` to look at, `comparison.md` to paste.

    write_comparison(Path("runs/x"), summary=summary, runs=runs, steps=steps)

Reads `comparison.json`, and the records and thumbnails of the compared runs. The page has no script; long parts of it
fold. It stays under the size limit of a run's report, whatever the runs hold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from gapbench.analysis.comparison.runs import LoadedRun
from gapbench.analysis.comparison.training_log import contamination_sentences
from gapbench.report.comparison import details, tables
from gapbench.report.comparison.hero import hero
from gapbench.report.comparison.plots import change_plot, curves, size_plots
from gapbench.report.comparison.samples import changed_samples, render_cards
from gapbench.report.families import Family, families, region_source, tables_of_families
from gapbench.report.finishes import inline
from gapbench.report.jinja import asset, environment
from gapbench.report.run.anatomy_tables import cures_shown
from gapbench.report.run.data_section import MESSAGES, first, restricted
from gapbench.report.run.settings import command_line
from gapbench.report.tables import benchmarks_of
from gapbench.util.files import write_text
from gapbench.util.text import clip

LISTED = 12
"""Samples of each transition in the Markdown."""


def write_comparison(
    folder: Path,
    *,
    summary: Mapping[str, Any],
    runs: Sequence[LoadedRun],
    steps: Sequence[Mapping[str, float | None]] = (),
    images: bool = True,
) -> None:
    """Write `folder/comparison.html` and `folder/comparison.md`.

    `summary` is the content of `comparison.json`, `runs` are the runs in its order, and `steps` is the training log as
    `gapbench.analysis.comparison.training_log.read_steps` reads it. Images come from the `thumbnails` folders of the
    runs; `images=False` leaves them out.
    """
    html, markdown = environment(html=True), environment(html=False)
    samples = changed_samples(summary, runs[0], runs[1])
    page = _content(summary, runs, steps, images)
    cards = render_cards(summary, samples, runs[:2] if images else (), html.get_template("change.j2"), page["sides"])
    shown = html.get_template("comparison.html.j2").render(page, cards=cards, images=images)
    write_text(folder / "comparison.html", shown)
    listed = details.changed_tables(summary, samples, page["sides"], LISTED)
    write_text(folder / "comparison.md", markdown.get_template("comparison.md.j2").render(page, listed=listed))


def notebook_html(summary: Mapping[str, Any]) -> str:
    """The verdict and the headline tables, for a notebook."""
    template = environment(html=True).from_string(
        '{% from "parts.j2" import number_table %}<p>{{ verdict }}</p>'
        "{% for table in tables %}{{ number_table(table) }}{% endfor %}"
    )
    shown = tables_of_families(lambda reduced: [tables.headline_table(reduced)], families(summary))
    return template.render(verdict=summary["verdict"], tables=shown)


def _content(
    summary: Mapping[str, Any], runs: Sequence[LoadedRun], steps: Sequence[Mapping[str, float | None]], images: bool
) -> dict[str, Any]:
    sides = tuple(clip(run.label, 60) for run in runs[:2])
    train = summary.get("train")
    contaminated = contamination_sentences((train or {}).get("contamination") or {})
    differing, same = details.setting_tables(runs)
    alerts = [(clip(alert["benchmark"], 80), clip(alert["text"], 600)) for alert in summary["alerts"]]
    parts = families(summary, runs[0].manifest)
    return {
        "title": f"{sides[1]} against {sides[0]}",
        "trained": summary["kind"] == "training",
        "model": clip(runs[1].model, 200),
        "sides": sides,
        "verdict": clip(summary["verdict"], 2_000),
        "notices": _notices(summary, runs, images)[:MESSAGES],
        "alerts": first(alerts, "more warnings are in comparison.json."),
        "hero": hero(summary),
        "seeds_table": tables.seeds_table(summary),
        "results": [_results(family, f"change{index or ''}") for index, family in enumerate(parts)],
        "holdout_table": tables.holdout_table(summary),
        "drift_tables": tables_of_families(lambda reduced: [details.drift_table(reduced)], parts),
        "category_tables": tables_of_families(partial(details.change_tables, "category"), parts),
        "area_plots": size_plots(summary, runs),
        "area_tables": tables_of_families(partial(details.change_tables, "area"), parts),
        "cures": cures_shown(summary.get("cures") or {}),
        "runs_tables": tables_of_families(tables.runs_tables, parts),
        "more": [(clip(run["label"], 60), clip(run["verdict"], 2_000)) for run in summary["more"]],
        "train": train,
        "train_regions": region_source(train.get("regions")) if train else "",
        "train_table": details.train_table(train) if train else None,
        "contamination": [clip(line, 400) for line in contaminated.values()][:MESSAGES],
        "curves": curves(steps),
        "identity_table": details.identity_table(summary),
        "differing_table": differing,
        "same_table": same,
        "commands": [(clip(run.label, 60), command_line(run.manifest)) for run in runs],
        "style": asset("style.css", "comparison.css"),
    }


def _results(family: Family, name: str) -> dict[str, Any]:
    """The tables and the plot of one kind of evidence."""
    made = family.results(
        headline_table=tables.headline_table, metric_table=tables.metric_table, transition_table=tables.transition_table
    )
    return {**made, "plot": change_plot(family.summary, inline(name))}


def _notices(summary: Mapping[str, Any], runs: Sequence[LoadedRun], images: bool) -> list[tuple[str, str]]:
    """(benchmark, text) of licence restrictions, which come first so that no limit cuts them off, and of remarks."""
    benchmarks = benchmarks_of(summary)
    remarks = [(clip(name, 80), clip(entry["notice"], 1_000)) for name, entry in benchmarks.items() if entry["notice"]]
    cards = [item for run in runs for item in run.card_texts("restricted").items() if item[1] and item[0] in benchmarks]
    return restricted(dict(cards), "gapbench compare … --no-images", images=images) + remarks
