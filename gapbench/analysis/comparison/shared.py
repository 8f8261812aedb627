"""The questions two runs share, and the refusal to compare different ones.

    shared = share(before.records, after.records, ("before", "after"))["signs"]
    shared.table[["before_full", "after_full"]].mean()

A question is used when every view concerned was answered in both runs; a view is concerned when both runs answered it.
So all numbers of one benchmark stand on the same questions, and the gap's change is the crop's minus the full one's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from gapbench.analysis.aggregate import PAIR, mean_scores
from gapbench.analysis.statistics import merge_clusters
from gapbench.errors import RunError
from gapbench.util.text import shorten

SIDES = ("before", "after")
ASKED = ("question", "options", "answers", "answer_type", "image_hash", "evidence", "boxes")
"""What makes a question the same question."""
MAY_BE_UNKNOWN = ("image_hash", "evidence", "boxes")
"""A record whose image could not be decoded lacks these, which makes it no other question."""
KNOWN = (*ASKED, "category", "cluster", "evidence_area")


@dataclass(frozen=True)
class Shared:
    """The questions of one benchmark that two runs share.

    `table` has one row per question, sorted by id: the mean scores `before_full`, `after_full`, `before_crop`,
    `after_crop` of the `views` concerned, `cluster` (int), `category` (str) and `evidence_area` (float or NaN).
    `asked` has one row per question that either run asked: `cluster`, `category`, `evidence_area`, `declared` (the
    benchmark's own cluster) and `image_hash`. `evidence` is `annotated`, `model` or empty. `dropped` questions were
    asked in both runs but not answered in every view concerned; `only` counts those asked in one run alone, in the
    order of the runs.
    """

    table: pd.DataFrame
    asked: pd.DataFrame
    evidence: str
    views: tuple[str, ...]
    dropped: int
    only: tuple[int, int]


def share(before: pd.DataFrame, after: pd.DataFrame, labels: tuple[str, str]) -> dict[str, Shared]:
    """What two runs share, by benchmark; benchmarks without a question to compare are left out.

    Raises RunError when a sample of the same id is another question, and when nothing is shared.
    """
    names = sorted(set(before["benchmark"]) & set(after["benchmark"]))
    found = {
        name: _share(name, before[before["benchmark"] == name], after[after["benchmark"] == name], labels)
        for name in names
    }
    kept = {name: shared for name, shared in found.items() if len(shared.table)}
    if not kept:
        asked = [", ".join(sorted(set(frame["benchmark"]))) for frame in (before, after)]
        raise RunError(
            f"the runs {labels[0]} and {labels[1]} share no answered question: {labels[0]} measured {asked[0]}, "
            f"{labels[1]} measured {asked[1]}. Measure both models on the same benchmarks, with the same parameters."
        )
    return kept


def _share(name: str, before: pd.DataFrame, after: pd.DataFrame, labels: tuple[str, str]) -> Shared:
    known = [_known(frame) for frame in (before, after)]
    both = sorted(known[0].keys() & known[1].keys())
    for sample in both:
        _refuse_difference(name, sample, known[0][sample], known[1][sample], labels)
    scores = [mean_scores(frame) for frame in (before, after)]
    views = tuple(view for view in PAIR if all(view in side for side in scores))
    table = _joined(scores, views, both)
    if not len(table) and "full" in views:  # no question has all four answers: the full image can still be compared
        views = ("full",)
        table = _joined(scores, views, both)
    asked = _facts(known)
    table = table.join(asked[["cluster", "category", "evidence_area"]])
    only = (len(known[0]) - len(both), len(known[1]) - len(both))
    kinds = sorted({str(facts["evidence"]) for side in known for facts in side.values() if "evidence" in facts})
    return Shared(table, asked, kinds[-1] if kinds else "", views, len(both) - len(table), only)


def _facts(known: Sequence[Mapping[str, Mapping[str, Any]]]) -> pd.DataFrame:
    """`asked` of `Shared`: what the first run knows of a sample counts, and else what the second does."""
    samples = sorted(known[0].keys() | known[1].keys())
    each = [{**known[1].get(sample, {}), **known[0].get(sample, {})} for sample in samples]
    keys = [[side.get(sample, {}).get("cluster", "") for sample in samples] for side in known]
    images = [facts.get("image_hash", "") for facts in each]
    return pd.DataFrame(
        {
            "cluster": merge_clusters(*keys, images),
            "category": [str(facts.get("category", "")) for facts in each],
            "evidence_area": [float(facts.get("evidence_area", "nan")) for facts in each],
            "declared": [str(facts.get("cluster", "")) for facts in each],
            "image_hash": [str(image) for image in images],
        },
        index=pd.Index(samples),
    )


def _joined(scores: Sequence[pd.DataFrame], views: Sequence[str], both: Sequence[str]) -> pd.DataFrame:
    columns = {f"{side}_{view}": found[view] for side, found in zip(SIDES, scores, strict=True) for view in views}
    return pd.DataFrame(columns, index=list(both)).dropna() if columns else pd.DataFrame()


def _known(records: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """What is known of each sample: of every field the first value that is there."""
    columns = [column for column in KNOWN if column in records]
    found: dict[str, dict[str, Any]] = {}
    for sample, *values in zip(records["sample"], *(records[column] for column in columns), strict=True):
        entry = found.setdefault(str(sample), {})
        for column, value in zip(columns, values, strict=True):
            empty = value is None or value != value or (hasattr(value, "__len__") and not len(value))
            if not empty and column not in entry:
                entry[column] = value
    return found


def _refuse_difference(
    benchmark: str, sample: str, before: Mapping[str, Any], after: Mapping[str, Any], labels: tuple[str, str]
) -> None:
    for field in ASKED:
        one, other = before.get(field), after.get(field)
        unknown = field in MAY_BE_UNKNOWN and (one is None or other is None)
        if one != other and not unknown:
            raise RunError(
                f"{benchmark}: sample {sample!r} is not the same question in both runs: {field} is "
                f"{_short(one)} in {labels[0]} and {_short(other)} in {labels[1]}. Only answers to "
                "the same questions can be compared; measure both models on the same version of the benchmark, with "
                "the same parameters and the same --regions file."
            )


def _short(value: Any) -> str:
    text = "empty" if value is None else repr(value)
    return shorten(text, 120)
