"""Write the report of one run.

    write_report(Path("runs/signs"), summary=summary, manifest=manifest, records=frame)

Row and length limits bound everything but the gallery. The gallery gets the bytes that remain below `SIZE_LIMIT`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pandas import DataFrame

from gapbench.errors import RunError
from gapbench.report import CARDS
from gapbench.report.families import ANNOTATED, Family, families, tables_of_families
from gapbench.report.jinja import asset, environment, script_of
from gapbench.report.run import settings
from gapbench.report.run.anatomy_tables import anatomies
from gapbench.report.run.data_section import data_table, notices, repairs_table
from gapbench.report.run.failing import failing_cards, failing_samples
from gapbench.report.run.figures import category_figures, instead_tables, size_figures
from gapbench.report.run.gallery import SIZE_LIMIT, gallery, stored_keys
from gapbench.report.run.overview import alerts, forest, headline
from gapbench.report.run.published_tables import is_outside, other_table, published_table
from gapbench.report.run.samples import FLIP_NAMES, sample_cards, stratified
from gapbench.report.run.summary_tables import (
    flip_table,
    gap_table,
    group_tables,
    is_bounded,
    metric_table,
    scoring_table,
    scoring_terms,
    view_table,
)
from gapbench.report.tables import ROW_LIMIT, benchmarks_of
from gapbench.util.files import write_text
from gapbench.util.text import capital, clip


def write_report(
    folder: Path,
    *,
    summary: Mapping[str, Any],
    manifest: Mapping[str, Any],
    records: DataFrame,
    images: bool = True,
    cards: int | None = CARDS,
    illustrate: Callable[[Sequence[tuple[str, str]]], None] | None = None,
) -> None:
    """Write `folder/report.html` and `folder/report.md`.

    `summary` and `manifest` are the contents of `summary.json` and `run.json`; keys may be missing and values null.
    `records` has one row per record and the fields of `gapbench.types.Record` as columns. Images come from
    `folder/thumbnails`; `images=False` leaves them out. `cards` is the number of sample cards, None for all, however
    large the file becomes. `illustrate` is called with the (benchmark, sample) of every card before images are read.
    Raises `RunError` if `folder` does not exist.
    """
    if not folder.is_dir():
        raise RunError(f"No run folder at {folder}. Expected the folder that holds records.jsonl; check the path.")
    html, markdown = environment(html=True), environment(html=False)
    page = _content(summary, manifest, records, images)
    template = html.get_template("html.j2")
    samples = sample_cards(records)
    thumbnails = folder / "thumbnails" if images else None
    failing = failing_samples(summary, samples)
    # What can be illustrated is drawn without regard to what is stored, so the draw is the same after every resume.
    chosen = stratified(samples, () if illustrate else stored_keys(thumbnails))[:cards]
    if illustrate:
        shown_too = [card for groups in failing.values() for some in groups.values() for card in some]
        illustrate(list(dict.fromkeys((card.benchmark, card.sample) for card in [*chosen, *shown_too])))
    page["failing"] = failing_cards(failing, thumbnails, html.get_template("failing.j2"))
    room = math.inf if cards is None else SIZE_LIMIT - len(template.render(page, gallery=None).encode())
    shown = gallery(samples, chosen, thumbnails, html.get_template("card.j2"), room)
    write_text(folder / "report.html", template.render(page, gallery=shown))
    write_text(folder / "report.md", markdown.get_template("md.j2").render(page))


def _content(
    summary: Mapping[str, Any], manifest: Mapping[str, Any], records: DataFrame, images: bool
) -> dict[str, Any]:
    pairs_of = {name: entry.get("pairs") or {} for name, entry in benchmarks_of(summary).items()}
    parts = families(summary, manifest)
    return {
        "model": clip(summary.get("model") or manifest.get("model") or "unnamed model", 200),
        "verdict": _verdict(summary),
        "notices": notices(summary, manifest, images=images),
        "alerts": alerts(summary, manifest),
        "headline": headline(summary),
        "results": [_results(family, f"forest{index or ''}") for index, family in enumerate(parts)],
        "published_table": published_table(summary),
        "other_table": other_table(summary, manifest),
        "outside": is_outside(summary),
        "category_tables": tables_of_families(partial(group_tables, "category"), parts),
        "area_tables": tables_of_families(partial(group_tables, "area"), parts),
        "anatomies": anatomies(summary),
        "pairs": {clip(name, 200): pairs for name, pairs in list(pairs_of.items())[:ROW_LIMIT]},
        "totals": _totals(parts[0]),
        "regions": _regions(parts) if len(parts) > 1 else {},
        "scorings": [table for table in tables_of_families(lambda part: [scoring_table(part)], parts) if table.rows],
        "scoring_terms": scoring_terms(summary),
        "flip_names": FLIP_NAMES,
        "judged": bool(summary.get("judge")),
        "bounded": any(is_bounded(family.summary) for family in parts),
        "command": settings.command_line(manifest),
        "data_table": data_table(manifest),
        "repairs_table": repairs_table(manifest),
        "settings": settings.groups(manifest),
        "style": asset("style.css"),
        **script_of("sort.js", "gallery.js"),
        "area": size_figures(summary, records),
        "category_plots": category_figures(summary),
        "instead_tables": instead_tables(summary, records),
    }


def _results(family: Family, name: str) -> dict[str, Any]:
    """The tables and the forest plot of one kind of evidence."""
    tables = family.results(
        gap_table=gap_table, metric_table=metric_table, view_table=view_table, flip_table=flip_table
    )
    return {**tables, "forest": forest(family.summary, name)}


def _regions(parts: Sequence[Family]) -> dict[str, str]:
    """The title of each benchmark's kind of evidence."""
    titles = [(name, family.title or ANNOTATED) for family in parts for name in family.summary["benchmarks"]]
    return {clip(name, 200): title for name, title in titles[:ROW_LIMIT]}


def _totals(family: Family) -> dict[str, int]:
    """The number of samples of each flip, over the benchmarks of one kind of evidence."""
    pairs = [entry.get("pairs") or {} for entry in benchmarks_of(family.summary).values()]
    return {flip: sum(counts.get(flip) or 0 for counts in pairs) for flip in FLIP_NAMES}


def _verdict(summary: Mapping[str, Any]) -> str:
    verdict = clip(summary.get("verdict") or "No verdict was recorded.", 1_000)
    # A model's name keeps its case even at the start of the sentence.
    model = clip(summary.get("model"), 1_000)
    return verdict if model and verdict.startswith(model) else capital(verdict)
