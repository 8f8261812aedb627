"""A run: a folder with the manifest (`run.json`), the records (`records.jsonl`) and the results (`summary.json`).

    run = gapbench.load_run("runs/glance")
    run                                     # Run(runs/glance: glance; signs n 300, full 46.3%, …)
    run.table(); run.pairs().groupby("category").gap.mean(); run.frame().groupby("view").score.mean()
    run.show(flip="crop_only")              # sample cards, in a notebook

Summary and reports can be rebuilt from manifest and records, without a model, an engine or a benchmark.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gapbench.errors import GapbenchError, RunError
from gapbench.runs import records
from gapbench.util.text import EVIDENCE_CAPTIONS, clip, error_line, interval, number, percent, points

if TYPE_CHECKING:
    import pandas as pd

DAMAGE = (ValueError, TypeError, LookupError, AttributeError, RecursionError)
"""What reading a file raises whose JSON is not of the expected form."""
FLIPS = {(1, 1): "both", (1, 0): "crop_only", (0, 1): "full_only", (0, 0): "neither"}
"""The cells of the flip matrix, by whether crop and full are right (a score of at least 0.5)."""


@dataclass(frozen=True, repr=False)
class Run:
    """A run's folder, with its summary and manifest as they were when it was opened."""

    path: Path
    summary: dict[str, Any]
    manifest: dict[str, Any]

    @property
    def judged(self) -> bool:
        """Whether the summary includes the judge's verdicts."""
        return "judge" in self.summary

    def frame(self) -> pd.DataFrame:
        """One row per record and one column per field of `gapbench.types.Record`. Verdicts apply as in the summary.

        Fields with several values hold tuples, so that every column can group.
        """
        from gapbench.runs import judgements

        frame = judgements.read_frame(self.path) if self.judged else records.read_frame(self.path)
        several = [str(column) for column in frame if any(isinstance(value, list) for value in frame[column])]
        return frame.assign(**{column: frame[column].map(_hashable) for column in several})

    def table(self) -> pd.DataFrame:
        """One row per benchmark: `results` of the summary as a data frame, proportions in 0..1."""
        import pandas as pd

        return pd.DataFrame(results(self.summary))

    def pairs(self) -> pd.DataFrame:
        """One row per sample, indexed by benchmark and sample: what it is, its mean score in each view (NaN without an
        answer), `gap` (crop minus full) and `flip` (a cell of the flip matrix, or None without a pair)."""
        import pandas as pd

        frame, keys = self.frame(), ["benchmark", "sample"]
        about = ["category", "cluster", "evidence_area", "question", "options", "answers"]
        first = frame.sort_values("view", ascending=False).groupby(keys, sort=False)[about].first()
        scores = frame.pivot_table(index=keys, columns="view", values="score", aggfunc="mean", observed=True)
        table = first.join(scores.reindex(columns=list(dict.fromkeys(["full", "crop", *scores]))))
        table["gap"] = table["crop"] - table["full"]
        right = zip(table["crop"], table["full"], strict=True)
        table["flip"] = [None if pd.isna(c + f) else FLIPS[int(c >= 0.5), int(f >= 0.5)] for c, f in right]
        return table

    def show(self, flip: str | None = None, n: int = 6) -> ShownSamples:
        """The first `n` samples of a cell of the flip matrix (`crop_only`, `full_only`, `both`, `neither`) for a
        notebook, with images where they are stored; of all samples by default."""
        if flip is not None and flip not in FLIPS.values():
            raise RunError(f"flip: found {flip!r}; expected {', '.join(FLIPS.values())}.")
        pairs, frame = self.pairs(), self.frame()
        chosen = list((pairs if flip is None else pairs[pairs["flip"] == flip]).index)
        from gapbench.runs.thumbnails import thumbnail_key

        files = {key: self.path / "thumbnails" / f"{thumbnail_key(*key)}-full.jpg" for key in chosen}
        chosen = sorted(chosen, key=lambda key: not files[key].exists())[:n]
        outputs = {key: rows.groupby("view").first() for key, rows in frame.groupby(["benchmark", "sample"])}
        return ShownSamples(tuple(_card(key, pairs.loc[key], outputs[key], files[key]) for key in chosen))

    def __repr__(self) -> str:
        lines = (one_line(row) for row in results(self.summary))
        return f"Run({self.path}: {self.summary.get('model') or 'unnamed model'}; {'; '.join(lines)})"

    @property
    def report(self) -> Path:
        """The path of the HTML report."""
        return self.path / "report.html"

    def _repr_html_(self) -> str:
        """The verdict and the numbers behind it, for a notebook."""
        # Kinds of evidence must not share a table. Annotated evidence comes first.
        captions = {
            name: EVIDENCE_CAPTIONS.get(b.get("evidence", ""), "") for name, b in self.summary["benchmarks"].items()
        }
        tables = (
            _html_table(
                result_table(
                    {"benchmarks": {n: b for n, b in self.summary["benchmarks"].items() if captions[n] == kind}}
                ),
                kind,
            )
            for kind in sorted(set(captions.values()))
        )
        return f"<p>{escape(self.summary['verdict'])}</p>{''.join(tables)}"


@dataclass(frozen=True)
class ShownSamples:
    """Cards of samples, as HTML: what `Run.show` returns."""

    cards: tuple[str, ...]

    def _repr_html_(self) -> str:
        return "".join(self.cards) or "<p>No such sample.</p>"

    def __repr__(self) -> str:
        return f"ShownSamples({len(self.cards)} samples; a notebook shows them)"


def records_in(summary: Mapping[str, Any]) -> int:
    """The number of records that a summary rests on."""
    return sum(int(entry.get("records") or 0) for entry in (summary.get("benchmarks") or {}).values())


def results(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row per benchmark of a summary: counts, accuracies, gap and share lost in full, with their 95% intervals.

    Beside a gap all numbers rest on its samples. Proportions are in 0..1; what a benchmark lacks is None.
    """
    rows = []
    for name, entry in summary["benchmarks"].items():
        counted = entry["gap"] or entry
        row = {"benchmark": name, "evidence": entry.get("evidence"), "n": counted["n"], "clusters": counted["clusters"]}
        parts = {**{view: level_of(entry, view) for view in ("full", "crop")}, "gap": entry["gap"]}
        for key, part in {**parts, "lost_in_full": entry.get("lost_in_full")}.items():
            numbers = part or {}
            low, high = numbers.get("ci") or (None, None)
            row |= {key: numbers.get("estimate"), f"{key}_low": low, f"{key}_high": high}
        row["lost_in_full_n"] = (entry.get("lost_in_full") or {}).get("n")
        rows.append({**row, "p_value": (entry["gap"] or {}).get("p_value")})
    return rows


def level_of(entry: Mapping[str, Any], view: str) -> dict[str, Any]:
    """Accuracy in `full` or `crop` as `estimate` and `ci`: over the samples of the gap, so that the three fit together.

    Without a gap it is over all samples answered in the view. Summaries of earlier versions have no interval for the
    samples of the gap where they are fewer.
    """
    gap, numbers = entry.get("gap"), (entry.get("views") or {}).get(view) or {}
    if not gap:
        return {"estimate": numbers.get("accuracy"), "ci": numbers.get("ci")}
    same = gap.get("n") == numbers.get("n")
    return {"estimate": gap.get(view), "ci": gap.get(f"{view}_ci") or (numbers.get("ci") if same else None)}


def result_table(summary: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """`results` as texts for a terminal or a notebook, the heading first."""
    lines: list[tuple[str, ...]] = [("benchmark", "n", "full", "crop", "gap", "95% interval", "lost in full")]
    for row in results(summary):
        ends = interval((row["gap_low"], row["gap_high"]), signed=True)
        cells = (percent(row["full"]), percent(row["crop"]), points(row["gap"]), ends, percent(row["lost_in_full"]))
        lines.append((clip(row["benchmark"], 60), number(row["n"]), *cells))
    return lines


def one_line(row: Mapping[str, Any]) -> str:
    """A row of `results` as text."""
    ends = interval((row["gap_low"], row["gap_high"]), signed=True)
    levels = f"full {percent(row['full'])}, crop {percent(row['crop'])}, gap {points(row['gap'])} {ends}".strip()
    return f"{row['benchmark']} n {number(row['n'])}, {levels}"


def _html_table(lines: list[tuple[str, ...]], caption: str) -> str:
    head, *rows = (
        "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in line)
        for tag, line in zip(["th", *["td"] * len(lines)], lines, strict=False)
    )
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return f"<table><caption>{caption}</caption><tr>{head}</tr>{body}</table>"


def _card(key: tuple[str, str], sample: Any, outputs: pd.DataFrame, file: Path) -> str:
    """A sample as HTML. Every text is escaped."""
    images = "".join(
        f'<img src="data:image/jpeg;base64,{base64.b64encode(path.read_bytes()).decode()}" style="max-height:18em">'
        for path in (file, file.with_name(file.name.replace("-full", "-crop")))
        if path.exists()
    )
    answers = "".join(
        f"<li>{escape(str(view))}: {escape(clip(row.output, 300))} ({escape(row.outcome)})</li>"
        for view, row in outputs.iterrows()
    )
    options = escape(clip("; ".join(sample.options), 300))
    accepted = escape(clip(", ".join(sample.answers), 200))
    return (
        f"<p><b>{escape(clip(' '.join(key), 120))}</b> {escape(str(sample.flip))}</p>{images}"
        f"<p>{escape(clip(sample.question, 600))} {options}<br>accepted: {accepted}</p><ul>{answers}</ul>"
    )


def _hashable(value: Any) -> Any:
    return tuple(map(_hashable, value)) if isinstance(value, list) else value


@contextmanager
def naming(folder: Path) -> Iterator[None]:
    """While the files of a run are read: every error names its folder, and damage of any kind is a RunError."""
    try:
        yield
    except GapbenchError as error:
        if str(folder) in str(error):
            raise
        raise RunError(f"{folder}: {error}") from error
    except (PermissionError, IsADirectoryError, NotADirectoryError, *DAMAGE) as error:
        raise RunError(
            f"{folder}: its files are damaged ({error_line(error)}). Restore them, or leave this run out; gapbench "
            "report rebuilds summary.json."
        ) from error


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of a run's folder. Raises RunError if the file is missing or damaged."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        remedy = "Check the path." if path.name == "run.json" else "gapbench report rebuilds it."
        raise RunError(f"{path}: cannot be read ({reason}). Expected the folder of a run. {remedy}") from error
    if not isinstance(value, dict):
        raise RunError(f"{path}: found {type(value).__name__}; expected a JSON object. Restore or delete it.")
    return value
