"""The anatomy of each benchmark's gap, for the page and for Markdown: a sentence, figures, tables and failing samples.

    for part in anatomies(summary):
        part["name"], part["sentence"], part["figures"], part["tables"]

Nothing is shown for a benchmark without views beyond full and crop. Any part may be missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from gapbench.report import cells
from gapbench.report.cells import NAME_LIMIT, Cell, Entry, nested
from gapbench.report.finishes import Finish, inline
from gapbench.report.run.anatomy_plots import cure_plot, dose_plot, steps_plot
from gapbench.report.tables import ROW_LIMIT, Column, Summary, Table, benchmarks_of, table_of
from gapbench.util.text import MISSING, area_percent, clip, number, percent

ASKS = {
    "full": "what is asked of the model",
    "crop": "the evidence alone",
    "mask": "surroundings removed, nothing enlarged",
    "full_up": "more pixels, surroundings kept",
    "full_up_mask": "more pixels, surroundings removed",
    "crop_native": "the crop, not enlarged",
    "crop_up": "the crop at the size of the full image",
    "boxed": "pointing, drawn",
    "hint": "pointing, in words",
    "coordinates": "pointing, as coordinates",
    "blind": "what needs no image",
    "blank": "what needs no content",
    "random_crop": "being a crop, without the evidence",
    "hide": "without the evidence",
    "full+crop": "a zoom: both images",
    "degraded": "fewer pixels",
}
"""What each kind of view asks."""

PARTS = (
    ("Resolution", "resolution", "main_resolution"),
    ("Surroundings removed", "surroundings", "main_surroundings"),
    ("Both together", "both", ""),
    ("What else the crop changes", "rest", ""),
    ("Gap", "gap", ""),
)
GAPS = {
    "all": "all samples that the checks cover",
    "sufficient": "without those worse in the crop than in full",
    "needed": "without those right although the evidence is hidden",
    "both": "without either",
    "not_by_prior": "without those right without the image",
}
STEPS = {"mask": "Surroundings removed", "crop_native": "Canvas removed", "crop": "Enlarged"}


def anatomies(summary: Summary) -> list[dict[str, Any]]:
    """One entry for each benchmark that has an anatomy."""
    found = [(name, entry["anatomy"]) for name, entry in benchmarks_of(summary).items() if entry.get("anatomy")]
    return [
        {
            "name": clip(name, NAME_LIMIT) if len(benchmarks_of(summary)) > 1 else "",
            "benchmark": name,
            "sentence": clip(anatomy.get("sentence"), 1_000),
            "remarks": list(_remarks(anatomy)),
            "figures": list(figures_of(anatomy, f"anatomy{index}-")),
            "tables": [table for table in _tables(anatomy) if table.rows],
            "details": [table for table in _details(anatomy) if table.rows],
        }
        for index, (name, anatomy) in enumerate(found[:ROW_LIMIT])
    ]


def figures_of(
    anatomy: Mapping[str, Any], name: str, finish: Callable[[str], Finish] = inline
) -> Iterator[tuple[str, str, str]]:
    """(title, caption, what `finish` makes of it) of each figure; its name is `name` and a key of `ROWS`."""
    if parts := anatomy.get("parts"):
        steps = [(title, parts[key]["estimate"], parts[key]["ci"]) for title, key, _ in PARTS[:-1]]
        start = parts["cells"]["native_kept"]["estimate"]
        text = "Each factor alone, then what both do together; the parts add up to the gap in any order."
        yield "The gap in parts", text, steps_plot(start, steps, finish(f"{name}parts"))
    if fall := anatomy.get("waterfall"):
        steps = [(STEPS.get(step["to"].partition(":")[0], step["to"]), step["estimate"], step["ci"])
                 for step in fall["steps"]]  # fmt: skip
        text = "The same gap, view by view. The sizes of these steps depend on their order; their sum does not."
        yield "From full to crop, step by step", text, steps_plot(fall["start"], steps, finish(f"{name}steps"))
    if doses := anatomy.get("doses"):
        yield (
            "How much of the image",
            "From the full image to the tightest crop.",
            dose_plot(doses["points"], finish(f"{name}doses")),
        )
    cures = anatomy.get("cures")
    if cures and (plot := cure_plot(cures, finish(f"{name}cures"))) is not None:
        yield "What closes the gap, at what price", "Dashed: the full image and the crop.", plot


ROWS: Mapping[str, Callable[[Mapping[str, Any]], Iterator[tuple[str, Mapping[str, Any]]]]] = {
    "parts": lambda anatomy: ((key, {"n": anatomy["parts"]["n"], **anatomy["parts"][key]}) for _, key, _ in PARTS),
    "steps": lambda anatomy: (
        (one["to"], {"n": anatomy["waterfall"]["n"], **one}) for one in anatomy["waterfall"]["steps"]
    ),
    "doses": lambda anatomy: ((one["view"], {**one, "size": one["area"]}) for one in anatomy["doses"]["points"]),
    "cures": lambda anatomy: ((one["name"], {**one, "size": one["image_tokens"]}) for one in anatomy["cures"]),
}
"""Kinds of figures, and the marks of each: a label and its numbers. `size` is where it stands on the other axis."""


def _remarks(anatomy: Mapping[str, Any]) -> Iterator[str]:
    """What must be read beside the numbers."""
    if stand_in := nested(anatomy, "parts", "stand_in"):
        yield f"full_up_mask was not measured; {clip(stand_in, 40)} stands in for it."
    for view, reason in (anatomy.get("unavailable") or {}).items():
        text = clip(reason, 300) or "no reason was recorded"
        yield "No answers: " + (text if text.startswith("view ") else f"view {clip(view, 40)}: {text}")
    if fills := anatomy.get("fills"):
        low, high = (pick(fill["estimate"] for fill in fills) for pick in (min, max))
        yield (
            f"Masked with {len(fills)} fills, the surroundings are worth {number(100 * low, 1)} to "
            f"{number(100 * high, 1)} points. A fill that is foreign to the model costs points of its own."
        )
    if nested(anatomy, "audit", "near_ceiling"):
        yield "The full view is near its ceiling, so a gap has hardly any room."
    if share := nested(anatomy, "audit", "without_image"):
        low, high = (number(100 * end) for end in share["ci"])
        yield f"Without the image the model keeps {percent(share['estimate'], 0)} [{low}, {high}] of its full accuracy."
    for unit, fit in (anatomy.get("thresholds") or {}).items():
        ends = fit["ci"]
        words = {"pixels": "pixels a side, as sent", "tokens": "image tokens on the evidence"}.get(unit, unit)
        yield (
            f"Full is half way between guessing ({percent(fit['floor'], 0)}) and the crop "
            f"({percent(fit['ceiling'], 0)}) at {number(fit['size'], 1)} "
            f"{f'[{number(ends[0], 1)}, {number(ends[1], 1)}] ' if ends else ''}{words}."
        )


def _tables(anatomy: Mapping[str, Any]) -> Iterator[Table]:
    yield _parts_table(anatomy)
    yield cure_table(anatomy.get("cures") or [])
    yield _check_table(anatomy)


def _details(anatomy: Mapping[str, Any]) -> Iterator[Table]:
    """The tables that are folded."""
    yield _cells_table(anatomy)
    yield _view_table(anatomy)
    yield _dose_table(anatomy)
    yield _remaining_gaps(anatomy)


def _parts_table(anatomy: Mapping[str, Any]) -> Table:
    parts = anatomy.get("parts") or {}
    columns = (
        Column("Part", cells.text("title"), numeric=False),
        Column("Points", cells.points("alone"), "Of the factor alone, from the full image; all rows add up to the gap"),
        Column("Mean over the other factor", cells.points("main"), "Main effect, with its 95% interval"),
    )
    entries = [{"title": title, "alone": parts[key], "main": parts.get(main)} for title, key, main in PARTS if parts]
    return table_of("What the gap is made of", columns, entries)


def _cells_table(anatomy: Mapping[str, Any]) -> Table:
    grid = nested(anatomy, "parts", "cells") or {}
    columns = (
        Column("Evidence", cells.text("title"), numeric=False),
        Column("Surroundings kept", cells.level("kept")),
        Column("Surroundings removed", cells.level("removed")),
    )
    rows = [
        {"title": f"{title} resolution", "kept": grid[f"{key}_kept"], "removed": grid[f"{key}_removed"]}
        for title, key in (("Native", "native"), ("Raised", "raised"))
        if grid
    ]
    return table_of("Accuracy by resolution and surroundings", columns, rows)


def _view_table(anatomy: Mapping[str, Any]) -> Table:
    columns = (
        Column("View", lambda row: cells.text_cell(row["name"], row["asks"]), numeric=False),
        Column("Accuracy", cells.level(), "With its 95% interval"),
        Column("Against full", cells.points("change"), "Points, over the samples answered in both, with 95% interval"),
        Column("Image tokens", cells.count("image_tokens"), "Mean per answer"),
        Column("On the evidence", cells.count("evidence_tokens", digits=1), "Mean image tokens on the evidence"),
        Column("Seconds", cells.count("seconds", digits=2), "Mean per answer; of a batch, its share"),
    )
    rows = [
        {"name": clip(view, NAME_LIMIT), "asks": ASKS.get(view.partition(":")[0], ""), **entry}
        for view, entry in (anatomy.get("by_view") or {}).items()
    ]
    return table_of("Every view against full", columns, rows)


def _dose_table(anatomy: Mapping[str, Any]) -> Table:
    doses = anatomy.get("doses") or {}
    columns = (
        Column("View", cells.text("view"), numeric=False),
        Column("Shown", lambda row: Cell(area_percent(row["area"]), "", row["area"]), "Share of the image, mean"),
        Column("Accuracy", cells.level()),
        Column("Right from", cells.count("right_from"), "Samples for which this is the widest view that is right"),
        Column("Lost again at", cells.count("lost_at"), "Of the samples right in a wider view, those first wrong here"),
    )
    table = table_of("From wide to tight", columns, doses.get("points") or [])
    if not table.rows:
        return table
    end = (Cell("never right / right to the end"), Cell(""), Cell(""),
           *(Cell(f"{doses[key]:,}") for key in ("never", "kept")))  # fmt: skip
    return Table(table.caption, table.columns, table.rows, (end,))


def _check_table(anatomy: Mapping[str, Any]) -> Table:
    audit = anatomy.get("audit") or {}
    checks = [
        ("Worse in the crop than in full", "is the evidence enough?", audit.get("sufficiency")),
        ("Right although the evidence is hidden", "is it needed?", audit.get("necessity")),
        *((f"Right in view {view}", ASKS[view], entry) for view, entry in (audit.get("prior") or {}).items()),
        *((f"{clip(view, 40)} minus {entry['prior']}", "should be zero", entry)
          for view, entry in (anatomy.get("against_prior") or {}).items()),
        *((f"Right in the crop, evidence {name.replace('_', ' ')}", "by the locator", entry)
          for name, entry in (audit.get("locator") or {}).items() if isinstance(entry, Mapping)),
    ]  # fmt: skip
    columns = (
        Column("Check", lambda row: cells.text_cell(row["title"], row["asks"]), numeric=False),
        Column("Samples", cells.level("share"), "Share, with its 95% interval"),
        Column("Of", cells.count("share", "n")),
    )
    rows = [{"title": title, "asks": asks, "share": share} for title, asks, share in checks if share]
    return table_of("Audit: can the evidence be trusted?", columns, rows)


def _remaining_gaps(anatomy: Mapping[str, Any]) -> Table:
    gaps = [{"title": words, "gap": nested(anatomy, "audit", "gaps", key)} for key, words in GAPS.items()]
    columns = (
        Column("Gap over", cells.text("title"), numeric=False),
        Column("Gap, points", cells.points("gap"), "With its 95% interval"),
        Column("Samples", cells.count("gap", "n")),
    )
    return table_of("The gap without samples that fail", columns, [row for row in gaps if row["gap"]])


def cures_shown(cures: Mapping[str, Any]) -> list[tuple[str, str, str | None, Table]]:
    """Name, sentence, plot and table by benchmark, from `gapbench.analysis.anatomy.cures.beside_trained`."""
    return [
        (clip(name, 80), clip(entry["sentence"], 1_000), cure_plot(entry["cures"], inline(f"cures{n}")),
         cure_table(entry["cures"]))
        for n, (name, entry) in enumerate(cures.items())
    ]  # fmt: skip


def cure_table(cures: Sequence[Entry]) -> Table:
    """What each cure recovers, and its price."""
    columns = (
        Column("Cure", cells.text("name"), numeric=False),
        Column("Accuracy", cells.level()),
        Column("Points", cells.points("gain"), "Against full, with its 95% interval"),
        Column("Share of the gap", cells.level("share"), "Recovered, with its 95% interval, if the gap is clear"),
        Column("Image tokens", _price("image_tokens", 0), "Mean per answer; below, against full"),
        Column("Seconds", _price("seconds", 2), "Mean per answer; below, against full"),
    )
    return table_of("What closes the gap, at what price", columns, cures)


def _price(key: str, digits: int) -> cells.MakeCell:
    def cell(entry: Entry) -> Cell:
        value, times = entry.get(key), entry.get(f"times_{key}")
        ends = f" [{times['ci'][0]:.2f}, {times['ci'][1]:.2f}]" if times and times["ci"] else ""
        note = f"\u00d7 {times['estimate']:.2f}{ends}" if times and entry["name"] != "full image" else ""
        return Cell(number(value, digits) if value is not None else MISSING, note, value)

    return cell
