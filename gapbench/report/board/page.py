"""Write the page of a board: `board.html` to look at, `board.md` to paste.

    write_board(Path("board"), board)

Everything comes from `board.json`. The script of the page only shows, hides, sorts and marks what the page holds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gapbench.report.board.plots import LEAST, area_lines, dumbbell
from gapbench.report.board.tables import (
    MEASURES,
    area_table,
    in_order,
    matrix_table,
    ordered,
    place_table,
    run_table,
    setting_table,
)
from gapbench.report.families import ANNOTATED
from gapbench.report.finishes import inline
from gapbench.report.jinja import asset, environment, script_of
from gapbench.report.run.anatomy_tables import cures_shown
from gapbench.util.files import write_text
from gapbench.util.text import EVIDENCE_CAPTIONS, clip, counted, listed

MESSAGES = 60
"""Notes of one kind on the page; the others are in board.json."""


def write_board(folder: Path, board: Mapping[str, Any]) -> None:
    """Write `folder/board.html` and `folder/board.md`. `board` is the content of `board.json`."""
    page = _content(board)
    write_text(folder / "board.html", environment(html=True).get_template("board.html.j2").render(page))
    write_text(folder / "board.md", environment(html=False).get_template("board.md.j2").render(page))


def _content(board: Mapping[str, Any]) -> dict[str, Any]:
    parts = [*_parts(board)]
    labels = [run["label"] for run in board["runs"]]
    return {
        "title": f"Board of {counted(len(labels), 'model')}",
        "verdict": clip(board["verdict"], 2_000),
        "baseline": clip(board["baseline"], 60) if board["baseline"] else "",
        "places": [place for part in parts for place in part["places"]],
        "parts": parts,
        "measures": {name: title for name, (title, *_) in MEASURES.items()},
        "meanings": dict(MEASURES.values()),
        "runs": {run["label"]: run for run in board["runs"]},
        "shown": {label: clip(label, 60) for label in labels},
        "area": area_lines(board["area"], labels, inline("area")),
        "area_least": LEAST,
        "area_table": area_table(board),
        "cures": cures_shown(board["cures"]),
        "suites": board["suites"],
        "apart": [(clip(n, 80), clip(e["apart"], 400)) for n, e in board["benchmarks"].items() if e["apart"]][
            :MESSAGES
        ],
        "left_out": [
            (clip(one["run"], 80), clip(one["benchmark"], 80), clip(one["reason"], 400)) for one in board["left_out"]
        ][:MESSAGES],
        "alerts": [(clip(one["benchmark"], 80), clip(one["text"], 600)) for one in board["alerts"]][:MESSAGES],
        "notices": _notices(board),
        "chosen": _chosen(board, parts),
        "run_table": run_table(board),
        "setting_table": setting_table(board),
        "data": {"labels": labels, **board["comparisons"]},
        "style": asset("style.css", "board.css"),
        **script_of("sort.js", "board.js"),
    }


def _notices(board: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(benchmarks, text) of the remarks to be read beside the numbers; a remark that several share is shown once."""
    names: dict[str, list[str]] = {}
    for name, entry in board["benchmarks"].items():
        if entry["notice"]:
            names.setdefault(clip(entry["notice"], 1_000), []).append(clip(name, 60))
    return [(listed(of, 6), text) for text, of in names.items()][:MESSAGES]


def _chosen(board: Mapping[str, Any], parts: Sequence[Mapping[str, Any]]) -> list[str]:
    """The two runs that are marked at first: the baseline, else the best one, and the best one of another model."""
    order = dict.fromkeys([*filter(None, [board["baseline"]]), *(label for part in parts for label in part["order"])])
    models = {run["label"]: (run["model"], run["identity"].get("sha256")) for run in board["runs"]}
    return [*order][:1] + sorted([*order][1:], key=lambda label: models[label] == models[next(iter(order))])


def _parts(board: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """For each kind of evidence: its title, its mean and benchmarks (`places`), and the tables by measure."""
    for key, kind in (("mean", ""), ("mean_model", "model")):
        names = [name for name, one in board["benchmarks"].items() if (one["evidence"] == "model") is bool(kind)]
        if not names:
            continue
        mean, ending = board[key], f", {EVIDENCE_CAPTIONS[kind].lower()}" if kind else ""
        places = []
        if mean and len(mean["benchmarks"]) > 1:
            places.append(_place(board, mean, f"Mean of {len(mean['benchmarks'])} benchmarks{ending}", mean["without"]))
        for name in names:
            block = board["benchmarks"][name]
            words = counted(block["n"], "sample") + (
                f", {counted(block['clusters'], 'cluster')}" if block["clusters"] < block["n"] else ""
            )
            places.append(_place(board, block, f"{clip(name, 60)}: {words}{ending}", ()))
        measured = [
            m for m in MEASURES if any(e[m] for name in names for e in board["benchmarks"][name]["models"].values())
        ]
        yield {
            "title": EVIDENCE_CAPTIONS[kind] if kind else ANNOTATED,
            "mean_of": [clip(name, 60) for name in mean["benchmarks"]] if mean else [],
            "places": places,
            "order": in_order(board, names, mean),
            "matrices": {measure: matrix_table(board, measure, names, mean) for measure in measured},
        }


def _place(board: Mapping[str, Any], block: Mapping[str, Any], caption: str, without: Sequence[str]) -> dict[str, Any]:
    models = ordered(block)
    table = place_table(block, caption, board["baseline"])
    return {
        "table": table,
        "labels": [*models],
        "bells": [dumbbell(entry) for entry in models.values()],
        "without": [clip(label, 60) for label in without],
        "dropped": block.get("dropped") or 0,
    }
