"""Writes the results of runs as a table for a paper or for other programs.

    gapbench.export(["runs/*"], "latex", "gaps.tex")
    gapbench.export(["runs/glance"], "parquet", "pairs.parquet", what="pairs")

Tables: `results` (a row per run and benchmark), `pairs` (a row per sample, with its score in every view) and `records`
(a row per answer). Every row begins with the name of its run. LaTeX takes results alone.

Limits: results of benchmarks over annotated evidence and over regions made by a model stand in one table; the column
`evidence` says which is which. Nothing is averaged.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gapbench.commands.report import load_runs
from gapbench.errors import SettingError
from gapbench.runs.listing import renamed
from gapbench.runs.run import Run, results
from gapbench.util.files import replacing, write_text

if TYPE_CHECKING:
    import pandas as pd

FORMATS = {"csv": ".csv", "parquet": ".parquet", "latex": ".tex"}
"""Each format, and the suffix of its files."""
TABLES = ("results", "pairs", "records")


def export(
    runs: Sequence[str | Path],
    format: str,
    out: str | Path,
    *,
    what: str = "results",
    labels: Mapping[str, str] | None = None,
) -> Path:
    """Write a table of the runs to the file `out` and return its path.

    `runs` are folders of runs, folders that hold runs, or patterns. An empty `format` is that of the suffix of `out`.
    `labels` maps folders of runs to names; other runs are named after their folders. Raises RunError for a place
    without a run, SettingError for an unknown format, table or label, for a name of several runs, for a suffix of
    another format, and for a file that belongs to a run.
    """
    path = Path(out)
    by_suffix = next((name for name, suffix in FORMATS.items() if suffix == path.suffix.lower()), "")
    if not (format or by_suffix) or (format in FORMATS and by_suffix not in ("", format)):
        expected = f"--out X{FORMATS[format]}" if format else f"one of {', '.join(FORMATS.values())}, or --format"
        raise SettingError(f"--out {out}{f' --format {format}' * bool(format)}: expected {expected}.")
    format = format or by_suffix
    if format not in FORMATS or what not in TABLES or (format == "latex" and what != "results"):
        raise SettingError(
            f"--format {format} --what {what}: expected a format of {', '.join(FORMATS)}, and a table of "
            f"{', '.join(TABLES)}; latex takes results alone."
        )
    opened = load_runs(*runs)
    named = {str(run.path): run for run in opened}
    names = dict(zip(named, renamed(labels or {}, [Path(path) for path in named], list(named)), strict=True))
    if path.exists() and path.resolve().parent in {run.path.resolve() for run in opened}:
        raise SettingError(f"--out {path}: this file belongs to a run. Choose another name or folder.")
    if format == "latex":
        write_text(path, _latex({names[key]: run for key, run in named.items()}))
        return path
    import pandas as pd

    table = pd.concat([_table(run, what).assign(run=names[key]) for key, run in named.items()], ignore_index=True)
    table = table[["run", *table.columns.drop("run")]]
    with replacing(path) as draft:
        if format == "csv":
            table.map(_flat).to_csv(draft, index=False, lineterminator="\n")
        else:
            table.to_parquet(draft, index=False)
    return path


def _table(run: Run, what: str) -> pd.DataFrame:
    tables = {"results": run.table, "pairs": lambda: run.pairs().reset_index(), "records": run.frame}
    return tables[what]()


def _flat(value: Any) -> Any:
    """Several values in one cell of a CSV file, as JSON."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, tuple | list) else value


def _latex(runs: Mapping[str, Run]) -> str:
    from gapbench.report.cells import count, level, points, text
    from gapbench.report.latex import latex_table
    from gapbench.report.tables import Column, table_of

    rows = [
        {**row, "run": name, **{key: {"estimate": row[key], "ci": (row[f"{key}_low"], row[f"{key}_high"])}
                                for key in ("full", "crop", "gap", "lost_in_full")}}
        for name, run in runs.items() for row in results(run.summary)
    ]  # fmt: skip
    columns = (
        *([Column("Run", text("run"), numeric=False)] if len(runs) > 1 else []),
        Column("Benchmark", text("benchmark"), numeric=False),
        Column("n", count("n")),
        Column("Full", level("full")),
        Column("Crop", level("crop")),
        Column("Gap", points("gap")),
        Column("Lost in full", level("lost_in_full")),
    )
    return latex_table(table_of("Accuracy and gap with 95% intervals, in percent and percentage points", columns, rows))
