"""Puts the report of a comparison together: `comparison.html` to look at, `comparison.md` to paste.

    write_comparison(Path("runs/x"), summary=summary, runs=runs, steps=steps)

Reads `comparison.json`, the records and the thumbnails of the compared runs. The page has no script at all: everything
is there and can be folded. It stays under the size limit of the other reports, whatever the runs hold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gapbench.report.comparison import details as details
from gapbench.report.comparison import tables
from gapbench.report.comparison.glossary import hero, sections, terms
from gapbench.report.comparison.plots import change_plot, curves
from gapbench.report.comparison.samples import changed_cases, rendered
from gapbench.report.families import Family, families
from gapbench.report.jinja import asset, environment, grouped, write
from gapbench.report.run.data_section import restricted
from gapbench.report.run.overview import MESSAGES
from gapbench.report.run.settings import command_line
from gapbench.report.run.summary_tables import metric_terms
from gapbench.report.tables import benchmarks_of
from gapbench.util.text import clip

if TYPE_CHECKING:
    from gapbench.analysis.comparison.runs import LoadedRun

LISTED = 12
"""Fixed and broken questions named in the Markdown, each."""


def write_comparison(
    folder: Path,
    *,
    summary: Mapping[str, Any],
    runs: Sequence[LoadedRun],
    steps: Sequence[Mapping[str, float | None]] = (),
    images: bool = True,
) -> None:
    """Write `folder/comparison.html` and `folder/comparison.md`.

    `summary` is the content of `comparison.json`, `runs` are the runs in its order, `steps` the training's log as
    `gapbench.analysis.comparison.training_log.read_steps` gives it. Images come from the runs' own `thumbnails`
    folders and are left out with `images=False`.
    """
    html, markdown = environment(html=True), environment(html=False)
    cases = changed_cases(summary, runs[0], runs[1])
    page = _content(summary, runs, steps, images)
    cards = rendered(summary, cases, runs[:2] if images else (), html.get_template("change.j2"), page["sides"])
    write(folder / "comparison.html", html.get_template("comparison.html.j2").render(page, cards=cards, images=images))
    listed = details.listed_cases(summary, cases, page["sides"], LISTED)
    write(folder / "comparison.md", markdown.get_template("comparison.md.j2").render(page, listed=listed))


def _content(
    summary: Mapping[str, Any], runs: Sequence[LoadedRun], steps: Sequence[Mapping[str, float | None]], images: bool
) -> dict[str, Any]:
    sides = tuple(clip(run.label, 60) for run in runs[:2])
    train = summary.get("train")
    differing, same = details.setting_tables(runs)
    alerts = [(clip(one["benchmark"], 80), clip(one["text"], 600)) for one in summary["alerts"]]
    more = [("", f"{len(alerts) - MESSAGES} more warnings are in comparison.json.")] if len(alerts) > MESSAGES else []
    parts = families(summary, runs[0].manifest)
    found = {
        "title": f"{sides[1]} against {sides[0]}",
        "trained": summary["kind"] == "training",
        "model": clip(runs[1].model, 200),
        "sides": sides,
        "verdict": clip(summary["verdict"], 2_000),
        "notices": _notices(summary, runs, images)[:MESSAGES],
        "alerts": [*alerts[:MESSAGES], *more],
        "hero": hero(summary),
        "results": [_results(family, f"change{index or ''}") for index, family in enumerate(parts)],
        "holdout_table": tables.holdout_table(summary),
        "category_tables": grouped(details.category_tables, parts),
        "area_tables": grouped(details.area_tables, parts),
        "runs_tables": grouped(lambda one: (tables.runs_table(one),), parts) if summary["more"] else [],
        "more": [(clip(one["label"], 60), clip(one["verdict"], 2_000)) for one in summary["more"]],
        "train": train,
        "train_table": details.train_table(train) if train else None,
        "curves": curves(steps),
        "identity_table": details.identity_table(summary),
        "differing_table": differing,
        "same_table": same,
        "commands": [(clip(run.label, 60), command_line(run.manifest)) for run in runs],
        "reading": terms(sides, trained=summary["kind"] == "training"),
        "style": asset("style.css") + asset("comparison.css"),
    }
    return {**found, "sections": sections(found)}


def _results(family: Family, name: str) -> dict[str, Any]:
    """The tables and the plot of one kind of evidence."""
    return {
        "title": family.title,
        "remark": family.remark,
        "plot": change_plot(family.summary, name=name),
        "metric_terms": metric_terms(family.summary),
        **{
            key: family.captioned(table(family.summary))
            for key, table in (
                ("headline_table", tables.headline_table),
                ("metric_table", tables.metric_table),
                ("transition_table", tables.transition_table),
            )
        },
    }


def _notices(summary: Mapping[str, Any], runs: Sequence[LoadedRun], images: bool) -> list[tuple[str, str]]:
    """What licences forbid, which must not be cut off, and each benchmark's own remark."""
    own = [(clip(n, 80), clip(e["notice"], 1_000)) for n, e in benchmarks_of(summary).items() if e["notice"]]
    cards = {name: text for run in runs for name, text in run.restricted.items() if name in benchmarks_of(summary)}
    return restricted(cards, "gapbench compare … --no-images", images=images) + own
