"""The tables of one run, built from `summary.json`. A column is one entry of a table's list of columns.

    [gap_table(summary), view_table(summary), flip_table(summary), *category_tables(summary), *area_tables(summary)]

A table holds all benchmarks of its summary; `gapbench.report.families` separates those that must not share one.
Any number may be null: a view that was not measured and a gap without pairs show as an en dash.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from gapbench.analysis.faults import wide_bound
from gapbench.analysis.metrics import HEADLINE, METRICS
from gapbench.report import cells
from gapbench.report.cells import NAME_LIMIT, Cell, Entry, nested
from gapbench.report.tables import ROW_LIMIT, Column, Summary, Table, benchmarks_of, has_gap, macro_gap, named, table_of
from gapbench.runs.run import level_of
from gapbench.scoring.official import OFFICIAL
from gapbench.util.text import MISSING, area_percent, clip, interval, number, percent

GAP = (
    Column("Gap, points", cells.points("gap"),
           "Crop score minus full score of the same samples, with its 95% interval", mean=True),
    Column("Lost in full", cells.lost("lost_in_full"),
           "Of the samples right in the crop, the share that is wrong in full, with its 95% interval and their "
           "number", mean=True),
)  # fmt: skip
"""The columns of a gap. The share beside the points is what models of different crop accuracy can be compared by."""

METHOD = Column("Interval", cells.text("gap", "method"), "Method of the interval of the gap", numeric=False, mean=True)
"""For a table whose intervals have several methods."""


def gap_table(summary: Summary) -> Table:
    """The main table: one row per benchmark, and the macro mean as footer."""
    benchmarks = benchmarks_of(summary)
    several, judged, macro = len(benchmarks) > 1, _is_judged(summary), macro_gap(summary)
    corrected = "; corrected over the benchmarks by Holm's method" if several else ""
    columns = (
        Column("Benchmark", name_cell, numeric=False, mean=True),
        Column("Samples", _samples, "Samples in the run; below, the paired samples: those that enter the gap"),
        Column("Clusters", _clusters,
               "Samples that share an image form one cluster, the unit of intervals and tests; below, the number of "
               "equal clusters that they are worth, if fewer"),
        Column("Full", cells.level("levels", "full"), "Accuracy on the full image, with its 95% interval"),
        Column("Crop", cells.level("levels", "crop"),
               "Accuracy on the crop around the evidence, with its 95% interval; both over the samples of the gap"),
        *GAP,
        *([BOUND] if is_bounded(summary) else []),
        Column("p (Holm)" if several else "p", cells.probability("gap", "p"),
               f"Sign-flip test over clusters{corrected}", mean=True),
        Column("MDE", cells.mde("gap", "mde"),
               "Minimum detectable effect: smallest gap, in points, that this run detects with 80% power", mean=True),
        Column("Unparsed", _both(percent, "unparsed"), "Answers that no rule could read: full / crop"),
        *([JUDGED] if judged else []),
        Column("Failed", _failed,
               "Answers that the engine failed to give: full / crop; below, samples left out of the gap"),
        Column("Image tokens", _both(number, "image_tokens_mean"), "Mean image tokens per answer: full / crop"),
        *([METHOD] if len({nested(entry, "gap", "method") for entry in benchmarks.values()} - {None}) > 1 else []),
    )  # fmt: skip
    entries = [
        {
            **entry,
            "gap": _with_p(entry.get("gap") or {}, several),
            "levels": {view: level_of(entry, view) for view in ("full", "crop")},
        }
        for entry in named(benchmarks)
    ]
    with_gap = sum(map(has_gap, benchmarks.values()))
    mean = {"name": "Macro mean", "note": f"of {with_gap} benchmarks, unweighted", "gap": _with_p(macro or {}, False),
            "lost_in_full": nested(summary, "macro", "lost_in_full")}  # fmt: skip
    return table_of("Accuracy and gap", columns, entries, [mean] if with_gap > 1 and macro is not None else [])


def _with_p(gap: Entry, corrected: bool) -> Entry:
    """The gap, with the p-value to show as `p`."""
    holm = gap.get("p_value_holm") if corrected else None
    return {**gap, "p": gap.get("p_value") if holm is None else holm}


def name_cell(entry: Entry) -> Cell:
    """The name of a row, with its `note` if it has one."""
    return cells.text_cell(clip(entry["name"], NAME_LIMIT), entry.get("note", ""))


def _clusters(entry: Entry) -> Cell:
    worth = nested(entry, "gap", "effective")
    note = "" if worth is None or worth > 0.95 * nested(entry, "gap", "clusters") else f"worth {worth:,.0f}"
    return replace(cells.count("clusters")(entry), note=note)


def _samples(entry: Entry) -> Cell:
    paired = nested(entry, "gap", "n")
    return replace(cells.count("n")(entry), note=f"{number(paired)} paired" if paired is not None else "")


def _both(show: Callable[[Any], str], key: str) -> cells.MakeCell:
    """Makes a cell of the numbers of both headline views: full / crop."""

    def cell(entry: Entry) -> Cell:
        full, crop = (nested(entry, "views", view, key) for view in ("full", "crop"))
        return Cell(f"{show(full)} / {show(crop)}", "", full)

    return cell


def _failed(entry: Entry) -> Cell:
    dropped = nested(entry, "gap", "dropped")
    return replace(_both(percent, "failed")(entry), note=f"{number(dropped)} left out" if dropped else "")


def is_bounded(summary: Summary) -> bool:
    """Whether the bound of a gap, or of their mean, goes beyond its interval."""
    gaps = [macro_gap(summary), *(entry.get("gap") for entry in benchmarks_of(summary).values())]
    return any(map(wide_bound, gaps))


BOUND = Column(
    "Bound, points",
    lambda entry: Cell(interval(nested(entry, "gap", "bound"), signed=True) or MISSING),
    "Range of the gap if the missing answers count as all wrong or all right, in the way that moves it most",
    mean=True,
)


def _is_judged(summary: Summary) -> bool:
    """Whether the judge decided an answer or failed on one."""
    views = (view for entry in benchmarks_of(summary).values() for view in (entry.get("views") or {}).values())
    return any(view.get("judged") or view.get("judge_failed") for view in views)


def _judged(*views: Mapping[str, Any]) -> Cell:
    """The share of answers that the judge decided in each view, and any share on which it failed."""
    decided, failed = (" / ".join(percent(view.get(key)) for view in views) for key in ("judged", "judge_failed"))
    any_failed = any(view.get("judge_failed") for view in views)
    return Cell(decided, f"failed {failed}" if any_failed else "", views[0].get("judged"))


JUDGED = Column(
    "Judged",
    lambda entry: _judged(*(nested(entry, "views", view) or {} for view in ("full", "crop"))),
    "Answers that the judge decided: full / crop; below, answers on which the judge failed",
)
JUDGED_VIEW = Column("Judged", _judged, "Answers that the judge decided because no rule could read them")


RARE = (
    Column("Too long", cells.share("too_long"), "Prompts longer than the model's context"),
    Column("Cut off", cells.share("cut_off"), "Answers that stopped at the limit of new tokens or of the context"),
    Column("Thought", cells.share("thought"), "Answers with a thought"),
)
"""Columns of the table of views that appear only if a value is above zero."""


def view_table(summary: Summary) -> Table:
    """One row for every view of every benchmark."""
    entries = [
        {"name": name, "view": view, **numbers}
        for name, entry in benchmarks_of(summary).items()
        for view, numbers in (entry.get("views") or {}).items()
    ]
    columns = (
        Column("Benchmark", name_cell, numeric=False),
        Column("View", cells.text("view"), numeric=False),
        Column("Samples", cells.count("n")),
        Column("Accuracy", cells.level(), "With its 95% interval"),
        Column("Unparsed", cells.share("unparsed")),
        *([JUDGED_VIEW] if _is_judged(summary) else []),
        Column("Failed", cells.share("failed")),
        *(column for column in RARE if any(column.cell(entry).sort for entry in entries)),
        Column("Pixels", _pixels, "Mean per answer: the pixels of all images sent with it"),
        Column("Image tokens", cells.count("image_tokens_mean"), "Mean per answer"),
        Column("Output tokens", cells.count("output_tokens_mean", digits=1), "Mean per answer"),
        Column("Flip rate", cells.share("flip_rate"),
               "Probability that two repeats of a sample disagree: the noise floor"),
    )  # fmt: skip
    return table_of("All views", columns, entries)


def _pixels(view: Entry) -> Cell:
    images = view.get("images_mean")
    several = f"{number(images, 1)} images" if images is not None and images != 1 else ""
    return replace(cells.count("sent_pixels_mean")(view), note=several)


def scoring_table(summary: Summary) -> Table:
    """One row for every scoring of every benchmark (`gapbench.analysis.scorings`)."""
    columns = (
        Column("Benchmark", cells.text("benchmark"), numeric=False),
        Column(
            "Scoring", lambda row: cells.text_cell(row["scoring"], clip(row.get("name"), NAME_LIMIT)), numeric=False
        ),
        Column("Full", cells.level("full"), "On the full image, with its 95% interval"),
        Column("Crop", cells.level("crop"), "On the crop around the evidence, with its 95% interval"),
        Column("Gap, points", cells.points("gap"), "Over the same samples under every scoring, with its 95% interval"),
        Column("p", cells.probability("gap", "p_value"), "Sign-flip test over clusters, not corrected"),
        Column("Unparsed", _unparsed, "Answers in which this scoring reads nothing: full / crop"),
    )
    return table_of("The same answers under every scoring", columns, _scorings(summary))


def _scorings(summary: Summary) -> list[dict[str, Any]]:
    return [
        {**(row or {}), "benchmark": benchmark, "scoring": clip(scoring, NAME_LIMIT)}
        for benchmark, entry in benchmarks_of(summary).items()
        for scoring, row in (entry.get("scorings") or {}).items()
    ]


def _unparsed(row: Entry) -> Cell:
    full, crop = (nested(row, "unparsed", view) for view in ("full", "crop"))
    return Cell(f"{percent(full)} / {percent(crop)}", "", full)


def scoring_terms(summary: Summary) -> tuple[tuple[str, str], ...]:
    """(name, meaning) of the scorings that `scoring_table` shows, and of their official rules."""
    rows = _scorings(summary)
    rules = {row["name"]: OFFICIAL[row["name"]] for row in rows if row.get("name") in OFFICIAL}
    meanings = {row["scoring"]: SCORINGS[row["scoring"]] for row in rows if row["scoring"] in SCORINGS}
    return (
        *meanings.items(),
        *((f"official, {name}", f"{rule.does} Source: {rule.source}.") for name, rule in rules.items()),
    )


SCORINGS = {
    "strict": "Only explicit answers count: a statement, or an answer that stands alone. What a rule infers from the "
    "text of an option, a mentioned number or a repeated question is unparsed.",
    "gapbench": "The rules of this tool alone, without a judge.",
    "official": "The rule of the benchmark's own script, its faults included.",
    "judge": "The rules of this tool, and a judge where they read nothing.",
}
"""The scorings in words."""


def metric_table(summary: Summary) -> Table:
    """The metrics of every benchmark that reports more than the accuracy, with the headline metric marked."""
    columns = (
        Column("Benchmark", name_cell, numeric=False),
        Column("Metric", metric_cell, numeric=False),
        Column("Full", cells.level("full"), "On the full image, with its 95% interval"),
        Column("Crop", cells.level("crop"), "On the crop around the evidence, with its 95% interval"),
        Column("Gap, points", cells.points("gap"),
               "Crop minus full on samples answered in both views, with its 95% interval; not tested"),
        Column("Mean over", over_cell, "Number of samples, or of clusters, behind the value of the full view"),
    )  # fmt: skip
    entries = [
        {**(views.get("full") or views.get("crop") or {}), **views, "name": name, **mark}
        for name, mark, views in metrics_of(summary)
    ]
    return table_of("Metrics", columns, entries)


def metrics_of(summary: Summary) -> Iterator[tuple[str, dict[str, Any], Entry]]:
    """(benchmark, `metric` and `headline`, numbers) of every metric of a benchmark that has more than the accuracy."""
    for name, entry in benchmarks_of(summary).items():
        metrics = entry.get("metrics") or {}
        for metric, numbers in metrics.items() if set(metrics) - {HEADLINE} else ():
            yield name, {"metric": metric, "headline": metric == entry.get("headline_metric")}, numbers


def metric_cell(entry: Entry) -> Cell:
    """The title of a metric, with the headline metric marked."""
    return cells.text_cell(metric_title(entry["metric"]), "headline" if entry["headline"] else "")


def over_cell(entry: Entry) -> Cell:
    """The number of samples or clusters over which a metric is a mean."""
    unit = METRICS[entry["metric"]].unit if entry["metric"] in METRICS else ""
    n, left_out = entry.get("n"), entry.get("left_out")
    return Cell(f"{number(n)} {unit}".strip(), f"{number(left_out)} left out" if left_out else "", n)


def metric_title(name: str) -> str:
    """The title of a metric."""
    return METRICS[name].title if name in METRICS else clip(name, NAME_LIMIT)


def flip_table(summary: Summary) -> Table:
    """The flip matrix of every benchmark: the number of samples by the views with a right answer."""
    columns = (
        Column("Benchmark", name_cell, numeric=False),
        Column("Crop only", cells.count("pairs", "crop_only"), "Samples right in the crop, wrong in the full image"),
        Column("Full only", cells.count("pairs", "full_only"), "Samples right in the full image, wrong in the crop"),
        Column("Both", cells.count("pairs", "both"), "Samples right in both views"),
        Column("Neither", cells.count("pairs", "neither"), "Samples right in neither view"),
    )
    return table_of("Flip matrix", columns, named(benchmarks_of(summary)))


GROUP_COLUMNS = (
    Column("Samples", cells.count("n")),
    Column("Clusters", cells.count("clusters")),
    Column("Full", cells.level("full")),
    Column("Crop", cells.level("crop")),
    *GAP,
)


def group_tables(
    by: Literal["category", "area"],
    summary: Summary,
    columns: Callable[[Summary, Entry], Sequence[Column]] = lambda *_: GROUP_COLUMNS,
    limit: int = ROW_LIMIT,
    source: str = "summary.json",
) -> tuple[Table, ...]:
    """One exploratory table for each of the first `limit` benchmarks that has groups: categories, the largest first, or
    bins of evidence area.

    `columns` makes the columns after the heading from the summary and a benchmark's entry.
    """
    heading = (
        Column("Category", name_cell, numeric=False)
        if by == "category"
        else Column("Evidence area", lambda group: Cell(area_label(group), "", group.get("from")), numeric=False)
    )
    tables = []
    for name, entry in list(benchmarks_of(summary).items())[:limit]:
        categories = sorted(named(entry.get("by_category") or {}), key=lambda group: -(group.get("n") or 0))
        groups = categories if by == "category" else entry.get("by_evidence_area") or []
        if groups:
            every = (heading, *columns(summary, entry))
            tables.append(table_of(clip(name, NAME_LIMIT), every, groups, source=source))
    return tuple(tables)


def area_label(group: Mapping[str, Any]) -> str:
    """A bin of relative areas as a percentage range with two significant digits."""
    low, high = (group.get(edge) for edge in ("from", "to"))
    return " to ".join(MISSING if edge is None else area_percent(edge) for edge in (low, high))
