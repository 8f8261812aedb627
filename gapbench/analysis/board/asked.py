"""Which runs were asked the same: the benchmarks of a board, and what is left out of each, with the reason.

    asked, left_out = group(runs)
    asked[0].name, [run.label for run, task in asked[0].members]

Two runs share a benchmark of the board if their manifests agree on what decides the question and what counts as an
answer: samples (fingerprint), prompt, protocol, region policy of the crop, region file and judge. Of runs that disagree
under one name, the largest group keeps the name. Another group of two or more is a benchmark of its own, and a single
run is left out. Nothing is mixed.

Limits: engines, pixel bounds and lengths of answers may differ between models; the board lists such settings.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from gapbench.analysis.aggregate import PAIR, Json, mean_scores
from gapbench.analysis.comparison.runs import LoadedRun
from gapbench.types import NO_BOX
from gapbench.util.text import in_words

ANSWERED = 0.9
"""The least share of a benchmark's samples that a run must have answered in each of its views."""
KEPT = ["benchmark", "sample", "view", "repeat", "outcome", "rule", "score", "cluster", "image_hash", "evidence",
        "evidence_area", "image_tokens", "seconds"]  # fmt: skip
WORDS = {
    "samples": "the samples",
    "prompt": "the prompt",
    "protocol": "the protocol",
    "region": "the region policy",
    "regions": "the region file",
    "judge": "the judge",
}
"""The parts of a key, in the order in which a difference is named."""

Member = tuple[LoadedRun, str]
"""A run, and the name of the task in it."""


@dataclass(frozen=True)
class Asked:
    """A benchmark of the board: its name, what decides its questions (`key`), and the runs that were asked it.

    `apart` says how it differs from the benchmark whose name it shares; empty for that one itself.
    """

    name: str
    key: Mapping[str, Any]
    members: tuple[Member, ...]
    apart: str = ""


def slim(records: pd.DataFrame) -> pd.DataFrame:
    """What a board needs of records: no texts. `identity` is a hash of the question, valid in this process only.

    Raises ValueError for a score or an area that is no number.
    """
    columns = (records[column].map(str) for column in ("question", "options", "answers", "answer_type"))
    numbers = {name: pd.to_numeric(records[name]) for name in ("score", "evidence_area")}
    return records.reindex(columns=KEPT).assign(
        **numbers, identity=[hash(texts) for texts in zip(*columns, strict=True)]
    )


def group(runs: Sequence[LoadedRun]) -> tuple[list[Asked], list[Json]]:
    """The benchmarks of a board, by name, and what is left out: `run`, `benchmark` and `reason`."""
    asked: list[Asked] = []
    left_out: list[Json] = []
    by_name: dict[str, dict[str, list[Member]]] = {}
    for run in runs:
        for task in run.manifest.get("tasks") or {}:
            if reason := _unanswered(run, task):
                left_out.append({"run": run.label, "benchmark": task, "reason": reason})
            else:
                by_name.setdefault(task, {}).setdefault(_text(key_of(run, task)), []).append((run, task))
    for name, groups in sorted(by_name.items()):
        _join_without_crop(groups)
        ordered = sorted(groups.items(), key=lambda item: (-len(item[1]), -_size(item[1]), item[0]))
        main = json.loads(ordered[0][0])
        for number, (text, members) in enumerate(ordered, 1):
            key = json.loads(text)
            if number > 1 and len(members) == 1:
                (run, _) = members[0]
                reason = f"{_differing(key, main)}, so it cannot be compared with the others"
                left_out.append({"run": run.label, "benchmark": name, "reason": reason})
                continue
            kept, changed = _same_samples(members)
            left_out += [{"run": run.label, "benchmark": name, "reason": reason} for run, reason in changed]
            label, apart = (name, "") if number == 1 else (f"{name} ({number})", _differing(key, main))
            asked.append(Asked(label, key, tuple(kept), apart))
    return asked, left_out


def key_of(run: LoadedRun, task: str) -> dict[str, Any]:
    """What decides the questions and the outcomes of a task. `region` is None if the crop was not asked."""
    entry = run.manifest["tasks"][task]
    judge = run.manifest.get("judge") or {}
    return {
        "samples": [entry.get("benchmark"), entry.get("fingerprint"), entry.get("samples")],
        "prompt": entry.get("prompt"),
        "protocol": run.manifest.get("protocol") or "neutral",
        "region": ((entry.get("views") or {}).get("crop") or {}).get("region"),
        "regions": (run.manifest.get("regions") or {}).get("sha256"),
        "judge": [judge.get("model"), judge.get("prompt_sha256")] if judge else None,
    }


def sample_table(run: LoadedRun, task: str) -> pd.DataFrame:
    """One row per sample: the mean scores `full` and `crop` (or NaN), and the fields that a board needs."""
    records = run.records[run.records["benchmark"] == task]
    scores = mean_scores(records).reindex(columns=list(PAIR))
    fields = ["cluster", "image_hash", "evidence", "evidence_area", "identity"]
    first = records[["sample", *fields]].replace("", None).groupby("sample", observed=True)[fields].first()
    return scores.join(first)


def _text(key: Mapping[str, Any]) -> str:
    return json.dumps(key, sort_keys=True, default=str)


def _size(members: Sequence[Member]) -> int:
    run, task = members[0]
    return int(run.manifest["tasks"][task].get("samples") or 0)


def _join_without_crop(groups: dict[str, list[Member]]) -> None:
    """Let runs that were asked the full view alone join the largest group that was asked the same otherwise."""
    for text in [text for text in groups if json.loads(text)["region"] is None]:
        bare = json.loads(text)
        alike = [other for other in groups if other != text and {**json.loads(other), "region": None} == bare]
        if alike:
            groups[max(alike, key=lambda other: len(groups[other]))] += groups.pop(text)


def _differing(key: Mapping[str, Any], main: Mapping[str, Any]) -> str:
    """`the prompt is 'A' here and 'B' for the others`: the first part in which two keys differ."""
    part = next(name for name in WORDS if key[name] != main[name])
    if part == "samples":
        counts = [f"{one[part][2]:,}" if isinstance(one[part][2], int) else "unknown" for one in (key, main)]
        return f"it has {counts[0]} samples where the others have {counts[1]}" if counts[0] != counts[1] else (
            "its samples differ from those of the others (fingerprint)"
        )  # fmt: skip
    return f"{WORDS[part]} differs: {in_words(key[part])} here, {in_words(main[part])} for the others"


def _unanswered(run: LoadedRun, task: str) -> str:
    """Why a task cannot be counted; empty if enough of it was answered."""
    entry = run.manifest["tasks"][task]
    records = run.records[run.records["benchmark"] == task]
    views = [view for view in PAIR if (records["view"] == view).any()]
    found = records[(records["outcome"] != "failed") | (records["rule"] == NO_BOX)]
    answered = found.groupby("view", observed=True)["sample"].nunique()
    total = int(entry.get("samples") or records["sample"].nunique())
    least = min((int(answered.get(view, 0)) for view in views), default=0)
    if not views:
        return f"neither {' nor '.join(PAIR)} has an answer"
    if least < ANSWERED * total or not least:
        return f"{least:,} of {total:,} samples are answered in every view; finish the run"
    return ""


def _same_samples(members: Sequence[Member]) -> tuple[list[Member], list[tuple[LoadedRun, str]]]:
    """The members whose samples equal the first one's, and the others with the first sample that differs."""
    reference, *_ = members
    table = sample_table(*reference)[["identity", "image_hash"]]
    kept, changed = [reference], []
    for member in members[1:]:
        both = table.join(sample_table(*member)[["identity", "image_hash"]], how="inner", rsuffix="_here")
        images = both["image_hash"].notna() & both["image_hash_here"].notna()
        for what, differs in (
            ("question", both["identity"] != both["identity_here"]),
            ("image", images & (both["image_hash"] != both["image_hash_here"])),
        ):
            if differs.any():
                label = reference[0].label
                changed.append((member[0], f"the {what} of sample {both.index[differs][0]!r} is not that of {label}"))
                break
        else:
            kept.append(member)
    return kept, changed


def common_suite(asked: Asked) -> Json | None:
    """The suite that all members name for this benchmark (`name`, `sha256`), or None."""
    first, *others = (run.manifest["tasks"][task].get("suite") for run, task in asked.members)
    return first if first and all(other == first for other in others) else None
