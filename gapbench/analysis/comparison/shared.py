"""The samples that two runs share; runs whose samples differ under one id are refused.

    shared = shared_samples(before.records, after.records, ("before", "after"))["signs"]
    shared.table[["before_full", "after_full"]].mean()

A view is compared if both runs have answers in it. A sample is compared if both runs answered it in every compared
view. All numbers of a benchmark therefore rest on the same samples, and the change of the gap is the change of the crop
score minus the change of the full score.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gapbench.analysis.aggregate import PAIR, mean_scores
from gapbench.analysis.statistics import merge_clusters
from gapbench.errors import RunError
from gapbench.util.text import shorten

SIDES = ("before", "after")
IDENTITY_FIELDS = ("question", "options", "answers", "answer_type", "image_hash", "evidence", "boxes")
"""Fields of a record that must be equal for two samples to be the same."""
MAY_BE_MISSING = ("image_hash", "evidence", "boxes")
"""Fields that a record lacks if its image could not be decoded; a missing one is not a difference."""
SAMPLE_FIELDS = (*IDENTITY_FIELDS, "category", "cluster", "evidence_area")


@dataclass(frozen=True)
class SharedSamples:
    """The samples of one benchmark that two runs share.

    `table` has one row per compared sample, sorted by id: the mean scores `before_full`, `after_full`, `before_crop`,
    `after_crop` of the compared `views`, `cluster` (int), `category` (str) and `evidence_area` (float or NaN).
    `samples` has one row per sample of either run: `cluster`, `category`, `evidence_area`, `declared` (the cluster that
    the benchmark declares) and `image_hash`. `evidence` is `annotated`, `model` or empty. `dropped` counts samples with
    records in both runs that were not answered in every compared view. `only` counts samples with records in one run
    alone: the first run's, then the second run's.
    """

    table: pd.DataFrame
    samples: pd.DataFrame
    evidence: str
    views: tuple[str, ...]
    dropped: int
    only: tuple[int, int]


def shared_samples(before: pd.DataFrame, after: pd.DataFrame, labels: tuple[str, str]) -> dict[str, SharedSamples]:
    """The shared samples of two runs by benchmark, without the benchmarks that have no sample to compare.

    Raises RunError if a sample differs between the runs, and if the runs share no answered sample.
    """
    names = sorted(set(before["benchmark"]) & set(after["benchmark"]))
    by_benchmark = {
        name: _shared_in(name, before[before["benchmark"] == name], after[after["benchmark"] == name], labels)
        for name in names
    }
    comparable = {name: shared for name, shared in by_benchmark.items() if len(shared.table)}
    if not comparable:
        measured = [", ".join(sorted(set(frame["benchmark"]))) for frame in (before, after)]
        raise RunError(
            f"the runs {labels[0]} and {labels[1]} share no answered sample: {labels[0]} measured {measured[0]}, "
            f"{labels[1]} measured {measured[1]}. Measure both models on the same benchmarks, with the same parameters."
        )
    return comparable


def _shared_in(benchmark: str, before: pd.DataFrame, after: pd.DataFrame, labels: tuple[str, str]) -> SharedSamples:
    fields = [_fields_by_sample(frame) for frame in (before, after)]
    in_both = sorted(fields[0].keys() & fields[1].keys())
    for sample in in_both:
        _refuse_difference(benchmark, sample, fields[0][sample], fields[1][sample], labels)
    scores = [mean_scores(frame) for frame in (before, after)]
    views = tuple(view for view in PAIR if all(view in side for side in scores))
    table = _score_table(scores, views, in_both)
    if not len(table) and "full" in views:  # no sample has all four answers: the full image can still be compared
        views = ("full",)
        table = _score_table(scores, views, in_both)
    samples = _sample_table(fields)
    table = table.join(samples[["cluster", "category", "evidence_area"]])
    only = (len(fields[0]) - len(in_both), len(fields[1]) - len(in_both))
    kinds = sorted({str(values["evidence"]) for side in fields for values in side.values() if "evidence" in values})
    return SharedSamples(table, samples, kinds[-1] if kinds else "", views, len(in_both) - len(table), only)


def _sample_table(fields: Sequence[Mapping[str, Mapping[str, Any]]]) -> pd.DataFrame:
    """The table `SharedSamples.samples`. A field of the first run counts before the same field of the second run."""
    samples = sorted(fields[0].keys() | fields[1].keys())
    merged = [{**fields[1].get(sample, {}), **fields[0].get(sample, {})} for sample in samples]
    keys = [[side.get(sample, {}).get("cluster", "") for sample in samples] for side in fields]
    images = [values.get("image_hash", "") for values in merged]
    return pd.DataFrame(
        {
            "cluster": merge_clusters(*keys, images),
            "category": [str(values.get("category", "")) for values in merged],
            "evidence_area": [float(values.get("evidence_area", "nan")) for values in merged],
            "declared": [str(values.get("cluster", "")) for values in merged],
            "image_hash": [str(image) for image in images],
        },
        index=pd.Index(samples),
    )


def _score_table(scores: Sequence[pd.DataFrame], views: Sequence[str], samples: Sequence[str]) -> pd.DataFrame:
    """One row per sample with a score in all views of both runs, one column per side and view."""
    columns = {f"{side}_{view}": table[view] for side, table in zip(SIDES, scores, strict=True) for view in views}
    return pd.DataFrame(columns, index=list(samples)).dropna() if columns else pd.DataFrame()


def values_of(table: pd.DataFrame, side: str, measure: str) -> NDArray[np.float64]:
    if measure == "gap":
        return values_of(table, side, "crop") - values_of(table, side, "full")
    return table[f"{side}_{measure}"].to_numpy(float)


def _fields_by_sample(records: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """The `SAMPLE_FIELDS` of each sample: the first value of each that is not empty."""
    columns = [column for column in SAMPLE_FIELDS if column in records]
    fields: dict[str, dict[str, Any]] = {}
    for sample, *values in zip(records["sample"], *(records[column] for column in columns), strict=True):
        entry = fields.setdefault(str(sample), {})
        for column, value in zip(columns, values, strict=True):
            empty = value is None or value != value or (hasattr(value, "__len__") and not len(value))
            if not empty and column not in entry:
                entry[column] = value
    return fields


def _refuse_difference(
    benchmark: str, sample: str, before: Mapping[str, Any], after: Mapping[str, Any], labels: tuple[str, str]
) -> None:
    """Raise RunError if the sample differs between the runs."""
    for field in IDENTITY_FIELDS:
        first, second = before.get(field), after.get(field)
        missing = field in MAY_BE_MISSING and (first is None or second is None)
        if first != second and not missing:
            shown = ["empty" if value is None else shorten(repr(value), 120) for value in (first, second)]
            raise RunError(
                f"{benchmark}: sample {sample!r} is not the same in both runs: {field} is "
                f"{shown[0]} in {labels[0]} and {shown[1]} in {labels[1]}. Only answers to the same "
                "samples can be compared; measure both models on the same version of the benchmark, with the same "
                "parameters and the same --regions file."
            )
