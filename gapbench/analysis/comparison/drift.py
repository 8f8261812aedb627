"""How the form of answers changed between two runs: length, faults, and the rules that could read them.

    entry = drift(before.records, after.records, shared.samples)    # {"full": {"n": 100, "before": {…}, …}, "crop": …}
    mark_large(benchmarks); text = in_words(entry)                  # "", or what changed much

A training that changes how answers are worded changes scores without changing what is seen. Every level is a mean over
the samples with records in both runs, of the mean over a sample's repeats. `characters` and `tokens` are the length of
an answer (of a thought too, in tokens), and `rules` the shares of the rules that read it; failed answers have neither.
`cut_off`, `unparsed` and `failed` are shares of all answers.

A change is large if a share moved by at least 5 points, or a mean length by half, and its sign-flip test over clusters,
corrected over all changes of a comparison by Holm's method, is below 5 %.

Limits: a rule names the form of an answer, not its style; two wordings that one rule reads do not differ here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from gapbench.analysis.aggregate import GROUPS, PAIR, Json
from gapbench.analysis.comparison.shared import SIDES
from gapbench.analysis.statistics import LEVEL, holm, sign_flip_test
from gapbench.util.text import number, percent_in_words

LENGTHS = {"characters": "characters", "tokens": "tokens"}
FAULTS = {"cut_off": "cut off", "unparsed": "unparsed", "failed": "failed"}
LARGE_SHARE, LARGE_RATIO = 0.05, 1.5
NO_RULE = "none"
"""The rule of answers that no rule could read."""


def drift(before: pd.DataFrame, after: pd.DataFrame, samples: pd.DataFrame) -> Json:
    """The form of the answers of one benchmark by view (`full`, `crop`); None for a view without records in both runs.

    Each has `n` (samples), `before`, `after` (`characters`, `tokens`, `cut_off`, `unparsed`, `failed`, `rules`) and the
    `p_values` of the measures that changed, uncorrected. `samples` has the `cluster` of each sample.
    """
    forms = [_forms(records) for records in (before, after)]
    entries: Json = {}
    for view in PAIR:
        sides = [form[form["view"] == view].drop(columns="view").groupby("sample").mean() for form in forms]
        common = sides[0].index.intersection(sides[1].index)
        entries[view] = _of_view([side.loc[common] for side in sides], samples) if len(common) else None
    return entries


def _of_view(sides: list[pd.DataFrame], samples: pd.DataFrame) -> Json:
    names = list(dict.fromkeys(str(name) for side in sides for name in side))
    first, second = (_with_rules(side, names) for side in sides)
    p_values = {}
    for name in names:
        if name == f"rules.{NO_RULE}":  # they are the unparsed ones
            continue
        differences = (second[name] - first[name]).dropna()
        if differences.any():
            clusters = samples.loc[differences.index, "cluster"].to_numpy()
            p_values[name] = sign_flip_test(differences.to_numpy(float), clusters, **GROUPS)
    levels = {side: _levels(table) for side, table in zip(SIDES, (first, second), strict=True)}
    return {"n": len(first), **levels, "p_values": p_values}


def _with_rules(table: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """The table with these columns: a rule that it lacks read no answer of the samples that have one."""
    unread = table["characters"].where(table["characters"].isna(), 0.0)
    return pd.DataFrame({name: table.get(name, unread) for name in names})


def _forms(records: pd.DataFrame) -> pd.DataFrame:
    """`sample`, `view` and one column per measure, a row per record; `rules.NAME` for the rules."""
    fields = records.reindex(columns=["sample", "view", "outcome", "output", "output_tokens", "cut_off", "rule"])
    answered = fields["outcome"] != "failed"
    table = fields[["sample", "view"]].astype(str)
    table["characters"] = fields["output"].fillna("").astype(str).str.len().astype(float).where(answered)
    table["tokens"] = pd.to_numeric(fields["output_tokens"], errors="coerce").astype(float).where(answered)
    table["cut_off"] = fields["cut_off"].eq(True).astype(float)
    for outcome in ("unparsed", "failed"):
        table[outcome] = fields["outcome"].eq(outcome).astype(float)
    rules = fields["rule"].fillna("").astype(str).replace("", NO_RULE)
    for rule in sorted(set(rules[answered])):
        table[f"rules.{rule}"] = rules.eq(rule).astype(float).where(answered)
    return table


def _levels(table: pd.DataFrame) -> Json:
    means = {str(name): None if pd.isna(mean := table[name].mean()) else float(mean) for name in table}
    shares = {name.removeprefix("rules."): mean for name, mean in means.items() if name.startswith("rules.") and mean}
    rules = dict(sorted(shares.items(), key=lambda item: (-item[1], item[0])))
    return {**{name: means[name] for name in (*LENGTHS, *FAULTS)}, "rules": rules}


def mark_large(benchmarks: Mapping[str, Mapping[str, Any]]) -> None:
    """Replace the `p_values` of the `drift` of all benchmarks by `large`: the names of the measures that moved much."""
    entries = {(name, view): one for name, b in benchmarks.items() for view, one in b["drift"].items() if one}
    corrected = holm({(*key, name): p for key, one in entries.items() for name, p in one["p_values"].items()})
    for key, entry in entries.items():
        tested = entry.pop("p_values")
        entry["large"] = [name for name in tested if corrected[*key, name] < 1 - LEVEL and _moved(entry, name)]


def _moved(entry: Mapping[str, Any], name: str) -> bool:
    first, second = levels_of(entry, name)
    if name in LENGTHS:
        return max(first, second) >= LARGE_RATIO * min(first, second)
    return abs(second - first) >= LARGE_SHARE - 1e-9


def levels_of(entry: Mapping[str, Any], name: str) -> tuple[float, float]:
    """A measure before and after, by a name as `large` has it: `characters`, `failed`, `rules.text-exact`."""
    kind, _, rule = name.partition(".")
    first, second = (entry[side]["rules"].get(rule) if rule else entry[side][kind] for side in SIDES)
    return first or 0.0, second or 0.0


def in_words(entries: Mapping[str, Any]) -> str:
    """What changed much in the form of a benchmark's answers, as sentences; empty if nothing did."""
    changed = [f"{view}: {', '.join(_parts(entry))}" for view, entry in entries.items() if entry and entry["large"]]
    if not changed:
        return ""
    return (
        f"The form of the answers changed (in {'; in '.join(changed)}). Scores can change by form alone: read some "
        "answers of both runs before taking a change of scores for a change of what is seen."
    )


def _parts(entry: Mapping[str, Any]) -> Iterator[str]:
    for name in entry["large"]:
        first, second = levels_of(entry, name)
        if name in LENGTHS:
            yield f"{number(first, 1)} → {number(second, 1)} {LENGTHS[name]} on average"
        else:
            what = FAULTS.get(name) or f"read by rule {name.partition('.')[2]}"
            yield f"{what} {percent_in_words(first)} → {percent_in_words(second)}"
