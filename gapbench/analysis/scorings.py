"""The same answers under every scoring: how far accuracies and gap depend on who reads the answers, and how.

    scorings(records, table, numbers, "pope")     # {"strict": …, "gapbench": …, "official": …}
    dependence(benchmarks)    # "; the gap depends on the scoring rule: +4.0 points [-1.0, +9.0] under strict"

| scoring | what it reads |
|---|---|
| strict | explicit answers only; an answer that a rule infers (`gapbench.scoring.INFERRED`) is unparsed |
| gapbench | the rules of `gapbench.scoring`, without a judge |
| official | the rule of the benchmark's own script, if the card names one (`gapbench.scoring.official`) |
| judge | gapbench's rules, and the judge where they read nothing; only if a judge was asked |

All cover the samples of the gap, so they differ in nothing but the scoring. The last of gapbench and judge is what the
rest of the summary reports. An unparsed answer scores 0 under each.

Limits: p-values are not corrected for the number of scorings. An official rule that only compares texts has no unparsed
answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from gapbench.analysis.aggregate import PAIR, THOROUGH, Effort, Json, mean_scores
from gapbench.analysis.statistics import is_shown
from gapbench.scoring import INFERRED
from gapbench.scoring.official import find
from gapbench.util.text import listed, signed_in_words

JUDGE = "judge"
"""The scoring with a judge, and the `rule` of a record that the judge decided."""
UNREAD = ("unparsed", "judge_failed")
"""Outcomes of answers that nothing could read."""
NAMED = 2
"""Scorings, and benchmarks, that the verdict names."""


def scorings(
    records: pd.DataFrame, table: pd.DataFrame, numbers: Callable[[pd.DataFrame, Effort], Json], official: str = ""
) -> Json:
    """An entry per scoring: `numbers` of `table` with that scoring's scores, and `unparsed` by view.

    `records` are those of one benchmark, with the judge's verdicts applied. `table` has a row for each sample of the
    gap and a column of mean scores for each view. Raises SettingError for an unknown `official` rule.
    """
    views = [view for view in PAIR if view in table]
    chosen = (records["outcome"] != "failed") & records["sample"].isin(table.index) & records["view"].isin(views)
    answers = records[chosen]
    entries: Json = {}
    known: dict[bytes, Json] = {}  # scorings often agree on every answer
    for name, scores, about in _scored(answers, official) if len(answers) else ():
        scored = mean_scores(answers.assign(score=scores.fillna(0.0)))[views].reindex(table.index)
        key = scored.to_numpy(float).tobytes()
        if key not in known:
            known[key] = numbers(table.assign(**{view: scored[view] for view in views}), THOROUGH)
        unparsed = scores.isna().groupby(answers["view"], observed=True).mean()
        entries[name] = {**about, **known[key], "unparsed": {view: float(unparsed[view]) for view in views}}
    return entries


def _scored(answers: pd.DataFrame, official: str) -> Iterator[tuple[str, pd.Series[float], Json]]:
    """(scoring, score of each answer, facts about the scoring); the score of an unparsed answer is NaN."""
    read = answers["score"].where(~answers["outcome"].isin(UNREAD))
    judged = answers["outcome"] == "judge_failed"
    if "rule" in answers:
        judged |= answers["rule"] == JUDGE
        yield "strict", read.where(~answers["rule"].isin({*INFERRED, JUDGE})), {}
    yield "gapbench", read.where(~judged), {}
    if official and {"output", "answers", "options"} <= {*answers.columns}:
        rule = find(official)
        fields = zip(answers["output"], answers["answers"], answers["options"], strict=True)
        scores = pd.Series([rule.score(*sample) for sample in fields], answers.index, dtype=float)
        yield "official", scores, {"name": official, "source": rule.source}
    if judged.any():
        yield JUDGE, read, {}


def dependence(benchmarks: Mapping[str, Mapping[str, Any]]) -> str:
    """A clause for each benchmark whose gap has another sign or significance under another scoring; else no text.

    A gap is significant if its interval excludes zero and its test agrees.
    """
    clauses = []
    for name, entry in benchmarks.items():
        gaps = {scoring: row["gap"] for scoring, row in (entry.get("scorings") or {}).items() if row["gap"]}
        reported = gaps.get(JUDGE) or gaps.get("gapbench")
        if not reported:
            continue
        others = [f"{_in_words(gap)} under {scoring}" for scoring, gap in gaps.items() if _differ(gap, reported)]
        if others:
            where = f" on {name}" if len(benchmarks) > 1 else ""
            clauses.append(f"the gap{where} depends on the scoring rule: {listed(others, NAMED)}")
    more = len(clauses) - NAMED
    clauses[NAMED:] = [f"so does that on {more} more benchmark{'s' * (more > 1)}"] if more > 0 else []
    return "".join(f"; {clause}" for clause in clauses)


def _differ(gap: Mapping[str, Any], reported: Mapping[str, Any]) -> bool:
    """Whether two gaps have opposite signs, or only one of them is significant."""
    significant = [is_shown(one["ci"], one.get("p_value")) for one in (gap, reported)]
    signs = {np.sign(round(one["estimate"], 9)) for one in (gap, reported)}
    return signs == {-1, 1} or significant[0] != significant[1]


def _in_words(gap: Mapping[str, Any]) -> str:
    ends = ", ".join(signed_in_words(end) for end in gap["ci"] or ())
    return f"{signed_in_words(gap['estimate'])} points{f' [{ends}]' if ends else ''}"
