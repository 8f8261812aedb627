"""Tables of runs for papers and other programs, and runs as objects in Python."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import gapbench
from gapbench.errors import RunError, SettingError
from gapbench.report.cells import Cell
from gapbench.report.latex import latex_table, latex_text
from gapbench.report.tables import Column, table_of

from .test_compare import answers, compared, repeated, write_run


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    """Two runs under one folder: gap 4 of 10, and none."""
    columns = {"a": repeated(wr=4, rr=4, rw=1, ww=1), "b/c": repeated(rr=10)}
    return [write_run(tmp_path / "runs" / name, answers("signs", pairs)) for name, pairs in columns.items()]


def test_results_have_a_row_per_run_and_benchmark_with_every_interval(runs: list[Path], tmp_path: Path) -> None:
    out = gapbench.export([tmp_path / "runs"], "csv", tmp_path / "new" / "x.csv", labels={str(runs[1]): "mine"})
    table = pd.read_csv(out)
    assert list(table["run"]) == [str(runs[0]), "mine"]
    assert list(table["gap"]) == pytest.approx([0.3, 0.0])
    summary = json.loads((runs[0] / "summary.json").read_text())["benchmarks"]["signs"]
    assert table.loc[0, ["gap_low", "gap_high"]].tolist() == pytest.approx(summary["gap"]["ci"])
    assert table.loc[0, ["full", "crop", "n"]].tolist() == pytest.approx([0.5, 0.8, 10])


def test_full_and_crop_rest_on_the_samples_of_the_gap(tmp_path: Path) -> None:
    """Two samples were not asked in the crop. With them full would be 75 %, and no reader could add up the row."""
    run = write_run(tmp_path / "run", answers("signs", [*repeated(wr=2, rr=4), "r", "r"]))
    table = pd.read_csv(gapbench.export([run], "csv", tmp_path / "x.csv"))
    assert table.loc[0, ["n", "full", "crop", "gap"]].tolist() == pytest.approx([6, 4 / 6, 1.0, 2 / 6])
    whole, paired = summary_of(run)["views"]["full"], summary_of(run)["gap"]
    assert (whole["accuracy"], paired["full"]) == pytest.approx((0.75, 4 / 6))
    assert table.loc[0, ["full_low", "full_high"]].tolist() == pytest.approx(paired["full_ci"]) != whole["ci"]
    page = (run / "report.md").read_text(encoding="utf-8")
    assert "66.7%" in page
    assert "75.0%" not in page.split("## Results")[1].split("##")[0]


def summary_of(run: Path) -> dict[str, Any]:
    entry: dict[str, Any] = json.loads((run / "summary.json").read_text(encoding="utf-8"))["benchmarks"]["signs"]
    return entry


def test_no_file_of_a_run_and_no_device_is_replaced(runs: list[Path], tmp_path: Path) -> None:
    before = (runs[0] / "records.jsonl").read_bytes()
    with pytest.raises(SettingError, match="belongs to a run"):
        gapbench.export([tmp_path / "runs"], "csv", runs[0] / "records.jsonl")
    assert (runs[0] / "records.jsonl").read_bytes() == before
    assert not Path(os.devnull).is_file()
    gapbench.export(runs, "csv", os.devnull)
    assert not Path(os.devnull).is_file()


def test_a_name_is_of_one_run(runs: list[Path], tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="'same' names several runs"):
        gapbench.export(runs, "latex", tmp_path / "x.tex", labels={str(run): "same" for run in runs})


def test_a_run_that_was_killed_after_its_summary_is_counted_anew(runs: list[Path], tmp_path: Path) -> None:
    more = [{**row, "sample": f"late-{row['sample']}"} for row in answers("signs", ["wr"] * 10)]
    with (runs[0] / "records.jsonl").open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in more)
    table = pd.read_csv(gapbench.export([runs[0]], "csv", tmp_path / "x.csv"))
    assert table.loc[0, ["n", "full", "crop"]].tolist() == pytest.approx([20, 0.25, 0.9])


def test_parquet_holds_what_the_methods_of_a_run_give(runs: list[Path], tmp_path: Path) -> None:
    run = gapbench.load_run(runs[0])
    pairs = pd.read_parquet(gapbench.export([runs[0]], "parquet", tmp_path / "p.parquet", what="pairs"))
    assert pairs["flip"].value_counts().to_dict() == {"crop_only": 4, "both": 4, "full_only": 1, "neither": 1}
    assert pairs["gap"].mean() == pytest.approx(run.summary["benchmarks"]["signs"]["gap"]["estimate"])
    records = pd.read_parquet(gapbench.export([runs[0]], "parquet", tmp_path / "r.parquet", what="records"))
    assert len(records) == 20


def test_the_table_for_a_paper(runs: list[Path], tmp_path: Path) -> None:
    text = gapbench.export(runs, "latex", tmp_path / "x.tex", labels={str(runs[0]): "50%_base"}).read_text()
    assert r"\toprule" in text
    assert r"50\%\_base & signs & 10 & 50.0\%" in text
    assert text.count(r" \\") == 3
    assert "$-$" not in text.splitlines()[0]


@pytest.mark.parametrize(("name", "begins"), [("x.csv", "run,benchmark"), ("X.TEX", "%"), ("x.parquet", "PAR1")])
def test_the_suffix_says_the_format_unless_it_is_named(
    runs: list[Path], tmp_path: Path, name: str, begins: str
) -> None:
    assert gapbench.export(runs, "", tmp_path / name).read_bytes().startswith(begins.encode())
    assert gapbench.export(runs, "csv", tmp_path / "x.txt").read_text().startswith("run,benchmark")


@pytest.mark.parametrize(
    ("format_", "name", "says"),
    [("csv", "x.tex", r"x\.tex --format csv: expected --out X\.csv"), ("latex", "x.csv", r"expected --out X\.tex"),
     ("", "x.txt", r"x\.txt: expected one of \.csv, \.parquet, \.tex, or --format"), ("", "x", "or --format")],
)  # fmt: skip
def test_no_file_holds_another_format_than_its_suffix_says(
    runs: list[Path], tmp_path: Path, format_: str, name: str, says: str
) -> None:
    with pytest.raises(SettingError, match=says):
        gapbench.export(runs, format_, tmp_path / name)
    assert not (tmp_path / name).exists()


def test_latex_takes_no_command_from_a_name() -> None:
    hostile = '\\input{/etc/passwd} $x_1^2$ & 50% #1 ~ {a} \u4e2d <b> "q" -- [1]\n\\end{tabular}'
    shown = latex_text(hostile)
    assert shown.startswith(r"\textbackslash{}input\{/etc/passwd\} \$x\_1\textasciicircum{}2\$ \& 50\% \#1")
    assert "U+4E2D" in shown
    table = table_of("t", (Column("a & b", lambda row: Cell(row, "n_1"), numeric=False),), ["[x]"])
    assert "a \\& b \\\\\n\\midrule\n{[}x{]} {\\footnotesize n\\_1} \\\\" in latex_table(table)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex on the path")
@pytest.mark.parametrize("fonts", ["", r"\usepackage[T1]{fontenc}"])
def test_the_table_compiles_whatever_characters_a_name_has(runs: list[Path], tmp_path: Path, fonts: str) -> None:
    name = " ".join(map(chr, range(32, 0x250))) + "\u2212\u2013\u2192\u00d7\u4e2d\\input{x}"
    gapbench.export(runs, "latex", tmp_path / "table.tex", labels={str(runs[0]): name})
    head = rf"\documentclass{{article}}{fonts}\usepackage{{booktabs,textcomp}}"
    (tmp_path / "page.tex").write_text(head + r"\begin{document}\input{table}\end{document}")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "page.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout[-2000:]


def test_what_is_not_there_is_refused(runs: list[Path], tmp_path: Path) -> None:
    with pytest.raises(RunError, match="found no run"):
        gapbench.export([tmp_path / "nothing"], "csv", tmp_path / "x.csv")
    with pytest.raises(SettingError, match="latex takes results alone"):
        gapbench.export(runs, "latex", tmp_path / "x.tex", what="pairs")
    with pytest.raises(SettingError, match="no such run here"):
        gapbench.export(runs[:1], "csv", tmp_path / "x.csv", labels={str(runs[1]): "mine"})


def test_runs_are_found_by_folder_parent_and_pattern(runs: list[Path], tmp_path: Path) -> None:
    for places in ([tmp_path / "runs"], [tmp_path / "runs" / "*"], runs, [*runs, tmp_path]):
        assert [run.path.name for run in gapbench.load_runs(*places)] == ["a", "c"]


def test_objects_are_one_line_and_columns_group(runs: list[Path], tmp_path: Path) -> None:
    run = gapbench.load_run(runs[0])
    assert repr(run).startswith(f"Run({runs[0]}: a; signs n 10, full 50.0%, crop 80.0%, gap +30.0 [")
    assert len(repr(run)) < 200 + len(str(runs[0]))
    frame = run.frame()
    assert all(len(frame.groupby(column, dropna=False)) for column in frame)
    assert run.table().loc[0, "gap"] == pytest.approx(0.3)
    done = compared(tmp_path, answers("signs", repeated(wr=5, rr=5)), answers("signs", repeated(rr=10)))
    assert repr(done).startswith("Comparison(")
    changes = done.frame().set_index("measure")["change"]
    assert changes.to_dict() == pytest.approx({"full": 0.5, "crop": 0.0, "gap": -0.5, "lost_in_full": -0.5})


def test_a_notebook_shows_samples_of_a_cell_escaped(tmp_path: Path) -> None:
    rows = answers("<i>signs", repeated(wr=3, rr=9), question="<script>")
    run = gapbench.load_run(write_run(tmp_path / "run", rows))
    shown = run.show(flip="crop_only")
    assert len(shown.cards) == 3
    assert "&lt;script&gt;" in shown._repr_html_()
    assert "<script>" not in shown._repr_html_()
    assert len(run.show(n=2).cards) == 2
    with pytest.raises(RunError, match="crop_only, full_only"):
        run.show(flip="wrong")


def test_dir_shows_the_api_and_all_of_it_is_there() -> None:
    names = dir(gapbench)
    assert {"measure", "compare", "export", "load_runs", "score", "Run"} <= set(names)
    assert all(hasattr(gapbench, name) for name in names)
